/**
 * Measures content chunk by chunk: its size on the wire, whether it is ASCII,
 * whether its lines fit.
 */

import { DataEncoder } from "../protocol/data_encoder.ts";
import { MAX_LINE } from "../protocol/folding.ts";

const CR = 0x0d;
const LF = 0x0a;

/** The result of a {@linkcode ContentMeter}. */
export interface ContentFacts {
  /** Bytes on the wire: with CRLF line ends, without the dots of DATA. */
  readonly size: number;
  /** Whether all bytes are below 128. */
  readonly isAscii: boolean;
  /** Whether all bytes of the header are below 128. */
  readonly headerIsAscii: boolean;
  /** Whether a line has over 998 bytes. */
  readonly hasLongLines: boolean;
}

export class ContentMeter {
  readonly #encoder: DataEncoder | undefined;
  #size = 0;
  #isAscii = true;
  #headerIsAscii = true;
  #inHeader = true;
  /** Bytes of the current line so far. */
  #line = 0;
  #last = LF;
  #hasLongLines = false;

  /** @param options `isBinary`: whether line ends are sent as they are */
  constructor(options: { readonly isBinary: boolean }) {
    // Only the encoder knows the bytes of each line end on the wire.
    this.#encoder = options.isBinary
      ? undefined
      : new DataEncoder({ framing: "bdat" });
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#size += this.#encoder?.encode(chunk).length ?? chunk.length;
    const ascii = isAsciiBytes(chunk);
    if (!ascii) this.#isAscii = false;
    let at = 0;
    for (;;) {
      const feed = chunk.indexOf(LF, at);
      const end = feed < 0 ? chunk.length : feed;
      this.#line += end - at;
      if (this.#line > MAX_LINE) {
        const last = end > 0 ? chunk[end - 1] : this.#last;
        this.#hasLongLines ||= this.#line > MAX_LINE + 1 || last !== CR;
      }
      if (feed < 0) break;
      if (this.#inHeader && this.#isBlank(chunk, feed)) {
        if (!ascii) {
          this.#headerIsAscii &&= isAsciiBytes(chunk.subarray(0, feed));
        }
        this.#inHeader = false;
      }
      this.#line = 0;
      at = feed + 1;
    }
    if (this.#inHeader && !ascii) this.#headerIsAscii = false;
    this.#last = chunk[chunk.length - 1]!;
  }

  /** Whether the line that ends at `feed` is empty. */
  #isBlank(chunk: Uint8Array, feed: number): boolean {
    if (this.#line === 0) return true;
    return this.#line === 1 &&
      (feed > 0 ? chunk[feed - 1] : this.#last) === CR;
  }

  end(): ContentFacts {
    return {
      size: this.#size + (this.#encoder?.finish().length ?? 0),
      isAscii: this.#isAscii,
      headerIsAscii: this.#headerIsAscii,
      hasLongLines: this.#hasLongLines,
    };
  }
}

/** Whether all bytes are below 128. */
export function isAsciiBytes(bytes: Uint8Array): boolean {
  const end = bytes.length;
  let at = 0;
  // Eight bytes a step: this reads every message that is relayed.
  for (; at + 8 <= end; at += 8) {
    const all = bytes[at]! | bytes[at + 1]! | bytes[at + 2]! | bytes[at + 3]! |
      bytes[at + 4]! | bytes[at + 5]! | bytes[at + 6]! | bytes[at + 7]!;
    if (all > 127) return false;
  }
  for (; at < end; at++) if (bytes[at]! > 127) return false;
  return true;
}
