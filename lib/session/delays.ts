/**
 * Waits that make guessing slow, and that a server which stops can end: without
 * that, each would hold up the stop.
 */

/** The waits of one server. */
export class Delays {
  readonly #waiting = new Set<() => void>();

  #closed = false;

  /** Resolves after `ms`, or when it is ended from outside. */
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

  /** Ends all waits. */
  release(): void {
    for (const end of this.#waiting) end();
  }

  /** Ends all waits, and those to come: a client may have sent more than it has been told of. */
  close(): void {
    this.#closed = true;
    this.release();
  }
}
