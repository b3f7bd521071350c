/**
 * Counts per client address in bounded memory: a hash table of plain numbers,
 * so that a million addresses cost 48 octets each and nothing for the garbage
 * collector. It knows no limit and no clock.
 *
 * When it is full, the entry that tells least makes room: never one with an open
 * connection, else the one with the smallest counts among the next few. Who
 * walks through a million addresses pushes out his own traces before those of
 * an address that has counted up to a limit.
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
/** Entries are made room for by the page: what is not used costs nothing. */
const PAGE_BITS = 10;
const PAGE_MASK = (1 << PAGE_BITS) - 1;
const BUCKET_BITS = 16;
/** Entries among which the one that tells least is looked for. */
const CANDIDATES = 16;
/** How long counts are counts, in seconds. */
const MINUTE = 60;

/** A place in a chain that leads on to nothing. */
const NONE = 0xffffffff;

/** Entries of {@linkcode AddressTable} unless told otherwise: 2^20. */
export const MOST_ADDRESSES = 1_048_576;

/** Counts per address. An entry is named by its place, which it keeps while a connection is open. */
export class AddressTable {
  readonly #most: number;
  /** Where nobody can foresee which addresses share a chain. */
  readonly #seed: number = crypto.getRandomValues(new Uint32Array(1))[0]!;
  readonly #buckets: Uint32Array = new Uint32Array(1 << BUCKET_BITS).fill(NONE);
  readonly #pages: Uint32Array[] = [];
  readonly #octets: Float64Array[] = [];
  #size = 0;
  #hand = 0;

  /** @param most Entries that are kept; more only where all of them have open connections */
  constructor(most: number = MOST_ADDRESSES) {
    this.#most = most;
  }

  /** How many entries there are. */
  get size(): number {
    return this.#size;
  }

  /** The memory that the entries take, in octets. */
  get bytes(): number {
    const page = (WIDTH * 4 + 8) << PAGE_BITS;
    return this.#buckets.byteLength + this.#pages.length * page;
  }

  /**
   * The place of an address's entry, made if there is none; its counts are
   * those of the minute that `second` lies in.
   *
   * @param key The address in two numbers of 32 bits
   * @param second The time, in whole seconds from any beginning
   */
  take(
    key: { readonly high: number; readonly low: number },
    second: number,
  ): number {
    const { high, low } = key;
    const bucket = this.#bucketOf(high, low);
    for (
      let at = this.#buckets[bucket]!;
      at !== NONE;
      at = this.#read(at, NEXT)
    ) {
      if (
        this.#read(at, KEY_LOW) === low && this.#read(at, KEY_HIGH) === high
      ) {
        this.turn(at, second);
        return at;
      }
    }
    const at = this.#room(second);
    const page = this.#pages[at >>> PAGE_BITS]!;
    const start = (at & PAGE_MASK) * WIDTH;
    page.fill(0, start, start + WIDTH);
    page[start + KEY_HIGH] = high;
    page[start + KEY_LOW] = low;
    page[start + NEXT] = this.#buckets[bucket]!;
    page[start + FIELD.minute] = second;
    this.#octets[at >>> PAGE_BITS]![at & PAGE_MASK] = 0;
    this.#buckets[bucket] = at;
    return at;
  }

  /** Begins a new minute of an entry, if the one that is counted is over. */
  turn(at: number, second: number): void {
    const page = this.#pages[at >>> PAGE_BITS]!;
    const start = (at & PAGE_MASK) * WIDTH;
    const passed = second - page[start + FIELD.minute]!;
    if (passed < MINUTE) return;
    page[start + FIELD.minute] = second;
    page[start + FIELD.connections] = 0;
    page[start + FIELD.messages] = 0;
    page[start + FIELD.recipients] = 0;
    page[start + FIELD.refused]! >>>= Math.min(31, Math.floor(passed / MINUTE));
    this.#octets[at >>> PAGE_BITS]![at & PAGE_MASK] = 0;
  }

  /** A number of an entry. */
  get(at: number, field: Field): number {
    return this.#read(at, field);
  }

  /** Adds to a number of an entry; returns what it is then. */
  add(at: number, field: Field, count: number): number {
    const page = this.#pages[at >>> PAGE_BITS]!;
    return page[(at & PAGE_MASK) * WIDTH + field]! += count;
  }

  /** Octets of an entry in this minute. */
  octets(at: number): number {
    return this.#octets[at >>> PAGE_BITS]![at & PAGE_MASK]!;
  }

  /** Adds to the octets of an entry. */
  addOctets(at: number, count: number): void {
    this.#octets[at >>> PAGE_BITS]![at & PAGE_MASK]! += count;
  }

  #read(at: number, field: number): number {
    return this.#pages[at >>> PAGE_BITS]![(at & PAGE_MASK) * WIDTH + field]!;
  }

  #bucketOf(high: number, low: number): number {
    let hash = Math.imul(high ^ this.#seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ low, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13) ^ this.#seed, 0x27d4eb2f);
    return (hash ^ (hash >>> 16)) & ((1 << BUCKET_BITS) - 1);
  }

  /** A place for a new entry. */
  #room(second: number): number {
    if (this.#size >= this.#most) {
      const least = this.#least(second);
      if (least !== undefined) {
        this.#unlink(least);
        return least;
      }
    }
    const at = this.#size++;
    if (at >>> PAGE_BITS === this.#pages.length) {
      this.#pages.push(new Uint32Array(WIDTH << PAGE_BITS));
      this.#octets.push(new Float64Array(1 << PAGE_BITS));
    }
    return at;
  }

  /** The entry that tells least of the next few; `undefined` where all have open connections. */
  #least(second: number): number | undefined {
    let least: number | undefined;
    let smallest = Infinity;
    let seen = 0;
    for (let step = 0; step < this.#size; step++) {
      const at = this.#hand;
      this.#hand = at + 1 === this.#size ? 0 : at + 1;
      if (this.#read(at, FIELD.open) > 0) continue;
      const worth = this.#worth(at, second);
      if (worth < smallest) [least, smallest] = [at, worth];
      if (smallest === 0 || ++seen === CANDIDATES) break;
    }
    return least;
  }

  /** How much would be forgotten with an entry. */
  #worth(at: number, second: number): number {
    const refused = this.#read(at, FIELD.refused);
    const age = second - this.#read(at, FIELD.minute);
    if (age >= MINUTE) {
      return refused >>> Math.min(31, Math.floor(age / MINUTE));
    }
    return this.#read(at, FIELD.connections) + this.#read(at, FIELD.messages) +
      this.#read(at, FIELD.recipients) + refused + this.octets(at) / 1_000_000;
  }

  #unlink(gone: number): void {
    const bucket = this.#bucketOf(
      this.#read(gone, KEY_HIGH),
      this.#read(gone, KEY_LOW),
    );
    const next = this.#read(gone, NEXT);
    let at = this.#buckets[bucket]!;
    if (at === gone) {
      this.#buckets[bucket] = next;
      return;
    }
    while (this.#read(at, NEXT) !== gone) at = this.#read(at, NEXT);
    this.#pages[at >>> PAGE_BITS]![(at & PAGE_MASK) * WIDTH + NEXT] = next;
  }
}
