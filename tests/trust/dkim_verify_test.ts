/**
 * The check of a whole message (RFC 6376 section 6): what is asked for and when,
 * which fields count, and the mistakes that other implementations have made.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import { BodyHashes } from "../../lib/trust/body_hash.ts";
import { rawFields } from "../../lib/trust/canonical_header.ts";
import {
  DkimCheck,
  verifyDkim,
  type VerifyDkimOptions,
} from "../../lib/trust/dkim_verify.ts";
import { bytesOf } from "../support/bytes.ts";
import { makeTestKey, signForTest, textTable } from "../support/dkim.ts";

const key = makeTestKey("ed25519");
const rsa = makeTestKey("rsa", { bits: 1024 });
const NAME = "s._domainkey.a.test";
const dns = textTable({
  [NAME]: key.record,
  "r._domainkey.a.test": rsa.record,
});
const message =
  "From: Ann <ann@a.test>\r\nTo: bob@b.test\r\nSubject: Hi\r\n\r\nHello\r\n";
const signed = signForTest(message, key);

/** The results in short: result, domain and selector of each. */
async function verdicts(
  text: string,
  options: Partial<VerifyDkimOptions> = {},
): Promise<string[]> {
  const results = await verifyDkim(bytesOf(text), { dns, ...options });
  return results.map(({ result, domain, selector }) =>
    `${result} ${selector}.${domain}`
  );
}

Deno.test("A message without a signature has no result, and asks nothing", async () => {
  const table = textTable({});
  for (const text of [message, "", "\r\n", "\r\nbody", "From: a", "x"]) {
    assertEquals(await verdicts(text, { dns: table }), [], text);
  }
  assertEquals(table.asked, []);
});

Deno.test("h= is compared without case, and From counts from the bottom", async () => {
  const lower = signForTest(message, key, { h: "fRoM:SUBJECT" });
  assertEquals(await verdicts(lower), ["pass s.a.test"]);
  const onTop = lower.replace("\r\nFrom:", "\r\nFROM: eve@e.test\r\nFrom:");
  assertEquals(await verdicts(onTop), ["pass s.a.test"]);
  const below = lower.replace("\r\nTo:", "\r\nFrom: eve@e.test\r\nTo:");
  assertEquals(await verdicts(below), ["fail s.a.test"]);
});

Deno.test("A field that is signed once more than it occurs cannot be added", async () => {
  const sure = signForTest(message, key, { h: "from:from:subject:subject" });
  assertEquals(await verdicts(sure), ["pass s.a.test"]);
  for (const name of ["From", "from ", "SUBJECT"]) {
    assertEquals(await verdicts(`${name}: more\r\n${sure}`), ["fail s.a.test"]);
  }
  // No reader takes this for From, so it is not signed as From.
  assertEquals(await verdicts(`From\xa0: more\r\n${sure}`), ["pass s.a.test"]);
});

Deno.test("A signature may cover those below it, and never its own field", async () => {
  const h = "from:dkim-signature:dkim-signature";
  const twice = signForTest(signed, key, { h });
  assertEquals(await verdicts(twice), ["pass s.a.test", "pass s.a.test"]);
  const alone = signForTest(message, key, { h });
  assertEquals(await verdicts(alone), ["pass s.a.test"]);
});

Deno.test("Results keep to their own signatures, in the order of the header", async () => {
  const other = makeTestKey("ed25519");
  const bad = signForTest(signed, other, { d: "b.test", s: "t" });
  const text = signForTest(bad, rsa, { s: "r", d: "a.test" });
  const table = textTable({
    [NAME]: key.record,
    "r._domainkey.a.test": rsa.record,
    // The record of a's key at b's name: a valid key, and not the signer's.
    "t._domainkey.b.test": key.record,
  });
  assertEquals(await verdicts(text, { dns: table }), [
    "pass r.a.test",
    "fail t.b.test",
    "pass s.a.test",
  ]);
});

Deno.test("Key questions begin at once, each once; a bad signature asks and hashes nothing", async () => {
  const asked: string[] = [];
  const answers: (() => void)[] = [];
  const slow: DnsQuerier = {
    query(_type: string, name: string): Promise<never> {
      asked.push(name);
      return new Promise((resolve) =>
        answers.push(() =>
          resolve({ status: "found", records: [key.record] } as never)
        )
      );
    },
  };
  let text = signForTest(signed, key, { s: "t" });
  text = signForTest(text, key);
  const fields = rawFields(bytesOf(text));
  const bodies = new BodyHashes();
  const check = DkimCheck.begin(fields, { bodies, dns: slow });
  assertEquals(asked, [NAME, "t._domainkey.a.test"]);
  const end = text.indexOf("\r\n\r\n") + 4;
  bodies.write(bytesOf(text.slice(end)));
  bodies.end();
  const ended = check.end();
  for (const answer of answers.reverse()) answer();
  assertEquals((await ended).map(({ result }) => result), [
    "pass",
    "pass",
    "pass",
  ]);

  asked.length = 0;
  const none = new BodyHashes();
  const bad = signForTest(message, key, { h: "to" });
  DkimCheck.begin(rawFields(bytesOf(bad)), { bodies: none, dns: slow });
  assertEquals(asked, []);
  assert(none.isEmpty);
});

Deno.test("No more signatures are looked at than maxSignatures, from the top", async () => {
  let text = message;
  for (let at = 1; at <= 12; at++) {
    text = signForTest(text, key, { s: `s${at}` });
  }
  const table = textTable({});
  const results = await verdicts(text, { dns: table });
  assertEquals(results.length, 10);
  assertEquals(results[0], "permerror s12.a.test");
  assertEquals(table.asked.length, 10);
  assertEquals((await verdicts(text, { maxSignatures: 2 })).length, 2);
});

Deno.test("A failed question is temperror, a missing or revoked key permerror", async () => {
  const rows = [
    [{ status: "failed", code: "timeout", reason: "No" }, "temperror s.a.test"],
    [{ status: "none", why: "no-such-name" }, "permerror s.a.test"],
    ["v=DKIM1; p=", "permerror s.a.test"],
    [[key.record, rsa.record], "permerror s.a.test"],
  ] as const;
  for (const [entry, want] of rows) {
    const table = textTable({ [NAME]: entry });
    assertEquals(await verdicts(signed, { dns: table }), [want]);
  }
  const rejecting = {
    query: () => Promise.reject(new DOMException("Aborted", "AbortError")),
  } as unknown as DnsQuerier;
  assertEquals(await verdicts(signed, { dns: rejecting }), [
    "temperror s.a.test",
  ]);
});

Deno.test("A short RSA key is policy; Ed25519 keys are long enough", async () => {
  const text = signForTest(signed, rsa, { s: "r" });
  assertEquals(await verdicts(text), ["pass r.a.test", "pass s.a.test"]);
  assertEquals(
    await verdicts(text, { minKeyBits: 2048 }),
    ["policy r.a.test", "pass s.a.test"],
  );
});

Deno.test("t=s wants the very domain in i=, t=y is said", async () => {
  const table = textTable({
    [NAME]: key.record.replace("p=", "t=y:s; p="),
  });
  const results = async (i: string) => {
    const bytes = bytesOf(signForTest(message, key, { i }));
    const [only] = await verifyDkim(bytes, { dns: table });
    return [only!.result, only!.testing];
  };
  assertEquals(await results("ann@a.test"), ["pass", true]);
  assertEquals(await results("ann@mail.a.test"), ["permerror", true]);
});

Deno.test("What is changed after signing is noticed, what is folded otherwise is not", async () => {
  assertEquals(await verdicts(`X-New: a\r\n${signed}`), ["pass s.a.test"]);
  const folded = signed.replace("Subject: Hi", "SUBJECT :\r\n\t Hi  ")
    .replace("Hello\r\n", "Hello \t\r\n\r\n\r\n");
  assertEquals(await verdicts(folded), ["pass s.a.test"]);
  for (
    const changed of [
      signed.replace("ann@", "eve@"),
      signed.replace("Hello", "Hell"),
      signed.replace("Hello", "Hello\r\nmore"),
      signed.replace("Subject: Hi\r\n", ""),
      signed.replace("c=relaxed/relaxed; ", "c=relaxed/relaxed;"),
    ]
  ) {
    assertEquals(await verdicts(changed), ["fail s.a.test"]);
  }
});

Deno.test("b= may be folded, and stand anywhere", async () => {
  const value = /; b=([^\r]+)\r\n/.exec(signed)![1]!;
  const parts = `${value.slice(0, 9)}\r\n\t${value.slice(9)} `;
  assertEquals(
    await verdicts(signed.replace(value, parts)),
    ["pass s.a.test"],
  );
});

Deno.test("A header block of more than 1 MiB counts as unsigned", async () => {
  const long = `X: ${"a".repeat(1_048_576)}\r\n${signed}`;
  assertEquals(await verdicts(long), []);
});

Deno.test("A stream that fails makes it reject, and options are checked", async () => {
  const failing = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(bytesOf(signed)),
    pull: (controller) => controller.error(new Error("Lost")),
  });
  await assertRejects(() => verifyDkim(failing, { dns }), Error, "Lost");
  for (
    const [options, text] of [
      [{}, "dns"],
      [{ dns: 1 }, "dns"],
      [{ dns, minKeyBits: 512 }, "minKeyBits"],
      [{ dns, maxSignatures: 0 }, "maxSignatures"],
      [{ dns, max: 1 }, "max"],
    ] as const
  ) {
    await assertRejects(
      () => verifyDkim(bytesOf(signed), options as never),
      Error,
      text,
    );
  }
});
