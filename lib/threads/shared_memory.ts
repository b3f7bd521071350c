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
import { Ring, ringMemory } from "./ring.ts";

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
