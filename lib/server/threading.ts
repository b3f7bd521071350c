/**
 * Makes the threads of a server out of its options. Starts nothing.
 */

import type { Logger } from "../log.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import type { Message, Recipient } from "../message/message.ts";
import type { Relays } from "../queue/relay.ts";
import type { RelayClient, SessionRelaying } from "../session/context.ts";
import {
  type HandlerContext,
  loadHandlerModule,
} from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { AddressLimiter } from "../session/limits.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { MessageStore } from "../message/store.ts";
import { type Counters, ThreadPool } from "../threads/pool.ts";
import { encodeOptions } from "../threads/wire_options.ts";
import type { WireOptions } from "../threads/api.ts";
import { bodyOptions, type Settings } from "./contexts.ts";
import type { ReloadOptions } from "./options.ts";

/** What the threads of a server share. */
export interface Threading {
  /** The URL of the handler module, where handlers are one. */
  readonly module: string | undefined;
  /** Where they listen. */
  readonly listen: readonly ListenOptions[];
  /** The numbers that all of them see. */
  readonly counters: Counters;
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  /** Where messages go that have no store of their own. */
  readonly store: MessageStore;
  /** Counts failed log-ins. */
  readonly guard: LoginCounter;
  /** The messages to be relayed. */
  readonly relays: Relays;
  /** Takes log records. */
  readonly log: Logger;
  /** The settings in force. */
  readonly settings: Settings;
}

/**
 * The threads of a server, nothing started.
 *
 * @throws {Deno.errors.NotSupported} If the platform does not share ports
 */
export function threadPoolOf(threading: Threading): ThreadPool {
  const { settings } = threading;
  return new ThreadPool({
    ...threading,
    threads: settings.options.threads ?? 0,
    options: () => {
      const all = settings.options;
      // The default logger wants no more; each thread has one that takes all.
      const logLevel = all.log === undefined ? "warn" : all.logLevel;
      return encodeOptions({ ...all, logLevel }, settings);
    },
    services: {
      ...threading,
      certificates: () => settings.certificates,
      handlers: () => settings.options.handlers ?? {},
      accounts: () => settings.options.accounts,
      body: () => bodyOptions(settings.options),
    },
  });
}

/** The settings before a reload, of those that it is about. */
export function formerOptions(
  reloaded: ReloadOptions,
  before: Settings,
): WireOptions {
  const names = Object.keys(reloaded) as (keyof ReloadOptions)[];
  const { options } = before;
  const wanted = Object.fromEntries(names.map((name) => [name, options[name]]));
  return encodeOptions(wanted, before);
}

/** Relaying in a thread: who may is decided here, the queue is on the main one. */
export class ThreadRelaying implements SessionRelaying {
  readonly #policy: Pick<SessionRelaying, "allows">;
  readonly #relays: HandlerContext["relays"];

  constructor(
    policy: Pick<SessionRelaying, "allows">,
    relays: HandlerContext["relays"],
  ) {
    this.#policy = policy;
    this.#relays = relays;
  }

  allows(client: RelayClient): boolean {
    return this.#policy.allows(client);
  }

  async add(
    message: Message,
    recipients: readonly Recipient[],
  ): Promise<void> {
    await this.#relays.add(message, { recipients });
  }
}

/** Loads a handler module on the main thread. */
export function loadHere(
  module: string,
  relays: Relays,
): Promise<SmtpHandlers> {
  const context: HandlerContext = {
    thread: 0,
    relays: {
      add: async (message, options) => (await relays.add(message, options)).id,
    },
  };
  return loadHandlerModule(module, context);
}
