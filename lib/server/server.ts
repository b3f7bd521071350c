/**
 * The facade: joins listeners, sessions, stores and limits, and starts and stops
 * them together. Decides nothing about mail and parses nothing.
 */

import { DnsClient } from "../dns/client.ts";
import type {
  DnsOutcomeOf,
  DnsQueryOptions,
  DnsRecordType,
} from "../dns/outcome.ts";
import { consoleLogger, flushLog, type Logger, safeLogger } from "../log.ts";
import type { Transport } from "../net/transport.ts";
import type { Relays } from "../queue/relay.ts";
import type { RelayService } from "../delivery/service.ts";
import { Admission } from "./admission.ts";
import {
  daneIsOff,
  forwardingOf,
  recipientPolicyOf,
  relayServiceOf,
  SessionContexts,
  verificationOf,
  warningsOf,
} from "./contexts.ts";
import { Listeners } from "./listeners.ts";
import { records } from "./log.ts";
import {
  checkServeOptions,
  checkStopOptions,
  type ServeOptions,
  type StopOptions,
} from "./call_options.ts";
import {
  checkReloadOptions,
  checkServerOptions,
  type ListeningAddress,
  type ReloadOptions,
  type SmtpServerOptions,
} from "./options.ts";
import { ServerSettings } from "./settings.ts";
import { checkTracing } from "../session/tracing.ts";
import type { ThreadServices } from "../threads/api.ts";
import { loadHere, ServerThreads, ThreadRelaying } from "./threading.ts";
import { limitsOf } from "../session/limit_options.ts";
import { AddressLimiter } from "../session/limits.ts";
import { LoginGuard } from "../session/login_guard.ts";
import { UserLimiter } from "../session/user_limits.ts";
import { SavedUserCounts } from "./user_counts.ts";
import { machineName } from "../options.ts";
import { SessionSpf, type VerificationInit } from "../session/verification.ts";
import type { Forwarding } from "./forwarding.ts";
import { Signing } from "./signing.ts";
import type { SmtpSession } from "../session/session.ts";
import { DiscardStore } from "../store/discard_store.ts";
import { ServerStores } from "./stores.ts";
import { Counters } from "../threads/pool.ts";

/** Milliseconds that a store may take to close after the grace period of a stop. */
const STORE_GRACE_MS = 1000;

/** Options that decide on local recipients. */
const ABOUT_RECIPIENTS: readonly (keyof ReloadOptions)[] = [
  ...["aliases", "domains", "localRecipients", "recipientDelimiter"] as const,
];

/**
 * An SMTP server.
 *
 * @example Store every message for one domain
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
  /** The DNS client, made from the option `dns`. */
  readonly dns: DnsClient;
  readonly #settings: ServerSettings;
  /** The main thread's parts for this server, if it is one of several threads. */
  readonly #services: ThreadServices | undefined;
  readonly #log: Logger;
  readonly #stores: ServerStores;
  readonly #counts: AddressLimiter;
  readonly #users: UserLimiter;
  /** The counts of users in the spool folder, if there is one. */
  readonly #savedCounts: SavedUserCounts | undefined;
  readonly #admission: Admission;
  /** Signs mail that enters the queue. */
  readonly #signing: Signing;
  /** Rewrites and seals mail that leaves again. */
  readonly #forwarding: Forwarding;
  readonly #relaying: RelayService;
  readonly #spf: SessionSpf;
  readonly #contexts: SessionContexts;
  readonly #listeners: Listeners;
  readonly #threads: ServerThreads | undefined;
  #active = false;
  /** Settles when the starts and reloads so far have ended. */
  #changing: Promise<void> = Promise.resolve();
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #graceEnd = 0;
  /** Ends the logging of what becomes of the certificates. */
  #unhearCertificates: () => void = () => {};

  /**
   * Makes a server that does nothing yet; see {@linkcode SmtpServer.start}.
   *
   * @param options The options
   * @param services For the threads of a server: the parts that all threads share
   * @throws {RangeError} If a number among the options is out of range
   * @throws {TypeError} If an option is unknown or of the wrong kind, or
   * `hostname` or one of `domains` is not a name
   * @throws {SyntaxError} If `listen`, a network, a schedule or a name server cannot be read
   */
  constructor(options: SmtpServerOptions = {}, services?: ThreadServices) {
    checkServerOptions(options);
    checkTracing(options.trace, options.threads);
    this.#settings = new ServerSettings(options);
    this.#services = services;
    const { threads = 0 } = options;
    const counters = threads > 0 ? new Counters(threads) : undefined;
    this.#log = options.log
      ? safeLogger(options.log, options.logLevel)
      : consoleLogger;
    const store = options.store ?? new DiscardStore();
    this.#stores = new ServerStores(store, this.#settings);
    const now = services?.now ?? (() => this.#admission.now);
    const shared = services?.counts ?? counters?.counts;
    this.#counts = new AddressLimiter(limitsOf(options.limits), {
      ...{ now, shared },
    });
    this.#users = new UserLimiter(this.#counts, {
      ...{ now, memory: shared?.users },
    });
    const folder = options.relay?.spool;
    this.#savedCounts = services === undefined && typeof folder === "string"
      ? new SavedUserCounts(this.#users, { folder, log: this.#log })
      : undefined;
    const common = {
      stores: this.#stores,
      guard: services?.guard ?? new LoginGuard(),
      counts: this.#counts,
      log: this.#log,
    };
    this.#admission = new Admission({
      ...common,
      observer: services?.observer,
    });
    this.#signing = new Signing(this.#log);
    this.#forwarding = forwardingOf(this.#settings, this.#log);
    this.dns = new DnsClient({
      ...options.dns,
      onWarning: options.dns?.onWarning ??
        ((message) => this.#log(records.warning(message))),
    });
    this.#relaying = relayServiceOf(this.#settings, {
      ...common,
      ...{ signer: this.#signing, forwarder: this.#forwarding },
      dns: this.dns,
      addresses: () => this.addresses,
    });
    this.#spf = new SessionSpf(this.#verificationInit);
    this.#contexts = new SessionContexts(this.#settings, {
      ...common,
      ...{ forwarding: this.#forwarding, spf: this.#spf },
      users: this.#users,
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

  /** Whether the server takes connections: it has started and not stopped. */
  get active(): boolean {
    return this.#active;
  }

  /** The addresses the server listens on; a port 0 is replaced by the real port. */
  get addresses(): readonly ListeningAddress[] {
    return this.#threads === undefined
      ? this.#listeners.addresses
      : this.#listeners.addressesWith(this.#threads.addresses);
  }

  /** The sessions of the connected clients. */
  get sessions(): readonly SmtpSession[] {
    return [
      ...this.#admission.sessions,
      ...this.#threads?.sessions ?? [],
    ];
  }

  /**
   * The messages to be relayed. Call `add` in `onMessage`: when it resolves the
   * message is durable, so the server may reply 250.
   */
  get relays(): Relays {
    return this.#relaying.relays;
  }

  /**
   * Queries the DNS for the records of a type: short for `dns.query`.
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
   * Opens the spool, binds and starts to accept. Requires `allow-net`, and the
   * permissions that the stores and the spool need.
   *
   * @throws {TypeError} If the server is active, starting, or still stopping
   * @throws {TypeError} If a name in `dkim` or `relay.forwarding` cannot be used
   * @throws {SyntaxError} If a key in one of them cannot be read
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
    return this.#starting = this.#inTurn(() => this.#start()).finally(() => {
      this.#starting = undefined;
    });
  }

  async #start(): Promise<void> {
    const { module } = this.#settings;
    const handlers = module === undefined
      ? undefined
      : await loadHere(module, this.relays);
    // Faults in the options are found before anything is open.
    this.#settings.begin(handlers);
    await this.#openRecipients();
    await this.#loadVerification();
    this.#signing.use(await Signing.load(this.#settings.options.dkim));
    await this.#forwarding.load();
    // The queue must be able to take messages before a client connects.
    if (this.#services === undefined) await this.#relaying.start();
    this.#contexts.begin();
    await this.#savedCounts?.start();
    try {
      await this.#open();
    } catch (error) {
      await this.#savedCounts?.stop();
      await this.#relaying.stop(0);
      throw error;
    }
    this.#active = true;
    this.#hearCertificates();
    this.#admission.startClock();
    this.#listeners.accept();
    if (this.#services === undefined) {
      this.#announce();
      await this.#settings.recipients?.warnOfAliases();
    }
  }

  /** Logs what becomes of the certificates in use while the server runs. */
  #hearCertificates(): void {
    this.#unhearCertificates();
    const { certificates } = this.#settings;
    if (this.#services !== undefined || certificates === undefined) return;
    const ends = [
      certificates.onReplace(() => this.#log(records.reload(["certificate"]))),
      certificates.onError((error) =>
        this.#log(records.certificateFault(error))
      ),
    ];
    this.#unhearCertificates = () => ends.forEach((end) => end());
  }

  /** Makes what decides on local recipients, from the options in force. */
  async #openRecipients(): Promise<void> {
    const policy = await recipientPolicyOf(this.#settings.options, {
      ...{ store: this.#stores.current, log: this.#log },
      now: () => this.#admission.now,
      observer: this.#services?.recipients,
    });
    this.#settings.useRecipients(policy);
  }

  /** What the checks of mail need of the server. */
  get #verificationInit(): VerificationInit {
    const { hostname = machineName() } = this.#settings.options;
    return { hostname, dns: this.dns, log: this.#log };
  }

  /** Loads what checks the mail from outside, if an option asks for it. */
  async #loadVerification(): Promise<void> {
    const verification = await verificationOf(this.#settings.options, {
      ...this.#verificationInit,
      spf: this.#spf,
    });
    this.#settings.useVerification(verification);
  }

  /** Binds, on this thread or on the workers. */
  async #open(): Promise<void> {
    if (this.#threads === undefined) return await this.#listeners.open();
    const ports = await this.#listeners.probe();
    try {
      await this.#threads.start(ports);
    } catch (error) {
      await this.#listeners.close();
      throw error;
    }
  }

  /** Logs what is open, and what is odd about the options. */
  #announce(): void {
    for (const at of this.addresses) this.#log(records.listening(at));
    for (const message of warningsOf(this.#settings.options)) {
      this.#log(records.warning(message));
    }
    const why = daneIsOff(this.#settings.options, this.dns);
    if (why !== undefined) this.#log(records.notice(why));
  }

  /**
   * Changes settings while the server runs. Sessions under way keep theirs; later
   * sessions get the new ones. A call during another one waits for it, so that the
   * settings of the last call are in force at the end.
   *
   * A listener that speaks TLS from the first byte with one plain
   * {@linkcode Certificate} is bound again for a new one, and connections that
   * wait to be accepted at that moment are lost. To avoid this, give a
   * {@linkcode CertificateSource} to the server.
   *
   * @throws {TypeError} If a setting is unknown, of the wrong kind, or does not
   * fit the listeners
   */
  async reload(options: ReloadOptions): Promise<void> {
    checkReloadOptions(options);
    checkTracing(options.trace, this.#settings.options.threads);
    await this.#inTurn(() => this.#reload(options));
  }

  /**
   * Begins a start or a reload when those before it have ended: of two reloads
   * the later one is in force at the end.
   */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const changed = this.#changing.then(change);
    this.#changing = changed.catch(() => {});
    return changed;
  }

  async #reload(options: ReloadOptions): Promise<void> {
    const signer = "dkim" in options
      ? await Signing.load(options.dkim)
      : undefined;
    const before = this.#settings.change(options);
    this.#counts.limits = limitsOf(this.#settings.options.limits);
    const isAboutRecipients = ABOUT_RECIPIENTS.some((name) => name in options);
    try {
      if (isAboutRecipients) await this.#openRecipients();
      if ("verify" in options) await this.#loadVerification();
      await this.#listeners.renew({
        // A proxy's header comes before TLS; the platform's TLS cannot wait for it.
        rebind: ["certificate", "clientCertificate", "proxyProtocol"]
          .some((name) => name in options),
      });
      await this.#threads?.reload(options, before);
      if ("dkim" in options) this.#signing.use(signer);
      if (this.#active) this.#hearCertificates();
      if (this.#services === undefined) {
        this.#log(records.reload(Object.keys(options)));
        if (isAboutRecipients) {
          await this.#settings.recipients?.warnOfAliases();
        }
      }
    } catch (error) {
      this.#settings.restore(before);
      this.#counts.limits = limitsOf(before.options.limits);
      throw error;
    }
  }

  /**
   * Runs a session on a connection that came through no listener: one from a
   * socket of the program's own, or a memory pair. Owns the transport from here
   * on. Resolves when the session has ended; never rejects because of a client's
   * actions.
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
   * Stops the server. It takes no new connections. Sessions without a transaction
   * get 421 at once; the others may finish theirs within the grace period.
   * Deliveries under way may use the rest of the grace period; the queue continues
   * at the next start. A store that is still busy after it is left behind, with a
   * log record. The server may be started again. Does nothing on a server that is
   * not active; waits for a stop that is under way.
   *
   * @throws {SpoolError} If the disk refused some of the deliveries' results; the
   * server is stopped nevertheless
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
    if (this.#services === undefined) {
      this.#log(records.stopping(this.sessions.length, graceMs));
    }
    this.#unhearCertificates();
    const threads = this.#threads?.stop(graceMs);
    await this.#listeners.close();
    await this.#admission.end(graceMs);
    await threads;
    await this.#savedCounts?.stop();
    try {
      const left = Math.max(0, this.#graceEnd - performance.now());
      await this.#relaying.stop(left);
    } finally {
      await this.#closeStores();
      if (this.#services === undefined) {
        await flushLog(this.#settings.options.log);
      }
    }
  }

  /** Closes the stores; does not wait longer for a store whose disk does not answer. */
  async #closeStores(): Promise<void> {
    const closed = this.#stores.close();
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
   * Ends the grace period of a stop under way: the sessions still open get 421
   * now, and deliveries are aborted.
   */
  abort(): void {
    this.#graceEnd = 0;
    this.#threads?.abort();
    this.#relaying.abort();
    this.#admission.endGrace();
  }

  /** Stops without a grace period; see {@linkcode SmtpServer.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ graceMs: 0 });
  }
}
