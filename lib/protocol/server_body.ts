/**
 * A message body on its way in, by DATA or by BDAT chunks: where it ends, how
 * large it is, and whether it must be refused. It always reads to the true end,
 * refused or not: whoever stops earlier reads the rest of a body as commands.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4 | RFC 5321 section 4.1.1.4},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030}
 */

import { type BareNewlinePolicy, DataDecoder } from "./data_decoder.ts";
import { replies } from "./replies.ts";
import type { SmtpReply } from "./reply.ts";

const NOTHING = new Uint8Array(0);

/** Reads bodies, one after the other. */
export class BodyReader {
  /** Octets of body so far. */
  size = 0;
  /** Where in the last input the next unread octet stands. */
  position = 0;
  /** Why the body is refused; what is read from then on is dropped. */
  refusal: SmtpReply | undefined;
  /** Why the chunk under way is refused, the transaction being none of it. */
  chunkRefusal: SmtpReply | undefined;
  /** Whether the chunk under way is the last. */
  lastChunk = false;
  readonly #maxSize: number;
  readonly #decoder: DataDecoder;
  readonly #rejectsBare: boolean;
  #chunkLeft = 0;

  /**
   * @param maxSize Largest body in octets, 0 for no limit
   * @param bareNewlines What happens to bare line ends in DATA. What BDAT brings
   * has a length instead of an end mark and is kept as it is.
   */
  constructor(maxSize: number, bareNewlines: BareNewlinePolicy) {
    this.#maxSize = maxSize;
    this.#decoder = new DataDecoder(bareNewlines);
    this.#rejectsBare = bareNewlines === "reject";
  }

  /** Begins a body. */
  start(): void {
    this.size = 0;
    this.refusal = undefined;
    this.#decoder.reset();
  }

  /** Begins a BDAT chunk. */
  startChunk(
    chunk: { readonly size: number; readonly last: boolean },
  ): void {
    this.#chunkLeft = chunk.size;
    this.lastChunk = chunk.last;
    this.chunkRefusal = undefined;
  }

  /** Whether the end of DATA has been read. */
  get dataEnded(): boolean {
    return this.#decoder.done;
  }

  /** Whether the chunk has been read. */
  get chunkEnded(): boolean {
    return this.#chunkLeft === 0;
  }

  /** Reads DATA content from `input`; returns body octets to keep, possibly none. */
  readData(input: Uint8Array, start: number, end: number): Uint8Array {
    const octets = this.#decoder.decode(input, start, end);
    this.position = this.#decoder.consumed;
    if (this.#rejectsBare && this.#decoder.bareNewline !== undefined) {
      this.refusal ??= this.#decoder.bareNewline === "CR"
        ? replies.bareCr
        : replies.bareLf;
    }
    return this.#count(octets);
  }

  /** Reads BDAT content from `input`; returns body octets to keep, possibly none. */
  readChunk(input: Uint8Array, start: number, end: number): Uint8Array {
    const stop = Math.min(end, start + this.#chunkLeft);
    this.#chunkLeft -= stop - start;
    this.position = stop;
    if (this.chunkRefusal !== undefined) return NOTHING;
    return this.#count(input.subarray(start, stop));
  }

  #count(octets: Uint8Array): Uint8Array {
    this.size += octets.length;
    if (this.#maxSize > 0 && this.size > this.#maxSize) {
      this.refusal ??= replies.tooLarge;
    }
    return this.refusal === undefined ? octets : NOTHING;
  }
}
