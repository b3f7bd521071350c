/**
 * Makes the threads of a server out of its options. Starts nothing.
 */

import type { Logger } from "../log.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import type { Relays } from "../queue/relay.ts";
import {
  type HandlerContext,
  loadHandlerModule,
} from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { AddressLimiter } from "../session/limits.ts";
import type { LoginCounter } from "../session/login_guard.ts";
import type { MessageStore } from "../message/message.ts";
import { type Counters, ThreadPool } from "../threads/pool.ts";
import { encodeOptions } from "../threads/wire_options.ts";
import type { WireOptions } from "../threads/api.ts";
import type { CertificateSource } from "../tls/set.ts";
import { bodyOptions } from "./contexts.ts";
import type { ReloadOptions, SettledOptions } from "./options.ts";

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
  /** The options as they are now. */
  options(): SettledOptions;
  /** The certificates in use. */
  certificates(): CertificateSource | undefined;
}

/**
 * The threads of a server, nothing started.
 *
 * @throws {Deno.errors.NotSupported} If the platform does not share ports
 */
export function threadPoolOf(threading: Threading): ThreadPool {
  const { options, certificates } = threading;
  return new ThreadPool({
    ...threading,
    threads: options().threads ?? 0,
    options: () => {
      const all = options();
      // The default logger wants no more; each thread has one that takes all.
      const logLevel = all.log === undefined ? "warn" : all.logLevel;
      return encodeOptions({ ...all, logLevel }, all, certificates());
    },
    services: {
      ...threading,
      certificates,
      handlers: () => options().handlers ?? {},
      accounts: () => options().accounts,
      body: () => bodyOptions(options()),
    },
  });
}

/** The settings before a reload, of those that it is about. */
export function formerOptions(
  before: SettledOptions,
  reloaded: ReloadOptions,
  certificates: CertificateSource | undefined,
): WireOptions {
  const names = Object.keys(reloaded) as (keyof ReloadOptions)[];
  const wanted = Object.fromEntries(names.map((name) => [name, before[name]]));
  return encodeOptions(wanted, before, certificates);
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
