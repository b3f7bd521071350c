/**
 * Equal work under way is done once: who asks for what is already being asked
 * waits for the same answer.
 *
 * Never lets one caller's impatience spoil another's answer: the work is given
 * up only when the last who waits has gone.
 *
 * A signal that fires when time is up or when another signal does. Unlike
 * `AbortSignal.timeout()` it can be taken back, so that no timer keeps running
 * after the answer came.
 */

interface Flight<V> {
  readonly result: Promise<V>;
  readonly controller: AbortController;
  waiting: number;
}

/** What {@linkcode Flights.join} does for its caller. */
export interface Errand<V> {
  /** Starts the work, unless equal work is under way. Its signal fires when nobody waits any more. */
  readonly start: (signal: AbortSignal) => Promise<V>;
  /** Ends this caller's wait; its promise then rejects with the signal's reason. */
  readonly signal: AbortSignal;
}

/** Work under way, by key. */
export class Flights<V> {
  readonly #flights = new Map<string, Flight<V>>();

  /** How many different pieces of work are under way. */
  get size(): number {
    return this.#flights.size;
  }

  /**
   * Waits for the work of that key, and starts it if nobody has.
   *
   * @throws The signal's reason, or what the work threw
   */
  async join(key: string, errand: Errand<V>): Promise<V> {
    errand.signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#depart(key, errand);
    flight.waiting++;
    try {
      return await abortable(flight.result, errand.signal);
    } finally {
      if (--flight.waiting === 0) {
        this.#land(key, flight);
        flight.controller.abort();
      }
    }
  }

  #depart(key: string, errand: Errand<V>): Flight<V> {
    const controller = new AbortController();
    const result = errand.start(controller.signal);
    const flight: Flight<V> = { result, controller, waiting: 0 };
    this.#flights.set(key, flight);
    const land = () => this.#land(key, flight);
    result.then(land, land);
    return flight;
  }

  /** Takes a flight off the list, unless a later one has the key already. */
  #land(key: string, flight: Flight<V>): void {
    if (this.#flights.get(key) === flight) this.#flights.delete(key);
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
