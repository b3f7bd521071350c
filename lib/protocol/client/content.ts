/**
 * Sends content, by DATA with stuffed dots or by BDAT with byte counts. DATA
 * content may go after 354, BDAT content as soon as the envelope allows it.
 * Limits the BDAT chunks sent ahead of their replies, so that a refusal wastes
 * little. Holds back one BDAT chunk, because only the next one or the end shows
 * whether it is the last. Does not read replies.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3030#section-2 | RFC 3030 section 2}
 */

import { concat, NOTHING } from "../bytes.ts";
import { DataEncoder } from "../data_encoder.ts";
import type { CommandPipeline } from "./pipeline.ts";
import { MAX_CHUNKS_IN_FLIGHT } from "./state.ts";
import type { ClientTransaction } from "./transaction.ts";

/** Sends the content of one transaction. */
export class ContentFlow {
  readonly #transaction: ClientTransaction;
  readonly #pipeline: CommandPipeline;
  readonly #framer: ContentFramer;
  #firstChunk: number | undefined;
  #ended = false;

  /**
   * @param transaction The transaction of the content
   * @param pipeline Takes the bytes to send
   */
  constructor(transaction: ClientTransaction, pipeline: CommandPipeline) {
    this.#transaction = transaction;
    this.#pipeline = pipeline;
    this.#framer = new ContentFramer(transaction.framing);
  }

  /** Whether the next piece of content should come now. */
  get isWanted(): boolean {
    const transaction = this.#transaction;
    if (this.#ended || transaction.isSettled) return false;
    if (transaction.framing === "data") return transaction.isOpen;
    const { sent, answered, inFlight, unsent } = this.#pipeline;
    if (unsent) return false;
    if (this.#firstChunk === undefined) {
      const ready = transaction.isEager ||
        (inFlight === 0 && transaction.hasAccepted);
      if (!ready) return false;
      this.#firstChunk = sent;
      transaction.isOpen = true;
    }
    const chunksInFlight = sent - Math.max(answered, this.#firstChunk);
    return transaction.isOpen && chunksInFlight < MAX_CHUNKS_IN_FLIGHT;
  }

  /** Sends a piece of content and takes ownership of it. */
  add(chunk: Uint8Array): void {
    this.#check();
    if (chunk.length > 0) this.#write(this.#framer.add(chunk), 0);
  }

  /** Sends the end of the content. */
  end(): void {
    this.#check();
    const transaction = this.#transaction;
    this.#ended = true;
    transaction.isOpen = false;
    this.#write(this.#framer.end(), 1);
    if (transaction.framing !== "data") return;
    this.#pipeline.pushSent("dataEnd", transaction.finalReplies);
  }

  #check(): void {
    if (!this.#transaction.isOpen) {
      throw new Error(
        'Cannot take content that is not wanted: want a "content" effect first',
      );
    }
  }

  #write({ pieces, chunks }: FramedContent, last: 0 | 1): void {
    for (const piece of pieces) this.#pipeline.write(piece);
    this.#pipeline.pushSent("BDAT", chunks, last);
  }
}

/**
 * Returns the flow of the transaction.
 *
 * @throws {Error} If there is no transaction
 */
export function openContent(flow: ContentFlow | undefined): ContentFlow {
  if (flow) return flow;
  throw new Error("Cannot take content: want a transaction first");
}

/** Smaller chunks are held for more content, in bytes: each BDAT costs a reply of the server. */
const MIN_CHUNK = 32768;

const encoder = new TextEncoder();

/** Bytes to write, in order, and the number of BDAT commands that they complete. */
interface FramedContent {
  /** The bytes. */
  readonly pieces: readonly Uint8Array[];
  /** Number of BDAT commands in them, 0 with DATA. */
  readonly chunks: number;
}

/** Frames one message's content. */
class ContentFramer {
  readonly #framing: "data" | "bdat" | "binary";
  readonly #encoder: DataEncoder;
  #held: Uint8Array = NOTHING;

  /** @param framing The framing of the content; `binary` does not change line ends */
  constructor(framing: "data" | "bdat" | "binary") {
    this.#framing = framing;
    this.#encoder = new DataEncoder({
      framing: framing === "data" ? "data" : "bdat",
    });
  }

  /** Takes a chunk and ownership of it. */
  add(chunk: Uint8Array): FramedContent {
    const encoded = this.#framing === "binary"
      ? chunk
      : this.#encoder.encode(chunk);
    if (this.#framing === "data") return { pieces: [encoded], chunks: 0 };
    if (this.#held.length < MIN_CHUNK) {
      this.#held = join(this.#held, encoded);
      return { pieces: [], chunks: 0 };
    }
    const held = this.#held;
    this.#held = encoded;
    return { pieces: [command(held, ""), held], chunks: 1 };
  }

  /** Ends the content. */
  end(): FramedContent {
    if (this.#framing === "data") {
      return { pieces: [this.#encoder.finish()], chunks: 0 };
    }
    const rest = this.#framing === "binary" ? NOTHING : this.#encoder.finish();
    const held = join(this.#held, rest);
    this.#held = NOTHING;
    return { pieces: [command(held, " LAST"), held], chunks: 1 };
  }
}

function command(chunk: Uint8Array, last: string): Uint8Array {
  return encoder.encode(`BDAT ${chunk.length}${last}\r\n`);
}

/** Joins both arrays. Returns one itself if the other is empty. */
function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  return second.length === 0 ? first : concat([first, second]);
}
