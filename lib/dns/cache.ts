/**
 * A memory of outcomes: bounded in number, each entry for a limited time, the
 * one not asked for the longest thrown out first.
 *
 * Never runs a timer: an entry past its time is dropped when it is met. Stands
 * alone because it knows nothing of DNS and has no clock.
 */

interface Entry<V> {
  readonly value: V;
  /** When it stops being good, in the milliseconds of the caller's clock. */
  readonly until: number;
}

/** A bounded memory with a time limit for each entry. The caller brings the clock. */
export class ExpiringCache<V> {
  readonly #capacity: number;
  readonly #entries = new Map<string, Entry<V>>();

  /**
   * Makes an empty memory.
   *
   * @param capacity The most entries held; 0 holds none
   */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** How many entries are held, those past their time included. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * The value under a key, if there is one that is still good.
   *
   * @param now The present time in milliseconds
   */
  get(key: string, now: number): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.until <= now) return undefined;
    // A Map keeps the order of insertion: putting the entry back makes it the youngest.
    this.#entries.set(key, entry);
    return entry.value;
  }

  /**
   * Remembers a value.
   *
   * @param entry The value and when, in milliseconds, it stops being good
   */
  set(key: string, entry: { readonly value: V; readonly until: number }): void {
    if (this.#capacity === 0) return;
    this.#entries.delete(key);
    if (this.#entries.size >= this.#capacity) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    this.#entries.set(key, entry);
  }
}
