/**
 * Decides, per client address, which clients may connect and how much they may
 * send: the one owner of these counts. It makes no reply, waits for nothing and
 * never looks at what is sent.
 *
 * A minute begins with the first thing that is counted in it; what was refused
 * is not counted, so a client that goes on trying is let in again with the next.
 *
 * The threads of a server have one {@linkcode AddressLimiter} each, on the same
 * memory: the counts per address, one number of sessions a thread
 * ({@linkcode SessionCount}), and the addresses that each thread has open
 * connections from ({@linkcode TicketLedger}), so that they can be counted out
 * when it ends by a fault. Counting costs no message between threads.
 */

import { type IpBytes, parseUnmapped } from "../protocol/ip.ts";
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
 * What a connection that was admitted is named by: what leads to its address's
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
  /** Bytes have come: counts them, or gives the limit that they go far beyond. */
  octets(ticket: Ticket, count: number): LimitBreach | undefined;
  /** A recipient was refused for good: how long the client has to wait for that reply, in ms. */
  refused(ticket: Ticket): number;
}

/** What the threads of a server count in together. */
export interface SharedCounts {
  /** Counts sessions. */
  readonly count: SessionCount;
  /** The counts per address. */
  readonly memory: SharedArrayBuffer;
  /** This thread's tickets; those of a thread that cannot end by itself need not be written down. */
  readonly ledger?: TicketLedger | undefined;
}

/** The counts of one server. */
export class AddressLimiter implements AddressLimits {
  /** The limits in force; may be exchanged at any time. */
  limits: Limits;
  readonly #now: () => number;
  readonly #count: SessionCount;
  readonly #memory: SharedArrayBuffer | undefined;
  readonly #ledger: TicketLedger | undefined;
  #lazyTable: AddressTable | undefined;

  /**
   * Nothing has been counted.
   *
   * @param options `now`: a time in ms that never goes back, from 0 on, the same for all threads, which may
   * lag by a second; `shared`: what is counted in, if others do so as well
   */
  constructor(
    limits: Limits,
    options: {
      readonly now?: (() => number) | undefined;
      readonly shared?: SharedCounts | undefined;
    } = {},
  ) {
    const { now, shared } = options;
    this.limits = limits;
    this.#now = now ?? (() => performance.now());
    this.#count = shared?.count ?? new SessionCount();
    this.#memory = shared?.memory;
    this.#ledger = shared?.ledger;
  }

  /** Where only exempt clients come, there is none. */
  get #table(): AddressTable {
    return this.#lazyTable ??= new AddressTable(this.#memory);
  }

  /** The part of a number for all threads that is one thread's. */
  shareOf(total: number): number {
    return total / this.#count.threads;
  }

  /** Sessions that were admitted, of all threads. */
  get open(): number {
    return this.#count.total;
  }

  /** See {@linkcode AddressLimits.admit}. */
  admit(address: string): Ticket | LimitBreach {
    if (!this.#count.enter(this.limits.maxConnections)) return "maxConnections";
    const ticket = this.#ticketOf(address);
    if (typeof ticket === "string") this.#count.leave();
    return ticket;
  }

  #ticketOf(address: string): Ticket | LimitBreach {
    const bytes = parseUnmapped(address);
    // What has no address, as a pair in memory, is the program's own.
    if (bytes === undefined) return EXEMPT;
    if (this.limits.exempt.some((one) => one.contains(address))) return EXEMPT;
    if (this.#ledger?.isFull) return "maxConnections";
    const table = this.#table;
    table.lock();
    const entry = this.#enter(keyOf(bytes));
    table.unlock();
    // A million addresses with open connections: there are none left to count.
    if (entry === undefined) return EXEMPT;
    if (typeof entry === "string") return entry;
    return this.#ledger?.issue(entry) ?? entry;
  }

  #enter(key: AddressKey): number | LimitBreach | undefined {
    const { maxConnectionsPerIp, connectionsPerMinute } = this.limits;
    const table = this.#table;
    const entry = table.take(key, this.#second());
    if (entry === undefined) return undefined;
    if (isAt(maxConnectionsPerIp, table.get(entry, FIELD.open))) {
      return "maxConnectionsPerIp";
    }
    if (isAt(connectionsPerMinute, table.get(entry, FIELD.connections))) {
      return "connectionsPerMinute";
    }
    table.add(entry, FIELD.open, 1);
    table.add(entry, FIELD.connections, 1);
    return entry;
  }

  /** See {@linkcode AddressLimits.leave}. */
  leave(ticket: Ticket): void {
    if (ticket === NO_TICKET) return;
    this.#count.leave();
    if (ticket < 0) return;
    const entry = this.#entryOf(ticket);
    this.#ledger?.close(ticket);
    this.#depart(entry);
  }

  #depart(entry: number): void {
    const table = this.#table;
    table.lock();
    table.add(entry, FIELD.open, -1);
    table.unlock();
  }

  /** The connections of a thread that has ended are over. */
  departAll(ledger: TicketLedger): void {
    for (const entry of ledger.openEntries()) this.#depart(entry);
  }

  #entryOf(ticket: Ticket): number {
    return this.#ledger?.entryOf(ticket) ?? ticket;
  }

  /** See {@linkcode AddressLimits.message}. */
  message(ticket: Ticket): LimitBreach | undefined {
    if (ticket < 0) return undefined;
    const { messagesPerMinute, bytesPerMinute } = this.limits;
    const table = this.#table;
    const entry = this.#lockEntry(ticket);
    const messages = table.get(entry, FIELD.messages);
    let breach: LimitBreach | undefined;
    if (isAt(messagesPerMinute, messages)) breach = "messagesPerMinute";
    else if (isAt(bytesPerMinute, table.octets(entry))) {
      breach = "bytesPerMinute";
    } else table.add(entry, FIELD.messages, 1);
    table.unlock();
    return breach;
  }

  /** See {@linkcode AddressLimits.recipient}. */
  recipient(ticket: Ticket): LimitBreach | undefined {
    if (ticket < 0) return undefined;
    const table = this.#table;
    const entry = this.#lockEntry(ticket);
    const recipients = table.get(entry, FIELD.recipients);
    const isFull = isAt(this.limits.recipientsPerMinute, recipients);
    if (!isFull) table.add(entry, FIELD.recipients, 1);
    table.unlock();
    return isFull ? "recipientsPerMinute" : undefined;
  }

  /** See {@linkcode AddressLimits.octets}. */
  octets(ticket: Ticket, count: number): LimitBreach | undefined {
    if (ticket < 0) return undefined;
    const { bytesPerMinute, maxSize } = this.limits;
    const table = this.#table;
    const entry = this.#lockEntry(ticket);
    table.addOctets(entry, count);
    const octets = table.octets(entry);
    table.unlock();
    // A message that began in time may come to its end.
    const more = maxSize === 0
      ? bytesPerMinute
      : Math.min(bytesPerMinute, maxSize);
    return isAt(bytesPerMinute, octets - more) ? "bytesPerMinute" : undefined;
  }

  /** See {@linkcode AddressLimits.refused}. */
  refused(ticket: Ticket): number {
    if (ticket < 0) return 0;
    const entry = this.#lockEntry(ticket);
    const past = this.#table.add(entry, FIELD.refused, 1) - FREE_REFUSALS;
    this.#table.unlock();
    if (past <= 0) return 0;
    const delay = FIRST_DELAY_MS * 2 ** Math.min(past - 1, 20);
    return Math.min(delay, this.limits.tarpitMs);
  }

  /** The entry of a ticket, at the minute that it is; the table is to be unlocked. */
  #lockEntry(ticket: Ticket): number {
    const entry = this.#entryOf(ticket);
    this.#table.lock();
    this.#table.turn(entry, this.#second());
    return entry;
  }

  #second(): number {
    return Math.floor(this.#now() / 1000);
  }
}

/** An address in two numbers. */
interface AddressKey {
  readonly high: number;
  readonly low: number;
}

/** Whether a count has come to its limit; 0 is none. */
function isAt(limit: number, count: number): boolean {
  return limit > 0 && count >= limit;
}

/**
 * The address in two numbers: all of an IPv4 one, the /64 of an IPv6 one. No
 * client comes from an IPv6 address that begins as those of the former.
 */
function keyOf(bytes: IpBytes): AddressKey {
  return bytes.length === 4
    ? { high: 0xffffffff, low: word(bytes, 0) }
    : { high: word(bytes, 0), low: word(bytes, 4) };
}

function word(bytes: IpBytes, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) |
    bytes[at + 3]!) >>> 0;
}

/** Counts sessions against a limit that threads share. */
export class SessionCount {
  readonly #slots: Int32Array;
  readonly #own: number;

  /**
   * Counts for one thread.
   *
   * @param slots A number for each thread, shared; one for this thread alone when not given
   * @param own Which of them is this thread's
   */
  constructor(slots: Int32Array = new Int32Array(1), own = 0) {
    this.#slots = slots;
    this.#own = own;
  }

  /** Threads that serve clients: the main one does only where it is alone. */
  get threads(): number {
    return Math.max(1, this.#slots.length - 1);
  }

  /** Sessions of all threads. */
  get total(): number {
    let total = 0;
    for (let at = 0; at < this.#slots.length; at++) {
      total += Atomics.load(this.#slots, at);
    }
    return total;
  }

  /**
   * Counts one more session, unless there are `most` already. After `true`,
   * {@linkcode SessionCount.leave} must follow.
   */
  enter(most: number): boolean {
    // Counted first, then looked at: two threads cannot both take the last place.
    Atomics.add(this.#slots, this.#own, 1);
    if (this.total <= most) return true;
    this.leave();
    return false;
  }

  /** A session has ended. */
  leave(): void {
    Atomics.sub(this.#slots, this.#own, 1);
  }
}

/** Connections of addresses that are counted, at once in one thread. */
const MOST_TICKETS = 262_144;

/** The tickets of one thread. */
export class TicketLedger {
  /** The entry of each ticket, plus one; to hand to another thread. */
  readonly slots: Uint32Array;
  readonly #free: Ticket[] = [];
  #used = 0;

  /** @param slots Those of another thread, or some of its own */
  constructor(
    slots: Uint32Array = new Uint32Array(
      new SharedArrayBuffer(4 * MOST_TICKETS),
    ),
  ) {
    this.slots = slots;
  }

  /** Whether there is no ticket left. */
  get isFull(): boolean {
    return this.#free.length === 0 && this.#used === this.slots.length;
  }

  /** A ticket for an entry. */
  issue(entry: number): Ticket {
    const ticket = this.#free.pop() ?? this.#used++;
    this.slots[ticket] = entry + 1;
    return ticket;
  }

  /** The entry of a ticket. */
  entryOf(ticket: Ticket): number {
    return this.slots[ticket]! - 1;
  }

  /** Takes a ticket back. */
  close(ticket: Ticket): void {
    this.slots[ticket] = 0;
    this.#free.push(ticket);
  }

  /** The entries of the tickets that were not taken back. */
  *openEntries(): Iterable<number> {
    for (const slot of this.slots) if (slot > 0) yield slot - 1;
  }
}
