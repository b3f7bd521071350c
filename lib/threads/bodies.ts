/**
 * Bodies of messages across threads: offered on the thread that has the bytes
 * for as long as a call lasts, read on the other one. What is in memory goes
 * along with the call; a file is read piece by piece, each asked for.
 */

import { type BodyOptions, MessageBody } from "../message/body.ts";
import type { BodyFacts, BodyRead } from "./api.ts";
import { TRANSFER_FROM } from "./shared_memory.ts";

/** Reads on in a body of the other thread. */
export type ReadBody = (read: BodyRead) => Promise<Uint8Array | undefined>;

const NOTHING = new Uint8Array(0);

function overError(): Error {
  return new Deno.errors.BadResource(
    "Cannot read the content: the message is over",
  );
}

/** The bodies that the other thread may read now. */
export class OfferedBodies {
  readonly #bodies = new Map<number, MessageBody>();
  /** Bodies that are done with once they have been read. */
  readonly #once = new Set<number>();
  readonly #readers = new Map<string, AsyncGenerator<Uint8Array>>();
  #lastKey = 0;

  /** Offers a body until {@linkcode OfferedBodies.withdraw}. */
  offer(body: MessageBody): BodyFacts {
    const key = ++this.#lastKey;
    this.#bodies.set(key, body);
    return { key, size: body.size };
  }

  /** Gives a body away: it is discarded once the other thread has read all of it. */
  giveAway(body: MessageBody): BodyFacts {
    const facts = this.offer(body);
    this.#once.add(facts.key);
    return facts;
  }

  /** Discards what was given away and not read to its end: the other thread is gone. */
  discard(): void {
    for (const key of this.#once) this.#end(key);
  }

  #end(key: number): void {
    this.#once.delete(key);
    this.#bodies.get(key)?.discard();
    this.#bodies.delete(key);
  }

  /** Ends an offer: a reader that comes later is told that the message is over. */
  withdraw({ key }: BodyFacts): void {
    this.#bodies.delete(key);
    for (const [name, reader] of this.#readers) {
      if (!name.startsWith(`${key} `)) continue;
      this.#readers.delete(name);
      reader.return(undefined).catch(() => {});
    }
  }

  /** The next bytes for a reader; `undefined` at the end. */
  async read({ key, reader }: BodyRead): Promise<Uint8Array | undefined> {
    const body = this.#bodies.get(key);
    if (body === undefined) throw overError();
    const name = `${key} ${reader}`;
    let chunks = this.#readers.get(name);
    if (chunks === undefined) this.#readers.set(name, chunks = body.chunks());
    const { value, done } = await chunks.next();
    if (!done) return body.memory === undefined ? value : value.slice();
    this.#readers.delete(name);
    if (this.#once.has(key)) this.#end(key);
    return undefined;
  }
}

/** What goes along with a call about a body: storage of its own where it is handed over. */
export function headOf(body: MessageBody): Uint8Array {
  const { head } = body;
  return head.length < TRANSFER_FROM ? head : head.slice();
}

let lastReader = 0;

/** The bytes of a body on another thread, from its first to its last. */
export async function* readBody(
  { key }: BodyFacts,
  read: ReadBody,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = ++lastReader;
  for (;;) {
    const chunk = await read({ key, reader });
    if (chunk === undefined) return;
    yield chunk as Uint8Array<ArrayBuffer>;
  }
}

/** A body whose bytes are another thread's. Nobody writes to it here. */
export class RemoteBody extends MessageBody {
  readonly #read: ReadBody;
  #facts: BodyFacts | undefined;
  #head = NOTHING;
  #over = false;

  /**
   * Empty until {@linkcode RemoteBody.fill}.
   *
   * @param options Where a replacement would go
   * @param read Asks the other thread for bytes
   */
  constructor(options: BodyOptions, read: ReadBody) {
    super(options);
    this.#read = read;
  }

  /** Bytes in all. */
  override get size(): number {
    return this.#facts?.size ?? 0;
  }

  /** The whole body where it came along, else `undefined`. */
  override get memory(): Uint8Array<ArrayBuffer> | undefined {
    const { head } = this;
    return head.length === this.size && !this.#over ? head : undefined;
  }

  /** As much as came along. */
  override get head(): Uint8Array<ArrayBuffer> {
    return this.#head;
  }

  /** The other thread offers the bytes, and has sent the first of them, or all. */
  fill(facts: BodyFacts, head: Uint8Array = NOTHING): void {
    this.#facts = facts;
    this.#head = head as Uint8Array<ArrayBuffer>;
    this.#over = false;
  }

  /** The offer is over, and what came along is let go. */
  forget(): void {
    if (this.#facts === undefined) return;
    this.#head = NOTHING;
    this.#over = true;
  }

  /** The bytes in order; each call starts at the beginning. */
  override async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const facts = this.#facts;
    if (this.#over) throw overError();
    if (facts === undefined || facts.size === 0) return;
    if (this.memory === undefined) yield* readBody(facts, this.#read);
    else yield this.memory;
  }

  /** Lets go of the bytes that came along. */
  override discard(): Promise<void> {
    this.forget();
    return Promise.resolve();
  }
}
