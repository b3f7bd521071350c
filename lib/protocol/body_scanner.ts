/**
 * Fast scanners for message bodies, used by `data_decoder.ts`. The decoder
 * handles byte by byte what stops the scanners. The tests compare this file
 * with it.
 *
 * {@linkcode compactBlocks} removes stuffed dots, sixteen bytes at a time, with
 * a small WebAssembly module. It handles clean text: every CR is followed by
 * LF, every LF follows a CR, and no dot at the beginning of a line is followed
 * by CR. Nearly all of every body is clean text. The end of data and every bare
 * line end stop the scanner.
 *
 * A WebAssembly module can access only its own memory. So that memory is
 * divided into the read buffers for bodies, and the module changes received
 * bytes in place. {@linkcode TextScanner} handles bytes in other memory: it
 * finds the next byte below 14 (carriage return, line feed and other controls),
 * also sixteen bytes at a time. On lines of 78 bytes, testing four words at
 * once took half the time of a loop over bytes, and of one `indexOf` a line.
 */

/** Size of one buffer, in bytes. */
export const ARENA_BUFFER_SIZE = 65536;

/** Buffers in the memory of the module, one page each. One more page holds the tables. */
const BUFFERS = 64;

/** Table: for each set of dots in half a block, the bytes that stay. 256 entries of 8 bytes. */
const KEPT_LOW = BUFFERS * ARENA_BUFFER_SIZE;
/** The same table for the upper half, with offsets from the start of the block. */
const KEPT_HIGH = KEPT_LOW + 2048;
/** Address at which the function stores its second and third result. */
const RESULTS = KEPT_HIGH + 2048;

/**
 * {@linkcode Compaction.after}: text. A dot or a line end after it needs a check.
 */
export const AFTER_TEXT = 0;
/** {@linkcode Compaction.after}: a CR, which LF must follow. */
export const AFTER_CR = 1;
/**
 * {@linkcode Compaction.after}: the LF of a CRLF, so the next byte begins a line.
 */
export const AFTER_LF = 2;

/** Progress of the removal of dots; {@linkcode compactBlocks} changes it. */
export interface Compaction {
  /** Index of the next byte to read. */
  at: number;
  /** Index to which that byte moves, at most `at`. */
  out: number;
  /**
   * The byte before `at`: {@linkcode AFTER_TEXT}, {@linkcode AFTER_CR} or
   * {@linkcode AFTER_LF}.
   */
  after: number;
}

type Compact = (at: number, end: number, out: number, after: number) => number;

// Instructions, by the names of the WebAssembly text format.

/** A number in LEB128, the form of all numbers in a module. */
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
const CONST = (small: number) => [0x41, small]; // below 64: bit 6 is the sign
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
const V128_CONST = (byte: number) => [0xfd, 0x0c, ...Array(16).fill(byte)];
const I8X16_SWIZZLE = [0xfd, 0x0e];
const I8X16_EQ = [0xfd, 0x23];
const I8X16_LE_U = [0xfd, 0x2a];
const I8X16_BITMASK = [0xfd, 0x64];
const V128_ANY_TRUE = [0xfd, 0x53];

// Parameters and locals of the function.
const AT = 0;
const STOP = 1; // the parameter `end`, then the last place at which a block may begin
const OUT = 2;
const CR_BEFORE = 3; // the parameter `after`, then its first bit
const LF_BEFORE = 4; // its second bit
const CR = 5; // a bit for each CR of the block
const LF = 6;
const DROP = 7; // a bit for each stuffed dot
const DROP_HALF = 8; // those of one half
const BYTES = 9; // the block of bytes

/** A mask with one bit for each byte of the value on the stack, set where it equals `byte`. */
const MASK_OF = (byte: number) => [
  ...V128_CONST(byte),
  ...I8X16_EQ,
  ...I8X16_BITMASK,
];

/** The mask shifted by one byte, with the bit that the previous block carries over. */
const AFTER = (mask: number, before: number) => [
  ...GET(mask),
  ...CONST(1),
  ...SHL,
  ...GET(before),
  ...OR,
];

/**
 * Stores the remaining bytes of half a block, by the mask of its dots on the
 * stack. Always stores eight bytes. The surplus lies within the block, which
 * has been read, and the next store overwrites it.
 */
const STORE_HALF = (kept: number) => [
  ...SET(DROP_HALF),
  ...[...GET(OUT), ...GET(BYTES)],
  ...[...GET(DROP_HALF), ...CONST(3), ...SHL, ...V128_LOAD64_ZERO(kept)],
  ...[...I8X16_SWIZZLE, ...V128_STORE64_LANE_0],
  ...[...GET(OUT), ...CONST(8), ...ADD],
  ...[...GET(DROP_HALF), ...POPCNT, ...SUB, ...SET(OUT)],
];

/**
 * Stores the whole block, unless it is already in its place: nothing moves
 * before the first dot is removed.
 */
const STORE_BLOCK = [
  ...[...GET(OUT), ...GET(AT), ...NE],
  ...IF,
  ...[...GET(OUT), ...GET(BYTES), ...V128_STORE],
  ...END,
  ...[...GET(OUT), ...CONST(16), ...ADD, ...SET(OUT)],
];

const NEXT_BLOCK = [...GET(AT), ...CONST(16), ...ADD, ...SET(AT)];

const BODY = [
  // Also reads the byte after a block: it may be the CR after a dot.
  ...[...GET(STOP), ...CONST(17), ...SUB, ...SET(STOP)],
  ...[...GET(CR_BEFORE), ...CONST(1), ...SHR_U, ...SET(LF_BEFORE)],
  ...[...GET(CR_BEFORE), ...CONST(1), ...AND, ...SET(CR_BEFORE)],
  ...BLOCK,
  ...LOOP,
  // Stop: less than a block and one byte is left.
  ...[...GET(AT), ...GET(STOP), ...GT_S, ...BR_IF(1)],
  ...[...GET(AT), ...V128_LOAD(0), ...SET(BYTES)],
  // Four of five blocks lie within a line: they have no CR or LF, and none
  // comes before them.
  ...[...GET(BYTES), ...V128_CONST(13), ...I8X16_LE_U, ...V128_ANY_TRUE],
  ...[...GET(CR_BEFORE), ...OR, ...GET(LF_BEFORE), ...OR, ...EQZ],
  ...IF,
  ...[...STORE_BLOCK, ...NEXT_BLOCK, ...BR(1)],
  ...END,
  ...[...GET(BYTES), ...MASK_OF(13), ...SET(CR)],
  // Stop unless LF stands exactly where a CR came before: otherwise one of them
  // is bare.
  ...AFTER(CR, CR_BEFORE),
  ...[...CONST_FFFF, ...AND],
  ...[...GET(BYTES), ...MASK_OF(10), ...TEE(LF)],
  ...[...NE, ...BR_IF(1)],
  // A dot after LF is a stuffed dot.
  ...AFTER(LF, LF_BEFORE),
  ...[...GET(BYTES), ...MASK_OF(46), ...AND, ...TEE(DROP)],
  ...IF,
  // Stop: a dot with CR after it may be the end of data.
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
const LOCALS = [2, 5, I32, 1, V128]; // LF_BEFORE to DROP_HALF; BYTES
const text = (ascii: string) => [
  ascii.length,
  ...Array.from(ascii, (char) => char.charCodeAt(0)),
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
  ...section(3, [1, 0]), // one function of this type
  ...section(5, [1, 0x01, ...PAGES, ...PAGES]), // memory, fixed
  ...section(7, [2, ...text("m"), 2, 0, ...text("compact"), 0, 0]), // exports
  ...section(10, [1, ...unsigned(FUNCTION.length), ...FUNCTION]), // code
]);

/** The instantiated module. */
interface Instance {
  readonly memory: ArrayBuffer;
  readonly results: Int32Array;
  readonly compact: Compact;
}

/** Instantiates the module; `undefined` if the runtime has no WebAssembly SIMD. */
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

/** Lists the bytes between the dots, for each set of dots in half a block. */
function fillTables(memory: Uint8Array): void {
  for (let dots = 0; dots < 256; dots++) {
    let entry = dots * 8;
    for (let byte = 0; byte < 8; byte++) {
      if ((dots >> byte & 1) === 1) continue;
      memory[KEPT_LOW + entry] = byte;
      memory[KEPT_HIGH + entry] = byte + 8;
      entry++;
    }
  }
}

const instance = instantiate();

/**
 * The read buffers in the memory of the module, {@linkcode ARENA_BUFFER_SIZE}
 * bytes each.
 */
export function arenaBuffers(): Uint8Array<ArrayBuffer>[] {
  if (instance === undefined) return [];
  const { memory } = instance;
  return Array.from(
    { length: BUFFERS },
    (_, index) =>
      new Uint8Array(memory, index * ARENA_BUFFER_SIZE, ARENA_BUFFER_SIZE),
  );
}

/** Whether `bytes` are in the memory of the module. */
export function isArenaBuffer(bytes: Uint8Array): boolean {
  return instance !== undefined && bytes.buffer === instance.memory;
}

/**
 * Removes the stuffed dots from whole blocks of clean text, in place, from
 * `state.at`. Moves `state` to the first block that is not clean or not whole
 * before `end`. Never goes past a dot that may begin the end of data. Does
 * nothing to bytes outside the arena.
 *
 * @param state Where to begin; bytes between `out` and `at` are overwritten
 */
export function compactBlocks(
  bytes: Uint8Array,
  state: Compaction,
  end: number,
): void {
  if (instance === undefined || bytes.buffer !== instance.memory) return;
  const { compact, results } = instance;
  const shift = bytes.byteOffset;
  const { at, out, after } = state;
  state.at = compact(at + shift, end + shift, out + shift, after) - shift;
  state.out = results[0]! - shift;
  state.after = results[1]!;
}

/** `x - BELOW & ~x & HIGH` is not zero if some byte of the word `x` is below 14. */
const BELOW = 0x0e0e0e0e;
const HIGH = 0x80808080 | 0;

/** The view of each read buffer. Sessions pass buffers on, and the views with them. */
const views = new WeakMap<ArrayBufferLike, Int32Array>();

function wordsOf(buffer: ArrayBufferLike): Int32Array {
  let words = views.get(buffer);
  if (words === undefined) {
    words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
    views.set(buffer, words);
  }
  return words;
}

/** Scans a range of bytes, one word at a time. */
export class TextScanner {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #shift: number;

  /** @param bytes The bytes to scan */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#words = wordsOf(bytes.buffer);
    this.#shift = bytes.byteOffset;
  }

  /** Index of the first byte below 14 at or after `start`, or `end`. */
  find(start: number, end: number): number {
    const bytes = this.#bytes;
    const shift = this.#shift;
    let at = start;
    while (at < end && ((at + shift) & 3) !== 0) {
      if (bytes[at]! < 14) return at;
      at++;
    }
    // Only whole words are read, and an odd end leaves no whole word.
    if (at === end) return end;
    at = (firstWordWithControl(
      this.#words,
      (at + shift) >> 2,
      (end + shift) >> 2,
    ) << 2) - shift;
    while (at < end && bytes[at]! >= 14) at++;
    return at;
  }
}

/** Index of the first word between `word` and `last` that has a byte below 14, or `last`. */
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
