/**
 * The message under way in a session: made when the envelope is complete,
 * filled as the content comes, decided on and kept at the end. It owns the
 * message until the final reply and drops it whatever happens.
 *
 * A message coming in: puts its header right, leaves out the fields that must
 * not go on, holds the header block back until it is complete and decided on,
 * where somebody decides or it is to be completed, and hands the rest on as it
 * comes.
 *
 * The header block is limited: it is held in memory, and a client could send
 * nothing else for ever.
 */

import { describeError } from "../log.ts";
import { Message } from "../message/message.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { messageAccepted, replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { Verdict } from "../protocol/server/effects.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import { formatDate, formatReceived, protocolName } from "../protocol/trace.ts";
import { note, type SessionContext } from "./context.ts";
import { toldName } from "./impersonation.ts";
import { keep } from "./accept.ts";
import type { SmtpSession } from "./session.ts";
import { ask, isPromise, isRefusal, verdictOfError } from "./verdicts.ts";
import {
  BLIND_FIELDS,
  completeHeaders,
  type Completion,
  FieldFilter,
  HeaderEdit,
} from "../protocol/content_edits.ts";
import { findHeaderEnd, MessageHeaders } from "../protocol/headers.ts";

/** Takes in the messages of one session, one after the other. */
export class Reception {
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  readonly #protocol: ServerProtocol;
  #intake: Intake | undefined;

  /** @param context What the sessions of the listener have in common */
  constructor(
    context: SessionContext,
    ends: { readonly session: SmtpSession; readonly protocol: ServerProtocol },
  ) {
    this.#context = context;
    this.#session = ends.session;
    this.#protocol = ends.protocol;
  }

  /** The envelope is complete: makes the message and asks whether its content may come. */
  start(): Verdict | Promise<Verdict> {
    const { handlers } = this.#context;
    const message = this.#newMessage();
    this.#session.message = message;
    if (handlers.onMessageStart === undefined) {
      return this.#begin(message, undefined);
    }
    const verdict = ask(
      () => handlers.onMessageStart!(this.#session, message),
      this.#about("onMessageStart"),
    );
    return isPromise(verdict)
      ? verdict.then((it) => this.#begin(message, it))
      : this.#begin(message, verdict);
  }

  #begin(message: Message, verdict: Verdict): Verdict {
    if (isRefusal(verdict)) {
      this.#session.message = undefined;
    } else {
      this.#intake = new Intake(message, {
        collect: this.#isWanted(message),
        check: this.#headerCheck(message),
        ...this.#submissionEdits(message),
      });
    }
    return verdict;
  }

  /** What is done to the header of a message that is submitted (RFC 6409 section 8). */
  #submissionEdits(
    message: Message,
  ): Pick<IntakeOptions, "complete" | "dropBlind"> | undefined {
    const { profile, complete, hostname } = this.#context;
    const dropBlind = profile.kind.completesMessages ||
      this.#protocol.state.authenticated;
    if (!dropBlind && complete === undefined) return undefined;
    return {
      dropBlind,
      complete: complete && (() => ({
        date: formatDate(
          message.receivedAt.getTime(),
          -message.receivedAt.getTimezoneOffset(),
        ),
        messageId: `<${message.id}@${asciiDomain(hostname)}>`,
        domain: complete.domain,
      })),
    };
  }

  #newMessage(): Message {
    const { from, parameters, recipients } = this.#protocol.state.envelope!;
    const id = this.#context.nextId();
    const receivedAt = new Date();
    return new Message({
      id,
      from,
      parameters,
      recipients,
      receivedAt,
      trace: () => this.#context.addReceived ? this.#trace(id, receivedAt) : "",
      body: this.#context.body,
    });
  }

  /** The Received field; `for` only with a single recipient, or it would tell one of the others. */
  #trace(id: string, receivedAt: Date): string {
    const { state } = this.#protocol;
    const { recipients, parameters } = state.envelope!;
    const only = recipients.length === 1 ? recipients[0] : undefined;
    return formatReceived({
      helo: state.helo ?? "",
      remoteName: toldName(this.#session),
      remoteAddress: this.#session.remoteAddress,
      hostname: this.#context.hostname,
      protocol: protocolName({
        names: this.#context.profile.kind.received,
        extended: state.extended,
        tls: state.tls,
        authenticated: state.authenticated,
        utf8: parameters.smtpUtf8 === true,
      }),
      id,
      recipient: only?.address,
      receivedAt: receivedAt.getTime(),
      offsetMinutes: -receivedAt.getTimezoneOffset(),
      tls: this.#session.tls,
    });
  }

  /** Whether anybody will look at the content: if not, it is not even kept in memory. */
  #isWanted(message: Message): boolean {
    const { handlers, store, isLocal } = this.#context;
    const isForeign = isLocal !== undefined &&
      !message.recipients.every(({ address }) =>
        isLocal(address, this.#session.localAddress)
      );
    return isForeign || handlers.onMessage !== undefined ||
      message.filename !== undefined || message.store !== undefined ||
      store.kind !== "discard";
  }

  #headerCheck(message: Message): HeaderCheck | undefined {
    const { handlers } = this.#context;
    if (handlers.onHeaders === undefined) return undefined;
    return (headers) =>
      ask(
        () => handlers.onHeaders!(this.#session, message, headers),
        this.#about("onHeaders"),
      );
  }

  /** Takes body bytes, which are free again when the result is there. */
  take(bytes: Uint8Array): void | Promise<void> {
    if (this.#intake === undefined) return;
    try {
      const verdict = this.#intake.write(bytes);
      if (!isPromise(verdict)) return this.#refuse(verdict);
      return verdict.then(
        (it) => this.#refuse(it),
        (error) => this.#cannotKeep(error),
      );
    } catch (error) {
      return this.#cannotKeep(error);
    }
  }

  /** Refuses the message for its content, if the verdict says so; it is read to its end. */
  #refuse(verdict: Verdict | void): void | Promise<void> {
    if (!isRefusal(verdict)) return;
    const reply = verdict instanceof SmtpReply
      ? verdict
      : replies.refusedHeaders;
    this.#protocol.refuseBody(
      reply,
      verdict === "silent-deny" ? { silent: true } : {},
    );
    return this.drop(reply);
  }

  /** The temporary file could not be written: the client is to try again. */
  #cannotKeep(error: unknown): void | Promise<void> {
    this.#context.log({
      level: "error",
      event: "error",
      message: "Cannot keep the content of a message while it comes in",
      session: this.#session.id,
      error: describeError(error),
    });
    return this.#refuse(replies.storageFull);
  }

  /** The content is complete: the final verdict, once every store has it safely. */
  finish(): Verdict | Promise<Verdict> {
    const intake = this.#intake;
    if (intake === undefined) return "deny";
    // With nobody to see it there is nothing to wait for.
    return intake.isIdle ? this.#accept(intake.message) : this.#finish(intake);
  }

  async #finish(intake: Intake): Promise<Verdict> {
    const { message } = intake;
    const { handlers, profile } = this.#context;
    try {
      let verdict = await intake.end();
      if (verdict === undefined && handlers.onMessage !== undefined) {
        verdict = await ask(
          () => handlers.onMessage!(this.#session, message),
          this.#about("onMessage"),
        );
      }
      if (!isRefusal(verdict)) {
        const failure = await keep(message, {
          ...this.#context,
          partial: profile.kind.repliesPerRecipient,
          session: this.#session.id,
          ownIp: this.#session.localAddress,
        });
        if (failure === undefined) return this.#accept(message, verdict);
        verdict = failure;
      }
      this.#tellRefused(message.id);
      return verdict;
    } catch (error) {
      return verdictOfError(error, this.#about("onMessage"));
    } finally {
      await this.#forget();
      // Accepted, it is no longer the session's; its temporary file still is.
      await message.discard();
    }
  }

  #accept(message: Message, verdict?: Verdict): Verdict {
    this.#session.messages++;
    this.#intake = undefined;
    this.#session.message = undefined;
    note(this.#context, () => ({
      level: "info",
      event: "message",
      message: "Accepted message",
      session: this.#session.id,
      fields: {
        id: message.id,
        from: message.from.toString(),
        to: message.recipients.map((it) => it.address).join(", "),
        size: this.#protocol.bodySize,
      },
    }));
    return verdict ?? messageAccepted(message.id);
  }

  #tellRefused(what: string): void {
    note(this.#context, () => ({
      level: "info",
      event: "refused",
      message: `Refused message: ${what}`,
      session: this.#session.id,
      fields: { address: this.#session.remoteAddress },
    }));
  }

  /** Forgets the content of a message that is refused while it comes in. */
  async drop(refusal: SmtpReply): Promise<void> {
    if (this.#intake === undefined) return;
    this.#tellRefused(refusal.toString());
    await this.#forget();
  }

  /** The transaction is over without a message. */
  async reset(): Promise<void> {
    await this.#forget();
    const { handlers } = this.#context;
    if (handlers.onReset === undefined) return;
    await ask(
      () => handlers.onReset!(this.#session),
      this.#about("onReset"),
    );
  }

  async #forget(): Promise<void> {
    const message = this.#intake?.message ?? this.#session.message;
    this.#intake = undefined;
    this.#session.message = undefined;
    await message?.discard();
  }

  #about(handler: string): Parameters<typeof ask>[1] {
    const { log } = this.#context;
    return { log, session: this.#session.id, handler };
  }
}

/** Largest header block that `onHeaders` gets, its blank line included, in bytes: 256 KiB. */
const HEADER_LIMIT = 262144;

const NOTHING = new Uint8Array(0);
const BLANK_LINE = new Uint8Array([13, 10]);

/** Decides on a header block. */
export type HeaderCheck = (
  headers: MessageHeaders,
) => Verdict | Promise<Verdict>;

/** What is done with the bytes of a message. */
export interface IntakeOptions {
  /** Whether anybody will want them. */
  readonly collect: boolean;
  /** Decides on the header. */
  readonly check: HeaderCheck | undefined;
  /** Whether the fields that name blind recipients are left out. */
  readonly dropBlind?: boolean | undefined;
  /** What the header is completed with; it stays as it is when not given. */
  readonly complete?: (() => Completion) | undefined;
}

/** One message coming in. */
class Intake {
  /** The message. */
  readonly message: Message;
  readonly #collect: boolean;
  readonly #check: HeaderCheck | undefined;
  readonly #complete: (() => Completion) | undefined;
  readonly #header = new HeaderEdit();
  readonly #blind: FieldFilter | undefined;
  /** What is held back; its storage has room to grow. */
  #head: Uint8Array<ArrayBuffer> | undefined;
  /** Bytes of it in use. */
  #used = 0;
  #searched = 0;

  /**
   * @param message Takes the bytes
   * @param options What is done with its bytes
   */
  constructor(message: Message, options: IntakeOptions) {
    this.message = message;
    this.#collect = options.collect;
    this.#check = options.check;
    this.#complete = options.complete;
    if (options.dropBlind) this.#blind = new FieldFilter(BLIND_FIELDS);
    if (this.isIdle) return;
    if (this.#check !== undefined || this.#complete !== undefined) {
      this.#head = new Uint8Array(0);
    }
  }

  /** Whether the bytes go nowhere: nobody wants them. */
  get isIdle(): boolean {
    return !this.#collect && this.#check === undefined;
  }

  /**
   * Takes body bytes, which are free again when the result is there: a
   * verdict that refuses the message, or nothing.
   */
  write(bytes: Uint8Array): Verdict | Promise<Verdict> {
    if (this.isIdle) return undefined;
    // Blind recipients first: a line that is no field hides none behind it.
    return this.#take(this.#header.take(this.#blind?.take(bytes) ?? bytes));
  }

  #take(bytes: Uint8Array): Verdict | Promise<Verdict> {
    if (bytes.length === 0) return undefined;
    return this.#head === undefined
      ? this.#forward(bytes)
      : this.#gather(bytes);
  }

  #forward(bytes: Uint8Array): Promise<undefined> | undefined {
    return this.message.body.write(bytes)?.then(() => undefined);
  }

  /** The content is complete. */
  end(): Verdict | Promise<Verdict> {
    const held = this.#header.take(this.#blind?.end() ?? NOTHING);
    const last = this.#header.end();
    const isPlain = held.length === 0 && last.length === 0 &&
      this.#head === undefined;
    return isPlain ? undefined : this.#finish(held, last);
  }

  async #finish(held: Uint8Array, last: Uint8Array): Promise<Verdict> {
    let verdict = await this.#take(held);
    verdict ??= await this.#take(last);
    if (isRefusal(verdict) || this.#head === undefined) return verdict;
    return await this.#decide(this.#used, { isWhole: false });
  }

  #gather(bytes: Uint8Array): Verdict | Promise<Verdict> {
    const head = this.#append(bytes);
    const end = findHeaderEnd(head, this.#searched);
    // Without an end in what is here, it can only come behind.
    if (end < 0 ? head.length >= HEADER_LIMIT : end > HEADER_LIMIT) {
      return this.#check === undefined
        ? this.#giveUp()
        : replies.headerTooLarge;
    }
    if (end >= 0) return this.#decide(end, { isWhole: true });
    // The blank line may begin in what is here already.
    this.#searched = Math.max(0, head.length - 3);
    return undefined;
  }

  /** Adds to what is held; returns all of it. */
  #append(bytes: Uint8Array): Uint8Array {
    const before = this.#used;
    const used = before + bytes.length;
    let head = this.#head!;
    if (used > head.length) {
      // Doubled, or a header that comes in small packets would be copied with each.
      const grown = new Uint8Array(Math.max(used, 2 * head.length));
      grown.set(head.subarray(0, before));
      this.#head = head = grown;
    }
    head.set(bytes, before);
    this.#used = used;
    return head.subarray(0, used);
  }

  /** A header too large to be completed goes on as it is. */
  #giveUp(): Promise<undefined> | undefined {
    const head = this.#head!.subarray(0, this.#used);
    this.#head = undefined;
    return this.#forward(head);
  }

  /** @param options `isWhole`: whether the block ends in its blank line */
  async #decide(
    end: number,
    { isWhole }: { readonly isWhole: boolean },
  ): Promise<Verdict> {
    const head = this.#head!.subarray(0, this.#used);
    this.#head = undefined;
    const headers = MessageHeaders.parse(head.subarray(0, end), {
      utf8: this.message.parameters.smtpUtf8 === true,
    });
    if (this.#complete !== undefined) complete(headers, this.#complete());
    const verdict = await this.#check?.(headers);
    // Edits that come later would be lost.
    headers.freeze();
    if (isRefusal(verdict)) return verdict;
    const { body } = this.message;
    if (headers.changed) {
      const block = headers.encode();
      await body.write(block);
      // Text without an empty line before it has got one: none behind it.
      if (isWhole || findHeaderEnd(block, 0) < 0) await body.write(BLANK_LINE);
    } else {
      await body.write(head.subarray(0, end));
    }
    await body.write(head.subarray(end));
    return undefined;
  }
}

/** Completes a header; a field with a line that cannot be written stays as it is, and so do those behind it. */
function complete(headers: MessageHeaders, completion: Completion): void {
  try {
    completeHeaders(headers, completion);
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) {
      throw error;
    }
  }
}
