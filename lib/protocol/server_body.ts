/**
 * A message body on its way in, by DATA or by BDAT chunks: where it ends, how
 * large it is, and whether it must be refused. It always reads to the true end,
 * refused or not: whoever stops earlier reads the rest of a body as commands.
 * Where that end is too far behind a refusal, only the session can end.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4 | RFC 5321 section 4.1.1.4},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030}
 */

import {
  type BareNewlinePolicy,
  type ContentFraming,
  DataDecoder,
} from "./data_decoder.ts";
import { replies } from "./replies.ts";
import type { SmtpReply } from "./reply.ts";

const NOTHING = new Uint8Array(0);
/** Bytes of refused content that are read at least, 4 MiB: the client is to see why. */
const LEAST_REFUSED = 4_194_304;
/** Bytes of refused content that are read where messages have no limit, 1 GiB. */
const MOST_REFUSED = 1_073_741_824;

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
  /** Bytes read since the content, or the chunk, was refused. */
  #refused = 0;
  /** Whether the chunk under way is the last. */
  lastChunk = false;
  readonly #maxSize: number;
  readonly #decoder: DataDecoder;
  readonly #policy: BareNewlinePolicy;
  /** Whether BDAT brings the content of the message as it is to be kept. */
  #verbatim = false;
  #chunkLeft = 0;

  /**
   * @param maxSize Largest body in octets, 0 for no limit
   * @param bareNewlines What happens to bare line ends, except in BODY=BINARYMIME
   */
  constructor(maxSize: number, bareNewlines: BareNewlinePolicy) {
    this.#maxSize = maxSize;
    this.#decoder = new DataDecoder(bareNewlines);
    this.#policy = bareNewlines;
  }

  /**
   * Begins a body.
   *
   * @param options `binary`: whether it came with BODY=BINARYMIME, which has no lines
   */
  start(
    framing: ContentFraming,
    options: { readonly binary: boolean },
  ): void {
    this.size = 0;
    this.#refused = 0;
    this.refusal = undefined;
    this.chunkRefusal = undefined;
    this.#verbatim = framing === "bdat" &&
      (options.binary || this.#policy === "keep");
    this.#decoder.reset(framing);
  }

  /** Begins a BDAT chunk. */
  startChunk(
    chunk: { readonly size: number; readonly last: boolean },
  ): void {
    this.#chunkLeft = chunk.size;
    this.lastChunk = chunk.last;
    this.chunkRefusal = undefined;
  }

  /**
   * Whether more has come behind a refusal than is read for its sake: as much as
   * a message may have.
   */
  get isEndless(): boolean {
    const most = this.#maxSize === 0
      ? MOST_REFUSED
      : Math.max(this.#maxSize, LEAST_REFUSED);
    return this.#refused > most;
  }

  /** Whether the end of DATA has been read. */
  get dataEnded(): boolean {
    return this.#decoder.done;
  }

  /** Whether the chunk has been read. */
  get chunkEnded(): boolean {
    return this.#chunkLeft === 0;
  }

  /**
   * Reads DATA content from `input`; returns body octets to keep, possibly none.
   * What it left unread, from {@linkcode BodyReader.position} on, is read next.
   */
  readData(input: Uint8Array, start: number, end: number): Uint8Array {
    const octets = this.#decoder.decode(input, start, end);
    this.position = this.#decoder.consumed;
    this.#countRefused(this.position - start);
    return this.#judge(octets);
  }

  /** Reads BDAT content from `input`, as {@linkcode BodyReader.readData}. */
  readChunk(input: Uint8Array, start: number, end: number): Uint8Array {
    const stop = Math.min(end, start + this.#chunkLeft);
    const decodes = !this.#verbatim && this.chunkRefusal === undefined;
    const octets = decodes
      ? this.#decoder.decode(input, start, stop)
      : input.subarray(start, stop);
    this.position = decodes ? this.#decoder.consumed : stop;
    this.#chunkLeft -= this.position - start;
    this.#countRefused(this.position - start);
    if (this.chunkRefusal !== undefined) return NOTHING;
    return decodes ? this.#judge(octets) : this.#count(octets);
  }

  /** The last chunk has been read: what of its octets had to wait for more. */
  endChunks(): Uint8Array {
    return this.#verbatim || this.chunkRefusal !== undefined
      ? NOTHING
      : this.#judge(this.#decoder.end());
  }

  /** Refuses what the policy refuses. */
  #judge(octets: Uint8Array): Uint8Array {
    const { bareNewline } = this.#decoder;
    if (bareNewline !== undefined && this.#policy === "reject") {
      // Of two faults always this one, or the reply would hang on the packets.
      if (this.refusal === undefined || this.refusal === replies.tooLarge) {
        this.refusal = bareNewline === "CR" ? replies.bareCr : replies.bareLf;
      }
    }
    return this.#count(octets);
  }

  #countRefused(read: number): void {
    if (this.refusal !== undefined || this.chunkRefusal !== undefined) {
      this.#refused += read;
    }
  }

  #count(octets: Uint8Array): Uint8Array {
    this.size += octets.length;
    if (this.#maxSize > 0 && this.size > this.#maxSize) {
      this.refusal ??= replies.tooLarge;
    }
    return this.refusal === undefined ? octets : NOTHING;
  }
}
