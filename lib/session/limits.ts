/**
 * Decides, per client address, who may connect and how much may be sent: the one
 * owner of these counts for a whole server. Questions and answers are plain
 * values, so that sessions in another thread can ask as well. It makes no reply,
 * waits for nothing and never looks at what is sent.
 *
 * A minute begins with the first thing that is counted in it; what was refused
 * is not counted, so who goes on trying is let in again with the next one.
 */

import { type IpBytes, parseUnmapped } from "../net/ip.ts";
import { AddressTable, FIELD } from "./address_table.ts";
import type { Limits } from "./limit_options.ts";

/** The limit that was met. */
export type LimitBreach =
  | "maxConnections"
  | "maxConnectionsPerIp"
  | "connectionsPerMinute"
  | "messagesPerMinute"
  | "recipientsPerMinute"
  | "bytesPerMinute";

/**
 * What a connection that was admitted is named by: the place of its address's
 * counts, or {@linkcode EXEMPT}.
 */
export type Ticket = number;

/** The ticket of a connection without limits per address. */
export const EXEMPT: Ticket = -1;

/** What who has no ticket any more leaves with: nothing. */
export const NO_TICKET: Ticket = -2;

/** Failed recipients of an address that cost it nothing. */
const FREE_REFUSALS = 5;
/** The delay of the first that does, in ms. */
const FIRST_DELAY_MS = 250;

/** What sessions ask of the limits. */
export interface AddressLimits {
  /**
   * A client wants to connect: its ticket, or the limit in its way. Who has got
   * a ticket must {@linkcode AddressLimits.leave}.
   */
  admit(address: string): Ticket | LimitBreach;
  /** A connection that was admitted is over. */
  leave(ticket: Ticket): void;
  /** A message begins: counts it, or gives the limit in its way. */
  message(ticket: Ticket): LimitBreach | undefined;
  /** A recipient is named: counts it, or gives the limit in its way. */
  recipient(ticket: Ticket): LimitBreach | undefined;
  /** Octets have come. */
  octets(ticket: Ticket, count: number): void;
  /** A recipient was refused for good: how long the client has to wait for that reply, in ms. */
  refused(ticket: Ticket): number;
}

/** The counts of one server. */
export class AddressLimiter implements AddressLimits {
  /** The limits in force; may be exchanged at any time. */
  limits: Limits;
  readonly #table: AddressTable;
  readonly #now: () => number;
  #open = 0;

  /**
   * Nothing has been counted.
   *
   * @param options `now`: a time in ms that never goes back, from 0 on, which may lag by a second; `most`:
   * addresses whose counts are kept
   */
  constructor(
    limits: Limits,
    options: {
      readonly now?: (() => number) | undefined;
      readonly most?: number | undefined;
    } = {},
  ) {
    this.limits = limits;
    this.#now = options.now ?? (() => performance.now());
    this.#table = new AddressTable(options.most);
  }

  /** The memory that the counts take, in octets. */
  get bytes(): number {
    return this.#table.bytes;
  }

  /** See {@linkcode AddressLimits.admit}. */
  admit(address: string): Ticket | LimitBreach {
    const { maxConnections, maxConnectionsPerIp, connectionsPerMinute } =
      this.limits;
    if (this.#open >= maxConnections) return "maxConnections";
    const ticket = this.#ticketOf(address);
    if (ticket >= 0) {
      const table = this.#table;
      if (isAt(maxConnectionsPerIp, table.get(ticket, FIELD.open))) {
        return "maxConnectionsPerIp";
      }
      if (isAt(connectionsPerMinute, table.get(ticket, FIELD.connections))) {
        return "connectionsPerMinute";
      }
      table.add(ticket, FIELD.open, 1);
      table.add(ticket, FIELD.connections, 1);
    }
    this.#open++;
    return ticket;
  }

  #ticketOf(address: string): Ticket {
    const bytes = parseUnmapped(address);
    // What has no address, as a pair in memory, is the program's own.
    if (bytes === undefined) return EXEMPT;
    if (this.limits.exempt.some((it) => it.contains(address))) return EXEMPT;
    return this.#table.take(keyOf(bytes), this.#second());
  }

  /** See {@linkcode AddressLimits.leave}. */
  leave(ticket: Ticket): void {
    if (ticket === NO_TICKET) return;
    this.#open--;
    if (ticket >= 0) this.#table.add(ticket, FIELD.open, -1);
  }

  /** See {@linkcode AddressLimits.message}. */
  message(ticket: Ticket): LimitBreach | undefined {
    if (ticket < 0) return undefined;
    const table = this.#table;
    table.turn(ticket, this.#second());
    const { messagesPerMinute, bytesPerMinute } = this.limits;
    if (isAt(messagesPerMinute, table.get(ticket, FIELD.messages))) {
      return "messagesPerMinute";
    }
    if (isAt(bytesPerMinute, table.octets(ticket))) return "bytesPerMinute";
    table.add(ticket, FIELD.messages, 1);
    return undefined;
  }

  /** See {@linkcode AddressLimits.recipient}. */
  recipient(ticket: Ticket): LimitBreach | undefined {
    if (ticket < 0) return undefined;
    const table = this.#table;
    table.turn(ticket, this.#second());
    const { recipientsPerMinute } = this.limits;
    if (isAt(recipientsPerMinute, table.get(ticket, FIELD.recipients))) {
      return "recipientsPerMinute";
    }
    table.add(ticket, FIELD.recipients, 1);
    return undefined;
  }

  /** See {@linkcode AddressLimits.octets}. */
  octets(ticket: Ticket, count: number): void {
    if (ticket < 0) return;
    this.#table.turn(ticket, this.#second());
    this.#table.addOctets(ticket, count);
  }

  /** See {@linkcode AddressLimits.refused}. */
  refused(ticket: Ticket): number {
    if (ticket < 0) return 0;
    this.#table.turn(ticket, this.#second());
    const past = this.#table.add(ticket, FIELD.refused, 1) - FREE_REFUSALS;
    if (past <= 0) return 0;
    const delay = FIRST_DELAY_MS * 2 ** Math.min(past - 1, 20);
    return Math.min(delay, this.limits.tarpitMs);
  }

  #second(): number {
    return Math.floor(this.#now() / 1000);
  }
}

/** Whether a count has come to its limit; 0 is none. */
function isAt(limit: number, count: number): boolean {
  return limit > 0 && count >= limit;
}

/**
 * The address in two numbers: all of an IPv4 one, the /64 of an IPv6 one. No
 * client comes from an IPv6 address that begins as those of the former.
 */
function keyOf(
  bytes: IpBytes,
): { readonly high: number; readonly low: number } {
  return bytes.length === 4
    ? { high: 0xffffffff, low: word(bytes, 0) }
    : { high: word(bytes, 0), low: word(bytes, 4) };
}

function word(bytes: IpBytes, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) |
    bytes[at + 3]!) >>> 0;
}
