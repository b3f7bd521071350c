/**
 * Counts failed log-ins, and says how long the next one has to wait or that it
 * may not be tried at all. Guessing becomes slow, and memory stays bounded.
 *
 * Three counts run side by side, because each attack shows in one of them only:
 *
 * - one account from one address: somebody guesses a password. The delay
 *   doubles with each failure, and after a budget the pair is refused;
 * - one address: somebody tries many accounts. After a budget its unknown pairs
 *   are refused; accounts that have logged in from there go on, so that one bad
 *   neighbour behind a shared address does not lock out the others;
 * - one account: many addresses guess together. After a budget, attempts from
 *   networks that never logged in to it take turns, one in a few seconds over
 *   all of them; what would wait too long is refused for now. Networks that have
 *   logged in go on: else anybody could lock a user out.
 *
 * No network is exempt. Every count goes down by itself with time.
 *
 * Attempts under way count as failures to come, or a thousand connections at
 * once would guess a thousand times before the first failure is known. An
 * attempt that could go past a budget that way waits until that is clear; a
 * network that has logged in is no exception to the budget of its pair.
 */

import { customerOf } from "../protocol/ip.ts";
import { canonicalAccount } from "../sasl/accounts.ts";
import { Delays } from "./delays.ts";

/** Failures of one account from one address, after which it is refused. */
const PAIR_BUDGET = 10;
/** Failures of one address, after which accounts that never logged in from it are refused. */
const ADDRESS_BUDGET = 50;
/** Failures of one account from anywhere, after which attempts from new networks take turns. */
const ACCOUNT_BUDGET = 50;
/** From one of those turns to the next, in ms. */
const TURN_MS = 2_000;
/** The longest wait for a turn, in ms. */
const LONGEST_TURN_MS = 30_000;
/** How long one failure counts, in ms. */
const FORGET_MS = 60_000;
/** The wait after the first failure, in ms. */
const FIRST_DELAY_MS = 250;
/** The longest wait, in ms. */
const LONGEST_DELAY_MS = 8_000;
/** Counts that are kept; the oldest is forgotten for a new one. */
const MOST_COUNTS = 100_000;

/** Who tries to log in. */
export interface LoginAttempt {
  /** The client's IP address. */
  readonly address: string;
  /** The account's name. */
  readonly account: string;
}

/** What a session needs of a {@linkcode LoginGuard}, which may be on another thread. */
export type LoginCounter = Pick<
  LoginGuard,
  "enter" | "leave" | "fail" | "succeed" | "release"
>;

/** An attempt that waits for others. */
interface Waiter {
  readonly attempt: LoginAttempt;
  resolve(mayTry: Promise<boolean>): void;
}

/** Counts failed log-ins of one server. */
export class LoginGuard {
  readonly #counts = new BoundedMap<{ failures: number; at: number }>(
    MOST_COUNTS,
  );
  /** Attempts under way, by pair and by address. */
  readonly #pending = new Map<string, number>();
  /** Attempts that wait for those, by address. */
  readonly #queues = new Map<string, Set<Waiter>>();
  /** Pairs that have logged in. */
  readonly #known = new BoundedMap<true>(MOST_COUNTS);
  /** When the next turn of an account is. */
  readonly #turns = new BoundedMap<number>(MOST_COUNTS);
  readonly #delays = new Delays();
  readonly #now: () => number;

  /**
   * A guard that has seen nothing.
   *
   * @param now The time, in ms
   */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Asks to make an attempt. After `true` it may be made, and
   * {@linkcode LoginGuard.leave} must follow; `false` refuses it without a look
   * at the secret, because a budget is used up.
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
   * Ends an attempt, after {@linkcode LoginGuard.fail} or
   * {@linkcode LoginGuard.succeed} if it came to that.
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
   * What becomes of an attempt: milliseconds until it may be made. It is under
   * way from here on.
   */
  #decide(attempt: LoginAttempt): number | "wait" | "refuse" {
    const pair = pairKey(attempt);
    const address = addressKey(attempt);
    const account = accountKey(attempt);
    const known = this.#known.has(pair);
    // A failure that is not wholly forgotten counts.
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

  /** Milliseconds until the account's next turn, `undefined` if that is too long. */
  #takeTurn(account: string): number | undefined {
    const now = this.#now();
    const at = Math.max(now, this.#turns.get(account) ?? 0);
    if (at - now > LONGEST_TURN_MS) return undefined;
    this.#turns.set(account, at + TURN_MS);
    return at - now;
  }

  /** Notes a failure; resolves when the client may be told. */
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

  /** Notes a success: the pair starts anew. */
  succeed(attempt: LoginAttempt): void {
    const pair = pairKey(attempt);
    this.#counts.delete(pair);
    this.#known.set(pair, true);
  }

  /** Ends all waits: the server is stopping. */
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

/** The longest account name that is told apart; a client may send more, to fill memory. */
const MAX_NAME = 64;

/**
 * The name as it counts. A handler may compare as its database does, without
 * case, accents and blanks at the ends: no such spelling has a budget of its own.
 */
function nameOf({ account }: LoginAttempt): string {
  const name = canonicalAccount(account.slice(0, MAX_NAME));
  return name.normalize("NFKD").replace(/\p{M}/gu, "").trim().toLowerCase();
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
 * After so many changes the place of the oldest entry is looked for anew. The
 * platform keeps all that a map was since its iterator was made.
 */
const CHANGES = 1024;

/**
 * A map that never grows past its bound: what has been quiet longest is
 * forgotten for what is new. For counts that a client could otherwise fill the
 * memory with.
 */
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
