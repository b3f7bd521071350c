/**
 * The facade: listeners, sessions, stores and limits put together, started and
 * stopped as one. It decides nothing about mail and parses nothing.
 */

import { consoleLogger, describeError, type Logger } from "./log.ts";
import {
  type ListenerKind,
  type ListenOptions,
  parseListen,
} from "./net/listen_options.ts";
import { Listener } from "./net/listener.ts";
import type { SocketAddress, Transport } from "./net/transport.ts";
import {
  Capabilities,
  type ExtensionKeyword,
} from "./protocol/capabilities.ts";
import type { BareNewlinePolicy } from "./protocol/data_decoder.ts";
import { replies } from "./protocol/replies.ts";
import { SmtpReply } from "./protocol/reply.ts";
import type { ServerProfile } from "./protocol/server_effects.ts";
import { Connection } from "./session/connection.ts";
import type { SessionContext } from "./session/context.ts";
import type { SmtpHandlers } from "./session/handlers.ts";
import { localDomains } from "./session/local_domains.ts";
import type { SmtpSession } from "./session/session.ts";
import { DiscardStore } from "./store/discard_store.ts";
import type { MessageStore } from "./store/store.ts";

/** Options of {@linkcode SmtpServer}. Every one has a default. */
export interface SmtpServerOptions {
  /**
   * Where to listen: `"127.0.0.1:2525"`, `"[::1]:0/lmtp"`, `{ port: 25 }`, or
   * several of these; `[]` for none, where all connections come through
   * {@linkcode SmtpServer.serve}.
   *
   * @default {":25"} Port 25 on all addresses
   */
  listen?: string | ListenOptions | readonly (string | ListenOptions)[];
  /**
   * The server's own name, in the greeting, the EHLO reply and Received.
   *
   * @default {Deno.hostname()} This machine's name
   */
  hostname?: string | undefined;
  /** Text of the greeting behind the name. Default `"ESMTP ready"`, `"LMTP ready"`. */
  greeting?: string | undefined;
  /** Text of the reply to QUIT. Default `"Bye"`. */
  goodbye?: string | undefined;
  /** The program's decisions. */
  handlers?: SmtpHandlers | undefined;
  /** Where messages are kept. Default: nowhere, with a warning when the server starts. */
  store?: MessageStore | undefined;
  /**
   * The domains whose mail is taken; recipients elsewhere get 550 5.7.1.
   * Default: every recipient is taken.
   */
  domains?: readonly string[] | undefined;
  /** Largest message, in octets; 0 for no limit. Default 52,428,800 (50 MiB). */
  maxSize?: number | undefined;
  /** Most recipients of a message. Default 1000. */
  maxRecipients?: number | undefined;
  /** Most sessions at once; the next gets 421. Default 10,000. */
  maxConnections?: number | undefined;
  /** Errors of a client after which its session ends; 0 for no end. Default 10. */
  maxErrors?: number | undefined;
  /** How long a session waits for its client, in ms. Default 300,000 (RFC 5321 section 4.5.3.2.7). */
  timeoutMs?: number | undefined;
  /** What happens to a body with a bare CR or LF. Default `"reject"`: 550 5.6.0. */
  bareNewlines?: BareNewlinePolicy | undefined;
  /** Extensions that are neither offered nor taken. Default: all are. */
  disabledExtensions?: readonly ExtensionKeyword[] | undefined;
  /** Whether a Received field is put in front of each message. Default `true`. */
  addReceived?: boolean | undefined;
  /** Octets of a message that are kept in memory; more goes to a temporary file. Default 262,144. */
  memoryLimit?: number | undefined;
  /** Folder of temporary files. Default: the system's. */
  temporaryFolder?: string | undefined;
  /** Takes log records. Default: warnings and errors go to standard error. */
  log?: Logger | undefined;
}

/** Options of {@linkcode SmtpServer.stop}. */
export interface StopOptions {
  /** How long sessions may go on, in ms, before they get 421. Default 10,000. */
  graceMs?: number | undefined;
}

/** Options of {@linkcode SmtpServer.serve}. */
export interface ServeOptions {
  /** What the session is for. Default `"smtp"`. */
  kind?: ListenerKind | undefined;
}

/** One listening address. */
export interface ListeningAddress extends SocketAddress {
  /** What the listener is for. */
  readonly kind: ListenerKind;
}

/** How long a session that was told to end may take to do so, in ms. */
const END_MS = 1000;

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
  readonly #options: SmtpServerOptions;
  readonly #log: Logger;
  readonly #store: MessageStore;
  readonly #isLocal: SessionContext["isLocal"];
  readonly #connections = new Set<Connection>();
  readonly #running = new Set<Promise<void>>();
  #listeners: { listener: Listener; kind: ListenerKind }[] = [];
  #accepting: Promise<void>[] = [];
  #active = false;
  #stopping: Promise<void> | undefined;
  #clock: ReturnType<typeof setInterval> | undefined;
  #endGrace: (() => void) | undefined;
  #now = Date.now();
  #idPrefix = "";
  #lastId = 0;

  /**
   * Makes a server that does nothing yet; see {@linkcode SmtpServer.start}.
   *
   * @param options How the server behaves
   * @throws {RangeError} If a number among the options makes no sense
   * @throws {TypeError} If `hostname` or one of `domains` is no name
   */
  constructor(options: SmtpServerOptions = {}) {
    this.#options = options;
    this.#log = options.log ?? consoleLogger;
    this.#store = options.store ?? new DiscardStore();
    checkNumbers(options);
    checkHostname(options.hostname);
    this.#isLocal = options.domains && localDomains(options.domains);
  }

  /** Whether the server takes connections: it was started and not stopped. */
  get active(): boolean {
    return this.#active;
  }

  /** Where the server listens, with the ports that were free. */
  get addresses(): readonly ListeningAddress[] {
    return this.#listeners.map(({ listener, kind }) => ({
      ...listener.address,
      kind,
    }));
  }

  /** The clients connected now. */
  get sessions(): readonly SmtpSession[] {
    return [...this.#connections].map((connection) => connection.session);
  }

  /**
   * Binds and starts to accept. Requires `allow-net`, and what the stores need.
   *
   * @throws {TypeError} If the server is active, or still stopping
   * @throws {SyntaxError} If `listen` cannot be read
   * @throws {Deno.errors.AddrInUse} If something listens there already
   */
  start(): Promise<void> {
    // Async in form, for what takes time to be ready.
    return Promise.resolve().then(() => this.#start());
  }

  #start(): void {
    if (this.#active || this.#stopping !== undefined) {
      const state = this.#active ? "active" : "still stopping";
      throw new TypeError(`Cannot start the server: it is ${state}`);
    }
    const { listen = ":25" } = this.#options;
    const wanted = isList(listen) ? listen : [listen];
    try {
      for (const entry of wanted) {
        const options = typeof entry === "string" ? parseListen(entry) : entry;
        const { host, port = 25, kind = "smtp" } = options;
        this.#listeners.push({ listener: Listener.open({ host, port }), kind });
      }
    } catch (error) {
      for (const { listener } of this.#listeners) listener.close();
      this.#listeners = [];
      throw error;
    }
    this.#active = true;
    this.#idPrefix = newIdPrefix();
    this.#startClock();
    this.#accepting = this.#listeners.map((it) => this.#accept(it));
    this.#warnOfDiscard();
  }

  #accept(
    { listener, kind }: { listener: Listener; kind: ListenerKind },
  ): Promise<void> {
    const context = this.#contextOf(kind);
    return listener.accept(
      (transport) => void this.#serve(transport, context),
      (error) =>
        this.#log({
          level: "error",
          event: "error",
          message: "Cannot accept connections for now",
          error: describeError(error),
        }),
    );
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
  serve(transport: Transport, options: ServeOptions = {}): Promise<void> {
    if (!this.#active) {
      return Promise.reject(
        new TypeError("Cannot serve a connection: the server is not active"),
      );
    }
    return this.#serve(transport, this.#contextOf(options.kind ?? "smtp"));
  }

  #serve(transport: Transport, context: SessionContext): Promise<void> {
    const { maxConnections = 10_000 } = this.#options;
    if (this.#connections.size >= maxConnections) {
      const close = () => transport.close();
      return transport.write(replies.tooManyConnections.encode())
        .then(close, close);
    }
    const connection = new Connection(transport, context);
    this.#connections.add(connection);
    const running = connection.run().finally(() => {
      this.#connections.delete(connection);
      this.#running.delete(running);
    });
    this.#running.add(running);
    return running;
  }

  /**
   * Stops: no new connections, sessions may finish within the grace, then they
   * get 421. The server may be started again. Does nothing on a server that is
   * not active; while a stop is under way, waits for that one.
   */
  stop(options: StopOptions = {}): Promise<void> {
    if (this.#active) {
      this.#active = false;
      this.#stopping = this.#stop(options.graceMs ?? 10_000).finally(() => {
        this.#stopping = undefined;
      });
    }
    return this.#stopping ?? Promise.resolve();
  }

  async #stop(graceMs: number): Promise<void> {
    for (const { listener } of this.#listeners) listener.close();
    this.#listeners = [];
    await Promise.all(this.#accepting);
    await this.#ended(graceMs);
    for (const connection of this.#connections) {
      connection.end(replies.shutdown, "shutdown");
    }
    await this.#ended(END_MS);
    for (const connection of this.#connections) connection.abort("shutdown");
    await this.#ended(END_MS);
    clearInterval(this.#clock);
    this.#clock = undefined;
    await this.#store.close?.();
  }

  /** Waits until all sessions have ended, `ms` at most. */
  async #ended(ms: number): Promise<void> {
    if (this.#running.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#endGrace = resolve;
    await Promise.race([Promise.all(this.#running), promise]);
    this.#endGrace = undefined;
    clearTimeout(timer);
  }

  /** Ends the grace of a stop under way: the sessions that still go on get 421 now. */
  abort(): void {
    this.#endGrace?.();
  }

  /** Stops without grace; see {@linkcode SmtpServer.stop}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ graceMs: 0 });
  }

  /**
   * One timer for all sessions: it moves the coarse clock that they set their
   * deadlines by and ends those that are past theirs.
   */
  #startClock(): void {
    const { timeoutMs = 300_000 } = this.#options;
    this.#now = Date.now();
    this.#clock = setInterval(() => {
      this.#now = Date.now();
      for (const connection of this.#connections) {
        if (connection.deadline < this.#now) connection.timeOut();
      }
    }, Math.min(1000, Math.max(20, timeoutMs / 4)));
  }

  #contextOf(kind: ListenerKind): SessionContext {
    const options = this.#options;
    const hostname = options.hostname ?? ownName();
    return {
      kind,
      hostname,
      profile: profileOf(kind, { ...options, hostname }),
      handlers: options.handlers ?? {},
      store: this.#store,
      isLocal: this.#isLocal,
      addReceived: options.addReceived ?? true,
      body: {
        memoryLimit: options.memoryLimit ?? 262_144,
        temporaryFolder: options.temporaryFolder,
      },
      timeoutMs: options.timeoutMs ?? 300_000,
      log: this.#log,
      verbose: options.log !== undefined,
      nextId: () =>
        this.#idPrefix + (++this.#lastId).toString(36).toUpperCase(),
      now: () => this.#now,
    };
  }

  #warnOfDiscard(): void {
    const { store, handlers } = this.#options;
    if (store !== undefined) return;
    if (handlers?.onMessageStart ?? handlers?.onMessage) return;
    this.#log({
      level: "warn",
      event: "listening",
      message:
        "Mail is accepted and discarded: no store is set and no handler keeps it",
    });
  }
}

function isList(
  listen: NonNullable<SmtpServerOptions["listen"]>,
): listen is readonly (string | ListenOptions)[] {
  return Array.isArray(listen);
}

/** What the machines of a listener's sessions have in common. */
function profileOf(
  kind: ListenerKind,
  options: SmtpServerOptions & { readonly hostname: string },
): ServerProfile {
  const { hostname, handlers = {}, maxSize = 52_428_800 } = options;
  const { maxRecipients = 1000, greeting, goodbye } = options;
  const protocol = kind === "lmtp" ? "lmtp" : "smtp";
  const text = greeting ?? (protocol === "lmtp" ? "LMTP ready" : "ESMTP ready");
  return {
    protocol,
    greeting: new SmtpReply(220, `${hostname} ${text}`),
    goodbye: goodbye === undefined
      ? replies.goodbye
      : new SmtpReply(221, goodbye, { enhanced: "2.0.0" }),
    capabilities: new Capabilities({
      hostname,
      maxSize,
      maxRecipients,
      disabled: options.disabledExtensions ?? [],
      expand: handlers.onExpand !== undefined,
    }, false),
    maxSize,
    maxRecipients,
    maxErrors: options.maxErrors ?? 10,
    bareNewlines: options.bareNewlines ?? "reject",
    asks: {
      command: handlers.onCommand !== undefined,
      helo: handlers.onHelo !== undefined,
      mail: handlers.onMailFrom !== undefined,
      rcpt: handlers.onRcptTo !== undefined || options.domains !== undefined,
      verify: handlers.onVerify !== undefined,
      expand: handlers.onExpand !== undefined,
    },
    startTls: "none",
    authentication: "none",
    mechanisms: () => [],
  };
}

/** This machine's name, where the permission to ask for it is there. */
function ownName(): string {
  try {
    return Deno.hostname();
  } catch {
    return "localhost";
  }
}

/** A prefix that makes the ids of this server differ from those of any other: time, then chance. */
function newIdPrefix(): string {
  const chance = crypto.getRandomValues(new Uint16Array(1))[0]!;
  return `${Date.now().toString(36)}${chance.toString(36)}-`.toUpperCase();
}

/**
 * A name with white space or brackets in it would be taken apart by whoever
 * reads the greeting or the Received field.
 *
 * @throws {TypeError} If the server's own name is neither a name nor an address literal
 */
function checkHostname(hostname: string | undefined): void {
  if (hostname === undefined) return;
  const isName = /^[\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*$/u.test(hostname);
  const isLiteral = /^\[[0-9A-Za-z.:]+\]$/.test(hostname);
  if ((isName || isLiteral) && hostname.length <= 255) return;
  throw new TypeError(
    `Cannot use hostname "${hostname}": want a name, as "mx.example.com"`,
  );
}

/** @throws {RangeError} If a number is not one that makes sense */
function checkNumbers(options: SmtpServerOptions): void {
  const wanted = [
    "maxSize",
    "maxRecipients",
    "maxConnections",
    "maxErrors",
    "timeoutMs",
    "memoryLimit",
  ] as const;
  for (const name of wanted) {
    const value = options[name];
    if (value === undefined) continue;
    const least = name === "maxSize" || name === "maxErrors" ||
        name === "memoryLimit"
      ? 0
      : 1;
    if (!Number.isSafeInteger(value) || value < least) {
      throw new RangeError(
        `Cannot use ${name} "${value}": want a whole number from ${least}`,
      );
    }
  }
}
