/**
 * The options of the server, their checks, and the settings in force. A default
 * is in the code that uses the option, most of them in `contexts.ts`; those of
 * the limits are in `session/limit_options.ts`.
 */

import { DNS_RULE, type DnsClientOptions } from "../dns/client.ts";
import type { Logger, LogLevel } from "../log.ts";
import {
  AUTHENTICATION_RULE,
  type AuthenticationPolicy,
  KIND_RULE,
  LISTEN_RULE,
  type ListenerSecurity,
  type ListenOptions,
  NETWORKS_RULE,
  SECURITY_RULE,
} from "../net/listen_options.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import {
  anyNumber,
  callable,
  checkOptions,
  flag,
  has,
  list,
  milliseconds,
  oneOf,
  optionError,
  ownName,
  path,
  type Rules,
  secret,
  text,
  where,
} from "../options.ts";
import type { SocketAddress } from "../net/transport.ts";
import {
  EXTENSION_KEYWORDS,
  type ExtensionKeyword,
} from "../protocol/capabilities.ts";
import type { BareNewlinePolicy } from "../protocol/data_decoder.ts";
import { RELAYING_RULE, type RelayingOptions } from "../delivery/options.ts";
import type { Accounts } from "../sasl/accounts.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";
import { handlerModuleUrl } from "../session/handler_module.ts";
import { HANDLERS_RULE, type SmtpHandlers } from "../session/handlers.ts";
import {
  LIMIT_RULE,
  type LimitOptions,
  limitsOf,
} from "../session/limit_options.ts";
import { localDomains } from "../session/local_domains.ts";
import type { MessageStore } from "../message/message.ts";
import type { Certificate } from "../tls/certificate.ts";
import { type CertificateSet, CertificateSource } from "../tls/set.ts";
import {
  CLIENT_CERTIFICATE_RULE,
  type ClientCertificatePolicy,
} from "../tls/context.ts";

/** Limit of threads; more than any machine needs. */
export const MOST_THREADS = 256;

/**
 * Options of {@linkcode SmtpServer}. Every one has a default.
 *
 * @example Content as it must be, and no CHUNKING
 * ```ts
 * import {
 *   type BareNewlinePolicy,
 *   type ExtensionKeyword,
 *   SmtpServer,
 * } from "@smtp/server";
 *
 * const bareNewlines: BareNewlinePolicy = "reject";
 * const disabledExtensions: ExtensionKeyword[] = ["CHUNKING", "BINARYMIME"];
 * const server = new SmtpServer({ bareNewlines, disabledExtensions });
 * console.assert(!server.active);
 * ```
 */
export interface SmtpServerOptions {
  /**
   * The addresses to listen on: `"127.0.0.1:2525"`, `"[::1]:0/lmtp"`,
   * `{ port: 25 }`, `"unix:/run/smtp.sock/lmtp"`, `{ path: "/run/smtp.sock" }`,
   * or several of these; `[]` for none, if all connections come through
   * {@linkcode SmtpServer.serve}. The kinds in a text are `smtp`, `submission`
   * and `lmtp`, and with TLS from the first byte `smtps` and `submissions`. The
   * last part of a unix socket's path is a kind only if it is one of these words.
   *
   * Clients of a unix socket have the address `"unix"`. Limits per address do not
   * count them, nor are they refused as early talkers. They may log in without
   * TLS, and be relayed for where `relay.from` names `"unix"`. Workers cannot
   * share a unix socket: with `threads` the main thread serves it.
   *
   * @default {":25"} Port 25 on all addresses
   */
  listen?: string | ListenOptions | readonly (string | ListenOptions)[];
  /**
   * The server's name in the greeting, the EHLO reply and Received.
   *
   * @default {Deno.hostname()} This machine's name
   */
  hostname?: string | undefined;
  /** Text of the greeting behind the name. Default `"ESMTP ready"`, `"LMTP ready"`. */
  greeting?: string | undefined;
  /** Text of the reply to QUIT. Default `"Bye"`. */
  goodbye?: string | undefined;
  /**
   * The program's handlers, or the path or URL of a module whose default export is
   * handlers or a function that makes them ({@linkcode HandlerModule}). With
   * `threads`, handlers given as an object stay on the main thread, and each
   * thread calls them there; each thread loads a module itself, which avoids the
   * calls between threads.
   */
  handlers?: SmtpHandlers | string | URL | undefined;
  /**
   * Number of worker threads that accept and serve connections, all on the same
   * ports; 0 to serve on the main thread. The queue and its deliveries stay on
   * the main thread. Linux only: other systems cannot share ports.
   *
   * @default {0}
   */
  threads?: number | undefined;
  /** Stores messages. Default: no store, with a warning when the server starts. */
  store?: MessageStore | undefined;
  /**
   * The domains whose mail is accepted, with U-labels or A-labels. Recipients
   * elsewhere get 550 5.7.1, unless
   * `relay` lets the client send there. Default: every recipient is accepted; if
   * `relay` is open to clients, only the bare `postmaster` is this server's own.
   */
  domains?: readonly string[] | undefined;
  /**
   * Relaying: which clients may relay, the next hop, and the retries. Default:
   * the queue takes only messages that a handler adds to
   * {@linkcode SmtpServer.relays}.
   */
  relay?: RelayingOptions | undefined;
  /** Options of the DNS client. Default: the system's name servers. */
  dns?: DnsClientOptions | undefined;
  /**
   * The certificate for TLS: one, several by server name, or a source whose
   * certificates can be replaced while the server runs. Default: no TLS.
   */
  certificate?: Certificate | CertificateSet | CertificateSource | undefined;
  /**
   * STARTTLS on listeners without a `security` of their own: offered, or required
   * before MAIL and AUTH. Default `"allowed"` with a certificate, else `"none"`.
   */
  security?: ListenerSecurity | undefined;
  /** Whether the server requests client certificates. Default: it does not. */
  clientCertificate?: ClientCertificatePolicy | undefined;
  /**
   * The accounts that may log in, by name and secret. If `onAuthenticate` is set,
   * it decides instead.
   */
  accounts?: Accounts | undefined;
  /**
   * Whether clients may or must log in, on listeners without an `authentication`
   * of their own. Default `"required"` on submission listeners; elsewhere
   * `"allowed"` with accounts or `onAuthenticate`, else `"none"`.
   */
  authentication?: AuthenticationPolicy | undefined;
  /**
   * The SASL mechanisms. Default with accounts: those that the form of their
   * secrets allows; with `onAuthenticate` alone: PLAIN and LOGIN.
   */
  mechanisms?: readonly MechanismName[] | undefined;
  /** Whether clients may log in without TLS. Default `false`. */
  allowInsecureAuth?: boolean | undefined;
  /**
   * The networks of the proxies in front of this server, as `["10.0.0.0/8"]`.
   * Connections from there must begin with a header of the
   * [PROXY protocol](https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt),
   * version 1 or 2, before any TLS; otherwise they are closed without a reply. The
   * limits, the log and the handlers then refer to the client that the header
   * names. Other connections work as without this option. Default: no networks.
   */
  proxyProtocol?: readonly string[] | undefined;
  /**
   * The networks whose clients may speak for other clients with
   * [XCLIENT](https://www.postfix.org/XCLIENT_README.html). Everything they claim
   * is trusted, including logins. Default: no networks.
   */
  xclient?: readonly string[] | undefined;
  /** The limits of numbers, sizes and times. Default: see {@linkcode LimitOptions}. */
  limits?: LimitOptions | undefined;
  /**
   * The treatment of content with a bare CR or LF, in DATA and BDAT; BODY=BINARYMIME
   * is stored unchanged. `"normalize"` makes an LF a CRLF and a CR a blank;
   * `"reject"` rejects the message with 550 5.6.0; `"keep"` stores it unchanged.
   * With every policy only CRLF "." CRLF ends DATA, and no bare CR or LF is
   * relayed (RFC 5321 section 2.3.8). Default `"normalize"`.
   */
  bareNewlines?: BareNewlinePolicy | undefined;
  /**
   * The treatment of a client that sends before the greeting, as bulk senders do
   * (RFC 5321 section 3.1): `"refuse"` replies 554 5.5.1, `"allow"` reads the
   * data as commands after the greeting. Networks of `limits.exempt` are not
   * checked. A client that begins with TLS on a plain listener always gets 421.
   * Default `"refuse"`.
   *
   * @example A port for scripts that do not wait for the greeting
   * ```ts
   * import { SmtpServer } from "@smtp/server";
   *
   * const server = new SmtpServer({ earlyTalkers: "allow" });
   * console.assert(!server.active);
   * ```
   */
  earlyTalkers?: "refuse" | "allow" | undefined;
  /** Extensions that are neither offered nor accepted. Default: none. */
  disabledExtensions?: readonly ExtensionKeyword[] | undefined;
  /** Whether a Received field is added at the top of each message. Default `true`. */
  addReceived?: boolean | undefined;
  /**
   * Whether headers are completed (RFC 6409 section 8): a missing Date and
   * Message-ID, and the missing domain of addresses in From, Sender and Reply-To,
   * which becomes the first of `domains`, else `hostname`. Default: on submission
   * listeners only.
   */
  complete?: boolean | undefined;
  /** Bytes of a message kept in memory; a larger one goes to a temporary file. Default 262,144. */
  memoryLimit?: number | undefined;
  /** Folder of temporary files. Default: the system's. */
  temporaryFolder?: string | undefined;
  /** Receives log records. Default: warnings and errors go to standard error. */
  log?: Logger | undefined;
  /** The lowest level of the records that `log` receives; lower ones are not made. Default `"debug"`. */
  logLevel?: LogLevel | undefined;
}

/** Methods that identify a certificate, a set and a source. */
const CERTIFICATE_METHODS = [["toPem", "keyPem"], ["select"], ["replace"]];

const RULES: Rules<SmtpServerOptions> = {
  listen: LISTEN_RULE,
  hostname: ownName,
  greeting: text(),
  goodbye: text(),
  handlers: {
    want: "handlers, as { onRcptTo() {} }, or the path or URL of a module",
    check(value, at) {
      if (value instanceof URL) return;
      if (typeof value === "string") return path.check(value, at);
      if (typeof value !== "object" || value === null) {
        throw optionError(at, value, this);
      }
      HANDLERS_RULE.check(value, at);
    },
  },
  threads: anyNumber,
  store: where(
    'a store, as new MaildirStore({ folder: "./mail" })',
    (value) => {
      const store = value as Partial<MessageStore> | null;
      return typeof store?.kind === "string" &&
        typeof store.save === "function";
    },
  ),
  domains: list(text(), 'an array of domains, as ["example.com"]'),
  relay: RELAYING_RULE,
  dns: DNS_RULE,
  certificate: where(
    "a Certificate, as Certificate.load() gives it, a CertificateSet or a CertificateSource",
    (value) =>
      !(value instanceof String) &&
      CERTIFICATE_METHODS.some((methods) => has(value, methods)),
  ),
  security: SECURITY_RULE,
  clientCertificate: CLIENT_CERTIFICATE_RULE,
  accounts: secret(where(
    "accounts, as new AccountList({ ann: secret })",
    (value) =>
      !Array.isArray(value) && !ArrayBuffer.isView(value) &&
      typeof (value as Partial<Accounts> | null)?.find === "function",
  )),
  authentication: AUTHENTICATION_RULE,
  mechanisms: list(
    oneOf(...MECHANISM_NAMES),
    'an array of mechanisms, as ["PLAIN"]',
  ),
  allowInsecureAuth: flag,
  proxyProtocol: NETWORKS_RULE,
  xclient: NETWORKS_RULE,
  limits: LIMIT_RULE,
  bareNewlines: oneOf("reject", "normalize", "keep"),
  earlyTalkers: oneOf("refuse", "allow"),
  disabledExtensions: list(
    oneOf(...EXTENSION_KEYWORDS),
    'an array of EHLO keywords, as ["CHUNKING"]',
  ),
  addReceived: flag,
  complete: flag,
  memoryLimit: anyNumber,
  temporaryFolder: path,
  log: callable("a function, as (record) => console.log(record)"),
  logLevel: oneOf("debug", "info", "warn", "error"),
};

/** The options of a server with its handlers resolved. */
export type SettledOptions = Omit<SmtpServerOptions, "handlers"> & {
  readonly handlers?: SmtpHandlers | undefined;
};

/** The handlers given as an object; `undefined` if they are a module. */
export function givenHandlers(
  options: SmtpServerOptions,
): SmtpHandlers | undefined {
  const { handlers } = options;
  return typeof handlers === "string" || handlers instanceof URL
    ? undefined
    : handlers;
}

/** Options of {@linkcode SmtpServer.stop}. */
export interface StopOptions {
  /** Milliseconds until sessions in a transaction get 421; the others get it at once. Default 10,000. */
  graceMs?: number | undefined;
}

const STOP_RULES: Rules<StopOptions> = { graceMs: milliseconds };

/** Options of {@linkcode SmtpServer.serve}. */
export interface ServeOptions {
  /** The kind of the session. Default `"smtp"`. */
  kind?: ListenerKind | undefined;
}

const SERVE_RULES: Rules<ServeOptions> = { kind: KIND_RULE };

/** One listening address; a unix socket has `"unix"` as address, and port 0. */
export interface ListeningAddress extends SocketAddress {
  /** The absolute path of a unix socket. */
  readonly path?: string;
  /** The kind of the listener. */
  readonly kind: ListenerKind;
  /** Its TLS policy. */
  readonly security: ListenerSecurity;
}

/**
 * Options of {@linkcode SmtpServer.reload}: an option that is not given stays unchanged.
 *
 * @example Other limits at night, then a quick stop
 * ```ts
 * import { type ReloadOptions, SmtpServer, type StopOptions } from "@smtp/server";
 * import { DiscardStore } from "@smtp/server/store";
 *
 * const server = new SmtpServer({
 *   listen: "127.0.0.1:0",
 *   store: new DiscardStore(),
 * });
 * await server.start();
 * const night: ReloadOptions = { limits: { maxConnections: 10 } };
 * await server.reload(night);
 * const quickly: StopOptions = { graceMs: 1000 };
 * await server.stop(quickly);
 * console.assert(!server.active);
 * ```
 */
export type ReloadOptions = Pick<
  SmtpServerOptions,
  | "accounts"
  | "allowInsecureAuth"
  | "authentication"
  | "certificate"
  | "clientCertificate"
  | "domains"
  | "earlyTalkers"
  | "limits"
  | "mechanisms"
  | "proxyProtocol"
  | "xclient"
>;

const RELOAD_RULES: Rules<ReloadOptions> = {
  accounts: RULES.accounts,
  allowInsecureAuth: RULES.allowInsecureAuth,
  authentication: RULES.authentication,
  certificate: RULES.certificate,
  clientCertificate: RULES.clientCertificate,
  domains: RULES.domains,
  earlyTalkers: RULES.earlyTalkers,
  limits: RULES.limits,
  mechanisms: RULES.mechanisms,
  proxyProtocol: RULES.proxyProtocol,
  xclient: RULES.xclient,
};

/**
 * Checks the options as far as possible before the server starts.
 *
 * @throws {RangeError} If a number is out of range
 * @throws {TypeError} If an option is unknown or of the wrong kind, or
 * `hostname` or one of `domains` is not a name
 * @throws {SyntaxError} If one of `proxyProtocol`, `xclient` or `limits.exempt`
 * is not a network
 */
export function checkServerOptions(options: SmtpServerOptions): void {
  checkOptions("", options, RULES, '{ listen: "127.0.0.1:2525" }');
  limitsOf(options.limits);
  checkMemoryLimit(options.memoryLimit);
  checkThreads(options.threads);
  localDomains(options.domains ?? []);
}

/**
 * Checks the options of {@linkcode SmtpServer.reload}.
 *
 * @throws {TypeError} If one is unknown or of the wrong kind, or cannot change while the server runs
 */
export function checkReloadOptions(options: ReloadOptions): void {
  checkOptions("SmtpServer.reload", options, RELOAD_RULES, "{ domains }");
  limitsOf(options.limits);
  localDomains(options.domains ?? []);
}

/** Checks the options of {@linkcode SmtpServer.stop}. */
export function checkStopOptions(options: StopOptions): void {
  checkOptions("SmtpServer.stop", options, STOP_RULES, "{ graceMs: 1000 }");
}

/** Checks the options of {@linkcode SmtpServer.serve}. */
export function checkServeOptions(options: ServeOptions): void {
  checkOptions("SmtpServer.serve", options, SERVE_RULES, '{ kind: "lmtp" }');
}

function checkMemoryLimit(memoryLimit: number = 0): void {
  if (Number.isSafeInteger(memoryLimit) && memoryLimit >= 0) return;
  throw new RangeError(
    `Cannot use memoryLimit "${memoryLimit}": want a whole number from 0`,
  );
}

/** Checks `threads`: each thread is a whole program, and a typing error must not start thousands. */
function checkThreads(threads = 0): void {
  const isWhole = Number.isInteger(threads) && threads >= 0;
  if (isWhole && threads <= MOST_THREADS) return;
  throw new RangeError(
    `Cannot use threads "${threads}": want ${
      isWhole ? `at most ${MOST_THREADS}` : "a whole number from 0"
    }`,
  );
}

/** Checks the server's name: white space or brackets would break parsers of the greeting or of Received. */
export function checkHostname(hostname: string | undefined): void {
  if (hostname === undefined) return;
  ownName.check(hostname, { path: "hostname", of: "", secret: false });
}

/** The settings of a server. */
export interface Settings {
  readonly options: SettledOptions;
  /** The certificates in use; `undefined` before the first start. */
  readonly certificates: CertificateSource | undefined;
}

/** The settings in force; a start or a reload replaces them. */
export class ServerSettings implements Settings {
  /** The URL of the handler module, if the handlers are one. */
  readonly module: string | undefined;
  #current: Settings;

  constructor(options: SmtpServerOptions) {
    const handlers = givenHandlers(options);
    this.module = handlers === options.handlers
      ? undefined
      : handlerModuleUrl(options.handlers as string | URL);
    this.#current = {
      options: { ...options, handlers },
      certificates: undefined,
    };
  }

  get options(): SettledOptions {
    return this.#current.options;
  }

  get certificates(): CertificateSource | undefined {
    return this.#current.certificates;
  }

  /**
   * Prepares a start: makes the certificates replaceable.
   *
   * @param handlers The handlers of the handler module, if there is one
   */
  begin(handlers?: SmtpHandlers): void {
    const options = handlers ? { ...this.options, handlers } : this.options;
    this.#current = { options, certificates: sourceOf(options.certificate) };
  }

  /** Applies the options of a reload; returns the settings before it. */
  change(options: ReloadOptions): Settings {
    const before = this.#current;
    this.#current = {
      options: { ...before.options, ...options },
      certificates: options.certificate === undefined
        ? before.certificates
        : sourceOf(options.certificate),
    };
    return before;
  }

  /** Restores the settings from before a change. */
  restore(before: Settings): void {
    this.#current = before;
  }
}

/** Wraps the certificates in a source, so that they can be replaced. */
function sourceOf(
  certificate: SettledOptions["certificate"],
): CertificateSource | undefined {
  if (certificate === undefined) return undefined;
  return certificate instanceof CertificateSource
    ? certificate
    : new CertificateSource(certificate);
}
