/**
 * Replies as the client parses them: RFC 5321 sections 4.2 and 4.5.3.1.5, RFC
 * 2034.
 */

import { assert, assertEquals } from "@std/assert";
import { ReplyReader } from "../../../lib/protocol/client/replies.ts";
import { seededFraction, waysToCut } from "../../support/random.ts";
import { bytesOf } from "../../support/bytes.ts";

/** All results of the reader: replies as printed, faults in brackets. */
function read(pieces: Uint8Array[]): string[] {
  const reader = new ReplyReader();
  const found: string[] = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (let got = reader.next(); got; got = reader.next()) {
      if ("fault" in got) return [...found, `<${got.fault}>`];
      found.push(String(got.reply));
    }
  }
  if (!reader.isEmpty) found.push("...");
  return found;
}

const LONG = "x".repeat(1990);
const ROWS: readonly (readonly [
  name: string,
  input: string,
  want: readonly string[],
])[] = [
  ["one line", "250 Ok\r\n", ["250 Ok"]],
  ["code alone", "250\r\n", ["250"]],
  ["bare LF", "250 Ok\n", ["250 Ok"]],
  ["two lines", "250-a\r\n250 b\r\n", ["250-a\n250 b"]],
  ["last line bare", "250-a\r\n250\r\n", ["250-a\n250"]],
  ["two replies", "220 a\r\n354 b\r\n", ["220 a", "354 b"]],
  ["enhanced", "550 5.1.1 No\r\n", ["550 5.1.1 No"]],
  ["enhanced lines", "550-5.1.1 No\r\n550 5.1.1 user\r\n", [
    "550-5.1.1 No\n550 5.1.1 user",
  ]],
  ["enhanced of another class stays text", "550 4.1.1 No\r\n", [
    "550 4.1.1 No",
  ]],
  ["not complete", "250-a\r\n250", ["..."]],
  ["control characters", "250 a\x07b\r\n", ["250 a?b"]],
  ["bare CR inside", "250 a\rb\r\n", ["250-a\n250 b"]],
  ["garbage", "hello\r\n", ["<A line is not a reply>"]],
  ["empty line", "\r\n", ["<A line is not a reply>"]],
  ["code below 200", "150 a\r\n", ["<A line is not a reply>"]],
  ["code above 599", "650 a\r\n", ["<A line is not a reply>"]],
  ["four digits", "2500 a\r\n", ["<A line is not a reply>"]],
  ["no separator", "250ok\r\n", ["<A line is not a reply>"]],
  ["codes differ", "250-a\r\n550 b\r\n", [
    "<The lines of a reply have different codes>",
  ]],
  ["line too long", `250 ${LONG}xxxxxxxxxxxxxx\r\n`, [
    "<A reply line is too long>",
  ]],
  ["too many lines", "250-a\r\n".repeat(101), ["<A reply is too long>"]],
  ["too many bytes", `250-${LONG}\r\n`.repeat(40), ["<A reply is too long>"]],
  ["fault stays", "250 a\r\nx\r\n250 b\r\n", [
    "250 a",
    "<A line is not a reply>",
  ]],
];

Deno.test("ReplyReader.next() takes replies however they arrive", async (t) => {
  for (const [name, input, want] of ROWS) {
    await t.step(name, () => {
      for (const [, pieces] of waysToCut(bytesOf(input))) {
        assertEquals(read(pieces), want);
      }
    });
  }
});

Deno.test("ReplyReader.next() never throws on random bytes", () => {
  const random = seededFraction(7);
  const alphabet = "2345-  \r\n\r\n.0a\0\xff";
  for (let round = 0; round < 3000; round++) {
    let input = "";
    while (random() < 0.97) {
      input += alphabet[Math.floor(random() * alphabet.length)];
    }
    const [whole, ...others] = waysToCut(bytesOf(input));
    const want = read(whole![1]);
    for (const [, pieces] of others) {
      assertEquals(read(pieces), want, JSON.stringify(input));
    }
  }
});

Deno.test("ReplyReader bounds what it keeps", () => {
  const reader = new ReplyReader();
  reader.push(new Uint8Array(5000).fill(50));
  const got = reader.next();
  assert(got && "fault" in got);
  reader.push(bytesOf("250 ok\r\n"));
  assert(reader.isEmpty);
});
