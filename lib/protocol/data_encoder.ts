/**
 * Encodes message content for sending: turns each LF into CRLF and each bare CR
 * into a space, stuffs dots, and writes the end of data. Guarantees that the
 * next hop sees exactly one message, whatever bytes it contains.
 *
 * Never passes on a bare CR or a bare LF. Never turns a bare CR into a line
 * end, which would add a field to a header: a next hop that takes one for a
 * line end would find commands in the text (SMTP smuggling). Makes no string,
 * and allocates nothing per line.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.2 | RFC 5321 section 4.5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | section 2.3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030}
 */

import { NOTHING } from "./bytes.ts";

const LF = 0x0a;
const CR = 0x0d;
const DOT = 0x2e;
const SPACE = 0x20;
const END_OF_DATA = bytesOf(".\r\n");
const CRLF = bytesOf("\r\n");
const BLANK_CRLF = bytesOf(" \r\n");

/** Options of {@linkcode DataEncoder}. */
export interface DataEncoderOptions {
  /**
   * `"data"` stuffs dots and ends with a line with a dot. `"bdat"` changes no
   * dots and writes no end, because BDAT counts the bytes.
   *
   * @default {"data"}
   */
  readonly framing?: "data" | "bdat" | undefined;
}

/**
 * Encodes one message, one chunk at a time. The output does not depend on how
 * the message was cut into chunks.
 */
export class DataEncoder {
  /**
   * The last byte taken. A CR is not written yet: the next byte decides on it.
   * A message begins as if a line had just ended.
   */
  #last = LF;
  readonly #stuffs: boolean;

  /** @param options The framing of the message */
  constructor(options: DataEncoderOptions = {}) {
    this.#stuffs = options.framing !== "bdat";
  }

  /**
   * Encodes the next chunk. Returns `chunk` itself if nothing in it changes,
   * which is the normal case for well-formed mail.
   */
  encode(chunk: Uint8Array): Uint8Array {
    const { length } = chunk;
    if (length === 0) return chunk;
    const start = this.#firstChange(chunk);
    if (start === length) {
      this.#last = chunk[length - 1]!;
      return chunk;
    }
    if (start === length - 1 && chunk[start] === CR && this.#last !== CR) {
      this.#last = CR;
      return chunk.subarray(0, start);
    }
    return this.#rewrite(chunk, start);
  }

  /**
   * Completes the last line and, except for BDAT, writes the end of data. Do
   * not pass further chunks.
   */
  finish(): Uint8Array {
    const rest = this.#last === LF
      ? NOTHING
      : this.#last === CR
      ? BLANK_CRLF
      : CRLF;
    this.#last = LF;
    if (!this.#stuffs) return rest;
    const end = new Uint8Array(rest.length + END_OF_DATA.length);
    end.set(rest);
    end.set(END_OF_DATA, rest.length);
    return end;
  }

  /** Index of the first byte that must change, or the length of the chunk. */
  #firstChange(chunk: Uint8Array): number {
    const { length } = chunk;
    let at = 0;
    if (this.#last === CR) return 0;
    if (this.#last === LF && this.#stuffs && chunk[at] === DOT) return at;
    const words = wordsOf(chunk);
    for (;;) {
      at = findControl(chunk, words, at);
      if (at === length || chunk[at] === LF) return at;
      if (chunk[at] !== CR) {
        at++;
        continue;
      }
      if (chunk[at + 1] !== LF) return at;
      at += 2;
      if (chunk[at] === DOT && this.#stuffs) return at;
    }
  }

  /** Copies the chunk and changes it from `start` on. */
  #rewrite(chunk: Uint8Array, start: number): Uint8Array {
    const { length } = chunk;
    // Each byte becomes two at most, and a CR of the previous chunk comes
    // first.
    const out = new Uint8Array(start + (length - start) * 2 + 1);
    out.set(start === 0 ? NOTHING : chunk.subarray(0, start));
    let last = start === 0 ? this.#last : chunk[start - 1]!;
    let to = start;
    for (let at = start; at < length; at++) {
      const byte = chunk[at]!;
      if (last === CR && byte !== LF) out[to++] = last = SPACE;
      if (byte === LF) out[to++] = CR;
      else if (byte === DOT && last === LF && this.#stuffs) out[to++] = DOT;
      last = byte;
      if (byte !== CR) out[to++] = byte;
    }
    this.#last = last;
    return out.subarray(0, to);
  }
}

/** The whole words of the buffer that lie inside the chunk, and the offset of the first. */
interface Words {
  readonly view: Int32Array;
  readonly offset: number;
}

function wordsOf(chunk: Uint8Array): Words {
  const offset = (4 - (chunk.byteOffset & 3)) & 3;
  const count = Math.max(0, (chunk.length - offset) >> 2);
  const from = count === 0 ? 0 : chunk.byteOffset + offset;
  return { view: new Int32Array(chunk.buffer, from, count), offset };
}

/**
 * Index of the first byte at or after `from` that may be CR or LF (below 14),
 * or the length. Reads sixteen bytes at a time, and single bytes only if one of
 * them is below 14.
 */
function findControl(chunk: Uint8Array, words: Words, from: number): number {
  const { view, offset } = words;
  const { length } = chunk;
  let at = from;
  for (; at < length && (at < offset || ((at - offset) & 3) !== 0); at++) {
    if (chunk[at]! < 14) return at;
  }
  let word = (at - offset) >> 2;
  for (const end = view.length - 3; word < end; word += 4) {
    const a = view[word]!;
    const b = view[word + 1]!;
    const c = view[word + 2]!;
    const d = view[word + 3]!;
    const small = (((a - 0x0e0e0e0e) & ~a) | ((b - 0x0e0e0e0e) & ~b) |
      ((c - 0x0e0e0e0e) & ~c) | ((d - 0x0e0e0e0e) & ~d)) & 0x80808080;
    if (small !== 0) break;
  }
  for (at = Math.max(at, offset + (word << 2)); at < length; at++) {
    if (chunk[at]! < 14) return at;
  }
  return length;
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
