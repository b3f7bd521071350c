/**
 * When content may be sent: after 354 with DATA, as soon as the envelope allows
 * it with BDAT, and never more BDAT chunks ahead of their replies than a
 * refusal should waste. Owns that one decision.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3030#section-2 | RFC 3030 section 2}
 */

import { ContentFramer, type FramedContent } from "./client_content.ts";
import type { CommandPipeline } from "./client_pipeline.ts";
import { MAX_CHUNKS_IN_FLIGHT } from "./client_states.ts";
import type { ClientTransaction } from "./client_transaction.ts";

/** The content of one transaction on its way out. */
export class ContentFlow {
  readonly #transaction: ClientTransaction;
  readonly #pipeline: CommandPipeline;
  readonly #framer: ContentFramer;
  #firstChunk: number | undefined;
  #ended = false;

  /**
   * @param transaction Whose content it is
   * @param pipeline Where its octets go
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
