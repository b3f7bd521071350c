/**
 * Calls between two threads over one port. Each side has an API: calls that the
 * other side waits for, and notifications that it does not wait for.
 *
 * The packets of one turn go in one batch, in order: a message between threads
 * costs more than its content. Knows nothing of mail.
 */

import type { WireError } from "./api.ts";
import { decodeError, encodeError } from "./wire.ts";

/** What one side offers: names with arguments and results. */
export interface Api {
  /** Waited for: arguments and result. */
  readonly calls: Readonly<Record<string, readonly [unknown, unknown]>>;
  /** Not waited for: arguments. */
  readonly notifications: Readonly<Record<string, unknown>>;
}

/** The functions behind an API. A notification must not throw: no caller waits for it. */
export type Implementation<A extends Api> = {
  readonly calls: {
    readonly [K in keyof A["calls"]]: (
      args: A["calls"][K][0],
      octets: Uint8Array | undefined,
    ) => A["calls"][K][1] | Promise<A["calls"][K][1]>;
  };
  readonly notifications: {
    readonly [K in keyof A["notifications"]]: (
      args: A["notifications"][K],
    ) => void;
  };
};

/** What goes to the other thread at one time. */
export interface Batch {
  /** Data that JSON can say, unless the batch is rich. */
  readonly packets: readonly unknown[];
  /** The bytes that go along, each a piece of its own. */
  readonly octets: readonly Uint8Array[];
  /** Whether the packets hold more than JSON can say. */
  readonly isRich: boolean;
}

/** One end of what connects two threads. */
export interface BatchPort {
  /** Sends a batch to the other end. */
  send(batch: Batch): void;
}

/** Takes the batches that come from the other end. */
export interface BatchReceiver {
  /** Takes one batch; they come in the order in which they were sent. */
  receive(batch: Batch): void;
}

/** What goes along with a call. */
export interface CallExtras {
  /** Bytes that the other side gets beside the arguments, not to be changed until then. */
  readonly octets?: Uint8Array | undefined;
  /** Whether the arguments hold more than JSON can say. */
  readonly isRich?: boolean;
}

/** A call. */
interface CallPacket {
  readonly call: number;
  readonly name: string;
  readonly args: unknown;
  /** Which of the bytes of the batch go with it. */
  readonly octets: number | undefined;
}

/** The answer to a call. */
interface AnswerPacket {
  readonly answer: number;
  readonly value?: unknown;
  /** In place of a value: which of the bytes of the batch are it. */
  readonly octets?: number | undefined;
  /** In place of a value: what was thrown. */
  readonly error?: WireError;
}

/** One packet of a batch. */
type Packet =
  | CallPacket
  | AnswerPacket
  | { readonly note: string; readonly args: unknown };

/** How long a lazy notification may wait, in ms. */
const LAZY_MS = 20;

/** A call without an answer. */
interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * One end of a conversation between two threads.
 *
 * @example Ask another thread
 * ```ts ignore
 * const channel = new Channel<Mine, Theirs>(port, {
 *   calls: {},
 *   notifications: {},
 * });
 * port.open(channel);
 * await channel.call("double", 21);
 * ```
 */
export class Channel<Own extends Api, Other extends Api>
  implements BatchReceiver {
  readonly #port: BatchPort;
  readonly #api: Implementation<Own>;
  readonly #pending = new Map<number, Pending>();
  #lastCall = 0;
  #packets: Packet[] = [];
  #octets: Uint8Array[] = [];
  #isRich = false;
  /** Whether the end of the turn sends the batch. */
  #isDue = false;
  #lazy: ReturnType<typeof setTimeout> | undefined;
  #closed: Error | undefined;

  /**
   * @param port Where batches go; those that come are given to {@linkcode Channel.receive}
   * @param api What the other side may ask
   */
  constructor(port: BatchPort, api: Implementation<Own>) {
    this.#port = port;
    this.#api = api;
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
    this.#send({ call, name, args, octets: this.#add(octets) });
    return new Promise((resolve, reject) => {
      this.#pending.set(call, { resolve, reject });
    });
  }

  /** Notifies the other side. */
  notify<K extends keyof Other["notifications"] & string>(
    name: K,
    args: Other["notifications"][K],
  ): void {
    if (this.#closed === undefined) this.#send({ note: name, args });
  }

  /** Notifies the other side with the next batch, or soon: does not begin a batch. */
  notifyLazily<K extends keyof Other["notifications"] & string>(
    name: K,
    args: Other["notifications"][K],
  ): void {
    if (this.#closed !== undefined) return;
    this.#packets.push({ note: name, args });
    this.#lazy ??= setTimeout(() => this.flush(), LAZY_MS);
  }

  /** Takes a batch of the other side. */
  receive({ packets, octets }: Batch): void {
    for (const packet of packets as readonly Packet[]) {
      if ("call" in packet) this.#answer(packet, octets);
      else if ("note" in packet) {
        this.#takeNotification(packet.note, packet.args);
      } else this.#complete(packet, octets);
    }
  }

  /** Ends the channel: pending calls fail, and nothing is sent any more. */
  close(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    clearTimeout(this.#lazy);
    this.#takeBatch();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /** Sends the batch now, without waiting for the end of the turn. */
  flush(): void {
    this.#isDue = false;
    clearTimeout(this.#lazy);
    this.#lazy = undefined;
    if (this.#packets.length > 0) this.#port.send(this.#takeBatch());
  }

  /** Takes the packets out of the channel. */
  #takeBatch(): Batch {
    const batch = {
      packets: this.#packets,
      octets: this.#octets,
      isRich: this.#isRich,
    };
    this.#packets = [];
    this.#octets = [];
    this.#isRich = false;
    return batch;
  }

  /** Puts bytes into the batch; which ones they are there. */
  #add(octets: Uint8Array | undefined): number | undefined {
    return octets && this.#octets.push(octets) - 1;
  }

  #send(packet: Packet): void {
    this.#packets.push(packet);
    if (this.#isDue) return;
    this.#isDue = true;
    // Sessions that were woken in this turn send theirs a few steps later.
    queueMicrotask(() =>
      queueMicrotask(() => queueMicrotask(() => this.flush()))
    );
  }

  #takeNotification(name: string, args: unknown): void {
    const { notifications } = this.#api;
    notifications[name]!(args as Own["notifications"][string]);
  }

  async #answer(
    { call, name, args, octets }: CallPacket,
    all: readonly Uint8Array[],
  ): Promise<void> {
    const { calls } = this.#api;
    const piece = octets === undefined ? undefined : all[octets];
    try {
      const value = await calls[name]!(
        args as Own["calls"][string][0],
        piece,
      );
      if (this.#closed !== undefined) return;
      this.#send(
        value instanceof Uint8Array
          ? { answer: call, octets: this.#add(value) }
          : { answer: call, value },
      );
    } catch (error) {
      if (this.#closed !== undefined) return;
      this.#send({ answer: call, error: encodeError(error) });
    }
  }

  #complete(
    { answer, value, octets, error }: AnswerPacket,
    all: readonly Uint8Array[],
  ): void {
    const pending = this.#pending.get(answer);
    this.#pending.delete(answer);
    if (error !== undefined) pending?.reject(decodeError(error));
    else pending?.resolve(octets === undefined ? value : all[octets]);
  }
}
