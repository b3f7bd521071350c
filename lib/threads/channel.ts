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
      octets: Uint8Array | undefined,
    ) => F["calls"][K][1] | Promise<F["calls"][K][1]>;
  };
  readonly notes: {
    readonly [K in keyof F["notes"]]: (args: F["notes"][K]) => void;
  };
};

/** What goes to the other thread at one time. */
export interface Batch {
  /** What is said: JSON, unless it is rich. */
  readonly parcels: readonly unknown[];
  /** The bytes that go along, each a piece of its own. */
  readonly octets: readonly Uint8Array[];
  /** Whether the parcels hold more than JSON can say. */
  readonly isRich: boolean;
}

/** One end of what connects two threads. */
export interface BatchPort {
  /** Sends a batch to the other end. */
  send(batch: Batch): void;
}

/** What goes along with a call. */
export interface CallExtras {
  /** Bytes that the other side gets beside the arguments, not to be changed until then. */
  readonly octets?: Uint8Array | undefined;
  /** Whether the arguments hold more than JSON can say. */
  readonly isRich?: boolean;
}

/** A question. */
interface CallParcel {
  readonly call: number;
  readonly name: string;
  readonly args: unknown;
  /** Which of the bytes of the batch go with it. */
  readonly octets: number | undefined;
}

/** The answer to one. */
interface AnswerParcel {
  readonly answer: number;
  readonly value?: unknown;
  /** In place of a value: which of the bytes of the batch are it. */
  readonly octets?: number | undefined;
  /** In place of a value: what was thrown. */
  readonly error?: WireError;
}

/** One thing said. */
type Parcel =
  | CallParcel
  | AnswerParcel
  | { readonly note: string; readonly args: unknown };

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
 * port.onbatch = (batch) => channel.receive(batch);
 * await channel.call("double", 21);
 * ```
 */
export class Channel<Own extends Face, Other extends Face> {
  readonly #port: BatchPort;
  readonly #face: Implementation<Own>;
  readonly #pending = new Map<number, Pending>();
  #lastCall = 0;
  #parcels: Parcel[] = [];
  #octets: Uint8Array[] = [];
  #isRich = false;
  /** Whether the end of the turn sends the batch. */
  #isDue = false;
  #later: ReturnType<typeof setTimeout> | undefined;
  #closed: Error | undefined;

  /**
   * @param port Where batches go; those that come are given to {@linkcode Channel.receive}
   * @param face What the other side may ask
   */
  constructor(port: BatchPort, face: Implementation<Own>) {
    this.#port = port;
    this.#face = face;
  }

  /** Asks the other side; rejects with what it threw, or when the channel is closed. */
  call<K extends keyof Other["calls"] & string>(
    name: K,
    args: Other["calls"][K][0],
    { octets, isRich = false }: CallExtras = {},
  ): Promise<Other["calls"][K][1]> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const call = ++this.#lastCall;
    this.#isRich ||= isRich;
    this.#say({ call, name, args, octets: this.#add(octets) });
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
    this.#parcels.push({ note: name, args });
    this.#later ??= setTimeout(() => this.flush(), LATER_MS);
  }

  /** Takes a batch of the other side. */
  receive({ parcels, octets }: Batch): void {
    for (const parcel of parcels as readonly Parcel[]) {
      if ("call" in parcel) this.#carryOut(parcel, octets);
      else if ("note" in parcel) this.#hear(parcel.note, parcel.args);
      else this.#settle(parcel, octets);
    }
  }

  /** Ends the channel: what is pending fails, what is said goes nowhere. */
  close(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    clearTimeout(this.#later);
    this.#takeBatch();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /** Sends what has been said so far, without waiting for the end of the turn. */
  flush(): void {
    this.#isDue = false;
    clearTimeout(this.#later);
    this.#later = undefined;
    if (this.#parcels.length > 0) this.#port.send(this.#takeBatch());
  }

  /** What has been said so far, which is no longer to be sent. */
  #takeBatch(): Batch {
    const batch = {
      parcels: this.#parcels,
      octets: this.#octets,
      isRich: this.#isRich,
    };
    this.#parcels = [];
    this.#octets = [];
    this.#isRich = false;
    return batch;
  }

  /** Puts bytes into the batch; which ones they are there. */
  #add(octets: Uint8Array | undefined): number | undefined {
    return octets && this.#octets.push(octets) - 1;
  }

  #say(parcel: Parcel): void {
    this.#parcels.push(parcel);
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

  async #carryOut(
    { call, name, args, octets }: CallParcel,
    all: readonly Uint8Array[],
  ): Promise<void> {
    const { calls } = this.#face;
    const piece = octets === undefined ? undefined : all[octets];
    try {
      const value = await calls[name]!(
        args as Own["calls"][string][0],
        piece,
      );
      if (this.#closed !== undefined) return;
      this.#say(
        value instanceof Uint8Array
          ? { answer: call, octets: this.#add(value) }
          : { answer: call, value },
      );
    } catch (error) {
      if (this.#closed !== undefined) return;
      this.#say({ answer: call, error: encodeError(error) });
    }
  }

  #settle(
    { answer, value, octets, error }: AnswerParcel,
    all: readonly Uint8Array[],
  ): void {
    const pending = this.#pending.get(answer);
    this.#pending.delete(answer);
    if (error !== undefined) pending?.reject(decodeError(error));
    else pending?.resolve(octets === undefined ? value : all[octets]);
  }
}
