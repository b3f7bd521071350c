/**
 * The message as handlers, stores and the queue see it: envelope, content, and
 * the decisions of the handlers; and the interface of every store. Both stand in
 * one file because each names the other. Owns no socket and no policy.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.1 | RFC 5321 section 2.3.1}
 */

import type { Address } from "../protocol/address.ts";
import type { Recipient } from "../protocol/envelope.ts";
import { HeaderEdit } from "../protocol/content_edits.ts";
import { MessageHeaders } from "../protocol/headers.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import { type BodyOptions, MessageBody } from "./body.ts";

export type { Recipient } from "../protocol/envelope.ts";

/** The parts of a new {@linkcode Message}. */
export interface MessageInit {
  /** Unique name; letters, digits and `-` only. */
  readonly id: string;
  /** The reverse-path. */
  readonly from: Address;
  /** The parameters of MAIL FROM. */
  readonly parameters: MailParameters;
  /** All accepted recipients. */
  readonly recipients: readonly Recipient[];
  /** When the message began to arrive. */
  readonly receivedAt: Date;
  /** Makes the trace fields that the server puts before the content, with line ends; may be `""`. */
  readonly trace: () => string;
  /** Where the content goes. */
  readonly body: BodyOptions;
  /**
   * The content, if it exists already and belongs to another message.
   *
   * @default {empty, to be written}
   */
  readonly shared?: MessageBody | undefined;
}

/**
 * One message in transit: its envelope, its content, and the stores it goes to.
 *
 * The content is complete in `onMessage`. It is gone once the final reply is
 * sent, unless a store or the queue has taken it.
 *
 * @example Look at a message, and change it
 * ```ts
 * import type { SmtpHandlers } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onMessageStart(_session, message) {
 *     message.filename = `./mail/${message.id}.eml`;
 *   },
 *   async onMessage(_session, message) {
 *     if ((await message.text()).includes("lottery")) return false;
 *     message.tag = message.recipients.length;
 *   },
 * };
 * console.assert(handlers.onMessage !== undefined);
 * ```
 */
export class Message {
  /** Unique name of this message on this server, as in the Received field. */
  readonly id: string;
  /** The reverse-path; `from.isNull` for a bounce. */
  readonly from: Address;
  /** The parameters SIZE, BODY, SMTPUTF8, RET, ENVID and AUTH of MAIL FROM. */
  readonly parameters: MailParameters;
  /** All accepted recipients with their parameters, in the client's order. */
  readonly recipients: readonly Recipient[];
  /** When the message began to arrive. */
  readonly receivedAt: Date;
  /**
   * The store or the stores that keep the message; `[]` for no store. Set it as
   * late as `onMessageStart` or `onMessage`. Default: the server's store.
   */
  store: MessageStore | readonly MessageStore[] | undefined;
  /**
   * A file that keeps the message, besides any store. With `append` the message
   * is appended to it, else it replaces the file.
   */
  filename: string | undefined;
  /** Whether `filename` is appended to (a mailbox file) or overwritten. */
  append = false;
  /** Any value that the program keeps with the message. */
  tag: unknown;
  readonly #body: MessageBody;
  readonly #bodyOptions: BodyOptions;
  #trace: Uint8Array<ArrayBuffer> | undefined;
  #traceText: string | undefined;
  readonly #makeTrace: () => string;
  #replaced: MessageBody | undefined;

  /**
   * Makes a message without content.
   *
   * @param init What the message is made of
   */
  constructor(init: MessageInit) {
    this.id = init.id;
    this.from = init.from;
    this.parameters = init.parameters;
    this.recipients = init.recipients;
    this.receivedAt = init.receivedAt;
    this.#makeTrace = init.trace;
    this.#bodyOptions = init.body;
    this.#body = init.shared ?? new MessageBody(init.body);
  }

  /** The bytes of the content, without the trace fields. The session writes them. */
  get body(): MessageBody {
    return this.#replaced ?? this.#body;
  }

  /** The trace fields that go before the content, as text. */
  get traceText(): string {
    return this.#traceText ??= this.#makeTrace();
  }

  /** The trace fields that go before the content. Do not change them. */
  get trace(): Uint8Array<ArrayBuffer> {
    return this.#trace ??= new TextEncoder().encode(this.traceText);
  }

  /** Bytes of the content as received, without the server's own trace fields. */
  get size(): number {
    return this.body.size;
  }

  /**
   * A copy of the header block. Edits of it throw: to change the message, edit
   * the headers that `onHeaders` gets, or {@linkcode Message.replace} the
   * content.
   */
  get headers(): MessageHeaders {
    return MessageHeaders.parse(this.body.head).freeze();
  }

  /** The whole message with its trace fields; line ends are CRLF. For messages that fit in memory. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const all = new Uint8Array(this.trace.length + this.size);
    let at = 0;
    for await (const chunk of this.chunks()) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  /** {@linkcode Message.bytes} decoded as UTF-8; bytes that are not UTF-8 become U+FFFD. */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  /** {@linkcode Message.bytes} as a stream: any size, with little memory. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from(this.chunks());
  }

  /** {@linkcode Message.stream} for a `for await` loop. Do not change the chunks. */
  async *chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    if (this.trace.length > 0) yield this.trace;
    yield* this.body.chunks();
  }

  /**
   * Replaces the content and the trace fields: stores and relays get the new
   * content. Call it in `onMessage`, before the final reply. Where the text has no
   * header before it, or no empty line, an empty line is added.
   */
  async replace(
    content: string | Uint8Array | ReadableStream<Uint8Array>,
  ): Promise<void> {
    const body = new MessageBody(this.#bodyOptions);
    // Text without a header would run into the fields before it.
    const header = new HeaderEdit();
    try {
      if (content instanceof ReadableStream) {
        for await (const chunk of content) await body.write(header.take(chunk));
      } else {
        await body.write(
          header.take(
            typeof content === "string"
              ? new TextEncoder().encode(content)
              : content,
          ),
        );
      }
      await body.write(header.end());
    } catch (error) {
      await body.discard();
      throw error;
    }
    await this.#replaced?.discard();
    this.#replaced = body;
    this.#trace = undefined;
    this.#traceText = "";
  }

  /**
   * The same message for some of its recipients. Both share the content, which
   * belongs to this message: its {@linkcode Message.discard} frees it for both.
   */
  forRecipients(recipients: readonly Recipient[]): Message {
    const message = new Message({
      id: this.id,
      from: this.from,
      parameters: this.parameters,
      recipients,
      receivedAt: this.receivedAt,
      trace: () => this.traceText,
      body: this.#bodyOptions,
      shared: this.body,
    });
    message.store = this.store;
    message.filename = this.filename;
    message.append = this.append;
    message.tag = this.tag;
    message.#trace = this.#trace;
    return message;
  }

  /** Frees the content and removes its temporary file. Idempotent; never throws. */
  async discard(): Promise<void> {
    await this.#body.discard();
    await this.#replaced?.discard();
  }
}

/**
 * How a message is to be kept.
 *
 * @example A store before another
 * ```ts
 * import type { Message } from "@smtp/server";
 * import {
 *   FileStore,
 *   type FileStoreOptions,
 *   MemoryStore,
 *   type MemoryStoreOptions,
 *   type MessageStore,
 *   type SaveOptions,
 * } from "@smtp/server/store";
 *
 * const newest: MemoryStoreOptions = { maxMessages: 10 };
 * const files: FileStoreOptions = { folder: "./inbox" };
 * class BothStores implements MessageStore {
 *   readonly kind = "both";
 *   readonly file = new FileStore(files);
 *   readonly memory = new MemoryStore(newest);
 *
 *   async save(message: Message, options: SaveOptions): Promise<void> {
 *     await this.file.save(message);
 *     // A copy that is only shown must not fail the message.
 *     if (!options.partial) await this.memory.save(message).catch(() => {});
 *   }
 * }
 * console.assert(new BothStores().kind === "both");
 * ```
 */
export interface SaveOptions {
  /**
   * Whether some recipients may get the message when others cannot (LMTP). If
   * `false`, a store that fails for one recipient removes the other copies where
   * it can.
   */
  readonly partial: boolean;
}

/**
 * Keeps messages. `save` resolves when the message is safe: written, synced,
 * renamed and the folder synced. Only then does the server send 250.
 */
export interface MessageStore {
  /** Kind of store, for logs: `"maildir"`. */
  readonly kind: string;
  /**
   * Keeps the message for all its recipients.
   *
   * @throws {StoreError} If some recipients' copies could not be kept
   */
  save(message: Message, options: SaveOptions): Promise<void>;
  /**
   * Whether the mailbox of an address has room for a message. Asked at RCPT, for
   * each mailbox that the recipient stands for; `false` is 452 4.2.2.
   *
   * @param size The size that the client declared in bytes, 0 if it did not
   */
  hasRoom?(address: Address, size: number): boolean | Promise<boolean>;
  /** Waits for all calls of `save` under way, and closes all that is open. */
  close?(): Promise<void>;
}

/**
 * A store could not keep the message for some of its recipients, or for all.
 *
 * @example A store with a full mailbox
 * ```ts
 * import { type Recipient, SmtpError } from "@smtp/server";
 * import { type MessageStore, StoreError } from "@smtp/server/store";
 *
 * const full = new SmtpError(452, "Mailbox full", { enhanced: "4.2.2" });
 * const store: MessageStore = {
 *   kind: "example",
 *   save(message) {
 *     const failures = new Map<Recipient, unknown>();
 *     for (const recipient of message.recipients) {
 *       if (recipient.address.localPart === "full") failures.set(recipient, full);
 *     }
 *     if (failures.size === 0) return Promise.resolve();
 *     return Promise.reject(new StoreError("Cannot keep it for all", failures));
 *   },
 * };
 * console.assert(store.kind === "example");
 * ```
 */
export class StoreError extends Error {
  /** `"StoreError"`. */
  override readonly name: string = "StoreError";
  /** The recipients without a copy, and why. */
  readonly failures: ReadonlyMap<Recipient, unknown>;

  /**
   * Makes an error that names the recipients without a copy.
   *
   * @param failures The recipients without a copy, and why
   */
  constructor(
    message: string,
    failures: ReadonlyMap<Recipient, unknown>,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.failures = failures;
  }
}
