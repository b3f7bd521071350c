/**
 * The transport between two threads. Small batches go as JSON through shared
 * memory, one {@linkcode Ring} for each direction; the others go as messages of
 * the platform. All arrive in the order in which they were sent. It knows nothing
 * of their content.
 *
 * Under load, a call by messages of the platform costs 17 us on both sides
 * together; JSON and shared memory cost 8. `tests/threads/ring_bench.ts` compares
 * the two alone.
 *
 * A ring has one writing thread and one reading thread. They share only their two
 * positions; each is stored by its owner after the bytes before it are written or
 * read. The writer wakes the reader only if the reader sleeps: a busy reader finds
 * new entries by itself.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Batch, BatchPort, BatchReceiver } from "./channel.ts";

/** The shared memory of two threads, as one of them sees it. */
export interface SharedMemory {
  /** Holds the ring that this thread reads. */
  readonly incoming: SharedArrayBuffer;
  /** Holds the ring that this thread writes. */
  readonly outgoing: SharedArrayBuffer;
}

/** One end of the platform's messages between two threads. */
export interface PostingPort {
  postMessage(message: unknown, transfer: Transferable[]): void;
}

/** A batch that goes as a message, with its place in the order. */
interface PostedBatch extends Batch {
  readonly number: number;
}

/** Size in bytes from which a piece is transferred instead of copied. */
export const TRANSFER_FROM = 16_384;

/** How often new entries are taken without a turn of the event loop between. */
const MOST_ROUNDS = 8;

/** Makes the memory of two threads; each gets one of the two views. */
export function sharedMemory(): readonly [SharedMemory, SharedMemory] {
  const [incoming, outgoing] = [ringMemory(), ringMemory()];
  return [{ incoming, outgoing }, { incoming: outgoing, outgoing: incoming }];
}

/** One end of the transport between two threads. */
export class SharedPort implements BatchPort {
  readonly #port: PostingPort;
  readonly #incoming: Ring;
  readonly #outgoing: Ring;
  /** The number of the next batch that goes out. */
  #sent = 0;
  /** The number of the next batch that comes in. */
  #expected = 0;
  /** Ends the wait for a message that was sent before the next entry of the ring. */
  #arrived: (() => void) | undefined;
  #receiver: BatchReceiver | undefined;
  #closed = false;

  /**
   * Receives nothing before {@linkcode SharedPort.open}.
   *
   * @param port Carries batches that do not fit into the ring or into JSON; give
   * messages that arrive there to {@linkcode SharedPort.posted}
   */
  constructor(port: PostingPort, { incoming, outgoing }: SharedMemory) {
    this.#port = port;
    this.#incoming = new Ring(incoming);
    this.#outgoing = new Ring(outgoing);
  }

  /** Starts to give the batches of the other thread to `receiver`. */
  open(receiver: BatchReceiver): void {
    this.#receiver = receiver;
    this.#listen();
  }

  send({ packets, pieces, isRich }: Batch): void {
    const number = this.#sent;
    this.#sent = (number + 1) | 0;
    const large = pieces.filter(({ length }) => length >= TRANSFER_FROM);
    if (!isRich && large.length === 0) {
      const text = textOf(packets);
      if (
        text !== undefined && this.#outgoing.write({ number, text, pieces })
      ) return;
    }
    const posted: PostedBatch = { number, packets, pieces, isRich };
    this.#port.postMessage(
      posted,
      large.map(({ buffer }) => buffer as ArrayBuffer),
    );
  }

  /** Receives a message: batches that were sent before it are in the ring by now. */
  posted(message: unknown): void {
    this.#drain();
    this.#take(message as PostedBatch);
    this.#drain();
    this.#arrived?.();
  }

  /** Receives nothing any more. */
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
      // A thread with an endless stream of batches must serve its sockets as well.
      if (rounds % MOST_ROUNDS === MOST_ROUNDS - 1) await nextTurn();
      this.#drain();
    }
  }

  /** Waits until there may be an entry to take; `undefined` if there is one already. */
  #wait(): Promise<unknown> | undefined {
    const { next = this.#expected } = this.#incoming;
    if (next === this.#expected) return this.#incoming.sleep();
    // The batch before that entry is on its way as a message.
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#arrived = resolve;
    return promise;
  }

  /** Takes the entries of the ring, up to a gap that a message on its way will fill. */
  #drain(): void {
    while (!this.#closed && this.#incoming.next === this.#expected) {
      const { text, pieces } = this.#incoming.take()!;
      this.#take({ packets: JSON.parse(text), pieces, isRich: false });
    }
  }

  #take(batch: Batch): void {
    this.#expected = (this.#expected + 1) | 0;
    if (!this.#closed) this.#receiver!.receive(batch);
  }
}

/** The JSON; `undefined` if a program has broken the type of a value. */
function textOf(packets: readonly unknown[]): string | undefined {
  try {
    return JSON.stringify(packets);
  } catch {
    return undefined;
  }
}

/** One entry of a ring. All of it is copied in and out. */
export interface RingEntry {
  readonly number: number;
  readonly text: string;
  /** Pieces of bytes, each in its own buffer. */
  readonly pieces: readonly Uint8Array[];
}

/** Default size of a ring in bytes: some dozen entries of 4 KiB. */
const RING_SIZE = 1 << 18;

// Indexes in the head, in Int32, each in its own cache line.
/** Position of the writer, in bytes, modulo 2 ** 32. */
const WRITTEN = 0;
/** Position of the reader, in bytes, modulo 2 ** 32. */
const READ = 16;
/** 1 if the reader sleeps. */
const ASLEEP = 32;
/** Size of the head of a ring, in bytes. */
const HEAD_SIZE = 256;

// The head of an entry, in Int32: its size, its number, the size of its text, the
// number of its pieces, and the size of each.
const ENTRY_HEAD = 4;
/** Instead of a size: the next entry is at the start of the ring. */
const GO_ROUND = -1;
/** Most bytes of UTF-8 for one unit of a string. */
const UTF8_MOST = 3;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Makes the memory of a ring; a message may carry it to the other thread. */
export function ringMemory(size: number = RING_SIZE): SharedArrayBuffer {
  return new SharedArrayBuffer(HEAD_SIZE + size);
}

/** One end of a ring: a queue of entries in memory that two threads share. */
export class Ring {
  readonly #places: Int32Array;
  readonly #heads: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;

  /** @param memory Memory of {@linkcode ringMemory}; its size must be a power of two */
  constructor(memory: SharedArrayBuffer) {
    this.#places = new Int32Array(memory, 0, HEAD_SIZE / 4);
    this.#heads = new Int32Array(memory, HEAD_SIZE);
    this.#bytes = new Uint8Array(memory, HEAD_SIZE);
    this.#mask = this.#bytes.length - 1;
  }

  /** Writes an entry and wakes the reader; `false` if there is no room. */
  write({ number, text, pieces }: RingEntry): boolean {
    const places = this.#places;
    const head = 4 * (ENTRY_HEAD + pieces.length);
    let most = head + text.length * UTF8_MOST + 3;
    for (const piece of pieces) most += piece.length;
    const written = places[WRITTEN]!;
    const used = (written - Atomics.load(places, READ)) | 0;
    const toEnd = this.#bytes.length - (written & this.#mask);
    // An entry is contiguous: if it does not fit before the end, the rest stays empty.
    const skipped = most > toEnd ? toEnd : 0;
    if (used + skipped + most > this.#bytes.length) return false;
    if (skipped > 0) this.#heads[(written & this.#mask) >> 2] = GO_ROUND;
    const start = (written + skipped) & this.#mask;
    let at = start + head;
    const room = this.#bytes.subarray(at, start + most);
    const textSize = encoder.encodeInto(text, room).written;
    at += textSize;
    let place = start >> 2;
    const heads = this.#heads;
    const sizeAt = place++;
    heads[place++] = number;
    heads[place++] = textSize;
    heads[place++] = pieces.length;
    for (const piece of pieces) {
      heads[place++] = piece.length;
      this.#bytes.set(piece, at);
      at += piece.length;
    }
    const size = (at - start + 3) & ~3;
    heads[sizeAt] = size;
    Atomics.store(places, WRITTEN, (written + skipped + size) | 0);
    this.wake();
    return true;
  }

  /** The number of the next entry; `undefined` if the ring is empty. */
  get next(): number | undefined {
    const place = this.#head();
    return place === undefined ? undefined : this.#heads[place + 1];
  }

  /** The index of the head of the next entry. */
  #head(): number | undefined {
    const places = this.#places;
    const read = places[READ]!;
    if (Atomics.load(places, WRITTEN) === read) return undefined;
    const place = (read & this.#mask) >> 2;
    if (this.#heads[place] !== GO_ROUND) return place;
    const toEnd = this.#bytes.length - (read & this.#mask);
    Atomics.store(places, READ, (read + toEnd) | 0);
    return 0;
  }

  /** Takes the next entry; `undefined` if the ring is empty. */
  take(): RingEntry | undefined {
    const place = this.#head();
    if (place === undefined) return undefined;
    const heads = this.#heads;
    const count = heads[place + 3]!;
    let at = 4 * (place + ENTRY_HEAD + count);
    const text = decoder.decode(
      this.#bytes.subarray(at, at += heads[place + 2]!),
    );
    const pieces: Uint8Array[] = [];
    for (let index = 0; index < count; index++) {
      const size = heads[place + ENTRY_HEAD + index]!;
      pieces.push(this.#bytes.slice(at, at += size));
    }
    const number = heads[place + 1]!;
    const places = this.#places;
    Atomics.store(places, READ, (places[READ]! + heads[place]!) | 0);
    return { number, text, pieces };
  }

  /** Waits for an entry or {@linkcode Ring.wake}; `undefined` if there is an entry already. */
  sleep(): Promise<unknown> | undefined {
    const places = this.#places;
    Atomics.store(places, ASLEEP, 1);
    // The writer wakes no reader for an entry that it wrote before it saw ASLEEP.
    if (Atomics.load(places, WRITTEN) !== places[READ]) {
      Atomics.store(places, ASLEEP, 0);
      return undefined;
    }
    const waiting = Atomics.waitAsync(places, ASLEEP, 1);
    return waiting.async ? waiting.value : undefined;
  }

  /** Wakes the reader if it sleeps. */
  wake(): void {
    const places = this.#places;
    if (Atomics.exchange(places, ASLEEP, 0) === 1) {
      Atomics.notify(places, ASLEEP);
    }
  }
}
