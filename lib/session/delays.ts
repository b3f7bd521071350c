/**
 * Waits that make guessing slow, and that a server which stops can end: without
 * that, each would hold up the stop.
 */

/** The waits of one server. */
export class Delays {
  readonly #waiting = new Set<() => void>();

  /** Resolves after `ms`, or when {@linkcode Delays.release} is called. */
  wait(ms: number): Promise<void> {
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
}
