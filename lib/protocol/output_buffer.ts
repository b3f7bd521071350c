/**
 * Replies on their way out, gathered until the session is about to wait for
 * the peer: that is what makes PIPELINING pay, one packet for many replies.
 */

const encoder = new TextEncoder();

/** Storage that is kept for the next reply; more is given back. */
const KEPT_STORAGE = 2048;

/**
 * Gathers octets to be written, without an allocation per reply. Two storages
 * take turns: what a handler sends at any time must not change what is being
 * written.
 */
export class OutputBuffer {
  #octets: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #other: Uint8Array<ArrayBuffer> = this.#octets;
  #used = 0;

  /** Octets waiting. */
  get size(): number {
    return this.#used;
  }

  /** Appends `octets`. */
  append(octets: Uint8Array): void {
    this.#reserve(octets.length);
    this.#octets.set(octets, this.#used);
    this.#used += octets.length;
  }

  #reserve(count: number): void {
    const wanted = this.#used + count;
    if (wanted <= this.#octets.length) return;
    const grown = new Uint8Array(
      Math.max(wanted, 2 * this.#octets.length, 256),
    );
    grown.set(this.#octets.subarray(0, this.#used));
    this.#octets = grown;
  }

  /** Appends text: ASCII octet by octet, which costs less than a call of an encoder. */
  appendText(text: string): void {
    const { length } = text;
    this.#reserve(length);
    const octets = this.#octets;
    let used = this.#used;
    for (let at = 0; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code > 127) return this.append(encoder.encode(text));
      octets[used++] = code;
    }
    this.#used = used;
  }

  /** Takes what waits. It stays untouched until the call after the next. */
  take(): Uint8Array<ArrayBuffer> {
    const octets = this.#octets;
    const taken = octets.subarray(0, this.#used);
    this.#used = 0;
    this.#octets = this.#other;
    this.#other = octets.length > KEPT_STORAGE ? new Uint8Array(0) : octets;
    return taken;
  }
}
