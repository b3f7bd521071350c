/** xtext (RFC 3461 section 4). */

import { assertEquals } from "@std/assert";
import { decodeXtext, encodeXtext } from "../../lib/protocol/xtext.ts";
import { randomText, seeded } from "../support/random.ts";

const ROWS: [name: string, text: string, encoded: string][] = [
  ["nothing", "", ""],
  ["plain text", "a@example.com", "a@example.com"],
  ["plus and equals", "a+b=c", "a+2Bb+3Dc"],
  ["space", "a b", "a+20b"],
  ["line end", "a\r\n", "a+0D+0A"],
  ["beyond ASCII", "é😀", "+C3+A9+F0+9F+98+80"],
  ["a byte order mark", "\ufeffa", "+EF+BB+BFa"],
];

const WRONG: [name: string, encoded: string][] = [
  ["a space", "a b"],
  ["an equals sign", "a=b"],
  ["lower-case digits", "a+2bc"],
  ["one digit", "a+2"],
  ["no digits", "+"],
  ["a line end", "a\r\n"],
  ["beyond ASCII", "é"],
  ["bytes that are no UTF-8", "+FF"],
];

for (const [name, text, encoded] of ROWS) {
  Deno.test(`encodeXtext() and decodeXtext() carry ${name}`, () => {
    assertEquals(encodeXtext(text), encoded);
    assertEquals(decodeXtext(encoded), text);
  });
}

for (const [name, encoded] of WRONG) {
  Deno.test(`decodeXtext() refuses ${name}`, () => {
    assertEquals(decodeXtext(encoded), undefined);
  });
}

Deno.test("decodeXtext() gives back what encodeXtext() was given", () => {
  const random = seeded(2);
  const pieces = ["a", "+", "=", " ", "\0", "\r\n", "é", "😀", "+2B", "~"];
  for (let round = 0; round < 2000; round++) {
    const text = randomText(random, { pieces, length: 10 });
    assertEquals(decodeXtext(encodeXtext(text)), text);
  }
});
