/**
 * The store that writes messages to streams: one stream for all, message after
 * message, or a stream for each. Owns the order of the messages and the end of
 * each; never mixes two messages.
 */

import type { Message, MessageStore } from "../message/message.ts";
import { checkOptions, flag, required, type Rules, where } from "../options.ts";
import { MessageContent, NEWLINE_RULE } from "./content.ts";
import { failureOfOne, Underway } from "./per_recipient.ts";

/**
 * Options of {@linkcode StreamStore}.
 *
 * @example Each message to a program of its own
 * ```ts
 * import { StreamStore, type StreamStoreOptions } from "@smtp/server/store";
 *
 * const options: StreamStoreOptions = {
 *   stream: ({ id }) =>
 *     new Deno.Command("archive", { args: [id], stdin: "piped" }).spawn().stdin,
 *   newline: "lf",
 * };
 * console.assert(new StreamStore(options).kind === "stream");
 * ```
 */
export interface StreamStoreOptions {
  /**
   * Where the bytes go: one stream for all messages, one after another, or a
   * function that makes the stream for one message; the store closes it after
   * the message.
   */
  readonly stream:
    | WritableStream<Uint8Array>
    | ((
      message: Message,
    ) => WritableStream<Uint8Array> | Promise<WritableStream<Uint8Array>>);
  /**
   * Whether {@linkcode StreamStore.close} leaves the one stream open.
   *
   * @default {false}
   */
  readonly preventClose?: boolean | undefined;
  /**
   * Whether each message begins with the separator line of an mbox, has its own
   * lines of that form quoted, and ends in a blank line.
   *
   * @default {false}
   */
  readonly fromLine?: boolean | undefined;
  /**
   * Whether each message begins with a Return-Path field.
   *
   * @default {false}
   */
  readonly returnPath?: boolean | undefined;
  /**
   * Line ends: `"crlf"` as received, `"lf"` as Unix programs want them.
   *
   * @default {"crlf"}
   */
  readonly newline?: "lf" | "crlf" | undefined;
}

const RULES: Rules<StreamStoreOptions> = {
  stream: required(where(
    "a WritableStream, or a function that makes one",
    (value) =>
      typeof value === "function" ||
      typeof (value as Partial<WritableStream> | null)?.getWriter ===
        "function",
  )),
  preventClose: flag,
  fromLine: flag,
  returnPath: flag,
  newline: NEWLINE_RULE,
};

/**
 * Writes all messages to one stream, in their order and never mixed, or each
 * message to its own stream; several of these may be written at the same time. A
 * message is kept once the stream has taken all of it and, if it is the message's
 * own stream, has closed.
 *
 * A message that fails half-way aborts its stream. If that is the one stream for
 * all messages, the store refuses every later message: a reader could not
 * distinguish it from the rest of the failed one.
 *
 * @example Print what arrives
 * ```ts
 * import { StreamStore } from "@smtp/server/store";
 *
 * const store = new StreamStore({
 *   stream: Deno.stdout.writable,
 *   preventClose: true,
 *   newline: "lf",
 * });
 * console.assert(store.kind === "stream");
 * ```
 */
export class StreamStore implements MessageStore {
  /** `"stream"`. */
  readonly kind = "stream";
  readonly #options: StreamStoreOptions;
  readonly #underway = new Underway();
  #last: Promise<void> = Promise.resolve();
  #closed = false;

  /**
   * Makes a store. Takes no stream until the first message.
   *
   * @param options Where the bytes go, and in which form
   */
  constructor(options: StreamStoreOptions) {
    checkOptions("StreamStore", options, RULES, "{ stream }");
    this.#options = options;
  }

  /**
   * Writes the message to its stream.
   *
   * @throws {StoreError} If the stream fails or other code has locked it, or the store is closed
   */
  save(message: Message): Promise<void> {
    const { stream } = this.#options;
    if (typeof stream === "function") {
      return this.#underway.track(this.#saveToOwn(message, stream));
    }
    const mine = this.#last.then(() => this.#saveToShared(message, stream));
    this.#last = mine.catch(() => {});
    return this.#underway.track(mine);
  }

  async #saveToOwn(
    message: Message,
    makeStream: Exclude<StreamStoreOptions["stream"], WritableStream>,
  ): Promise<void> {
    try {
      const writer = (await makeStream(message)).getWriter();
      try {
        await this.#write(message, writer);
        await writer.close();
      } finally {
        writer.releaseLock();
      }
    } catch (reason) {
      throw failureOfOne(message, reason);
    }
  }

  async #saveToShared(
    message: Message,
    stream: WritableStream<Uint8Array>,
  ): Promise<void> {
    try {
      // Held for one message only: between messages the owner may use the stream.
      const writer = stream.getWriter();
      try {
        await this.#write(message, writer);
      } finally {
        writer.releaseLock();
      }
    } catch (reason) {
      throw failureOfOne(message, reason);
    }
  }

  async #write(
    message: Message,
    writer: WritableStreamDefaultWriter<Uint8Array>,
  ): Promise<void> {
    const { returnPath = false, newline = "crlf", fromLine = false } =
      this.#options;
    const content = new MessageContent(message, {
      returnPath,
      newline,
      mbox: fromLine,
    });
    try {
      await content.writeTo(async (bytes) => {
        await writer.ready;
        // A sink may keep the bytes it gets; these belong to the message or will
        // be overwritten.
        await writer.write(bytes.slice());
      });
    } catch (error) {
      await writer.abort(error).catch(() => {});
      throw error;
    }
  }

  /** Waits for the messages under way, then closes the one stream unless `preventClose`. Idempotent. */
  async close(): Promise<void> {
    await this.#underway.settled();
    const { stream, preventClose } = this.#options;
    if (this.#closed || preventClose || typeof stream === "function") return;
    this.#closed = true;
    // A stream that has failed has rejected the message that it failed with.
    await stream.close().catch(() => {});
  }
}
