/**
 * The content of a message for several attempts: small content is held in
 * memory, larger content is opened again for each attempt. Owns the stream that
 * was opened to read the header until the first attempt takes it over.
 */

import { DataEncoder } from "../protocol/data_encoder.ts";
import { ContentMeter } from "../client/content_meter.ts";
import type { DeliveryJob } from "../queue/job.ts";
import type { ContentSigning } from "./signing.ts";

/** Content up to this size is held in memory for all attempts, in bytes. */
const MAX_KEPT = 262144;

/** Opens the content from its beginning. */
export type OpenContent = () => AsyncIterable<Uint8Array>;

/** A job, and what signs its content again. */
export interface SigningOf {
  readonly job: DeliveryJob;
  readonly by: ContentSigning;
}

/** The content of one message. */
export class DeliveryContent {
  /** The beginning of the content; all of it if it is small. */
  readonly head: Uint8Array;
  readonly #open: OpenContent;
  #rest: AsyncIterator<Uint8Array> | undefined;
  readonly #isWhole: boolean;
  readonly #signing: SigningOf | undefined;
  #wireSize: number | undefined;

  constructor(
    open: OpenContent,
    read: {
      /** The beginning. */
      head: Uint8Array;
      /** The rest; `undefined` if `head` is all. */
      rest: AsyncIterator<Uint8Array> | undefined;
    },
    signing?: SigningOf,
  ) {
    this.#open = open;
    this.head = read.head;
    this.#rest = read.rest;
    this.#isWhole = read.rest === undefined;
    this.#signing = signing;
  }

  /**
   * Opens the content and reads its beginning.
   *
   * @param signing What signs a converted copy of the job's content. Default: nothing does
   */
  static async load(
    open: OpenContent,
    signing?: SigningOf,
  ): Promise<DeliveryContent> {
    const source = open()[Symbol.asyncIterator]();
    const chunks: Uint8Array[] = [];
    let size = 0;
    let rest: AsyncIterator<Uint8Array> | undefined;
    for (;;) {
      const next = await source.next();
      if (next.done) break;
      chunks.push(next.value);
      size += next.value.length;
      if (size > MAX_KEPT) {
        rest = source;
        break;
      }
    }
    const head = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      head.set(chunk, at);
      at += chunk.length;
    }
    return new DeliveryContent(open, { head, rest }, signing);
  }

  /** The content for one attempt: the bytes, or a function that opens it from the beginning. */
  data(): Uint8Array | OpenContent {
    return this.#isWhole ? this.head : () => {
      const rest = this.#rest;
      this.#rest = undefined;
      return rest ? continued(this.head, rest) : this.#open();
    };
  }

  /** The content that goes out in place of a converted one: with a new signature. */
  async converted(open: OpenContent): Promise<OpenContent> {
    if (this.#signing === undefined) return open;
    const { job, by } = this.#signing;
    return await by.renew(job, { head: this.head, open });
  }

  /**
   * Bytes on the wire, without the dots of DATA.
   *
   * @param stored Bytes of the stored content
   */
  async wireSize(stored: number): Promise<number> {
    if (this.#isWhole || this.#headIsClean) return stored;
    if (this.#wireSize === undefined) {
      const meter = new ContentMeter({ isBinary: false });
      for await (const chunk of this.#open()) meter.push(chunk);
      this.#wireSize = meter.end().size;
    }
    return this.#wireSize;
  }

  /** Whether all line ends of the beginning are CRLF; those of the rest are then, too. */
  get #headIsClean(): boolean {
    return new DataEncoder({ framing: "bdat" }).encode(this.head) === this.head;
  }

  /** Closes the stream if no attempt has used it. Idempotent. */
  async release(): Promise<void> {
    const rest = this.#rest;
    this.#rest = undefined;
    await rest?.return?.();
  }
}

/**
 * The beginning, then the rest. Not a generator: `return()` on a generator that
 * has not started skips its `finally`, and the file behind it would stay open.
 */
function continued(
  head: Uint8Array,
  rest: AsyncIterator<Uint8Array>,
): AsyncIterable<Uint8Array> {
  let isBegun = false;
  const iterator: AsyncIterator<Uint8Array> = {
    next() {
      if (isBegun) return rest.next();
      isBegun = true;
      return Promise.resolve({ done: false, value: head.slice() });
    },
    async return() {
      isBegun = true;
      await rest.return?.();
      return { done: true, value: undefined };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}
