/**
 * Who owes what: the messages that were acknowledged, and those that have
 * arrived. What is in both is settled and forgotten, so that an hour's load
 * fits into memory.
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
  /** Messages that arrived more than once, or that nobody was told of. */
  extra = 0;

  /** Notes that the server has said 250. */
  acknowledge(id: string): void {
    this.acknowledged++;
    const entry = this.#entry(id);
    entry.acknowledged = true;
    this.#settle(id, entry);
  }

  /** Notes that a message has arrived. */
  see(id: string): void {
    const entry = this.#entry(id);
    entry.seen++;
    this.#settle(id, entry);
  }

  /** Forgets a message whose sender was not told anything: it may arrive or not. */
  abandon(id: string): void {
    const entry = this.#open.get(id);
    if (entry !== undefined && entry.seen > 0) this.extra++;
    this.#open.delete(id);
  }

  /** Acknowledged messages that have not arrived. */
  get owed(): readonly string[] {
    return [...this.#open].filter(([, it]) => it.acknowledged && it.seen === 0)
      .map(([id]) => id);
  }

  /** Counts what came without being owed, and forgets it. */
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
