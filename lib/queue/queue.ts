/**
 * The queue: the one owner of the spool and of all deliveries. Joins the parts,
 * takes messages, carries out what programs and operators ask.
 *
 * Never delivers by itself and never waits for a delivery before it answers.
 * A crash at any moment loses nothing that was accepted; at worst a message is
 * sent a second time.
 */

import { describeError } from "../log.ts";
import type { Message } from "../message/message.ts";
import { lossResults } from "./job_runner.ts";
import { openReports } from "../dsn/policy.ts";
import { DsnSender } from "../dsn/sender.ts";
import {
  configure,
  type QueueConfig,
  type RelayQueueOptions,
} from "./options.ts";
import { QueueRunner } from "./queue_runner.ts";
import { isSpoolId } from "../spool/record.ts";
import { Relay, type RelayOptions, type RelayOwner, Relays } from "./relay.ts";
import { RelayTask } from "./relay_task.ts";
import { Settlement } from "./settlement.ts";
import {
  changesFor,
  type SpoolAction,
  SpoolError,
  type SpoolProblem,
} from "../spool/spool.ts";
import {
  applyChange,
  type EnvelopeOptions,
  type RelayRoute,
  type SpoolChange,
  type SpoolEntry,
} from "../spool/envelope.ts";

/** Messages that are changed together when all of them are to be. */
const ACTIONS_AT_ONCE = 1000;

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
  /** The messages. */
  readonly relays: Relays;
  readonly #config: QueueConfig;
  readonly #tasks = new Map<string, RelayTask>();
  /** Names of messages that are being added. */
  readonly #names = new Set<string>();
  readonly #owner: RelayOwner;
  readonly #runner: QueueRunner;
  #isRunning = false;
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
    this.#runner = new QueueRunner(this.#config, (task) => this.#relay(task));
    this.#owner = {
      act: (task, action) => this.#act(task, { action, isAll: false }),
      reroute: (task, route) => this.#reroute(task, route),
      setTag: (task, tag) => this.#setTag(task, tag),
    };
    const tasks = this.#tasks;
    this.relays = new Relays({
      add: (message, relayOptions) => this.#add(message, relayOptions ?? {}),
      get: (id) => {
        const task = tasks.get(id);
        return task === undefined ? undefined : this.#relay(task);
      },
      ids: () => [...tasks.keys()],
      get count(): number {
        return tasks.size;
      },
    });
  }

  /** Deliveries under way. */
  get active(): number {
    return this.#runner.active;
  }

  /**
   * Opens the spool and begins to deliver what is in it.
   *
   * @returns What was wrong in the spool, and what was done with it; logged as well
   * @throws {SpoolError} If the spool cannot be opened
   */
  async start(): Promise<readonly SpoolProblem[]> {
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
    const notifier = new DsnSender({
      spool,
      hostname,
      from: bounceFrom,
      returnLimit,
      newId: () => this.#newId(),
    });
    for (const { lost = [] } of problems) {
      for (const entry of lost) await this.#tellLoss(entry, notifier);
    }
    const settlement = new Settlement(this.#config, {
      notifier,
      host: {
        admit: (entry) => void this.#admit(entry),
        wakeAt: (task, at) => this.#runner.wakeAt(task, at),
        forget: (task) => void this.#tasks.delete(task.entry.envelope.id),
        reschedule: (task) => this.#runner.reschedule(task),
        relayOf: (task) => this.#relay(task),
      },
    });
    this.#isRunning = true;
    this.#runner.start(settlement);
    for (const entry of spool.entries.values()) this.#admit(entry);
    this.#pollLater();
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
    this.#runner.abortAll();
  }

  async #stop(graceMs: number): Promise<void> {
    this.#isRunning = false;
    this.#cancelPoll?.();
    await this.#runner.stop(graceMs);
    try {
      await this.#config.spool.close();
    } catch (error) {
      this.#logError("The spool is not up to date", error);
      throw error;
    } finally {
      await this.#runner.end();
    }
  }

  /** As {@linkcode RelayQueue.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #add(message: Message, options: RelayOptions): Promise<Relay> {
    if (!this.#isRunning) {
      throw new SpoolError(
        `Cannot relay message "${message.id}": the queue is not running`,
      );
    }
    const recipients = options.recipients ?? message.recipients;
    if (recipients.length === 0) {
      throw new TypeError(
        `Cannot relay message "${message.id}": want one recipient at least`,
      );
    }
    const tag = asJson(options.tag);
    const id = this.#reserve(message.id);
    try {
      const entry = await this.#config.spool.add({
        envelope: {
          id,
          from: String(message.from),
          parameters: message.parameters,
          recipients: recipients.map(({ address, parameters }) => ({
            address: String(address),
            parameters,
          })),
          size: message.trace.length + message.size,
          acceptedAt: this.#config.clock.now(),
          options: this.#envelopeOptions(options),
        },
        login: options.login,
        held: options.held ?? false,
        tag,
        content: message.chunks(),
      });
      return this.#relay(this.#admit(entry));
    } finally {
      this.#names.delete(id);
    }
  }

  /** Tells the sender of a message that it was accepted and is lost. Never rejects. */
  async #tellLoss(entry: SpoolEntry, notifier: DsnSender): Promise<void> {
    const { spool, clock, log } = this.#config;
    const { id } = entry.envelope;
    const now = clock.now();
    applyChange(entry.progress, {
      kind: "result",
      results: lossResults(entry.progress, now),
    });
    const indices = openReports(entry).toReturn;
    if (indices.length === 0) return;
    try {
      const notice = await notifier.make(entry, {
        kind: "failed",
        indices,
        now,
        expiresAt: now,
      });
      await spool.add(notice);
      log({
        level: "info",
        event: "bounce",
        message: "Told the sender: lost",
        fields: { id, notice: notice.envelope.id, recipients: indices.length },
      });
    } catch (error) {
      this.#logError("Cannot tell the sender of a lost message", error);
    }
  }

  /** Options of the envelope: what is given, and nothing else. */
  #envelopeOptions(options: RelayOptions): EnvelopeOptions {
    const { smarthost, security, schedule, expireAfterMs, login } = options;
    const idleWaitMs = options.idleWaitMs ?? this.#config.idleWaitMs;
    return {
      ...(smarthost === undefined ? {} : { smarthost }),
      ...(security === undefined ? {} : { security }),
      ...(schedule === undefined ? {} : { schedule: String(schedule) }),
      ...(expireAfterMs === undefined ? {} : { expireAfterMs }),
      ...(login === undefined ? {} : { hasLogin: true }),
      ...(idleWaitMs === 0 ? {} : { idleWaitMs }),
    };
  }

  /** A name for a message: its own, or that with a number when it is relayed twice. */
  #reserve(wanted: string): string {
    const base = isSpoolId(wanted) && wanted.length < 90
      ? wanted
      : this.#newId();
    let id = base;
    for (let number = 2; this.#isTaken(id); number++) id = `${base}-${number}`;
    this.#names.add(id);
    return id;
  }

  #isTaken(id: string): boolean {
    return id === "all" || this.#names.has(id) || this.#tasks.has(id) ||
      this.#config.spool.entries.has(id);
  }

  #newId(): string {
    const { clock, random } = this.#config;
    const number = Math.floor(random() * 2 ** 48);
    const id = `${Math.floor(clock.now()).toString(36)}${
      number.toString(36).padStart(10, "0")
    }`;
    return this.#isTaken(id) ? this.#newId() : id;
  }

  #admit(entry: SpoolEntry): RelayTask {
    const task = new RelayTask(entry);
    this.#tasks.set(entry.envelope.id, task);
    this.#runner.admit(task);
    return task;
  }

  #relay(task: RelayTask): Relay {
    return task.relay ??= new Relay(task, this.#owner);
  }

  /** Carries out an action on one message, durably. */
  async #act(
    task: RelayTask,
    request: { readonly action: SpoolAction; readonly isAll: boolean },
  ): Promise<void> {
    if (task.removed) return;
    const { action, isAll } = request;
    const { spool, clock } = this.#config;
    const { id } = task.entry.envelope;
    if (action === "remove") {
      task.leave();
      this.#tasks.delete(id);
      this.#runner.abort(task);
      return await spool.remove(id);
    }
    const changes = changesFor(task.entry, action, {
      now: clock.now(),
      isAll,
    });
    if (changes.length === 0) return;
    const written = changes.map((change) => spool.change(id, change));
    if (action === "retry") this.#runner.revive(task);
    this.#runner.reschedule(task);
    await Promise.all(written);
  }

  async #reroute(task: RelayTask, route: RelayRoute): Promise<void> {
    if (task.removed) return;
    const { smarthost, security } = route;
    const change: SpoolChange = {
      kind: "route",
      route: { smarthost, security },
    };
    const written = this.#config.spool.change(task.entry.envelope.id, change);
    this.#runner.reschedule(task);
    await written;
  }

  #setTag(task: RelayTask, tag: unknown): void {
    const { spool } = this.#config;
    const change: SpoolChange = { kind: "tag", tag: asJson(tag) };
    spool.change(task.entry.envelope.id, change).catch((error) =>
      this.#logError("Cannot write down the tag of a message", error)
    );
  }

  #pollLater(): void {
    const { spool, clock, pollMs } = this.#config;
    if (spool.requests === undefined || !this.#isRunning) return;
    this.#cancelPoll = clock.setTimer(pollMs, () => {
      this.#runner.track(this.#poll().finally(() => this.#pollLater()));
    });
  }

  /** Carries out what was asked from outside. Never rejects. */
  async #poll(): Promise<void> {
    try {
      for (const request of await this.#config.spool.requests!()) {
        const { action, id } = request;
        const isAll = id === "all";
        const one = this.#tasks.get(id);
        const tasks = isAll ? [...this.#tasks.values()] : one ? [one] : [];
        for (let at = 0; at < tasks.length; at += ACTIONS_AT_ONCE) {
          await Promise.all(
            tasks.slice(at, at + ACTIONS_AT_ONCE).map((task) =>
              this.#act(task, { action, isAll })
            ),
          );
        }
        await request.done();
      }
    } catch (error) {
      this.#logError("Cannot carry out a request from outside", error);
    }
  }

  #logError(message: string, error: unknown): void {
    this.#config.log({
      level: "error",
      event: "error",
      message,
      error: describeError(error),
    });
  }
}

/**
 * A copy of a value that is certain to come back from the spool as it is.
 *
 * @throws {TypeError} If it cannot be written as JSON
 */
function asJson(value: unknown): unknown {
  if (value === undefined) return undefined;
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new TypeError("Cannot keep tag: want a JSON value", { cause });
  }
  if (text === undefined) {
    throw new TypeError(
      `Cannot keep tag of type "${typeof value}": want a JSON value`,
    );
  }
  return JSON.parse(text);
}
