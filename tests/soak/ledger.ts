/**
 * The balance of messages: those that the server acknowledged, and those that have
 * arrived. A message in both lists is removed, so that an hour's load fits into
 * memory.
 */

interface Entry {
  acknowledged: boolean;
  seen: number;
}

/** The account of a run. */
export class Ledger {
  readonly #open = new Map<string, Entry>();
  /** Messages that were acknowledged. */
  acknowledged = 0;
  /** Acknowledged messages that have arrived. */
  settled = 0;
  /** Messages that arrived more than once, or without an acknowledgement. */
  extra = 0;

  /** Records that the server has replied 250. */
  acknowledge(id: string): void {
    this.acknowledged++;
    const entry = this.#entry(id);
    entry.acknowledged = true;
    this.#settle(id, entry);
  }

  /** Records that a message has arrived. */
  see(id: string): void {
    const entry = this.#entry(id);
    entry.seen++;
    this.#settle(id, entry);
  }

  /** Removes a message whose sender got no reply: it may arrive or not. */
  abandon(id: string): void {
    const entry = this.#open.get(id);
    if (entry !== undefined && entry.seen > 0) this.extra++;
    this.#open.delete(id);
  }

  /** Acknowledged messages that have not arrived. */
  get owed(): readonly string[] {
    return [...this.#open].filter(([, entry]) =>
      entry.acknowledged && entry.seen === 0
    )
      .map(([id]) => id);
  }

  /** Counts the messages that arrived without being due, and removes them. */
  sweep(): void {
    for (const [id, entry] of this.#open) {
      if (entry.acknowledged || entry.seen === 0) continue;
      this.extra += entry.seen;
      this.#open.delete(id);
    }
  }

  #entry(id: string): Entry {
    let entry = this.#open.get(id);
    if (entry === undefined) {
      this.#open.set(id, entry = { acknowledged: false, seen: 0 });
    }
    return entry;
  }

  #settle(id: string, entry: Entry): void {
    if (!entry.acknowledged || entry.seen === 0) return;
    this.#open.delete(id);
    this.settled++;
    this.extra += entry.seen - 1;
  }
}
