/**
 * What is done to the messages of a queue from without: taking one, changing
 * one, finding one. Serves the program by its handles and an operator by
 * requests; every change is durable before its promise resolves.
 */

import { describeError } from "../log.ts";
import type { Message } from "../message/message.ts";
import { isSpoolId } from "../spool/record.ts";
import {
  changesFor,
  type SpoolAction,
  SpoolError,
  type SpoolRequest,
} from "../spool/spool.ts";
import type {
  EnvelopeOptions,
  RelayRoute,
  SpoolChange,
} from "../spool/envelope.ts";
import type { QueueConfig } from "./options.ts";
import {
  type Relay,
  type RelayOptions,
  type RelayOwner,
  RelayTasks,
} from "./relay.ts";
import type { QueueRunner } from "./runner.ts";
import type { RelayTask } from "./tasks.ts";

/** Messages that are changed together when all of them are to be. */
const ACTIONS_AT_ONCE = 1000;

/** Takes, finds and changes the messages of a queue. */
export class QueueControl implements RelayOwner {
  readonly tasks: RelayTasks = new RelayTasks(this);
  readonly #config: QueueConfig;
  /** Names of messages that are being added. */
  readonly #names = new Set<string>();
  #runner: QueueRunner | undefined;
  #isOpen = false;
  /** The start of the queue that is under way: what is added waits for it. */
  opening: Promise<unknown> | undefined;

  constructor(config: QueueConfig) {
    this.#config = config;
  }

  /** Takes messages from here on. */
  open(runner: QueueRunner): void {
    this.#runner = runner;
    this.#isOpen = true;
  }

  /** Takes no further message. */
  close(): void {
    this.#isOpen = false;
  }

  /**
   * Takes a message.
   *
   * @throws {SpoolError} If it cannot be kept, or the queue is not running
   */
  async add(message: Message, options: RelayOptions): Promise<Relay> {
    if (this.opening !== undefined) await this.opening.catch(() => {});
    const runner = this.#runner;
    if (runner === undefined || !this.#isOpen) {
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
      return this.tasks.relayOf(runner.admit(entry));
    } finally {
      this.#names.delete(id);
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

  /** A name that no message of the spool has. */
  newId(): string {
    const { clock, random } = this.#config;
    const number = Math.floor(random() * 2 ** 48);
    const id = `${Math.floor(clock.now()).toString(36)}${
      number.toString(36).padStart(10, "0")
    }`;
    return this.#isTaken(id) ? this.newId() : id;
  }

  /** Carries out an action on one message, durably. */
  async act(
    handled: RelayTask,
    action: SpoolAction,
    isAll = false,
  ): Promise<void> {
    if (handled.removed) return;
    const task = this.#current(handled);
    const { spool, clock } = this.#config;
    const { id } = task.entry.envelope;
    if (action === "remove") {
      task.leave();
      this.tasks.delete(task);
      this.#runner?.abort(task);
      return await spool.remove(id);
    }
    const changes = changesFor(task.entry, action, {
      now: clock.now(),
      isAll,
    });
    if (changes.length === 0) return;
    const written = changes.map((change) => spool.change(id, change));
    if (action === "retry") this.#runner?.unthrottle(task);
    this.#runner?.reschedule(task);
    await Promise.all(written);
  }

  /** Chooses another way for one message, durably. */
  async reroute(handled: RelayTask, route: RelayRoute): Promise<void> {
    if (handled.removed) return;
    const task = this.#current(handled);
    const { smarthost, security } = route;
    const change: SpoolChange = {
      kind: "route",
      route: { smarthost, security },
    };
    const written = this.#config.spool.change(task.entry.envelope.id, change);
    this.#runner?.reschedule(task);
    await written;
  }

  /** Keeps the program's value with a message; does not wait for the disk. */
  setTag(task: RelayTask, tag: unknown): void {
    const { spool } = this.#config;
    const change: SpoolChange = { kind: "tag", tag: asJson(tag) };
    spool.change(task.entry.envelope.id, change).catch((error) =>
      this.#logError("Cannot write down the tag of a message", error)
    );
  }

  /** The task of a handle that may be from before a restart. */
  #current(task: RelayTask): RelayTask {
    const current = this.tasks.get(task.entry.envelope.id);
    if (current !== undefined) return current;
    throw new SpoolError(
      `Cannot change message "${task.entry.envelope.id}": the queue is not running`,
    );
  }

  /** Carries out what was asked from outside. Never rejects. */
  async carryOutRequests(): Promise<void> {
    try {
      for (const request of await this.#config.spool.requests!()) {
        await this.#carryOut(request);
        await request.done();
      }
    } catch (error) {
      this.#logError("Cannot carry out a request from outside", error);
    }
  }

  async #carryOut({ action, id }: SpoolRequest): Promise<void> {
    const isAll = id === "all";
    const one = this.tasks.get(id);
    const tasks = isAll ? this.tasks.all() : one ? [one] : [];
    for (let at = 0; at < tasks.length; at += ACTIONS_AT_ONCE) {
      await Promise.all(
        tasks.slice(at, at + ACTIONS_AT_ONCE).map((task) =>
          this.act(task, action, isAll)
        ),
      );
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
