/**
 * Fuzz of DKIM: signature fields, key records and headers with faults, and bodies in
 * random pieces. Nothing throws, every result is a pass or has its reason,
 * what is named is safe to write into a field, and what was not changed passes.
 */

import { verifyDkim } from "../../lib/trust/dkim_verify.ts";
import { bytesOf } from "../support/bytes.ts";
import { makeTestKey, signForTest, textTable } from "../support/dkim.ts";
import { pieces } from "../support/random.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** Messages and key records. */
export const dkimTarget: FuzzTarget = {
  name: "dkim",
  async check(random) {
    const { text, isIntact } = messageOf(random);
    const isGood = chance(random, 2);
    const record = isGood ? key.record : mutate(random, pick(random, RECORDS));
    const dns = textTable({ "s._domainkey.a.test": [record] });
    const longest = pick(random, [1, 3, 50, 10_000]);
    const cut = pieces(bytesOf(text), { seed: random(1000), longest });
    const results = await verifyDkim(ReadableStream.from(cut), { dns });
    for (const { result, reason, domain, selector, signature } of results) {
      const names = `${domain} ${selector} ${signature}`;
      const isRight = RESULTS.includes(result) && !UNSAFE.test(names) &&
        (reason === undefined) === (result === "pass");
      if (!isRight) throw new Error(`${result} of ${JSON.stringify(text)}`);
    }
    const passes = results.some(({ result }) => result === "pass");
    if (isIntact && isGood && !passes) {
      throw new Error(`Not accepted: ${JSON.stringify(text)}`);
    }
  },
};

const RESULTS = ["pass", "fail", "policy", "temperror", "permerror"];
const UNSAFE = /[^a-zA-Z0-9._+/= -]/;
const key = makeTestKey("ed25519");
const RECORDS = [
  ...[key.record, makeTestKey("rsa", { bits: 1024 }).record, "v=DKIM1; p="],
  ...["v=DKIM1; k=rsa; t=y:s; h=sha1:sha256; s=*; n=a=20b; p=MIGfMA0G", "p=a"],
];
const TAGS: Readonly<Record<string, readonly string[]>> = {
  c: ["simple/simple", "relaxed/simple", "simple/relaxed", "relaxed"],
  i: ["ann@a.test", "@b.a.test", "a=40b@a.test", "\xc3\xa9@a.test"],
  l: ["0", "5", "99999999999999999999"],
  t: ["1", "1796000000"],
  x: ["2", "99999999999"],
  q: ["dns/txt", "dns/txt:http", "http"],
  z: ["From:Ann|To:bob", "=3D=0D"],
  d: ["b.a.test", "\xc3\xbc.test", "a.test ("],
};
const MESSAGE = "From: Ann\r\n <ann@a.test>\r\nTo: bob@b.test\r\n" +
  "Subject:  Hi \r\n\r\nHello  \r\n\r\nAnn\t\r\n\r\n";

/** A signed message, and whether it must be accepted. */
function messageOf(random: Random): { text: string; isIntact: boolean } {
  const tags: Record<string, string> = {};
  for (const [tag, values] of Object.entries(TAGS)) {
    if (chance(random, 8)) tags[tag] = pick(random, values);
  }
  const isUsual = Object.keys(tags).every((tag) => tag === "c" || tag === "z");
  const signed = signForTest(MESSAGE, key, tags);
  if (chance(random, 3)) return { text: signed, isIntact: isUsual };
  const end = signed.indexOf("\r\nFrom:");
  const field = mutate(random, signed.slice(0, end));
  const rest = chance(random, 2) ? mutate(random, MESSAGE) : MESSAGE;
  const times = chance(random, 100) ? 1000 : 1 + random(2);
  return { text: `${field}\r\n`.repeat(times) + rest, isIntact: false };
}
