/**
 * Counts per client address in bounded memory: a hash table of plain numbers in
 * one piece of shared memory. A million addresses cost 44 bytes each and no work
 * for the garbage collector, and all threads of a server count in the same table.
 * It knows no limit; the caller gives the time.
 *
 * A full table evicts an entry for each new address. It never evicts an entry
 * with an open connection; of the next few others it evicts the one with the
 * smallest counts. A client that walks through a million addresses therefore
 * evicts its own entries before that of an address close to a limit.
 *
 * Danger: a thread may be ended in the middle of anything. So every single write
 * leaves a table that can be walked, and no thread waits for ever for the lock.
 */

/** The numbers of an entry, by their index in it. */
export const FIELD = {
  /** Open connections. */
  open: 3,
  /** Start of the current minute, in whole seconds. */
  minute: 4,
  /** Connections in this minute. */
  connections: 5,
  /** Messages in this minute. */
  messages: 6,
  /** Recipients in this minute. */
  recipients: 7,
  /** Recipients refused with 5xx; halved every minute. */
  refused: 8,
} as const;

/** The index of a number in an entry. */
export type Field = typeof FIELD[keyof typeof FIELD];

const KEY_HIGH = 0;
const KEY_LOW = 1;
const NEXT = 2;
/** Numbers of an entry. */
const WIDTH = 9;
const BUCKETS = 1 << 16;
/** How many entries without a connection are compared to find one to evict. */
const CANDIDATES = 16;
/** How long a count lasts, in seconds. */
const MINUTE = 60;

/** The end of a chain. */
const NONE = 0xffffffff;

/** Numbers about the whole table, by their index at its beginning. */
const HEAD = { lock: 0, size: 1, hand: 2, seed: 3, length: 4 } as const;

/** Default number of entries: 2^20. */
const MOST_ADDRESSES = 1_048_576;
/** How long to wait for the lock, in ms. A thread that holds it longer has ended. */
const LOCK_MS = 1000;

/**
 * Memory for an {@linkcode AddressTable}, which any number of threads may use
 * at once. The operating system allocates its pages on the first write.
 *
 * @param most The most entries
 */
export function addressMemory(
  most: number = MOST_ADDRESSES,
): SharedArrayBuffer {
  const numbers = HEAD.length + BUCKETS + most * WIDTH;
  const memory = new SharedArrayBuffer(8 * Math.ceil(numbers / 2) + 8 * most);
  const head = new Uint32Array(memory, 0, HEAD.length + BUCKETS);
  // A random seed: a client cannot foresee which addresses share a chain.
  const [seed] = crypto.getRandomValues(new Uint32Array(1));
  head.fill(NONE, HEAD.length);
  head[HEAD.seed] = seed!;
  return memory;
}

/** Locks memory for this thread until {@linkcode unlockMemory}. */
export function lockMemory(lock: Int32Array): void {
  if (Atomics.compareExchange(lock, 0, 0, 1) === 0) return;
  const until = performance.now() + LOCK_MS;
  // Held for less than a microsecond, unless its thread is interrupted there.
  while (Atomics.compareExchange(lock, 0, 0, 1) !== 0) {
    if (performance.now() > until) return;
    Atomics.wait(lock, 0, 1, 1);
  }
}

/** Unlocks memory. */
export function unlockMemory(lock: Int32Array): void {
  Atomics.store(lock, 0, 0);
}

/** Counts per address. An entry's index is its name; it stays the same while a connection is open. */
export class AddressTable {
  readonly #most: number;
  readonly #lock: Int32Array;
  readonly #head: Uint32Array;
  readonly #buckets: Uint32Array;
  readonly #entries: Uint32Array;
  readonly #bytes: Float64Array;
  readonly #seed: number;

  /** @param memory Memory of {@linkcode addressMemory}, shared with other threads or not */
  constructor(memory: SharedArrayBuffer = addressMemory()) {
    const fixed = 4 * (HEAD.length + BUCKETS);
    // An odd number of entries ends in the middle of a byte count.
    this.#most = Math.floor((memory.byteLength - fixed) / (WIDTH * 4 + 8));
    this.#lock = new Int32Array(memory, 0, 1);
    this.#head = new Uint32Array(memory, 0, HEAD.length);
    this.#buckets = new Uint32Array(memory, 4 * HEAD.length, BUCKETS);
    this.#entries = new Uint32Array(memory, fixed, this.#most * WIDTH);
    this.#bytes = new Float64Array(
      memory,
      memory.byteLength - 8 * this.#most,
      this.#most,
    );
    this.#seed = this.#head[HEAD.seed]!;
  }

  /** Entries in use. */
  get size(): number {
    return this.#head[HEAD.size]!;
  }

  /** The size of the memory, in bytes. */
  get byteLength(): number {
    return this.#bytes.buffer.byteLength;
  }

  /** Locks the table for this thread until {@linkcode AddressTable.unlock}. */
  lock(): void {
    lockMemory(this.#lock);
  }

  /** Unlocks the table. */
  unlock(): void {
    unlockMemory(this.#lock);
  }

  /**
   * Finds or makes the entry of an address and returns its index. The counts of
   * the entry are those of the minute of `second`. Returns `undefined` if the
   * table is full and every entry has open connections.
   *
   * @param key The address in two numbers of 32 bits
   * @param second The time, in whole seconds from any start
   */
  take(
    key: { readonly high: number; readonly low: number },
    second: number,
  ): number | undefined {
    const { high, low } = key;
    const bucket = this.#bucketOf(high, low);
    for (
      let at = this.#buckets[bucket]!;
      at !== NONE;
      at = this.get(at, NEXT)
    ) {
      if (this.get(at, KEY_LOW) === low && this.get(at, KEY_HIGH) === high) {
        this.turn(at, second);
        return at;
      }
    }
    const at = this.#room(second);
    if (at === undefined) return undefined;
    const start = at * WIDTH;
    this.#entries.fill(0, start, start + WIDTH);
    this.#entries[start + KEY_HIGH] = high;
    this.#entries[start + KEY_LOW] = low;
    this.#entries[start + NEXT] = this.#buckets[bucket]!;
    this.#entries[start + FIELD.minute] = second;
    this.#bytes[at] = 0;
    this.#buckets[bucket] = at;
    return at;
  }

  /** Starts a new minute of an entry if the current one is over. */
  turn(at: number, second: number): void {
    const entries = this.#entries;
    const start = at * WIDTH;
    const passed = second - entries[start + FIELD.minute]!;
    if (passed < MINUTE) return;
    entries[start + FIELD.minute] = second;
    entries[start + FIELD.connections] = 0;
    entries[start + FIELD.messages] = 0;
    entries[start + FIELD.recipients] = 0;
    entries[start + FIELD.refused]! >>>= Math.min(
      31,
      Math.floor(passed / MINUTE),
    );
    this.#bytes[at] = 0;
  }

  /** A number of an entry. */
  get(
    at: number,
    field: Field | typeof KEY_HIGH | typeof KEY_LOW | typeof NEXT,
  ): number {
    return this.#entries[at * WIDTH + field]!;
  }

  /** Adds to a number of an entry and returns the sum. */
  add(at: number, field: Field, count: number): number {
    return this.#entries[at * WIDTH + field]! += count;
  }

  /** Bytes of an entry in this minute. */
  bytes(at: number): number {
    return this.#bytes[at]!;
  }

  /** Adds to the bytes of an entry. */
  addBytes(at: number, count: number): void {
    this.#bytes[at]! += count;
  }

  #bucketOf(high: number, low: number): number {
    let hash = Math.imul(high ^ this.#seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ low, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13) ^ this.#seed, 0x27d4eb2f);
    return (hash ^ (hash >>> 16)) & (BUCKETS - 1);
  }

  /** The index for a new entry. */
  #room(second: number): number | undefined {
    const { size } = this;
    if (size < this.#most) return this.#head[HEAD.size]!++;
    const least = this.#least(second);
    if (least !== undefined) this.#unlink(least);
    return least;
  }

  /** The entry to evict; `undefined` if all have open connections. */
  #least(second: number): number | undefined {
    const { size } = this;
    let least: number | undefined;
    let smallest = Infinity;
    let seen = 0;
    for (let step = 0; step < size; step++) {
      const at = this.#head[HEAD.hand]!;
      this.#head[HEAD.hand] = at + 1 === size ? 0 : at + 1;
      if (this.get(at, FIELD.open) > 0) continue;
      const worth = this.#worth(at, second);
      if (worth < smallest) [least, smallest] = [at, worth];
      if (smallest === 0 || ++seen === CANDIDATES) break;
    }
    return least;
  }

  /** How much is lost with an entry: the sum of its counts. */
  #worth(at: number, second: number): number {
    const refused = this.get(at, FIELD.refused);
    const age = second - this.get(at, FIELD.minute);
    if (age >= MINUTE) {
      return refused >>> Math.min(31, Math.floor(age / MINUTE));
    }
    return this.get(at, FIELD.connections) + this.get(at, FIELD.messages) +
      this.get(at, FIELD.recipients) + refused + this.bytes(at) / 1_000_000;
  }

  #unlink(gone: number): void {
    const bucket = this.#bucketOf(
      this.get(gone, KEY_HIGH),
      this.get(gone, KEY_LOW),
    );
    const next = this.get(gone, NEXT);
    let at = this.#buckets[bucket]!;
    if (at === gone) {
      this.#buckets[bucket] = next;
      return;
    }
    while (at !== NONE && this.get(at, NEXT) !== gone) at = this.get(at, NEXT);
    if (at !== NONE) this.#entries[at * WIDTH + NEXT] = next;
  }
}
