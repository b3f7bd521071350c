/**
 * Keys that sign mail: what is loaded and made, what the record says, and that no
 * error shows the key.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.6.1 | RFC 6376 section 3.6.1},
 * {@link https://www.rfc-editor.org/rfc/rfc8301#section-3.2 | RFC 8301 section 3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8463 | RFC 8463}
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  verify,
} from "node:crypto";
import { DkimPrivateKey } from "../../lib/trust/mod.ts";

const DATA = new TextEncoder().encode("from:ann@example.com\r\n");

/** The PEM of a PKCS#8 Ed25519 key of these 32 bytes. */
function ed25519Pem(seed: string): string {
  const head = Buffer.from("302e020100300506032b657004220420", "hex");
  const der = Buffer.concat([head, Buffer.from(seed, "base64")]);
  return `-----BEGIN PRIVATE KEY-----\n${
    der.toString("base64")
  }\n-----END PRIVATE KEY-----\n`;
}

Deno.test("the key of RFC 8463 has the record of RFC 8463", async () => {
  const pem = ed25519Pem("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
  const key = await DkimPrivateKey.load(pem);
  assertEquals(
    key.record,
    "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
  );
  assertEquals([key.type, key.algorithm, key.bits], [
    ...["ed25519", "ed25519-sha256", 256],
  ]);
});

Deno.test("an Ed25519 key signs the hash of the data", async () => {
  const key = await DkimPrivateKey.generate("ed25519");
  const bytes = Buffer.from(key.record.split("p=")[1]!, "base64");
  assertEquals(bytes.length, 32);
  const spki = Buffer.concat([
    Buffer.from("302a300506032b6570032100", "hex"),
    bytes,
  ]);
  const open = createPublicKey({ key: spki, format: "der", type: "spki" });
  const hash = createHash("sha256").update(DATA).digest();
  assert(verify(null, hash, open, Buffer.from(await key.sign(DATA))));
});

Deno.test("RSA keys in PKCS#8 and PKCS#1 give the same signature", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const [first, second] = await Promise.all(
    (["pkcs8", "pkcs1"] as const).map((type) =>
      DkimPrivateKey.load(
        `a note\r\n${privateKey.export({ type, format: "pem" })}\n`,
      )
    ),
  );
  assertEquals(await first!.sign(DATA), await second!.sign(DATA));
  assertEquals(first!.record, second!.record);
  assertEquals([first!.bits, first!.algorithm], [1024, "rsa-sha256"]);
  const spki = Buffer.from(first!.record.split("p=")[1]!, "base64");
  const open = createPublicKey({ key: spki, format: "der", type: "spki" });
  const signature = Buffer.from(await first!.sign(DATA));
  assert(verify("sha256", DATA, open, signature));
});

Deno.test("an RSA key has 2048 bits unless another number is wanted", async () => {
  assertEquals((await DkimPrivateKey.generate("rsa")).bits, 2048);
  const small = await DkimPrivateKey.generate("rsa", { bits: 1024 });
  assertEquals(small.bits, 1024);
  const again = await DkimPrivateKey.load(small.toPem());
  assertEquals(again.record, small.record);
  for (const bits of [512, 1023.5, 8192, NaN]) {
    await assertRejects(
      () => DkimPrivateKey.generate("rsa", { bits }),
      RangeError,
      "want 1024 to 4096",
    );
  }
});

Deno.test("what cannot sign is refused with a reason that shows no key", async () => {
  const short = generateKeyPairSync("rsa", { modulusLength: 512 });
  const curve = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pkcs8 = { type: "pkcs8", format: "pem" } as const;
  const good = (await DkimPrivateKey.generate("ed25519")).toPem();
  const damaged = good.replace(/\n.{8}/, "\nAAAAAAAA");
  const encrypted = short.privateKey.export({
    ...pkcs8,
    ...{ cipher: "aes-256-cbc", passphrase: "secret" },
  }).toString();
  const table: readonly (readonly [string, string])[] = [
    ["", "want a private key in PEM"],
    ["x".repeat(100_000), "want a private key in PEM"],
    [
      short.publicKey.export({ type: "spki", format: "pem" }).toString(),
      "this is a public one",
    ],
    [short.privateKey.export(pkcs8).toString(), "it has 512 bits"],
    [curve.privateKey.export(pkcs8).toString(), "want RSA or Ed25519"],
    [damaged, "damaged"],
    [encrypted, "encrypted"],
  ];
  for (const [pem, reason] of table) {
    const error = await assertRejects(
      () => DkimPrivateKey.load(pem),
      SyntaxError,
      reason,
    );
    const secret = pem.split("\n")[1];
    if (secret) assert(!Deno.inspect(error).includes(secret));
  }
});

Deno.test("a key that is shown does not show its secret", async () => {
  const key = await DkimPrivateKey.generate("ed25519");
  const secret = key.toPem().split("\n")[1]!;
  assert(!Deno.inspect(key, { depth: 9 }).includes(secret));
  assert(!JSON.stringify(key).includes(secret));
});
