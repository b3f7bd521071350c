/**
 * Values of header fields as a reader sees them: RFC 2047 encoded words, RFC
 * 5322 lists of addresses and dates. Hostile text gives values, never an
 * exception, in a time that grows with its length alone.
 */

import { assert, assertEquals } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { seededFraction } from "../support/random.ts";

function headersOf(block: string): MessageHeaders {
  return MessageHeaders.parse(new TextEncoder().encode(block));
}

function textOf(value: string): string | undefined {
  return headersOf(`X: ${value}\r\n`).text("x");
}

function addressesOf(value: string): string[] {
  return headersOf(`To: ${value}\r\n`).addresses("to").map((one) =>
    `${one.name}|${one.address}`
  );
}

Deno.test("text() decodes encoded words", () => {
  for (
    const [value, want] of [
      ["plain", "plain"],
      ["=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"],
      ["=?UTF-8?b?R3LDvMOfZQ==?=", "Grüße"],
      ["=?utf-8?B?R3LDvMOfZQ?=", "Grüße"],
      ["=?iso-8859-1?Q?Keld_J=F8rn?= Simonsen", "Keld Jørn Simonsen"],
      ["=?iso-8859-1*da?Q?J=F8rn?=", "Jørn"],
      // RFC 2047 section 8.
      ["(=?ISO-8859-1?Q?a?=)", "(a)"],
      ["=?ISO-8859-1?Q?a?= b", "a b"],
      ["=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"],
      ["=?ISO-8859-1?Q?a?=\r\n  =?ISO-8859-1?Q?b?=", "ab"],
      ["=?ISO-8859-1?Q?a?= =?utf-8?Q?=C3=BC?=", "aü"],
      ["=?ISO-8859-1?Q?a_b?=", "a b"],
      // A character cut in two.
      ["=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?=", "Grüße"],
      ["=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"],
      ["=?koi8-r?Q?=F0=D2=C9?=", "При"],
      // What cannot be decoded stays.
      ["=?nonsense?Q?a?=", "=?nonsense?Q?a?="],
      ["=?utf-8?X?a?=", "=?utf-8?X?a?="],
      ["=?utf-8?B?a?=", "=?utf-8?B?a?="],
      ["=?utf-8?Q?a", "=?utf-8?Q?a"],
      ["=?utf-8?Q?=G1=?=", "=G1="],
      ["=?utf-8?Q??=", ""],
      ["Grüße", "Grüße"],
      // No line comes of it.
      ["=?utf-8?Q?a=0D=0ABcc:_b=00?=", "a  Bcc: b "],
    ] as const
  ) assertEquals(textOf(value), want, value);
  assertEquals(headersOf("A: b\r\n").text("C"), undefined);
});

Deno.test("addresses() reads lists, groups and names", () => {
  const rows: [string, string[]][] = [
    ["ann@a.example", ["|ann@a.example"]],
    ["Ann Smith <ann@a.example>", ["Ann Smith|ann@a.example"]],
    ['"Smith, Ann" <ann@a.example>', ["Smith, Ann|ann@a.example"]],
    ['"A \\"B\\" C" <ann@a.example>', ['A "B" C|ann@a.example']],
    ["=?utf-8?Q?=C3=84nne?= <ann@a.example>", ["Änne|ann@a.example"]],
    [
      "=?utf-8?Q?=C3=84nne?= =?utf-8?Q?_M?= <ann@a.example>",
      ["Änne M|ann@a.example"],
    ],
    ['"=?utf-8?Q?=C3=84?=" <ann@a.example>', ["Ä|ann@a.example"]],
    ["ann@a.example (Ann (the) Smith)", ["Ann (the) Smith|ann@a.example"]],
    ["a@b.c, d@e.f", ["|a@b.c", "|d@e.f"]],
    ["a@b.c,, ,d@e.f,", ["|a@b.c", "|d@e.f"]],
    ["team: a@b.c, Dee <d@e.f>; g@h.i", ["|a@b.c", "Dee|d@e.f", "|g@h.i"]],
    ["undisclosed-recipients:;", []],
    ["<@a.example,@b.example:ann@c.example>", ["|ann@c.example"]],
    ['<"a b"@c.example>', ['|"a b"@c.example']],
    ['"a,b"@c.example', ['|"a,b"@c.example']],
    ["ann@[IPv6:::1], b@c.d", ["|ann@[IPv6:::1]", "|b@c.d"]],
    ["ann . smith @ a . example", ["|ann.smith@a.example"]],
    ["< ann (comment) @a.example >", ["|ann@a.example"]],
    ["änne@bücher.example", ["|änne@bücher.example"]],
    ["Ann Smith", ["Ann Smith|"]],
    ["ann", ["|ann"]],
    ["Ann <>", ["Ann|"]],
    // The decoded name is a name only.
    [
      "=?utf-8?Q?a=40b=2Ec=2C_=3Cx=40y=2Ez=3E?= <ann@a.example>",
      ["a@b.c, <x@y.z>|ann@a.example"],
    ],
    ["=?utf-8?Q?x=40y.z?=", ["x@y.z|"]],
    ["a@b.c <d@e.f>", ["a@b.c|d@e.f"]],
    ["<a@b.c> <d@e.f>", ["|a@b.c"]],
    ["", []],
    ['"unclosed <a@b.c>', ['|"unclosed <a@b.c>']],
    ["(unclosed a@b.c", []],
    ["<unclosed@b.c", ["|unclosed@b.c"]],
  ];
  for (const [value, want] of rows) {
    assertEquals(addressesOf(value), want, value);
  }
  const two = headersOf("From: a@b.c\r\nTo: x@y.z\r\nFrom: d@e.f\r\n");
  assertEquals(two.addresses("From").map(({ address }) => address), [
    "a@b.c",
    "d@e.f",
  ]);
});

Deno.test("date() reads dates, old forms too", () => {
  const want = "2026-11-30T20:25:31.000Z";
  for (
    const value of [
      "Mon, 30 Nov 2026 21:25:31 +0100",
      "30 Nov 2026 20:25:31 GMT",
      "30 Nov 26 15:25:31 EST",
      "Mon, 30 Nov 2026 20:25:31 +0000 (UTC)",
      "Mon ,  30  Nov  2026  20 : 25 : 31  -0000",
      "Mon, 30 Nov 2026 20:25:31",
      "Monday, 30 November 2026 20:25:31 UTC",
      "(a (nested) comment) Mon, 30 Nov 2026 20:25:31 Q",
      "30-Nov-2026 20:25:31 Z",
    ]
  ) {
    const headers = headersOf(`Date: ${value}\r\n`);
    assertEquals(headers.date()?.toJSON(), want, value);
  }
  for (
    const value of [
      "",
      "yesterday",
      "31 Nov 2026 20:25:31 +0000",
      "29 Feb 2026 00:00:00 +0000",
      "0 Nov 2026 20:25:31 +0000",
      "30 Nov 2026 24:00:00 +0000",
      "30 Nov 2026 20:60:00 +0000",
      "30 Ove 2026 20:25:31 +0000",
      "2026-11-30T20:25:31Z",
      `30 Nov 2026 20:25:31 ${"(x)".repeat(100)}`,
    ]
  ) assertEquals(headersOf(`Date: ${value}\r\n`).date(), undefined, value);
  for (const year of [1900, 1970, 1999, 2000, 2024, 2100, 9999]) {
    for (const day of ["1 Jan", "28 Feb", "1 Mar", "31 Dec"]) {
      const text = `${day} ${year} 01:02:03 +0000`;
      assertEquals(
        headersOf(`Resent-Date: ${text}\r\n`).date("Resent-Date")?.getTime(),
        Date.parse(text),
        text,
      );
    }
  }
});

Deno.test("hostile values give values in a time that grows with their length", () => {
  const pieces = [
    ...["=?utf-8?Q?", "?=", "=?", "(", ")", '"', "\\", "<", ">", "@", ",", ":"],
    ...[";", "a", " ", "=", "=?utf-8?B?", "[", "]", "\u00e4", "\t", "."],
  ];
  for (const piece of pieces) {
    const headers = headersOf(
      `X: ${piece.repeat(Math.floor(250_000 / piece.length))}x\r\n`,
    );
    assert(headers.text("X") !== undefined);
    headers.addresses("X");
    assertEquals(headers.date("X"), undefined);
  }
  const random = seededFraction(5);
  for (let turn = 0; turn < 3000; turn++) {
    let value = "x";
    for (let length = random() * 30; length > 0; length--) {
      value += pieces[Math.floor(random() * pieces.length)];
    }
    const headers = headersOf(`X: ${value}\r\n`);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f]/.test(headers.text("X")!));
    for (const { name, address } of headers.addresses("X")) {
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x1f\x7f]/.test(name + address), value);
    }
    headers.date("X");
  }
});

Deno.test("replies, addresses and recipients have a form in JSON", () => {
  const reply = new SmtpReply(452, ["Mailbox full", "Sorry"], {
    enhanced: "4.2.2",
  });
  const address = Address.parse("Ann@A.example");
  assertEquals(
    JSON.stringify({ address, parameters: { notify: ["FAILURE"] }, reply }),
    '{"address":"Ann@A.example","parameters":{"notify":["FAILURE"]},' +
      '"reply":{"code":452,"enhanced":"4.2.2","lines":["Mailbox full","Sorry"]}}',
  );
  assertEquals(
    JSON.stringify(new SmtpReply(250, "OK")),
    '{"code":250,"lines":["OK"]}',
  );
});
