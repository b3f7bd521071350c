/**
 * Replies on their way out, gathered until the session is about to wait for
 * the peer: that is what makes PIPELINING pay, one packet for many replies.
 */

/** Storage that is kept for the next reply; more is given back. */
const KEPT_STORAGE = 2048;

/** Gathers octets to be written, without an allocation per reply. */
export class OutputBuffer {
  #octets: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #used = 0;

  /** Octets waiting. */
  get size(): number {
    return this.#used;
  }

  /** Appends `octets`. */
  append(octets: Uint8Array): void {
    const used = this.#used + octets.length;
    if (used > this.#octets.length) {
      const grown = new Uint8Array(
        Math.max(used, 2 * this.#octets.length, 256),
      );
      grown.set(this.#octets.subarray(0, this.#used));
      this.#octets = grown;
    }
    this.#octets.set(octets, this.#used);
    this.#used = used;
  }

  /** Takes what waits. It stays untouched until the next {@linkcode OutputBuffer.append}. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#octets.subarray(0, this.#used);
    this.#used = 0;
    if (this.#octets.length > KEPT_STORAGE) this.#octets = new Uint8Array(0);
    return taken;
  }
}
