/**
 * The domain of the author (RFC 9989 section 5.3.1, RFC 5322 section 3.6.2): what
 * two readers could take for two domains makes the message one without an author.
 */

import { assert, assertEquals } from "@std/assert";
import { authorDomain } from "../../lib/trust/author.ts";
import { rawFields } from "../../lib/trust/canonical_header.ts";

/** The domain in a header block; text as UTF-8. */
function domainOf(block: string): string {
  const bytes = new TextEncoder().encode(block);
  const { domain, reason } = authorDomain(rawFields(bytes));
  return domain ?? `- ${reason}`;
}

const SEVERAL = "- From names several domains";
const CONTROL = "- From has a control character";
const INVALID = "- From has no valid domain";

const VALUES: readonly (readonly [value: string, want: string])[] = [
  // What the grammar allows.
  ["ann@a.test", "a.test"],
  ["<ann@a.test>", "a.test"],
  ["Ann <ann@A.Test>", "a.test"],
  ["(c) Ann (x@b.test) <ann@a.test> (y@c.test)", "a.test"],
  ['"x@b.test" <ann@a.test>', "a.test"],
  ['"x@b.test, y" <ann@a.test>', "a.test"],
  ['"Ann \\" <x@b.test>" <ann@a.test>', "a.test"],
  ["=?utf-8?q?x=40b.test?= <ann@a.test>", "a.test"],
  ["=?utf-8?q?=22_=3Cx=40b.test=3E?= <ann@a.test>", "a.test"],
  ['"a@b.test"@a.test', "a.test"],
  ['"a b"@a.test', "a.test"],
  ['<"x@b.test>"@a.test>', "a.test"],
  ["ann@a.test, bob@A.TEST", "a.test"],
  ["ann@a.test,\r\n bob <bob@a.test>", "a.test"],
  ["ann@localhost", "localhost"],
  // Other spellings of a domain.
  ["ann@bücher.test", "xn--bcher-kva.test"],
  ["ann@BÜCHER.test", "xn--bcher-kva.test"],
  ["ann@bücher.test, bob@xn--bcher-kva.test", "xn--bcher-kva.test"],
  ["jürgen@a.test", "a.test"],
  ["Jürgen <ann@a.test>", "a.test"],
  // What breaks it, and leaves no doubt about the domain.
  ["ann@a.test <ann@a.test>", "a.test"],
  ["team: ann@a.test, bob@a.test;", "a.test"],
  ["ann@a.test,", "a.test"],
  ["<ann@a.test", "a.test"],
  ["ann @ a.test", "a.test"],
  ["ann@(comment)a.test", "a.test"],
  ["J. Doe [x] <ann@a.test>", "a.test"],
  ["ann@a.test.", "a.test"],
  ['"Ann <ann@a.test>', "a.test"],
  // Two domains, for one reader or another.
  ["ann@a.test, bob@b.test", SEVERAL],
  ["ann@a.test <bob@b.test>", SEVERAL],
  ["<ann@a.test> <bob@b.test>", SEVERAL],
  ["<ann@a.test>, <bob@sub.a.test>", SEVERAL],
  ["team: ann@a.test, bob@b.test;", SEVERAL],
  ["<@b.test:ann@a.test>", SEVERAL],
  ["<ann@a.test@b.test>", SEVERAL],
  ['"ann@a.test <bob@b.test>', SEVERAL],
  ["(ann@a.test <bob@b.test>", SEVERAL],
  ["<bob@b.test> ann@a.test", SEVERAL],
  ["=?utf-8?q?bob=40b.test=3E?=@a.test", SEVERAL],
  ["<=?utf-8?q?bob=40b.test=2C?=ann@a.test>", SEVERAL],
  ["ann@a.(x)test", "- From names several domains"],
  // No domain.
  ["", "- From has no address"],
  ["Ann", "- From has no address"],
  ["undisclosed:;", "- From has no address"],
  ["<>", "- From has no address"],
  ["=?utf-8?q?ann=40a.test?=", "a.test"],
  ["ann@", INVALID],
  ["<ann@>", INVALID],
  ["ann@.", INVALID],
  ["ann@.a.test", INVALID],
  ["ann@a..test", INVALID],
  ["ann@-a.test", INVALID],
  ["ann@a_b.test", "a_b.test"],
  ["ann@192.0.2.1", INVALID],
  ["ann@a.1", INVALID],
  [`ann@${"a".repeat(64)}.test`, INVALID],
  [`ann@${"a.".repeat(200)}test`, INVALID],
  ["ann@ａ.test", INVALID],
  ["ann@a\u200b.test", INVALID],
  ["ann@a\u3002test", INVALID],
  ["ann@[192.0.2.1]", "- From has an IP address in place of a domain"],
  ["<ann@[IPv6:::1]>", "- From has an IP address in place of a domain"],
  ["ann@a.test, bob@", INVALID],
  ["ann@a.test\0", CONTROL],
  ["ann@a.test\0@b.test", CONTROL],
  ["ann@a.test\rFoo: x", CONTROL],
  ["ann@a.test\nFoo: x", CONTROL],
];

Deno.test("authorDomain() finds the one domain that every reader sees", async (t) => {
  for (const [value, want] of VALUES) {
    await t.step(JSON.stringify(value), () => {
      assertEquals(domainOf(`From: ${value}\r\n\r\n`), want);
    });
  }
});

Deno.test("authorDomain() takes From from a whole header, in any case and once", async (t) => {
  const rows: readonly (readonly [block: string, want: string])[] = [
    ["To: x@b.test\r\nFROM : ann@a.test\r\n", "a.test"],
    ["from:ann@a.test\r\nSender: x@b.test\r\n", "a.test"],
    ["From:\r\n ann@a.test\r\n", "a.test"],
    ["X-From: x@b.test\r\nFrom: ann@a.test\r\n", "a.test"],
    ["To: x@b.test\r\n", "- The message has no From"],
    ["\r\nFrom: ann@a.test\r\n", "- The message has no From"],
    [
      "From: ann@a.test\r\nfrom: ann@a.test\r\n",
      "- The message has From more than once",
    ],
    [
      "From: ann@a.test\r\nFrom : x@b.test\r\n",
      "- The message has From more than once",
    ],
    [
      "Subject: a\nFrom: x@b.test\r\nFrom: ann@a.test\r\n",
      "- A line end that is no CRLF hides another From",
    ],
    [
      "Subject: a\rfrom\t: x@b.test\r\nFrom: ann@a.test\r\n",
      "- A line end that is no CRLF hides another From",
    ],
    [
      "From: ann@a.test\nFrom: x@b.test\r\n",
      "- A line end that is no CRLF hides another From",
    ],
  ];
  for (const [block, want] of rows) {
    await t.step(JSON.stringify(block), () => {
      assertEquals(domainOf(block), want);
    });
  }
});

Deno.test("A display name may have any bytes, a domain UTF-8 only", () => {
  const of = (text: string) => {
    const bytes = Uint8Array.from(text, (char) => char.charCodeAt(0));
    return authorDomain(rawFields(bytes)).domain;
  };
  assertEquals(of("From: J\xfcrgen <ann@a.test>\r\n"), "a.test");
  assertEquals(of("From: ann@b\xfccher.test\r\n"), undefined);
});

Deno.test("Long From fields take no longer than their length", () => {
  const count = 100_000;
  for (
    const part of [
      ...["@(", "@[", "(", '"', "<", "@", "ann@a.test,", "\\", "=?utf-8?q?"],
      ...["((a)", "@(a)", "a@b.test ", '"\\"', ": ;", "@a", "[", "=?a?b?"],
    ]
  ) {
    const block = `From: ${part.repeat(count)}\r\n`;
    assert(domainOf(block) !== "");
  }
});
