/**
 * A map that never grows past its bound: what has been quiet longest is
 * forgotten for what is new. For counts that a client could otherwise fill the
 * memory with.
 */

/**
 * After so many changes the place of the oldest entry is looked for anew. The
 * platform keeps all that a map was since its iterator was made.
 */
const CHANGES = 1024;

/** A map of the entries that were set last. */
export class BoundedMap<T> {
  readonly #bound: number;
  readonly #entries = new Map<string, T>();
  /**
   * Stands before the oldest entry, and is kept: a new one would have to step
   * over the place of each that is gone, on every call.
   */
  #oldest: MapIterator<string> = this.#entries.keys();
  #changes = 0;

  /** @param bound The most entries that are kept, at least 1 */
  constructor(bound: number) {
    this.#bound = bound;
  }

  /** How many entries there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** The value of a key, `undefined` where it has none or was forgotten. */
  get(key: string): T | undefined {
    return this.#entries.get(key);
  }

  /** Whether a key has a value. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Sets a value, and puts the key last among those to be forgotten. */
  set(key: string, value: T): void {
    if (++this.#changes >= CHANGES) {
      this.#changes = 0;
      this.#oldest = this.#entries.keys();
    }
    this.#entries.delete(key);
    if (this.#entries.size >= this.#bound) this.#forget();
    this.#entries.set(key, value);
  }

  /** Takes a key out. */
  delete(key: string): void {
    this.#entries.delete(key);
  }

  #forget(): void {
    let { value, done } = this.#oldest.next();
    if (done) {
      // It was at the end when the map was empty, and stays there.
      this.#oldest = this.#entries.keys();
      ({ value, done } = this.#oldest.next());
    }
    if (!done) this.#entries.delete(value!);
  }
}
