/**
 * Content on its way out: DATA with its dots, or BDAT with its counts, and when
 * it may be sent: after 354 with DATA, as soon as the envelope allows it with
 * BDAT, and never more BDAT chunks ahead of their replies than a refusal should
 * waste. Owns the chunk that BDAT holds back, because only with the next one, or
 * the end, is it known whether it is the last. Knows nothing of replies.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3030#section-2 | RFC 3030 section 2}
 */

import { concat } from "../bytes.ts";
import { DataEncoder } from "../data_encoder.ts";
import type { CommandPipeline } from "./pipeline.ts";
import { MAX_CHUNKS_IN_FLIGHT } from "./state.ts";
import type { ClientTransaction } from "./transaction.ts";

/** The content of one transaction on its way out. */
export class ContentFlow {
  readonly #transaction: ClientTransaction;
  readonly #pipeline: CommandPipeline;
  readonly #framer: ContentFramer;
  #firstChunk: number | undefined;
  #ended = false;

  /**
   * @param transaction Whose content it is
   * @param pipeline Where its bytes go
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

  /** Sends a piece, which is the flow's from here on. */
  add(chunk: Uint8Array): void {
    this.#check();
    if (chunk.length > 0) this.#write(this.#framer.add(chunk), 0);
  }

  /** Sends the end. */
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
 * The flow that content goes to.
 *
 * @throws {Error} If there is no transaction
 */
export function openContent(flow: ContentFlow | undefined): ContentFlow {
  if (flow) return flow;
  throw new Error("Cannot take content: want a transaction first");
}

/** A held chunk smaller than this waits for more: each BDAT costs the server a reply. */
const MIN_CHUNK = 32768;

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);

/** Bytes to write, in order, and how many BDAT commands they complete. */
interface FramedContent {
  /** The bytes. */
  readonly pieces: readonly Uint8Array[];
  /** BDAT commands among them, 0 with DATA. */
  readonly chunks: number;
}

/** Frames one message's content. */
class ContentFramer {
  readonly #framing: "data" | "bdat" | "binary";
  readonly #encoder: DataEncoder;
  #held: Uint8Array = NOTHING;

  /** @param framing How the content goes; `binary` leaves line ends as they are */
  constructor(framing: "data" | "bdat" | "binary") {
    this.#framing = framing;
    this.#encoder = new DataEncoder({
      framing: framing === "data" ? "data" : "bdat",
    });
  }

  /** Takes a chunk, which is the framer's from here on. */
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

/** One array of both; the other one itself where one is empty. */
function join(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  return second.length === 0 ? first : concat([first, second]);
}
