/**
 * Lets a number of callers work at a time; the others wait in the order in which
 * they came. Stands alone: it knows nothing of the work.
 *
 * Never loses a slot: one that is handed to a caller that has just stopped waiting
 * is given back by that caller.
 */

/** Places for work. */
export class Slots {
  #free: number;
  /** The callers that wait, each as what lets it go on. */
  readonly #line = new Set<() => void>();

  /** @param count The number of callers at a time */
  constructor(count: number) {
    this.#free = count;
  }

  /**
   * Waits for a slot; dispose of it when the work is done.
   *
   * @throws The signal's reason if the signal fires first
   */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal);
    return { [Symbol.dispose]: () => this.#pass() };
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = () => {
      if (this.#line.delete(resolve)) reject(signal.reason);
    };
    this.#line.add(resolve);
    signal.addEventListener("abort", leave, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  /** Hands a slot to the next caller, or keeps it. */
  #pass(): void {
    const [next] = this.#line;
    if (next === undefined) this.#free++;
    else {
      this.#line.delete(next);
      next();
    }
  }
}
