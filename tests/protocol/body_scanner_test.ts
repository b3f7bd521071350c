/**
 * The block scanner of content gives the same result as the plain decoder (RFC
 * 5321 sections 2.3.8 and 4.5.2).
 */

import { assert, assertEquals } from "@std/assert";
import {
  type BareNewlinePolicy,
  DataDecoder,
} from "../../lib/protocol/data_decoder.ts";
import {
  AFTER_CR,
  AFTER_LF,
  AFTER_TEXT,
  ARENA_BUFFER_SIZE,
  arenaBuffers,
  compactBlocks,
  type Compaction,
  isArenaBuffer,
} from "../../lib/protocol/body_scanner.ts";
import { bytesOf, textOf } from "../support/bytes.ts";
import { rounds, seeded } from "../support/random.ts";

const [arena] = arenaBuffers();

Deno.test("arenaBuffers() gives 64 buffers that do not overlap", () => {
  const buffers = arenaBuffers();
  assertEquals(buffers.length, 64);
  for (const [index, buffer] of buffers.entries()) {
    assertEquals(buffer.length, ARENA_BUFFER_SIZE);
    assertEquals(buffer.byteOffset, index * ARENA_BUFFER_SIZE);
    assert(isArenaBuffer(buffer));
  }
  assert(!isArenaBuffer(new Uint8Array(16)));
});

/** Rows: name, text, state before it, bytes read, bytes kept. */
const ROWS: [
  name: string,
  input: string,
  after: number,
  at: number,
  kept: string,
  state: number,
][] = [
  [
    "one clean block",
    `${"a".repeat(14)}\r\na`,
    AFTER_TEXT,
    16,
    `${"a".repeat(14)}\r\n`,
    AFTER_LF,
  ],
  ["a block without an byte behind it", "a".repeat(16), AFTER_TEXT, 0, "", 0],
  [
    "a dot that begins the text",
    `.${"a".repeat(16)}`,
    AFTER_LF,
    16,
    "a".repeat(15),
    AFTER_TEXT,
  ],
  [
    "a dot within a line",
    `.${"a".repeat(16)}`,
    AFTER_TEXT,
    16,
    `.${"a".repeat(15)}`,
    AFTER_TEXT,
  ],
  [
    "dots in both halves",
    `..\r\n..\r\n.a\r\n..\r\na`,
    AFTER_LF,
    16,
    ".\r\n.\r\na\r\n.\r\n",
    AFTER_LF,
  ],
  [
    "a CR that ends a block",
    `.${"a".repeat(14)}\r\na`,
    AFTER_LF,
    16,
    `${"a".repeat(14)}\r`,
    AFTER_CR,
  ],
  [
    "a LF that begins a block",
    `\n.${"a".repeat(15)}`,
    AFTER_CR,
    16,
    `\n${"a".repeat(14)}`,
    AFTER_TEXT,
  ],
  ["a LF without CR", `\n${"a".repeat(16)}`, AFTER_TEXT, 0, "", AFTER_TEXT],
  ["a CR without LF", `\ra${"a".repeat(16)}`, AFTER_TEXT, 0, "", AFTER_TEXT],
  ["no LF after CR", "a".repeat(17), AFTER_CR, 0, "", AFTER_CR],
  ["the end of data", `.\r\n${"a".repeat(14)}`, AFTER_LF, 0, "", AFTER_LF],
  [
    "a dot that ends a block, CR behind it",
    `${"a".repeat(13)}\r\n.\r\n${"a".repeat(16)}`,
    AFTER_TEXT,
    0,
    "",
    AFTER_TEXT,
  ],
  [
    "a dot that ends a block, text behind it",
    `${"a".repeat(13)}\r\n.b`,
    AFTER_TEXT,
    16,
    `${"a".repeat(13)}\r\n`,
    AFTER_TEXT,
  ],
];

for (const [name, input, after, at, kept, state] of ROWS) {
  Deno.test(`compactBlocks() goes through ${name}`, () => {
    const start = 5;
    for (const gone of [0, 3]) {
      arena!.fill(35, 0, 64);
      arena!.set(bytesOf(input), start);
      const end = start + input.length;
      const run: Compaction = { at: start, out: start - gone, after };
      compactBlocks(arena!, run, end);
      assertEquals(run.at, start + at);
      assertEquals(run.after, state);
      assertEquals(textOf(arena!.subarray(start - gone, run.out)), kept);
      // Neither the bytes before nor the bytes not yet read change.
      assertEquals(
        textOf(arena!.subarray(0, start - gone)),
        "#####".slice(gone),
      );
      assertEquals(textOf(arena!.subarray(run.at, end)), input.slice(at));
      assertEquals(arena![end], 35);
    }
  });
}

Deno.test("compactBlocks() leaves bytes outside the arena alone", () => {
  const input = bytesOf(".".repeat(64));
  const run: Compaction = { at: 0, out: 0, after: AFTER_LF };
  compactBlocks(input, run, 64);
  assertEquals(run, { at: 0, out: 0, after: AFTER_LF });
  assertEquals(textOf(input), ".".repeat(64));
});

/** Up to 150 bytes of CR, LF, dots and text; two texts in three have no bare line end. */
function anyText(random: (limit: number) => number): string {
  const pieces = ["\r\n", "\r\n.a", "\r\n..", "a", ".", "aaaaa", "\r", "\n"];
  const kinds = random(3) === 0 ? pieces.length : 6;
  let text = "";
  const length = random(130);
  while (text.length < length) text += pieces[random(kinds)]!;
  return random(2) === 0 ? text : `${text}\r\n.\r\nNOOP\r\n.\r\n`;
}

/** The result of a decoder for a text, piece by piece. */
function decodeAll(
  place: Uint8Array,
  cuts: readonly number[],
  policy: BareNewlinePolicy,
): unknown {
  const decoder = new DataDecoder(policy);
  let text = "";
  let start = 0;
  for (const end of cuts) {
    while (start < end && !decoder.done) {
      text += textOf(decoder.decode(place, start, end));
      start = decoder.consumed;
    }
    text += "|";
  }
  // Bytes not yet read are unchanged.
  const rest = textOf(place.subarray(start));
  return `${text} ${start} ${decoder.done} ${decoder.bareNewline} ${rest}`;
}

Deno.test("DataDecoder makes the same of random texts in the arena and outside", () => {
  for (let seed = 0; seed < rounds(5000); seed++) {
    const random = seeded(seed);
    const input = bytesOf(anyText(random));
    const cuts: number[] = [];
    for (let at = 0; at < input.length;) {
      at = Math.min(input.length, at + 1 + random(100));
      cuts.push(at);
    }
    const offset = random(ARENA_BUFFER_SIZE - input.length);
    const placed = arena!.subarray(offset, offset + input.length);
    placed.set(input);
    const shown = JSON.stringify(textOf(input));
    const policy = (["reject", "normalize", "keep"] as const)[seed % 3]!;
    const want = decodeAll(input, cuts, policy);
    const got = decodeAll(placed, cuts, policy);
    if (got !== want) assertEquals(got, want, `seed ${seed}: ${shown}`);
  }
});
