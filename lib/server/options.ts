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
import type { Address } from "../protocol/address.ts";
import {
  EXTENSION_KEYWORDS,
  type ExtensionKeyword,
} from "../protocol/capabilities.ts";
import type { BareNewlinePolicy } from "../protocol/data_decoder.ts";
import { RELAYING_RULE, type RelayingOptions } from "../delivery/options.ts";
import type { Accounts } from "../sasl/accounts.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import { HANDLERS_RULE } from "../session/handlers_rule.ts";
import {
  LIMIT_RULE,
  type LimitOptions,
  limitsOf,
} from "../session/limit_options.ts";
import { ALIASES_RULE, type AliasTable } from "../session/aliases.ts";
import { DELIMITER_RULE } from "../session/mailbox_names.ts";
import { LOCAL_RECIPIENTS_RULE } from "../session/local_recipients.ts";
import type { SmtpSession } from "../session/session.ts";
import { VERIFY_RULE, type VerifyOptions } from "../session/verify_options.ts";
import { TRACE_RULE } from "../session/tracing.ts";
import type { MessageStore } from "../message/message.ts";
import {
  checkDomains,
  type DomainOptions,
  DOMAINS_RULE,
  STORE_RULE,
} from "./domain_options.ts";
import { DKIM_RULE } from "./signing.ts";
import type { DkimKey } from "../trust/dkim_sign.ts";
import type { Certificate } from "../tls/certificate.ts";
import type { CertificateSet, CertificateSource } from "../tls/set.ts";
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
   * The program's handlers, or the path or URL of a module whose default export
   * is handlers or a function that makes them ({@linkcode HandlerModule}). With
   * `threads`, handlers given as an object stay on the main thread, and each
   * thread calls them there; each thread loads a module itself, which avoids the
   * calls between threads. Default: no handlers, and everything is accepted that
   * the other options permit.
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
   * The domains whose mail is accepted, with U-labels or A-labels: their names,
   * or {@linkcode DomainOptions} by name, as `{ "a.example": { maxSize: 100_000 } }`.
   * Recipients elsewhere get 550 5.7.1, unless
   * `relay` lets the client send there. Default: every recipient is accepted; if
   * `relay` is open to clients, only the bare `postmaster` is this server's own.
   */
  domains?:
    | readonly string[]
    | Readonly<Record<string, DomainOptions>>
    | undefined;
  /**
   * Names whose mail goes to other addresses, here or elsewhere: an
   * {@linkcode AliasTable}, or names with their targets, as
   * `{ "info@example.com": ["ann@example.com", "bob@example.org"] }`. A name
   * without a domain (`root`) holds in every local domain; `@example.com` is a
   * catch-all. Aliases of aliases are followed, ten deep; a loop is 554 5.4.6
   * and a log record, once a minute. Mail to targets elsewhere goes to the queue, whatever
   * `relay` allows the client. A target without a mailbox by `localRecipients`
   * is left out, with a log record; if none is left, the recipient is refused.
   * Default: no aliases.
   *
   * @example Two names and a catch-all
   * ```ts
   * import { SmtpServer } from "@smtp/server";
   *
   * const server = new SmtpServer({
   *   domains: ["example.com"],
   *   aliases: {
   *     "info@example.com": ["ann@example.com", "bob@example.org"],
   *     "postmaster": "ann",
   *     "@example.com": "rest@example.com",
   *   },
   * });
   * console.assert(!server.active);
   * ```
   */
  aliases?:
    | AliasTable
    | Readonly<Record<string, string | readonly string[]>>
    | undefined;
  /**
   * The character before an extension: with `"+"`, mail to `ann+shop@` goes to the
   * mailbox of `ann@`. One of `+ - _ = # ! % * / ? & ~ ^ $`. An alias or a mailbox with the
   * whole name comes first. Default: no extensions.
   */
  recipientDelimiter?: string | undefined;
  /**
   * The mailboxes that exist. All others in local domains get 550 5.1.1, unless an
   * alias leads from them; `postmaster` is never refused (RFC 5321 section 4.5.1).
   * Names are addresses, local parts that exist in every local domain, or
   * `@example.com` for all of a domain; a function may ask a database, and its
   * errors are 451. `{ path }` is a file with one name a line, `#` begins a comment; it is
   * read again when it has changed, and a change that cannot be used is logged.
   * Default `"any"`: every local recipient exists.
   *
   * @example Two mailboxes
   * ```ts
   * import { SmtpServer } from "@smtp/server";
   *
   * const server = new SmtpServer({
   *   domains: ["example.com"],
   *   localRecipients: ["ann@example.com", "bob"],
   *   recipientDelimiter: "+",
   * });
   * console.assert(!server.active);
   * ```
   */
  localRecipients?:
    | "any"
    | Iterable<string>
    | ((address: Address) => boolean | Promise<boolean>)
    | { readonly path: string }
    | undefined;
  /**
   * Relaying: which clients may relay, the next hop, and the retries. Default:
   * the queue takes only messages that a handler adds to
   * {@linkcode SmtpServer.relays}.
   */
  relay?: RelayingOptions | undefined;
  /**
   * Keys that sign mail on its way into the queue (DKIM, RFC 6376): that of clients
   * with a login and of the networks in `relay.from`, what the program adds to
   * {@linkcode SmtpServer.relays} as parts, and the server's own DSNs, if a key
   * is for the author's domain. Several keys for one domain make a signature each,
   * as of RSA and Ed25519. Mail of other clients is never signed, though a handler relays
   * it, nor is what stays here. Mail of a domain without a key goes out
   * unsigned, which the log says once. Any user may write as any author of a
   * domain with a key, unless `senderPolicy` is `"own"`. A key that cannot be read
   * fails the start. Default: nothing is signed.
   */
  dkim?: DkimKey | readonly DkimKey[] | undefined;
  /** Options of the DNS client. Default: the system's name servers. */
  dns?: DnsClientOptions | undefined;
  /**
   * Whether to check SPF, DKIM, DMARC and ARC of mail from outside, with these
   * options. It asks the DNS for each message, and delays its last reply until
   * the answers are there or its `timeoutMs` has passed.
   *
   * @default {false}
   */
  verify?: boolean | VerifyOptions | undefined;
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
   * it decides instead. Default: no accounts, and without `onAuthenticate` no
   * AUTH.
   */
  accounts?: Accounts | undefined;
  /**
   * Whether clients may or must log in, on listeners without an `authentication`
   * of their own. Default `"required"` on submission listeners; elsewhere
   * `"allowed"` with accounts or `onAuthenticate`, else `"none"`.
   */
  authentication?: AuthenticationPolicy | undefined;
  /**
   * The addresses from which users that have logged in may send. With `"own"` the
   * reverse-path of MAIL must be one of the user's, or null, else 553 5.7.1; and so
   * must the one mailbox of Sender, or of From without a Sender (RFC 5322 section
   * 3.6.2), else 550 5.7.1 after the content. A header that is missing, ambiguous or
   * larger than 256 KiB is refused. A user's addresses are the name itself if it is
   * an address, and those that the account has ({@linkcode Accounts.addresses}).
   * Beside these, an address in a local domain is the user's if its mail goes to
   * one of them by `aliases`, those of its domain too, or without its extension.
   * So an alias with several targets may be used by each of them, and a list is a
   * right to send for all that are on it; a catch-all gives no right. A mailbox
   * that `localRecipients` knows, or an account, is no extension of another.
   * Case does not matter. A message with a Sender of the user's may be From
   * anyone. Clients without a login are not affected. Default `"any"`.
   *
   * @example Everyone writes as themselves
   * ```ts
   * import { AccountList, SmtpServer } from "@smtp/server";
   *
   * const server = new SmtpServer({
   *   senderPolicy: "own",
   *   accounts: new AccountList({
   *     "ann@example.com": "secret",
   *     shop: { secret: "other secret", addresses: ["@shop.example"] },
   *   }),
   * });
   * console.assert(!server.active);
   * ```
   */
  senderPolicy?: "any" | "own" | undefined;
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
  /**
   * Networks of clients whose whole dialogue is logged, as `["192.0.2.7"]`, or a
   * function that chooses sessions: one record of the event `dialogue` for each
   * line of either side, at level `"debug"`, and to `log` whatever `logLevel` is.
   * Content is a number of bytes, and everything of AUTH is `***`. After PROXY or
   * XCLIENT the address of the named client decides.
   * A function is called before the greeting, and again after XCLIENT. A session for
   * which it throws or returns no boolean is not traced; the first failure is logged.
   * With `threads`, and to choose by user, take `onDialogue`. Default: no networks.
   *
   * @example Watch one client
   * ```ts
   * import { logLines, SmtpServer } from "@smtp/server";
   *
   * const server = new SmtpServer({
   *   trace: ["192.0.2.7", "2001:db8::/32"],
   *   log: logLines("text", { level: "info" }),
   * });
   * console.assert(!server.active);
   * ```
   */
  trace?:
    | readonly string[]
    | ((session: SmtpSession) => boolean)
    | undefined;
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
  /**
   * Receives log records; {@linkcode logLines} makes one that writes lines.
   * Default: warnings, errors and the dialogues of `trace` go to standard error.
   */
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
  store: STORE_RULE,
  domains: DOMAINS_RULE,
  aliases: ALIASES_RULE,
  recipientDelimiter: DELIMITER_RULE,
  localRecipients: LOCAL_RECIPIENTS_RULE,
  relay: RELAYING_RULE,
  dkim: DKIM_RULE,
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
  senderPolicy: oneOf("any", "own"),
  mechanisms: list(
    oneOf(...MECHANISM_NAMES),
    'an array of mechanisms, as ["PLAIN"]',
  ),
  allowInsecureAuth: flag,
  proxyProtocol: NETWORKS_RULE,
  xclient: NETWORKS_RULE,
  trace: TRACE_RULE,
  verify: VERIFY_RULE,
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
  | "aliases"
  | "allowInsecureAuth"
  | "authentication"
  | "certificate"
  | "clientCertificate"
  | "dkim"
  | "domains"
  | "earlyTalkers"
  | "limits"
  | "localRecipients"
  | "mechanisms"
  | "proxyProtocol"
  | "recipientDelimiter"
  | "senderPolicy"
  | "trace"
  | "verify"
  | "xclient"
>;

const RELOAD_RULES: Rules<ReloadOptions> = {
  accounts: RULES.accounts,
  aliases: RULES.aliases,
  allowInsecureAuth: RULES.allowInsecureAuth,
  authentication: RULES.authentication,
  certificate: RULES.certificate,
  clientCertificate: RULES.clientCertificate,
  dkim: RULES.dkim,
  domains: RULES.domains,
  earlyTalkers: RULES.earlyTalkers,
  limits: RULES.limits,
  localRecipients: RULES.localRecipients,
  mechanisms: RULES.mechanisms,
  proxyProtocol: RULES.proxyProtocol,
  recipientDelimiter: RULES.recipientDelimiter,
  senderPolicy: RULES.senderPolicy,
  trace: RULES.trace,
  verify: RULES.verify,
  xclient: RULES.xclient,
};

/**
 * Checks the options as far as possible before the server starts.
 *
 * @throws {RangeError} If a number is out of range
 * @throws {TypeError} If an option is unknown or of the wrong kind, or
 * `hostname` or one of `domains` is not a name
 * @throws {SyntaxError} If one of `proxyProtocol`, `xclient`, `trace` or `limits.exempt`
 * is not a network
 */
export function checkServerOptions(options: SmtpServerOptions): void {
  checkOptions("", options, RULES, '{ listen: "127.0.0.1:2525" }');
  limitsOf(options.limits);
  checkMemoryLimit(options.memoryLimit);
  checkThreads(options.threads);
  checkDomains(options.domains);
}

/**
 * Checks the options of {@linkcode SmtpServer.reload}.
 *
 * @throws {TypeError} If one is unknown or of the wrong kind, or cannot change while the server runs
 */
export function checkReloadOptions(options: ReloadOptions): void {
  checkOptions("SmtpServer.reload", options, RELOAD_RULES, "{ domains }");
  limitsOf(options.limits);
  checkDomains(options.domains);
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
