/**
 * The program's view of the queue: the collection of messages to be relayed and
 * one handle for each message. Handles own nothing: they read the queue's state
 * and pass requests on to it. Also holds the queue's list of messages, which
 * makes the handles.
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
import { type Login, LOGIN_RULE, type NextHop } from "../client/next_hop.ts";
import type { DeliveryState } from "./job.ts";
import { RetrySchedule } from "./schedule.ts";
import {
  plainRoute,
  type RecipientAnswer,
  type RecipientStatus,
  type RelayRoute,
  ROUTE_RULES,
} from "../spool/envelope.ts";
import type { Message } from "../message/message.ts";
import type { OutgoingMail } from "./outgoing.ts";
import { Address } from "../protocol/address.ts";
import type { Recipient } from "../protocol/envelope.ts";
import type { RelayTask } from "./tasks.ts";
import type { SpoolAction } from "../spool/spool.ts";

/**
 * Options of {@linkcode Relays.add}. All of them survive a restart.
 *
 * @example Send one message another way, and watch it
 * ```ts
 * import type {
 *   Message,
 *   Relay,
 *   RelayOptions,
 *   RelayRecipient,
 *   Relays,
 * } from "@smtp/server";
 * import type { RelayRoute } from "@smtp/server/queue";
 *
 * const route: RelayRoute = { smarthost: { host: "backup.example.net" } };
 * const options: RelayOptions = { ...route, expireAfterMs: 3_600_000 };
 * const send = (relays: Relays, message: Message): Promise<Relay> =>
 *   relays.add(message, options);
 * const line = ({ address, status, answer }: RelayRecipient) =>
 *   `${address}: ${status}, ${answer?.text}`;
 * const show = ({ state, recipients }: Relay) =>
 *   `${state}: ${recipients.map(line).join("; ")}`;
 * console.assert(send.length === 2 && show.length === 1);
 * ```
 */
export interface RelayOptions
  extends Omit<RelayRoute, "smarthost" | "smarthosts"> {
  /**
   * The next hop for all recipients, as `"smtp.example.net:587"` or with more
   * options. Default: the MX of each domain.
   */
  readonly smarthost?: NextHop | string | undefined;
  /** Further next hops, tried in this order after `smarthost`. Default: none. */
  readonly smarthosts?: readonly (NextHop | string)[] | undefined;
  /**
   * Another reverse-path, as of a forwarder or a mailing list: the next hop gets
   * it in MAIL, and DSNs go there. `null` or `""` is the null path: then no DSN is
   * ever sent. The parameters of MAIL and RCPT stay; give `recipients` without
   * parameters if the new sender is not to get the DSNs that the client asked for.
   *
   * @default {the reverse-path of the message}
   *
   * @example Forward, with replies about the delivery to the list's owner
   * ```ts
   * import { type SmtpHandlers, SmtpServer } from "@smtp/server";
   *
   * const members = ["ann@example.net", "bob@example.org"];
   * const handlers: SmtpHandlers = {
   *   async onMessage(_session, message) {
   *     const from = "list-owner@example.com";
   *     await server.relays.add(message, { from, recipients: members });
   *   },
   * };
   * const server = new SmtpServer({ handlers, relay: { spool: "./spool" } });
   * console.assert(server.relays.count === 0);
   * ```
   */
  readonly from?: string | Address | null | undefined;
  /**
   * The recipients: addresses, or recipients with their parameters.
   *
   * @default {all recipients of the message}
   */
  readonly recipients?: readonly (string | Address | Recipient)[];
  /**
   * The login at the next hop. Its secret is stored in the message's record file,
   * which only the file's owner may read. It is never shown. Default: the `login`
   * of `relay` at its smarthosts, and none at others.
   */
  readonly login?: Login;
  /**
   * Milliseconds to wait before the first try.
   *
   * @default {the time that the parameters of MAIL ask for, else the queue's}
   */
  readonly idleWaitMs?: number;
  /**
   * The delays between tries, as `"30s 5m*3 1h"`.
   *
   * @default {the queue's}
   */
  readonly schedule?: RetrySchedule | string;
  /**
   * Milliseconds until undelivered recipients are returned to the sender.
   *
   * @default {the queue's}
   */
  readonly expireAfterMs?: number;
  /**
   * Whether the message is held until {@linkcode Relay.release}.
   *
   * @default {false}
   */
  readonly held?: boolean;
  /**
   * Whether it goes into the server's own store, as mail for local recipients,
   * and not to other hosts.
   *
   * @default {false}
   */
  readonly toStore?: boolean;
  /** Any JSON value, stored with the message. Default: none. */
  readonly tag?: unknown;
}

/** The reverse-path that the options choose; `undefined` for that of the message. */
export function senderOf({ from }: RelayOptions): Address | undefined {
  if (from === undefined) return undefined;
  if (from === null) return Address.NULL;
  return typeof from === "string" ? Address.parse(from) : from;
}

/** The recipients that the options choose; `undefined` for those of the message. */
export function recipientsOf(
  { recipients }: RelayOptions,
): readonly Recipient[] | undefined {
  return recipients?.map((one) => {
    if (typeof one !== "string" && !(one instanceof Address)) return one;
    const address = typeof one === "string" ? Address.parse(one) : one;
    return { address, parameters: {} };
  });
}

/** Whether a value can be a reverse-path. */
function isSender(value: unknown): boolean {
  return value === null || value === "" || isAddress(value);
}

/** Whether a value can be a forward-path, or text of one. */
function isAddress(value: unknown): boolean {
  if (value instanceof Address) return true;
  if (typeof value !== "string") return false;
  try {
    return !Address.parse(value).isNull;
  } catch {
    return false;
  }
}

/** Whether a value is a schedule, or the text of one. */
function isSchedule(value: unknown): boolean {
  if (typeof value !== "string") return value instanceof RetrySchedule;
  try {
    return RetrySchedule.parse(value) !== undefined;
  } catch {
    return false;
  }
}

const RULES: Rules<RelayOptions> = {
  from: where(
    'an address, as "ann@example.com", or null for the null path',
    (value) =>
      isSender(value) && String(value ?? "").toLowerCase() !== "postmaster",
  ),
  ...ROUTE_RULES,
  recipients: list(
    where(
      'an address, as "ann@example.com", or { address, parameters }',
      (value) => {
        if (isAddress(value)) return true;
        if (typeof value !== "object" || value === null) return false;
        const { address, parameters } = value as Partial<Recipient>;
        return typeof address?.toPath === "function" &&
          typeof parameters === "object";
      },
    ),
    'an array of recipients, as ["ann@example.com"]',
  ),
  login: LOGIN_RULE,
  idleWaitMs: number(0, Number.MAX_SAFE_INTEGER),
  schedule: where(
    'delays, as "30s 5m*3 1h*12 4h", or a RetrySchedule',
    isSchedule,
  ),
  expireAfterMs: number(1, Number.MAX_SAFE_INTEGER),
  held: flag,
  toStore: flag,
  tag: anything,
};

/** One recipient of a {@linkcode Relay}. */
export interface RelayRecipient {
  /** The forward-path without brackets. */
  readonly address: string;
  /** The delivery status. */
  readonly status: RecipientStatus;
  /** Tries so far. */
  readonly attempts: number;
  /** Time of the next try; `undefined` once the status is final. */
  readonly nextTryAt: Date | undefined;
  /** The last reply or error; `undefined` before the first try. */
  readonly answer: RecipientAnswer | undefined;
}

/** The operations that the handles call on their queue. */
export interface RelayOwner {
  /** The messages in the queue. */
  readonly tasks: RelayTasks;
  /** Adds a message. */
  add(message: Message | OutgoingMail, options: RelayOptions): Promise<Relay>;
  /** Applies an action to one message. */
  act(task: RelayTask, action: SpoolAction): Promise<void>;
  /** Changes the route of one message. */
  reroute(task: RelayTask, route: RelayRoute): Promise<void>;
  /** Stores the program's value with a message. */
  setTag(task: RelayTask, tag: unknown): void;
}

/** Makes a {@linkcode Relay}; only this file can. */
let newRelay: (task: RelayTask, owner: RelayOwner) => Relay;

/** Makes a {@linkcode Relays}; only this file can. */
let newRelays: (owner: RelayOwner) => Relays;

/**
 * A handle on one message to be relayed. The queue makes it.
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

  private constructor(task: RelayTask, owner: RelayOwner) {
    this.#task = task;
    this.#owner = owner;
  }

  static {
    newRelay = (task, owner) => new Relay(task, owner);
  }

  /** The message's name in the queue. */
  get id(): string {
    return this.#task.entry.envelope.id;
  }

  /** The last reported step of its delivery; with several deliveries, the latest report of any. */
  get state(): DeliveryState {
    return this.#task.state;
  }

  /** Whether it is held until it is released. */
  get held(): boolean {
    return this.#task.entry.progress.held;
  }

  /** Whether it is still in the queue. */
  get isQueued(): boolean {
    return !this.#task.removed;
  }

  /** The reverse-path without brackets; `""` for a DSN. */
  get from(): string {
    return this.#task.entry.envelope.from;
  }

  /** The current state of its recipients. */
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
   * A JSON value of the program's own. The queue writes a new value to the spool
   * without waiting for the disk.
   *
   * @throws {TypeError} If the new value cannot be written as JSON
   */
  get tag(): unknown {
    return this.#task.entry.progress.tag;
  }
  set tag(tag: unknown) {
    this.#owner.setTag(this.#task, tag);
  }

  /** Tries the pending recipients now, even if held. Resolves when the change is durable. */
  async retry(): Promise<void> {
    await this.#owner.act(this.#task, "retry");
  }

  /** Holds the message: it is not tried and does not expire. A delivery under way goes on. */
  async hold(): Promise<void> {
    await this.#owner.act(this.#task, "hold");
  }

  /** Ends {@linkcode Relay.hold}. */
  async release(): Promise<void> {
    await this.#owner.act(this.#task, "release");
  }

  /** Removes the message from the queue without a DSN; aborts a delivery under way. */
  async remove(): Promise<void> {
    await this.#owner.act(this.#task, "remove");
  }

  /** Changes the route of the pending recipients, from the next try on. */
  async reroute(
    route: Pick<RelayOptions, "security" | "smarthost" | "smarthosts">,
  ): Promise<void> {
    checkOptions("Relay.reroute", route, ROUTE_RULES);
    await this.#owner.reroute(this.#task, plainRoute(route));
  }
}

/**
 * The messages to be relayed. A message leaves the collection when every
 * recipient has a final status and every DSN is in the spool.
 *
 * @example Send a message of the program's own
 * ```ts
 * import { SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({ listen: [], log: () => {} });
 * await server.start();
 * const data = "Subject: hello\n\nIt works.\n";
 * const mail = { from: "me@example.com", to: "you@example.org", data };
 * const relay = await server.relays.add(mail, { idleWaitMs: 60_000 });
 * console.assert(relay.isQueued);
 * await server.stop();
 * ```
 *
 * @example Copy every message to an archive on another host
 * ```ts
 * import { type Message, SmtpServer } from "@smtp/server";
 *
 * const server = new SmtpServer({
 *   relay: { spool: "./spool" },
 *   handlers: { onMessage: (_session, message) => copy(message) },
 * });
 * async function copy(message: Message): Promise<void> {
 *   await server.relays.add(message, { recipients: ["archive@example.org"] });
 * }
 * console.assert(server.relays.count === 0);
 * ```
 *
 * @example Relay incoming messages
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

  private constructor(owner: RelayOwner) {
    this.#owner = owner;
  }

  static {
    newRelays = (owner) => new Relays(owner);
  }

  /** Number of messages in the queue. */
  get count(): number {
    return this.#owner.tasks.count;
  }

  /**
   * Adds a message that a client has sent, or one of the program's own. Resolves
   * when it is durable, so that the server may reply 250 to the client. The queue
   * stores a copy; the message may be discarded then.
   *
   * @throws {SpoolError} If it could not be stored: 452 4.3.1 to the client
   * @throws {TypeError} If an option or a part is unknown or of the wrong kind
   * @throws {AddressSyntaxError} If an address cannot be read
   */
  async add(
    message: Message | OutgoingMail,
    options: RelayOptions = {},
  ): Promise<Relay> {
    checkOptions("relays.add", options, RULES);
    return await this.#owner.add(message, options);
  }

  /** The message of that name; `undefined` if the queue does not hold it. */
  get(id: string): Relay | undefined {
    const { tasks } = this.#owner;
    const task = tasks.get(id);
    return task && tasks.relayOf(task);
  }

  /** All messages, oldest first. */
  *[Symbol.iterator](): Generator<Relay> {
    for (const { entry } of this.#owner.tasks.all()) {
      const relay = this.get(entry.envelope.id);
      if (relay !== undefined) yield relay;
    }
  }
}

/** The messages of a queue by name, and the one handle of each. */
export class RelayTasks {
  readonly #tasks = new Map<string, RelayTask>();
  readonly #relays = new WeakMap<RelayTask, Relay>();
  readonly #owner: RelayOwner;
  /** The program's view of the messages. */
  readonly relays: Relays;

  constructor(owner: RelayOwner) {
    this.#owner = owner;
    this.relays = newRelays(owner);
  }

  get count(): number {
    return this.#tasks.size;
  }

  get(id: string): RelayTask | undefined {
    return this.#tasks.get(id);
  }

  /** A snapshot of all messages, oldest first. */
  all(): RelayTask[] {
    return [...this.#tasks.values()];
  }

  add(task: RelayTask): void {
    this.#tasks.set(task.entry.envelope.id, task);
  }

  /** Removes a message that has left the spool. */
  delete(task: RelayTask): void {
    const { id } = task.entry.envelope;
    // After a restart of the queue another task may have the name.
    if (this.#tasks.get(id) === task) this.#tasks.delete(id);
  }

  /** Removes all messages: the queue has stopped. */
  clear(): void {
    this.#tasks.clear();
  }

  /** The program's handle on a message, made on first use. */
  relayOf(task: RelayTask): Relay {
    let relay = this.#relays.get(task);
    if (relay === undefined) {
      relay = newRelay(task, this.#owner);
      this.#relays.set(task, relay);
    }
    return relay;
  }
}
