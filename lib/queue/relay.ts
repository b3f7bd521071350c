/**
 * What a program sees of the queue: the collection of messages to be relayed,
 * and a handle on each. Handles own nothing; they show the queue's state and
 * pass wishes on.
 */

import {
  anything,
  checkOptions,
  flag,
  list,
  number,
  type Rules,
  where,
} from "../options.ts";
import { type Login, LOGIN_RULE } from "../client/next_hop.ts";
import type { DeliveryState } from "./job.ts";
import { RetrySchedule } from "./schedule.ts";
import {
  type RecipientAnswer,
  type RecipientStatus,
  type RelayRoute,
  ROUTE_RULES,
} from "../spool/envelope.ts";
import type { Message } from "../message/message.ts";
import type { Recipient } from "../protocol/envelope.ts";
import type { RelayTask } from "./tasks.ts";
import type { SpoolAction } from "../spool/spool.ts";

/** Options of {@linkcode Relays.add}. All of them survive a restart. */
export interface RelayOptions extends RelayRoute {
  /**
   * Whom it goes to.
   *
   * @default {all recipients of the message}
   */
  readonly recipients?: readonly Recipient[];
  /**
   * The log-in at the next hop. Its secret is kept in the message's record
   * file, which only its owner may read, and is never shown.
   */
  readonly login?: Login;
  /**
   * Milliseconds to wait before the first try.
   *
   * @default {the queue's}
   */
  readonly idleWaitMs?: number;
  /**
   * When it is tried again.
   *
   * @default {the queue's}
   */
  readonly schedule?: RetrySchedule;
  /**
   * Milliseconds until what is not delivered is returned.
   *
   * @default {the queue's}
   */
  readonly expireAfterMs?: number;
  /**
   * Whether it waits for {@linkcode Relay.release}.
   *
   * @default {false}
   */
  readonly held?: boolean;
  /** Anything to be kept with it that is a JSON value. */
  readonly tag?: unknown;
}

const RULES: Rules<RelayOptions> = {
  ...ROUTE_RULES,
  recipients: list(
    where("{ address, parameters }", (value) => {
      if (typeof value !== "object" || value === null) return false;
      const { address, parameters } = value as Partial<Recipient>;
      return typeof address?.toPath === "function" &&
        typeof parameters === "object";
    }),
    "an array of recipients, as [{ address: Address.parse(text), parameters: {} }]",
  ),
  login: LOGIN_RULE,
  idleWaitMs: number(0, Number.MAX_SAFE_INTEGER),
  schedule: where(
    "a RetrySchedule",
    (value) => value instanceof RetrySchedule,
  ),
  expireAfterMs: number(1, Number.MAX_SAFE_INTEGER),
  held: flag,
  tag: anything,
};

/** One recipient of a {@linkcode Relay}. */
export interface RelayRecipient {
  /** The forward-path without brackets. */
  readonly address: string;
  /** How far it has come. */
  readonly status: RecipientStatus;
  /** Tries so far. */
  readonly attempts: number;
  /** When it is tried next; `undefined` when it is done. */
  readonly nextTryAt: Date | undefined;
  /** What was last heard about it; `undefined` before the first try. */
  readonly answer: RecipientAnswer | undefined;
}

/** What the handles ask of their queue. */
export interface RelayOwner {
  /** The messages. */
  readonly tasks: RelayTasks;
  /** Takes a message. */
  add(message: Message, options: RelayOptions): Promise<Relay>;
  /** Carries out an action. */
  act(task: RelayTask, action: SpoolAction): Promise<void>;
  /** Chooses another way. */
  reroute(task: RelayTask, route: RelayRoute): Promise<void>;
  /** Keeps the program's value. */
  setTag(task: RelayTask, tag: unknown): void;
}

/**
 * A handle on one message to be relayed. The program never makes one.
 *
 * @example Hold a message and let it go
 * ```ts
 * import type { Relay } from "@smtp/server";
 *
 * async function postpone(relay: Relay): Promise<void> {
 *   await relay.hold();
 *   console.assert(relay.held);
 *   await relay.release();
 * }
 * console.assert(postpone.length === 1);
 * ```
 */
export class Relay {
  readonly #task: RelayTask;
  readonly #owner: RelayOwner;

  /**
   * Made by the queue.
   *
   * @param task The message
   * @param owner The queue
   */
  constructor(task: RelayTask, owner: RelayOwner) {
    this.#task = task;
    this.#owner = owner;
  }

  /** The message's name in the queue. */
  get id(): string {
    return this.#task.entry.envelope.id;
  }

  /** The step that its delivery has reached; of several deliveries the one heard of last. */
  get state(): DeliveryState {
    return this.#task.state;
  }

  /** Whether it waits until it is released. */
  get held(): boolean {
    return this.#task.entry.progress.held;
  }

  /** Whether it is still in the queue. */
  get isQueued(): boolean {
    return !this.#task.removed;
  }

  /** The reverse-path without brackets; `""` for a notice. */
  get from(): string {
    return this.#task.entry.envelope.from;
  }

  /** Its recipients, as they stand now. */
  get recipients(): readonly RelayRecipient[] {
    const { envelope, progress } = this.#task.entry;
    return envelope.recipients.map(({ address }, index) => {
      const { status, attempts, nextTryAt, answer } = progress
        .recipients[index]!;
      return {
        address,
        status,
        attempts,
        nextTryAt: status === "pending" ? new Date(nextTryAt) : undefined,
        answer,
      };
    });
  }

  /** Bytes of the content. */
  get size(): number {
    return this.#task.entry.envelope.size;
  }

  /**
   * Anything that the program keeps with it, as long as it is a JSON value.
   * What is set is written down without waiting for the disk.
   *
   * @throws {TypeError} If what is set cannot be written as JSON
   */
  get tag(): unknown {
    return this.#task.entry.progress.tag;
  }
  set tag(tag: unknown) {
    this.#owner.setTag(this.#task, tag);
  }

  /** Tries what is pending now, held or not. Resolves when that is safe on disk. */
  async retry(): Promise<void> {
    await this.#owner.act(this.#task, "retry");
  }

  /** Holds it: no further try, no expiry. A delivery under way goes on. */
  async hold(): Promise<void> {
    await this.#owner.act(this.#task, "hold");
  }

  /** Ends {@linkcode Relay.hold}. */
  async release(): Promise<void> {
    await this.#owner.act(this.#task, "release");
  }

  /** Takes it out of the queue without a notice to anybody; ends a delivery under way. */
  async remove(): Promise<void> {
    await this.#owner.act(this.#task, "remove");
  }

  /** Sends what is pending another way from the next try on. */
  async reroute(route: RelayRoute): Promise<void> {
    checkOptions("Relay.reroute", route, ROUTE_RULES);
    await this.#owner.reroute(this.#task, route);
  }
}

/**
 * The messages to be relayed. A message leaves it when every recipient has been
 * dealt with and every notice is on its way.
 *
 * @example A copy of everything to an archive elsewhere
 * ```ts
 * import { Address, type Message, SmtpServer } from "@smtp/server";
 *
 * const archive = Address.parse("archive@example.org");
 * const server = new SmtpServer({
 *   relay: { spool: "./spool" },
 *   handlers: { onMessage: (_session, message) => copy(message) },
 * });
 * async function copy(message: Message): Promise<void> {
 *   const recipients = [{ address: archive, parameters: {} }];
 *   await server.relays.add(message, { recipients });
 * }
 * console.assert(server.relays.count === 0);
 * ```
 *
 * @example Relay what comes in
 * ```ts
 * import type { Message, Relays } from "@smtp/server";
 *
 * async function forward(relays: Relays, message: Message): Promise<string> {
 *   const relay = await relays.add(message, { idleWaitMs: 1000 });
 *   return relay.id;
 * }
 * console.assert(forward.length === 2);
 * ```
 */
export class Relays implements Iterable<Relay> {
  readonly #owner: RelayOwner;

  /**
   * Made by the queue.
   *
   * @param owner The queue
   */
  constructor(owner: RelayOwner) {
    this.#owner = owner;
  }

  /** How many messages there are. */
  get count(): number {
    return this.#owner.tasks.count;
  }

  /**
   * Takes a message. Resolves when it is safe on disk, so that the client may
   * be told 250; takes a copy, so that the message may be forgotten then.
   *
   * @throws {SpoolError} If it could not be kept: 452 4.3.1 to the client
   * @throws {TypeError} If an option is unknown or of the wrong kind
   */
  async add(message: Message, options: RelayOptions = {}): Promise<Relay> {
    checkOptions("relays.add", options, RULES);
    return await this.#owner.add(message, options);
  }

  /** The message of that name; `undefined` when it is not there, or no longer. */
  get(id: string): Relay | undefined {
    const { tasks } = this.#owner;
    const task = tasks.get(id);
    return task && tasks.relayOf(task);
  }

  /** All of them, oldest first. */
  *[Symbol.iterator](): Generator<Relay> {
    for (const { entry } of this.#owner.tasks.all()) {
      const relay = this.get(entry.envelope.id);
      if (relay !== undefined) yield relay;
    }
  }
}

/** The messages of a queue by their names, and the one handle on each. */
export class RelayTasks {
  readonly #tasks = new Map<string, RelayTask>();
  readonly #relays = new WeakMap<RelayTask, Relay>();
  readonly #owner: RelayOwner;

  constructor(owner: RelayOwner) {
    this.#owner = owner;
  }

  get count(): number {
    return this.#tasks.size;
  }

  get(id: string): RelayTask | undefined {
    return this.#tasks.get(id);
  }

  /** All of them as they are now, oldest first. */
  all(): RelayTask[] {
    return [...this.#tasks.values()];
  }

  add(task: RelayTask): void {
    this.#tasks.set(task.entry.envelope.id, task);
  }

  /** Forgets a message that has left the spool. */
  delete(task: RelayTask): void {
    const { id } = task.entry.envelope;
    // After a restart of the queue the name may be that of another task.
    if (this.#tasks.get(id) === task) this.#tasks.delete(id);
  }

  /** Forgets all: the queue has stopped. */
  clear(): void {
    this.#tasks.clear();
  }

  /** The program's handle on a message, made when it is first asked for. */
  relayOf(task: RelayTask): Relay {
    let relay = this.#relays.get(task);
    if (relay === undefined) {
      relay = new Relay(task, this.#owner);
      this.#relays.set(task, relay);
    }
    return relay;
  }
}
