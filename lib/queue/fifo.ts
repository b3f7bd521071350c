/**
 * First in, first out, in constant time: an array's own `shift` moves every
 * element, which a queue of 100,000 cannot afford.
 */

/** A list that takes at the end and gives at the front. */
export class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  /** How many are in it. */
  get length(): number {
    return this.#items.length - this.#head;
  }

  /** Puts `item` at the end. */
  push(item: T): void {
    this.#items.push(item);
  }

  /** Takes the first one; `undefined` when there is none. */
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined as T;
    if (this.#head > 32 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
