/**
 * Calls of a worker that hand a message to a store or to the queue of the main
 * thread. The body is offered for the length of the call.
 */

import {
  type Message,
  type MessageStore,
  type SaveOptions,
  settleHeaders,
} from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import { makeStore } from "../store/thread_store.ts";
import type { MainApi, MessageCall, WireStore, WorkerApi } from "./api.ts";
import { headOf, OfferedBodies } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import { decodeError, encodeMessage } from "./wire.ts";

/** Which store of the main thread. */
type Place = MainApi["calls"]["save"][0]["place"];

/** Calls to the main thread about a message. */
export class MessageCalls {
  readonly channel: Channel<WorkerApi, MainApi>;
  /** The bodies that the main thread may read. */
  readonly bodies: OfferedBodies = new OfferedBodies();

  constructor(channel: Channel<WorkerApi, MainApi>) {
    this.channel = channel;
  }

  /** Offers the message to the main thread for the length of `call`, which gets the first bytes of its content. */
  async offering<T>(
    message: Message,
    call: (offer: MessageCall, bytes: Uint8Array) => Promise<T>,
  ): Promise<T> {
    const { bodies } = this;
    const edits = settleHeaders(message);
    if (edits !== undefined) await edits;
    const body = bodies.offer(message.body);
    try {
      const offer = { message: encodeMessage(message), body };
      return await call(offer, headOf(message.body));
    } finally {
      bodies.withdraw(body);
    }
  }
}

/** A store of the main thread, as a worker uses it. */
export class RemoteStore implements MessageStore {
  readonly kind: string;
  readonly #calls: MessageCalls;
  readonly #place: Place;

  constructor(kind: string, calls: MessageCalls, place: Place) {
    this.kind = kind;
    this.#calls = calls;
    this.#place = place;
  }

  async save(
    message: Message,
    { partial }: SaveOptions,
  ): Promise<void | readonly string[]> {
    const { channel } = this.#calls;
    const place = this.#place;
    const { failure, mailboxes } = await this.#calls.offering(
      message,
      (offer, bytes) =>
        channel.call("save", { ...offer, partial, place }, { bytes }),
    );
    if (failure !== undefined) throw decodeError(failure, message.recipients);
    return mailboxes;
  }
}

/** A store of the main thread that says whether a mailbox has room. */
export class RemoteMailboxes extends RemoteStore {
  readonly #calls: MessageCalls;
  readonly #number: number;

  constructor(kind: string, calls: MessageCalls, number: number) {
    super(kind, calls, { number });
    this.#calls = calls;
    this.#number = number;
  }

  hasRoom(address: Address, size: number): Promise<boolean> {
    const { channel } = this.#calls;
    const store = this.#number;
    return channel.call("room", { address: address.toString(), size, store });
  }
}

/** Makes a store in a worker. */
export function decodeStore(
  wire: WireStore,
  calls: MessageCalls,
): MessageStore {
  if (!("main" in wire)) return makeStore(wire);
  const { main, number, hasRoom } = wire;
  return hasRoom
    ? new RemoteMailboxes(main, calls, number)
    : new RemoteStore(main, calls, { number });
}
