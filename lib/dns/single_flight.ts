/**
 * Two parts of waiting for shared work. {@linkcode SingleFlight} runs equal work
 * once: a caller waits for the result of equal work under way.
 * {@linkcode Deadline} limits the wait of one caller. Knows nothing of DNS.
 *
 * Never lets one caller's time limit spoil the result of another: the work is
 * aborted only when the last waiting caller has left. Never leaves a timer or a
 * listener behind.
 */

/** The longest delay of a timer, in milliseconds. */
export const MAX_TIMEOUT_MS: number = 2 ** 31 - 1;

/** Work under way, and the callers that wait for it. */
interface Running<V> {
  readonly result: Promise<V>;
  readonly controller: AbortController;
  waiting: number;
}

/** Options of {@linkcode SingleFlight.run}. */
export interface Work<V> {
  /** Starts the work; called if no equal work is under way. Its signal fires when no caller waits any more. */
  readonly start: (signal: AbortSignal) => Promise<V>;
  /** Ends this caller's wait; the promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Work under way, by key. */
export class SingleFlight<V> {
  readonly #running = new Map<string, Running<V>>();

  /** The number of keys with work under way. */
  get size(): number {
    return this.#running.size;
  }

  /**
   * Waits for the work of a key, and starts it if none is under way.
   *
   * @throws The signal's reason, or the work's error
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

  /** Removes finished work, unless later work uses its key already. */
  #remove(key: string, running: Running<V>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}

/** Follows a promise until the signal fires, then removes its listener. */
function abortable<V>(work: Promise<V>, signal: AbortSignal): Promise<V> {
  const { promise, resolve, reject } = Promise.withResolvers<V>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  work.then(resolve, reject);
  return promise.finally(() => signal.removeEventListener("abort", abort));
}

/**
 * A signal that fires at a time limit or with an outer signal. Unlike
 * `AbortSignal.timeout()` it can be cancelled: dispose of it when the work is
 * done, and no timer keeps running.
 */
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

  /** Fires at the time limit or with the outer signal, whichever is first. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the time limit made the signal fire. */
  get expired(): boolean {
    return this.#expired;
  }

  /** Stops the timer and stops following the outer signal. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#forward);
  }
}
