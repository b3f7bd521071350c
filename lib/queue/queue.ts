/**
 * The queue: the one owner of the spool and of all deliveries. Joins the parts,
 * takes messages, carries out what programs and operators ask.
 *
 * Never delivers by itself and never waits for a delivery before it answers.
 * A crash at any moment loses nothing that was accepted; at worst a message is
 * sent a second time.
 */

import { describeError } from "../log.ts";
import { DsnSender } from "../dsn/sender.ts";
import { SpoolError, type SpoolProblem } from "../spool/spool.ts";
import { Completion } from "./complete.ts";
import { QueueControl } from "./control.ts";
import {
  configure,
  type QueueConfig,
  type RelayQueueOptions,
} from "./options.ts";
import { Relays } from "./relay.ts";
import { QueueRunner } from "./runner.ts";

/**
 * A durable queue of messages to be relayed.
 *
 * @example Relay messages with a delivery of one's own
 * ```ts
 * import { MemorySpool, RelayQueue } from "@smtp/server";
 *
 * await using queue = new RelayQueue({
 *   spool: new MemorySpool(),
 *   hostname: "mx.example.com",
 *   deliver: (job) =>
 *     Promise.resolve({
 *       recipients: job.recipients.map(() => ({ status: "delivered" })),
 *       destinationFailed: false,
 *     }),
 * });
 * await queue.start();
 * console.assert(queue.relays.count === 0);
 * ```
 */
export class RelayQueue implements AsyncDisposable {
  /** The messages; none while the queue is not running. */
  readonly relays: Relays;
  readonly #config: QueueConfig;
  readonly #control: QueueControl;
  #runner: QueueRunner | undefined;
  #cancelPoll: (() => void) | undefined;
  #stopped: Promise<void> | undefined;

  /**
   * Makes a queue that is not running yet.
   *
   * @param options Spool, delivery, and how to go about it
   * @throws {RangeError} If a number among the options makes no sense
   */
  constructor(options: RelayQueueOptions) {
    this.#config = configure(options);
    this.#control = new QueueControl(this.#config);
    this.relays = new Relays(this.#control);
  }

  /** Deliveries under way. */
  get active(): number {
    return this.#runner?.active ?? 0;
  }

  /**
   * Opens the spool and begins to deliver what is in it. A queue that was
   * stopped may be started again.
   *
   * @returns What was wrong in the spool, and what was done with it; logged as well
   * @throws {SpoolError} If the spool cannot be opened, or the queue is running
   */
  async start(): Promise<readonly SpoolProblem[]> {
    if (this.#runner !== undefined && this.#stopped === undefined) {
      throw new SpoolError("Cannot start a queue that is running");
    }
    const opening = this.#start();
    this.#control.opening = opening;
    try {
      return await opening;
    } finally {
      this.#control.opening = undefined;
    }
  }

  async #start(): Promise<readonly SpoolProblem[]> {
    await this.#stopped?.catch(() => {});
    const { spool, hostname, bounceFrom, returnLimit, log } = this.#config;
    const problems = await spool.open();
    for (const { name, reason } of problems) {
      log({
        level: "warn",
        event: "error",
        message: `Spool: ${reason}`,
        fields: { name },
      });
    }
    const { tasks } = this.#control;
    const notifier = new DsnSender({
      spool,
      hostname,
      from: bounceFrom,
      returnLimit,
      newId: () => this.#control.newId(),
    });
    const completion = new Completion(this.#config, { notifier, tasks });
    for (const { lost = [] } of problems) {
      for (const entry of lost) await completion.reportLoss(entry);
    }
    const runner = new QueueRunner(this.#config, { tasks, completion });
    this.#runner = runner;
    this.#stopped = undefined;
    this.#control.open(runner);
    runner.start();
    for (const entry of spool.entries.values()) runner.admit(entry);
    this.#pollLater(runner);
    return problems;
  }

  /**
   * Stops: begins no further delivery, lets those under way end, writes down
   * what came of them and closes the spool. Idempotent.
   *
   * @param options `graceMs`: milliseconds until deliveries under way are ended,
   * 10,000 by default; a message cut off that way is tried again at the next start
   * @throws {SpoolError} If the disk did not take all that came of the deliveries; it is stopped nevertheless
   */
  stop(options: { readonly graceMs?: number } = {}): Promise<void> {
    return this.#stopped ??= this.#stop(options.graceMs ?? 10_000);
  }

  /** Ends the deliveries under way, as the end of the grace of a stop does. */
  abort(): void {
    this.#runner?.abortAll();
  }

  async #stop(graceMs: number): Promise<void> {
    this.#control.close();
    this.#cancelPoll?.();
    await this.#runner?.stop(graceMs);
    try {
      await this.#config.spool.close();
    } catch (error) {
      this.#config.log({
        level: "error",
        event: "error",
        message: "The spool is not up to date",
        error: describeError(error),
      });
      throw error;
    } finally {
      await this.#runner?.end();
      this.#control.tasks.clear();
    }
  }

  /** As {@linkcode RelayQueue.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #pollLater(runner: QueueRunner): void {
    const { spool, clock, pollMs } = this.#config;
    if (spool.requests === undefined || this.#stopped !== undefined) return;
    this.#cancelPoll = clock.setTimer(pollMs, () => {
      runner.track(
        this.#control.carryOutRequests().finally(() => this.#pollLater(runner)),
      );
    });
  }
}
