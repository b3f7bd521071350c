/**
 * What is to happen when, soonest first: a binary heap, so that 100,000
 * waiting deliveries need one timer and a few comparisons each.
 *
 * Nothing is taken out of the middle by itself. Whoever changes its mind puts in
 * a second entry and recognizes the stale one by its time; from time to time
 * all stale ones go at once.
 */

/** One entry: something, and when. */
export interface Wake<T> {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** What is to be woken. */
  readonly item: T;
}

/** Entries in order of time. */
export class WakeHeap<T> {
  readonly #heap: Wake<T>[] = [];

  /** How many entries there are, stale ones included. */
  get length(): number {
    return this.#heap.length;
  }

  /** The time of the soonest entry; `Infinity` when there is none. */
  get next(): number {
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Puts in an entry. */
  push(item: T, at: number): void {
    const heap = this.#heap;
    const wake = { at, item };
    let hole = heap.length;
    heap.push(wake);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (heap[parent]!.at <= at) break;
      heap[hole] = heap[parent]!;
      hole = parent;
    }
    heap[hole] = wake;
  }

  /** Takes the soonest entry if its time has come; `undefined` otherwise. */
  take(now: number): Wake<T> | undefined {
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) this.#sink(last);
    return first;
  }

  /** Throws out the entries that nobody waits for any more, and what they hold. */
  prune(isWanted: (wake: Wake<T>) => boolean): void {
    const wanted = this.#heap.filter(isWanted);
    this.#heap.length = 0;
    for (const { item, at } of wanted) this.push(item, at);
  }

  /** Lets `wake` sink from the top to its place. */
  #sink(wake: Wake<T>): void {
    const heap = this.#heap;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && right.at < heap[child]!.at) child++;
      if (heap[child]!.at >= wake.at) break;
      heap[hole] = heap[child]!;
      hole = child;
    }
    heap[hole] = wake;
  }
}
