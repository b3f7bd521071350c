/**
 * The message under way in a session: makes it when the envelope is complete,
 * takes its content, asks the handlers about it and keeps it at the end. It owns
 * the message until the final reply, and discards it on every other end.
 *
 * The content loses its Bcc fields if the client submits it, and a header that is
 * cut short gets its empty line. The header block is held back until it is
 * complete if `onHeaders` or the policy of senders decides on it, or missing
 * fields are added; the rest is
 * passed on as it comes. The size of a held block is limited, because it is in
 * memory and a client could send an endless one.
 *
 * A complete message is saved in all its stores for the local recipients and
 * handed to the queue for the others. The reply is 250 only after each of these
 * has kept it; each kind of failure has its own reply.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.4 | RFC 5321 section 4.4} (Received),
 * {@link https://www.rfc-editor.org/rfc/rfc6409#section-8 | RFC 6409 section 8} (submission)
 */

import { NOTHING } from "../protocol/bytes.ts";
import {
  closeHeaders,
  Message,
  openHeaders,
  setAuthentication,
  settleHeaders,
} from "../message/message.ts";
import {
  BLIND_FIELDS,
  completeHeaders,
  type Completion,
  FieldFilter,
  HeaderEdit,
} from "../protocol/content_edits.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { encodeBlock, MessageHeaders } from "../protocol/headers.ts";
import { messageAccepted, replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { accepts, type Verdict } from "../protocol/server/effects.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import { formatDate, formatReceived, protocolName } from "../protocol/trace.ts";
import type { SessionContext } from "./context.ts";
import { fittingMessage, maxSizeOf } from "./domain_sizes.ts";
import { HeldHeader } from "./held_header.ts";
import { commitMessage } from "./keeping.ts";
import { clientName } from "./proxied.ts";
import {
  type Kept,
  logAccepted,
  logContentFailure,
  logRefusedMessage,
  logStored,
} from "./message_log.ts";
import { logSendersFailure } from "./log.ts";
import type { SmtpSession } from "./session.ts";
import type { SenderCheck } from "./sender_policy.ts";
import type { MessageCheck } from "../trust/message_check.ts";
import type { SessionLimits } from "./session_limits.ts";
import { callHandler, isPromise, verdictOfError } from "./verdicts.ts";

/** The message whose content comes in, and the treatment of its bytes. */
interface Incoming {
  readonly message: Message;
  /** Whether the content is not needed: its bytes are not even kept in memory. */
  readonly isIdle: boolean;
  readonly edit: HeaderEdit;
  /** Removes the fields that name blind recipients. */
  readonly blind: FieldFilter | undefined;
  /** The header block while it is held back. */
  held: HeldHeader | undefined;
  /** Checks the message, if it comes from outside. */
  readonly check: MessageCheck | undefined;
  /** Most bytes for the recipients' domains; 0 for no limit of theirs. */
  readonly maxSize: number;
  /** Bytes that have come, if there is such a limit. */
  size: number;
}

/** Receives the messages of one session, one after the other. */
export class Reception {
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  readonly #protocol: ServerProtocol;
  readonly #limits: SessionLimits;
  readonly #senders: SenderCheck | undefined;
  #incoming: Incoming | undefined;

  constructor(
    context: SessionContext,
    ends: {
      readonly session: SmtpSession;
      readonly protocol: ServerProtocol;
      readonly limits: SessionLimits;
      readonly senders: SenderCheck | undefined;
    },
  ) {
    this.#context = context;
    this.#session = ends.session;
    this.#protocol = ends.protocol;
    this.#limits = ends.limits;
    this.#senders = ends.senders;
  }

  // The start.

  /** Makes the message of a complete envelope, and asks `onMessageStart`. */
  start(): Verdict | Promise<Verdict> {
    const context = this.#context;
    const session = this.#session;
    const message = this.#newMessage();
    session.message = message;
    const verdict = callHandler(context, "onMessageStart", session, message);
    return isPromise(verdict)
      ? verdict.then((known) => this.#begin(message, known))
      : this.#begin(message, verdict);
  }

  #begin(message: Message, verdict: Verdict): Verdict {
    if (accepts(verdict)) this.#incoming = this.#newIncoming(message);
    else this.#session.message = undefined;
    return verdict;
  }

  #newIncoming(message: Message): Incoming {
    const { profile, complete, verification } = this.#context;
    const check = verification?.begin(this.#session, message.from);
    const isJudged = check !== undefined || this.#judgesHeaders;
    const isIdle = !isJudged && !this.#isWanted(message);
    const isHeld = !isIdle && (isJudged || complete !== undefined);
    const isSubmitted = profile.kind.completesMessages ||
      this.#protocol.state.authenticated;
    return {
      ...{ message, isIdle, edit: new HeaderEdit() },
      blind: isSubmitted ? new FieldFilter(BLIND_FIELDS) : undefined,
      held: isHeld ? new HeldHeader() : undefined,
      check,
      maxSize: maxSizeOf(message, this.#context),
      size: 0,
    };
  }

  /** Whether a handler or the policy of senders decides on headers. */
  get #judgesHeaders(): boolean {
    return this.#context.handlers.onHeaders !== undefined ||
      this.#senders?.applies === true;
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
      session: this.#session.id,
      isOwn: this.#context.relaying?.sendsFor(this.#session),
      trace: () => this.#context.addReceived ? this.#trace(id, receivedAt) : "",
      body: this.#context.body,
    });
  }

  /** The Received field. It has `for` only with a single recipient: otherwise it would disclose the others. */
  #trace(id: string, receivedAt: Date): string {
    const { state } = this.#protocol;
    const { recipients, parameters } = state.envelope!;
    const only = state.said.length === 1 ? recipients[0] : undefined;
    return formatReceived({
      helo: state.helo ?? "",
      remoteName: clientName(this.#session),
      remoteAddress: this.#session.remoteAddress,
      hostname: this.#context.hostname,
      protocol: this.#protocolName(parameters),
      id,
      recipient: only?.original ?? only?.address,
      receivedAt: receivedAt.getTime(),
      offsetMinutes: -receivedAt.getTimezoneOffset(),
      tls: this.#session.tls,
    });
  }

  #protocolName({ smtpUtf8 }: MailParameters): string {
    const { extended, tls, authenticated } = this.#protocol.state;
    return protocolName({
      ...{ extended, tls, authenticated },
      names: this.#context.profile.kind.received,
      utf8: smtpUtf8 === true,
    });
  }

  /** Whether a handler, a store or the queue needs the content. */
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

  // The content.

  /** Takes content; the caller may reuse `bytes` when the result is there. */
  take(bytes: Uint8Array): void | Promise<void> {
    const incoming = this.#incoming;
    if (incoming === undefined) return;
    if (incoming.maxSize > 0) {
      incoming.size += bytes.length;
      if (incoming.size > incoming.maxSize) {
        return this.#refuse(replies.tooLarge);
      }
    }
    if (incoming.isIdle) return;
    const { edit, blind } = incoming;
    try {
      // Before `edit`, which puts an empty line before a line that is no field:
      // a blind field behind such a line must go as well.
      const kept = edit.take(blind?.take(bytes) ?? bytes);
      const verdict = this.#write(incoming, kept);
      if (!isPromise(verdict)) return this.#refuse(verdict);
      return verdict.then(
        (known) => this.#refuse(known),
        (error) => this.#cannotKeep(error),
      );
    } catch (error) {
      return this.#cannotKeep(error);
    }
  }

  /** Writes bytes to the body, or holds them back; the verdict may refuse the message. */
  #write(
    incoming: Incoming,
    bytes: Uint8Array,
  ): Verdict | Promise<Verdict> {
    if (bytes.length === 0) return undefined;
    const { held, message, check } = incoming;
    if (held === undefined) {
      check?.write(bytes);
      return written(message.body.write(bytes));
    }
    const end = held.take(bytes);
    if (end === "too-large") {
      if (check !== undefined || this.#judgesHeaders) {
        return replies.headerTooLarge;
      }
      // A header too large to be completed stays as it is.
      incoming.held = undefined;
      return written(message.body.write(held.bytes));
    }
    return end === undefined
      ? undefined
      : this.#decide(incoming, held, { end, isWhole: true });
  }

  /** Writes the rest of a complete content, which is still held back. */
  #writeRest(
    incoming: Incoming,
  ): Verdict | Promise<Verdict> {
    const { edit, blind } = incoming;
    const rest = edit.take(blind?.end() ?? NOTHING);
    const last = edit.end();
    const isPlain = rest.length === 0 && last.length === 0 &&
      incoming.held === undefined;
    return isPlain ? undefined : this.#writeLast(incoming, [rest, last]);
  }

  async #writeLast(
    incoming: Incoming,
    pieces: readonly Uint8Array[],
  ): Promise<Verdict> {
    for (const piece of pieces) {
      const verdict = await this.#write(incoming, piece);
      if (verdict !== undefined) return verdict;
    }
    const { held } = incoming;
    if (held === undefined) return undefined;
    const end = held.bytes.length;
    return await this.#decide(incoming, held, { end, isWhole: false });
  }

  /**
   * Adds missing header fields, asks `onHeaders` and writes the header block.
   *
   * @param block `end`: the length of the block; `isWhole`: whether it ends with
   * its blank line
   */
  async #decide(
    incoming: Incoming,
    held: HeldHeader,
    block: { readonly end: number; readonly isWhole: boolean },
  ): Promise<Verdict> {
    const { message, check } = incoming;
    const { end, isWhole } = block;
    const { bytes } = held;
    incoming.held = undefined;
    const came = bytes.subarray(0, end);
    const header = check?.header(came) ?? came;
    const headers = MessageHeaders.parse(header, {
      utf8: message.parameters.smtpUtf8 === true,
    });
    this.#complete(message, headers);
    if (this.#senders?.applies === true) {
      const refusal = await this.#author(headers, this.#senders);
      if (refusal !== undefined) return refusal;
    }
    const verdict = await callHandler(
      this.#context,
      "onHeaders",
      this.#session,
      message,
      headers,
    );
    // Later edits would be lost.
    headers.freeze();
    if (!accepts(verdict)) return verdict;
    const { body } = message;
    await body.write(
      headers.changed ? encodeBlock(headers, isWhole) : header,
    );
    const rest = bytes.subarray(end);
    check?.write(rest);
    await body.write(rest);
    return undefined;
  }

  /** The reply that refuses a message for its author; 451 if the accounts or recipients could not be asked. */
  async #author(
    headers: MessageHeaders,
    senders: SenderCheck,
  ): Promise<SmtpReply | undefined> {
    try {
      return await senders.header(headers);
    } catch (error) {
      logSendersFailure(this.#context, this.#session, error);
      return replies.localError;
    }
  }

  /** Adds missing header fields. At a field that cannot be edited it stops: that field and later ones stay as they are. */
  #complete(message: Message, headers: MessageHeaders): void {
    const { complete, hostname } = this.#context;
    if (complete === undefined) return;
    const { receivedAt } = message;
    const completion: Completion = {
      date: formatDate(receivedAt.getTime(), -receivedAt.getTimezoneOffset()),
      messageId: `<${message.id}@${asciiDomain(hostname)}>`,
      domain: complete.domain,
    };
    try {
      completeHeaders(headers, completion);
    } catch (error) {
      if (!(error instanceof RangeError || error instanceof TypeError)) {
        throw error;
      }
    }
  }

  /** Refuses the message if the verdict says so; the content is still read to its end. */
  #refuse(verdict: Verdict): void | Promise<void> {
    if (accepts(verdict)) return;
    const reply = verdict instanceof SmtpReply
      ? verdict
      : replies.refusedHeaders;
    this.#protocol.refuseBody(
      reply,
      verdict === "silent-deny" ? { silent: true } : {},
    );
    return this.drop(reply);
  }

  /** Refuses with 452: the temporary file could not be written. */
  #cannotKeep(error: unknown): void | Promise<void> {
    logContentFailure(this.#context, this.#session, error);
    return this.#refuse(replies.storageFull);
  }

  // The end.

  /** The final verdict on a complete content, after every store has it. */
  finish(): Verdict | Promise<Verdict> {
    const incoming = this.#incoming;
    if (incoming === undefined) return "deny";
    const excess = this.#limits.size(this.#protocol.bodySize);
    if (excess !== undefined) return this.drop(excess).then(() => excess);
    // No store and no handler needs the content: nothing to wait for.
    if (!incoming.isIdle) return this.#finish(incoming);
    const { message } = incoming;
    const { store } = this.#context;
    logStored(this.#context, this.#session, message, { store: store.kind });
    return this.#accept(message);
  }

  async #finish(incoming: Incoming): Promise<Verdict> {
    const { message } = incoming;
    const context = this.#context;
    const session = this.#session;
    try {
      let verdict = await this.#writeRest(incoming);
      if (verdict === undefined) {
        verdict = await this.#judge(message, incoming.check);
      }
      if (accepts(verdict)) {
        const fitting = fittingMessage(message, context, {
          size: this.#protocol.bodySize,
        });
        const kept = context.verbose ? { stored: {} } : undefined;
        const failure = await commitMessage(fitting, {
          context,
          session,
          kept,
        });
        if (failure === undefined) {
          return this.#accept(message, verdict, kept);
        }
        verdict = failure;
      }
      const limit = verdict instanceof SmtpReply
        ? this.#limits.limitOf(verdict)
        : undefined;
      logRefusedMessage(context, session, message, verdict, limit);
      return verdict;
    } catch (error) {
      return verdictOfError(error, { context, session, name: "onMessage" });
    } finally {
      await this.#forget();
      // `#forget` does not know an accepted message; its temporary file must go as well.
      await message.discard();
    }
  }

  /**
   * Ends the checks and asks `onMessage`. The results refuse after it, unless it
   * accepts expressly.
   */
  async #judge(
    message: Message,
    check: MessageCheck | undefined,
  ): Promise<Verdict> {
    if (check === undefined) return expressed(await this.#ask(message));
    const { authentication, fields } = await check.end();
    setAuthentication(message, authentication, fields);
    const verdict = await this.#ask(message);
    if (verdict !== undefined) return expressed(verdict);
    return this.#context.verification?.refusal(authentication);
  }

  /** Asks `onMessage`; writes its edits of the header into an accepted message. */
  async #ask(message: Message): Promise<Verdict> {
    const context = this.#context;
    if (context.handlers.onMessage === undefined) return undefined;
    const session = this.#session;
    const opening = openHeaders(message);
    if (opening !== undefined && !await this.#isPossible(opening)) {
      return replies.storageFull;
    }
    const asked = callHandler(context, "onMessage", session, message);
    const verdict = isPromise(asked) ? await asked : asked;
    const edited = closeHeaders(message);
    if (edited === undefined || !accepts(verdict)) return verdict;
    const settling = settleHeaders(message);
    return settling === undefined || await this.#isPossible(settling)
      ? verdict
      : replies.storageFull;
  }

  /** Whether work on the temporary file of a content succeeds. */
  async #isPossible(work: Promise<void>): Promise<boolean> {
    try {
      await work;
      return true;
    } catch (error) {
      logContentFailure(this.#context, this.#session, error);
      return false;
    }
  }

  #accept(message: Message, verdict?: Verdict, kept?: Kept): Verdict {
    this.#session.messages++;
    if (isForSomeone(message)) this.#limits.accepted();
    else this.#limits.notAccepted();
    this.#incoming = undefined;
    this.#session.message = undefined;
    if (this.#context.verbose) {
      logAccepted(this.#context, this.#session, {
        message,
        size: this.#protocol.bodySize,
        protocol: this.#protocolName(message.parameters),
        stored: kept?.stored,
      });
    }
    return verdict ?? messageAccepted(message.id);
  }

  /** Discards a message that is refused while its content comes in. */
  async drop(refusal: SmtpReply): Promise<void> {
    if (this.#incoming === undefined) return;
    const { message } = this.#incoming;
    logRefusedMessage(this.#context, this.#session, message, refusal);
    await this.#forget();
  }

  /** Ends a transaction without a message. */
  async reset(): Promise<void> {
    await this.#forget();
    const done = callHandler(this.#context, "onReset", this.#session);
    if (isPromise(done)) await done;
  }

  async #forget(): Promise<void> {
    this.#limits.notAccepted();
    const message = this.#incoming?.message ?? this.#session.message;
    this.#incoming?.check?.abort();
    this.#incoming = undefined;
    this.#session.message = undefined;
    await message?.discard();
  }
}

/** The verdict of a handler as the protocol takes it. */
function expressed(verdict: Verdict): Verdict {
  return verdict === "allow" ? undefined : verdict;
}

/** The verdict of a write: it never refuses. */
function written(
  writing: void | Promise<void>,
): Promise<undefined> | undefined {
  return writing as Promise<undefined> | undefined;
}

/** Whether a recipient may have a copy: in LMTP each has a reply of its own. */
function isForSomeone({ recipients }: Message): boolean {
  return recipients.some(({ reply }) => reply?.isPositive !== false);
}
