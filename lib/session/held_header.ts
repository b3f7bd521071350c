/**
 * The header block of a message while it comes in and is held back. Stands alone:
 * it grows and finds the end of the block, and knows no message.
 */

import { NOTHING } from "../protocol/bytes.ts";
import { findHeaderEnd } from "../protocol/headers.ts";

/** Largest header block that is held back, including its blank line, in bytes: 256 KiB. */
const HEADER_LIMIT = 262144;

/** A header block that is held back until it is complete. */
export class HeldHeader {
  /** May be longer than what is in use. */
  #storage: Uint8Array = NOTHING;
  #used = 0;
  #searched = 0;

  /** All bytes so far: the block, and those that came with its end. */
  get bytes(): Uint8Array {
    return this.#storage.subarray(0, this.#used);
  }

  /**
   * Adds bytes; returns the length of the block once it is complete. A block that
   * comes at once is not copied: its bytes are the caller's until they are used.
   */
  take(bytes: Uint8Array): number | "too-large" | undefined {
    const isFirst = this.#used === 0;
    if (isFirst) {
      this.#storage = bytes;
      this.#used = bytes.length;
    } else this.#append(bytes);
    const all = this.bytes;
    const end = findHeaderEnd(all, this.#searched);
    // Without an end so far, the block is at least as long as these bytes.
    if (end < 0 ? all.length >= HEADER_LIMIT : end > HEADER_LIMIT) {
      return "too-large";
    }
    if (end >= 0) return end;
    if (isFirst) this.#storage = new Uint8Array(bytes);
    // The blank line may begin in the last three bytes.
    this.#searched = Math.max(0, all.length - 3);
    return undefined;
  }

  #append(bytes: Uint8Array): void {
    const used = this.#used + bytes.length;
    if (used > this.#storage.length) {
      // Doubled: otherwise a header in small packets would be copied with each.
      const grown = new Uint8Array(Math.max(used, 2 * this.#storage.length));
      grown.set(this.bytes);
      this.#storage = grown;
    }
    this.#storage.set(bytes, this.#used);
    this.#used = used;
  }
}
