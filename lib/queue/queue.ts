/**
 * The queue: the only owner of the spool and of all deliveries. It joins the
 * parts, takes messages, and finds and changes them for the program (through
 * {@linkcode Relay} handles) and for an operator (through spool requests).
 *
 * It never delivers by itself and never waits for a delivery before it answers.
 * Every change is durable before its promise resolves. A crash at any moment
 * loses nothing that was accepted; at worst a message is sent a second time.
 */

import { DsnSender } from "../dsn/sender.ts";
import {
  changesFor,
  type SpoolAction,
  SpoolError,
  type SpoolProblem,
  type SpoolRequest,
} from "../spool/spool.ts";
import { Completion } from "./complete.ts";
import {
  configure,
  type QueueConfig,
  type QueueMachine,
  type RelayQueueOptions,
} from "./options.ts";
import {
  recipientsOf,
  type Relay,
  type RelayOptions,
  type RelayOwner,
  type Relays,
  RelayTasks,
  senderOf,
} from "./relay.ts";
import { type Actor, logAction, logFault, logProblem } from "./log.ts";
import { QueueRunner } from "./runner.ts";
import type { ForwardRequest } from "../message/forwarder.ts";
import { Message } from "../message/message.ts";
import { signatureOf, withTop } from "../message/signer.ts";
import { messageOf, type OutgoingMail } from "./outgoing.ts";
import { MAX_HOLD, releaseTime } from "../protocol/timing.ts";
import { declinesTls } from "../protocol/tls_required.ts";
import { isSpoolId } from "../spool/record.ts";
import {
  type EnvelopeOptions,
  plainRoute,
  type RelayRoute,
  type SpoolChange,
} from "../spool/envelope.ts";
import type { RelayTask } from "./tasks.ts";

/**
 * A durable queue of messages to be relayed.
 *
 * @example Relay messages with a custom delivery
 * ```ts
 * import { MemorySpool, RelayQueue } from "@smtp/server/queue";
 *
 * await using queue = new RelayQueue({
 *   spool: new MemorySpool(),
 *   deliver: () => Promise.resolve({ status: "delivered" }),
 * });
 * await queue.start();
 * console.assert(queue.relays.count === 0);
 * ```
 */
export class RelayQueue implements AsyncDisposable {
  /** The messages in the queue; empty while the queue is not running. */
  readonly relays: Relays;
  readonly #config: QueueConfig;
  readonly #control: QueueControl;
  #runner: QueueRunner | undefined;
  #cancelPoll: (() => void) | undefined;
  #stopped: Promise<void> | undefined;

  /**
   * Makes a queue that is not running yet.
   *
   * @param options The spool, the delivery and the limits
   * @throws {RangeError} If a number among the options is out of range
   * @throws {SyntaxError} If the schedule cannot be read
   */
  constructor(options: RelayQueueOptions);
  /** @internal */
  constructor(options: RelayQueueOptions, machine: QueueMachine);
  constructor(options: RelayQueueOptions, machine: QueueMachine = {}) {
    this.#config = configure(options, machine);
    this.#control = new QueueControl(this.#config);
    this.relays = this.#control.tasks.relays;
  }

  /** Number of deliveries under way. */
  get active(): number {
    return this.#runner?.active ?? 0;
  }

  /**
   * Opens the spool and begins to deliver the messages in it. A queue that was
   * stopped may be started again.
   *
   * @returns The problems found in the spool and how each was handled; they are logged as well
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
    const { spool, hostname, bounceFrom, returnLimit } = this.#config;
    const { signer, forwarder } = this.#config;
    const problems = await spool.open();
    for (const problem of problems) logProblem(this.#config, problem);
    const { tasks } = this.#control;
    const dsnSender = new DsnSender({
      spool,
      hostname,
      from: bounceFrom,
      returnLimit,
      ...{ signer, forwarder },
      newId: () => this.#control.newId(),
    });
    const completion = new Completion(this.#config, { dsnSender, tasks });
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
   * Stops the queue: begins no further delivery, lets the deliveries under way
   * end, records their results and closes the spool. Idempotent.
   *
   * @param options `graceMs`: milliseconds until deliveries under way are aborted,
   * 10,000 by default. An aborted message is tried again at the next start
   * @throws {SpoolError} If the disk refused some of the results; the queue is stopped nevertheless
   */
  stop(options: { readonly graceMs?: number } = {}): Promise<void> {
    return this.#stopped ??= this.#stop(options.graceMs ?? 10_000);
  }

  /** Aborts the deliveries under way and ends the grace period of a stop. */
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
      logFault(this.#config, "The spool is not up to date", error);
      throw error;
    } finally {
      await this.#runner?.end();
      this.#control.tasks.clear();
    }
  }

  /** Same as {@linkcode RelayQueue.stop}. */
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

/** What is changed in a message on its way into the queue. */
interface Changes {
  readonly from?: string | undefined;
  readonly top?: Uint8Array<ArrayBuffer> | undefined;
  /** What `top` is. */
  readonly kind: "signed" | "sealed";
}

const NO_CHANGE: Changes = { kind: "signed" };

/** Messages changed in parallel by a request for all messages. */
const ACTIONS_AT_ONCE = 1000;

/** Takes, finds and changes the messages of a queue. */
class QueueControl implements RelayOwner {
  readonly tasks: RelayTasks = new RelayTasks(this);
  readonly #config: QueueConfig;
  /** Names reserved for messages that are being added. */
  readonly #names = new Set<string>();
  #runner: QueueRunner | undefined;
  #isOpen = false;
  /** The start under way; {@linkcode QueueControl.add} waits for it. */
  opening: Promise<unknown> | undefined;

  constructor(config: QueueConfig) {
    this.#config = config;
  }

  /** Accepts messages from now on. */
  open(runner: QueueRunner): void {
    this.#runner = runner;
    this.#isOpen = true;
  }

  /** Accepts no further message. */
  close(): void {
    this.#isOpen = false;
  }

  /**
   * Adds a message.
   *
   * @throws {SpoolError} If it cannot be stored, or the queue is not running
   */
  async add(
    message: Message | OutgoingMail,
    options: RelayOptions,
  ): Promise<Relay> {
    if (this.opening !== undefined) await this.opening.catch(() => {});
    if (message instanceof Message) return await this.#add(message, options);
    const id = this.newId();
    this.#running(id);
    const made = await messageOf(message, { id, body: this.#config.body });
    try {
      return await this.#add(made, options);
    } finally {
      await made.discard();
    }
  }

  /**
   * The runner of the queue.
   *
   * @throws {SpoolError} If the queue is not running
   */
  #running(id: string): QueueRunner {
    if (this.#runner !== undefined && this.#isOpen) return this.#runner;
    throw new SpoolError(
      `Cannot relay message "${id}": the queue is not running`,
    );
  }

  async #add(message: Message, options: RelayOptions): Promise<Relay> {
    this.#running(message.id);
    const recipients = recipientsOf(options) ?? message.recipients;
    if (recipients.length === 0) {
      throw new TypeError(
        `Cannot relay message "${message.id}": want one recipient at least`,
      );
    }
    const tag = asJson(options.tag);
    const chosen = senderOf(options);
    const hasSender = chosen !== undefined;
    const changing = this.#changes(message, { recipients, hasSender });
    const { from = String(chosen ?? message.from), top, kind } =
      changing === undefined ? NO_CHANGE : await changing;
    const runner = this.#running(message.id);
    const id = this.#reserve(message.id);
    try {
      const entry = await this.#config.spool.add({
        envelope: {
          id,
          from,
          parameters: message.parameters,
          recipients: recipients.map(({ address, parameters }) => ({
            address: String(address),
            parameters,
          })),
          size: (top?.length ?? 0) + message.trace.length + message.size,
          ...(top === undefined ? {} : { [kind]: top.length }),
          acceptedAt: this.#config.clock.now(),
          options: this.#envelopeOptions(message, options),
          origin: { message: message.id, session: message.session },
        },
        login: options.login,
        held: options.held ?? false,
        tag,
        content: top === undefined
          ? message.chunks()
          : withTop(top, message.chunks()),
      });
      message.relays = [...message.relays, id];
      if (entry.progress.held) {
        logAction(this.#config, entry, { event: "held", by: "program" });
      }
      return this.tasks.relayOf(runner.admit(entry));
    } finally {
      this.#names.delete(id);
    }
  }

  /**
   * What signing changes in mail of the server's own users, and forwarding in that of
   * others; `undefined` if neither does anything.
   */
  #changes(
    message: Message,
    request: ForwardRequest,
  ): Promise<Changes> | undefined {
    const { signer, forwarder } = this.#config;
    if (message.isOwn) {
      return signer?.isActive === true
        ? signatureOf(message, signer).then((top) => ({ top, kind: "signed" }))
        : undefined;
    }
    return forwarder?.isActive === true
      ? forwarder.forward(message, request)
        .then(({ from, seal }) => ({ from, top: seal, kind: "sealed" }))
      : undefined;
  }

  /** Builds the options of the envelope; leaves out those that were not given. */
  #envelopeOptions(message: Message, options: RelayOptions): EnvelopeOptions {
    const { schedule, expireAfterMs, login, toStore } = options;
    const { parameters, receivedAt, body } = message;
    const { by, requireTls } = parameters;
    const now = this.#config.clock.now();
    // The times are counted from the arrival: content may come slowly.
    const cameAt = now - Math.max(0, Date.now() - receivedAt.getTime());
    const release = releaseTime(parameters, cameAt);
    const idleWaitMs = options.idleWaitMs ??
      (release === undefined
        ? this.#config.idleWaitMs
        : Math.max(0, Math.min(release - now, MAX_HOLD * 1000)));
    return {
      ...plainRoute(options),
      ...(schedule === undefined ? {} : { schedule: String(schedule) }),
      ...(expireAfterMs === undefined ? {} : { expireAfterMs }),
      ...(by === undefined ? {} : { deliverBy: cameAt + by.seconds * 1000 }),
      ...(toStore === true ? { toStore } : {}),
      // REQUIRETLS overrules the field.
      ...(requireTls !== true && declinesTls(body.head)
        ? { declinesTls: true }
        : {}),
      ...(login === undefined ? {} : { hasLogin: true }),
      ...(idleWaitMs === 0 ? {} : { idleWaitMs }),
    };
  }

  /** Reserves a name: the message's own, with a number appended if it is taken. */
  #reserve(wanted: string): string {
    const base = isSpoolId(wanted) && wanted.length < 90
      ? wanted
      : this.newId();
    let id = base;
    for (let number = 2; this.#isTaken(id); number++) id = `${base}-${number}`;
    this.#names.add(id);
    return id;
  }

  #isTaken(id: string): boolean {
    return id === "all" || this.#names.has(id) ||
      this.tasks.get(id) !== undefined ||
      this.#config.spool.entries.has(id);
  }

  /** Makes a name that no message of the spool has. */
  newId(): string {
    const { clock, random } = this.#config;
    const number = Math.floor(random() * 2 ** 48);
    const id = `${Math.floor(clock.now()).toString(36)}${
      number.toString(36).padStart(10, "0")
    }`;
    return this.#isTaken(id) ? this.newId() : id;
  }

  /** Applies an action to one message, durably; by default the program asks for it. */
  async act(
    handled: RelayTask,
    action: SpoolAction,
    { isAll = false, by = "program" }: {
      readonly isAll?: boolean;
      readonly by?: Actor;
    } = {},
  ): Promise<void> {
    if (handled.removed) return;
    const task = this.#current(handled);
    const { spool, clock } = this.#config;
    const { id } = task.entry.envelope;
    if (action === "remove") {
      task.leave();
      this.tasks.delete(task);
      this.#runner?.abort(task);
      await spool.remove(id);
      return logAction(this.#config, task.entry, { event: "removed", by });
    }
    const changes = changesFor(task.entry, action, {
      now: clock.now(),
      isAll,
    });
    if (changes.length === 0) return;
    const wasHeld = task.entry.progress.held;
    const written = changes.map((change) => spool.change(id, change));
    if (action === "retry") this.#runner?.unthrottle(task);
    this.#runner?.reschedule(task);
    await Promise.all(written);
    // A try ends a hold as well.
    const { held } = task.entry.progress;
    if (held === wasHeld) return;
    const event = held ? "held" : "released";
    logAction(this.#config, task.entry, { event, by });
  }

  /** Changes the route of one message, durably. */
  async reroute(handled: RelayTask, route: RelayRoute): Promise<void> {
    if (handled.removed) return;
    const task = this.#current(handled);
    const change: SpoolChange = { kind: "route", route: plainRoute(route) };
    const written = this.#config.spool.change(task.entry.envelope.id, change);
    this.#runner?.reschedule(task);
    await written;
  }

  /** Stores the program's value with a message; does not wait for the disk. */
  setTag(task: RelayTask, tag: unknown): void {
    const { spool } = this.#config;
    const change: SpoolChange = { kind: "tag", tag: asJson(tag) };
    spool.change(task.entry.envelope.id, change).catch((error) =>
      logFault(this.#config, "Cannot write down the tag of a message", error)
    );
  }

  /** The current task of a handle; the handle may date from before a restart. */
  #current(task: RelayTask): RelayTask {
    const current = this.tasks.get(task.entry.envelope.id);
    if (current !== undefined) return current;
    throw new SpoolError(
      `Cannot change message "${task.entry.envelope.id}": the queue is not running`,
    );
  }

  /** Carries out the spool requests from outside the process. Never rejects. */
  async carryOutRequests(): Promise<void> {
    try {
      const requests = await this.#config.spool.requests!();
      for (const turn of turnsOf(requests)) {
        await Promise.all(turn.map(async (request) => {
          await this.#carryOut(request);
          await request.done();
        }));
      }
    } catch (error) {
      logFault(this.#config, "Cannot carry out a request from outside", error);
    }
  }

  async #carryOut({ action, id }: SpoolRequest): Promise<void> {
    const isAll = id === "all";
    const one = this.tasks.get(id);
    const tasks = isAll ? this.tasks.all() : one ? [one] : [];
    for (let at = 0; at < tasks.length; at += ACTIONS_AT_ONCE) {
      await Promise.all(
        tasks.slice(at, at + ACTIONS_AT_ONCE).map((task) =>
          this.act(task, action, { isAll, by: "operator" })
        ),
      );
    }
  }
}

/**
 * The requests in turns: those of a turn may be carried out at once, because each
 * is for another message.
 */
function* turnsOf(
  requests: readonly SpoolRequest[],
): Generator<readonly SpoolRequest[]> {
  let turn = new Map<string, SpoolRequest>();
  for (const request of requests) {
    const isFull = turn.size === ACTIONS_AT_ONCE;
    if (isFull || request.id === "all" || turn.has(request.id)) {
      yield [...turn.values()];
      turn = new Map();
    }
    turn.set(request.id, request);
    if (request.id !== "all") continue;
    yield [request];
    turn = new Map();
  }
  yield [...turn.values()];
}

/**
 * Copies a value through JSON, so that the spool returns exactly this copy.
 *
 * @throws {TypeError} If the value cannot be written as JSON
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
