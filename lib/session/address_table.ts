/**
 * Counts per client address in bounded memory: a hash table of plain numbers in
 * one piece, so that a million addresses cost 44 bytes each, nothing for the
 * garbage collector, and all threads of a server can count in it. It knows no
 * limit and no clock.
 *
 * When it is full, the entry that tells least makes room: never one with an open
 * connection, else the one with the smallest counts among the next few. Who
 * walks through a million addresses pushes out his own traces before those of
 * an address that has counted up to a limit.
 *
 * Danger: a thread may be ended in the middle of anything. So every single write
 * leaves a table that can be walked, and nobody waits for ever for the lock.
 */

/** The numbers of an entry, by their place in it. */
export const FIELD = {
  /** Connections that are open. */
  open: 3,
  /** When the minute that is being counted began, in whole seconds. */
  minute: 4,
  /** Connections in this minute. */
  connections: 5,
  /** Messages in this minute. */
  messages: 6,
  /** Recipients in this minute. */
  recipients: 7,
  /** Recipients refused for good: halved with every minute. */
  refused: 8,
} as const;

/** A number of an entry. */
export type Field = typeof FIELD[keyof typeof FIELD];

const KEY_HIGH = 0;
const KEY_LOW = 1;
const NEXT = 2;
/** Numbers of an entry. */
const WIDTH = 9;
const BUCKETS = 1 << 16;
/** Entries among which the one that tells least is looked for. */
const CANDIDATES = 16;
/** How long counts are counts, in seconds. */
const MINUTE = 60;

/** A place in a chain that leads on to nothing. */
const NONE = 0xffffffff;

/** Numbers about the table, by their place at its beginning. */
const HEAD = { lock: 0, size: 1, hand: 2, seed: 3, length: 4 } as const;

/** Entries unless told otherwise: 2^20. */
export const MOST_ADDRESSES = 1_048_576;
/** How long to wait for the lock, in ms: whoever has it so long has ended. */
const LOCK_MS = 1000;

/**
 * Memory for an {@linkcode AddressTable}, which any number of threads may use
 * at once. The system gives it out as it is written to.
 *
 * @param most Entries that are kept
 */
export function addressMemory(
  most: number = MOST_ADDRESSES,
): SharedArrayBuffer {
  const numbers = HEAD.length + BUCKETS + most * WIDTH;
  const memory = new SharedArrayBuffer(8 * Math.ceil(numbers / 2) + 8 * most);
  const head = new Uint32Array(memory, 0, HEAD.length + BUCKETS);
  // Where nobody can foresee which addresses share a chain.
  const [seed] = crypto.getRandomValues(new Uint32Array(1));
  head.fill(NONE, HEAD.length);
  head[HEAD.seed] = seed!;
  return memory;
}

/** Counts per address. An entry is named by its place, which it keeps while a connection is open. */
export class AddressTable {
  readonly #most: number;
  readonly #lock: Int32Array;
  readonly #head: Uint32Array;
  readonly #buckets: Uint32Array;
  readonly #entries: Uint32Array;
  readonly #octets: Float64Array;
  readonly #seed: number;

  /** @param memory That of another thread, or some of its own */
  constructor(memory: SharedArrayBuffer = addressMemory()) {
    const fixed = 4 * (HEAD.length + BUCKETS);
    // An odd number of entries ends in the middle of a byte count.
    this.#most = Math.floor((memory.byteLength - fixed) / (WIDTH * 4 + 8));
    this.#lock = new Int32Array(memory, 0, 1);
    this.#head = new Uint32Array(memory, 0, HEAD.length);
    this.#buckets = new Uint32Array(memory, 4 * HEAD.length, BUCKETS);
    this.#entries = new Uint32Array(memory, fixed, this.#most * WIDTH);
    this.#octets = new Float64Array(
      memory,
      memory.byteLength - 8 * this.#most,
      this.#most,
    );
    this.#seed = this.#head[HEAD.seed]!;
  }

  /** How many entries there are. */
  get size(): number {
    return this.#head[HEAD.size]!;
  }

  /** The memory that the table takes when it is full, in bytes. */
  get bytes(): number {
    return this.#octets.buffer.byteLength;
  }

  /** Keeps other threads out until {@linkcode AddressTable.unlock}. */
  lock(): void {
    if (Atomics.compareExchange(this.#lock, 0, 0, 1) === 0) return;
    const until = performance.now() + LOCK_MS;
    // Held for less than a microsecond, unless its thread is interrupted there.
    while (Atomics.compareExchange(this.#lock, 0, 0, 1) !== 0) {
      if (performance.now() > until) return;
      Atomics.wait(this.#lock, 0, 1, 1);
    }
  }

  /** Lets other threads in. */
  unlock(): void {
    Atomics.store(this.#lock, 0, 0);
  }

  /**
   * The place of an address's entry, made if there is none; its counts are
   * those of the minute that `second` lies in. `undefined` where there is no
   * room, because every entry has open connections.
   *
   * @param key The address in two numbers of 32 bits
   * @param second The time, in whole seconds from any beginning
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
    this.#octets[at] = 0;
    this.#buckets[bucket] = at;
    return at;
  }

  /** Begins a new minute of an entry, if the one that is counted is over. */
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
    this.#octets[at] = 0;
  }

  /** A number of an entry. */
  get(
    at: number,
    field: Field | typeof KEY_HIGH | typeof KEY_LOW | typeof NEXT,
  ): number {
    return this.#entries[at * WIDTH + field]!;
  }

  /** Adds to a number of an entry; returns what it is then. */
  add(at: number, field: Field, count: number): number {
    return this.#entries[at * WIDTH + field]! += count;
  }

  /** Bytes of an entry in this minute. */
  octets(at: number): number {
    return this.#octets[at]!;
  }

  /** Adds to the bytes of an entry. */
  addOctets(at: number, count: number): void {
    this.#octets[at]! += count;
  }

  #bucketOf(high: number, low: number): number {
    let hash = Math.imul(high ^ this.#seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ low, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13) ^ this.#seed, 0x27d4eb2f);
    return (hash ^ (hash >>> 16)) & (BUCKETS - 1);
  }

  /** A place for a new entry. */
  #room(second: number): number | undefined {
    const { size } = this;
    if (size < this.#most) return this.#head[HEAD.size]!++;
    const least = this.#least(second);
    if (least !== undefined) this.#unlink(least);
    return least;
  }

  /** The entry that tells least of the next few; `undefined` where all have open connections. */
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

  /** How much would be forgotten with an entry. */
  #worth(at: number, second: number): number {
    const refused = this.get(at, FIELD.refused);
    const age = second - this.get(at, FIELD.minute);
    if (age >= MINUTE) {
      return refused >>> Math.min(31, Math.floor(age / MINUTE));
    }
    return this.get(at, FIELD.connections) + this.get(at, FIELD.messages) +
      this.get(at, FIELD.recipients) + refused + this.octets(at) / 1_000_000;
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
