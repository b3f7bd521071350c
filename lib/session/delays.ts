/**
 * Delays that slow down guessing of passwords and recipients. A stop of the
 * server ends them: otherwise each would hold it up.
 */

/** The delays of one server. */
export class Delays {
  readonly #waiting = new Set<() => void>();
  #closed = false;

  /** Resolves after `ms`, or when the delays are ended. */
  wait(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = () => {
      clearTimeout(timer);
      this.#waiting.delete(end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    this.#waiting.add(end);
    return promise;
  }

  /** Ends all current delays. */
  release(): void {
    for (const end of this.#waiting) end();
  }

  /** Ends all current and later delays: a pipelining client may cause more of them. */
  close(): void {
    this.#closed = true;
    this.release();
  }
}
