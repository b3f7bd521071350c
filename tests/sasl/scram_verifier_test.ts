/**
 * SCRAM verifiers: making, writing and parsing (RFC 5802 section 3, RFC 5803).
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { decodeBase64Strict } from "../../lib/sasl/encoding.ts";
import {
  type SaltedPassword,
  ScramVerifier,
} from "../../lib/sasl/scram_verifier.ts";

/** The verifier of "pencil" with the salt of RFC 7677 section 3. */
const PENCIL =
  "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

Deno.test("ScramVerifier.create() makes the known verifier", async () => {
  const salt = decodeBase64Strict("W22ZaJ0SNY7soEsUEjb6gQ==");
  const made = await ScramVerifier.create("pencil", { iterations: 4096, salt });
  assertEquals(made.toString(), PENCIL);
});

Deno.test("ScramVerifier.create() takes a random salt", async () => {
  const options = { iterations: 4096 };
  const one = await ScramVerifier.create("a", options);
  const two = await ScramVerifier.create("a", options);
  assert(one.toString() !== two.toString());
  assertEquals(one.salt.length, 16);
});

Deno.test("ScramVerifier.create() refuses what makes no verifier", async () => {
  await assertRejects(() => ScramVerifier.create(""), TypeError);
  await assertRejects(() => ScramVerifier.create("a\u0007"), TypeError);
  for (const iterations of [0, 4095, 4096.5, 5_000_001, NaN]) {
    await assertRejects(
      () => ScramVerifier.create("a", { iterations }),
      RangeError,
    );
  }
  const salt = new Uint8Array(7);
  await assertRejects(() => ScramVerifier.create("a", { salt }), RangeError);
});

Deno.test("ScramVerifier.fromSaltedPassword() makes the verifier of RFC 7677 section 3", async () => {
  // PBKDF2 of the password "pencil", as Python's hashlib computes it.
  const saltedPassword = Uint8Array.fromHex(
    "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d",
  );
  const salt = decodeBase64Strict("W22ZaJ0SNY7soEsUEjb6gQ==")!;
  const made = ScramVerifier.fromSaltedPassword({
    ...{ salt, iterations: 4096, saltedPassword },
  });
  assertEquals(made.toString(), PENCIL);
  salt.fill(0);
  saltedPassword.fill(0);
  assertEquals(made.toString(), PENCIL);
  assert(await made.verify("pencil"));
  assert(!await made.verify("pen"));
});

Deno.test("ScramVerifier.fromSaltedPassword() refuses other lengths and kinds, and shows no hash", () => {
  const hash = {
    ...{ iterations: 4096, salt: new Uint8Array(1) },
    saltedPassword: new Uint8Array(32),
  };
  ScramVerifier.fromSaltedPassword(hash);
  for (
    const wrong of [
      ...[{ salt: new Uint8Array(0) }, { salt: new Uint8Array(1025) }],
      ...[{ salt: "c2VjcmV0" }, { salt: undefined }, { keyLength: 32 }],
      ...[20, 31, 33, 64].map((length) => ({
        saltedPassword: new Uint8Array(length),
      })),
      { saltedPassword: "c2VjcmV0" },
    ]
  ) {
    const error = assertThrows(
      () =>
        ScramVerifier.fromSaltedPassword(
          { ...hash, ...wrong } as SaltedPassword,
        ),
      TypeError,
      "ScramVerifier.fromSaltedPassword",
    );
    assert(!error.message.includes("c2Vj"), error.message);
  }
  for (const iterations of [0, -1, 1.5, 5_000_001, NaN]) {
    assertThrows(
      () => ScramVerifier.fromSaltedPassword({ ...hash, iterations }),
      RangeError,
    );
  }
});

Deno.test("ScramVerifier.verify() tells the password from others", async () => {
  const verifier = ScramVerifier.parse(PENCIL);
  assert(await verifier.verify("pencil"));
  assert(await verifier.verify("pen\u00adcil"));
  assert(!await verifier.verify("Pencil"));
  assert(!await verifier.verify(""));
  assert(!await verifier.verify("\u0007"));
});

Deno.test("ScramVerifier.parse() refuses other forms without repeating them", () => {
  const texts = [
    "",
    "pencil",
    PENCIL.slice(0, -1),
    ` ${PENCIL}`,
    `${PENCIL}\n`,
    PENCIL.replace("256", "1"),
    PENCIL.replace("4096", "0"),
    PENCIL.replace("4096", "-1"),
    PENCIL.replace("4096", "5000001"),
    PENCIL.replace("4096", "99999999"),
    PENCIL.replace("W22Z", "W2=Z"),
    PENCIL.replace("2dU=", "2dV="),
    PENCIL.replace(":wfPL", "$wfPL"),
  ];
  for (const text of texts) {
    const error = assertThrows(() => ScramVerifier.parse(text), SyntaxError);
    assert(!error.message.includes("wfPL"));
  }
});

Deno.test("ScramVerifier.decoy() fits nothing and looks like its model", async () => {
  const decoy = ScramVerifier.decoy(ScramVerifier.parse(PENCIL));
  assertEquals([decoy.iterations, decoy.salt.length], [4096, 16]);
  assert(!await decoy.verify("pencil"));
});

Deno.test("ScramVerifier.provesKnowledge() takes no proof of another length", () => {
  const verifier = ScramVerifier.parse(PENCIL);
  const authMessage = new Uint8Array(0);
  for (const length of [0, 31, 32, 33]) {
    const proof = new Uint8Array(length);
    assert(!verifier.provesKnowledge({ authMessage, proof }));
  }
});
