/**
 * Framing of content on its way out: DATA with its dots, or BDAT with its
 * counts. Owns the chunk that BDAT holds back, because only with the next one,
 * or the end, is it known whether it is the last.
 *
 * Knows nothing of replies.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3030#section-2 | RFC 3030 section 2}
 */

import { DataEncoder } from "./data_encoder.ts";

/** A held chunk smaller than this waits for more: each BDAT costs the server a reply. */
const MIN_CHUNK = 32768;

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);

/** Octets to write, in order, and how many BDAT commands they complete. */
export interface FramedContent {
  /** The octets. */
  readonly pieces: readonly Uint8Array[];
  /** BDAT commands among them, 0 with DATA. */
  readonly chunks: number;
}

/** Frames one message's content. */
export class ContentFramer {
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
      this.#held = concat(this.#held, encoded);
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
    const held = concat(this.#held, rest);
    this.#held = NOTHING;
    return { pieces: [command(held, " LAST"), held], chunks: 1 };
  }
}

function command(chunk: Uint8Array, last: string): Uint8Array {
  return encoder.encode(`BDAT ${chunk.length}${last}\r\n`);
}

/** One array of both; the other one itself where one is empty. */
export function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  if (second.length === 0) return first;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
