/**
 * What a worker asks the main thread about a message: to keep it, or to queue
 * it. The body is offered for as long as the call lasts.
 */

import type { Message, MessageStore, SaveOptions } from "../message/message.ts";
import type { MainApi, MessageCall, WorkerApi } from "./api.ts";
import { headOf, OfferedBodies } from "./bodies.ts";
import type { Channel } from "./channel.ts";
import { decodeError, encodeMessage } from "./wire.ts";

/** Calls to the main thread about a message. */
export class MessageCalls {
  readonly channel: Channel<WorkerApi, MainApi>;
  /** The bodies that the main thread may read now. */
  readonly bodies: OfferedBodies = new OfferedBodies();

  constructor(channel: Channel<WorkerApi, MainApi>) {
    this.channel = channel;
  }

  /** Offers the message to the main thread for as long as `call` lasts. */
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

/** A store of the main thread. */
export class RemoteStore implements MessageStore {
  readonly kind: string;
  readonly #calls: MessageCalls;
  readonly #chosen: number | undefined;

  /**
   * @param kind What it is there
   * @param calls To the main thread
   * @param chosen Which of the stores it is that a handler chose for the
   * message; the server's own when not given
   */
  constructor(kind: string, calls: MessageCalls, chosen?: number) {
    this.kind = kind;
    this.#calls = calls;
    this.#chosen = chosen;
  }

  async save(message: Message, { partial }: SaveOptions): Promise<void> {
    const { channel } = this.#calls;
    const chosen = this.#chosen;
    const failure = await this.#calls.offering(
      message,
      (offer) =>
        channel.call("save", { ...offer, partial, chosen }, {
          octets: headOf(message.body),
        }),
    );
    if (failure !== undefined) throw decodeError(failure, message.recipients);
  }
}
