/**
 * What content is like: its size on the wire, whether it is ASCII, whether its
 * lines fit. Found out by looking at each chunk as it passes.
 */

import { DataEncoder } from "../protocol/data_encoder.ts";
import { isAscii, MAX_LINE } from "./mime_scanner.ts";

const CR = 0x0d;
const LF = 0x0a;

/** What is known of content that was looked at. */
export interface ContentFacts {
  /** Bytes with the line ends that go over the wire, without the dots of DATA. */
  readonly size: number;
  /** Whether all bytes are below 128. */
  readonly isAscii: boolean;
  /** Whether those of the header are. */
  readonly headerIsAscii: boolean;
  /** Whether a line has over 998 bytes. */
  readonly hasLongLines: boolean;
}

/** Looks at content, chunk by chunk. */
export class ContentMeter {
  readonly #encoder: DataEncoder | undefined;
  #size = 0;
  #isAscii = true;
  #headerIsAscii = true;
  #inHeader = true;
  /** Bytes of the line under way. */
  #line = 0;
  #last = LF;
  #hasLongLines = false;

  /** @param options `isBinary`: whether line ends go as they are */
  constructor(options: { readonly isBinary: boolean }) {
    // The encoder alone knows which bytes line ends get.
    this.#encoder = options.isBinary
      ? undefined
      : new DataEncoder({ framing: "bdat" });
  }

  /** Takes the next chunk. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#size += this.#encoder?.encode(chunk).length ?? chunk.length;
    const ascii = isAscii(chunk);
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
        if (!ascii) this.#headerIsAscii &&= isAscii(chunk.subarray(0, feed));
        this.#inHeader = false;
      }
      this.#line = 0;
      at = feed + 1;
    }
    if (this.#inHeader && !ascii) this.#headerIsAscii = false;
    this.#last = chunk[chunk.length - 1]!;
  }

  /** Whether the line that ends at `feed` has nothing in it. */
  #isBlank(chunk: Uint8Array, feed: number): boolean {
    if (this.#line === 0) return true;
    return this.#line === 1 &&
      (feed > 0 ? chunk[feed - 1] : this.#last) === CR;
  }

  /** What was seen. */
  end(): ContentFacts {
    return {
      size: this.#size + (this.#encoder?.finish().length ?? 0),
      isAscii: this.#isAscii,
      headerIsAscii: this.#headerIsAscii,
      hasLongLines: this.#hasLongLines,
    };
  }
}
