/**
 * Equal work at the same time is done once: a caller that asks for what is
 * already being asked waits for the same answer.
 *
 * Never lets the impatience of one caller spoil the answer of another: the work
 * is given up only when the last caller that waits has gone. Stands alone
 * because it knows nothing of DNS.
 *
 * A signal that fires when time is up or when another signal does. Unlike
 * `AbortSignal.timeout()` it can be taken back, so that no timer keeps running
 * after the answer came.
 */

/** Work under way, and the callers that wait for it. */
interface Running<V> {
  readonly result: Promise<V>;
  readonly controller: AbortController;
  waiting: number;
}

/** What {@linkcode SingleFlight.run} does for its caller. */
export interface Work<V> {
  /** Starts the work, unless equal work is under way. Its signal fires when no caller waits any more. */
  readonly start: (signal: AbortSignal) => Promise<V>;
  /** Ends this caller's wait; its promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Work under way, by key. */
export class SingleFlight<V> {
  readonly #running = new Map<string, Running<V>>();

  /** How many different pieces of work are under way. */
  get size(): number {
    return this.#running.size;
  }

  /**
   * Waits for the work of that key, and starts it if none is under way.
   *
   * @throws The signal's reason, or what the work threw
   */
  async run(key: string, work: Work<V>): Promise<V> {
    work.signal.throwIfAborted();
    const running = this.#running.get(key) ?? this.#start(key, work);
    running.waiting++;
    try {
      return await abortable(running.result, work.signal);
    } finally {
      if (--running.waiting === 0) {
        this.#remove(key, running);
        running.controller.abort();
      }
    }
  }

  #start(key: string, work: Work<V>): Running<V> {
    const controller = new AbortController();
    const result = work.start(controller.signal);
    const running: Running<V> = { result, controller, waiting: 0 };
    this.#running.set(key, running);
    const remove = () => this.#remove(key, running);
    result.then(remove, remove);
    return running;
  }

  /** Takes work off the list, unless later work has the key already. */
  #remove(key: string, running: Running<V>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}

/** Follows a promise until the signal fires, and leaves no listener behind. */
function abortable<V>(work: Promise<V>, signal: AbortSignal): Promise<V> {
  const { promise, resolve, reject } = Promise.withResolvers<V>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  work.then(resolve, reject);
  return promise.finally(() => signal.removeEventListener("abort", abort));
}

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
