/**
 * Answers the questions of the protocol: by the handlers, the server's own
 * policy, the reception of messages, and logins. It returns a promise only if
 * one of these did. It waits for nothing: the connection awaits the answer and
 * gives it to the protocol.
 */

import {
  accepts,
  type ServerAsk,
  type Verdict,
} from "../protocol/server/effects.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import type { Address } from "../protocol/address.ts";
import type { RcptParameters } from "../protocol/parameters.ts";
import { Redirect } from "../protocol/redirect.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { Authentication, AuthenticationStep } from "./authentication.ts";
import type { SessionContext, SessionDomains } from "./context.ts";
import { logSendersFailure } from "./log.ts";
import type { RecipientPolicy } from "./recipient_policy.ts";
import type { Reception } from "./reception.ts";
import { SecretLines } from "./secret_lines.ts";
import type { SmtpSession } from "./session.ts";
import type { SenderCheck } from "./sender_policy.ts";
import type { SessionLimits } from "./session_limits.ts";
import { callHandler, isPromise, verdictOfError } from "./verdicts.ts";

/** An answer: a verdict, the next step of AUTH, or the command line to run, `""` for none. */
export type Answer = AuthenticationStep | { readonly line: string };

/** The parts that answer beside the handlers. */
export interface HandlerCallsInit {
  readonly session: SmtpSession;
  readonly protocol: ServerProtocol;
  readonly limits: SessionLimits;
  /** `undefined` if users may send from any address. */
  readonly senders: SenderCheck | undefined;
  readonly reception: Reception;
  /** `undefined` if AUTH is not offered. */
  readonly authentication: Authentication | undefined;
}

/** The answers for one session. */
export class HandlerCalls {
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  readonly #init: HandlerCallsInit;
  readonly #secrets = new SecretLines();

  constructor(context: SessionContext, init: HandlerCallsInit) {
    this.#context = context;
    this.#session = init.session;
    this.#init = init;
  }

  /** Answers one question. */
  put(question: ServerAsk): Answer | Promise<Answer> {
    const context = this.#context;
    const session = this.#session;
    const { limits, reception, authentication } = this.#init;
    switch (question.ask) {
      case "connect":
        return limits.notAdmitted ?? callHandler(context, "onConnect", session);
      case "command":
        return this.#command(question.line);
      case "helo":
        return callHandler(context, "onHelo", session, question.name);
      case "auth":
        return authentication!.start(question);
      case "authLine":
        return authentication!.line(question.text);
      case "mail":
        return this.#sender(question);
      case "rcpt":
        return this.#afterTarpit(this.#counted(this.#recipient(question)));
      case "messageStart":
        return reception.start();
      case "message":
        return reception.finish();
      case "verify":
        return this.#afterTarpit(
          callHandler(context, "onVerify", session, question.text),
        );
      case "expand":
        return this.#afterTarpit(
          callHandler(context, "onExpand", session, question.text),
        );
      default:
        return question satisfies never;
    }
  }

  /** Takes a refused recipient off the counts of the user. */
  #counted(
    verdict: Verdict | Promise<Verdict>,
  ): Verdict | Promise<Verdict> {
    if (isPromise(verdict)) {
      return verdict.then((known) => this.#counted(known));
    }
    if (!accepts(verdict)) this.#init.limits.recipientNotAccepted();
    return verdict;
  }

  /** Delays the reply to a refused name; the delay grows with each. */
  #afterTarpit(
    verdict: Verdict | Promise<Verdict>,
  ): Verdict | Promise<Verdict> {
    if (isPromise(verdict)) {
      return verdict.then((known) => this.#afterTarpit(known));
    }
    const isTemporary = verdict instanceof SmtpReply && verdict.isTemporary;
    if (isTemporary || accepts(verdict)) return verdict;
    return this.#init.limits.tarpit()?.then(() => verdict) ?? verdict;
  }

  #sender(
    question: ServerAsk & { readonly ask: "mail" },
  ): Verdict | Promise<Verdict> {
    const { senders } = this.#init;
    if (senders === undefined) return this.#mailFrom(question);
    try {
      const refusal = senders.mail(question.address);
      return isPromise(refusal)
        ? refusal.then(
          (known) => known ?? this.#mailFrom(question),
          (error) => this.#sendersFailed(error),
        )
        : refusal ?? this.#mailFrom(question);
    } catch (error) {
      return this.#sendersFailed(error);
    }
  }

  #mailFrom(
    { address, parameters }: ServerAsk & { readonly ask: "mail" },
  ): Verdict | Promise<Verdict> {
    const { handlers, spf, verification } = this.#context;
    const isAsked = handlers.onMailFrom !== undefined;
    if (isAsked || verification) spf?.offered(this.#session, address);
    verification?.offered(this.#session, address);
    return callHandler(
      this.#context,
      "onMailFrom",
      this.#session,
      address,
      parameters,
    );
  }

  /** Refuses for now: the accounts could not tell the user's addresses. */
  #sendersFailed(error: unknown): Verdict {
    logSendersFailure(this.#context, this.#session, error);
    return replies.localError;
  }

  #recipient(
    { address, parameters }: ServerAsk & { readonly ask: "rcpt" },
  ): Verdict | Promise<Verdict> {
    const { isLocal, relaying, domains, recipients } = this.#context;
    const { forwarding } = this.#context;
    const session = this.#session;
    const original = forwarding?.recipient(address, session.envelope!.from);
    if (original instanceof SmtpReply) return original;
    const target = original ?? address;
    const isForeign = isLocal !== undefined &&
      !isLocal(target, session.localAddress);
    if (
      isForeign && original === undefined && !relaying?.allows(session)
    ) return replies.relayingDenied;
    if (domains !== undefined && !this.#fits([address], domains)) {
      return replies.tooLarge;
    }
    if (recipients !== undefined && !isForeign) {
      return this.#localRecipient(recipients, { target, address }, parameters);
    }
    return original === undefined
      ? this.#ofHandler(address, parameters)
      : this.#redirected([original], address, parameters);
  }

  /** The handler's verdict on a recipient. */
  #ofHandler(
    address: Address,
    parameters: RcptParameters,
  ): Verdict | Promise<Verdict> {
    const { domains } = this.#context;
    const verdict = callHandler(
      this.#context,
      "onRcptTo",
      this.#session,
      address,
      parameters,
    );
    if (domains === undefined) return verdict;
    return isPromise(verdict)
      ? verdict.then((known) => this.#fitting(known, domains))
      : this.#fitting(verdict, domains);
  }

  /** Whether the domains of addresses take a message of the size that the client declared. */
  #fits(addresses: readonly Address[], domains: SessionDomains): boolean {
    const { size = 0 } = this.#init.protocol.state.envelope!.parameters;
    return size === 0 || addresses.every((address) => {
      const most = domains.maxSizeOf(address);
      return most === 0 || size <= most;
    });
  }

  /** Refuses a redirect into a domain that does not take the declared size. */
  #fitting(verdict: Verdict, domains: SessionDomains): Verdict {
    return verdict instanceof Redirect &&
        !this.#fits(verdict.addresses, domains)
      ? replies.tooLarge
      : verdict;
  }

  /**
   * Decides on a recipient in a local domain. The handler sees the address as the
   * client said it, and may send the message elsewhere than the policy.
   *
   * @param said `address`: what the client said; `target`: that, or the sender that
   * forwarding has made it from
   */
  async #localRecipient(
    policy: RecipientPolicy,
    said: { readonly target: Address; readonly address: Address },
    parameters: RcptParameters,
  ): Promise<Verdict> {
    const session = this.#session;
    const { localAddress: ownIp, envelope } = session;
    const { target, address } = said;
    const size = envelope?.parameters.size ?? 0;
    const found = await policy.decide(target, { ownIp, size });
    if (found instanceof SmtpReply) return found;
    const decided = found ?? (target === address ? undefined : [target]);
    const { domains } = this.#context;
    if (decided && domains !== undefined && !this.#fits(decided, domains)) {
      return replies.tooLarge;
    }
    return decided === undefined
      ? await this.#ofHandler(address, parameters)
      : await this.#redirected(decided, address, parameters);
  }

  /** Sends a recipient elsewhere, if the handler accepts it and does not do so itself. */
  async #redirected(
    targets: readonly Address[],
    address: Address,
    parameters: RcptParameters,
  ): Promise<Verdict> {
    const verdict = await this.#ofHandler(address, parameters);
    if (!accepts(verdict) || verdict instanceof Redirect) return verdict;
    return new Redirect(
      targets,
      verdict instanceof SmtpReply || verdict === "silent-allow"
        ? verdict
        : undefined,
    );
  }

  /**
   * Shows a command line to `onCommand`; answers with the line to run, `""` for
   * none. Responses of AUTH are not shown, and nor are lines after a refused one
   * that may be responses.
   */
  #command(line: string): Answer | Promise<Answer> {
    const { authenticated } = this.#init.protocol.state;
    const shown = this.#secrets.shown(line, authenticated);
    const run = (changed: string | void) => ({
      line: changed === undefined || changed === shown ? line : changed,
    });
    try {
      const changed = this.#context.handlers.onCommand!(this.#session, shown);
      return isPromise(changed)
        ? changed.then(run, (error) => this.#commandFailed(error))
        : run(changed);
    } catch (error) {
      return this.#commandFailed(error);
    }
  }

  /** The command is not run; the reply is the one that was thrown, else 451. */
  #commandFailed(error: unknown): Answer {
    const verdict = verdictOfError(error, {
      ...{ context: this.#context, session: this.#session },
      name: "onCommand",
    });
    if (verdict instanceof SmtpReply) this.#init.protocol.reply(verdict);
    return { line: "" };
  }
}
