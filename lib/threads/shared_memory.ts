/**
 * The way between two threads: small batches go as JSON through memory that
 * both see, the others as messages of the platform. All arrive in the order in
 * which they were sent. Knows nothing of their content.
 *
 * In a server under load, messages of the platform took 17 us of a call on both
 * sides together; JSON and the memory take 8. `tests/threads/ring_bench.ts`
 * compares the two alone.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Batch, BatchPort, BatchReceiver } from "./channel.ts";

/** The memory between two threads: what the one writes into, the other reads from. */
export interface SharedMemory {
  /** What comes in. */
  readonly incoming: SharedArrayBuffer;
  /** What goes out. */
  readonly outgoing: SharedArrayBuffer;
}

/** One end of what the platform has between two threads. */
export interface PostingPort {
  /** Sends a message to the other end. */
  postMessage(message: unknown, transfer: Transferable[]): void;
}

/** A batch that goes as a message. */
interface PostedBatch extends Batch {
  readonly number: number;
}

/** Bytes from which on storage is handed over in place of being copied. */
export const TRANSFER_FROM = 16_384;

/** How often what has come is looked after without a turn of the event loop between. */
const MOST_ROUNDS = 8;

/** The memory for both ends: the second is the first as the other thread sees it. */
export function sharedMemory(): readonly [SharedMemory, SharedMemory] {
  const [incoming, outgoing] = [ringMemory(), ringMemory()];
  return [{ incoming, outgoing }, { incoming: outgoing, outgoing: incoming }];
}

/** One end of the way between two threads. */
export class SharedPort implements BatchPort {
  readonly #port: PostingPort;
  readonly #incoming: Ring;
  readonly #outgoing: Ring;
  /** The number of the next batch that goes out. */
  #sent = 0;
  /** The number of the next batch that comes in. */
  #expected = 0;
  /** Ends the wait for a message that was sent before the entry in the memory. */
  #arrived: (() => void) | undefined;
  #receiver: BatchReceiver | undefined;
  #closed = false;

  /**
   * Takes nothing in before {@linkcode SharedPort.open}.
   *
   * @param port Carries what the memory has no room or no form for; what comes
   * that way is given to {@linkcode SharedPort.posted}
   */
  constructor(port: PostingPort, { incoming, outgoing }: SharedMemory) {
    this.#port = port;
    this.#incoming = new Ring(incoming);
    this.#outgoing = new Ring(outgoing);
  }

  /** Gives the batches of the other thread to `receiver` from here on. */
  open(receiver: BatchReceiver): void {
    this.#receiver = receiver;
    this.#listen();
  }

  /** Sends a batch. */
  send({ packets, octets, isRich }: Batch): void {
    const number = this.#sent;
    this.#sent = (number + 1) | 0;
    const large = octets.filter(({ length }) => length >= TRANSFER_FROM);
    if (!isRich && large.length === 0) {
      const text = textOf(packets);
      if (
        text !== undefined && this.#outgoing.write({ number, text, octets })
      ) return;
    }
    const posted: PostedBatch = { number, packets, octets, isRich };
    this.#port.postMessage(
      posted,
      large.map(({ buffer }) => buffer as ArrayBuffer),
    );
  }

  /** Takes what came as a message: batches sent before it are in the memory by now. */
  posted(message: unknown): void {
    this.#drain();
    this.#take(message as PostedBatch);
    this.#drain();
    this.#arrived?.();
  }

  /** Takes nothing more in. */
  close(): void {
    this.#closed = true;
    this.#incoming.wake();
    this.#arrived?.();
  }

  async #listen(): Promise<void> {
    let rounds = 0;
    while (!this.#closed) {
      const waiting = this.#wait();
      await waiting;
      rounds = waiting === undefined ? rounds + 1 : 0;
      // A thread that gets batches without end must serve its sockets, too.
      if (rounds % MOST_ROUNDS === MOST_ROUNDS - 1) await nextTurn();
      this.#drain();
    }
  }

  /** Waits until there may be something to take; nothing where there is. */
  #wait(): Promise<unknown> | undefined {
    const { next = this.#expected } = this.#incoming;
    if (next === this.#expected) return this.#incoming.sleep();
    // The one before is on its way as a message.
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#arrived = resolve;
    return promise;
  }

  /** Takes the entries in the memory; those sent after a message that is still on its way have to wait. */
  #drain(): void {
    while (!this.#closed && this.#incoming.next === this.#expected) {
      const { text, octets } = this.#incoming.take()!;
      this.#take({ packets: JSON.parse(text), octets, isRich: false });
    }
  }

  #take(batch: Batch): void {
    this.#expected = (this.#expected + 1) | 0;
    if (!this.#closed) this.#receiver!.receive(batch);
  }
}

/** The JSON; nothing where a program has put something else into a value than its type says. */
function textOf(packets: readonly unknown[]): string | undefined {
  try {
    return JSON.stringify(packets);
  } catch {
    return undefined;
  }
}

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
