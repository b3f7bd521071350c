/**
 * What the server hands to its threads: its settings and its queue as they are
 * on the main thread, and relaying as it is in a worker. Starts nothing.
 */

import type { BodyOptions } from "../message/body.ts";
import type { Message, Recipient } from "../message/message.ts";
import type { Relays } from "../queue/relay.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { RelayClient, SessionRelaying } from "../session/context.ts";
import {
  type HandlerContext,
  loadHandlerModule,
} from "../session/handler_module.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type {
  MainRelays,
  MainSettings,
  PlainOptions,
  WireOptions,
} from "../threads/api.ts";
import type { CertificateSource } from "../tls/set.ts";
import { bodyOptions, type Settings } from "./contexts.ts";
import type { ReloadOptions } from "./options.ts";
import { decodeRelayOptions, encodeOptions } from "./wire_options.ts";

/** The module that a worker runs. */
export const WORKER: URL = new URL("./worker.ts", import.meta.url);

/** The settings in force, as the threads of a server need them. */
export class ThreadSettings implements MainSettings {
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
    // The default logger wants no more; each thread has one that takes all.
    const logLevel = options.log === undefined ? "warn" : options.logLevel;
    return encodeOptions({ ...options, logLevel }, this.#settings);
  }
}

/** The queue, for messages of workers. */
export class ThreadRelays implements MainRelays {
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
