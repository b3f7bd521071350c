/**
 * How many sessions a server has at once, over all its threads. One number a
 * thread, in memory that all of them see: counting costs no message.
 */

/** Counts sessions against a limit that threads share. */
export class SessionCount {
  readonly #slots: Int32Array;
  readonly #own: number;

  /**
   * Counts for one thread.
   *
   * @param slots A number for each thread, shared; one for this thread alone when not given
   * @param own Which of them is this thread's
   */
  constructor(slots: Int32Array = new Int32Array(1), own = 0) {
    this.#slots = slots;
    this.#own = own;
  }

  /** Threads that serve clients: the main one does only where it is alone. */
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
   * Counts one more session, unless there are `most` already. After `true`,
   * {@linkcode SessionCount.leave} must follow.
   */
  enter(most: number): boolean {
    // Counted first, then looked at: two threads cannot both take the last place.
    Atomics.add(this.#slots, this.#own, 1);
    if (this.total <= most) return true;
    this.leave();
    return false;
  }

  /** A session has ended. */
  leave(): void {
    Atomics.sub(this.#slots, this.#own, 1);
  }
}
