/**
 * Counts failed logins, and decides how long the next one must wait or that it is
 * refused. Guessing becomes slow, and memory stays bounded.
 *
 * There are three counts, because each attack shows in one of them only:
 *
 * - of the pair of an account and an address: a client guesses a password. The
 *   delay doubles with each failure; after a budget the pair is refused.
 * - of an address: a client tries many accounts. After a budget its unknown pairs
 *   are refused. Accounts that have logged in from there may go on: one bad
 *   neighbour behind a shared address does not lock out the others.
 * - of an account: many addresses guess together. After a budget, attempts from
 *   networks that never logged in to it take turns, one every few seconds for all
 *   of them; an attempt whose turn is too far away is refused for now. Networks
 *   that have logged in may go on: otherwise any client could lock a user out.
 *
 * No network is exempt. Every count decreases with time.
 *
 * Attempts under way count as failures: otherwise a thousand connections at once
 * would guess a thousand times before the first failure is known. An attempt that
 * could exceed a budget that way waits for the results of the others. The budget
 * of a pair applies to networks that have logged in as well.
 */

import { customerOf } from "../protocol/ip.ts";
import { countedAccount } from "../sasl/accounts.ts";
import { Delays } from "./delays.ts";

/** Failures of a pair after which it is refused. */
const PAIR_BUDGET = 10;
/** Failures of an address after which accounts that never logged in from it are refused. */
const ADDRESS_BUDGET = 50;
/** Failures of an account after which attempts from new networks take turns. */
const ACCOUNT_BUDGET = 50;
/** Time between two of those turns, in ms. */
const TURN_MS = 2_000;
/** The longest wait for a turn, in ms. */
const LONGEST_TURN_MS = 30_000;
/** How long one failure counts, in ms. */
const FORGET_MS = 60_000;
/** The delay after the first failure, in ms. */
const FIRST_DELAY_MS = 250;
/** The longest delay after a failure, in ms. */
const LONGEST_DELAY_MS = 8_000;
/** The most entries of each map; a new one evicts the oldest. */
const MOST_COUNTS = 100_000;

/** The client and the account of an attempt to log in. */
export interface LoginAttempt {
  /** The client's IP address. */
  readonly address: string;
  /** The account's name. */
  readonly account: string;
}

/** The part of a {@linkcode LoginGuard} that sessions use; the guard may be on another thread. */
export type LoginCounter = Pick<
  LoginGuard,
  "enter" | "leave" | "fail" | "succeed" | "release"
>;

/** An attempt that waits for the results of others. */
interface Waiter {
  readonly attempt: LoginAttempt;
  resolve(mayTry: Promise<boolean>): void;
}

/** Counts the failed logins of one server. */
export class LoginGuard {
  readonly #counts = new BoundedMap<{ failures: number; at: number }>(
    MOST_COUNTS,
  );
  /** Number of attempts under way, by pair, by address and by account. */
  readonly #pending = new Map<string, number>();
  /** Attempts that wait for the results of those, by address. */
  readonly #queues = new Map<string, Set<Waiter>>();
  /** Pairs that have logged in. */
  readonly #known = new BoundedMap<true>(MOST_COUNTS);
  /** Time of the next turn, by account. */
  readonly #turns = new BoundedMap<number>(MOST_COUNTS);
  readonly #delays = new Delays();
  readonly #now: () => number;

  /** @param now The time, in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Asks to make an attempt. `true` allows it; the caller must then call
   * {@linkcode LoginGuard.leave}. `false` refuses it without a check of the
   * secret: a budget is used up.
   */
  enter(attempt: LoginAttempt): Promise<boolean> {
    const decision = this.#decide(attempt);
    if (decision !== "wait") return this.#admit(decision);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const address = addressKey(attempt);
    const queue = this.#queues.get(address) ?? new Set();
    this.#queues.set(address, queue.add({ attempt, resolve }));
    return promise;
  }

  /**
   * Ends an attempt. {@linkcode LoginGuard.fail} or
   * {@linkcode LoginGuard.succeed} comes before it, if there was a result.
   */
  leave(attempt: LoginAttempt): void {
    for (
      const key of [
        pairKey(attempt),
        addressKey(attempt),
        accountKey(attempt),
      ]
    ) {
      const pending = this.#pending.get(key) ?? 0;
      if (pending > 1) this.#pending.set(key, pending - 1);
      else this.#pending.delete(key);
    }
    const queue = this.#queues.get(addressKey(attempt));
    if (queue === undefined) return;
    for (const waiter of queue) {
      const decision = this.#decide(waiter.attempt);
      if (decision === "wait") continue;
      queue.delete(waiter);
      waiter.resolve(this.#admit(decision));
    }
    if (queue.size === 0) this.#queues.delete(addressKey(attempt));
  }

  async #admit(decision: "refuse" | number): Promise<boolean> {
    if (decision === "refuse") return false;
    if (decision > 0) await this.#delays.wait(decision);
    return true;
  }

  /**
   * The decision on an attempt; a number is the time until it may be made, in ms.
   * The attempt is under way from here on.
   */
  #decide(attempt: LoginAttempt): number | "wait" | "refuse" {
    const pair = pairKey(attempt);
    const address = addressKey(attempt);
    const account = accountKey(attempt);
    const known = this.#known.has(pair);
    // A part of a failure counts as a whole one.
    const ofPair = Math.ceil(this.#failures(pair));
    const ofAddress = known ? 0 : Math.ceil(this.#failures(address));
    if (ofPair >= PAIR_BUDGET || ofAddress >= ADDRESS_BUDGET) return "refuse";
    const pending = (key: string) => this.#pending.get(key) ?? 0;
    if (
      ofPair + pending(pair) >= PAIR_BUDGET ||
      (!known && ofAddress + pending(address) >= ADDRESS_BUDGET)
    ) {
      return "wait";
    }
    const ofAccount = Math.ceil(this.#failures(account)) + pending(account);
    const turn = known || ofAccount < ACCOUNT_BUDGET
      ? 0
      : this.#takeTurn(account);
    if (turn === undefined) return "refuse";
    for (const key of [pair, address, account]) {
      this.#pending.set(key, pending(key) + 1);
    }
    return turn;
  }

  /** Time until the account's next turn, in ms; `undefined` if that is too long. */
  #takeTurn(account: string): number | undefined {
    const now = this.#now();
    const at = Math.max(now, this.#turns.get(account) ?? 0);
    if (at - now > LONGEST_TURN_MS) return undefined;
    this.#turns.set(account, at + TURN_MS);
    return at - now;
  }

  /** Counts a failure; resolves when the reply may be sent. */
  fail(attempt: LoginAttempt): Promise<void> {
    const failures = this.#add(pairKey(attempt));
    this.#add(addressKey(attempt));
    const everywhere = this.#add(accountKey(attempt));
    const known = this.#known.has(pairKey(attempt));
    const delay = everywhere >= ACCOUNT_BUDGET && !known
      ? LONGEST_DELAY_MS
      : FIRST_DELAY_MS * 2 ** Math.min(failures - 1, 10);
    return this.#delays.wait(Math.min(delay, LONGEST_DELAY_MS));
  }

  /** Records a success: the failures of the pair are forgotten. */
  succeed(attempt: LoginAttempt): void {
    const pair = pairKey(attempt);
    this.#counts.delete(pair);
    this.#known.set(pair, true);
  }

  /** Ends all delays and waits: the server is stopping. */
  release(): void {
    this.#delays.release();
    for (const queue of this.#queues.values()) {
      for (const { resolve } of queue) resolve(Promise.resolve(false));
    }
    this.#queues.clear();
  }

  #failures(key: string): number {
    const count = this.#counts.get(key);
    if (count === undefined) return 0;
    const forgotten = (this.#now() - count.at) / FORGET_MS;
    return Math.max(0, count.failures - forgotten);
  }

  #add(key: string): number {
    const failures = this.#failures(key) + 1;
    this.#counts.set(key, { failures, at: this.#now() });
    return Math.ceil(failures);
  }
}

/** Characters of an account name that count; a client may send more to fill the memory. */
const MAX_NAME = 64;

/** The account name as a key: all its likely spellings share one budget. */
function nameOf({ account }: LoginAttempt): string {
  return countedAccount(account.slice(0, MAX_NAME));
}

function accountKey(attempt: LoginAttempt): string {
  return `n ${nameOf(attempt)}`;
}

function addressKey({ address }: LoginAttempt): string {
  return `a ${customerOf(address)}`;
}

function pairKey(attempt: LoginAttempt): string {
  return `p ${customerOf(attempt.address)} ${nameOf(attempt)}`;
}

/**
 * Changes of a map after which its iterator is made again. The platform keeps
 * every change of a map since its iterator was made.
 */
const CHANGES = 1024;

/**
 * A map that never grows past its bound: a new key evicts the one that was set
 * least recently. For counts with which a client could otherwise fill the memory.
 */
export class BoundedMap<T> {
  readonly #bound: number;
  readonly #entries = new Map<string, T>();
  /**
   * An iterator that stands before the oldest entry. It is kept: a new one would
   * step over the slots of all deleted entries on every call.
   */
  #oldest: MapIterator<string> = this.#entries.keys();
  #changes = 0;

  /** @param bound The most entries, at least 1 */
  constructor(bound: number) {
    this.#bound = bound;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value of a key; `undefined` if it was never set or was evicted. */
  get(key: string): T | undefined {
    return this.#entries.get(key);
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Sets a value; the key is the last to be evicted. */
  set(key: string, value: T): void {
    if (++this.#changes >= CHANGES) {
      this.#changes = 0;
      this.#oldest = this.#entries.keys();
    }
    this.#entries.delete(key);
    if (this.#entries.size >= this.#bound) this.#forget();
    this.#entries.set(key, value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  #forget(): void {
    let { value, done } = this.#oldest.next();
    if (done) {
      // An iterator that has reached the end of an empty map stays there.
      this.#oldest = this.#entries.keys();
      ({ value, done } = this.#oldest.next());
    }
    if (!done) this.#entries.delete(value!);
  }
}
