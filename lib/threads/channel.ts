/**
 * Calls between two threads over one port: each side has a face, which is what
 * the other may call (and wait for) or note (and not wait for).
 *
 * What is said within one turn goes in one batch, in order: a message between
 * threads costs more than what is in it. Knows nothing of mail.
 */

import { decodeError, encodeError, type WireError } from "./wire_errors.ts";

/** What may be asked of one side: names with what goes there and what comes back. */
export interface Face {
  /** Waited for: arguments and result. */
  readonly calls: Readonly<Record<string, readonly [unknown, unknown]>>;
  /** Not waited for: arguments. */
  readonly notes: Readonly<Record<string, unknown>>;
}

/** The functions behind a face. What a note throws is nobody's: it must not. */
export type Implementation<F extends Face> = {
  readonly calls: {
    readonly [K in keyof F["calls"]]: (
      args: F["calls"][K][0],
    ) => F["calls"][K][1] | Promise<F["calls"][K][1]>;
  };
  readonly notes: {
    readonly [K in keyof F["notes"]]: (args: F["notes"][K]) => void;
  };
};

/** One end of what connects two threads. */
export interface Port {
  /** Sends a message to the other end. */
  postMessage(message: unknown, transfer: Transferable[]): void;
}

/** A question. */
interface CallParcel {
  readonly call: number;
  readonly name: string;
  readonly args: unknown;
}

/** The answer to one. */
interface AnswerParcel {
  readonly answer: number;
  readonly value?: unknown;
  /** In place of a value: what was thrown. */
  readonly error?: WireError;
}

/** One thing said. */
type Parcel =
  | CallParcel
  | AnswerParcel
  | { readonly note: string; readonly args: unknown };

/** Octets from which on storage is handed over in place of being copied. */
const TRANSFER_FROM = 16_384;

/** How long what is in no hurry may wait, in ms. */
const LATER_MS = 20;

/** What is still to be answered. */
interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * One end of a conversation between two threads.
 *
 * @example Ask another thread
 * ```ts ignore
 * const channel = new Channel<Mine, Theirs>(port, { calls: {}, notes: {} });
 * port.onmessage = ({ data }) => channel.receive(data);
 * await channel.call("double", 21);
 * ```
 */
export class Channel<Own extends Face, Other extends Face> {
  readonly #port: Port;
  readonly #face: Implementation<Own>;
  readonly #pending = new Map<number, Pending>();
  #lastCall = 0;
  #batch: Parcel[] = [];
  #transfer: Transferable[] = [];
  /** Whether the end of the turn sends the batch. */
  #isDue = false;
  #later: ReturnType<typeof setTimeout> | undefined;
  #closed: Error | undefined;

  /**
   * @param port Where batches go; those that come are given to {@linkcode Channel.receive}
   * @param face What the other side may ask
   */
  constructor(port: Port, face: Implementation<Own>) {
    this.#port = port;
    this.#face = face;
  }

  /** Asks the other side; rejects with what it threw, or when the channel is closed. */
  call<K extends keyof Other["calls"] & string>(
    name: K,
    args: Other["calls"][K][0],
    octets?: Uint8Array,
  ): Promise<Other["calls"][K][1]> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const call = ++this.#lastCall;
    this.#say({ call, name, args }, octets);
    return new Promise((resolve, reject) => {
      this.#pending.set(call, { resolve, reject });
    });
  }

  /** Tells the other side. */
  note<K extends keyof Other["notes"] & string>(
    name: K,
    args: Other["notes"][K],
  ): void {
    if (this.#closed === undefined) this.#say({ note: name, args });
  }

  /** Tells the other side when there is something else to tell, or soon: a batch is not begun for it. */
  noteLater<K extends keyof Other["notes"] & string>(
    name: K,
    args: Other["notes"][K],
  ): void {
    if (this.#closed !== undefined) return;
    this.#batch.push({ note: name, args });
    this.#later ??= setTimeout(() => this.flush(), LATER_MS);
  }

  /** Takes a batch of the other side. */
  receive(batch: unknown): void {
    for (const parcel of batch as readonly Parcel[]) {
      if ("call" in parcel) this.#carryOut(parcel);
      else if ("note" in parcel) this.#hear(parcel.note, parcel.args);
      else this.#settle(parcel);
    }
  }

  /** Ends the channel: what is pending fails, what is said goes nowhere. */
  close(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    clearTimeout(this.#later);
    this.#batch = [];
    this.#transfer = [];
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /** Sends what has been said so far, without waiting for the end of the turn. */
  flush(): void {
    this.#isDue = false;
    clearTimeout(this.#later);
    this.#later = undefined;
    if (this.#batch.length === 0) return;
    const batch = this.#batch;
    const transfer = this.#transfer;
    this.#batch = [];
    this.#transfer = [];
    this.#port.postMessage(batch, transfer);
  }

  #say(parcel: Parcel, octets?: Uint8Array): void {
    this.#batch.push(parcel);
    if (octets !== undefined && octets.length >= TRANSFER_FROM) {
      this.#transfer.push(octets.buffer as ArrayBuffer);
    }
    if (this.#isDue) return;
    this.#isDue = true;
    // Sessions that were woken in this turn say theirs a few steps later.
    queueMicrotask(() =>
      queueMicrotask(() => queueMicrotask(() => this.flush()))
    );
  }

  #hear(note: string, args: unknown): void {
    const { notes } = this.#face;
    notes[note]!(args as Own["notes"][string]);
  }

  async #carryOut({ call, name, args }: CallParcel): Promise<void> {
    const { calls } = this.#face;
    try {
      const value = await calls[name]!(args as Own["calls"][string][0]);
      if (this.#closed !== undefined) return;
      const octets = value instanceof Uint8Array ? value : undefined;
      this.#say({ answer: call, value }, octets);
    } catch (error) {
      if (this.#closed !== undefined) return;
      this.#say({ answer: call, error: encodeError(error) });
    }
  }

  #settle(parcel: AnswerParcel): void {
    const pending = this.#pending.get(parcel.answer);
    this.#pending.delete(parcel.answer);
    if (parcel.error !== undefined) pending?.reject(decodeError(parcel.error));
    else pending?.resolve(parcel.value);
  }
}
