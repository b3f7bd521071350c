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
import type { ListenOptions } from "../net/listen_options.ts";
import type { Transport } from "../net/transport.ts";
import type { Relays } from "../queue/relay.ts";
import type { RelayService } from "../delivery/service.ts";
import {
  contextOf,
  idSource,
  relayServiceOf,
  sourceOf,
  warningsOf,
} from "./contexts.ts";
import { Listeners } from "./listeners.ts";
import { LiveSessions } from "./admission.ts";
import {
  checkReloadOptions,
  checkServeOptions,
  checkServerOptions,
  checkStopOptions,
  givenHandlers,
  type ListeningAddress,
  type ReloadOptions,
  type ServeOptions,
  type SettledOptions,
  type SmtpServerOptions,
  type StopOptions,
} from "./options.ts";
import { ProxyFront } from "./proxy_front.ts";
import type { ThreadServices } from "../threads/api.ts";
import { formerOptions, loadHere, threadPoolOf } from "./threading.ts";
import type { SessionContext } from "../session/context.ts";
import { handlerModuleUrl } from "../session/handler_module.ts";
import { limitsOf } from "../session/limit_options.ts";
import { AddressLimiter } from "../session/limits.ts";
import { type LoginCounter, LoginGuard } from "../session/login_guard.ts";
import type { SmtpSession } from "../session/session.ts";
import { DiscardStore } from "../store/discard_store.ts";
import type { MessageStore } from "../message/message.ts";
import { Counters, type ThreadPool } from "../threads/pool.ts";
import { encodeOptions } from "../threads/wire_options.ts";
import type { CertificateSource } from "../tls/set.ts";

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
  #options: SettledOptions;
  /** The URL of the handler module, where handlers are one. */
  readonly #module: string | undefined;
  /** What another thread has for this server, where it is one of several. */
  readonly #services: ThreadServices | undefined;
  readonly #log: Logger;
  readonly #store: MessageStore;
  readonly #guard: LoginCounter;
  readonly #counters: Counters | undefined;
  readonly #counts: AddressLimiter;
  readonly #live: LiveSessions;
  #pool: ThreadPool | undefined;
  readonly #relaying: RelayService;
  readonly #front: ProxyFront;
  readonly #listeners: Listeners;
  #certificates: CertificateSource | undefined;
  #active = false;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #graceEnd = 0;
  #nextId = idSource();

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
    const { handlers, threads = 0 } = options;
    const given = givenHandlers(options);
    this.#options = { ...options, handlers: given };
    this.#module = handlers === given
      ? undefined
      : handlerModuleUrl(handlers as string | URL);
    this.#services = services;
    this.#guard = services?.guard ?? new LoginGuard();
    this.#counters = threads > 0 ? new Counters(threads + 1) : undefined;
    this.#log = options.log ? safeLogger(options.log) : consoleLogger;
    this.#store = options.store ?? new DiscardStore();
    this.#counts = new AddressLimiter(limitsOf(options.limits), {
      now: services?.now ?? (() => this.#live.now),
      shared: services?.counts ?? this.#counters?.counts,
    });
    this.#live = new LiveSessions({
      counts: this.#counts,
      guard: this.#guard,
      log: this.#log,
      opened: services?.opened,
      closed: services?.closed,
    });
    this.dns = new DnsClient(options.dns);
    this.#front = new ProxyFront({
      serve: (transport, context) => this.#live.serve(transport, context),
      isFull: (waiting) =>
        waiting >= this.#counts.shareOf(
          this.#counts.limits.maxConnections - this.#counts.open,
        ),
      log: this.#log,
    });
    this.#listeners = new Listeners({
      options: () => this.#options,
      contextOf: (listen) => this.#contextOf(listen),
      serve: (transport, context) => void this.#front.serve(transport, context),
      onCrowded: () => this.#live.makeRoom(),
      log: this.#log,
      share: services !== undefined,
      shareOf: (total) => this.#counts.shareOf(total),
    });
    this.#relaying = relayServiceOf(() => this.#options, {
      dns: this.dns,
      store: this.#store,
      addresses: () => this.addresses,
      log: this.#log,
    });
  }

  /** Whether the server takes connections: it was started and not stopped. */
  get active(): boolean {
    return this.#active;
  }

  /** Where the server listens, with the ports that were free. */
  get addresses(): readonly ListeningAddress[] {
    return this.#pool?.addresses ?? this.#listeners.addresses;
  }

  /** The clients connected now. */
  get sessions(): readonly SmtpSession[] {
    return [
      ...this.#live.all,
      ...this.#pool?.sessions ?? [],
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
    if (this.#module !== undefined) {
      const handlers = await loadHere(this.#module, this.relays);
      this.#options = { ...this.#options, handlers };
    }
    // What can be wrong with it is found before anything is open.
    this.#certificates = sourceOf(this.#options.certificate);
    // Nobody may connect before there is a place for what they send.
    if (this.#services === undefined) await this.#relaying.start();
    this.#nextId = idSource(this.#services?.prefix);
    try {
      await this.#open();
    } catch (error) {
      await this.#relaying.stop(0);
      throw error;
    }
    this.#active = true;
    this.#live.startClock();
    this.#listeners.accept();
    if (this.#services === undefined) this.#warn();
  }

  /** Binds, here or on the threads. */
  async #open(): Promise<void> {
    const counters = this.#counters;
    if (counters === undefined) return this.#listeners.open();
    const pool = threadPoolOf({
      module: this.#module,
      listen: await this.#listeners.probe(),
      counters,
      counts: this.#counts,
      store: this.#store,
      guard: this.#guard,
      relays: this.relays,
      log: this.#log,
      options: () => this.#options,
      certificates: () => this.#certificates,
    });
    await pool.start();
    this.#pool = pool;
  }

  #warn(): void {
    for (const message of warningsOf(this.#options)) {
      this.#log({ level: "warn", event: "listening", message });
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
    const before = this.#options;
    const certificates = this.#certificates;
    try {
      this.#options = { ...before, ...options };
      if (options.certificate !== undefined) {
        this.#certificates = sourceOf(options.certificate);
      }
      this.#counts.limits = limitsOf(this.#options.limits);
      await this.#listeners.renew({
        // A proxy's header comes before TLS: the platform's own cannot wait.
        rebind: ["certificate", "clientCertificate", "proxyProtocol"]
          .some((name) => name in options),
      });
      await this.#pool?.reload(
        encodeOptions(options, this.#options, this.#certificates),
        formerOptions(before, options, certificates),
      );
    } catch (error) {
      this.#options = before;
      this.#counts.limits = limitsOf(before.limits);
      this.#certificates = certificates;
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
    await this.#front.serve(transport, this.#contextOf(options));
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
    const threads = this.#pool?.stop(graceMs);
    await this.#listeners.close();
    await this.#front.close();
    await this.#live.end(graceMs);
    await threads;
    this.#pool = undefined;
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
      this.#log({
        level: "error",
        event: "error",
        message: "The store is still busy: stopping without it",
      });
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
    this.#pool?.abort();
    this.#relaying.abort();
    this.#live.endGrace();
  }

  /** Stops without grace; see {@linkcode SmtpServer.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ graceMs: 0 });
  }

  #contextOf(listen: ListenOptions): SessionContext {
    return contextOf(listen, this.#options, {
      store: this.#store,
      log: this.#log,
      certificates: this.#certificates,
      guard: this.#guard,
      counts: this.#counts,
      delays: this.#live.delays,
      saltKey: this.#services?.saltKey,
      relaying: this.#services === undefined ? this.#relaying : {
        allows: (client) => this.#relaying.allows(client),
        add: (message, recipients) =>
          this.#services!.relay(message, recipients),
      },
      nextId: this.#nextId,
      now: () => this.#live.now,
    });
  }
}
