/** What unknown users are told, and what that costs: the same as for known ones. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { encodeBase64 } from "../../lib/sasl/base64.ts";
import { ScramServer } from "../../lib/sasl/scram_server.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";

const VERIFIER = String(
  await ScramVerifier.create("geheim", { iterations: 4096 }),
);

function mixed(): AccountList {
  return new AccountList([`ann:${VERIFIER}`, "bob:secret"]);
}

/** One exchange with a wrong proof; gives the first message of the server. */
async function exchange(accounts: AccountList, user: string): Promise<string> {
  const server = new ScramServer("SCRAM-SHA-256", {
    hostname: "mx.example",
    decoy: accounts.decoy,
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

Deno.test("SCRAM derives as many keys for an unknown name as for one of either kind", async () => {
  const accounts = mixed();
  const { subtle } = crypto;
  const own = subtle.deriveBits;
  const rounds: number[] = [];
  subtle.deriveBits = function (...args: Parameters<typeof own>) {
    rounds.push((args[0] as Pbkdf2Params).iterations);
    return own.apply(subtle, args);
  };
  try {
    for (const user of ["ann", "bob", "eve"]) {
      rounds.length = 0;
      await exchange(accounts, user);
      assertEquals(rounds, [4096], user);
    }
  } finally {
    subtle.deriveBits = own;
  }
});

Deno.test("SCRAM shows an unknown name the same salt after a restart, and each another", async () => {
  const saltOf = async (user: string) =>
    /s=([^,]+)/.exec(await exchange(mixed(), user))![1];
  for (const user of ["ann", "bob", "eve"]) {
    assertEquals(await saltOf(user), await saltOf(user), user);
  }
  assertNotEquals(await saltOf("eve"), await saltOf("eva"));
});

Deno.test("A decoy is the same wherever the accounts are read, and shows nothing of its model", () => {
  const { decoy } = mixed();
  assertEquals(String(mixed().decoy), String(decoy));
  const [salt, stored] = VERIFIER.slice(VERIFIER.indexOf(":") + 1).split("$");
  assert(!String(decoy).includes(salt!));
  assert(!String(decoy).includes(stored!.split(":")[0]!));
});
