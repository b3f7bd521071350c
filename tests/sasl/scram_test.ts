/** The server's side of SCRAM against clients that know the password, but send other wrong values. */

import { assert, assertEquals } from "@std/assert";
import { encodeBase64 } from "../../lib/sasl/encoding.ts";
import { hmac, pbkdf2 } from "../../lib/sasl/digest.ts";
import { escapeName, unescapeName } from "../../lib/sasl/gs2.ts";
import { ScramServer } from "../../lib/sasl/scram.ts";
import { scramKeys, xor } from "../../lib/sasl/scram_verifier.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** Logs in as a client that proves the password, with a chosen nonce in its final message. */
async function logIn(change: (nonce: string) => string): Promise<boolean> {
  const server = new ScramServer("SCRAM-SHA-256", { hostname: "mx.example" });
  const bare = "n=ann,r=abc";
  const first = server.start(bytes(`n,,${bare}`));
  assert(first.type === "verify");
  const verdict = first.credentials.verify("secret");
  const said = new TextDecoder().decode(await first.challenge);
  const [, nonce, salt, rounds] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(said)!;
  const { clientKey, storedKey } = scramKeys(
    await pbkdf2("secret", {
      salt: Uint8Array.fromBase64(salt!),
      iterations: Number(rounds),
    }),
  );
  const withoutProof = `c=biws,r=${change(nonce!)}`;
  const data = bytes(`${bare},${said},${withoutProof}`);
  const proof = xor(clientKey, hmac("sha256", { key: storedKey, data }));
  const step = server.step(bytes(`${withoutProof},p=${encodeBase64(proof)}`));
  const ok = await verdict;
  return step.type === "verify" && server.verified(ok).ok;
}

Deno.test("ScramServer takes the nonce that it has sent and no other, the proof being right", async () => {
  assertEquals(await logIn((nonce) => nonce), true);
  assertEquals(await logIn((nonce) => `${nonce}x`), false);
  assertEquals(await logIn((nonce) => nonce.slice(0, -1)), false);
  assertEquals(await logIn(() => "abc"), false);
});

Deno.test("A name in SCRAM is unescaped once", () => {
  for (const name of ["a=2Cb", "=3D2C", "=,", "=2C=3D", ",,=="]) {
    assertEquals(unescapeName(escapeName(name)), name);
  }
  assertEquals(unescapeName("=3D2C"), "=2C");
});
