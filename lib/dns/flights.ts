/**
 * Equal work under way is done once: who asks for what is already being asked
 * waits for the same answer.
 *
 * Never lets one caller's impatience spoil another's answer: the work is given
 * up only when the last who waits has gone.
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
