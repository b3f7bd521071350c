/**
 * Time and deliveries: wakes what is due, hands it out in fair turns, writes
 * down what came of it. Owns the timer, the dispatcher and the jobs under way.
 * Never opens a socket and never decides what a reply means.
 *
 * Theory: a group of recipients is *waiting* for its time, *ready* in line,
 * *active* with the delivery, or *resting*. Only this file moves it, and only
 * along waiting -> ready -> active -> waiting or resting; a hold rests whatever
 * is not active. A result is durable before its slot is given back, so a disk
 * that refuses stops deliveries instead of piling up what would be repeated.
 */

import { describeError } from "../log.ts";
import { expiryResults } from "./delivery_results.ts";
import { Dispatcher } from "./dispatcher.ts";
import { JobRunner } from "./job_runner.ts";
import { hasOpenReports } from "./notices.ts";
import type { QueueConfig } from "./queue_options.ts";
import type { Relay } from "./relay.ts";
import {
  expiresAt,
  regroup,
  type RelayGroup,
  RelayTask,
} from "./relay_task.ts";
import type { Settlement } from "./settlement.ts";
import { WakeHeap } from "./wake_heap.ts";

/** A timer of more than this is set again on the way: 32 bits of milliseconds are not enough for all. */
const MAX_TIMER = 3_600_000;
/** Milliseconds in which a message that is beyond its time already may be tried once more. */
const LAST_TRY_MS = 60_000;
/** Milliseconds until a late message that nobody could be told of is looked at again. */
const RECHECK_MS = 900_000;

/** Delivers what is due. */
export class QueueRunner {
  readonly #config: QueueConfig;
  readonly #jobs: JobRunner;
  readonly #dispatcher: Dispatcher<RelayGroup>;
  readonly #wakes = new WakeHeap<RelayGroup | RelayTask>();
  readonly #active = new Set<RelayGroup>();
  readonly #work = new Set<Promise<void>>();
  #settlement: Settlement | undefined;
  #cancelTimer: (() => void) | undefined;
  #timerAt = Infinity;
  #stopping = true;
  #pumping = false;

  /**
   * @param config The queue's options
   * @param relayOf The program's handle on a message
   */
  constructor(config: QueueConfig, relayOf: (task: RelayTask) => Relay) {
    this.#config = config;
    this.#jobs = new JobRunner(config, {
      relayOf,
      finish: async (task) => await this.#settlement?.finish(task),
    });
    const { maxJobs, window } = config;
    this.#dispatcher = new Dispatcher({
      maxJobs,
      ...(window === undefined ? {} : { window }),
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
  }

  /** Takes a message that is safe in the spool. */
  admit(task: RelayTask): void {
    this.reschedule(task);
    this.#settleLater(task);
  }

  /** Forms the groups of a message anew and waits for their time. */
  reschedule(task: RelayTask): void {
    regroup(task, this.#config.maxRecipients);
    for (const group of task.groups) {
      if (group.place === "resting") this.#wait(group);
    }
    this.wakeAt(task, this.#nextLook(task));
    this.#arm();
  }

  /** Forgets the pauses of a message's destinations: somebody knows better. */
  revive(task: RelayTask): void {
    const now = this.#config.clock.now();
    for (const { destination } of task.groups) {
      this.#dispatcher.revive(destination, now);
    }
  }

  /** Ends the deliveries under way of a message that is being removed. */
  abort(task: RelayTask): void {
    for (const group of task.groups) {
      group.abort?.abort(new DOMException("Message removed", "AbortError"));
      if (group.place !== "active") group.place = "resting";
    }
  }

  /** Looks at the age of a message at a time. */
  wakeAt(task: RelayTask, at: number): void {
    if (at === Infinity || task.wakeAt <= at) return;
    task.wakeAt = at;
    this.#wakes.push(task, at);
    this.#arm();
  }

  /** Stops: nothing new begins; what is under way has `graceMs` milliseconds to end. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    const cancel = this.#config.clock.setTimer(graceMs, () => {
      for (const group of this.#active) {
        group.abort?.abort(new DOMException("Queue stops", "AbortError"));
      }
    });
    // A job that ends may begin another piece of work, as a notice.
    while (this.#work.size > 0) await Promise.all(this.#work);
    cancel();
  }

  /** Puts a group to wait for its time. */
  #wait(group: RelayGroup): void {
    const { task } = group;
    const at = group.nextTryAt();
    if (at === Infinity || task.entry.progress.held || task.removed) {
      group.place = "resting";
      return;
    }
    group.place = "waiting";
    group.wakeAt = at;
    this.#wakes.push(group, at);
    this.#arm();
  }

  /** When the age of a message matters next. */
  #nextLook(task: RelayTask): number {
    const { held, delayReported } = task.entry.progress;
    if (held || !task.isPending) return Infinity;
    const now = this.#config.clock.now();
    const usual = expiresAt(task, this.#config.expireAfterMs);
    // What was held, or stood still with the server, beyond its time gets a
    // last try before it is given up.
    const expiry = usual > now ? usual : now + LAST_TRY_MS;
    if (delayReported) return expiry;
    const delayAt = task.entry.envelope.acceptedAt + this.#config.delayNoticeMs;
    const delayLook = delayAt > now ? delayAt : now + RECHECK_MS;
    return Math.min(expiry, delayLook);
  }

  /** Sets the timer to the next thing that is due. */
  #arm(): void {
    if (this.#stopping || this.#pumping) return;
    const at = Math.min(this.#wakes.next, this.#dispatcher.nextRevival);
    if (at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#timerAt = at;
    const { clock } = this.#config;
    const wait = Math.min(MAX_TIMER, Math.max(0, at - clock.now()));
    this.#cancelTimer = clock.setTimer(wait, () => this.#pump());
  }

  /** Wakes what is due and begins as many deliveries as may be under way. */
  #pump(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#timerAt = Infinity;
    if (this.#stopping) return;
    const now = this.#config.clock.now();
    this.#pumping = true;
    for (;;) {
      const wake = this.#wakes.take(now);
      if (wake === undefined) break;
      if (wake.item.wakeAt !== wake.at) continue;
      if (wake.item instanceof RelayTask) this.#look(wake.item);
      else if (wake.item.place === "waiting") {
        wake.item.place = "ready";
        this.#dispatcher.add(wake.item);
      }
    }
    for (;;) {
      const group = this.#dispatcher.next(now);
      if (group === undefined) break;
      this.#begin(group);
    }
    this.#pumping = false;
    this.#arm();
  }

  #begin(group: RelayGroup): void {
    group.place = "active";
    const abort = new AbortController();
    group.abort = abort;
    this.#active.add(group);
    this.#track(this.#deliver(group, abort));
  }

  async #deliver(group: RelayGroup, abort: AbortController): Promise<void> {
    const { task } = group;
    const outcome = await this.#jobs.run(group, abort.signal);
    group.abort = undefined;
    group.place = "resting";
    this.#active.delete(group);
    this.#dispatcher.done(group, outcome, this.#config.clock.now());
    if (!task.isActive) {
      const isOver = task.removed || !task.isPending;
      this.#jobs.setState(task, isOver ? "done" : "idle-waiting");
    }
    this.#wait(group);
    this.wakeAt(task, this.#nextLook(task));
    // Others need not wait for the notices of this one.
    this.#pump();
    await this.#settlement?.settle(task);
  }

  /** Looks at the age of a message. */
  #look(task: RelayTask): void {
    task.wakeAt = Infinity;
    if (task.removed) return;
    this.#track(this.#age(task));
  }

  async #age(task: RelayTask): Promise<void> {
    const { clock, delayNoticeMs } = this.#config;
    const { envelope, progress } = task.entry;
    const now = clock.now();
    try {
      if (progress.held) {
        // Whoever holds a message has taken over the watch on its age.
      } else if (now >= expiresAt(task, this.#config.expireAfterMs)) {
        await this.#expire(task, now);
      } else if (
        now >= envelope.acceptedAt + delayNoticeMs && !progress.delayReported
      ) {
        await this.#settlement?.reportDelay(task);
      }
      this.wakeAt(task, this.#nextLook(task));
    } catch (error) {
      this.#logError("Cannot deal with an old message", task, error);
      this.wakeAt(task, now + RECHECK_MS);
    }
    await this.#settlement?.settle(task);
  }

  /** Gives up what is not being delivered at this moment. */
  async #expire(task: RelayTask, now: number): Promise<void> {
    const { progress, envelope } = task.entry;
    const indices: number[] = [];
    for (const group of task.groups) {
      if (group.place === "active") continue;
      group.place = "resting";
      indices.push(...group.pending());
    }
    if (indices.length === 0) return;
    await this.#config.spool.change(envelope.id, {
      kind: "result",
      results: expiryResults(progress, indices, now),
    });
  }

  #settleLater(task: RelayTask): void {
    if (task.isPending && !hasOpenReports(task.entry)) return;
    this.#track(this.#settlement?.settle(task) ?? Promise.resolve());
  }

  /** Remembers work so that a stop can wait for it. It never rejects. */
  #track(work: Promise<void>): void {
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
