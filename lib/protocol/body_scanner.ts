/**
 * The fast ways through a body, for `data_decoder.ts`, which decides byte by
 * byte what stops them and is the measure for the tests of this file.
 *
 * {@linkcode compactBlocks} takes stuffed dots out of text sixteen bytes at a
 * time, by a small WebAssembly module. It goes through clean text: every CR is
 * followed by LF, every LF follows a CR, and no dot that begins a line is
 * followed by CR. That is nearly all of every body. The end of data and every
 * bare line end stop it.
 *
 * WebAssembly sees its own memory only. That memory is therefore cut into the
 * read buffers for bodies: what the socket brings is changed where it lies.
 * Bytes anywhere else are left to {@linkcode TextScanner}, which finds the next
 * byte below 14 (carriage return, line feed and other controls), sixteen bytes
 * at a time as well: testing four words at once took half the time of a loop
 * over bytes, and of `indexOf` per line, on lines of 78 bytes.
 */

/** Bytes of one buffer. */
export const ARENA_BUFFER_SIZE = 65536;

/** Buffers in the memory of the module: one page each. One more page is its own. */
const BUFFERS = 64;

/** For each set of dots in half a block, which of its bytes stay: 256 entries of 8 bytes. */
const KEPT_LOW = BUFFERS * ARENA_BUFFER_SIZE;
/** The same for the upper half, counted from the start of the block. */
const KEPT_HIGH = KEPT_LOW + 2048;
/** Where the function leaves its second and third result. */
const RESULTS = KEPT_HIGH + 2048;

/** {@linkcode Compaction.after}: text, which a dot and a line end may not follow unnoticed. */
export const AFTER_TEXT = 0;
/** {@linkcode Compaction.after}: a CR, whose LF must follow. */
export const AFTER_CR = 1;
/** {@linkcode Compaction.after}: the LF of a CRLF, so that a line begins. */
export const AFTER_LF = 2;

/** How far the dots have been taken out; changed by {@linkcode compactBlocks}. */
export interface Compaction {
  /** The next byte to look at. */
  at: number;
  /** Where it belongs, at `at` or before. */
  out: number;
  /** What came before it: {@linkcode AFTER_TEXT}, {@linkcode AFTER_CR} or {@linkcode AFTER_LF}. */
  after: number;
}

type Compact = (at: number, end: number, out: number, after: number) => number;

// Instructions, by the names of the WebAssembly text format.

/** A number in LEB128, as all numbers in a module are. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >> 7)];
}

const BLOCK = [0x02, 0x40];
const LOOP = [0x03, 0x40];
const IF = [0x04, 0x40];
const ELSE = [0x05];
const END = [0x0b];
const BR = (depth: number) => [0x0c, depth];
const BR_IF = (depth: number) => [0x0d, depth];
const GET = (local: number) => [0x20, local];
const SET = (local: number) => [0x21, local];
const TEE = (local: number) => [0x22, local];
const STORE = (place: number) => [0x36, 0x00, ...unsigned(place)];
const CONST = (small: number) => [0x41, small]; // below 64: the number has a sign
const CONST_FF = [0x41, 0xff, 0x01];
const CONST_FFFF = [0x41, 0xff, 0xff, 0x03];
const EQZ = [0x45];
const NE = [0x47];
const GT_S = [0x4a];
const POPCNT = [0x69];
const ADD = [0x6a];
const SUB = [0x6b];
const AND = [0x71];
const OR = [0x72];
const SHL = [0x74];
const SHR_U = [0x76];
const V128_LOAD = (offset: number) => [0xfd, 0x00, 0x00, offset];
const V128_LOAD64_ZERO = (place: number) => [
  ...[0xfd, 0x5d, 0x00],
  ...unsigned(place),
];
const V128_STORE = [0xfd, 0x0b, 0x00, 0x00];
const V128_STORE64_LANE_0 = [0xfd, 0x5b, 0x00, 0x00, 0x00];
const V128_CONST = (octet: number) => [0xfd, 0x0c, ...Array(16).fill(octet)];
const I8X16_SWIZZLE = [0xfd, 0x0e];
const I8X16_EQ = [0xfd, 0x23];
const I8X16_LE_U = [0xfd, 0x2a];
const I8X16_BITMASK = [0xfd, 0x64];
const V128_ANY_TRUE = [0xfd, 0x53];

// Parameters and locals of the function.
const AT = 0;
const STOP = 1; // the parameter `end`, then the last place where a block may begin
const OUT = 2;
const CR_BEFORE = 3; // the parameter `after`, then its first bit
const LF_BEFORE = 4; // its second bit
const CR = 5; // a bit for each CR of the block
const LF = 6;
const DROP = 7; // a bit for each stuffed dot
const DROP_HALF = 8; // those of one half
const OCTETS = 9; // the block

/** A bit for each byte of the value on the stack that is `octet`. */
const MASK_OF = (octet: number) => [
  ...V128_CONST(octet),
  ...I8X16_EQ,
  ...I8X16_BITMASK,
];

/** The mask moved on by one byte, with what came from the block before. */
const AFTER = (mask: number, before: number) => [
  ...GET(mask),
  ...CONST(1),
  ...SHL,
  ...GET(before),
  ...OR,
];

/**
 * Stores what stays of half a block, by the mask of its dots on the stack. Eight
 * bytes are stored whatever stays; what is too much lies within the block, which
 * has been read, and is written over by what comes next.
 */
const STORE_HALF = (kept: number) => [
  ...SET(DROP_HALF),
  ...[...GET(OUT), ...GET(OCTETS)],
  ...[...GET(DROP_HALF), ...CONST(3), ...SHL, ...V128_LOAD64_ZERO(kept)],
  ...[...I8X16_SWIZZLE, ...V128_STORE64_LANE_0],
  ...[...GET(OUT), ...CONST(8), ...ADD],
  ...[...GET(DROP_HALF), ...POPCNT, ...SUB, ...SET(OUT)],
];

/** Stores the whole block, unless it is where it belongs: nothing is moved until the first dot is gone. */
const STORE_BLOCK = [
  ...[...GET(OUT), ...GET(AT), ...NE],
  ...IF,
  ...[...GET(OUT), ...GET(OCTETS), ...V128_STORE],
  ...END,
  ...[...GET(OUT), ...CONST(16), ...ADD, ...SET(OUT)],
];

const NEXT_BLOCK = [...GET(AT), ...CONST(16), ...ADD, ...SET(AT)];

const BODY = [
  // The byte behind a block is looked at too: it may be the CR after a dot.
  ...[...GET(STOP), ...CONST(17), ...SUB, ...SET(STOP)],
  ...[...GET(CR_BEFORE), ...CONST(1), ...SHR_U, ...SET(LF_BEFORE)],
  ...[...GET(CR_BEFORE), ...CONST(1), ...AND, ...SET(CR_BEFORE)],
  ...BLOCK,
  ...LOOP,
  // Less than a block and a byte is left: stop.
  ...[...GET(AT), ...GET(STOP), ...GT_S, ...BR_IF(1)],
  ...[...GET(AT), ...V128_LOAD(0), ...SET(OCTETS)],
  // Four of five blocks lie within a line: no CR or LF, and none before.
  ...[...GET(OCTETS), ...V128_CONST(13), ...I8X16_LE_U, ...V128_ANY_TRUE],
  ...[...GET(CR_BEFORE), ...OR, ...GET(LF_BEFORE), ...OR, ...EQZ],
  ...IF,
  ...[...STORE_BLOCK, ...NEXT_BLOCK, ...BR(1)],
  ...END,
  ...[...GET(OCTETS), ...MASK_OF(13), ...SET(CR)],
  // LF stands just where a CR stood before, else one of them is bare: stop.
  ...AFTER(CR, CR_BEFORE),
  ...[...CONST_FFFF, ...AND],
  ...[...GET(OCTETS), ...MASK_OF(10), ...TEE(LF)],
  ...[...NE, ...BR_IF(1)],
  // A dot after LF is a stuffed one.
  ...AFTER(LF, LF_BEFORE),
  ...[...GET(OCTETS), ...MASK_OF(46), ...AND, ...TEE(DROP)],
  ...IF,
  // With CR behind it, it may be the end of data: stop.
  ...[...GET(AT), ...V128_LOAD(1), ...MASK_OF(13)],
  ...[...GET(DROP), ...AND, ...BR_IF(2)],
  ...[...GET(DROP), ...CONST_FF, ...AND, ...STORE_HALF(KEPT_LOW)],
  ...[...GET(DROP), ...CONST(8), ...SHR_U, ...STORE_HALF(KEPT_HIGH)],
  ...ELSE,
  ...STORE_BLOCK,
  ...END,
  ...[...GET(CR), ...CONST(15), ...SHR_U, ...SET(CR_BEFORE)],
  ...[...GET(LF), ...CONST(15), ...SHR_U, ...SET(LF_BEFORE)],
  ...[...NEXT_BLOCK, ...BR(0)],
  ...END,
  ...END,
  ...[...CONST(0), ...GET(OUT), ...STORE(RESULTS)],
  ...[...CONST(0), ...AFTER(LF_BEFORE, CR_BEFORE), ...STORE(RESULTS + 4)],
  ...GET(AT),
  ...END,
];

const I32 = 0x7f;
const V128 = 0x7b;
const LOCALS = [2, 5, I32, 1, V128]; // LF_BEFORE to DROP_HALF; OCTETS
const text = (ascii: string) => [
  ascii.length,
  ...Array.from(ascii, (it) => it.charCodeAt(0)),
];
const section = (id: number, content: number[]) => [
  id,
  ...unsigned(content.length),
  ...content,
];
const FUNCTION = [...LOCALS, ...BODY];
const PAGES = unsigned(BUFFERS + 1);

const MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // \0asm, version 1
  ...section(1, [1, 0x60, 4, I32, I32, I32, I32, 1, I32]), // its type
  ...section(3, [1, 0]), // one function of it
  ...section(5, [1, 0x01, ...PAGES, ...PAGES]), // memory, fixed
  ...section(7, [2, ...text("m"), 2, 0, ...text("compact"), 0, 0]), // exports
  ...section(10, [1, ...unsigned(FUNCTION.length), ...FUNCTION]), // code
]);

/** The module at work. */
interface Instance {
  readonly memory: ArrayBuffer;
  readonly results: Int32Array;
  readonly compact: Compact;
}

/** The module at work, or nothing where the runtime has no WebAssembly SIMD. */
function instantiate(): Instance | undefined {
  try {
    const { exports } = new WebAssembly.Instance(
      new WebAssembly.Module(MODULE),
    );
    const { buffer } = exports["m"] as WebAssembly.Memory;
    fillTables(new Uint8Array(buffer));
    return {
      memory: buffer as ArrayBuffer,
      results: new Int32Array(buffer, RESULTS, 2),
      compact: exports["compact"] as Compact,
    };
  } catch {
    return undefined;
  }
}

/** Lists, for each set of dots in half a block, the bytes between them. */
function fillTables(memory: Uint8Array): void {
  for (let dots = 0; dots < 256; dots++) {
    let entry = dots * 8;
    for (let octet = 0; octet < 8; octet++) {
      if ((dots >> octet & 1) === 1) continue;
      memory[KEPT_LOW + entry] = octet;
      memory[KEPT_HIGH + entry] = octet + 8;
      entry++;
    }
  }
}

const instance = instantiate();

/** The read buffers in the memory of the module, each {@linkcode ARENA_BUFFER_SIZE} bytes. */
export function arenaBuffers(): Uint8Array<ArrayBuffer>[] {
  if (instance === undefined) return [];
  const { memory } = instance;
  return Array.from(
    { length: BUFFERS },
    (_, index) =>
      new Uint8Array(memory, index * ARENA_BUFFER_SIZE, ARENA_BUFFER_SIZE),
  );
}

/** Whether `octets` lie in the memory of the module. */
export function isArenaBuffer(octets: Uint8Array): boolean {
  return instance !== undefined && octets.buffer === instance.memory;
}

/**
 * Takes the stuffed dots out of whole blocks of clean text from `state.at` on,
 * in place, and moves `state` on: to the first block that is not clean, or that
 * is not whole before `end`, and never past a dot that may begin the end of
 * data. Does nothing to bytes outside the arena.
 *
 * @param state Where to begin; what lies between `out` and `at` is overwritten
 */
export function compactBlocks(
  octets: Uint8Array,
  state: Compaction,
  end: number,
): void {
  if (instance === undefined || octets.buffer !== instance.memory) return;
  const { compact, results } = instance;
  const shift = octets.byteOffset;
  const { at, out, after } = state;
  state.at = compact(at + shift, end + shift, out + shift, after) - shift;
  state.out = results[0]! - shift;
  state.after = results[1]!;
}

/** `x - BELOW & ~x & HIGH` is not zero where some byte of the word `x` is below 14. */
const BELOW = 0x0e0e0e0e;
const HIGH = 0x80808080 | 0;

/** The view of each read buffer: buffers go from session to session, their views with them. */
const views = new WeakMap<ArrayBufferLike, Int32Array>();

function wordsOf(buffer: ArrayBufferLike): Int32Array {
  let words = views.get(buffer);
  if (words === undefined) {
    words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
    views.set(buffer, words);
  }
  return words;
}

/** Scans one run of bytes, word by word. */
export class TextScanner {
  readonly #octets: Uint8Array;
  readonly #words: Int32Array;
  readonly #shift: number;

  /** @param bytes What will be scanned */
  constructor(octets: Uint8Array) {
    this.#octets = octets;
    this.#words = wordsOf(octets.buffer);
    this.#shift = octets.byteOffset;
  }

  /** Index of the first byte below 14 from `start`, or `end`. */
  find(start: number, end: number): number {
    const octets = this.#octets;
    const shift = this.#shift;
    let at = start;
    while (at < end && ((at + shift) & 3) !== 0) {
      if (octets[at]! < 14) return at;
      at++;
    }
    // A word is whole or not looked at: behind an odd end there is none.
    if (at === end) return end;
    at = (firstWordWithControl(
      this.#words,
      (at + shift) >> 2,
      (end + shift) >> 2,
    ) << 2) - shift;
    while (at < end && octets[at]! >= 14) at++;
    return at;
  }
}

/** Index of the first of the words from `word` to `last` that has a byte below 14, or `last`. */
function firstWordWithControl(
  words: Int32Array,
  word: number,
  last: number,
): number {
  let at = word;
  for (const stop = last - 3; at < stop; at += 4) {
    const a = words[at]!;
    const b = words[at + 1]!;
    const c = words[at + 2]!;
    const d = words[at + 3]!;
    const found = ((a - BELOW) & ~a) | ((b - BELOW) & ~b) |
      ((c - BELOW) & ~c) | ((d - BELOW) & ~d);
    if ((found & HIGH) !== 0) break;
  }
  for (; at < last; at++) {
    const a = words[at]!;
    if (((a - BELOW) & ~a & HIGH) !== 0) break;
  }
  return at;
}
