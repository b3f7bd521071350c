/**
 * Decides which delivery goes next. Owns the windows of the destinations, the
 * slots and the turns. Knows nothing of messages or files; knows the time only
 * as the `now` of its calls, taken from a clock that is never set.
 *
 * Theory: jobs of one flow (a sender, or one huge message) for one destination
 * form a *lane*. Flows take turns, and the lanes of a flow take turns, so a flow
 * with 10,000 lanes delays another flow by one job, not by 10,000. A lane whose
 * destination has no free slot is *parked* there and costs nothing; each slot
 * that becomes free wakes one parked lane, in order, so flows take turns at a
 * busy destination too. A lane is in exactly one place: nowhere (empty), in a
 * ring of turns, or parked.
 *
 * Turns alone are not enough, since a job may last for minutes. So each of these
 * has a *share* of the slots: a flow; an address that several destinations lead
 * to; and all destinations together that have not spoken yet. Each may take a
 * slot while it holds less than three times the number of free slots. That
 * leaves some slots free for others, however many compete. A slot whose job has
 * waited for the peer for a second is *lent* to other jobs. The number of jobs
 * on lent slots is limited; beyond the limit, the jobs that have waited longest
 * for the peer are *overdue*.
 */

import {
  afterFailure,
  afterSuccess,
  DEFAULT_WINDOW,
  type DestinationWindow,
  endPause,
  openWindow,
  type WindowLimits,
  windowSlots,
} from "./destination.ts";

export interface Work {
  /** Key of the flow; jobs of the same flow and destination are handed out in order. */
  readonly flow: string;
  readonly destination: string;
  /** Whether it is still wanted; the dispatcher drops it otherwise when its turn comes. */
  readonly isReady: boolean;
}

/**
 * Phase of a job: `"calling"` until the peer has spoken, `"talking"` while it
 * waits for a reply, `"sending"` while content is sent.
 */
export type WorkPhase = "calling" | "talking" | "sending";

/** What the end of a job says about the destination. */
export type WorkOutcome = "answered" | "destination-failed" | "unknown";

export interface DispatcherOptions {
  /** Limit of jobs under way, over all destinations: 100 by default. */
  readonly maxConcurrent?: number;
  /**
   * Limit of jobs that wait for the peer and have lent their slot: twice
   * `maxConcurrent` by default.
   */
  readonly maxWaiting?: number;
  readonly window?: WindowLimits;
}

interface Destination<W extends Work> {
  readonly key: string;
  readonly lanes: Map<string, Lane<W>>;
  readonly parked: Fifo<Lane<W>>;
  window: DestinationWindow;
  active: number;
  /** Whether its hosts spoke when they were last called. */
  isHeard: boolean;
  /** The address it last led to. */
  place: Place<W> | undefined;
}

interface Lane<W extends Work> {
  readonly flow: string;
  readonly destination: Destination<W>;
  readonly work: Fifo<W>;
  /** The ring that holds the lane. */
  ring: Ring<W> | undefined;
}

/** An address that destinations lead to. */
interface Place<W extends Work> {
  readonly key: string;
  held: number;
  readonly parked: Ring<W>;
}

interface Active<W extends Work> {
  readonly work: W;
  readonly startedAt: number;
  phase: WorkPhase | undefined;
  /** Time of its last step. */
  since: number;
  place: Place<W> | undefined;
  /** Whether it counts as a job for a destination that has not spoken yet. */
  isNew: boolean;
  isLent: boolean;
  isOverdue: boolean;
}

/** Limit of destinations and addresses remembered; beyond it idle ones are forgotten. */
const MAX_IDLE_DESTINATIONS = 10_000;
/** A share holds less than this many times the number of free slots. */
const SHARE = 3;
/** Milliseconds without a step after which a slot is lent. */
const LEND_MS = 1000;
/** Milliseconds without a step after which the slot of a job that sends content is lent. */
const STALL_MS = 30_000;
/** Milliseconds a job may wait for a reply of a host that has spoken, while other jobs wait. */
const TALK_PATIENCE_MS = 60_000;
/** Milliseconds every job may wait for the peer to speak first. */
const PATIENCE_MS = 5000;
/** Milliseconds between two checks of the waiting jobs. */
const LEND_CHECK_MS = 100;

/** Hands out jobs in fair turns, within the windows, the shares and the limit. */
export class Dispatcher<W extends Work> {
  readonly #maxConcurrent: number;
  readonly #maxWaiting: number;
  readonly #limits: WindowLimits;
  readonly #destinations = new Map<string, Destination<W>>();
  readonly #dead = new Set<Destination<W>>();
  readonly #places = new Map<string, Place<W>>();
  /** Lanes to destinations that have spoken, and to all others. */
  readonly #known = new Ring<W>();
  readonly #new = new Ring<W>();
  readonly #active = new Map<W, Active<W>>();
  readonly #heldByFlow = new Map<string, number>();
  readonly #mayGo = (flow: string): boolean =>
    this.#mayTake(this.#heldByFlow.get(flow) ?? 0);
  readonly #lentByFlow = new Map<string, number>();
  #held = 0;
  #lent = 0;
  #heldByNew = 0;
  /** Addresses with parked lanes. */
  readonly #crowded = new Set<Place<W>>();
  #isNewNext = false;
  #unthrottleAt = Infinity;
  /** When slots may have to be lent; `Infinity` while no lane waits for one. */
  #lendAt = Infinity;
  #overdue: W[] = [];

  constructor(options: DispatcherOptions = {}) {
    this.#maxConcurrent = options.maxConcurrent ?? 100;
    this.#maxWaiting = options.maxWaiting ?? 2 * this.#maxConcurrent;
    this.#limits = options.window ?? DEFAULT_WINDOW;
  }

  get active(): number {
    return this.#active.size;
  }

  /** When {@linkcode Dispatcher.next} may return a job without any other call before; `Infinity` for never. */
  get nextDue(): number {
    return Math.min(this.#unthrottleAt, this.#lendAt);
  }

  /** The window of a destination, for tests and diagnosis. */
  windowOf(destination: string): DestinationWindow {
    return this.#destinations.get(destination)?.window ??
      openWindow(this.#limits);
  }

  add(work: W): void {
    const destination = this.#destination(work.destination);
    const known = destination.lanes.get(work.flow);
    if (known !== undefined) {
      known.work.push(work);
      return;
    }
    const lane: Lane<W> = {
      flow: work.flow,
      destination,
      work: new Fifo(),
      ring: undefined,
    };
    lane.work.push(work);
    destination.lanes.set(work.flow, lane);
    this.#enter(lane);
  }

  /** Takes the next job, which counts as under way from now on; `undefined` if none may go. */
  next(now: number): W | undefined {
    if (now >= this.#unthrottleAt) this.#unthrottleDue(now);
    if (now >= this.#lendAt) this.#relieve(now);
    for (;;) {
      const lane = this.#nextLane();
      if (lane === undefined) break;
      const { destination } = lane;
      if (destination.active >= windowSlots(destination.window, now)) {
        destination.parked.push(lane);
        this.#unparkAt(destination.place);
        continue;
      }
      const { place, isHeard } = destination;
      if (place !== undefined && !this.#mayTake(place.held)) {
        place.parked.push(lane);
        this.#crowded.add(place);
        continue;
      }
      if (!isHeard && !this.#mayTake(this.#heldByNew)) {
        this.#new.push(lane);
        continue;
      }
      const work = takeReady(lane);
      if (work === undefined) {
        destination.lanes.delete(lane.flow);
        this.#unpark(destination, now);
        this.#unparkAt(place);
        continue;
      }
      this.#begin(work, destination, now);
      if (lane.work.length > 0) this.#enter(lane);
      else destination.lanes.delete(lane.flow);
      return work;
    }
    const waiting = this.#known.size + this.#new.size + this.#crowded.size;
    if (waiting === 0) this.#lendAt = Infinity;
    else if (this.#lendAt === Infinity) this.#lendAt = now + LEND_CHECK_MS;
    return undefined;
  }

  /** Records the address that a job calls: destinations that lead to one address share its slots. */
  reach(work: W, address: string): void {
    const active = this.#active.get(work);
    if (active === undefined || active.place?.key === address) return;
    const destination = this.#destination(work.destination);
    const place = this.#place(address);
    if (!active.isLent) this.#hold(active, -1);
    active.place = place;
    destination.place = place;
    if (!active.isLent) this.#hold(active, 1);
  }

  /**
   * Records the phase of a job under way.
   *
   * @returns Whether the destination has now spoken for the first time: other jobs may go to it
   */
  step(work: W, phase: WorkPhase, now: number): boolean {
    const active = this.#active.get(work);
    if (active === undefined) return false;
    active.since = now;
    const isHeard = active.phase === "talking" || active.phase === "sending";
    // Once the peer has spoken, later calling steps, as TLS, count as talking.
    active.phase = phase === "calling" && isHeard ? "talking" : phase;
    if (active.phase === "calling") return false;
    if (active.isLent) {
      // It makes progress again. Jobs may exceed the slots for a while.
      this.#lend(active, false);
      this.#hold(active, 1);
    }
    if (active.isNew) {
      active.isNew = false;
      this.#heldByNew--;
    }
    const destination = this.#destination(work.destination);
    const isFirst = !destination.isHeard;
    this.#hear(destination);
    return isFirst;
  }

  /** Takes the jobs that have waited too long for the peer while other jobs wait. */
  takeOverdue(): W[] {
    const overdue = this.#overdue;
    if (overdue.length > 0) this.#overdue = [];
    return overdue;
  }

  /** Ends a job that {@linkcode Dispatcher.next} returned. */
  done(work: W, outcome: WorkOutcome, now: number): void {
    const destination = this.#destination(work.destination);
    destination.active--;
    const active = this.#active.get(work)!;
    this.#active.delete(work);
    if (active.isLent) this.#lend(active, false);
    else this.#hold(active, -1);
    if (outcome === "answered") {
      destination.window = afterSuccess(destination.window, this.#limits);
      this.#hear(destination);
    } else if (outcome === "destination-failed") {
      destination.window = afterFailure(destination.window, now, this.#limits);
      destination.isHeard = false;
    }
    this.#track(destination);
    this.#unpark(destination, now);
  }

  /** Ends the pause of a dead destination, at the request of an operator or program. */
  unthrottle(destination: string, now: number): void {
    const known = this.#destinations.get(destination);
    if (known === undefined) return;
    known.window = endPause(known.window);
    this.#track(known);
    this.#unpark(known, now);
  }

  #begin(work: W, destination: Destination<W>, now: number): void {
    destination.active++;
    const active: Active<W> = {
      work,
      startedAt: now,
      phase: undefined,
      since: now,
      place: destination.place,
      isNew: !destination.isHeard,
      isLent: false,
      isOverdue: false,
    };
    this.#active.set(work, active);
    this.#hold(active, 1);
  }

  /** Whether a share that holds `held` slots may take another. */
  #mayTake(held: number): boolean {
    return held < SHARE * (this.#maxConcurrent - this.#held);
  }

  /** Counts a slot that a job takes (1) or returns (-1). */
  #hold(active: Active<W>, by: 1 | -1): void {
    const { place, isNew, work: { flow } } = active;
    this.#held += by;
    if (isNew) this.#heldByNew += by;
    count(this.#heldByFlow, flow, by);
    if (place === undefined) return;
    place.held += by;
    if (by < 0) this.#unparkAt(place);
  }

  /** Wakes a lane parked at an address: a slot there is free, or was not used. */
  #unparkAt(place: Place<W> | undefined): void {
    const lane = place?.parked.shift();
    if (place?.parked.size === 0) this.#crowded.delete(place);
    if (lane !== undefined) this.#list(lane);
  }

  /** Lends the slots of jobs that wait, and finds the overdue ones. */
  #relieve(now: number): void {
    // A woken lane may have moved on without waking another.
    for (const place of this.#crowded) {
      let free = SHARE * (this.#maxConcurrent - this.#held) - place.held;
      for (; free > 0 && place.parked.size > 0; free--) this.#unparkAt(place);
    }
    let wanting = 0;
    for (const active of this.#active.values()) {
      const { phase, isLent, since } = active;
      const lendAfter = phase === "sending" ? STALL_MS : LEND_MS;
      if (isLent || phase === undefined || now - since < lendAfter) continue;
      if (this.#lent === this.#maxWaiting) {
        wanting++;
        continue;
      }
      this.#hold(active, -1);
      this.#lend(active, true);
    }
    if (wanting > 0) this.#findOverdue(now, wanting);
    this.#lendAt = now + LEND_CHECK_MS;
  }

  #lend(active: Active<W>, isLent: boolean): void {
    active.isLent = isLent;
    this.#lent += isLent ? 1 : -1;
    count(this.#lentByFlow, active.work.flow, isLent ? 1 : -1);
  }

  /** Marks the jobs that began first as overdue, with the others of their destinations. */
  #findOverdue(now: number, wanting: number): void {
    const destinations = new Set<string>();
    for (const active of this.#active.values()) {
      if (now - active.startedAt < PATIENCE_MS) return;
      const { phase, isLent, isOverdue, work, since } = active;
      // A job that talks has sent no content: it can end without a second copy.
      const isStuck = phase === "calling" ||
        (phase === "talking" && now - since >= TALK_PATIENCE_MS);
      if (!isStuck || isOverdue) continue;
      if (wanting <= 0 && !destinations.has(work.destination)) continue;
      destinations.add(work.destination);
      active.isOverdue = true;
      this.#overdue.push(work);
      if (isLent) wanting--;
    }
  }

  /** The destination has spoken: its lanes leave the ring of unknown destinations. */
  #hear(destination: Destination<W>): void {
    if (destination.isHeard) return;
    destination.isHeard = true;
    for (const lane of destination.lanes.values()) {
      if (lane.ring === this.#new) this.#known.push(lane);
    }
  }

  #place(key: string): Place<W> {
    let place = this.#places.get(key);
    if (place === undefined) {
      if (this.#places.size >= MAX_IDLE_DESTINATIONS) {
        // An address forgotten while in use still counts for the jobs that hold it.
        this.#places.delete(this.#places.keys().next().value!);
      }
      place = { key, held: 0, parked: new Ring() };
      this.#places.set(key, place);
    }
    return place;
  }

  #destination(key: string): Destination<W> {
    let destination = this.#destinations.get(key);
    if (destination === undefined) {
      this.#forgetIdle();
      destination = {
        key,
        lanes: new Map(),
        parked: new Fifo(),
        window: openWindow(this.#limits),
        active: 0,
        isHeard: false,
        place: undefined,
      };
      this.#destinations.set(key, destination);
    }
    return destination;
  }

  /** Forgets one destination without work, the one known longest. */
  #forgetIdle(): void {
    if (this.#destinations.size < MAX_IDLE_DESTINATIONS) return;
    let checks = 100;
    for (const destination of this.#destinations.values()) {
      const { active, lanes, key } = destination;
      if (active === 0 && lanes.size === 0) {
        this.#destinations.delete(key);
        this.#dead.delete(destination);
        return;
      }
      // Move it to the end: destinations with work must not hide the idle ones.
      this.#destinations.delete(key);
      this.#destinations.set(key, destination);
      if (--checks === 0) return;
    }
  }

  /** Puts a lane that has work behind the waiting ones. */
  #enter(lane: Lane<W>): void {
    if (lane.destination.parked.length > 0) {
      lane.destination.parked.push(lane);
    } else {
      this.#list(lane);
    }
  }

  #list(lane: Lane<W>): void {
    (lane.destination.isHeard ? this.#known : this.#new).push(lane);
  }

  /** Takes a lane whose flow may have another slot; the two rings take turns. */
  #nextLane(): Lane<W> | undefined {
    if (this.#held >= this.#maxConcurrent) return undefined;
    this.#isNewNext = !this.#isNewNext;
    if (this.#isNewNext) return this.#nextNew() ?? this.#nextKnown();
    return this.#nextKnown() ?? this.#nextNew();
  }

  #nextKnown(): Lane<W> | undefined {
    return this.#known.shift(this.#mayGo);
  }

  /** Takes a lane to an unknown destination; flows that have lent no slot go first. */
  #nextNew(): Lane<W> | undefined {
    if (!this.#mayTake(this.#heldByNew)) return undefined;
    if (this.#lentByFlow.size > 0) {
      const lane = this.#new.shift((flow) =>
        !this.#lentByFlow.has(flow) && this.#mayGo(flow)
      );
      if (lane !== undefined) return lane;
    }
    return this.#new.shift(this.#mayGo);
  }

  #unpark(destination: Destination<W>, now: number): void {
    let free = windowSlots(destination.window, now) - destination.active;
    for (; free > 0 && destination.parked.length > 0; free--) {
      this.#list(destination.parked.shift()!);
    }
  }

  /** Updates the set of dead destinations and the time when the next pause ends. */
  #track(destination: Destination<W>): void {
    if (destination.window.deadUntil === 0) {
      this.#dead.delete(destination);
    } else {
      this.#dead.add(destination);
      const { deadUntil } = destination.window;
      this.#unthrottleAt = Math.min(this.#unthrottleAt, deadUntil);
    }
  }

  #unthrottleDue(now: number): void {
    this.#unthrottleAt = Infinity;
    for (const destination of this.#dead) {
      const { deadUntil } = destination.window;
      if (deadUntil <= now) {
        this.#dead.delete(destination);
        this.#unpark(destination, now);
      } else {
        this.#unthrottleAt = Math.min(this.#unthrottleAt, deadUntil);
      }
    }
  }
}

/** Takes the first job of the lane that is still wanted. */
function takeReady<W extends Work>(lane: Lane<W>): W | undefined {
  for (;;) {
    const work = lane.work.shift();
    if (work === undefined || work.isReady) return work;
  }
}

/** Adds to the count of a key; removes a count of 0. */
function count(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}

/** Lanes, in turns by flow. */
class Ring<W extends Work> {
  readonly #flows = new Map<string, Fifo<Lane<W>>>();
  readonly #turns = new Fifo<string>();

  /** Number of flows with lanes. Some of these lanes may have moved to another ring. */
  get size(): number {
    return this.#turns.length;
  }

  push(lane: Lane<W>): void {
    lane.ring = this;
    const lanes = this.#flows.get(lane.flow);
    if (lanes !== undefined) {
      lanes.push(lane);
      return;
    }
    const fresh = new Fifo<Lane<W>>();
    fresh.push(lane);
    this.#flows.set(lane.flow, fresh);
    this.#turns.push(lane.flow);
  }

  /** Takes the next lane of the next flow that may go; `undefined` if none may. */
  shift(mayGo?: (flow: string) => boolean): Lane<W> | undefined {
    for (let left = this.#turns.length; left > 0; left--) {
      const flow = this.#turns.shift()!;
      if (mayGo !== undefined && !mayGo(flow)) {
        this.#turns.push(flow);
        continue;
      }
      const lanes = this.#flows.get(flow)!;
      let lane = lanes.shift();
      // Skip lanes that have moved to another ring.
      while (lane !== undefined && lane.ring !== this) lane = lanes.shift();
      if (lanes.length > 0) this.#turns.push(flow);
      else this.#flows.delete(flow);
      if (lane === undefined) continue;
      lane.ring = undefined;
      return lane;
    }
    return undefined;
  }
}

/**
 * First in, first out, in constant time: the `shift` of an array moves every
 * element, which is too slow for a queue of 100,000.
 */
export class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

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
