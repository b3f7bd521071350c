/**
 * Which addresses one thread has open connections from, in memory that outlives
 * the thread: when it ends by a fault, they can be counted out for it.
 */

import type { Ticket } from "./limits.ts";

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
