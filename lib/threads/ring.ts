/**
 * A queue in memory that two threads share: one writes, the other reads. An
 * entry is a number, a text and pieces of bytes, all of them copied in and out.
 *
 * The writer wakes the reader only where that has gone to sleep: a reader that
 * is busy finds what has come by itself.
 *
 * Whoever writes must be one thread, and whoever reads must be one: the places
 * they have reached are all they tell each other, each stored by its owner
 * after the bytes it speaks of.
 */

/** One entry. */
export interface RingEntry {
  /** The number that it was written with. */
  readonly number: number;
  /** The text. */
  readonly text: string;
  /** The bytes, in memory of their own. */
  readonly octets: readonly Uint8Array[];
}

/** Bytes of a ring when no size is given: entries of some dozen messages of 4 KiB. */
const RING_SIZE = 1 << 18;

// Places in the head, in Int32, each in a cache line of its own.
/** How far the writer is, in bytes, modulo 2 ** 32. */
const WRITTEN = 0;
/** How far the reader is. */
const READ = 16;
/** Whether the reader has to be woken. */
const ASLEEP = 32;
/** Bytes before the entries. */
const HEAD_SIZE = 256;

// The head of an entry, in Int32: its size, its number, the size of its text,
// how many pieces of bytes, and the size of each.
const ENTRY_HEAD = 4;
/** In place of a size: the next entry is at the beginning of the ring. */
const GO_ROUND = -1;
/** Most bytes that UTF-8 takes for a unit of a string. */
const UTF8_MOST = 3;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Makes the memory of a ring, which may go to the other thread in a message. */
export function ringMemory(size: number = RING_SIZE): SharedArrayBuffer {
  return new SharedArrayBuffer(HEAD_SIZE + size);
}

/** One end of a ring. Knows nothing of what the entries mean. */
export class Ring {
  readonly #places: Int32Array;
  readonly #heads: Int32Array;
  readonly #octets: Uint8Array;
  readonly #mask: number;

  /** @param memory Of {@linkcode ringMemory}; its size must be a power of two */
  constructor(memory: SharedArrayBuffer) {
    this.#places = new Int32Array(memory, 0, HEAD_SIZE / 4);
    this.#heads = new Int32Array(memory, HEAD_SIZE);
    this.#octets = new Uint8Array(memory, HEAD_SIZE);
    this.#mask = this.#octets.length - 1;
  }

  /** Writes an entry and wakes the reader; `false` where there is no room for it. */
  write({ number, text, octets }: RingEntry): boolean {
    const places = this.#places;
    const head = 4 * (ENTRY_HEAD + octets.length);
    let most = head + text.length * UTF8_MOST + 3;
    for (const piece of octets) most += piece.length;
    const written = places[WRITTEN]!;
    const used = (written - Atomics.load(places, READ)) | 0;
    const toEnd = this.#octets.length - (written & this.#mask);
    // An entry is in one piece: where it would not fit, the rest stays empty.
    const skipped = most > toEnd ? toEnd : 0;
    if (used + skipped + most > this.#octets.length) return false;
    if (skipped > 0) this.#heads[(written & this.#mask) >> 2] = GO_ROUND;
    const start = (written + skipped) & this.#mask;
    let at = start + head;
    const room = this.#octets.subarray(at, start + most);
    const textSize = encoder.encodeInto(text, room).written;
    at += textSize;
    let place = start >> 2;
    const heads = this.#heads;
    const sizeAt = place++;
    heads[place++] = number;
    heads[place++] = textSize;
    heads[place++] = octets.length;
    for (const piece of octets) {
      heads[place++] = piece.length;
      this.#octets.set(piece, at);
      at += piece.length;
    }
    const size = (at - start + 3) & ~3;
    heads[sizeAt] = size;
    Atomics.store(places, WRITTEN, (written + skipped + size) | 0);
    this.wake();
    return true;
  }

  /** The number of the next entry, `undefined` where there is none. */
  get next(): number | undefined {
    const place = this.#head();
    return place === undefined ? undefined : this.#heads[place + 1];
  }

  /** Where the head of the next entry is. */
  #head(): number | undefined {
    const places = this.#places;
    const read = places[READ]!;
    if (Atomics.load(places, WRITTEN) === read) return undefined;
    const place = (read & this.#mask) >> 2;
    if (this.#heads[place] !== GO_ROUND) return place;
    const toEnd = this.#octets.length - (read & this.#mask);
    Atomics.store(places, READ, (read + toEnd) | 0);
    return 0;
  }

  /** Takes the next entry out; `undefined` where there is none. */
  take(): RingEntry | undefined {
    const place = this.#head();
    if (place === undefined) return undefined;
    const heads = this.#heads;
    const count = heads[place + 3]!;
    let at = 4 * (place + ENTRY_HEAD + count);
    const text = decoder.decode(
      this.#octets.subarray(at, at += heads[place + 2]!),
    );
    const octets: Uint8Array[] = [];
    for (let index = 0; index < count; index++) {
      const size = heads[place + ENTRY_HEAD + index]!;
      octets.push(this.#octets.slice(at, at += size));
    }
    const number = heads[place + 1]!;
    const places = this.#places;
    Atomics.store(places, READ, (places[READ]! + heads[place]!) | 0);
    return { number, text, octets };
  }

  /** Waits until there is an entry, or {@linkcode Ring.wake} is called; nothing where there is one. */
  sleep(): Promise<unknown> | undefined {
    const places = this.#places;
    Atomics.store(places, ASLEEP, 1);
    // One that came before that was seen wakes nobody.
    if (Atomics.load(places, WRITTEN) !== places[READ]) {
      Atomics.store(places, ASLEEP, 0);
      return undefined;
    }
    const waiting = Atomics.waitAsync(places, ASLEEP, 1);
    return waiting.async ? waiting.value : undefined;
  }

  /** Wakes the reader, if it sleeps. */
  wake(): void {
    const places = this.#places;
    if (Atomics.exchange(places, ASLEEP, 0) === 1) {
      Atomics.notify(places, ASLEEP);
    }
  }
}
