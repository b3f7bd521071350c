/**
 * The class `SMTPServer` of smtp-server, served by this server: listens and
 * closes as that one does, and calls the program's callbacks at the same steps.
 */

import { EventEmitter } from "node:events";
import { SmtpServer } from "../../mod.ts";
import { DiscardStore } from "../store/mod.ts";
import { Certificate, CertificateSource } from "../tls/mod.ts";
import {
  certificatesOf,
  checkOptions,
  listenerOptions,
  logOf,
  needsCertificate,
  serverOptions,
} from "./options.ts";
import { Steps } from "./steps.ts";
import type {
  SMTPServerAddress,
  SMTPServerAuthentication,
  SMTPServerAuthenticationResponse,
  SMTPServerCallback,
  SMTPServerCallbacks,
  SMTPServerConnection,
  SMTPServerDataResult,
  SMTPServerDataStream,
  SMTPServerOptions,
  SMTPServerSecureSocket,
  SMTPServerSession,
} from "./types.ts";

/** Milliseconds that `close()` gives transactions. */
const CLOSE_MS = 30_000;

/** Where to listen. */
interface Place {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly path?: string | undefined;
}

/**
 * The listener of an {@linkcode SMTPServer}, in place of a `net.Server`: events
 * `listening`, `close` and `error`.
 */
class Listener extends EventEmitter {
  /** The running server; `undefined` where none listens. */
  running: SmtpServer | undefined;
  /** The way to listening, while it is taken. */
  starting: Promise<void> | undefined;
  /** The path of a unix socket, as the program gave it. */
  path: string | undefined;

  /** Whether it is bound. */
  get listening(): boolean {
    return this.running !== undefined;
  }

  /** Where it listens; `null` before and after. */
  address(): ReturnType<SMTPServer["server"]["address"]> {
    const bound = this.running?.addresses[0];
    if (bound === undefined) return null;
    if (bound.path !== undefined) return this.path ?? bound.path;
    const { address, port } = bound;
    return { address, port, family: address.includes(":") ? "IPv6" : "IPv4" };
  }
}

/**
 * The server of the package smtp-server.
 *
 * Events: `listening`, `close`, `error` if it cannot listen, `connect` with the
 * facts of a client. A client that breaks its connection off is no error.
 *
 * @example A program that changes its import and nothing else
 * ```ts
 * import {
 *   type ms,
 *   SMTPServer,
 *   type SMTPServerAddress,
 *   type SMTPServerAddressArgs,
 *   type SMTPServerAuthentication,
 *   type SMTPServerAuthenticationMethod,
 *   type SMTPServerAuthenticationResponse,
 *   type SMTPServerCallback,
 *   type SMTPServerCallbacks,
 *   type SMTPServerConnection,
 *   type SMTPServerConnectionInfo,
 *   type SMTPServerDataResult,
 *   type SMTPServerDataStream,
 *   type SMTPServerEnvelope,
 *   type SMTPServerEnvelopeDSN,
 *   type SMTPServerError,
 *   type SMTPServerLogger,
 *   type SMTPServerOptions,
 *   type SMTPServerRecipientDSN,
 *   type SMTPServerResolver,
 *   type SMTPServerSecureSocket,
 *   type SMTPServerSession,
 * } from "@smtp/server/smtp-server";
 *
 * const logger: SMTPServerLogger = { info() {}, error: console.error };
 * const callbacks: SMTPServerCallbacks = {
 *   onSecure(
 *     socket: SMTPServerSecureSocket,
 *     _session: SMTPServerSession,
 *     callback: SMTPServerCallback,
 *   ) {
 *     console.log(socket.getProtocol());
 *     callback();
 *   },
 *   onRcptTo({ address, args, dsn }: SMTPServerAddress, _session, callback) {
 *     const parameters: SMTPServerAddressArgs = args || {};
 *     const wanted: SMTPServerRecipientDSN | undefined = dsn;
 *     console.log(parameters.NOTIFY, wanted?.notify);
 *     if (address.endsWith("@example.com")) return callback();
 *     const error: SMTPServerError = new Error("Not here");
 *     error.responseCode = 551;
 *     callback(error);
 *   },
 *   onAuth({ method, username }: SMTPServerAuthentication, _session, callback) {
 *     const weak: SMTPServerAuthenticationMethod[] = ["PLAIN", "LOGIN"];
 *     const response: SMTPServerAuthenticationResponse = weak.includes(method)
 *       ? { message: "Use CRAM-MD5" }
 *       : { user: username };
 *     callback(null, response);
 *   },
 *   onData(stream: SMTPServerDataStream, { envelope }, callback) {
 *     const { rcptTo }: SMTPServerEnvelope = envelope;
 *     const dsn: SMTPServerEnvelopeDSN | undefined = envelope.dsn;
 *     const results: SMTPServerDataResult[] = rcptTo.map(() => `Kept ${dsn?.envid}`);
 *     stream.resume().on("end", () => callback(null, results));
 *   },
 * };
 * const resolver: SMTPServerResolver = {
 *   reverse: (_address, callback) => callback(null, ["c.example"]),
 * };
 * const closeTimeout: ms = 1000;
 * const options: SMTPServerOptions = { ...callbacks, logger, resolver };
 * const server = new SMTPServer({ ...options, closeTimeout, authOptional: true });
 * server.on("connect", ({ id }: SMTPServerConnectionInfo) => console.log(id));
 * await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
 * const open: SMTPServerConnection[] = [...server.connections];
 * console.assert(open.length === 0);
 * await new Promise<void>((done) => server.close(done));
 * ```
 */
export class SMTPServer extends EventEmitter {
  /** The options as given, with those of `updateSecureContext`. */
  readonly options: SMTPServerOptions;
  /** The connected clients. */
  readonly connections: Set<SMTPServerConnection> = new Set();
  /** The listener: `address()` says where it is bound, `listening` whether. */
  readonly server: EventEmitter & {
    readonly listening: boolean;
    address():
      | {
        readonly address: string;
        readonly port: number;
        readonly family: string;
      }
      | string
      | null;
  };
  readonly #listener = new Listener();
  readonly #steps: Steps;
  #certificates: CertificateSource | undefined;
  #spare: Certificate | undefined;

  /**
   * Makes a server.
   *
   * @throws {TypeError} If an option cannot be served, or has a value of the wrong kind
   */
  constructor(options: SMTPServerOptions = {}) {
    super();
    this.options = { ...options };
    this.server = this.#listener;
    checkOptions(this.options);
    for (const name of CALLBACKS) {
      const given = options[name];
      if (typeof given === "function") Object.assign(this, { [name]: given });
    }
    this.#steps = new Steps(this);
    // Faults in the options are found here, and not by the first client.
    new SmtpServer({ ...serverOptions(this.options), listen: [] });
    this.#listener.on("close", () => this.emit("close"));
    this.#listener.on("error", (error) => this.emit("error", error));
  }

  // Callbacks: a subclass or the options replace them.

  /** Accepts every client. */
  onConnect(_session: SMTPServerSession, callback: SMTPServerCallback): void {
    callback();
  }

  /** Accepts every TLS connection. */
  onSecure(
    _socket: SMTPServerSecureSocket,
    _session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void {
    callback();
  }

  /** Refuses every login. */
  onAuth(
    auth: SMTPServerAuthentication,
    _session: SMTPServerSession,
    callback: (
      error: Error | null | undefined,
      response?: SMTPServerAuthenticationResponse,
    ) => void,
  ): void {
    if (auth.method === "XCLIENT") callback(null, { user: auth.username });
    else callback(null, { message: "Authentication not implemented" });
  }

  /** Accepts every sender. */
  onMailFrom(
    _address: SMTPServerAddress,
    _session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void {
    callback();
  }

  /** Accepts every recipient. */
  onRcptTo(
    _address: SMTPServerAddress,
    _session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void {
    callback();
  }

  /** Accepts every message, and keeps none. */
  onData(
    stream: SMTPServerDataStream,
    _session: SMTPServerSession,
    callback: (
      error?: Error | null,
      answer?: string | readonly (SMTPServerDataResult | boolean | undefined)[],
    ) => void,
  ): void {
    stream.resume().on("end", () => callback());
  }

  /** Does nothing. */
  onClose(_session: SMTPServerSession, _callback: SMTPServerCallback): void {}

  // The server.

  /**
   * Listens: on a port, a host and a port, or as `{ port, host }` or
   * `{ path }` says; the last argument may be a function that is called then.
   * Without a port on a free one. A failure is the event `error`.
   *
   * @throws {TypeError} If it listens already, or on a handle
   */
  listen(...args: readonly unknown[]): EventEmitter {
    const done = args.findLast((arg) => typeof arg === "function");
    if (done !== undefined) {
      this.#listener.once("listening", done as () => void);
    }
    const listener = this.#listener;
    if (listener.listening || listener.starting !== undefined) {
      throw new TypeError("Cannot listen: the server listens already");
    }
    listener.starting = this.#listen(placeOf(args)).then(
      () => this.#begun("listening"),
      (error) => this.#begun("error", error),
    );
    return listener;
  }

  /** Tells how the way to listening has ended. */
  #begun(event: string, ...facts: unknown[]): void {
    this.#listener.starting = undefined;
    this.#listener.emit(event, ...facts);
  }

  async #listen({ host, port = 0, path }: Place): Promise<void> {
    const place = path === undefined ? { host, port } : { path };
    const running = new SmtpServer({
      ...serverOptions(this.options),
      ...logOf(this.options),
      listen: listenerOptions(this.options, place),
      certificate: await this.#certificate(),
      handlers: this.#steps.handlers(),
      store: new DiscardStore(),
    });
    this.#steps.dns = running.dns;
    await running.start();
    this.#listener.path = path;
    this.#listener.running = running;
  }

  /** The certificates; those of the options, or one for localhost that is made for this run. */
  async #certificate(): Promise<CertificateSource | undefined> {
    if (!needsCertificate(this.options)) return undefined;
    this.#spare ??= await Certificate.selfSigned({ names: ["localhost"] });
    this.#certificates = new CertificateSource(
      certificatesOf(this.options, this.#spare),
    );
    return this.#certificates;
  }

  /**
   * Replaces options of TLS: certificates change for the connections that begin
   * later.
   *
   * @throws {CertificateError} If a certificate cannot be read; the old ones stay
   */
  updateSecureContext(options: SMTPServerOptions = {}): void {
    checkOptions(options);
    const changed = { ...this.options, ...options };
    if (this.#certificates !== undefined) {
      this.#certificates.replace(certificatesOf(changed, this.#spare!));
    }
    Object.assign(this.options, options);
  }

  /**
   * Takes no new connections, ends sessions without a transaction, and the others
   * after `closeTimeout`; then calls back.
   */
  close(callback?: (() => void) | null): void {
    const listener = this.#listener;
    if (listener.starting !== undefined) {
      listener.starting.then(() => this.close(callback));
      return;
    }
    const { running } = listener;
    listener.running = undefined;
    const graceMs = this.options.closeTimeout || CLOSE_MS;
    Promise.resolve(running?.stop({ graceMs })).then(
      () => {
        callback?.();
        if (running !== undefined) listener.emit("close");
      },
      (error) => listener.emit("error", error),
    );
  }
}

const CALLBACKS = [
  ...["onConnect", "onSecure", "onAuth", "onMailFrom", "onRcptTo"],
  ...["onData", "onClose"],
] as readonly (keyof SMTPServerCallbacks)[];

/** Where to listen, from the arguments of `net.Server.listen`. */
function placeOf(args: readonly unknown[]): Place {
  const [first, second] = args;
  if (typeof first === "object" && first !== null) {
    if (!("port" in first || "path" in first)) {
      throw new TypeError(
        "Cannot listen on a handle or descriptor: want a port or a path",
      );
    }
    const { port, host, path } = first as Place;
    return { ...(port !== undefined && { port: Number(port) }), host, path };
  }
  if (typeof first === "string" && !/^\d+$/.test(first)) return { path: first };
  const port = first === undefined || typeof first === "function"
    ? 0
    : Number(first);
  return { port, host: typeof second === "string" ? second : undefined };
}
