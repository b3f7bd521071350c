/**
 * A signal that fires when time is up or when another signal does. Unlike
 * `AbortSignal.timeout()` it can be taken back, so that no timer keeps running
 * after the answer came.
 */

/** The longest time a timer can be set for, in milliseconds. */
export const MAX_TIMEOUT_MS: number = 2 ** 31 - 1;

/** A time limit and an outer signal in one. Dispose of it when the work is done. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #forward = () => this.#controller.abort(this.#outer?.reason);
  #expired = false;

  /**
   * Starts the timer.
   *
   * @param timeoutMs The time limit in milliseconds
   * @param outer The signal to follow as well
   */
  constructor(timeoutMs: number, outer?: AbortSignal) {
    this.#outer = outer;
    this.#timer = setTimeout(() => {
      this.#expired = !this.signal.aborted;
      this.#controller.abort(new DOMException("Time is up", "TimeoutError"));
    }, timeoutMs);
    if (outer?.aborted) this.#forward();
    outer?.addEventListener("abort", this.#forward, { once: true });
  }

  /** Fires when time is up or the outer signal fires, whichever is first. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether it was the time limit that made the signal fire. */
  get expired(): boolean {
    return this.#expired;
  }

  /** Stops the timer and lets go of the outer signal. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#forward);
  }
}
