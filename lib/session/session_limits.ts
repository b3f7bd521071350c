/**
 * The limits of a client's address as one session meets them: counts what the
 * client does, and turns a limit that is met into the reply to it. It owns the
 * ticket, which whoever admitted the client takes back at the end.
 */

import { SmtpReply } from "../protocol/reply.ts";
import type { CountingGate } from "../protocol/server_effects.ts";
import type { SessionContext } from "./context.ts";
import { refuseByLimit } from "./limit_reply.ts";
import { type LimitBreach, NO_TICKET, type Ticket } from "./limits.ts";
import type { SmtpSession } from "./session.ts";

/** The limits of one session. */
export class SessionLimits implements CountingGate {
  /** What the client was admitted with. */
  ticket: Ticket;
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  #notAdmitted: SmtpReply | undefined;

  /** @param context What the sessions of the listener have in common */
  constructor(
    context: SessionContext,
    client: { readonly session: SmtpSession; readonly ticket: Ticket },
  ) {
    this.#context = context;
    this.#session = client.session;
    this.ticket = client.ticket;
  }

  /** A message begins; the reply that refuses it, if a limit does. */
  message(): SmtpReply | undefined {
    return this.#refuse(this.#context.counts.message(this.ticket));
  }

  /** A recipient is named; the reply that refuses it, if a limit does. */
  recipient(): SmtpReply | undefined {
    return this.#refuse(this.#context.counts.recipient(this.ticket));
  }

  /** Octets have come; the reply that ends the session, if they are far too many. */
  octets(count: number): SmtpReply | undefined {
    const breach = this.#context.counts.octets(this.ticket, count);
    if (breach === undefined) return undefined;
    const reply = this.#refuse(breach)!;
    return new SmtpReply(421, reply.lines, { enhanced: "4.7.0" });
  }

  /** A name was refused for good: a wait before the client is told, if there is one. */
  tarpit(): Promise<void> | undefined {
    const ms = this.#context.counts.refused(this.ticket);
    return ms > 0 ? this.#context.delays.wait(ms) : undefined;
  }

  /** The session is another client's from here on, who has to be admitted as any. */
  readmit(): void {
    const { counts } = this.#context;
    counts.leave(this.ticket);
    const admitted = counts.admit(this.#session.remoteAddress);
    const isAdmitted = typeof admitted === "number";
    this.ticket = isAdmitted ? admitted : NO_TICKET;
    this.#notAdmitted = isAdmitted ? undefined : this.#refuse(admitted);
  }

  /** The reply to a client that was not readmitted. */
  get notAdmitted(): SmtpReply | undefined {
    return this.#notAdmitted;
  }

  #refuse(breach: LimitBreach | undefined): SmtpReply | undefined {
    if (breach === undefined) return undefined;
    return refuseByLimit(breach, this.#context, {
      address: this.#session.remoteAddress,
      session: this.#session.id,
    });
  }
}
