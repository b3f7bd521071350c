/**
 * Calls between two threads over one port. Each side has an API: calls, whose
 * answer the other side awaits, and notifications, which have no answer.
 *
 * The packets of one turn go in one batch, in order: a message between threads
 * costs more than its content. It knows nothing of mail.
 */

import type { WireError } from "./api.ts";
import { decodeError, encodeError } from "./wire.ts";

/** What one side offers: names with the types of arguments and results. */
export interface Api {
  /** Arguments and result. */
  readonly calls: Readonly<Record<string, readonly [unknown, unknown]>>;
  /** Arguments. */
  readonly notifications: Readonly<Record<string, unknown>>;
}

/** The functions behind an API. A notification must not throw: no caller would see it. */
export type Implementation<A extends Api> = {
  readonly calls: {
    readonly [K in keyof A["calls"]]: (
      args: A["calls"][K][0],
      bytes: Uint8Array | undefined,
    ) => A["calls"][K][1] | Promise<A["calls"][K][1]>;
  };
  readonly notifications: {
    readonly [K in keyof A["notifications"]]: (
      args: A["notifications"][K],
    ) => void;
  };
};

/** The packets that go to the other thread together. */
export interface Batch {
  /** Plain JSON data, unless the batch is rich. */
  readonly packets: readonly unknown[];
  /** The bytes of all packets, each piece separate. */
  readonly pieces: readonly Uint8Array[];
  /** Whether the packets hold values that JSON cannot express. */
  readonly isRich: boolean;
}

/** One end of the connection of two threads. */
export interface BatchPort {
  /** Sends a batch to the other end. */
  send(batch: Batch): void;
}

/** Takes the batches that come from the other end. */
export interface BatchReceiver {
  /** Takes one batch; batches come in the order in which they were sent. */
  receive(batch: Batch): void;
}

/** Options of a call. */
export interface CallExtras {
  /** Bytes beside the arguments; the caller must not change them before the answer. */
  readonly bytes?: Uint8Array | undefined;
  /** Whether the arguments hold values that JSON cannot express. */
  readonly isRich?: boolean;
}

/** A call. */
interface CallPacket {
  readonly call: number;
  readonly name: string;
  readonly args: unknown;
  /** Index of its bytes in the batch. */
  readonly piece: number | undefined;
}

/** The answer to a call. */
interface AnswerPacket {
  readonly answer: number;
  readonly value?: unknown;
  /** Instead of a value: the index of the bytes in the batch. */
  readonly piece?: number | undefined;
  /** Instead of a value: the error that was thrown. */
  readonly error?: WireError;
}

type Packet =
  | CallPacket
  | AnswerPacket
  | { readonly notify: string; readonly args: unknown };

/** Longest delay of a lazy notification, in ms. */
const LAZY_MS = 20;

/** A call that awaits its answer. */
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
  #pieces: Uint8Array[] = [];
  #isRich = false;
  /** Whether a flush at the end of the turn is scheduled. */
  #isDue = false;
  #lazy: ReturnType<typeof setTimeout> | undefined;
  #closed: Error | undefined;

  /**
   * @param port Sends the batches; give those that arrive to {@linkcode Channel.receive}
   * @param api What the other side may call
   */
  constructor(port: BatchPort, api: Implementation<Own>) {
    this.#port = port;
    this.#api = api;
  }

  /** Calls the other side; rejects with its error, or when the channel is closed. */
  call<K extends keyof Other["calls"] & string>(
    name: K,
    args: Other["calls"][K][0],
    { bytes, isRich = false }: CallExtras = {},
  ): Promise<Other["calls"][K][1]> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const call = ++this.#lastCall;
    this.#isRich ||= isRich;
    this.#send({ call, name, args, piece: this.#add(bytes) });
    return new Promise((resolve, reject) => {
      this.#pending.set(call, { resolve, reject });
    });
  }

  notify<K extends keyof Other["notifications"] & string>(
    name: K,
    args: Other["notifications"][K],
  ): void {
    if (this.#closed === undefined) this.#send({ notify: name, args });
  }

  /** Notifies the other side with the next batch, after {@linkcode LAZY_MS} at most. */
  notifyLazily<K extends keyof Other["notifications"] & string>(
    name: K,
    args: Other["notifications"][K],
  ): void {
    if (this.#closed !== undefined) return;
    this.#packets.push({ notify: name, args });
    this.#lazy ??= setTimeout(() => this.flush(), LAZY_MS);
  }

  receive({ packets, pieces }: Batch): void {
    for (const packet of packets as readonly Packet[]) {
      if ("call" in packet) this.#answer(packet, pieces);
      else if ("notify" in packet) {
        this.#takeNotification(packet.notify, packet.args);
      } else this.#complete(packet, pieces);
    }
  }

  /** Closes the channel: pending calls reject, and nothing is sent any more. */
  close(error: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    clearTimeout(this.#lazy);
    this.#takeBatch();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /** Sends the batch now, before the end of the turn. */
  flush(): void {
    this.#isDue = false;
    clearTimeout(this.#lazy);
    this.#lazy = undefined;
    if (this.#packets.length > 0) this.#port.send(this.#takeBatch());
  }

  /** Takes the current batch and starts an empty one. */
  #takeBatch(): Batch {
    const batch = {
      packets: this.#packets,
      pieces: this.#pieces,
      isRich: this.#isRich,
    };
    this.#packets = [];
    this.#pieces = [];
    this.#isRich = false;
    return batch;
  }

  /** Adds bytes to the batch and returns their index. */
  #add(bytes: Uint8Array | undefined): number | undefined {
    return bytes && this.#pieces.push(bytes) - 1;
  }

  #send(packet: Packet): void {
    this.#packets.push(packet);
    if (this.#isDue) return;
    this.#isDue = true;
    // Sessions that resume in this turn send their packets a few microtasks later.
    queueMicrotask(() =>
      queueMicrotask(() => queueMicrotask(() => this.flush()))
    );
  }

  #takeNotification(name: string, args: unknown): void {
    const { notifications } = this.#api;
    notifications[name]!(args as Own["notifications"][string]);
  }

  async #answer(
    { call, name, args, piece }: CallPacket,
    pieces: readonly Uint8Array[],
  ): Promise<void> {
    const { calls } = this.#api;
    const bytes = piece === undefined ? undefined : pieces[piece];
    try {
      const value = await calls[name]!(
        args as Own["calls"][string][0],
        bytes,
      );
      if (this.#closed !== undefined) return;
      this.#send(
        value instanceof Uint8Array
          ? { answer: call, piece: this.#add(value) }
          : { answer: call, value },
      );
    } catch (error) {
      if (this.#closed !== undefined) return;
      this.#send({ answer: call, error: encodeError(error) });
    }
  }

  #complete(
    { answer, value, piece, error }: AnswerPacket,
    pieces: readonly Uint8Array[],
  ): void {
    const pending = this.#pending.get(answer);
    this.#pending.delete(answer);
    if (error !== undefined) pending?.reject(decodeError(error));
    else pending?.resolve(piece === undefined ? value : pieces[piece]);
  }
}
