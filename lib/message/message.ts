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
import { formatField, MessageHeaders } from "../protocol/headers.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import type { MessageAuthentication } from "../trust/result.ts";
import { type BodyOptions, MessageBody } from "./body.ts";
import {
  type HeaderBlock,
  HeaderEditing,
  withHeader,
} from "./header_editing.ts";

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
  /** Id of the session in which it arrives. */
  readonly session?: string | undefined;
  /** Makes the trace fields that the server puts before the content, with line ends; may be `""`. */
  readonly trace: () => string;
  /** Where the content goes. */
  readonly body: BodyOptions;
  /** Whether the server may sign it: it comes from the program, or from a client that the server sends for. Default: no. */
  readonly isOwn?: boolean | undefined;
  /** The content, if it exists already and belongs to another message. Default: empty, to be written. */
  readonly shared?: MessageBody | undefined;
}

/** Shared by all messages that are not in the queue. */
const NO_RELAYS: readonly string[] = [];

/** Lets the header of a message be edited until {@linkcode closeHeaders}; a promise if it has to be read from a file. */
export let openHeaders: (message: Message) => void | Promise<void>;

/** Ends the edits of a header: later ones throw. Returns the header block if it was edited. */
export let closeHeaders: (message: Message) => HeaderBlock | undefined;

/** Writes the edits of the header into the content; a promise only if there are any. */
export let settleHeaders: (message: Message) => void | Promise<void>;

/** Sets what a message proved, and puts the fields that say so on top of its trace fields. */
export let setAuthentication: (
  message: Message,
  authentication: MessageAuthentication,
  fields: string,
) => void;

/** Sets the text of all trace fields: the handlers of another thread have changed it. */
export let setTrace: (message: Message, text: string) => void;

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
  /** The parameters of MAIL FROM: SIZE, BODY, RET, HOLDFOR, BY, REQUIRETLS and others. */
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
  /** @internal Id of the session in which it arrived, for logs. */
  readonly session: string | undefined;
  /** @internal Whether the server may sign it with its keys. */
  readonly isOwn: boolean;
  /** The queue's names for the message; the copies of a message share them. */
  #queued: { relays: readonly string[] } | undefined;
  #authentication: MessageAuthentication | undefined;
  readonly #body: MessageBody;
  readonly #bodyOptions: BodyOptions;
  #trace: Uint8Array<ArrayBuffer> | undefined;
  #traceText: string | undefined;
  readonly #makeTrace: () => string;
  #replaced: MessageBody | undefined;
  /** The fields on top of the trace fields. */
  #top = "";
  /** The header while it may be edited. */
  #editing: HeaderEditing | undefined;
  /** An edited header that is not yet in the content: that of a message of which this is a copy. */
  #block: HeaderBlock | undefined;
  /** Contents from before a change. A copy or a stream may still read them. */
  #former: MessageBody[] | undefined;

  static {
    openHeaders = (message) => message.#open();
    closeHeaders = (message) => message.#editing?.close();
    settleHeaders = (message) => message.#settle();
    setTrace = (message, text) => message.#setTrace(text);
    setAuthentication = (message, authentication, fields) => {
      message.#authentication = authentication;
      if (fields !== "") message.#setTrace(fields + message.traceText);
    };
  }

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
    this.session = init.session;
    this.isOwn = init.isOwn ?? false;
    this.#makeTrace = init.trace;
    this.#bodyOptions = init.body;
    this.#body = init.shared ?? new MessageBody(init.body);
  }

  /**
   * What the message proved about its origin: SPF, DKIM, DMARC and ARC. Complete
   * in `onMessage`; `undefined` before it, without the option `verify`, and for
   * mail that is not checked, as that of logged-in clients.
   */
  get authentication(): MessageAuthentication | undefined {
    return this.#authentication;
  }

  /** @internal Names under which it, or a copy of it, was put into the queue so far. */
  get relays(): readonly string[] {
    return this.#queued?.relays ?? NO_RELAYS;
  }

  set relays(names: readonly string[]) {
    if (this.#queued === undefined) this.#queued = { relays: names };
    else this.#queued.relays = names;
  }

  /** The bytes of the content, without the trace fields. The session writes them. */
  get body(): MessageBody {
    return this.#replaced ?? this.#body;
  }

  /** The trace fields that go before the content, as text; those of {@linkcode Message.prepend} come first. */
  get traceText(): string {
    const trace = this.#traceText ??= this.#makeTrace();
    return this.#top === "" ? trace : this.#top + trace;
  }

  /** The trace fields that go before the content. Do not change them. */
  get trace(): Uint8Array<ArrayBuffer> {
    return this.#trace ??= new TextEncoder().encode(this.traceText);
  }

  /**
   * Bytes of the content without the trace fields: as received, with the changes
   * of handlers.
   */
  get size(): number {
    const block = this.#pending;
    const { size } = this.body;
    return block === undefined ? size : size - block.end + block.bytes.length;
  }

  /**
   * The header fields. In `onMessage` they may be edited until the handler
   * returns: stores and the queue get the edited header, and the content is
   * written again only if there was an edit. Everywhere else they are a copy, and
   * an edit throws a `TypeError`: before `onMessage`, edit the headers that
   * `onHeaders` gets.
   *
   * In `onMessage` this is one object. After {@linkcode Message.replace} it is
   * that of the new content, and edits made before are gone with the old one.
   *
   * @example Mark the subject when the content is known
   * ```ts
   * import type { SmtpHandlers } from "@smtp/server";
   *
   * const handlers: SmtpHandlers = {
   *   async onMessage(_session, message) {
   *     if (!(await message.text()).includes("lottery")) return;
   *     const { headers } = message;
   *     headers.set("Subject", `[Suspect] ${headers.text("Subject") ?? ""}`);
   *   },
   * };
   * console.assert(handlers.onMessage !== undefined);
   * ```
   */
  get headers(): MessageHeaders {
    return this.#editing?.headers ??
      MessageHeaders.parse(this.#block?.bytes ?? this.body.head).freeze();
  }

  /**
   * Puts a header field on top of the message: above the trace fields of this
   * server, where filters and relays put theirs. Of several calls the last one
   * is on top. Call it in `onMessageStart`, `onHeaders` or `onMessage`; it costs
   * no more than the field, whatever the size of the content. The fields are no
   * part of the content and of {@linkcode Message.size}; a store with a
   * Return-Path writes it above them.
   *
   * Text beyond ASCII becomes encoded words (RFC 2047) in a message without
   * SMTPUTF8. {@linkcode Message.replace} removes the fields from before it.
   *
   * @param name The name of the field
   * @param value Its text
   * @throws {TypeError} If the name is not a field name, or the value contains NUL or
   * a CR or LF that is not folding (CRLF, then a space or tab and text)
   * @throws {RangeError} If a line would be longer than 998 bytes
   *
   * @example Say what a filter has found
   * ```ts
   * import type { SmtpHandlers } from "@smtp/server";
   *
   * const handlers: SmtpHandlers = {
   *   onMessage(_session, message) {
   *     message.prepend("X-Spam-Score", message.size > 100_000 ? "0" : "1");
   *   },
   * };
   * console.assert(handlers.onMessage !== undefined);
   * ```
   */
  prepend(name: string, value: string): void {
    const utf8 = this.parameters.smtpUtf8 === true;
    this.#top = formatField(name, value, { utf8 }) + this.#top;
    this.#trace = undefined;
  }

  #setTrace(text: string): void {
    this.#traceText = text;
    this.#top = "";
    this.#trace = undefined;
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
    await this.#settle();
    yield* this.body.chunks();
  }

  /**
   * Replaces the content and the trace fields: stores and relays get the new
   * content. Call it in `onMessage`, before the final reply. Where the text has no
   * header before it, or no empty line, an empty line is added.
   *
   * The new content may be made from the old one while it is read, in little
   * memory: {@linkcode Message.stream} includes the trace fields, so they stay. If
   * the stream fails, the message keeps its old content.
   *
   * @throws {TypeError} If the stream has anything but bytes
   * @throws {unknown} The error of the stream
   *
   * @example Pass a message through a filter
   * ```ts
   * import type { SmtpHandlers } from "@smtp/server";
   *
   * const redact = () =>
   *   new TransformStream<string, string>({
   *     transform: (text, out) => out.enqueue(text.replaceAll("0", "*")),
   *   });
   * const handlers: SmtpHandlers = {
   *   async onMessage(_session, message) {
   *     const text = message.stream().pipeThrough(new TextDecoderStream());
   *     const changed = text.pipeThrough(redact());
   *     await message.replace(changed.pipeThrough(new TextEncoderStream()));
   *   },
   * };
   * console.assert(handlers.onMessage !== undefined);
   * ```
   */
  async replace(
    content: string | Uint8Array | ReadableStream<Uint8Array>,
  ): Promise<void> {
    const body = new MessageBody(this.#bodyOptions);
    // Text without a header would run into the fields before it.
    const header = new HeaderEdit();
    try {
      if (content instanceof ReadableStream) {
        for await (const chunk of content) {
          if (!((chunk as unknown) instanceof Uint8Array)) {
            throw new TypeError(
              "Cannot replace a message: want a stream of bytes, as TextEncoderStream makes it of text",
            );
          }
          await body.write(header.take(chunk));
        }
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
    this.#exchange(body);
    this.#setTrace("");
    this.#block = undefined;
    if (this.#editing === undefined) return;
    this.#editing.close();
    this.#editing = undefined;
    await this.#open();
  }

  /** Takes another content. The former one stays until {@linkcode Message.discard}: it may have readers. */
  #exchange(body: MessageBody): void {
    if (this.#former === undefined) this.#former = [body];
    else this.#former.push(body);
    this.#replaced = body;
  }

  #open(): void | Promise<void> {
    const editing = new HeaderEditing(this.body, this.parameters);
    this.#editing = editing;
    return editing.load();
  }

  /** The edited header that is not yet in the content. */
  get #pending(): HeaderBlock | undefined {
    return this.#block ?? this.#editing?.edited;
  }

  #settle(): void | Promise<void> {
    const block = this.#pending;
    if (block !== undefined) return this.#write(block);
  }

  async #write(block: HeaderBlock): Promise<void> {
    const old = this.body;
    const editing = this.#editing;
    const body = await withHeader(old, block, this.#bodyOptions);
    // A replacement came first: it has a header of its own.
    if (this.body !== old) return await body.discard();
    this.#exchange(body);
    this.#block = undefined;
    editing?.settled(block);
  }

  /**
   * The same message for some of its recipients: to keep it in one store for
   * some and in another for others, to relay it over several routes, or with a
   * field of {@linkcode Message.prepend} for one recipient alone. Both share the
   * content, which belongs to this message: its {@linkcode Message.discard} frees
   * it for both. What is changed in one of them later is not changed in the other.
   */
  forRecipients(recipients: readonly Recipient[]): Message {
    const { traceText } = this;
    const message = new Message({
      id: this.id,
      from: this.from,
      parameters: this.parameters,
      recipients,
      receivedAt: this.receivedAt,
      session: this.session,
      isOwn: this.isOwn,
      trace: () => traceText,
      body: this.#bodyOptions,
      shared: this.body,
    });
    message.store = this.store;
    message.filename = this.filename;
    message.append = this.append;
    message.tag = this.tag;
    message.#queued = this.#queued ??= { relays: NO_RELAYS };
    message.#authentication = this.#authentication;
    message.#trace = this.#trace;
    message.#block = this.#pending;
    // Contents that the copy makes are freed with this message.
    message.#former = this.#former ??= [];
    return message;
  }

  /** Frees the content and removes its temporary file. Idempotent; never throws. */
  async discard(): Promise<void> {
    await this.#body.discard();
    if (this.#former === undefined) return;
    for (const body of this.#former.splice(0)) await body.discard();
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
   * Keeps the message for all its recipients. A store with mailboxes resolves
   * with the recipients' mailboxes, in the order of `message.recipients`, for the
   * log.
   *
   * @throws {StoreError} If some recipients' copies could not be kept
   */
  save(
    message: Message,
    options: SaveOptions,
  ): Promise<void | readonly string[]>;
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
 * A store could not keep the message for some of its recipients, or for all. An
 * error that names none of them, or a recipient that the message does not have,
 * counts for all.
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

/**
 * Which recipients have no copy, and why. Danger: a recipient that is not among
 * them is answered with 250. So an error that names none, or one that the message
 * does not have, counts for all of them.
 */
export function failuresOf(
  error: unknown,
  recipients: readonly Recipient[],
): ReadonlyMap<Recipient, unknown> {
  if (error instanceof StoreError && error.failures.size > 0) {
    const known = new Set(recipients);
    const isWhole = [...error.failures.keys()].every((one) => known.has(one));
    if (isWhole) return error.failures;
  }
  return new Map(recipients.map((one) => [one, error]));
}

/**
 * The mailboxes that a store has named for the log; `undefined` if it named none.
 * A program's store may resolve with whatever its database does: the message is
 * kept, so that must not fail it.
 */
export function mailboxesOf(saved: unknown): readonly string[] | undefined {
  const isNames = Array.isArray(saved) &&
    saved.every((one) => typeof one === "string");
  return isNames ? saved : undefined;
}
