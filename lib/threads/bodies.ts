/**
 * Bodies of messages between threads. The thread with the bytes offers a body for
 * the length of a call; the other thread reads it. Bytes in memory go with the
 * call; a file is read piece by piece, with a call for each.
 */

import { NOTHING } from "../protocol/bytes.ts";
import { type BodyOptions, MessageBody } from "../message/body.ts";
import type { BodyFacts, BodyRead } from "./api.ts";
import { TRANSFER_FROM } from "./shared_memory.ts";

/** Reads the next bytes of a body of the other thread. */
export type ReadBody = (read: BodyRead) => Promise<Uint8Array | undefined>;

function overError(): Error {
  return new Deno.errors.BadResource(
    "Cannot read the content: the message is over",
  );
}

/** The bodies that the other thread may read. */
export class OfferedBodies {
  readonly #bodies = new Map<number, MessageBody>();
  /** Keys of bodies that are discarded once they have been read. */
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

  /** Discards the bodies that were given away and not read to their end: the other thread has ended. */
  discard(): void {
    for (const key of this.#once) this.#end(key);
  }

  #end(key: number): void {
    this.#once.delete(key);
    this.#bodies.get(key)?.discard();
    this.#bodies.delete(key);
  }

  /** Ends an offer: a later read throws. */
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

/** The bytes that go with a call about a body; a copy if they will be transferred. */
export function headOf(body: MessageBody): Uint8Array {
  const { head } = body;
  return head.length < TRANSFER_FROM ? head : head.slice();
}

let lastReader = 0;

/** All bytes of a body on another thread. */
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

/** A body whose bytes are on another thread. It cannot be written here. */
export class RemoteBody extends MessageBody {
  readonly #read: ReadBody;
  #facts: BodyFacts | undefined;
  #head = NOTHING;
  #over = false;

  /**
   * Empty until {@linkcode RemoteBody.fill}.
   *
   * @param options Where a new content is kept
   * @param read Asks the other thread for bytes
   */
  constructor(options: BodyOptions, read: ReadBody) {
    super(options);
    this.#read = read;
  }

  /** Length of the whole content in bytes. */
  override get size(): number {
    return this.#facts?.size ?? 0;
  }

  /** The whole content if it came with the call, else `undefined`. */
  override get memory(): Uint8Array<ArrayBuffer> | undefined {
    const { head } = this;
    return head.length === this.size && !this.#over ? head : undefined;
  }

  /** The bytes that came with the call. */
  override get head(): Uint8Array<ArrayBuffer> {
    return this.#head;
  }

  /** Takes an offer of the other thread, and the bytes that came with it. */
  fill(facts: BodyFacts, head: Uint8Array = NOTHING): void {
    this.#facts = facts;
    this.#head = head as Uint8Array<ArrayBuffer>;
    this.#over = false;
  }

  /** Ends the offer and drops the bytes that came with it. */
  forget(): void {
    if (this.#facts === undefined) return;
    this.#head = NOTHING;
    this.#over = true;
  }

  /** The content in order; each call starts at the beginning. */
  override async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const facts = this.#facts;
    if (this.#over) throw overError();
    if (facts === undefined || facts.size === 0) return;
    if (this.memory === undefined) yield* readBody(facts, this.#read);
    else yield this.memory;
  }

  /** See {@linkcode RemoteBody.forget}. */
  override discard(): Promise<void> {
    this.forget();
    return Promise.resolve();
  }
}
