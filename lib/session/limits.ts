/**
 * Decides, per client address, which clients may connect and how much they may
 * send. It owns these counts. It makes no reply, delays no client and never looks
 * at the bytes.
 *
 * A minute begins with the first thing that is counted in it. Refused things are
 * not counted: a client that keeps trying is admitted again in the next minute.
 *
 * Each thread of a server has an {@linkcode AddressLimiter} of its own, on the
 * same memory: the counts per address, the number of sessions of each thread
 * ({@linkcode SessionCount}), and the addresses from which each thread has open
 * connections ({@linkcode TicketLedger}). If a thread fails, the server subtracts
 * those connections. Counting costs no message between threads.
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
 * The name of an admitted connection: it leads to the counts of its address, or
 * is {@linkcode EXEMPT}.
 */
export type Ticket = number;

/** The ticket of a connection without limits per address. */
export const EXEMPT: Ticket = -1;

/** The ticket of a connection that no longer holds one. */
export const NO_TICKET: Ticket = -2;

/** Refused recipients of an address without a delay. */
const FREE_REFUSALS = 5;
/** The first delay after those, in ms. */
const FIRST_DELAY_MS = 250;

/** The limits as sessions use them. */
export interface AddressLimits {
  /**
   * Admits a connection: returns its ticket, or the limit that refuses it. Each
   * ticket must be given to {@linkcode AddressLimits.leave}.
   */
  admit(address: string): Ticket | LimitBreach;
  /** Ends an admitted connection. */
  leave(ticket: Ticket): void;
  /** Counts a message, or returns the limit that refuses it. */
  message(ticket: Ticket): LimitBreach | undefined;
  /** Counts a recipient, or returns the limit that refuses it. */
  recipient(ticket: Ticket): LimitBreach | undefined;
  /** Counts received bytes; returns the limit if they exceed it by far. */
  bytes(ticket: Ticket, count: number): LimitBreach | undefined;
  /** Counts a recipient refused with 5xx; returns the delay of that reply, in ms. */
  refused(ticket: Ticket): number;
}

/** The counts that the threads of a server share. */
export interface SharedCounts {
  readonly count: SessionCount;
  /** The counts per address. */
  readonly memory: SharedArrayBuffer;
  /** The counts per user. */
  readonly users: SharedArrayBuffer;
  /** This thread's tickets; the main thread, which cannot fail alone, needs none. */
  readonly ledger?: TicketLedger | undefined;
}

/** The counts of one server. */
export class AddressLimiter implements AddressLimits {
  /** The limits in force; may be replaced at any time. */
  limits: Limits;
  readonly #now: () => number;
  readonly #count: SessionCount;
  readonly #memory: SharedArrayBuffer | undefined;
  readonly #ledger: TicketLedger | undefined;
  #lazyTable: AddressTable | undefined;

  /**
   * @param options `now`: a monotonic time in ms from 0 on, the same on all
   * threads, which may lag by a second; `shared`: the counts, if other threads
   * use them too
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

  /** Created on first use: a server with only exempt clients never needs it. */
  get #table(): AddressTable {
    return this.#lazyTable ??= new AddressTable(this.#memory);
  }

  /** This thread's share of a number that is for all threads. */
  shareOf(total: number): number {
    return total / this.#count.threads;
  }

  /** Admitted sessions of all threads. */
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
    // A transport without an IP address, as a pair in memory, is the program's own.
    if (bytes === undefined) return EXEMPT;
    if (this.limits.exempt.some((one) => one.contains(address))) return EXEMPT;
    if (this.#ledger?.isFull) return "maxConnections";
    const table = this.#table;
    table.lock();
    const entry = this.#enter(keyOf(bytes));
    table.unlock();
    // The table is full: a million addresses have open connections.
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
    this.#leaveEntry(entry);
  }

  #leaveEntry(entry: number): void {
    const table = this.#table;
    table.lock();
    table.add(entry, FIELD.open, -1);
    table.unlock();
  }

  /** Ends all connections of a thread that has ended. */
  leaveAll(ledger: TicketLedger): void {
    for (const entry of ledger.openEntries()) this.#leaveEntry(entry);
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
    else if (isAt(bytesPerMinute, table.bytes(entry))) {
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

  /** See {@linkcode AddressLimits.bytes}. */
  bytes(ticket: Ticket, count: number): LimitBreach | undefined {
    if (ticket < 0) return undefined;
    const { bytesPerMinute, maxSize } = this.limits;
    const table = this.#table;
    const entry = this.#lockEntry(ticket);
    table.addBytes(entry, count);
    const bytes = table.bytes(entry);
    table.unlock();
    // A message that began below the limit may be completed.
    const more = maxSize === 0
      ? bytesPerMinute
      : Math.min(bytesPerMinute, maxSize);
    return isAt(bytesPerMinute, bytes - more) ? "bytesPerMinute" : undefined;
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

  /** Locks the table and returns the entry of a ticket, at the current minute. */
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

/** An address as two numbers. */
interface AddressKey {
  readonly high: number;
  readonly low: number;
}

/** Whether a count has reached its limit; 0 is no limit. */
function isAt(limit: number, count: number): boolean {
  return limit > 0 && count >= limit;
}

/**
 * The address as two numbers: a whole IPv4 address, or the /64 of an IPv6 one. No
 * client has an IPv6 address that begins with the first number of the former.
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
   * @param slots One number for each thread, shared; if not given, one for this
   * thread alone
   * @param own The index of this thread's number
   */
  constructor(slots: Int32Array = new Int32Array(1), own = 0) {
    this.#slots = slots;
    this.#own = own;
  }

  /** Threads that serve clients: the workers, or the main thread if it is alone. */
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
   * Counts a session, unless there are `most` already. After `true`, the caller
   * must call {@linkcode SessionCount.leave} at its end.
   */
  enter(most: number): boolean {
    // Counted first, checked then: two threads cannot both take the last place.
    Atomics.add(this.#slots, this.#own, 1);
    if (this.total <= most) return true;
    this.leave();
    return false;
  }

  /** Ends a session. */
  leave(): void {
    Atomics.sub(this.#slots, this.#own, 1);
  }
}

/** The most tickets of one thread at once. */
const MOST_TICKETS = 262_144;

/** The tickets of one thread. */
export class TicketLedger {
  /** The entry of each ticket, plus one; 0 for a free ticket. May be handed to another thread. */
  readonly slots: Uint32Array;
  readonly #free: Ticket[] = [];
  #used = 0;

  /** @param slots The slots of another thread, or new ones */
  constructor(
    slots: Uint32Array = new Uint32Array(
      new SharedArrayBuffer(4 * MOST_TICKETS),
    ),
  ) {
    this.slots = slots;
  }

  /** Whether all tickets are in use. */
  get isFull(): boolean {
    return this.#free.length === 0 && this.#used === this.slots.length;
  }

  /** Makes a ticket for an entry. */
  issue(entry: number): Ticket {
    const ticket = this.#free.pop() ?? this.#used++;
    this.slots[ticket] = entry + 1;
    return ticket;
  }

  /** The entry of a ticket. */
  entryOf(ticket: Ticket): number {
    return this.slots[ticket]! - 1;
  }

  /** Frees a ticket. */
  close(ticket: Ticket): void {
    this.slots[ticket] = 0;
    this.#free.push(ticket);
  }

  /** The entries of the tickets in use. */
  *openEntries(): Iterable<number> {
    for (const slot of this.slots) if (slot > 0) yield slot - 1;
  }
}
