/**
 * The limits of a client's address as one session meets them: counts what the
 * client does, and turns a limit that is met into the reply to it, which says
 * which limit it was and how far it goes. It owns the session's ticket; the
 * server takes that back at the end.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.8 | RFC 5321 section 3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc3463#section-3.8 | RFC 3463 section 3.8}
 */

import { closing, limitReached } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { CountingGate } from "../protocol/server/effects.ts";
import type { SessionContext } from "./context.ts";
import { noteLimit } from "./log.ts";
import { type LimitBreach, NO_TICKET, type Ticket } from "./limits.ts";
import type { SmtpSession } from "./session.ts";
import { formatIp, parseUnmapped } from "../protocol/ip.ts";

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

  /** Bytes have come; the reply that ends the session, if they are far too many. */
  octets(count: number): SmtpReply | undefined {
    const breach = this.#context.counts.octets(this.ticket, count);
    if (breach === undefined) return undefined;
    return closing(this.#refuse(breach)!);
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

/** A client that has met a limit, to be noted. */
export interface LimitedClient {
  /** Its IP address. */
  readonly address: string;
  /** Its session, if it has got one. */
  readonly session?: string | undefined;
}

/** Makes the reply to a client that has met a limit, and notes it. */
export function refuseByLimit(
  breach: LimitBreach,
  context: SessionContext,
  client: LimitedClient,
): SmtpReply {
  const { address, session } = client;
  const reply = limitReached(breach, {
    most: context.limits[breach],
    network: networkOf(address),
  });
  noteLimit(context, { address, session, limit: breach }, reply.lines[0]!);
  return reply;
}

/** What is counted as one: the address, or the /64 of an IPv6 one. */
function networkOf(address: string): string {
  const bytes = parseUnmapped(address);
  if (bytes === undefined || bytes.length === 4) return address;
  return `${formatIp([...bytes.slice(0, 8), 0, 0, 0, 0, 0, 0, 0, 0])}/64`;
}
