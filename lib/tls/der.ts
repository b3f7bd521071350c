/**
 * The two forms that certificates, requests and keys come in. DER: functions
 * that write one value each, and a reader that gives one value after the other.
 * PEM: the blocks of a text, and the text of one block. Knows nothing of what
 * is in them.
 *
 * The reader of DER never trusts a length: a value that reaches past its parent
 * is a `SyntaxError`, not a short slice. Text around PEM blocks, which many
 * tools write, is skipped.
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

/** Bytes that own their memory, as Web Crypto wants them. */
export type Der = Uint8Array<ArrayBuffer>;

const textEncoder = new TextEncoder();

/** One value: tag, length and the parts of its content one after the other. */
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

/** A SEQUENCE of finished values. */
export function sequence(...parts: readonly Uint8Array[]): Der {
  return value(TAG.sequence, ...parts);
}

/** A non-negative INTEGER from its bytes, most significant first. */
export function integer(bytes: Uint8Array): Der {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const minimal = bytes.subarray(from);
  // Without the zero byte in front a high bit would make it negative.
  const sign = (minimal[0] ?? 0) >= 0x80 || minimal.length === 0 ? [0] : [];
  return value(TAG.integer, Uint8Array.from(sign), minimal);
}

/** A BOOLEAN that is true; DER leaves out the default, which false always is here. */
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

/** A BIT STRING; `unused` counts the bits at the end that do not belong to it. */
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
 * A BIT STRING with a name for each bit, counted from the most significant;
 * DER wants it without zero bits at its end.
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

/** A time in whole seconds: UTCTime up to 2049, GeneralizedTime after that (RFC 5280 section 4.1.2.5). */
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

/** One value as it was read. */
export interface DerValue {
  /** The tag byte, class and constructed bit included. */
  readonly tag: number;
  /** The content, a view of what was read. */
  readonly content: Uint8Array;
  /** The whole value with tag and length, a view of what was read. */
  readonly whole: Uint8Array;
}

/**
 * The values that stand one after the other in `bytes`: a whole document, or
 * the content of a SEQUENCE.
 *
 * @throws {SyntaxError} If a tag or length is not one that DER allows, or reaches past the end
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
    throw new SyntaxError("Cannot read DER: want a tag of one octet, a length");
  }
  let size = first;
  let head = 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    head += count;
    if (count === 0 || count > 4 || bytes.length < head) {
      throw new SyntaxError("Cannot read DER: want a length of 1 to 4 octets");
    }
    size = 0;
    for (const byte of bytes.subarray(2, head)) size = size * 256 + byte;
  }
  if (size > bytes.length - head) {
    throw new SyntaxError(
      `Cannot read DER: value of ${size} octets, only ${
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

/** The dotted text of an OBJECT IDENTIFIER's content. */
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

/** One block with `der` in it, lines of 64 characters, line feed at the end. */
export function writePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${
    lines.join("\n")
  }\n-----END ${label}-----\n`;
}
