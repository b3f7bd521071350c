/**
 * The message under way in a session: made when the envelope is complete,
 * filled as the content comes, decided on and kept at the end. It owns the
 * message until the final reply and drops it whatever happens.
 */

import { describeError } from "../log.ts";
import { Message } from "../message/message.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { Verdict } from "../protocol/server_effects.ts";
import type { ServerProtocol } from "../protocol/server_protocol.ts";
import { formatDate, formatReceived, protocolName } from "../protocol/trace.ts";
import { note, type SessionContext } from "./context.ts";
import { toldName } from "./impersonation.ts";
import { type HeaderCheck, Intake, type IntakeOptions } from "./intake.ts";
import { keep } from "./keep.ts";
import type { SmtpSession } from "./session.ts";
import { ask, isPromise, isRefusal, verdictOfError } from "./verdicts.ts";

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
    const { kind, complete, hostname } = this.#context;
    const dropBlind = kind === "submission" || this.#protocol.authenticated;
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
    const { from, parameters, recipients } = this.#protocol.envelope!;
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
    const protocol = this.#protocol;
    const { recipients, parameters } = protocol.envelope!;
    const only = recipients.length === 1 ? recipients[0] : undefined;
    return formatReceived({
      helo: protocol.helo ?? "",
      remoteName: toldName(this.#session),
      remoteAddress: this.#session.remoteAddress,
      hostname: this.#context.hostname,
      protocol: protocolName({
        kind: this.#context.profile.protocol,
        extended: protocol.extended,
        tls: protocol.tls,
        authenticated: protocol.authenticated,
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

  /** Takes body octets, which are free again when the result is there. */
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
          partial: profile.protocol === "lmtp",
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
    return verdict ??
      new SmtpReply(250, `Message accepted as ${message.id}`, {
        enhanced: "2.0.0",
      });
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
