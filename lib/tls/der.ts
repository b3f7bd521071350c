/**
 * The two encodings of certificates, requests and keys. DER: functions that
 * write one value each, and a reader of consecutive values. PEM: the blocks of
 * a text, and the text of one block. Knows nothing of the contents.
 *
 * The reader of DER never trusts a length: a value that extends past its parent
 * is a `SyntaxError`, not a short slice. The reader of PEM skips the text around
 * blocks, which many tools write.
 *
 * {@link https://www.itu.int/rec/T-REC-X.690 | ITU-T X.690},
 * {@link https://www.rfc-editor.org/rfc/rfc7468 | RFC 7468}
 */

import { Buffer } from "node:buffer";

/** The tags in use, with their class and constructed bits. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Bytes that own their memory, as Web Crypto requires. */
export type Der = Uint8Array<ArrayBuffer>;

const textEncoder = new TextEncoder();

/** A value: tag, length and the concatenated parts of its content. */
export function value(tag: number, ...parts: readonly Uint8Array[]): Der {
  let size = 0;
  for (const part of parts) size += part.length;
  const head = [tag, ...lengthBytes(size)];
  const bytes = new Uint8Array(head.length + size);
  bytes.set(head);
  let at = head.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A SEQUENCE of encoded values. */
export function sequence(...parts: readonly Uint8Array[]): Der {
  return value(TAG.sequence, ...parts);
}

/** A non-negative INTEGER from its bytes, most significant first. */
export function integer(bytes: Uint8Array): Der {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const minimal = bytes.subarray(from);
  // A leading zero byte: with its high bit set the number would be negative.
  const sign = (minimal[0] ?? 0) >= 0x80 || minimal.length === 0 ? [0] : [];
  return value(TAG.integer, Uint8Array.from(sign), minimal);
}

/** A BOOLEAN that is true; DER omits a default, and the default here is always false. */
export function booleanTrue(): Der {
  return value(TAG.boolean, Uint8Array.of(0xff));
}

/** An OBJECT IDENTIFIER from its dotted text. */
export function oid(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const group = [arc & 0x7f];
    for (let high = arc >>> 7; high > 0; high >>>= 7) {
      group.unshift((high & 0x7f) | 0x80);
    }
    bytes.push(...group);
  }
  return value(TAG.oid, Uint8Array.from(bytes));
}

/** A BIT STRING. */
export function bitString(
  bytes: Uint8Array,
  options: BitStringOptions = {},
): Der {
  return value(TAG.bitString, Uint8Array.of(options.unused ?? 0), bytes);
}

/** Options of {@linkcode bitString}. */
export interface BitStringOptions {
  /**
   * Bits of the last byte that are padding, 0 to 7.
   *
   * @default {0}
   */
  unused?: number | undefined;
}

/**
 * A BIT STRING of named bits, numbered from the most significant; DER requires
 * it to have no trailing zero bits.
 */
export function namedBits(bits: Iterable<number>): Der {
  const bytes: number[] = [];
  let last = -1;
  for (const bit of bits) {
    const at = bit >> 3;
    while (bytes.length <= at) bytes.push(0);
    bytes[at]! |= 0x80 >> (bit & 7);
    last = Math.max(last, bit);
  }
  const unused = last < 0 ? 0 : 7 - (last & 7);
  return bitString(Uint8Array.from(bytes), { unused });
}

/** A UTF8String. */
export function utf8String(text: string): Der {
  return value(TAG.utf8String, textEncoder.encode(text));
}

/** A time in whole seconds: UTCTime up to 2049, then GeneralizedTime (RFC 5280 section 4.1.2.5). */
export function time(at: Date): Der {
  const digits = at.toISOString().replace(/[-:T]|\.\d+/g, "");
  const short = at.getUTCFullYear() < 2050;
  return value(
    short ? TAG.utcTime : TAG.generalizedTime,
    textEncoder.encode(short ? digits.slice(2) : digits),
  );
}

function lengthBytes(size: number): number[] {
  if (size < 0x80) return [size];
  const bytes: number[] = [];
  for (let rest = size; rest > 0; rest >>>= 8) bytes.unshift(rest & 0xff);
  return [0x80 | bytes.length, ...bytes];
}

/** A value that was read. */
export interface DerValue {
  /** The tag byte, class and constructed bit included. */
  readonly tag: number;
  /** The content, a view of the input. */
  readonly content: Uint8Array;
  /** The whole value with tag and length, a view of the input. */
  readonly whole: Uint8Array;
}

/**
 * The consecutive values in `bytes`: a whole document, or the content of a
 * SEQUENCE.
 *
 * @throws {SyntaxError} If a tag or length is not DER, or a value extends past the end
 */
export function readValues(bytes: Uint8Array): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length;) {
    const next = readValue(bytes.subarray(at));
    values.push(next);
    at += next.whole.length;
  }
  return values;
}

/** The first value in `bytes`. */
function readValue(bytes: Uint8Array): DerValue {
  const tag = bytes[0]!;
  const first = bytes[1];
  if (first === undefined || (tag & 0x1f) === 0x1f) {
    throw new SyntaxError("Cannot read DER: want a tag of one byte, a length");
  }
  let size = first;
  let head = 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    head += count;
    if (count === 0 || count > 4 || bytes.length < head) {
      throw new SyntaxError("Cannot read DER: want a length of 1 to 4 bytes");
    }
    size = 0;
    for (const byte of bytes.subarray(2, head)) size = size * 256 + byte;
  }
  if (size > bytes.length - head) {
    throw new SyntaxError(
      `Cannot read DER: value of ${size} bytes, only ${
        bytes.length - head
      } are left`,
    );
  }
  return {
    tag,
    content: bytes.subarray(head, head + size),
    whole: bytes.subarray(0, head + size),
  };
}

/** The dotted text of an OBJECT IDENTIFIER from its content. */
export function oidText(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of content) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      arcs.push(arc);
      arc = 0;
    }
  }
  const [head = 0, ...rest] = arcs;
  const first = Math.min(2, Math.floor(head / 40));
  return [first, head - first * 40, ...rest].join(".");
}

/** A PEM block; its label is the first group. */
const BLOCK =
  /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([^-]*(?:-[^-]+)*)-----END \1-----/g;

/** One block of a PEM text. */
export interface PemBlock {
  /** The label, as `"CERTIFICATE"` or `"EC PRIVATE KEY"`. */
  readonly label: string;
  /** The block's own text, from BEGIN to END. */
  readonly text: string;
}

/** The blocks of `text`, in order. */
export function readPem(text: string): PemBlock[] {
  const blocks: PemBlock[] = [];
  for (const match of text.matchAll(BLOCK)) {
    blocks.push({ label: match[1]!, text: `${match[0]}\n` });
  }
  return blocks;
}

/** A block that contains `der`, in lines of 64 characters that end with a line feed. */
export function writePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${
    lines.join("\n")
  }\n-----END ${label}-----\n`;
}
