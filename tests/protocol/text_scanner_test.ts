/** The text scanner finds what the plain search finds. */

import { assert, assertEquals } from "@std/assert";
import { TextScanner } from "../../lib/protocol/body_scanner.ts";
import { seeded } from "../support/random.ts";

/** The obvious way to the same result. */
function find(octets: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) if (octets[at]! < 14) return at;
  return end;
}

/** Compares every range of `octets` with the obvious way. */
function assertAllRanges(octets: Uint8Array, message: string): void {
  const scanner = new TextScanner(octets);
  for (let start = 0; start <= octets.length; start++) {
    for (let end = start; end <= octets.length; end++) {
      const got = scanner.find(start, end);
      const right = got === find(octets, start, end);
      assert(right, `${message}: ${start} to ${end} of ${octets}: ${got}`);
    }
  }
}

Deno.test("TextScanner.find() finds each octet below 14 and no other", () => {
  for (let octet = 0; octet < 256; octet++) {
    for (let at = 0; at < 24; at++) {
      const octets = new Uint8Array(24).fill(97);
      octets[at] = octet;
      assertEquals(
        new TextScanner(octets).find(0, 24),
        octet < 14 ? at : 24,
        `octet ${octet} at ${at}`,
      );
    }
  }
});

Deno.test("TextScanner.find() never looks outside its range", () => {
  for (let length = 0; length <= 24; length++) {
    const text = new Uint8Array(length).fill(97);
    assertAllRanges(text, "text");
    for (let at = 0; at < length; at++) {
      const octets = text.slice();
      octets[at] = 13;
      assertAllRanges(octets, `CR at ${at}`);
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
  const octets = new Uint8Array(64).fill(97);
  assertEquals(new TextScanner(octets).find(0, 64), 64);
  octets[40] = 10;
  assertEquals(new TextScanner(octets).find(0, 64), 40);
  assertEquals(new TextScanner(octets.subarray(1)).find(0, 63), 39);
  assertEquals(new TextScanner(octets.slice()).find(0, 64), 40);
});
