/** The text scanner agrees with a plain search. */

import { assert, assertEquals } from "@std/assert";
import { TextScanner } from "../../lib/protocol/body_scanner.ts";
import { seeded } from "../support/random.ts";

/** The plain search. */
function find(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) if (bytes[at]! < 14) return at;
  return end;
}

/** Compares every range of `bytes` with the plain search. */
function assertAllRanges(bytes: Uint8Array, message: string): void {
  const scanner = new TextScanner(bytes);
  for (let start = 0; start <= bytes.length; start++) {
    for (let end = start; end <= bytes.length; end++) {
      const got = scanner.find(start, end);
      const right = got === find(bytes, start, end);
      assert(right, `${message}: ${start} to ${end} of ${bytes}: ${got}`);
    }
  }
}

Deno.test("TextScanner.find() finds each byte below 14 and no other", () => {
  for (let byte = 0; byte < 256; byte++) {
    for (let at = 0; at < 24; at++) {
      const bytes = new Uint8Array(24).fill(97);
      bytes[at] = byte;
      assertEquals(
        new TextScanner(bytes).find(0, 24),
        byte < 14 ? at : 24,
        `byte ${byte} at ${at}`,
      );
    }
  }
});

Deno.test("TextScanner.find() never looks outside its range", () => {
  for (let length = 0; length <= 24; length++) {
    const text = new Uint8Array(length).fill(97);
    assertAllRanges(text, "text");
    for (let at = 0; at < length; at++) {
      const bytes = text.slice();
      bytes[at] = 13;
      assertAllRanges(bytes, `CR at ${at}`);
    }
  }
});

Deno.test("TextScanner.find() works at any offset in a buffer", () => {
  const random = seeded(1);
  for (let round = 0; round < 300; round++) {
    const buffer = Uint8Array.from({ length: 40 }, () => random(5) * 10);
    const from = random(20);
    assertAllRanges(buffer.subarray(from, from + 20), `round ${round}`);
  }
});

Deno.test("TextScanner.find() sees what has changed in the buffer", () => {
  const bytes = new Uint8Array(64).fill(97);
  assertEquals(new TextScanner(bytes).find(0, 64), 64);
  bytes[40] = 10;
  assertEquals(new TextScanner(bytes).find(0, 64), 40);
  assertEquals(new TextScanner(bytes.subarray(1)).find(0, 63), 39);
  assertEquals(new TextScanner(bytes.slice()).find(0, 64), 40);
});
