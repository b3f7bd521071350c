/**
 * Counts per user in bounded memory: a hash table of plain numbers in one piece
 * of shared memory, in which all threads of a server count. A user is a keyed
 * digest of 128 bits, so that no two names share an entry, and no name is in the
 * memory. It knows no limit; the caller gives the time, and locks the table.
 *
 * A count of a day is kept by the hour: 24 numbers, of which the oldest is
 * cleared as a new hour begins. Hours go by a clock that is never set.
 *
 * A full table evicts an entry for each new user: of the next few the one with
 * the smallest counts. A user close to a limit is therefore evicted last.
 *
 * Danger: a thread may be ended in the middle of anything. So every single write
 * leaves a table that can be walked.
 */

import { lockMemory, unlockMemory } from "./address_table.ts";

/** The numbers of the current minute of an entry, by their index in it. */
export const MINUTE_FIELD = {
  messages: 6,
  recipients: 7,
  /** The limits that were reported in this minute, one bit for each. */
  reported: 8,
} as const;

/** The counts of a day. */
export interface DayCounts {
  readonly messages: number;
  readonly recipients: number;
  readonly bytes: number;
}

/** The counts of one user in one hour, `age` hours ago. */
export interface HourCounts extends DayCounts {
  readonly age: number;
}

/** A user: the first 16 bytes of the keyed digest of the name. */
export type UserKey = Uint32Array;

/** Hours of a day. */
export const HOURS = 24;
/** Seconds of an hour. */
export const HOUR = 3600;
const MINUTE = 60;

const KEY_WORDS = 4;
const NEXT = 4;
const MINUTE_START = 5;
const CURRENT_HOUR = 9;
const MESSAGES = 10;
const RECIPIENTS = MESSAGES + HOURS;
/** Numbers of an entry beside its bytes. */
const WIDTH = RECIPIENTS + HOURS;
const BUCKETS = 1 << 14;
/** How many entries are compared to find one to evict. */
const CANDIDATES = 16;
/** The end of a chain. */
const NONE = 0xffffffff;

/**
 * Numbers about the whole table, by their index at its beginning: `ahead` is how
 * far the hours are ahead of the caller's clock, in seconds, `changes` counts up
 * with each change.
 */
const HEAD = { size: 1, hand: 2, ahead: 3, changes: 4, secret: 6, length: 14 };
/** Bytes of the key of the digests. */
export const SECRET_LENGTH = 32;

/** Default number of entries: 2^17. */
const MOST_USERS = 131_072;

/**
 * Memory for a {@linkcode UserTable}: 424 bytes for each entry. The operating
 * system allocates its pages on the first write.
 *
 * @param most The most entries
 */
export function userMemory(most: number = MOST_USERS): SharedArrayBuffer {
  const numbers = HEAD.length + BUCKETS + most * WIDTH;
  const memory = new SharedArrayBuffer(
    8 * Math.ceil(numbers / 2) + 8 * HOURS * most,
  );
  const head = new Uint32Array(memory, 0, HEAD.length + BUCKETS);
  crypto.getRandomValues(new Uint8Array(SECRET_LENGTH)).forEach((byte, at) =>
    new Uint8Array(memory, 4 * HEAD.secret)[at] = byte
  );
  head.fill(NONE, HEAD.length);
  return memory;
}

/** Counts per user. An entry's index is valid while the table is locked. */
export class UserTable {
  readonly #most: number;
  readonly #lock: Int32Array;
  readonly #head: Uint32Array;
  readonly #secret: Uint8Array;
  readonly #buckets: Uint32Array;
  readonly #entries: Uint32Array;
  readonly #bytes: Float64Array;

  /** @param memory Memory of {@linkcode userMemory}, shared with other threads or not */
  constructor(memory: SharedArrayBuffer = userMemory()) {
    const fixed = 4 * (HEAD.length + BUCKETS);
    this.#most = Math.floor(
      (memory.byteLength - fixed) / (WIDTH * 4 + 8 * HOURS),
    );
    this.#lock = new Int32Array(memory, 0, 1);
    this.#head = new Uint32Array(memory, 0, HEAD.length);
    this.#secret = new Uint8Array(memory, 4 * HEAD.secret, SECRET_LENGTH);
    this.#buckets = new Uint32Array(memory, 4 * HEAD.length, BUCKETS);
    this.#entries = new Uint32Array(memory, fixed, this.#most * WIDTH);
    this.#bytes = new Float64Array(
      memory,
      memory.byteLength - 8 * HOURS * this.#most,
      HOURS * this.#most,
    );
  }

  /** Entries in use. */
  get size(): number {
    return this.#head[HEAD.size]!;
  }

  /** Differs after a change of any count. */
  get changes(): number {
    return this.#head[HEAD.changes]!;
  }

  /** The key of the digests of names. */
  get secret(): Uint8Array {
    return this.#secret.slice();
  }

  /** Locks the table for this thread until {@linkcode UserTable.unlock}. */
  lock(): void {
    lockMemory(this.#lock);
  }

  /** Unlocks the table. */
  unlock(): void {
    unlockMemory(this.#lock);
  }

  /** Seconds since the current hour began. */
  secondOfHour(second: number): number {
    return (second + this.#head[HEAD.ahead]!) % HOUR;
  }

  #hourOf(second: number): number {
    return Math.floor((second + this.#head[HEAD.ahead]!) / HOUR);
  }

  /** The index of a user's entry, with the counts as they are at `second`; `undefined` without one. */
  find(key: UserKey, second: number): number | undefined {
    for (
      let at = this.#buckets[bucketOf(key)]!;
      at !== NONE;
      at = this.#entries[at * WIDTH + NEXT]!
    ) {
      const start = at * WIDTH;
      let same = 0;
      while (same < KEY_WORDS && this.#entries[start + same] === key[same]) {
        same++;
      }
      if (same < KEY_WORDS) continue;
      this.#turn(at, second);
      return at;
    }
    return undefined;
  }

  /** Finds or makes the entry of a user and returns its index. */
  take(key: UserKey, second: number): number {
    const found = this.find(key, second);
    if (found !== undefined) return found;
    const at = this.#room(second);
    const start = at * WIDTH;
    this.#entries.fill(0, start, start + WIDTH);
    this.#bytes.fill(0, at * HOURS, at * HOURS + HOURS);
    this.#entries.set(key, start);
    this.#entries[start + MINUTE_START] = second;
    this.#entries[start + CURRENT_HOUR] = this.#hourOf(second);
    const bucket = bucketOf(key);
    this.#entries[start + NEXT] = this.#buckets[bucket]!;
    this.#buckets[bucket] = at;
    return at;
  }

  /** Starts a new minute and new hours of an entry if the current ones are over. */
  #turn(at: number, second: number): void {
    const entries = this.#entries;
    const start = at * WIDTH;
    if (second - entries[start + MINUTE_START]! >= MINUTE) {
      entries[start + MINUTE_START] = second;
      entries[start + MINUTE_FIELD.messages] = 0;
      entries[start + MINUTE_FIELD.recipients] = 0;
      entries[start + MINUTE_FIELD.reported] = 0;
    }
    const hour = this.#hourOf(second);
    const last = entries[start + CURRENT_HOUR]!;
    // The clock of a thread may lag behind that of another.
    if (hour <= last) return;
    entries[start + CURRENT_HOUR] = hour;
    for (let step = 0; step < Math.min(HOURS, hour - last); step++) {
      const slot = (hour - step) % HOURS;
      entries[start + MESSAGES + slot] = 0;
      entries[start + RECIPIENTS + slot] = 0;
      this.#bytes[at * HOURS + slot] = 0;
    }
  }

  /** A number of the current minute of an entry. */
  get(
    at: number,
    field: typeof MINUTE_FIELD[keyof typeof MINUTE_FIELD],
  ): number {
    return this.#entries[at * WIDTH + field]!;
  }

  /** Sets a number of the current minute of an entry. */
  set(
    at: number,
    field: typeof MINUTE_FIELD[keyof typeof MINUTE_FIELD],
    value: number,
  ): void {
    this.#entries[at * WIDTH + field] = value;
  }

  /** The current hour of an entry, by a clock of its own. */
  hour(at: number): number {
    return this.#entries[at * WIDTH + CURRENT_HOUR]!;
  }

  /** The counts of an entry in a day. */
  day(at: number): DayCounts {
    const start = at * WIDTH;
    let messages = 0;
    let recipients = 0;
    let bytes = 0;
    for (let slot = 0; slot < HOURS; slot++) {
      messages += this.#entries[start + MESSAGES + slot]!;
      recipients += this.#entries[start + RECIPIENTS + slot]!;
      bytes += this.#bytes[at * HOURS + slot]!;
    }
    return { messages, recipients, bytes };
  }

  /**
   * Adds to the counts of an entry; negative numbers subtract, down to 0.
   *
   * @param hour The hour in which they count; an hour that is over for a day is left alone
   */
  add(at: number, hour: number, counts: DayCounts): void {
    const age = this.hour(at) - hour;
    if (age < 0 || age >= HOURS) return;
    const slot = ((hour % HOURS) + HOURS) % HOURS;
    const messages = at * WIDTH + MESSAGES + slot;
    const recipients = at * WIDTH + RECIPIENTS + slot;
    const bytes = at * HOURS + slot;
    const entries = this.#entries;
    entries[messages] = sum(entries[messages]!, counts.messages);
    entries[recipients] = sum(entries[recipients]!, counts.recipients);
    this.#bytes[bytes] = Math.min(
      MOST_BYTES,
      Math.max(0, this.#bytes[bytes]! + counts.bytes),
    );
    this.#head[HEAD.changes]!++;
  }

  /** The user of an entry, and the hours with a count. */
  row(
    at: number,
    second: number,
  ): { readonly key: UserKey; readonly hours: readonly HourCounts[] } {
    this.#turn(at, second);
    const start = at * WIDTH;
    const hours: HourCounts[] = [];
    for (let age = 0; age < HOURS; age++) {
      const slot = (((this.hour(at) - age) % HOURS) + HOURS) % HOURS;
      const messages = this.#entries[start + MESSAGES + slot]!;
      const recipients = this.#entries[start + RECIPIENTS + slot]!;
      const bytes = this.#bytes[at * HOURS + slot]!;
      if (messages + recipients + bytes === 0) continue;
      hours.push({ age, messages, recipients, bytes });
    }
    return { key: this.#entries.slice(start, start + KEY_WORDS), hours };
  }

  /**
   * Takes over the key and the clock of another run. Only an empty table may.
   *
   * @param ahead How far the hours are ahead of the caller's clock, in seconds
   */
  begin(secret: Uint8Array, ahead: number): void {
    this.#secret.set(secret);
    this.#head[HEAD.ahead] = ahead;
  }

  /** The index for a new entry. */
  #room(second: number): number {
    const { size } = this;
    if (size < this.#most) return this.#head[HEAD.size]!++;
    let least = 0;
    let smallest = Infinity;
    for (let seen = 0; seen < CANDIDATES && smallest > 0; seen++) {
      const at = this.#head[HEAD.hand]!;
      this.#head[HEAD.hand] = at + 1 === size ? 0 : at + 1;
      this.#turn(at, second);
      const { messages, recipients, bytes } = this.day(at);
      const worth = messages + recipients + bytes / 1_000_000;
      if (worth < smallest) [least, smallest] = [at, worth];
    }
    this.#unlink(least);
    return least;
  }

  #unlink(gone: number): void {
    const entries = this.#entries;
    const start = gone * WIDTH;
    const bucket = bucketOf(entries.subarray(start, start + KEY_WORDS));
    const next = entries[start + NEXT]!;
    let at = this.#buckets[bucket]!;
    if (at === gone) {
      this.#buckets[bucket] = next;
      return;
    }
    while (at !== NONE && entries[at * WIDTH + NEXT] !== gone) {
      at = entries[at * WIDTH + NEXT]!;
    }
    if (at !== NONE) entries[at * WIDTH + NEXT] = next;
  }
}

/** The largest count of an hour. */
const MOST = 0xffffffff;
/** The most bytes of an hour: a client may declare any size where `maxSize` is 0, and a larger one would not fit into the text. */
const MOST_BYTES = 999_999_999_999_999;

function sum(count: number, more: number): number {
  return Math.min(MOST, Math.max(0, count + more));
}

/** The digest is keyed: its first bits are as good a hash as any. */
function bucketOf(key: UserKey): number {
  return key[0]! & (BUCKETS - 1);
}
