/**
 * Digests, HMAC, PBKDF2 and the comparison of secrets (RFC 2104, RFC 8018
 * section 5.2).
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  digest,
  equalSecrets,
  hmac,
  pbkdf2,
  randomBytes,
} from "../../lib/sasl/digest.ts";
import { python } from "../support/sasl_dialogue.ts";
import { utf8 } from "../support/bytes.ts";
import { seededFraction } from "../support/random.ts";

const PROGRAM = `
import hashlib, hmac
out = []
for key, data in rows:
    k, d = bytes.fromhex(key), bytes.fromhex(data)
    out.append([hashlib.md5(d).hexdigest(), hashlib.sha256(d).hexdigest(),
        hmac.new(k, d, "md5").hexdigest(), hmac.new(k, d, "sha256").hexdigest(),
        hashlib.pbkdf2_hmac("sha256", b"p" + k, d, 3).hex()])
print(json.dumps(out))
`;

Deno.test("digest(), hmac() and pbkdf2() agree with Python's hashlib", async () => {
  const random = seededFraction(2);
  const some = (length: number) =>
    Uint8Array.from({ length }, () => random() * 128);
  const rows = [0, 1, 15, 16, 55, 56, 63, 64, 65, 127, 128, 300]
    .map((length) => ({ key: some(length), data: some(300 - length) }));
  const got = await Promise.all(rows.map(async ({ key, data }) => [
    digest("md5", data).toHex(),
    digest("sha256", data).toHex(),
    hmac("md5", { key, data }).toHex(),
    hmac("sha256", { key, data }).toHex(),
    (await pbkdf2(`p${String.fromCharCode(...key)}`, {
      salt: data,
      iterations: 3,
    })).toHex(),
  ]));
  const input = rows.map(({ key, data }) => [key.toHex(), data.toHex()]);
  assertEquals(got, await python(PROGRAM, input));
});

Deno.test("equalSecrets() compares text and bytes of any length", () => {
  assert(equalSecrets("", ""));
  assert(equalSecrets("é", utf8("é")));
  assert(!equalSecrets("a", "b"));
  assert(!equalSecrets("a", "aa"));
  assert(!equalSecrets("", "\0"));
});

Deno.test("randomBytes() does not repeat itself", () => {
  assertEquals(randomBytes(24).length, 24);
  assertNotEquals(randomBytes(24), randomBytes(24));
});
