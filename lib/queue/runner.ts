/**
 * Timing and deliveries: wakes messages that are due, hands their recipients
 * out in fair turns and records the results. Owns the timer, the dispatcher and
 * the jobs under way. Never opens a socket and never decides what a reply means.
 *
 * Theory: a message sleeps until it is due. Then those of its recipients that
 * are due form groups, one for each destination. A group is *ready* while it is
 * in line with the dispatcher, then *active* while it is delivered, then *over*.
 * A pending recipient in no group waits. A result is durable before its slot is
 * returned: a disk that refuses writes stops deliveries, so that no pile of
 * deliveries grows that would have to be repeated.
 */

import { monotonic } from "../spool/clock.ts";
import { JITTER, RetrySchedule } from "./schedule.ts";
import { expiryResults, JobRunner } from "./job_runner.ts";
import { type DeliveryState, overdueReason } from "./job.ts";
import { logDelivery, logFault } from "./log.ts";
import { Dispatcher, type WorkPhase } from "./dispatcher.ts";
import { DEFAULT_WINDOW } from "./destination.ts";
import { hasOpenReports } from "../dsn/policy.ts";
import type { QueueConfig } from "./options.ts";
import type { RelayTasks } from "./relay.ts";
import {
  delayedAt,
  destinationOf,
  expiresAt,
  formGroups,
  type RelayGroup,
  RelayTask,
} from "./tasks.ts";
import type { Completion, CompletionSteps } from "./complete.ts";
import {
  applyChange,
  type RecipientResult,
  type SpoolChange,
  type SpoolEntry,
} from "../spool/envelope.ts";
import { cancelWake, WakeHeap } from "./wake_heap.ts";

/** Longest timer, in ms; a longer wait is split, since timers have only 32 bits of milliseconds. */
const MAX_TIMER = 3_600_000;
/** Milliseconds in which an expired message may be tried once more. */
const LAST_TRY_MS = 60_000;
/** Milliseconds for aborted deliveries to end and for their results to be recorded. */
const AFTER_MS = 1000;
/** Milliseconds until a late message is checked again whose delay could not be reported. */
const RECHECK_MS = 900_000;

/** The phase of a delivery after each of its steps. */
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

/** Delivers the messages that are due. */
export class QueueRunner {
  readonly #config: QueueConfig;
  readonly #tasks: RelayTasks;
  readonly #completion: Completion;
  readonly #jobs: JobRunner;
  readonly #dispatcher: Dispatcher<RelayGroup>;
  readonly #wakes = new WakeHeap<RelayTask>();
  readonly #active = new Set<RelayGroup>();
  readonly #work = new Set<Promise<void>>();
  #cancelTimer: (() => void) | undefined;
  #endGrace: (() => void) | undefined;
  #cancelWatch: (() => void) | undefined;
  /** Time of the timer, by the monotonic clock. */
  #timerAt = Infinity;
  /** Last time read from the clock. */
  #lastNow = -Infinity;
  #stopping = true;
  #running = false;

  /** Makes a runner that does not run yet. A stopped runner is not started again. */
  constructor(
    config: QueueConfig,
    parts: { readonly tasks: RelayTasks; readonly completion: Completion },
  ) {
    this.#config = config;
    this.#tasks = parts.tasks;
    this.#completion = parts.completion;
    this.#jobs = new JobRunner(config);
    const { maxConcurrent, maxPerDestination } = config;
    this.#dispatcher = new Dispatcher({
      maxConcurrent,
      // Few at first, so that a destination in trouble is not flooded.
      window: { ...DEFAULT_WINDOW, max: maxPerDestination },
    });
  }

  /** Number of deliveries under way. */
  get active(): number {
    return this.#active.size;
  }

  /** Begins to deliver. */
  start(): void {
    this.#stopping = false;
    this.#cancelWatch = this.#config.clock.onJump?.(() => this.#run());
  }

  /** Takes a message that is durable in the spool. */
  admit(entry: SpoolEntry): RelayTask {
    const { clock, schedule } = this.#config;
    const task = new RelayTask(entry);
    this.#tasks.add(task);
    // A clock that was ahead may have set its next try too far in the future.
    clampAfterClockJump(task, clock.now(), schedule);
    this.reschedule(task);
    if (!task.isPending || hasOpenReports(entry)) {
      this.track(this.#complete(task));
    }
    return task;
  }

  /** Computes the next try of a message again after a change. */
  reschedule(task: RelayTask): void {
    task.dropReady();
    this.#schedule(task);
  }

  /** Ends the pauses of a message's destinations, at the request of an operator or program. */
  unthrottle(task: RelayTask): void {
    const now = monotonic(this.#config.clock);
    task.isUrged = true;
    const { recipients } = task.entry.envelope;
    const destinations = new Set(
      recipients.map(({ address }) =>
        destinationOf(task.entry, address, this.#config)
      ),
    );
    for (const destination of destinations) {
      this.#dispatcher.unthrottle(destination, now);
    }
  }

  /** Aborts the deliveries of a message that is being removed. */
  abort(task: RelayTask): void {
    for (const group of task.groups) {
      group.abort?.abort(new DOMException("Message removed", "AbortError"));
    }
    task.dropReady();
  }

  /** Examines a message at a time, unless it is examined earlier anyway. */
  wakeAt(task: RelayTask, at: number): void {
    if (at === Infinity || task.removed) return;
    // The timer may have been set before the clock was changed.
    if (task.wakeAt <= at) return this.#arm();
    cancelWake(task.wake);
    task.wake = this.#wakes.push(task, at);
    this.#arm();
  }

  /** Aborts all deliveries under way and ends the grace period of a stop. */
  abortAll(): void {
    this.#endGrace?.();
    for (const group of this.#active) {
      group.abort?.abort(new DOMException("Queue stops", "AbortError"));
    }
  }

  /**
   * Stops: begins nothing new and waits up to `graceMs` milliseconds for the
   * deliveries under way. Work that waits for a disk that refuses writes is still
   * under way after that.
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

  /** Waits up to a second for work that the close of the spool ends. */
  async end(): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const cancel = this.#config.clock.setTimer(AFTER_MS, resolve);
    await Promise.race([this.#idle(), over]);
    cancel();
  }

  async #idle(): Promise<void> {
    // A job that ends may begin another piece of work, for example a DSN.
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  /** Wakes a message when its next event is due: a try, its expiry or its delay DSN. */
  #schedule(task: RelayTask): void {
    const { held, delayReported } = task.entry.progress;
    if (held || task.removed || !task.isPending) return;
    const { clock, expireAfterMs, delayNoticeMs } = this.#config;
    const now = clock.now();
    const expiry = expiresAt(task, expireAfterMs);
    const delayAt = delayedAt(task, delayNoticeMs);
    this.wakeAt(
      task,
      Math.min(
        task.nextTryAt(),
        expiry > now ? expiry : Math.max(task.giveUpAt, now),
        delayReported ? Infinity : delayAt > now ? delayAt : now + RECHECK_MS,
      ),
    );
  }

  /** Sets the timer to the next event. */
  #arm(): void {
    if (this.#stopping || this.#running) return;
    const { clock } = this.#config;
    const present = monotonic(clock);
    const at = Math.min(
      present + Math.max(0, this.#wakes.next - clock.now()),
      this.#dispatcher.nextDue,
    );
    if (at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    const wait = Math.min(MAX_TIMER, Math.max(0, at - present));
    this.#cancelTimer = clock.setTimer(wait, () => this.#run());
  }

  /** Wakes what is due and begins as many deliveries as the limits allow. */
  #run(): void {
    if (this.#running) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    if (this.#stopping) return;
    this.#running = true;
    try {
      this.#runDue();
    } finally {
      this.#running = false;
      this.#arm();
    }
  }

  #runDue(): void {
    const { clock } = this.#config;
    const now = clock.now();
    if (isSetBack(this.#lastNow, now)) this.#rescheduleAll(now);
    this.#lastNow = now;
    for (;;) {
      const task = this.#wakes.take(now);
      if (task === undefined) break;
      this.#examine(task, now);
    }
    const present = monotonic(clock);
    for (;;) {
      const group = this.#dispatcher.next(present);
      if (group === undefined) break;
      this.#begin(group);
    }
    for (const { abort } of this.#dispatcher.takeOverdue()) {
      abort?.abort(overdueReason());
    }
  }

  /** Schedules every sleeping message again, after the clock was set back. */
  #rescheduleAll(now: number): void {
    const sleeping = new Set<RelayTask>();
    for (;;) {
      const task = this.#wakes.take(Infinity);
      if (task === undefined) break;
      sleeping.add(task);
    }
    for (const task of sleeping) {
      task.wake = undefined;
      clampAfterClockJump(task, now, this.#config.schedule);
      this.#schedule(task);
    }
  }

  /** Records a step of a delivery. When its host speaks, other deliveries may begin. */
  #step(group: RelayGroup, state: DeliveryState): void {
    const phase = PHASES[state];
    const present = monotonic(this.#config.clock);
    const isFirstWord = phase !== undefined &&
      this.#dispatcher.step(group, phase, present);
    if (isFirstWord) this.#run();
    this.#setState(group.task, state);
  }

  /** Sets the state of a message and calls `onRelayStateChange`. */
  #setState(task: RelayTask, state: DeliveryState): void {
    const previous = task.state;
    if (previous === state) return;
    task.state = state;
    try {
      this.#config.onRelayStateChange?.(
        this.#tasks.relayOf(task),
        state,
        previous,
      );
    } catch (error) {
      logFault(this.#config, "A relay hook failed", error, task.entry);
    }
  }

  #begin(group: RelayGroup): void {
    group.place = "active";
    const abort = new AbortController();
    group.abort = abort;
    this.#active.add(group);
    this.track(this.#deliver(group, abort));
  }

  /** Delivers a group. Its result is durable before its slot is returned. */
  async #deliver(group: RelayGroup, abort: AbortController): Promise<void> {
    const { task } = group;
    const { outcome, results } = await this.#jobs.run(group, {
      signal: abort.signal,
      onState: (state) => this.#step(group, state),
      onHost: (address) => this.#dispatcher.reach(group, address),
    });
    if (results.length > 0) await this.#record(task, results);
    group.abort = undefined;
    task.drop(group);
    this.#active.delete(group);
    this.#dispatcher.done(group, outcome, monotonic(this.#config.clock));
    if (!task.isActive) {
      const isOver = task.removed || !task.isPending;
      this.#setState(task, isOver ? "done" : "idle-waiting");
    }
    this.#schedule(task);
    // Other deliveries need not wait for the DSNs of this message.
    this.#run();
    await this.#complete(task);
  }

  /** Makes the result of a delivery durable. */
  async #record(
    task: RelayTask,
    results: readonly RecipientResult[],
  ): Promise<void> {
    const { envelope, progress } = task.entry;
    const change: SpoolChange = { kind: "result", results };
    try {
      applyChange(progress, change);
      if (task.isPending || hasOpenReports(task.entry)) {
        await this.#config.spool.change(envelope.id, change);
      } else {
        // All recipients have a final status and no DSN is due: removing the message
        // records this as well, and costs one sync instead of two.
        this.#setState(task, "done");
        await this.#carryOut(task, this.#completion.finish(task));
      }
    } catch (error) {
      logFault(
        this.#config,
        "Cannot write down the result of a delivery",
        error,
        task.entry,
      );
    }
  }

  /** Does what the progress of a message requires. Never rejects. */
  #complete(task: RelayTask): Promise<void> {
    return this.#carryOut(task, this.#completion.complete(task));
  }

  async #carryOut(task: RelayTask, steps: CompletionSteps): Promise<void> {
    for await (const step of steps) {
      switch (step.kind) {
        case "admit":
          this.admit(step.entry);
          break;
        case "wake":
          this.wakeAt(task, step.at);
          break;
        case "reschedule":
          this.reschedule(task);
          break;
        case "forget":
          this.#tasks.delete(task);
          break;
        default:
          step satisfies never;
      }
    }
  }

  /** Puts the due recipients of a message in line, and checks its age. */
  #examine(task: RelayTask, now: number): void {
    task.wake = undefined;
    if (task.removed) return;
    const { progress } = task.entry;
    const { maxRecipients, expireAfterMs, delayNoticeMs, commonDestination } =
      this.#config;
    // A held message neither expires nor is reported late: its holder watches it.
    const isExpired = !progress.held && now >= expiresAt(task, expireAfterMs);
    const isLate = !progress.held && !progress.delayReported &&
      now >= delayedAt(task, delayNoticeMs);
    if (!progress.held) {
      // Before the expiry: recipients that are due now get their last try.
      const groups = formGroups(task, now, {
        max: maxRecipients,
        commonDestination,
      });
      for (const group of groups) this.#dispatcher.add(group);
    }
    if (isExpired || isLate || task.dsnAt > 0 || !task.isPending) {
      this.track(this.#expireOrDelay(task, { isExpired, isLate }));
    } else {
      this.#schedule(task);
    }
  }

  async #expireOrDelay(
    task: RelayTask,
    age: { readonly isExpired: boolean; readonly isLate: boolean },
  ): Promise<void> {
    try {
      if (age.isExpired) await this.#expire(task);
      else if (age.isLate) {
        await this.#carryOut(task, this.#completion.reportDelay(task));
      }
      this.#schedule(task);
    } catch (error) {
      logFault(
        this.#config,
        "Cannot deal with an old message",
        error,
        task.entry,
      );
      this.wakeAt(task, this.#config.clock.now() + RECHECK_MS);
    }
    await this.#complete(task);
  }

  /** Fails the recipients in no group. After the time for a last try, drops the groups in line too. */
  async #expire(task: RelayTask): Promise<void> {
    const now = this.#config.clock.now();
    if (task.giveUpAt > 0 && now >= task.giveUpAt) task.dropReady();
    if (task.giveUpAt <= now) task.giveUpAt = now + LAST_TRY_MS;
    const indices = [...task.waiting()].map(({ index }) => index);
    if (indices.length === 0) return;
    const { entry } = task;
    const results = expiryResults(entry, indices, now);
    await this.#config.spool.change(entry.envelope.id, {
      kind: "result",
      results,
    });
    for (const result of results) {
      logDelivery(this.#config, entry, result, { isExpired: true });
    }
  }

  /** Registers work that a stop waits for. The promise must not reject. */
  track(work: Promise<void>): void {
    this.#work.add(work);
    work.finally(() => this.#work.delete(work));
  }
}

/** Milliseconds up to which a clock that goes back is being corrected, not set. */
const CORRECTION_MS = 60_000;

/** Whether the clock was set back between `before` and `now`. */
function isSetBack(before: number, now: number): boolean {
  return before - now > CORRECTION_MS;
}

/**
 * Makes pending tries due now that lie further ahead than the schedule allows,
 * in memory only: a restart does it again.
 *
 * @param task The message
 * @param now In milliseconds since 1970
 * @param usual The schedule of messages without one of their own
 */
function clampAfterClockJump(
  task: RelayTask,
  now: number,
  usual: RetrySchedule,
): void {
  const { options } = task.entry.envelope;
  const schedule = options.schedule === undefined
    ? usual
    : RetrySchedule.parse(options.schedule);
  const longest = Math.max(...schedule.delays) * (1 + JITTER) +
    CORRECTION_MS;
  const latest = now + Math.max(longest, options.idleWaitMs ?? 0);
  const { progress } = task.entry;
  const results: RecipientResult[] = [];
  for (const [index, one] of progress.recipients.entries()) {
    const { status, attempts, nextTryAt } = one;
    if (status !== "pending" || nextTryAt <= latest) continue;
    results.push({ index, status, attempts, nextTryAt: now });
  }
  applyChange(progress, { kind: "result", results });
}
