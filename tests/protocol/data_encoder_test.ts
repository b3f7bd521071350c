/**
 * DATA and BDAT content in the form for sending: transparency and strict line
 * ends (RFC 5321 sections 2.3.8 and 4.5.2, RFC 3030).
 */

import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { DataEncoder } from "../../lib/protocol/data_encoder.ts";
import { pieces, seededFraction, waysToCut } from "../support/random.ts";
import { bytesOf, concat, textOf } from "../support/bytes.ts";

function encode(
  pieces: Uint8Array[],
  framing: "data" | "bdat" = "data",
): string {
  const encoder = new DataEncoder({ framing });
  const out = pieces.map((piece) => encoder.encode(piece));
  return textOf(concat([...out, encoder.finish()]));
}

/** Applies the rules by replacement in the whole string: slow and obvious. */
function oracle(text: string, framing: "data" | "bdat" = "data"): string {
  let lines = text.replace(
    /\r\n|\r|\n/g,
    (end) => end === "\r" ? " " : "\r\n",
  );
  if (lines !== "" && !lines.endsWith("\r\n")) lines += "\r\n";
  if (framing === "bdat") return lines;
  return lines.replace(/^\./, "..").replaceAll("\r\n.", "\r\n..") + ".\r\n";
}

const ROWS: readonly (readonly [name: string, input: string, want: string])[] =
  [
    ["empty message", "", ".\r\n"],
    ["plain lines", "a\r\nb\r\n", "a\r\nb\r\n.\r\n"],
    ["no final line end", "a", "a\r\n.\r\n"],
    ["final CR", "a\r", "a \r\n.\r\n"],
    ["final LF", "a\n", "a\r\n.\r\n"],
    ["leading dot", ".a\r\n", "..a\r\n.\r\n"],
    ["only a dot", ".", "..\r\n.\r\n"],
    ["dot inside a line", "a.b\r\n", "a.b\r\n.\r\n"],
    ["dot line", "a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"],
    ["two dots", "a\r\n..\r\n", "a\r\n...\r\n.\r\n"],
    ["smuggling LF . LF", "a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"],
    ["smuggling LF . CRLF", "a\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n"],
    ["smuggling CRLF . LF", "a\r\n.\nb", "a\r\n..\r\nb\r\n.\r\n"],
    ["smuggling CR . CR", "a\r.\rb", "a . b\r\n.\r\n"],
    ["smuggling CR . CRLF", "a\r.\r\nb", "a .\r\nb\r\n.\r\n"],
    ["smuggling CRLF . CR", "a\r\n.\rb", "a\r\n.. b\r\n.\r\n"],
    ["smuggling CR CR LF .", "a\r\r\n.\r\nb", "a \r\n..\r\nb\r\n.\r\n"],
    ["smuggling NUL", "a\r\n\0.\r\nb", "a\r\n\0.\r\nb\r\n.\r\n"],
    ["only CR", "\r", " \r\n.\r\n"],
    ["LF CR", "\n\r", "\r\n \r\n.\r\n"],
    ["eight-bit bytes", "\xff\xe4.\r\n\x80", "\xff\xe4.\r\n\x80\r\n.\r\n"],
    ["tab and other controls", "\ta\v\r\n\b", "\ta\v\r\n\b\r\n.\r\n"],
  ];

Deno.test("DataEncoder encodes strictly, however the message is cut", async (t) => {
  for (const [name, input, want] of ROWS) {
    await t.step(name, () => {
      assertEquals(oracle(input), want);
      for (const [, pieces] of waysToCut(bytesOf(input))) {
        assertEquals(encode(pieces), want);
      }
    });
  }
});

Deno.test("DataEncoder agrees with whole-string replacement on random bytes", () => {
  const random = seededFraction(20);
  const alphabet = "\r\n.\r\n.abcdefgh\t\xe9";
  for (let round = 0; round < 4000; round++) {
    const length = Math.floor(random() * 60);
    let input = "";
    for (let at = 0; at < length; at++) {
      input += alphabet[Math.floor(random() * alphabet.length)];
      if (random() < 0.05) input += "x".repeat(Math.floor(random() * 50));
    }
    const framing = round % 4 === 0 ? "bdat" : "data";
    assertEquals(
      encode(pieces(bytesOf(input), { seed: round, longest: 40 }), framing),
      oracle(input, framing),
      JSON.stringify(input),
    );
  }
});

Deno.test("DataEncoder.encode() gives a chunk back that needs no change", () => {
  const line = bytesOf("Just a line of text, with. dots.\r\n");
  for (let shift = 0; shift < 4; shift++) {
    const buffer = new Uint8Array(4 + line.length * 100);
    const chunk = buffer.subarray(shift, shift + line.length * 100);
    for (let at = 0; at < 100; at++) chunk.set(line, at * line.length);
    const encoder = new DataEncoder();
    assertStrictEquals(encoder.encode(chunk), chunk);
    assertEquals(textOf(encoder.finish()), ".\r\n");
  }
});

Deno.test("DataEncoder leaves exactly one end of data for a strict receiver", () => {
  const pieces = ["\n.\n", "\r.\r", "\r\n.\n", "\n.\r\n", "\r\n.\r", ".\r\n"];
  for (const variant of pieces) {
    const wire = encode([bytesOf(`a${variant}MAIL FROM:<b@c>\r\n`)]);
    assertEquals(wire.split("\r\n.\r\n").length, 2, JSON.stringify(variant));
    assert(!/(^|[^\r])\n|\r([^\n]|$)/.test(wire));
  }
});

Deno.test("DataEncoder with BDAT framing leaves dots alone and writes no end", () => {
  assertEquals(encode([bytesOf(".a\n.\r\n")], "bdat"), ".a\r\n.\r\n");
  assertEquals(encode([bytesOf(".")], "bdat"), ".\r\n");
  assertEquals(encode([], "bdat"), "");
});
