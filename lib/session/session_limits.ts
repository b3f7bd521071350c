/**
 * The limits of an address and of a user as one session uses them: counts what
 * the client does, and makes the reply when a limit is reached. The reply names
 * the limit and its value. It owns the session's ticket, which the server takes
 * back at the end, and what the current message has reserved for its user.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.8 | RFC 5321 section 3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc3463#section-3.8 | RFC 3463 section 3.8}
 */

import { formatIp, parseUnmapped } from "../protocol/ip.ts";
import {
  closing,
  limitReached,
  userLimitReached,
} from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { CountingGate } from "../protocol/server/effects.ts";
import type { SessionContext } from "./context.ts";
import type { LimitName } from "./handlers.ts";
import { logLimit, logUserLimit } from "./log.ts";
import { type LimitBreach, NO_TICKET, type Ticket } from "./limits.ts";
import type { SmtpSession } from "./session.ts";
import type { Reservation, UserBreach } from "./user_limits.ts";
import type { UserKey } from "./user_table.ts";
import { tellHandler } from "./verdicts.ts";

/** Least time between two reports of the same limit in a session, in ms. */
const REPORT_MS = 60_000;

/** The limits of one session. */
export class SessionLimits implements CountingGate {
  /** The ticket with which the client was admitted. */
  ticket: Ticket;
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  #notAdmitted: SmtpReply | undefined;
  /** The last command that a limit refused. */
  #last: { readonly reply: SmtpReply; readonly limit: LimitName } | undefined;
  /** The user that was counted last, and the key. */
  #user: { readonly name: string; readonly key: UserKey } | undefined;
  #reserved: Reservation | undefined;
  /** Time of the last call of `onLimit`, by the limit of the address. */
  #told: Map<LimitName, number> | undefined;

  constructor(
    context: SessionContext,
    client: { readonly session: SmtpSession; readonly ticket: Ticket },
  ) {
    this.#context = context;
    this.#session = client.session;
    this.ticket = client.ticket;
  }

  /** Counts a message; returns the reply that refuses it, if a limit is reached. */
  message(size: number): SmtpReply | undefined {
    return this.#excess(this.#context.counts.message(this.ticket)) ??
      this.#reserve(size);
  }

  /** Reserves a message for the user that is logged in. */
  #reserve(size: number): SmtpReply | undefined {
    // The MAIL before this one may have been refused.
    this.notAccepted();
    const { username } = this.#session;
    const { users } = this.#context;
    if (username === undefined || users === undefined) return undefined;
    if (this.#user?.name !== username) {
      this.#user = { name: username, key: users.keyOf(username) };
    }
    const result = users.message(this.#user.key, size);
    if ("limit" in result) return this.#refuseUser(result);
    this.#reserved = result;
    return undefined;
  }

  /** Counts a recipient; returns the reply that refuses it, if a limit is reached. */
  recipient(): SmtpReply | undefined {
    const refusal = this.#excess(this.#context.counts.recipient(this.ticket));
    if (refusal !== undefined || this.#reserved === undefined) return refusal;
    return this.#refuseUser(this.#context.users?.recipient(this.#reserved));
  }

  /** The time of day, in milliseconds since 1970. */
  time(): number {
    return Date.now();
  }

  /** Counts the real size of a message; returns the reply that refuses it, if it is too much for its user. */
  size(bytes: number): SmtpReply | undefined {
    if (this.#reserved === undefined) return undefined;
    return this.#refuseUser(this.#context.users?.size(this.#reserved, bytes));
  }

  /** The recipient that was counted last was not accepted. */
  recipientNotAccepted(): void {
    if (this.#reserved === undefined) return;
    this.#context.users?.giveBackRecipient(this.#reserved);
  }

  /** The message was accepted: it counts for its user. */
  accepted(): void {
    this.#reserved = undefined;
  }

  /** The message was not accepted: it counts for its user's minute only. */
  notAccepted(): void {
    if (this.#reserved === undefined) return;
    this.#context.users?.giveBack(this.#reserved);
    this.#reserved = undefined;
  }

  /** Counts received bytes; returns the reply that ends the session, if they are far too many. */
  bytes(count: number): SmtpReply | undefined {
    const breach = this.#context.counts.bytes(this.ticket, count);
    if (breach === undefined) return undefined;
    return closing(this.#refuse(breach)!);
  }

  /** Counts a recipient or name refused with 5xx; returns the delay of that reply, if there is one. */
  tarpit(): Promise<void> | undefined {
    const ms = this.#context.counts.refused(this.ticket);
    return ms > 0 ? this.#context.delays.wait(ms) : undefined;
  }

  /** Admits the new client of the session, which XCLIENT has named. */
  readmit(): void {
    const { counts } = this.#context;
    counts.leave(this.ticket);
    const admitted = counts.admit(this.#session.remoteAddress);
    const isAdmitted = typeof admitted === "number";
    this.ticket = isAdmitted ? admitted : NO_TICKET;
    this.#told = undefined;
    this.#notAdmitted = isAdmitted ? undefined : this.#refuse(admitted);
  }

  /** The reply to a client that was not readmitted. */
  get notAdmitted(): SmtpReply | undefined {
    return this.#notAdmitted;
  }

  /** The limit that a reply stands for; `undefined` if it stands for none. */
  limitOf(reply: SmtpReply): LimitName | undefined {
    return this.#last?.reply === reply ? this.#last.limit : undefined;
  }

  /** Refuses a command. The protocol reports it, as every refusal of a command. */
  #excess(limit: LimitBreach | undefined): SmtpReply | undefined {
    if (limit === undefined) return undefined;
    const address = this.#session.remoteAddress;
    const reply = replyOf(limit, this.#context, address);
    this.#last = { reply, limit };
    this.#tell(limit);
    return reply;
  }

  #refuseUser(breach: UserBreach | undefined): SmtpReply | undefined {
    if (breach === undefined) return undefined;
    const { limit, most, isFirst } = breach;
    const reply = userLimitReached(limit, most);
    const name: LimitName = `perUser.${limit}`;
    this.#last = { reply, limit: name };
    if (isFirst) {
      logUserLimit(this.#context, this.#session, name, reply.lines[0]!);
      tellHandler(this.#context, "onLimit", this.#session, name);
    }
    return reply;
  }

  #refuse(breach: LimitBreach | undefined): SmtpReply | undefined {
    if (breach === undefined) return undefined;
    this.#tell(breach);
    return refuseByLimit(breach, this.#context, {
      address: this.#session.remoteAddress,
      session: this.#session.id,
    });
  }

  /** Tells `onLimit` of a limit of the address, once a minute. */
  #tell(limit: LimitBreach): void {
    if (this.#context.handlers.onLimit === undefined) return;
    const now = this.#context.now();
    const last = this.#told?.get(limit);
    if (last !== undefined && now - last < REPORT_MS) return;
    this.#told ??= new Map();
    this.#told.set(limit, now);
    tellHandler(this.#context, "onLimit", this.#session, limit);
  }
}

/** A client that has reached a limit. */
export interface LimitedClient {
  readonly address: string;
  /** The id of its session, if there is one. */
  readonly session?: string | undefined;
}

/** Makes the reply to a client that has reached a limit, and logs it. */
export function refuseByLimit(
  breach: LimitBreach,
  context: SessionContext,
  client: LimitedClient,
): SmtpReply {
  const { address, session } = client;
  const reply = replyOf(breach, context, address);
  logLimit(context, { address, session, limit: breach }, reply);
  return reply;
}

/** The reply to a client that has reached a limit. */
function replyOf(
  limit: LimitBreach,
  { limits }: SessionContext,
  address: string,
): SmtpReply {
  return limitReached(limit, {
    most: limits[limit],
    network: networkOf(address),
  });
}

/** The network with one count: an IPv4 address, or the /64 of an IPv6 one. */
function networkOf(address: string): string {
  const bytes = parseUnmapped(address);
  if (bytes === undefined || bytes.length === 4) return address;
  return `${formatIp([...bytes.slice(0, 8), 0, 0, 0, 0, 0, 0, 0, 0])}/64`;
}
