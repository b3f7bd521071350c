/**
 * The options of the server, their check, and the settings in force. Every
 * default that is not a matter of one room is written here; those of the limits
 * are in `session/limit_options.ts`.
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

/** More than any machine has use for. */
export const MOST_THREADS = 256;

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
  /**
   * The program's decisions: handlers, or where the module is whose default
   * export is handlers or a function that makes them ({@linkcode HandlerModule}).
   * With `threads`, handlers that are given as an object stay on the main
   * thread and are asked from there; a module is loaded by each thread, which
   * spares the way.
   */
  handlers?: SmtpHandlers | string | URL | undefined;
  /**
   * Worker threads that accept and serve connections, all on the same ports;
   * 0 for none: everything on the main thread. Queue and deliveries stay there.
   * Linux only: elsewhere ports cannot be shared.
   *
   * @default {0}
   */
  threads?: number | undefined;
  /** Where messages are kept. Default: nowhere, with a warning when the server starts. */
  store?: MessageStore | undefined;
  /**
   * The domains whose mail is taken; recipients elsewhere get 550 5.7.1, unless
   * `relay` lets the client send there. Default: every recipient is taken; where
   * `relay` is open to clients, only the bare `postmaster` is this server's own.
   */
  domains?: readonly string[] | undefined;
  /**
   * Relaying: who may, where it goes, how long it is tried. Default: what a
   * handler adds to {@linkcode SmtpServer.relays}, and nothing else.
   */
  relay?: RelayingOptions | undefined;
  /** How DNS questions are asked. Default: of the system's name servers. */
  dns?: DnsClientOptions | undefined;
  /**
   * The certificate for TLS: one, several by server name, or a source whose
   * certificates can be exchanged while connections are taken. Default: no TLS.
   */
  certificate?: Certificate | CertificateSet | CertificateSource | undefined;
  /**
   * STARTTLS on listeners that do not say otherwise: offered, or required
   * before MAIL and AUTH. Default `"allowed"` with a certificate, else `"none"`.
   */
  security?: ListenerSecurity | undefined;
  /** Whether clients are asked for a certificate of their own. Default: they are not. */
  clientCertificate?: ClientCertificatePolicy | undefined;
  /**
   * Who may log in, by name and secret; `onAuthenticate` decides instead where
   * it is set.
   */
  accounts?: Accounts | undefined;
  /**
   * Whether clients may or must log in, on listeners that do not say otherwise.
   * Default `"required"` on submission listeners; elsewhere `"allowed"` with
   * accounts or `onAuthenticate`, else `"none"`.
   */
  authentication?: AuthenticationPolicy | undefined;
  /**
   * The SASL mechanisms. Default with accounts: those that the kind of their
   * secrets allows; with `onAuthenticate` alone: PLAIN and LOGIN.
   */
  mechanisms?: readonly MechanismName[] | undefined;
  /** Whether clients may log in without TLS. Default `false`. */
  allowInsecureAuth?: boolean | undefined;
  /**
   * The networks of the proxies in front of this server, as `["10.0.0.0/8"]`.
   * Connections from there must begin with a header of the
   * [PROXY protocol](https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt),
   * version 1 or 2, before TLS where that comes first, or are closed without a
   * word. The client that it tells is who is limited, logged and seen by
   * handlers. Others connect as without this option. Default: there are none.
   */
  proxyProtocol?: readonly string[] | undefined;
  /**
   * The networks of those who may say for whom they speak, by
   * [XCLIENT](https://www.postfix.org/XCLIENT_README.html). They are believed
   * everything, log-ins too. Default: nobody may.
   */
  xclient?: readonly string[] | undefined;
  /** How much of everything, and how long. Default: see {@linkcode LimitOptions}. */
  limits?: LimitOptions | undefined;
  /**
   * What happens to content with a CR or LF alone, by DATA and by BDAT;
   * BODY=BINARYMIME is kept as it comes. `"normalize"` makes an LF a CRLF and a CR
   * a blank; `"reject"` refuses the message with 550 5.6.0; `"keep"` stores it as
   * it came. Only CRLF "." CRLF ends DATA, and no CR or LF alone is relayed,
   * whatever is chosen (RFC 5321 section 2.3.8). Default `"normalize"`.
   */
  bareNewlines?: BareNewlinePolicy | undefined;
  /**
   * What becomes of a client that speaks before the greeting, as bulk senders
   * do (RFC 5321 section 3.1): `"refuse"` tells it 554 5.5.1, `"allow"` reads
   * what came as commands after the greeting. Networks of `limits.exempt` are
   * not judged; a client that begins with TLS on a plain listener gets 421 in any case.
   * Default `"refuse"`.
   *
   * @example A port for scripts that do not wait
   * ```ts
   * import { SmtpServer } from "@smtp/server";
   *
   * const server = new SmtpServer({ earlyTalkers: "allow" });
   * console.assert(!server.active);
   * ```
   */
  earlyTalkers?: "refuse" | "allow" | undefined;
  /** Extensions that are neither offered nor taken. Default: all are. */
  disabledExtensions?: readonly ExtensionKeyword[] | undefined;
  /** Whether a Received field is put in front of each message. Default `true`. */
  addReceived?: boolean | undefined;
  /**
   * Whether headers are completed: Date and Message-ID where they are missing,
   * and the domain of addresses in From, Sender and Reply-To that have none,
   * which becomes the first of `domains`, else `hostname` (RFC 6409 section 8).
   * Default: on submission listeners only.
   */
  complete?: boolean | undefined;
  /** Bytes of a message that are kept in memory; more goes to a temporary file. Default 262,144. */
  memoryLimit?: number | undefined;
  /** Folder of temporary files. Default: the system's. */
  temporaryFolder?: string | undefined;
  /** Takes log records. Default: warnings and errors go to standard error. */
  log?: Logger | undefined;
  /** The least level of record that `log` wants; others are not even made. Default `"debug"`. */
  logLevel?: LogLevel | undefined;
}

/** What tells a certificate, a set and a source from anything else. */
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

/** The options of a server whose handlers are known. */
export type SettledOptions = Omit<SmtpServerOptions, "handlers"> & {
  readonly handlers?: SmtpHandlers | undefined;
};

/** The handlers that were given, where they are no module. */
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
  /** How long sessions may go on with a transaction, in ms, before they get 421; the others get it at once. Default 10,000. */
  graceMs?: number | undefined;
}

const STOP_RULES: Rules<StopOptions> = { graceMs: milliseconds };

/** Options of {@linkcode SmtpServer.serve}. */
export interface ServeOptions {
  /** What the session is for. Default `"smtp"`. */
  kind?: ListenerKind | undefined;
}

const SERVE_RULES: Rules<ServeOptions> = { kind: KIND_RULE };

/** One listening address. */
export interface ListeningAddress extends SocketAddress {
  /** What the listener is for. */
  readonly kind: ListenerKind;
  /** What TLS means there. */
  readonly security: ListenerSecurity;
}

/** Options of {@linkcode SmtpServer.reload}: what is not given stays as it is. */
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
 * Checks what can be checked before the server starts.
 *
 * @throws {RangeError} If a number makes no sense
 * @throws {TypeError} If an option is unknown or of the wrong kind, or
 * `hostname` or one of `domains` is no name
 * @throws {SyntaxError} If one of `proxyProtocol`, `xclient` or `limits.exempt`
 * is no network
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

/** Each thread is a program of its own: a slip of the pen must not start thousands. */
function checkThreads(threads = 0): void {
  const isWhole = Number.isInteger(threads) && threads >= 0;
  if (isWhole && threads <= MOST_THREADS) return;
  throw new RangeError(
    `Cannot use threads "${threads}": want ${
      isWhole ? `at most ${MOST_THREADS}` : "a whole number from 0"
    }`,
  );
}

/** Checks the own name by itself: white space or brackets would be taken apart by who reads the greeting or Received. */
export function checkHostname(hostname: string | undefined): void {
  if (hostname === undefined) return;
  ownName.check(hostname, { path: "hostname", of: "", secret: false });
}

/** What a server serves with. */
export interface Settings {
  readonly options: SettledOptions;
  /** The certificates in use; there are none before the first start. */
  readonly certificates: CertificateSource | undefined;
}

/** The settings in force: a start or a reload puts others in their place. */
export class ServerSettings implements Settings {
  /** The URL of the handler module, where handlers are one. */
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
   * Prepares a start: makes the certificates exchangeable.
   *
   * @param handlers Those of the handler module, where handlers are one
   */
  begin(handlers?: SmtpHandlers): void {
    const options = handlers ? { ...this.options, handlers } : this.options;
    this.#current = { options, certificates: sourceOf(options.certificate) };
  }

  /** Puts the options of a reload into force; gives the settings before it. */
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

  /** Takes a change back. */
  restore(before: Settings): void {
    this.#current = before;
  }
}

/** The certificates as something that can be exchanged. */
function sourceOf(
  certificate: SettledOptions["certificate"],
): CertificateSource | undefined {
  if (certificate === undefined) return undefined;
  return certificate instanceof CertificateSource
    ? certificate
    : new CertificateSource(certificate);
}
