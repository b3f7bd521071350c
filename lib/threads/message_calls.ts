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
import type { MainApi, MessageCall, WorkerApi } from "./api.ts";
import { headOf, OfferedBodies } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import { decodeError, encodeMessage } from "./wire.ts";

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
  readonly #place: {
    readonly chosen?: number;
    readonly domain?: string;
  };

  /**
   * @param kind The kind of the store
   * @param place Index among the stores that a handler chose for the message, or
   * the domain whose store it is; without either it is the server's own
   */
  constructor(
    kind: string,
    calls: MessageCalls,
    place: { readonly chosen?: number; readonly domain?: string } = {},
  ) {
    this.kind = kind;
    this.#calls = calls;
    this.#place = place;
  }

  async save(
    message: Message,
    { partial }: SaveOptions,
  ): Promise<void | readonly string[]> {
    const { channel } = this.#calls;
    const { chosen, domain } = this.#place;
    const { failure, mailboxes } = await this.#calls.offering(
      message,
      (offer, bytes) =>
        channel.call("save", { ...offer, partial, chosen, domain }, { bytes }),
    );
    if (failure !== undefined) throw decodeError(failure, message.recipients);
    return mailboxes;
  }
}

/** The server's store on the main thread, which says whether a mailbox has room. */
export class RemoteMailboxes extends RemoteStore {
  readonly #calls: MessageCalls;

  constructor(kind: string, calls: MessageCalls) {
    super(kind, calls);
    this.#calls = calls;
  }

  hasRoom(address: Address, size: number): Promise<boolean> {
    const { channel } = this.#calls;
    return channel.call("room", { address: address.toString(), size });
  }
}
