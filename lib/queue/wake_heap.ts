/**
 * A schedule of wakes, soonest first: a binary heap, so that 100,000 waiting
 * deliveries need one timer and a few comparisons each.
 *
 * To move an entry, cancel it and push another. Danger:
 * a cancelled entry may be due in days only. It holds on to nothing from then
 * on, and is swept out when the heap has doubled.
 */

/** A smaller heap is never swept. */
const MIN_SWEPT = 1024;

/** One entry: an item and its time. */
export interface Wake<T> {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The item to wake; `undefined` once the entry is cancelled. */
  readonly item: T | undefined;
}

interface Entry<T> extends Wake<T> {
  item: T | undefined;
}

/** Entries in order of time. */
export class WakeHeap<T> {
  #heap: Entry<T>[] = [];
  #sweepAt = MIN_SWEPT;

  /** Number of entries, cancelled ones included. */
  get length(): number {
    return this.#heap.length;
  }

  /** Time of the soonest entry, which may be cancelled; `Infinity` if the heap is empty. */
  get next(): number {
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Adds an entry. */
  push(item: T, at: number): Wake<T> {
    if (this.#heap.length >= this.#sweepAt) this.#sweep();
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
    return wake;
  }

  /** Takes the item of the soonest entry if it is due; `undefined` otherwise. */
  take(now: number): T | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.at > now) return undefined;
      const last = this.#heap.pop()!;
      if (this.#heap.length > 0) this.#sink(last, 0);
      if (first.item !== undefined) return first.item;
    }
  }

  /** Removes the cancelled entries. */
  #sweep(): void {
    this.#heap = this.#heap.filter(({ item }) => item !== undefined);
    for (let at = (this.#heap.length >> 1) - 1; at >= 0; at--) {
      this.#sink(this.#heap[at]!, at);
    }
    this.#sweepAt = Math.max(MIN_SWEPT, 2 * this.#heap.length);
  }

  /** Moves `wake` down from index `from` to its place. */
  #sink(wake: Entry<T>, from: number): void {
    const heap = this.#heap;
    let hole = from;
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

/** Cancels an entry and drops its item. */
export function cancelWake<T>(wake: Wake<T> | undefined): void {
  if (wake !== undefined) (wake as Entry<T>).item = undefined;
}
