/**
 * Which delivery goes next. Owns the windows of the destinations, the slots and
 * the turns; knows nothing of messages, files or time beyond the `now` that it
 * is told, which is of a clock that is never set.
 *
 * Theory: work of one flow (a sender, or one huge message) for one destination
 * stands in a *lane*. Flows take turns, a flow's lanes take turns, so a flow
 * with 10,000 lanes delays another by one job, not by 10,000. A lane whose
 * destination has no slot is *parked* there and costs nothing; a slot that
 * falls free wakes one parked lane, in order, so flows take turns at a busy
 * destination too. A lane is in exactly one place: nowhere (empty), in a ring
 * of turns, or parked.
 *
 * Turns alone are not enough where a job may last for minutes. So a flow, an
 * address that several destinations lead to, and all destinations together that
 * have not been heard of have a *share* of the slots: each may take a slot as
 * long as it holds less than three times what is free, which leaves some free
 * for somebody else whatever the number of those that want all. And a slot
 * whose job has waited for a second for a word of the other side is *lent* to
 * others; only so many jobs may wait on lent slots, and when there are more,
 * those that have waited longest for a word are *overdue*.
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
  /** Whom it is for, as to turns: work of the same flow waits in line. */
  readonly flow: string;
  readonly destination: string;
  /** Whether it is still wanted; one that is not is dropped when its turn comes. */
  readonly isReady: boolean;
}

/**
 * What a job is at: `"calling"` until the other side has said its first word,
 * `"talking"` while it waits for a reply, `"sending"` while content flows.
 */
export type WorkPhase = "calling" | "talking" | "sending";

/** How a job ended, as far as the destination is concerned. */
export type WorkOutcome = "answered" | "destination-failed" | "unknown";

export interface DispatcherOptions {
  /** The most jobs under way, over all destinations: 100 by default. */
  readonly maxConcurrent?: number;
  /**
   * The most jobs that wait for the other side and have lent their slot: twice
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
  /** The address that it was last found to lead to. */
  place: Place<W> | undefined;
}

interface Lane<W extends Work> {
  readonly flow: string;
  readonly destination: Destination<W>;
  readonly work: Fifo<W>;
  /** The ring that it stands in. */
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
  /** When it made its last step. */
  since: number;
  place: Place<W> | undefined;
  /** Whether it counts among those to destinations not heard of. */
  isNew: boolean;
  isLent: boolean;
  isOverdue: boolean;
}

/** Destinations and addresses remembered beyond those with work, for what was learned of them. */
const MAX_IDLE_DESTINATIONS = 10_000;
/** One may take a slot while it holds less than this many times what is free. */
const SHARE = 3;
/** Milliseconds without a step after which a slot is lent. */
const LEND_MS = 1000;
/** Milliseconds without a step after which even a slot is lent whose content should be flowing. */
const STALL_MS = 30_000;
/** Milliseconds that a job may wait for the reply of a host that has spoken, where others want to go. */
const TALK_PATIENCE_MS = 60_000;
/** Milliseconds that every job may wait for a first word. */
const PATIENCE_MS = 5000;
/** Milliseconds between two looks at who waits. */
const LOOK_MS = 100;

/** Lanes in turns of their flows. */
class Ring<W extends Work> {
  readonly #flows = new Map<string, Fifo<Lane<W>>>();
  readonly #turns = new Fifo<string>();

  /** Flows with lanes. Some of these may have gone elsewhere. */
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

  /** The next lane of the next flow that may go; `undefined` when none may. */
  shift(mayGo?: (flow: string) => boolean): Lane<W> | undefined {
    for (let looks = this.#turns.length; looks > 0; looks--) {
      const flow = this.#turns.shift()!;
      if (mayGo !== undefined && !mayGo(flow)) {
        this.#turns.push(flow);
        continue;
      }
      const lanes = this.#flows.get(flow)!;
      let lane = lanes.shift();
      // What has gone to another ring meanwhile is passed over.
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

/** Hands out work in fair turns, within the windows, the shares and the cap. */
export class Dispatcher<W extends Work> {
  readonly #maxConcurrent: number;
  readonly #maxWaiting: number;
  readonly #limits: WindowLimits;
  readonly #destinations = new Map<string, Destination<W>>();
  readonly #dead = new Set<Destination<W>>();
  readonly #places = new Map<string, Place<W>>();
  /** Lanes to destinations that were heard of, and to all others. */
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
  /** Addresses that lanes wait for. */
  readonly #crowded = new Set<Place<W>>();
  #isNewNext = false;
  #unthrottleAt = Infinity;
  /** When slots may have to be lent; `Infinity` while nobody waits for one. */
  #lookAt = Infinity;
  #overdue: W[] = [];

  constructor(options: DispatcherOptions = {}) {
    this.#maxConcurrent = options.maxConcurrent ?? 100;
    this.#maxWaiting = options.maxWaiting ?? 2 * this.#maxConcurrent;
    this.#limits = options.window ?? DEFAULT_WINDOW;
  }

  get active(): number {
    return this.#active.size;
  }

  /** When {@linkcode Dispatcher.next} may have more although nothing was added or done; `Infinity` for never. */
  get nextLook(): number {
    return Math.min(this.#unthrottleAt, this.#lookAt);
  }

  /** The window of a destination, for those who watch. */
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

  /** The next job, which is under way from here on; `undefined` when none may go. */
  next(now: number): W | undefined {
    if (now >= this.#unthrottleAt) this.#unthrottleDue(now);
    if (now >= this.#lookAt) this.#relieve(now);
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
    if (waiting === 0) this.#lookAt = Infinity;
    else if (this.#lookAt === Infinity) this.#lookAt = now + LOOK_MS;
    return undefined;
  }

  /** Tells where a job goes, once that is known: destinations that lead to one address share it. */
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
   * Tells what a job under way is at.
   *
   * @returns Whether it is the first word of a destination: others may go for it
   */
  step(work: W, phase: WorkPhase, now: number): boolean {
    const active = this.#active.get(work);
    if (active === undefined) return false;
    active.since = now;
    const isHeard = active.phase === "talking" || active.phase === "sending";
    // After a first word, what follows as negotiating TLS is talk.
    active.phase = phase === "calling" && isHeard ? "talking" : phase;
    if (active.phase === "calling") return false;
    if (active.isLent) {
      // It has come to life. There may be more jobs than slots for a while.
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

  /** Takes the jobs that have waited too long for a word while others want to go. */
  takeOverdue(): W[] {
    const overdue = this.#overdue;
    if (overdue.length > 0) this.#overdue = [];
    return overdue;
  }

  /** Ends a job that {@linkcode Dispatcher.next} handed out. */
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

  /** Ends the pause of a dead destination: somebody knows better. */
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

  /** Whether one that holds so many slots may have one more. */
  #mayTake(held: number): boolean {
    return held < SHARE * (this.#maxConcurrent - this.#held);
  }

  /** Counts a slot that a job has taken, or has given back. */
  #hold(active: Active<W>, by: 1 | -1): void {
    const { place, isNew, work: { flow } } = active;
    this.#held += by;
    if (isNew) this.#heldByNew += by;
    count(this.#heldByFlow, flow, by);
    if (place === undefined) return;
    place.held += by;
    if (by < 0) this.#unparkAt(place);
  }

  /** Wakes a lane that waits for an address: a slot there is free, or was not used. */
  #unparkAt(place: Place<W> | undefined): void {
    const lane = place?.parked.shift();
    if (place?.parked.size === 0) this.#crowded.delete(place);
    if (lane !== undefined) this.#list(lane);
  }

  /** Lends the slots of jobs that wait, and finds those that have waited too long. */
  #relieve(now: number): void {
    // A lane that was woken may have gone elsewhere, and woken no other.
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
    this.#lookAt = now + LOOK_MS;
  }

  #lend(active: Active<W>, isLent: boolean): void {
    active.isLent = isLent;
    this.#lent += isLent ? 1 : -1;
    count(this.#lentByFlow, active.work.flow, isLent ? 1 : -1);
  }

  /** Those that began first, and the others of their destinations. */
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

  /** The hosts of a destination speak: its lanes need not stand behind those of which nothing is known. */
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
        // Who is forgotten while it is in use counts on for those who know it.
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

  /** Forgets one of the destinations known longest that have no work. */
  #forgetIdle(): void {
    if (this.#destinations.size < MAX_IDLE_DESTINATIONS) return;
    let looks = 100;
    for (const destination of this.#destinations.values()) {
      const { active, lanes, key } = destination;
      if (active === 0 && lanes.size === 0) {
        this.#destinations.delete(key);
        this.#dead.delete(destination);
        return;
      }
      // Looked at last from now on: those with work must not hide the others.
      this.#destinations.delete(key);
      this.#destinations.set(key, destination);
      if (--looks === 0) return;
    }
  }

  /** Puts a lane that has work behind those that wait already. */
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

  /** A lane whose flow may have one more slot; the rings take turns. */
  #nextLane(): Lane<W> | undefined {
    if (this.#held >= this.#maxConcurrent) return undefined;
    this.#isNewNext = !this.#isNewNext;
    if (this.#isNewNext) return this.#nextNew() ?? this.#nextKnown();
    return this.#nextKnown() ?? this.#nextNew();
  }

  #nextKnown(): Lane<W> | undefined {
    return this.#known.shift(this.#mayGo);
  }

  /** Whoever has not led to silent hosts is first with those that nothing is known of. */
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

  /** Keeps the list of dead destinations and the time at which the next pause ends. */
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

/** The first work of the lane that is still wanted. */
function takeReady<W extends Work>(lane: Lane<W>): W | undefined {
  for (;;) {
    const work = lane.work.shift();
    if (work === undefined || work.isReady) return work;
  }
}

/** Counts for a key; a count of 0 is none. */
function count(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const sum = (counts.get(key) ?? 0) + by;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}

/**
 * First in, first out, in constant time: an array's own `shift` moves every
 * element, which a queue of 100,000 cannot afford.
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
