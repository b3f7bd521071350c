/**
 * Skips clean text sixteen octets at a time, by a small WebAssembly module:
 * clean is text whose every CR is followed by LF, whose every LF follows a CR,
 * and in which no line begins with a dot. That is nearly all of every body, and
 * nothing in it is to be changed, so one comparison a block is all it needs.
 *
 * WebAssembly sees its own memory only. That memory is therefore cut into the
 * read buffers for bodies: what the socket brings is scanned where it lies.
 * Octets anywhere else are left to the loop over words in `text_scanner.ts`,
 * which is also the measure for this module's test.
 */

/** Octets of one buffer. */
export const ARENA_BUFFER_SIZE = 65536;

/** Buffers in the memory of the module: one page each. */
const BUFFERS = 64;

/** Tells {@linkcode skipClean} what the octet before the first was. */
export const AFTER_TEXT = 0;
/** As {@linkcode AFTER_TEXT}: a CR. */
export const AFTER_CR = 1;
/** As {@linkcode AFTER_TEXT}: the LF of a CRLF, so that a line begins. */
export const AFTER_LF = 2;

type Skip = (at: number, end: number, after: number) => number;

// Instructions, by the names of the WebAssembly text format.
const BLOCK = [0x02, 0x40];
const LOOP = [0x03, 0x40];
const END = [0x0b];
const BR = (depth: number) => [0x0c, depth];
const BR_IF = (depth: number) => [0x0d, depth];
const GET = (local: number) => [0x20, local];
const SET = (local: number) => [0x21, local];
const TEE = (local: number) => [0x22, local];
const CONST = (small: number) => [0x41, small];
const CONST_FFFF = [0x41, 0xff, 0xff, 0x03];
const NE = [0x47];
const GT_S = [0x4a];
const ADD = [0x6a];
const SUB = [0x6b];
const AND = [0x71];
const OR = [0x72];
const SHL = [0x74];
const SHR_U = [0x76];
const V128_LOAD = [0xfd, 0x00, 0x00, 0x00];
const V128_CONST = (octet: number) => [0xfd, 0x0c, ...Array(16).fill(octet)];
const I8X16_EQ = [0xfd, 0x23];
const I8X16_BITMASK = [0xfd, 0x64];

// Locals of the function.
const AT = 0;
const STOP = 1; // the parameter `end`, then the last place where a block begins
const CR_BEFORE = 2; // the parameter `after`, then its first bit
const LF_BEFORE = 3;
const CR = 4; // a bit for each CR of the block
const LF = 5;
const BLOCK_OCTETS = 6;

/** A bit for each octet of the block that is `octet`. */
const MASK_OF = (octet: number) => [
  ...GET(BLOCK_OCTETS),
  ...V128_CONST(octet),
  ...I8X16_EQ,
  ...I8X16_BITMASK,
];

/** The mask moved on by one octet, with what came from the block before. */
const AFTER = (mask: number, before: number) => [
  ...GET(mask),
  ...CONST(1),
  ...SHL,
  ...GET(before),
  ...OR,
];

const BODY = [
  ...[...GET(STOP), ...CONST(16), ...SUB, ...SET(STOP)],
  ...[...GET(CR_BEFORE), ...CONST(1), ...SHR_U, ...SET(LF_BEFORE)],
  ...[...GET(CR_BEFORE), ...CONST(1), ...AND, ...SET(CR_BEFORE)],
  ...BLOCK,
  ...LOOP,
  // Less than a block is left: stop.
  ...[...GET(AT), ...GET(STOP), ...GT_S, ...BR_IF(1)],
  ...[...GET(AT), ...V128_LOAD, ...SET(BLOCK_OCTETS)],
  ...[...MASK_OF(13), ...SET(CR)],
  // LF stands just where a CR stood before, else one of them is bare: stop.
  ...AFTER(CR, CR_BEFORE),
  ...[...CONST_FFFF, ...AND],
  ...[...MASK_OF(10), ...TEE(LF)],
  ...[...NE, ...BR_IF(1)],
  // A dot after LF begins a line: stop.
  ...AFTER(LF, LF_BEFORE),
  ...[...MASK_OF(46), ...AND, ...BR_IF(1)],
  ...[...GET(CR), ...CONST(15), ...SHR_U, ...SET(CR_BEFORE)],
  ...[...GET(LF), ...CONST(15), ...SHR_U, ...SET(LF_BEFORE)],
  ...[...GET(AT), ...CONST(16), ...ADD, ...SET(AT)],
  ...BR(0),
  ...END,
  ...END,
  ...GET(AT),
  ...END,
];

const I32 = 0x7f;
const V128 = 0x7b;
const LOCALS = [2, 3, I32, 1, V128]; // LF_BEFORE, CR, LF; BLOCK_OCTETS
const text = (ascii: string) => [
  ascii.length,
  ...Array.from(ascii, (it) => it.charCodeAt(0)),
];
/** A length below 16,384 in LEB128, two octets wide. */
const wide = (length: number) => [(length & 127) | 128, length >> 7];
const section = (id: number, content: number[]) => [
  id,
  ...wide(content.length),
  ...content,
];
const FUNCTION = [...LOCALS, ...BODY];

const MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // \0asm, version 1
  ...section(1, [1, 0x60, 3, I32, I32, I32, 1, I32]), // its type
  ...section(3, [1, 0]), // one function of it
  ...section(5, [1, 0x01, ...wide(BUFFERS), ...wide(BUFFERS)]), // memory, fixed
  ...section(7, [2, ...text("m"), 2, 0, ...text("skip"), 0, 0]), // exports
  ...section(10, [1, ...wide(FUNCTION.length), ...FUNCTION]), // code
]);

/** The module at work, or nothing where the runtime has no WebAssembly SIMD. */
function instantiate(): { memory: ArrayBuffer; skip: Skip } | undefined {
  try {
    const { exports } = new WebAssembly.Instance(
      new WebAssembly.Module(MODULE),
    );
    const { buffer } = exports["m"] as WebAssembly.Memory;
    return { memory: buffer as ArrayBuffer, skip: exports["skip"] as Skip };
  } catch {
    return undefined;
  }
}

const instance = instantiate();

/** The read buffers in the memory of the module, each {@linkcode ARENA_BUFFER_SIZE} octets. */
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
 * Skips whole blocks of clean text from `at`; returns where the first block
 * begins that is not clean, or that is not whole before `end`. Skips nothing in
 * octets outside the arena.
 *
 * @param range Where to begin and end, and what the octet before was
 */
export function skipClean(
  octets: Uint8Array,
  range: { readonly at: number; readonly end: number; readonly after: number },
): number {
  const { at, end, after } = range;
  if (instance === undefined || octets.buffer !== instance.memory) return at;
  const shift = octets.byteOffset;
  return instance.skip(at + shift, end + shift, after) - shift;
}
