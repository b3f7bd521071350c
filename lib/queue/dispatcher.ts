/**
 * Which delivery goes next. Owns the windows of the destinations, the global
 * cap and the turns; knows nothing of messages, files or time beyond the `now`
 * that it is told.
 *
 * Theory: work of one flow (a sender, or one huge message) for one destination
 * stands in a *lane*. Flows take turns, a flow's lanes take turns, so a flow
 * with 10,000 lanes delays another by one job, not by 10,000. A lane whose
 * destination has no slot is *parked* there and costs nothing; a slot that
 * falls free wakes one parked lane, in order, so flows take turns at a busy
 * destination too. A lane is in exactly one place: nowhere (empty), with its
 * flow, or parked.
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
import { Fifo } from "./fifo.ts";

/** One job to be dispatched. */
export interface Work {
  /** Whom it is for, as to turns: work of the same flow waits in line. */
  readonly flow: string;
  /** Where it goes. */
  readonly destination: string;
  /** Whether it is still wanted; one that is not is dropped when its turn comes. */
  readonly isReady: boolean;
}

/** How a job ended, as far as the destination is concerned. */
export type WorkOutcome = "answered" | "destination-failed" | "unknown";

/** Options of {@linkcode Dispatcher}. */
export interface DispatcherOptions {
  /**
   * The most jobs under way, over all destinations.
   *
   * @default {100}
   */
  readonly maxJobs?: number;
  /** The window of each destination. */
  readonly window?: WindowLimits;
}

interface Destination<W extends Work> {
  readonly key: string;
  readonly lanes: Map<string, Lane<W>>;
  readonly parked: Fifo<Lane<W>>;
  window: DestinationWindow;
  active: number;
}

interface Lane<W extends Work> {
  readonly flow: string;
  readonly destination: Destination<W>;
  readonly work: Fifo<W>;
}

/** Destinations remembered beyond those with work, for what was learned of them. */
const MAX_IDLE_DESTINATIONS = 10_000;

/** Hands out work in fair turns, within the windows and the cap. */
export class Dispatcher<W extends Work> {
  readonly #maxJobs: number;
  readonly #limits: WindowLimits;
  readonly #destinations = new Map<string, Destination<W>>();
  readonly #dead = new Set<Destination<W>>();
  readonly #flows = new Map<string, Fifo<Lane<W>>>();
  readonly #turns = new Fifo<string>();
  #active = 0;
  #revival = Infinity;

  /**
   * Makes a dispatcher with no work.
   *
   * @param options The cap and the windows
   */
  constructor(options: DispatcherOptions = {}) {
    this.#maxJobs = options.maxJobs ?? 100;
    this.#limits = options.window ?? DEFAULT_WINDOW;
  }

  /** Jobs handed out and not done. */
  get active(): number {
    return this.#active;
  }

  /** When the next dead destination may be tried again; `Infinity` when none is dead. */
  get nextRevival(): number {
    return this.#revival;
  }

  /** The window of a destination, for those who watch. */
  windowOf(destination: string): DestinationWindow {
    return this.#destinations.get(destination)?.window ??
      openWindow(this.#limits);
  }

  /** Takes work that is due. */
  add(work: W): void {
    const destination = this.#destination(work.destination);
    const known = destination.lanes.get(work.flow);
    if (known !== undefined) {
      known.work.push(work);
      return;
    }
    const lane: Lane<W> = { flow: work.flow, destination, work: new Fifo() };
    lane.work.push(work);
    destination.lanes.set(work.flow, lane);
    this.#enter(lane);
  }

  /** The next job, which is under way from here on; `undefined` when none may go. */
  next(now: number): W | undefined {
    if (now >= this.#revival) this.#reviveDue(now);
    while (this.#active < this.#maxJobs) {
      const lane = this.#nextLane();
      if (lane === undefined) return undefined;
      const { destination } = lane;
      if (destination.active >= windowSlots(destination.window, now)) {
        destination.parked.push(lane);
        continue;
      }
      const work = takeReady(lane);
      if (work === undefined) {
        destination.lanes.delete(lane.flow);
        this.#unpark(destination, now);
        continue;
      }
      destination.active++;
      this.#active++;
      if (lane.work.length > 0) this.#enter(lane);
      else destination.lanes.delete(lane.flow);
      return work;
    }
    return undefined;
  }

  /** Ends a job that {@linkcode Dispatcher.next} handed out. */
  done(work: W, outcome: WorkOutcome, now: number): void {
    const destination = this.#destination(work.destination);
    destination.active--;
    this.#active--;
    if (outcome === "answered") {
      destination.window = afterSuccess(destination.window, this.#limits);
    } else if (outcome === "destination-failed") {
      destination.window = afterFailure(destination.window, now, this.#limits);
    }
    this.#track(destination);
    this.#unpark(destination, now);
  }

  /** Ends the pause of a dead destination: somebody knows better. */
  revive(destination: string, now: number): void {
    const known = this.#destinations.get(destination);
    if (known === undefined) return;
    known.window = endPause(known.window);
    this.#track(known);
    this.#unpark(known, now);
  }

  /** Ends the pauses of all destinations: their ends were set by a clock that was wrong. */
  reviveAll(now: number): void {
    for (const { key } of [...this.#dead]) this.revive(key, now);
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

  #nextLane(): Lane<W> | undefined {
    const flow = this.#turns.shift();
    if (flow === undefined) return undefined;
    const lanes = this.#flows.get(flow)!;
    const lane = lanes.shift();
    if (lanes.length > 0) this.#turns.push(flow);
    else this.#flows.delete(flow);
    return lane;
  }

  #unpark(destination: Destination<W>, now: number): void {
    let free = windowSlots(destination.window, now) - destination.active;
    for (; free > 0 && destination.parked.length > 0; free--) {
      this.#list(destination.parked.shift()!);
    }
  }

  /** Keeps the list of dead destinations and the time of the next revival. */
  #track(destination: Destination<W>): void {
    if (destination.window.deadUntil === 0) {
      this.#dead.delete(destination);
    } else {
      this.#dead.add(destination);
      const { deadUntil } = destination.window;
      this.#revival = Math.min(this.#revival, deadUntil);
    }
  }

  #reviveDue(now: number): void {
    this.#revival = Infinity;
    for (const destination of this.#dead) {
      const { deadUntil } = destination.window;
      if (deadUntil <= now) {
        this.#dead.delete(destination);
        this.#unpark(destination, now);
      } else {
        this.#revival = Math.min(this.#revival, deadUntil);
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
