/**
 * The store that keeps messages in memory: for tests, development inboxes and
 * programs that only look at mail. Bounded: it drops the oldest messages to make
 * room for new ones. Never writes to a disk.
 */

import type { Message, MessageStore, Recipient } from "../message/message.ts";
import { anyNumber, checkOptions, type Rules } from "../options.ts";
import type { Address } from "../protocol/address.ts";
import type { MessageAuthentication } from "../trust/result.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import { failureOfOne, Underway } from "./per_recipient.ts";

/** Calls the private constructor of {@linkcode CollectedMessage}. For this file alone. */
let collect: (
  message: Message,
  bytes: Uint8Array<ArrayBuffer>,
) => CollectedMessage;

/**
 * A message in a {@linkcode MemoryStore}. It does not depend on its session.
 *
 * @example Summarize a message
 * ```ts
 * import type { CollectedMessage } from "@smtp/server/store";
 *
 * function summary({ from, recipients, headers }: CollectedMessage): string {
 *   return `${headers.get("Subject")}: ${from} to ${recipients.length}`;
 * }
 * console.assert(typeof summary === "function");
 * ```
 */
export class CollectedMessage {
  /** Unique name of the message on the server. */
  readonly id: string;
  /** The reverse-path. */
  readonly from: Address;
  /** The parameters of MAIL FROM. */
  readonly parameters: MailParameters;
  /** All accepted recipients. */
  readonly recipients: readonly Recipient[];
  /** When the message began to arrive. */
  readonly receivedAt: Date;
  /** What the message proved about its origin, if it was checked. */
  readonly authentication: MessageAuthentication | undefined;
  /** The message with its trace fields; line ends are CRLF. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /** Takes the envelope from the message, and its content with the trace fields. */
  private constructor(message: Message, bytes: Uint8Array<ArrayBuffer>) {
    this.id = message.id;
    this.from = message.from;
    this.parameters = message.parameters;
    this.recipients = message.recipients;
    this.receivedAt = message.receivedAt;
    this.authentication = message.authentication;
    this.bytes = bytes;
  }

  static {
    collect = (message, bytes) => new CollectedMessage(message, bytes);
  }

  /** {@linkcode CollectedMessage.bytes} decoded as UTF-8. */
  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  /** The header block, trace fields included. */
  get headers(): MessageHeaders {
    return MessageHeaders.parse(this.bytes);
  }
}

/** Options of {@linkcode MemoryStore}. */
export interface MemoryStoreOptions {
  /**
   * Most messages kept; the store drops the oldest to stay within it.
   *
   * @default {1000}
   */
  readonly maxMessages?: number | undefined;
  /**
   * Most bytes kept in all; the store drops the oldest messages to stay within
   * it, and refuses a message that is larger by itself.
   *
   * @default {67108864}
   */
  readonly maxBytes?: number | undefined;
}

interface Waiter {
  readonly resolve: (message: CollectedMessage) => void;
  readonly reject: (reason: unknown) => void;
}

const RULES: Rules<MemoryStoreOptions> = {
  maxMessages: anyNumber,
  maxBytes: anyNumber,
};

/**
 * Keeps messages in memory, and lets a test wait for the next one.
 *
 * @example Wait for a message
 * ```ts
 * import { MemoryStore, SmtpServer } from "@smtp/server";
 *
 * const store = new MemoryStore({ maxMessages: 100 });
 * await using server = new SmtpServer({ listen: "127.0.0.1:0", store });
 * await server.start();
 * // Here the program under test sends its mail to server.addresses[0].
 * const signal = AbortSignal.timeout(50);
 * const text = await store.next({ signal }).then(
 *   (message) => message.text,
 *   () => "No mail in time",
 * );
 * console.assert(text === "No mail in time");
 * ```
 */
export class MemoryStore implements MessageStore {
  /** `"memory"`. */
  readonly kind = "memory";
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  readonly #underway = new Underway();
  #messages: CollectedMessage[] = [];
  #bytes = 0;
  /** Number of the last messages that `next` has not returned yet. */
  #unread = 0;
  readonly #waiters = new Set<Waiter>();

  /**
   * Makes an empty store.
   *
   * @throws {RangeError} If a bound is not a positive number
   */
  constructor(options: MemoryStoreOptions = {}) {
    checkOptions("MemoryStore", options, RULES);
    const { maxMessages = 1000, maxBytes = 64 * 1024 * 1024 } = options;
    for (const bound of [maxMessages, maxBytes]) {
      if (!(bound > 0)) {
        throw new RangeError(
          `Cannot bound a memory store by "${bound}": want more than 0`,
        );
      }
    }
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  /** The messages kept, oldest first: a copy of the list. */
  get messages(): readonly CollectedMessage[] {
    return this.#messages.slice();
  }

  /**
   * Keeps a copy of the message.
   *
   * @throws {StoreError} If the message alone is larger than `maxBytes`
   */
  save(message: Message): Promise<void> {
    return this.#underway.track(this.#save(message));
  }

  async #save(message: Message): Promise<void> {
    const size = message.trace.length + message.size;
    if (size > this.#maxBytes) {
      const text =
        `Cannot keep ${size} bytes in memory: want at most ${this.#maxBytes}`;
      throw failureOfOne(message, new RangeError(text));
    }
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await message.bytes();
    } catch (reason) {
      throw failureOfOne(message, reason);
    }
    this.#keep(collect(message, bytes));
  }

  #keep(message: CollectedMessage): void {
    this.#messages.push(message);
    this.#bytes += message.bytes.length;
    while (
      this.#messages.length > this.#maxMessages || this.#bytes > this.#maxBytes
    ) {
      this.#bytes -= this.#messages.shift()!.bytes.length;
    }
    const [waiter] = this.#waiters;
    if (waiter === undefined) {
      this.#unread = Math.min(this.#unread + 1, this.#messages.length);
      return;
    }
    this.#waiters.delete(waiter);
    waiter.resolve(message);
  }

  /**
   * The next message that this method has not returned yet, in the order of
   * arrival; waits for one if necessary. Each message goes to one caller; a
   * message that the store has dropped goes to no caller.
   *
   * @param options `signal` ends the wait
   * @throws {Deno.errors.Interrupted} If the store is closed while waiting
   */
  next(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<CollectedMessage> {
    const { signal } = options;
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (this.#unread > 0) {
      return Promise.resolve(this.#messages.at(-this.#unread--)!);
    }
    const { promise, resolve, reject } = Promise.withResolvers<
      CollectedMessage
    >();
    const waiter: Waiter = { resolve, reject };
    this.#waiters.add(waiter);
    if (signal === undefined) return promise;
    const abort = () => {
      this.#waiters.delete(waiter);
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    return promise.finally(() => signal.removeEventListener("abort", abort));
  }

  /** Drops all messages. Pending calls of {@linkcode MemoryStore.next} go on waiting. */
  clear(): void {
    this.#messages = [];
    this.#bytes = 0;
    this.#unread = 0;
  }

  /** Waits for all calls of `save` under way, then rejects pending calls of `next`. The messages stay. */
  async close(): Promise<void> {
    await this.#underway.settled();
    for (const waiter of this.#waiters) {
      waiter.reject(
        new Deno.errors.Interrupted(
          "Cannot wait for a message: the memory store is closed",
        ),
      );
    }
    this.#waiters.clear();
  }
}
