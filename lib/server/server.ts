/**
 * The facade: listeners, sessions, stores and limits put together, started and
 * stopped as one. It decides nothing about mail and parses nothing.
 */

import { DnsClient } from "../dns/client.ts";
import type {
  DnsOutcomeOf,
  DnsQueryOptions,
  DnsRecordType,
} from "../dns/outcome.ts";
import { consoleLogger, type Logger, safeLogger } from "../log.ts";
import type { Transport } from "../net/transport.ts";
import type { Relays } from "../queue/relay.ts";
import type { RelayService } from "../delivery/service.ts";
import { Admission } from "./admission.ts";
import { relayServiceOf, SessionContexts, warningsOf } from "./contexts.ts";
import { Listeners } from "./listeners.ts";
import { records } from "./log.ts";
import {
  checkReloadOptions,
  checkServeOptions,
  checkServerOptions,
  checkStopOptions,
  type ListeningAddress,
  type ReloadOptions,
  type ServeOptions,
  ServerSettings,
  type SmtpServerOptions,
  type StopOptions,
} from "./options.ts";
import type { ThreadServices } from "../threads/api.ts";
import { loadHere, ServerThreads, ThreadRelaying } from "./threading.ts";
import { limitsOf } from "../session/limit_options.ts";
import { AddressLimiter } from "../session/limits.ts";
import { LoginGuard } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";
import { DiscardStore } from "../store/discard_store.ts";
import type { MessageStore } from "../message/message.ts";
import { Counters } from "../threads/pool.ts";

/** How long a store may take to close beyond the grace of a stop, in ms. */
const STORE_GRACE_MS = 1000;

/**
 * An SMTP server.
 *
 * @example Keep every message for one domain
 * ```ts
 * import { MemoryStore, SmtpServer } from "@smtp/server";
 *
 * const store = new MemoryStore();
 * await using server = new SmtpServer({
 *   listen: "127.0.0.1:0",
 *   domains: ["example.com"],
 *   store,
 * });
 * await server.start();
 * console.assert(server.addresses[0]!.port > 0);
 * ```
 */
export class SmtpServer {
  /** Asks the DNS, as the options say. */
  readonly dns: DnsClient;
  readonly #settings: ServerSettings;
  /** What another thread has for this server, where it is one of several. */
  readonly #services: ThreadServices | undefined;
  readonly #log: Logger;
  readonly #store: MessageStore;
  readonly #counts: AddressLimiter;
  readonly #admission: Admission;
  readonly #relaying: RelayService;
  readonly #contexts: SessionContexts;
  readonly #listeners: Listeners;
  readonly #threads: ServerThreads | undefined;
  #active = false;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #graceEnd = 0;

  /**
   * Makes a server that does nothing yet; see {@linkcode SmtpServer.start}.
   *
   * @param options How the server behaves
   * @param services For the threads of a server: what there is one of for all of them
   * @throws {RangeError} If a number among the options makes no sense
   * @throws {TypeError} If an option is unknown or of the wrong kind, or
   * `hostname` or one of `domains` is no name
   * @throws {SyntaxError} If `listen`, a network, a schedule or a name server cannot be read
   */
  constructor(options: SmtpServerOptions = {}, services?: ThreadServices) {
    checkServerOptions(options);
    this.#settings = new ServerSettings(options);
    this.#services = services;
    const { threads = 0 } = options;
    const counters = threads > 0 ? new Counters(threads) : undefined;
    this.#log = options.log ? safeLogger(options.log) : consoleLogger;
    this.#store = options.store ?? new DiscardStore();
    this.#counts = new AddressLimiter(limitsOf(options.limits), {
      now: services?.now ?? (() => this.#admission.now),
      shared: services?.counts ?? counters?.counts,
    });
    const common = {
      store: this.#store,
      guard: services?.guard ?? new LoginGuard(),
      counts: this.#counts,
      log: this.#log,
    };
    this.#admission = new Admission({
      ...common,
      observer: services?.observer,
    });
    this.dns = new DnsClient(options.dns);
    this.#relaying = relayServiceOf(this.#settings, {
      ...common,
      dns: this.dns,
      addresses: () => this.addresses,
    });
    this.#contexts = new SessionContexts(this.#settings, {
      ...common,
      admission: this.#admission,
      prefix: services?.prefix,
      saltKey: services?.saltKey,
      relaying: services === undefined
        ? this.#relaying
        : new ThreadRelaying(this.#relaying, services.relays),
    });
    this.#listeners = new Listeners({
      ...common,
      settings: this.#settings,
      contexts: this.#contexts,
      admission: this.#admission,
      share: services !== undefined,
    });
    this.#threads = counters && new ServerThreads(counters, {
      ...common,
      settings: this.#settings,
      relays: this.relays,
    });
  }

  /** Whether the server takes connections: it was started and not stopped. */
  get active(): boolean {
    return this.#active;
  }

  /** Where the server listens, with the ports that were free. */
  get addresses(): readonly ListeningAddress[] {
    return (this.#threads ?? this.#listeners).addresses;
  }

  /** The clients connected now. */
  get sessions(): readonly SmtpSession[] {
    return [
      ...this.#admission.sessions,
      ...this.#threads?.sessions ?? [],
    ];
  }

  /**
   * The messages to be relayed. `add` one in `onMessage`: it resolves when the
   * message is safe, so the client may be told 250.
   */
  get relays(): Relays {
    return this.#relaying.relays;
  }

  /**
   * Asks the DNS for the records of a type: short for `dns.query`.
   *
   * @throws {RangeError} If `timeoutMs` is out of range
   */
  queryDns<T extends DnsRecordType>(
    type: T,
    name: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcomeOf<T>> {
    return this.dns.query(type, name, options);
  }

  /**
   * Opens the spool, binds and starts to accept. Requires `allow-net`, and what
   * the stores and the spool need.
   *
   * @throws {TypeError} If the server is active, starting, or still stopping
   * @throws {SpoolError} If the spool cannot be opened
   * @throws {Deno.errors.AddrInUse} If something listens there already
   */
  start(): Promise<void> {
    const isBusy = this.#starting !== undefined ||
      this.#stopping !== undefined;
    if (this.#active || isBusy) {
      const state = this.#active
        ? "active"
        : `still ${this.#starting ? "starting" : "stopping"}`;
      const error = new TypeError(`Cannot start the server: it is ${state}`);
      return Promise.reject(error);
    }
    return this.#starting = this.#start().finally(() => {
      this.#starting = undefined;
    });
  }

  async #start(): Promise<void> {
    const { module } = this.#settings;
    const handlers = module === undefined
      ? undefined
      : await loadHere(module, this.relays);
    // What can be wrong with it is found before anything is open.
    this.#settings.begin(handlers);
    // No client may connect before there is a place for its messages.
    if (this.#services === undefined) await this.#relaying.start();
    this.#contexts.begin();
    try {
      await this.#open();
    } catch (error) {
      await this.#relaying.stop(0);
      throw error;
    }
    this.#active = true;
    this.#admission.startClock();
    this.#listeners.accept();
    if (this.#services === undefined) this.#warn();
  }

  /** Binds, here or on the threads. */
  async #open(): Promise<void> {
    if (this.#threads === undefined) return this.#listeners.open();
    await this.#threads.start(await this.#listeners.probe());
  }

  #warn(): void {
    for (const message of warningsOf(this.#settings.options)) {
      this.#log(records.warning(message));
    }
  }

  /**
   * Takes over new settings while the server runs. Sessions that live keep
   * theirs; the next ones get the new.
   *
   * A listener that speaks TLS from the first byte with one plain
   * {@linkcode Certificate} is bound again for a new one, and what waits to be
   * accepted in that moment is lost; give a {@linkcode CertificateSource} to the
   * server where that matters.
   *
   * @throws {TypeError} If a setting is unknown, of the wrong kind, or does not
   * fit the listeners
   */
  async reload(options: ReloadOptions): Promise<void> {
    checkReloadOptions(options);
    const before = this.#settings.change(options);
    this.#counts.limits = limitsOf(this.#settings.options.limits);
    try {
      await this.#listeners.renew({
        // A proxy's header comes before TLS: the platform's own cannot wait.
        rebind: ["certificate", "clientCertificate", "proxyProtocol"]
          .some((name) => name in options),
      });
      await this.#threads?.reload(options, before);
    } catch (error) {
      this.#settings.restore(before);
      this.#counts.limits = limitsOf(before.options.limits);
      throw error;
    }
  }

  /**
   * Runs a session on a connection that came through no listener: one from a
   * socket of the program's own, or a pair in memory. Owns the transport from
   * here on. Resolves when the session is over; never rejects for what a client
   * does.
   *
   * @throws {TypeError} If the server is not active
   *
   * @example A session in memory
   * ```ts
   * import { SmtpServer } from "@smtp/server";
   * import { memoryPair } from "@smtp/server/testing";
   *
   * await using server = new SmtpServer({ listen: [], log: () => {} });
   * await server.start();
   * const [inner, outer] = memoryPair();
   * const session = server.serve(inner);
   * outer.close();
   * await session;
   * ```
   */
  async serve(
    transport: Transport,
    options: ServeOptions = {},
  ): Promise<void> {
    checkServeOptions(options);
    if (!this.#active) {
      throw new TypeError(
        "Cannot serve a connection: the server is not active",
      );
    }
    await this.#admission.serve(transport, this.#contexts.of(options));
  }

  /**
   * Stops: no new connections; sessions without a transaction get 421 at once,
   * the others may finish theirs within the grace; deliveries under way may end
   * within what is left of the grace, and go on at the next start. A store that
   * is still busy at its end is left behind, with a record in the log. The
   * server may be started again. Does nothing on a server that is not active;
   * while a stop is under way, waits for that one.
   *
   * @throws {SpoolError} If the disk of the spool did not take all that came of
   * the deliveries; the server is stopped nevertheless
   */
  async stop(options: StopOptions = {}): Promise<void> {
    checkStopOptions(options);
    if (this.#starting !== undefined) {
      return await this.#starting.then(() => this.stop(options), () => {});
    }
    if (this.#active) {
      this.#active = false;
      this.#stopping = this.#stop(options.graceMs ?? 10_000).finally(() => {
        this.#stopping = undefined;
      });
    }
    await this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#graceEnd = performance.now() + graceMs;
    const threads = this.#threads?.stop(graceMs);
    await this.#listeners.close();
    await this.#admission.end(graceMs);
    await threads;
    try {
      const left = Math.max(0, this.#graceEnd - performance.now());
      await this.#relaying.stop(left);
    } finally {
      await this.#closeStore();
    }
  }

  /** Closes the store; one whose disk does not answer is not waited for without end. */
  async #closeStore(): Promise<void> {
    const closed = Promise.resolve(this.#store.close?.());
    const left = Math.max(0, this.#graceEnd - performance.now());
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), left + STORE_GRACE_MS);
    });
    try {
      if (await Promise.race([closed, late]) !== "late") return;
      closed.catch(() => {});
      this.#log(records.storeBusy());
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Ends the grace of a stop under way: the sessions that still go on get 421
   * now, deliveries are broken off.
   */
  abort(): void {
    this.#graceEnd = 0;
    this.#threads?.abort();
    this.#relaying.abort();
    this.#admission.endGrace();
  }

  /** Stops without grace; see {@linkcode SmtpServer.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ graceMs: 0 });
  }
}
