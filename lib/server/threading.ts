/**
 * The threads of a server and the objects they use: the settings and the queue
 * as the main thread serves them, and the relaying inside a worker.
 */

import type { BodyOptions } from "../message/body.ts";
import type { Message, Recipient } from "../message/message.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import type { Relays } from "../queue/relay.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { RelayClient, SessionRelaying } from "../session/context.ts";
import {
  type HandlerContext,
  loadHandlerModule,
} from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { SmtpSession } from "../session/session.ts";
import type {
  MainRelays,
  MainServices,
  MainSettings,
  PlainOptions,
  WireAddress,
  WireOptions,
} from "../threads/api.ts";
import { type Counters, ThreadPool } from "../threads/pool.ts";
import type { CertificateSource } from "../tls/set.ts";
import { bodyOptions } from "./contexts.ts";
import type { ReloadOptions, ServerSettings, Settings } from "./options.ts";
import { decodeRelayOptions, encodeOptions } from "./wire_options.ts";

/** The URL of the worker's module. */
const WORKER = new URL("./worker.ts", import.meta.url);

/** The parts that a server shares with its threads. */
export interface ServerThreadsInit
  extends Pick<MainServices, "store" | "guard" | "counts" | "log"> {
  readonly settings: ServerSettings;
  readonly relays: Relays;
}

/** The threads of a server; each start makes new ones. */
export class ServerThreads {
  readonly #counters: Counters;
  readonly #init: ServerThreadsInit;
  #pool: ThreadPool | undefined;

  /** @param counters The numbers that all threads share, one set for each */
  constructor(counters: Counters, init: ServerThreadsInit) {
    this.#counters = counters;
    this.#init = init;
  }

  /** The addresses the threads listen on; none while the server is stopped. */
  get addresses(): readonly WireAddress[] {
    return this.#pool?.addresses ?? [];
  }

  /** The sessions that the threads have published. */
  get sessions(): readonly SmtpSession[] {
    return this.#pool?.sessions ?? [];
  }

  /**
   * Starts all threads.
   *
   * @throws {Deno.errors.NotSupported} If the platform does not share ports
   * @throws {Error} If a thread cannot start; then all are stopped
   */
  async start(listen: readonly ListenOptions[]): Promise<void> {
    const { settings, relays } = this.#init;
    const pool = new ThreadPool({
      ...this.#init,
      worker: WORKER,
      module: settings.module,
      listen,
      settings: new ThreadSettings(settings),
      relays: new ThreadRelays(relays),
    }, this.#counters);
    await pool.start();
    this.#pool = pool;
  }

  /**
   * Applies the options of a reload, which are in the settings already.
   *
   * @throws {TypeError} If they do not fit the listeners; nothing is changed then
   */
  async reload(options: ReloadOptions, before: Settings): Promise<void> {
    await this.#pool?.reload(
      encodeOptions(options, this.#init.settings),
      formerOptions(options, before),
    );
  }

  /** Stops all threads; their sessions may go on for `graceMs` milliseconds. */
  async stop(graceMs: number): Promise<void> {
    await this.#pool?.stop(graceMs);
    this.#pool = undefined;
  }

  /** Ends the grace period of a stop under way. */
  abort(): void {
    this.#pool?.abort();
  }
}

/** The settings in force, in the form that the threads need. */
class ThreadSettings implements MainSettings {
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  get handlers(): SmtpHandlers {
    return this.#settings.options.handlers ?? {};
  }

  get accounts(): Accounts | undefined {
    return this.#settings.options.accounts;
  }

  get certificates(): CertificateSource | undefined {
    return this.#settings.certificates;
  }

  get body(): BodyOptions {
    return bodyOptions(this.#settings.options);
  }

  encode(): WireOptions {
    const { options } = this.#settings;
    // The default logger takes no lower level; each thread's logger takes all.
    const logLevel = options.log === undefined ? "warn" : options.logLevel;
    return encodeOptions({ ...options, logLevel }, this.#settings);
  }
}

/** The queue, for messages from workers. */
class ThreadRelays implements MainRelays {
  readonly #relays: Relays;

  constructor(relays: Relays) {
    this.#relays = relays;
  }

  async add(message: Message, options: PlainOptions): Promise<string> {
    const decoded = decodeRelayOptions(options);
    const { recipients } = message;
    const { id } = await this.#relays.add(message, { ...decoded, recipients });
    return id;
  }
}

/** The settings before a reload, for the options that it changes. */
function formerOptions(
  reloaded: ReloadOptions,
  before: Settings,
): WireOptions {
  const names = Object.keys(reloaded) as (keyof ReloadOptions)[];
  const { options } = before;
  const wanted = Object.fromEntries(names.map((name) => [name, options[name]]));
  return encodeOptions(wanted, before);
}

/** Relaying inside a thread: decides here which clients may relay; the queue is on the main thread. */
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
