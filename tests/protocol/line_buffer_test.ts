/**
 * Lines from reads that are cut anywhere: only CRLF ends a line (RFC 5321
 * section 2.3.8).
 */

import { assert, assertEquals } from "@std/assert";
import { LineBuffer, type LineStatus } from "../../lib/protocol/line_buffer.ts";
import { pieces, seeded, waysToCut } from "../support/random.ts";
import { bytesOf, utf8 } from "../support/bytes.ts";

type Found = string | Exclude<LineStatus, "line" | "more">[];

/** All lines of the pieces: the text of good ones, the status of bad ones in a list. */
function linesOf(parts: readonly Uint8Array[], limit: number): Found[] {
  const buffer = new LineBuffer(limit);
  const found: Found[] = [];
  for (const part of parts) {
    for (let at = 0;;) {
      const status = buffer.next(part, at, part.length);
      at = buffer.position;
      if (status === "more") {
        assertEquals(at, part.length);
        break;
      }
      if (status === "line") {
        found.push(buffer.text);
        assertEquals(buffer.byteLength, utf8(buffer.text).length);
      } else found.push([status]);
      if (status === "endless") return found;
    }
  }
  return found;
}

const LONG: Found = ["too-long"];
const BARE: Found = ["bare-newline"];
const NOT_UTF8: Found = ["not-utf8"];
const ENDLESS: Found = ["endless"];

const ROWS: [name: string, input: string, want: Found[]][] = [
  ["nothing", "", []],
  ["an empty line", "\r\n", [""]],
  ["lines", "NOOP\r\nRSET\r\n", ["NOOP", "RSET"]],
  ["a line without its end", "NOOP\r\nRSET\r", ["NOOP"]],
  ["a bare LF at once", "NOOP\n", [BARE]],
  ["bare LFs, each at once", "NOOP\nRSET\nQU", [BARE, BARE]],
  ["a bare LF", "NOOP\nRSET\r\nQUIT\r\n", [BARE, BARE, "QUIT"]],
  ["a bare LF alone", "\n\r\nQUIT\r\n", [BARE, BARE, "QUIT"]],
  ["a bare CR", "NO\rOP\r\nQUIT\r\n", [BARE, "QUIT"]],
  ["CR CR LF", "NOOP\r\r\nQUIT\r\n", [BARE, "QUIT"]],
  ["LF CR", "NOOP\n\rQUIT\r\nQUIT\r\n", [BARE, BARE, "QUIT"]],
  ["white space as it is", " NOOP \t\r\n", [" NOOP \t"]],
  ["NUL as it is", "NO\0OP\r\n", ["NO\0OP"]],
  ["UTF-8", "\xc3\xa9\r\n", ["é"]],
  ["a byte order mark", "\xef\xbb\xbfa\r\n", ["\ufeffa"]],
  ["not UTF-8", "\xff\r\nNOOP\r\n", [NOT_UTF8, "NOOP"]],
  ["UTF-8 cut off", "\xc3\r\nNOOP\r\n", [NOT_UTF8, "NOOP"]],
  ["an overlong form", "\xc0\xaf\r\n", [NOT_UTF8]],
  ["a surrogate", "\xed\xa0\x80\r\n", [NOT_UTF8]],
  ["not UTF-8 and a bare CR", "\xff\ra\r\n", [BARE]],
  ["UTF-8 and a bare CR", "\xc3\xa9\ra\r\n", [BARE]],
  ["a line that just fits", `${"a".repeat(20)}\r\n`, ["a".repeat(20)]],
  ["a line one too long", `${"a".repeat(21)}\r\nNOOP\r\n`, [LONG, "NOOP"]],
  ["a bare LF in a long line", `${"a".repeat(30)}\na\r\nb\r\n`, [
    LONG,
    BARE,
    "b",
  ]],
  ["a bare LF behind what just fits", `${"a".repeat(20)}\nb\r\n`, [BARE, BARE]],
  ["a long line behind a bare LF", `a\n${"b".repeat(21)}\r\nc\r\n`, [
    BARE,
    LONG,
    "c",
  ]],
  ["a long line after a short", `a\r\n${"b".repeat(99)}\r\nc\r\n`, [
    "a",
    LONG,
    "c",
  ]],
  ["what fits in characters only", `${"\xc3\xa9".repeat(11)}\r\n`, [LONG]],
  ["64 KiB", `${"a".repeat(65536)}\r\nNOOP\r\n`, [LONG, "NOOP"]],
  ["beyond 64 KiB", `${"a".repeat(65600)}\r\nNOOP\r\n`, [ENDLESS]],
];

for (const [name, input, want] of ROWS) {
  Deno.test(`LineBuffer.next() gives ${name}`, () => {
    for (const [way, cut] of waysToCut(bytesOf(input))) {
      assertEquals(linesOf(cut, 20), want, way);
    }
  });
}

Deno.test("LineBuffer.next() gives the same lines however the input is cut", () => {
  const alphabet = ["\r", "\n", "\r\n", "a", "bcd", "\xc3\xa9", "\xc3", "\0"];
  for (let seed = 0; seed < 5000; seed++) {
    const random = seeded(seed);
    let input = "";
    for (let left = random(20); left > 0; left--) {
      input += alphabet[random(alphabet.length)];
    }
    const limit = 1 + random(12);
    const want = linesOf([bytesOf(input)], limit);
    const cut = pieces(bytesOf(input), { seed, longest: 1 + random(5) });
    assertEquals(linesOf(cut, limit), want, `seed ${seed}: ${input}`);
  }
});

Deno.test("LineBuffer.next() does not keep the input", () => {
  const buffer = new LineBuffer(100);
  const input = bytesOf("NOOP a\r");
  assertEquals(buffer.next(input, 0, input.length), "more");
  input.fill(0);
  assertEquals(buffer.next(bytesOf("\n"), 0, 1), "line");
  assertEquals(buffer.text, "NOOP a");
});

Deno.test("LineBuffer.next() reads only its range of the input", () => {
  const buffer = new LineBuffer(100);
  const input = bytesOf("x\r\nNOOP\r\n");
  assertEquals(buffer.next(input, 3, 7), "more");
  assertEquals(buffer.position, 7);
  assertEquals(buffer.next(input, 7, 9), "line");
  assertEquals(buffer.text, "NOOP");
});

Deno.test("LineBuffer.next() gives up on an endless line, in pieces of any size", () => {
  for (const size of [1, 7, 4096, 65536]) {
    const buffer = new LineBuffer(512);
    const piece = new Uint8Array(size).fill(97);
    let sent = 0;
    while (buffer.next(piece, 0, size) === "more") {
      sent += size;
      assert(sent <= 65536 + 512 + size, `still waiting after ${sent}`);
    }
  }
});

Deno.test("LineBuffer.reset() forgets the line begun", () => {
  for (const begun of ["STARTTLS", "a\n", "a\r", "a".repeat(99)]) {
    const buffer = new LineBuffer(20);
    buffer.next(bytesOf(begun), 0, begun.length);
    assertEquals(buffer.position, begun.length);
    buffer.reset();
    assertEquals(buffer.next(bytesOf("NOOP\r\n"), 0, 6), "line");
    assertEquals(buffer.text, "NOOP");
  }
});
