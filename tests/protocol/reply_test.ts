/**
 * Replies on the wire: code, enhanced code, lines and their length (RFC 5321
 * sections 4.2 and 4.5.3.1.5, RFC 2034).
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { replies, type ReplyName } from "../../lib/protocol/replies.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";

const WIRE: [
  name: string,
  make: () => SmtpReply,
  wire: string,
][] = [
  ["a line", () => new SmtpReply(250, "OK"), "250 OK\r\n"],
  [
    "an enhanced code",
    () => new SmtpReply(550, "No", { enhanced: "5.1.1" }),
    "550 5.1.1 No\r\n",
  ],
  [
    "several lines",
    () => new SmtpReply(250, ["a", "b", "c"], { enhanced: "2.0.0" }),
    "250-2.0.0 a\r\n250-2.0.0 b\r\n250 2.0.0 c\r\n",
  ],
  ["no text", () => new SmtpReply(250, ""), "250 \r\n"],
  ["no lines", () => new SmtpReply(250, []), "250 \r\n"],
  ["LF", () => new SmtpReply(250, "a\nb"), "250-a\r\n250 b\r\n"],
  ["CRLF", () => new SmtpReply(250, "a\r\nb"), "250-a\r\n250 b\r\n"],
  ["CR", () => new SmtpReply(250, ["a\rb"]), "250-a\r\n250 b\r\n"],
  [
    "a try to break out",
    () => new SmtpReply(550, "x\r\n250 OK"),
    "550-x\r\n550 250 OK\r\n",
  ],
  ["controls", () => new SmtpReply(250, "a\0\x1b[m\x7f"), "250 a??[m?\r\n"],
  ["a tab", () => new SmtpReply(250, "a\tb"), "250 a\tb\r\n"],
  [
    "a long line",
    () => new SmtpReply(250, "x".repeat(497)),
    `250-${"x".repeat(496)}\r\n250 x\r\n`,
  ],
];

for (const [name, make, wire] of WIRE) {
  Deno.test(`SmtpReply prints ${name}`, () => {
    const reply = make();
    assertEquals(reply.wire, wire);
    assertEquals(new TextDecoder().decode(reply.bytes), wire);
    assertEquals(reply.bytes, new TextEncoder().encode(reply.wire));
    assertEquals(
      String(reply).split("\n").length,
      wire.split("\r\n").length - 1,
    );
  });
}

Deno.test("SmtpReply knows its kind by the code", () => {
  const kinds = [200, 250, 354, 399, 400, 451, 499, 500, 599].map((code) => {
    const { isPositive, isTemporary } = new SmtpReply(code, "");
    return [code, isPositive, isTemporary];
  });
  assertEquals(kinds, [
    [200, true, false],
    [250, true, false],
    [354, true, false],
    [399, true, false],
    [400, false, true],
    [451, false, true],
    [499, false, true],
    [500, false, false],
    [599, false, false],
  ]);
});

for (const code of [0, 199, 600, 250.5, NaN, Infinity]) {
  Deno.test(`SmtpReply refuses the code ${code}`, () => {
    assertThrows(
      () => new SmtpReply(code, ""),
      RangeError,
      `Cannot make a reply with code "${code}": want 200 to 599`,
    );
  });
}

for (const enhanced of ["4.1.1", "5.1", "5.1.1.1", "5.1.1000", "x", ""]) {
  Deno.test(`SmtpReply refuses the enhanced code "${enhanced}" with 550`, () => {
    assertThrows(() => new SmtpReply(550, "", { enhanced }), RangeError);
  });
}

Deno.test("replies fit a reply line and tell their class", () => {
  for (const [name, reply] of Object.entries(replies)) {
    for (const line of reply.wire.split("\r\n")) {
      assertEquals(line.length <= 510, true, name);
    }
    const bare: readonly ReplyName[] = ["startData"];
    assertEquals(
      reply.enhanced === undefined,
      bare.includes(name as ReplyName),
      name,
    );
  }
});

Deno.test("SmtpReply keeps every line to 512 bytes of whole characters", () => {
  for (const text of ["x", "\u00fc", "\u4f60", "\u{1f600}", "a\u4f60"]) {
    const long = text.repeat(1500);
    const reply = new SmtpReply(550, long, { enhanced: "5.999.999" });
    for (const line of reply.wire.split(/(?<=\r\n)/)) {
      assert(new TextEncoder().encode(line).length <= 512, line);
    }
    assertEquals(reply.lines.join(""), long);
  }
});
