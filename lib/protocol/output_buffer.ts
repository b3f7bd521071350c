/**
 * Replies on their way out, gathered until the session is about to wait for
 * the peer: that is what makes PIPELINING pay, one packet for many replies.
 */

const encoder = new TextEncoder();

/** Storage that is kept for the next reply; more is given back. */
const KEPT_STORAGE = 2048;

const NOTHING = new Uint8Array(0);

/** Room of one buffer to begin with: a reply or two. */
const FIRST_STORAGE = 256;

/** First rooms are cut from a larger piece: making each by itself costs ten times as much. */
let piece: Uint8Array<ArrayBuffer> = NOTHING;
let pieceUsed = 0;

function firstStorage(): Uint8Array<ArrayBuffer> {
  if (pieceUsed + FIRST_STORAGE > piece.length) {
    piece = new Uint8Array(32 * FIRST_STORAGE);
    pieceUsed = 0;
  }
  pieceUsed += FIRST_STORAGE;
  return piece.subarray(pieceUsed - FIRST_STORAGE, pieceUsed);
}

/**
 * Gathers octets to be written, without an allocation per reply. Two storages
 * take turns: what a handler sends at any time must not change what is being
 * written.
 */
export class OutputBuffer {
  #octets: Uint8Array<ArrayBuffer> = NOTHING;
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
    const grown = wanted <= FIRST_STORAGE
      ? firstStorage()
      : new Uint8Array(Math.max(wanted, 2 * this.#octets.length));
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
    this.#other = octets.length > KEPT_STORAGE ? NOTHING : octets;
    return taken;
  }
}
