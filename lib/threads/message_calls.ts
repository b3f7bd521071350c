/**
 * Calls of a worker that hand a message to a store or to the queue of the main
 * thread. The body is offered for the length of the call.
 */

import type { Message, MessageStore, SaveOptions } from "../message/message.ts";
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

  /** Offers the message to the main thread for the length of `call`. */
  async offering<T>(
    message: Message,
    call: (offer: MessageCall) => Promise<T>,
  ): Promise<T> {
    const { bodies } = this;
    const body = bodies.offer(message.body);
    try {
      return await call({ message: encodeMessage(message), body });
    } finally {
      bodies.withdraw(body);
    }
  }
}

/** A store of the main thread, as a worker uses it. */
export class RemoteStore implements MessageStore {
  readonly kind: string;
  readonly #calls: MessageCalls;
  readonly #chosen: number | undefined;
  readonly hasRoom?: (address: Address, size: number) => Promise<boolean>;

  /**
   * @param kind The kind of the store
   * @param facts `chosen`: index among the stores that a handler chose for the
   * message; if not given, the store is the server's own. `hasRoom`: whether that
   * has the method
   */
  constructor(
    kind: string,
    calls: MessageCalls,
    facts: {
      readonly chosen?: number | undefined;
      readonly hasRoom?: boolean | undefined;
    },
  ) {
    this.kind = kind;
    this.#calls = calls;
    this.#chosen = facts.chosen;
    if (!facts.hasRoom) return;
    const { channel } = calls;
    this.hasRoom = (address, size) =>
      channel.call("hasRoom", { address: String(address), size });
  }

  async save(message: Message, { partial }: SaveOptions): Promise<void> {
    const { channel } = this.#calls;
    const chosen = this.#chosen;
    const failure = await this.#calls.offering(
      message,
      (offer) =>
        channel.call("save", { ...offer, partial, chosen }, {
          bytes: headOf(message.body),
        }),
    );
    if (failure !== undefined) throw decodeError(failure, message.recipients);
  }
}
