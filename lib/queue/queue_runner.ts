/**
 * Time and deliveries: wakes what is due, hands it out in fair turns, writes
 * down what came of it. Owns the timer, the dispatcher and the jobs under way.
 * Never opens a socket and never decides what a reply means.
 *
 * Theory: a message sleeps until something of it is due. Then those of its
 * recipients whose time has come form groups, one a destination, which are
 * *ready*, in line with the dispatcher, then *active* with the delivery, then
 * over. Who is pending and in no group waits. A result is durable before its
 * slot is given back, so a disk that refuses stops deliveries instead of piling
 * up what would be repeated.
 */

import { describeError } from "../log.ts";
import { monotonic } from "../spool/clock.ts";
import { RetrySchedule } from "./schedule.ts";
import { expiryResults, JobRunner } from "./job_runner.ts";
import type { DeliveryState } from "./job.ts";
import { Dispatcher, type WorkPhase } from "./dispatcher.ts";
import { DEFAULT_WINDOW } from "./destination.ts";
import { hasOpenReports } from "../dsn/policy.ts";
import type { QueueConfig } from "./options.ts";
import type { Relay } from "./relay.ts";
import {
  destinationOf,
  expiresAt,
  formGroups,
  type RelayGroup,
  type RelayTask,
} from "./relay_task.ts";
import type { Settlement } from "./settlement.ts";
import { cancelWake, WakeHeap } from "./wake_heap.ts";

/** A timer of more than this is set again on the way: 32 bits of milliseconds are not enough for all. */
const MAX_TIMER = 3_600_000;
/** Milliseconds in which a message that is beyond its time already may be tried once more. */
const LAST_TRY_MS = 60_000;
/** Milliseconds that the end of deliveries gets which were broken off, and what comes of it. */
const AFTER_MS = 1000;
/** Milliseconds until a late message that nobody could be told of is looked at again. */
const RECHECK_MS = 900_000;

/** What a delivery waits for after each of its steps. */
const PHASES: Readonly<Record<DeliveryState, WorkPhase | undefined>> = {
  "idle-waiting": undefined,
  "resolving-mx": "calling",
  "resolving-a": "calling",
  "connecting": "calling",
  "connected": "calling",
  "negotiating-tls": "calling",
  "tls-established": "calling",
  "hello": "talking",
  "authenticating": "talking",
  "mail-from": "talking",
  "rcpt-to": "talking",
  "data": "talking",
  "sending-headers": "sending",
  "sending-body": "sending",
  "done": undefined,
};

/** Delivers what is due. */
export class QueueRunner {
  readonly #config: QueueConfig;
  readonly #jobs: JobRunner;
  readonly #dispatcher: Dispatcher<RelayGroup>;
  readonly #wakes = new WakeHeap<RelayTask>();
  readonly #active = new Set<RelayGroup>();
  readonly #work = new Set<Promise<void>>();
  #settlement: Settlement | undefined;
  #cancelTimer: (() => void) | undefined;
  #endGrace: (() => void) | undefined;
  #cancelWatch: (() => void) | undefined;
  /** When the timer goes off, by the clock that is never set. */
  #timerAt = Infinity;
  /** When the clock was last looked at, by itself. */
  #lastNow = -Infinity;
  #stopping = true;
  #pumping = false;

  /**
   * Makes a runner that stands still.
   *
   * @param config The queue's options
   * @param relayOf The program's handle on a message
   */
  constructor(config: QueueConfig, relayOf: (task: RelayTask) => Relay) {
    this.#config = config;
    this.#jobs = new JobRunner(config, {
      relayOf,
      finish: async (task) => await this.#settlement?.finish(task),
      onStep: (group, state) => this.#step(group, state),
      onHost: (group, address) => this.#dispatcher.reach(group, address),
    });
    const { maxConcurrent, maxPerDestination } = config;
    this.#dispatcher = new Dispatcher({
      maxConcurrent,
      // Few at first, so that a destination in trouble is not flooded.
      window: { ...DEFAULT_WINDOW, max: maxPerDestination },
    });
  }

  /** Deliveries under way. */
  get active(): number {
    return this.#active.size;
  }

  /** Begins to deliver. */
  start(settlement: Settlement): void {
    this.#settlement = settlement;
    this.#stopping = false;
    this.#cancelWatch = this.#config.clock.onJump?.(() => this.#pump());
  }

  /** Takes a message that is safe in the spool. */
  admit(task: RelayTask): void {
    const { clock, schedule } = this.#config;
    // What is read from the spool may have been put off by a clock that was ahead.
    bringNear(task, clock.now(), schedule);
    this.reschedule(task);
    this.#settleLater(task);
  }

  /** Looks anew at when a message is to be tried: something was changed. */
  reschedule(task: RelayTask): void {
    task.dropReady();
    this.#schedule(task);
  }

  /** Forgets the pauses of a message's destinations: somebody knows better. */
  revive(task: RelayTask): void {
    const now = monotonic(this.#config.clock);
    task.isUrged = true;
    const { recipients } = task.entry.envelope;
    const destinations = new Set(
      recipients.map(({ address }) =>
        destinationOf(task.entry, address, this.#config)
      ),
    );
    for (const destination of destinations) {
      this.#dispatcher.revive(destination, now);
    }
  }

  /** Ends the deliveries under way of a message that is being removed. */
  abort(task: RelayTask): void {
    for (const group of task.groups) {
      group.abort?.abort(new DOMException("Message removed", "AbortError"));
    }
    task.dropReady();
  }

  /** Has a look at a message at a time, unless it has one before. */
  wakeAt(task: RelayTask, at: number): void {
    if (at === Infinity || task.removed) return;
    // Its timer may have been set by a clock that is another one by now.
    if (task.wakeAt <= at) return this.#arm();
    cancelWake(task.wake);
    task.wake = this.#wakes.push(task, at);
    this.#arm();
  }

  /** Ends all deliveries under way; with them the grace of a stop. */
  abortAll(): void {
    this.#endGrace?.();
    for (const group of this.#active) {
      group.abort?.abort(new DOMException("Queue stops", "AbortError"));
    }
  }

  /**
   * Stops: nothing new begins; what is under way has `graceMs` milliseconds to
   * end. What waits for a disk that refuses is still under way after that.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    this.#cancelWatch?.();
    const { clock } = this.#config;
    const { promise: over, resolve } = Promise.withResolvers<void>();
    let cancelEnd: (() => void) | undefined;
    this.#endGrace = () => {
      cancelEnd ??= clock.setTimer(AFTER_MS, resolve);
    };
    const cancel = clock.setTimer(graceMs, () => this.abortAll());
    await Promise.race([this.#idle(), over]);
    cancel();
    cancelEnd?.();
    this.#endGrace = undefined;
  }

  /** Waits a little for what a closed spool has ended. */
  async end(): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const cancel = this.#config.clock.setTimer(AFTER_MS, resolve);
    await Promise.race([this.#idle(), over]);
    cancel();
  }

  async #idle(): Promise<void> {
    // A job that ends may begin another piece of work, as a notice.
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  /** Sees to it that a message is looked at when something of it is due. */
  #schedule(task: RelayTask): void {
    const { held, delayReported } = task.entry.progress;
    if (held || task.removed || !task.isPending) return;
    const { clock, expireAfterMs, delayNoticeMs } = this.#config;
    const now = clock.now();
    const expiry = expiresAt(task, expireAfterMs);
    const delayAt = task.entry.envelope.acceptedAt + delayNoticeMs;
    this.wakeAt(
      task,
      Math.min(
        task.nextTryAt(),
        expiry > now ? expiry : Math.max(task.giveUpAt, now),
        delayReported ? Infinity : delayAt > now ? delayAt : now + RECHECK_MS,
      ),
    );
  }

  /** Sets the timer to the next thing that is due. */
  #arm(): void {
    if (this.#stopping || this.#pumping) return;
    const { clock } = this.#config;
    const present = monotonic(clock);
    const at = Math.min(
      present + Math.max(0, this.#wakes.next - clock.now()),
      this.#dispatcher.nextLook,
    );
    if (at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    const wait = Math.min(MAX_TIMER, Math.max(0, at - present));
    this.#cancelTimer = clock.setTimer(wait, () => this.#pump());
  }

  /** Wakes what is due and begins as many deliveries as may be under way. */
  #pump(): void {
    if (this.#pumping) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    if (this.#stopping) return;
    this.#pumping = true;
    try {
      this.#runDue();
    } finally {
      this.#pumping = false;
      this.#arm();
    }
  }

  #runDue(): void {
    const { clock } = this.#config;
    const now = clock.now();
    if (isSetBack(this.#lastNow, now)) this.#wakeNear(now);
    this.#lastNow = now;
    for (;;) {
      const task = this.#wakes.take(now);
      if (task === undefined) break;
      this.#look(task, now);
    }
    const present = monotonic(clock);
    for (;;) {
      const group = this.#dispatcher.next(present);
      if (group === undefined) break;
      this.#begin(group);
    }
    for (const { abort } of this.#dispatcher.takeOverdue()) {
      abort?.abort(new DOMException("No word in time", "TimeoutError"));
    }
  }

  /** Wakes everything that sleeps, to look at the new time. */
  #wakeNear(now: number): void {
    const sleeping = new Set<RelayTask>();
    for (;;) {
      const task = this.#wakes.take(Infinity);
      if (task === undefined) break;
      sleeping.add(task);
    }
    for (const task of sleeping) {
      task.wake = undefined;
      bringNear(task, now, this.#config.schedule);
      this.#schedule(task);
    }
  }

  /** A delivery has made a step: others may be let go for it. */
  #step(group: RelayGroup, state: DeliveryState): void {
    const phase = PHASES[state];
    if (phase === undefined) return;
    const isFirstWord = this.#dispatcher.step(
      group,
      phase,
      monotonic(this.#config.clock),
    );
    if (isFirstWord) this.#pump();
  }

  #begin(group: RelayGroup): void {
    group.place = "active";
    const abort = new AbortController();
    group.abort = abort;
    this.#active.add(group);
    this.track(this.#deliver(group, abort));
  }

  async #deliver(group: RelayGroup, abort: AbortController): Promise<void> {
    const { task } = group;
    const outcome = await this.#jobs.run(group, abort.signal);
    group.abort = undefined;
    task.drop(group);
    this.#active.delete(group);
    const { clock } = this.#config;
    this.#dispatcher.done(group, outcome, monotonic(clock));
    if (!task.isActive) {
      const isOver = task.removed || !task.isPending;
      this.#jobs.setState(task, isOver ? "done" : "idle-waiting");
    }
    this.#schedule(task);
    // Others need not wait for the notices of this one.
    this.#pump();
    await this.#settlement?.settle(task);
  }

  /** Puts in line what is due of a message, and looks at its age. */
  #look(task: RelayTask, now: number): void {
    task.wake = undefined;
    if (task.removed) return;
    const { progress, envelope } = task.entry;
    const { maxRecipients, expireAfterMs, delayNoticeMs, commonDestination } =
      this.#config;
    // Whoever holds a message has taken over the watch on its age.
    const isExpired = !progress.held && now >= expiresAt(task, expireAfterMs);
    const isLate = !progress.held && !progress.delayReported &&
      now >= envelope.acceptedAt + delayNoticeMs;
    if (!progress.held) {
      // Before the expiry is looked at: what is due with it gets its last try.
      const groups = formGroups(task, now, {
        max: maxRecipients,
        commonDestination,
      });
      for (const group of groups) this.#dispatcher.add(group);
    }
    if (isExpired || isLate || task.noticeAt > 0 || !task.isPending) {
      this.track(this.#age(task, { isExpired, isLate }));
    } else {
      this.#schedule(task);
    }
  }

  async #age(
    task: RelayTask,
    age: { readonly isExpired: boolean; readonly isLate: boolean },
  ): Promise<void> {
    try {
      if (age.isExpired) await this.#expire(task);
      else if (age.isLate) await this.#settlement?.reportDelay(task);
      this.#schedule(task);
    } catch (error) {
      this.#logError("Cannot deal with an old message", task, error);
      this.wakeAt(task, this.#config.clock.now() + RECHECK_MS);
    }
    await this.#settlement?.settle(task);
  }

  /** Gives up what is not being delivered, and what has had its chance of a last try. */
  async #expire(task: RelayTask): Promise<void> {
    const now = this.#config.clock.now();
    if (task.giveUpAt > 0 && now >= task.giveUpAt) task.dropReady();
    if (task.giveUpAt <= now) task.giveUpAt = now + LAST_TRY_MS;
    const indices = [...task.waiting()].map(({ index }) => index);
    if (indices.length === 0) return;
    await this.#config.spool.change(task.entry.envelope.id, {
      kind: "result",
      results: expiryResults(task.entry.progress, indices, now),
    });
  }

  #settleLater(task: RelayTask): void {
    if (task.isPending && !hasOpenReports(task.entry)) return;
    this.track(this.#settlement?.settle(task) ?? Promise.resolve());
  }

  /** Remembers work so that a stop can wait for it. It never rejects. */
  track(work: Promise<void>): void {
    this.#work.add(work);
    work.finally(() => this.#work.delete(work));
  }

  #logError(message: string, task: RelayTask, error: unknown): void {
    this.#config.log({
      level: "error",
      event: "error",
      message,
      fields: { id: task.entry.envelope.id },
      error: describeError(error),
    });
  }
}

/** A clock that goes back by no more than this is being corrected, not set; in ms. */
const CORRECTION_MS = 60_000;
/** The schedule's delays are varied by a tenth. */
const JITTER = 1.1;

/** Whether a clock that was at `before` and is at `now` has been set back. */
function isSetBack(before: number, now: number): boolean {
  return before - now > CORRECTION_MS;
}

/**
 * Brings tries that lie further ahead than they can have been put off back
 * within reach. Says whether there were any.
 *
 * @param task The message
 * @param now In milliseconds since 1970
 * @param usual The schedule of messages that have none of their own
 */
function bringNear(
  task: RelayTask,
  now: number,
  usual: RetrySchedule,
): boolean {
  const { options } = task.entry.envelope;
  const schedule = options.schedule === undefined
    ? usual
    : RetrySchedule.parse(options.schedule);
  const longest = Math.max(...schedule.delays) * JITTER + CORRECTION_MS;
  const latest = now + Math.max(longest, options.idleWaitMs ?? 0);
  let found = false;
  for (const recipient of task.entry.progress.recipients) {
    if (recipient.status !== "pending" || recipient.nextTryAt <= latest) {
      continue;
    }
    recipient.nextTryAt = now;
    found = true;
  }
  return found;
}
