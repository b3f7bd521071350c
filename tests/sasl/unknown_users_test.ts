/** Unknown users get the same answers as known ones, at the same cost. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { encodeBase64 } from "../../lib/sasl/encoding.ts";
import { ScramServer } from "../../lib/sasl/scram.ts";
import { hmac } from "../../lib/sasl/digest.ts";
import {
  keyedDigestCheck,
  type KnownSecret,
  passwordCheck,
  tokenCheck,
} from "../../lib/sasl/credentials.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";

const VERIFIER = String(
  await ScramVerifier.create("geheim", { iterations: 4096 }),
);

function mixed(): AccountList {
  return new AccountList([`ann:${VERIFIER}`, "bob:secret"]);
}

/** One exchange with a wrong proof; returns the first message of the server. */
async function exchange(accounts: AccountList, user: string): Promise<string> {
  const server = new ScramServer("SCRAM-SHA-256", {
    hostname: "mx.example",
    decoy: accounts.decoy,
    // The salt key of a server's threads: a new one after each start.
    saltKey: crypto.getRandomValues(new Uint8Array(32)),
  });
  const bytes = (text: string) => new TextEncoder().encode(text);
  const first = server.start(bytes(`n,,n=${user},r=abc`));
  assert(first.type === "verify");
  const verdict = first.credentials.verify(accounts.find(user));
  const said = new TextDecoder().decode(await first.challenge);
  const nonce = /r=([^,]+)/.exec(said)![1];
  const proof = encodeBase64(new Uint8Array(32));
  server.step(bytes(`c=biws,r=${nonce},p=${proof}`));
  assertEquals(await verdict, false);
  return said;
}

/** The rounds of each PBKDF2 while `work` runs. */
async function roundsOf(work: () => Promise<unknown>): Promise<number[]> {
  const { subtle } = crypto;
  const own = subtle.deriveBits;
  const rounds: number[] = [];
  subtle.deriveBits = function (...args: Parameters<typeof own>) {
    rounds.push((args[0] as Pbkdf2Params).iterations);
    return own.apply(subtle, args);
  };
  try {
    await work();
  } finally {
    subtle.deriveBits = own;
  }
  return rounds;
}

Deno.test("A password costs as many rounds for an unknown name as for one of either kind, right or wrong", async () => {
  const decoy = mixed().decoy!;
  const kinds: KnownSecret[] = [
    "secret",
    ScramVerifier.parse(VERIFIER),
    undefined,
  ];
  for (const secret of kinds) {
    for (const password of ["secret", "geheim", "wrong"]) {
      const check = passwordCheck({ password, decoy });
      assertEquals(await roundsOf(() => check(secret)), [4096]);
    }
  }
});

Deno.test("No secret that is empty or unknown lets anybody in", async () => {
  const challenge = new TextEncoder().encode("<1@mx.example>");
  const key = new Uint8Array(0);
  const answer = hmac("md5", { key, data: challenge }).toHex();
  for (const secret of [undefined, ""]) {
    for (const decoy of [undefined, mixed().decoy]) {
      assertEquals(await passwordCheck({ password: "", decoy })(secret), false);
      // Soft hyphens map to nothing; a control character is prohibited.
      for (const password of ["\u00ad", "\u0007"]) {
        assertEquals(await passwordCheck({ password, decoy })(secret), false);
      }
    }
    assertEquals(await tokenCheck("")(secret), false);
    assertEquals(await keyedDigestCheck({ challenge, answer })(secret), false);
  }
  const known = hmac("md5", {
    key: new TextEncoder().encode("secret"),
    data: challenge,
  }).toHex();
  const check = keyedDigestCheck({ challenge, answer: known });
  assertEquals(await check("secret"), true);
});

Deno.test("SCRAM derives as many keys for an unknown name as for one of either kind", async () => {
  const accounts = mixed();
  for (const user of ["ann", "bob", "eve"]) {
    assertEquals(await roundsOf(() => exchange(accounts, user)), [4096], user);
  }
});

Deno.test("SCRAM shows an unknown name the same salt after a restart, and each another", async () => {
  const saltOf = async (user: string) =>
    /s=([^,]+)/.exec(await exchange(mixed(), user))![1];
  for (const user of ["ann", "bob", "eve"]) {
    assertEquals(await saltOf(user), await saltOf(user), user);
  }
  assertNotEquals(await saltOf("eve"), await saltOf("eva"));
  // All spellings of a domain give a known name the same salt, and so for an unknown one.
  assertEquals(await saltOf("eve@b.example"), await saltOf("eve@B.Example"));
});

Deno.test("A decoy is the same wherever the accounts are read, and shows nothing of its model", () => {
  const { decoy } = mixed();
  assertEquals(String(mixed().decoy), String(decoy));
  const [salt, stored] = VERIFIER.slice(VERIFIER.indexOf(":") + 1).split("$");
  assert(!String(decoy).includes(salt!));
  assert(!String(decoy).includes(stored!.split(":")[0]!));
});
