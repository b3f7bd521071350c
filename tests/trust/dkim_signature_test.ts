/**
 * DKIM-Signature fields, each rule with a field that breaks it (RFC 6376 sections
 * 3.5 and 6.1.1, RFC 8301, RFC 8616). Real signatures over each of them: nothing
 * but the tag in question is wrong.
 */

import { assertEquals } from "@std/assert";
import { verifyDkim } from "../../lib/trust/dkim_verify.ts";
import { bytesOf, textOf, utf8 } from "../support/bytes.ts";
import { makeTestKey, signForTest, textTable } from "../support/dkim.ts";

const key = makeTestKey("ed25519");
const message =
  "From: Ann <ann@a.test>\r\nTo: bob@b.test\r\nSubject: Hi\r\n\r\nHello\r\n";
/** 30 November 2026, in seconds. */
const NOW = 1_796_000_000;
const U_LABEL = textOf(utf8("bücher.test"));

const rows: [
  tags: Record<string, string | undefined>,
  want: string,
][] = [
  [{}, "pass"],
  [{ a: "ED25519-SHA256", c: "Relaxed/Simple", q: "DNS/TXT" }, "pass"],
  [{ c: undefined }, "fail: The signature does not fit the header"],
  [{ c: "simple" }, "pass"],
  [{ c: "relaxed" }, "pass"],
  [{ h: "FROM : subject :\r\n\tTo" }, "pass"],
  [{ h: "from:x-none::from" }, "pass"],
  [{ q: "foo/bar : dns/txt:exam/ple" }, "pass"],
  [{ t: `${NOW}`, x: `${NOW + 1}` }, "pass"],
  [{ t: `${NOW + 3600}` }, "pass"],
  [{ i: "ann@a.test" }, "pass"],
  [{ i: "@mail.A.test" }, "pass"],
  [{ i: "ann=40more@ mail.a.test" }, "pass"],
  [{ d: "A.Test", s: "S" }, "pass"],
  [{ d: U_LABEL, i: `ann@${U_LABEL}` }, "pass"],
  [{ z: "From:Ann", unknown: "" }, "pass"],
  [{ v: undefined }, "permerror: There is no v="],
  [{ v: "2" }, "permerror: The version is not 1"],
  [{ a: undefined }, "permerror: There is no a="],
  [{ a: "rsa-sha1" }, "permerror: SHA-1 is no longer accepted"],
  [{ a: "rsa-md5" }, "permerror: The algorithm in a= is unknown"],
  [
    { a: "rsa-sha256" },
    "permerror: The key is of another type than the signature",
  ],
  [{ bh: undefined }, "permerror: There is no bh="],
  [{ bh: "AAAA" }, "permerror: The text in bh= is no digest"],
  [{ bh: "" }, "permerror: The text in bh= is no digest"],
  [{ d: undefined }, "permerror: There is no d="],
  [{ d: "" }, "permerror: The text in d= is no domain"],
  [{ d: "test" }, "permerror: The text in d= is no domain"],
  [{ d: "a.test." }, "permerror: The text in d= is no domain"],
  [{ d: "a..test" }, "permerror: The text in d= is no domain"],
  [{ d: "a.test (comment)" }, "permerror: The text in d= is no domain"],
  [{ d: "a.test\r\n b" }, "permerror: The text in d= is no domain"],
  [{ d: `${"a".repeat(64)}.test` }, "permerror: The text in d= is no domain"],
  [{ d: `${"a.".repeat(130)}test` }, "permerror: The text in d= is no domain"],
  [{ d: textOf(utf8("ａ.test")) }, "permerror: The text in d= is no domain"],
  [{ d: "\xff.test" }, "permerror: The text in d= is no domain"],
  [{ s: undefined }, "permerror: There is no s="],
  [{ s: "s..t" }, "permerror: The text in s= is no selector"],
  [{ s: '"s"' }, "permerror: The text in s= is no selector"],
  [{ h: undefined }, "permerror: There is no h="],
  [{ h: "To:Subject" }, "permerror: From is not signed"],
  [{ h: "From-X:To" }, "permerror: From is not signed"],
  [{ c: "nowsp" }, "permerror: The canonical form in c= is unknown"],
  [{ c: "relaxed/nowsp" }, "permerror: The canonical form in c= is unknown"],
  [
    { c: "relaxed/relaxed/simple" },
    "permerror: The canonical form in c= is unknown",
  ],
  [
    { i: "ann@b.test" },
    "permerror: The domain in i= is not below the one in d=",
  ],
  [{ i: "@xa.test" }, "permerror: The domain in i= is not below the one in d="],
  [{ i: "@test" }, "permerror: The text in i= is no identity"],
  [{ i: "a.test" }, "permerror: The text in i= is no identity"],
  [{ i: "ann=0D=0AX:@a.test" }, "permerror: The text in i= is no identity"],
  [{ i: "@a.test (b.test)" }, "permerror: The text in i= is no identity"],
  [
    { i: "a".repeat(300) + "@a.test" },
    "permerror: The text in i= is no identity",
  ],
  [{ q: "dns" }, "permerror: The query method in q= is unknown"],
  [{ q: "http" }, "permerror: The query method in q= is unknown"],
  [{ q: "dns/special" }, "permerror: The query method in q= is unknown"],
  [{ l: "-1" }, "permerror: The text in l= is no length"],
  [{ l: "0x5" }, "permerror: The text in l= is no length"],
  [{ l: "1".repeat(77) }, "permerror: The text in l= is no length"],
  [{ l: "9".repeat(76) }, "fail: The body is shorter than its signed part"],
  [{ l: "8" }, "fail: The body is shorter than its signed part"],
  [{ l: "7" }, "pass 0 unsigned"],
  [{ l: "3" }, "pass 4 unsigned"],
  [{ l: "0" }, "pass 7 unsigned"],
  [{ t: "now" }, "permerror: The text in t= is no time"],
  [{ t: "1".repeat(13) }, "permerror: The text in t= is no time"],
  [{ t: `${NOW + 100_000}` }, "permerror: The time in t= is in the future"],
  [{ x: "" }, "permerror: The text in x= is no time"],
  [{ x: `${NOW - 1}` }, "permerror: It has expired"],
  [{ t: `${NOW}`, x: `${NOW}` }, "permerror: It expires before it begins"],
  [{ z: "a\0b" }, "permerror: Tag z= has a control character"],
  [{ "9": "a" }, "permerror: A tag has no valid name"],
  [{ z: "a; z=b" }, "permerror: Tag z= stands there twice"],
  [{ z: "a; b" }, "permerror: A tag has no value"],
];

const dns = textTable({
  "s._domainkey.a.test": key.record,
  "s._domainkey.xn--bcher-kva.test": key.record,
});

for (const [tags, want] of rows) {
  const shown = JSON.stringify(tags).slice(0, 60);
  Deno.test(`Signature with ${shown}: ${want}`, async () => {
    const signed = signForTest(message, key, tags);
    const [only] = await verifyDkim(bytesOf(signed), { dns, now: NOW * 1000 });
    const { result, reason, unsigned } = only!;
    const left = unsigned === undefined || reason !== undefined
      ? ""
      : ` ${unsigned} unsigned`;
    assertEquals(`${result}${left}${reason ? `: ${reason}` : ""}`, want);
  });
}

Deno.test("Names are shown as A-labels and in lower case, or not at all", async () => {
  const named = async (tags: Record<string, string | undefined>) => {
    const signed = signForTest(message, key, { h: "To", ...tags });
    const [only] = await verifyDkim(bytesOf(signed), { dns });
    return [only!.domain, only!.selector, only!.identity, only!.algorithm];
  };
  assertEquals(
    await named({ d: "A.Test", s: "S1", a: "RSA-MD5" }),
    ["a.test", "s1", "@a.test", "rsa-md5"],
  );
  const idn = textOf(utf8("jörg@bücher.test"));
  assertEquals(
    await named({ d: U_LABEL, i: idn }),
    ["xn--bcher-kva.test", "s", "jörg@xn--bcher-kva.test", "ed25519-sha256"],
  );
  assertEquals(
    await named({ d: "a.test(", s: "s x", i: "@a.test)", a: "a b" }),
    ["", "", "", ""],
  );
});
