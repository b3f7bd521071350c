/**
 * Long computation in small pieces: all of it together gets a share of each
 * turn of the event loop, and sessions get the rest. It stands alone because
 * the share is one for the whole process, whatever computes.
 */

import { setImmediate } from "node:timers";

/** Milliseconds of each turn for all pieces together. */
const SHARE_MS = 5;

/** The share of a turn. */
class LoopShare {
  #spentMs = 0;
  #isTurning = false;
  readonly #waiting: (() => void)[] = [];

  /**
   * Does a piece of work: at once where the turn has time left, else in a later
   * turn, first come first served. A piece should take a millisecond or two.
   */
  async run<T>(work: () => T): Promise<T> {
    if (this.#waiting.length > 0 || this.#spentMs >= SHARE_MS) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    const start = performance.now();
    try {
      return work();
    } finally {
      this.#spentMs += performance.now() - start;
      // What is left of the share is the next one's.
      if (this.#spentMs < SHARE_MS) this.#waiting.shift()?.();
      this.#turn();
    }
  }

  #turn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isTurning = false;
    this.#spentMs = 0;
    // One, which lets the next one go if it leaves any of the share.
    const next = this.#waiting.shift();
    if (next === undefined) return;
    next();
    if (this.#waiting.length > 0) this.#turn();
  }
}

/** The share of this thread's event loop. */
export const loopShare: Pick<LoopShare, "run"> = new LoopShare();
