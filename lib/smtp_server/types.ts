/**
 * The shapes of the package smtp-server: its options, and what its callbacks
 * get. Types only, named as programs of that package know them. Stands alone:
 * it is what a program reads first.
 */

import type { Readable } from "node:stream";
import type { TlsOptions } from "node:tls";

/** A time in milliseconds. */
export type ms = number;

/** An error of a callback; the client gets its text. */
export interface SMTPServerError extends Error {
  /** The code of the reply, 400 to 599. Default: as the step has it. */
  responseCode?: number | undefined;
}

/** Ends a step: without an error the client may go on. */
export type SMTPServerCallback = (error?: Error | null) => void;

/** The parameters of MAIL or RCPT, with their keywords in upper case; `true` for one without a value. */
export type SMTPServerAddressArgs = Record<string, string | true>;

/** NOTIFY and ORCPT of RCPT (RFC 3461). */
export interface SMTPServerRecipientDSN {
  /** The values of NOTIFY, in upper case. */
  notify?: string[] | undefined;
  /** ORCPT, as `"rfc822;ann@example.com"`. */
  orcpt?: string | undefined;
}

/** RET and ENVID of MAIL (RFC 3461); `null` for one that was not sent. */
export interface SMTPServerEnvelopeDSN {
  /** `"FULL"` or `"HDRS"`. */
  ret: string | null;
  /** The envelope id, decoded. */
  envid: string | null;
}

/** An address of MAIL or RCPT. */
export interface SMTPServerAddress {
  /** The address; its domain with U-labels. `""` for the null path. */
  address: string;
  /** The parameters of the command; `false` without any. */
  args: false | SMTPServerAddressArgs;
  /** NOTIFY and ORCPT of RCPT; only if `hideDSN` is `false`. */
  dsn?: SMTPServerRecipientDSN | undefined;
}

/** The envelope of the transaction under way. */
export interface SMTPServerEnvelope {
  /** The sender; `false` before MAIL is accepted. */
  mailFrom: false | SMTPServerAddress;
  /** The accepted recipients; a later one replaces an equal one. */
  rcptTo: SMTPServerAddress[];
  /** The form of the content that MAIL declared: `"7bit"` or `"8bitmime"`. */
  bodyType: string;
  /** Whether MAIL had SMTPUTF8. */
  smtpUtf8: boolean;
  /** Whether MAIL had REQUIRETLS: the message may go on only over verified TLS to a server that offers it. */
  requireTLS: boolean;
  /** RET and ENVID of MAIL; only if `hideDSN` is `false`. */
  dsn?: SMTPServerEnvelopeDSN | undefined;
}

/** One connected client. The same object in all callbacks of a connection; a program may add members. */
export interface SMTPServerSession {
  /** Unique id. */
  id: string;
  /** Whether the connection is encrypted. */
  secure: boolean;
  /** The IP address to which the client connected. */
  localAddress: string;
  /** The port to which the client connected. */
  localPort: number;
  /** The client's IP address. */
  remoteAddress: string;
  /** The client's port. */
  remotePort: number;
  /** The client's name in the DNS, else its address in brackets. */
  clientHostname: string;
  /** `"HELO"`, `"EHLO"` or `"LHLO"`; `false` before it, whatever the type says. */
  openingCommand: string;
  /** The client's name in HELO, in lower case; `false` before it, whatever the type says. */
  hostNameAppearsAs: string;
  /** The envelope of the transaction under way. */
  envelope: SMTPServerEnvelope;
  /** What `onAuth` gave as `user`; unset before a login. */
  // deno-lint-ignore no-explicit-any
  user?: any;
  /** The number of the transaction, from 1. */
  transaction: number;
  /** As in a Received field: `"ESMTPSA"`. */
  transmissionType: string;
  /** The cipher suite; `false` without TLS. */
  tlsOptions: false | { name: string; version: string };
  /** The server name that the client asked for by SNI. */
  servername?: string | undefined;
  /** The attributes of XCLIENT, with their names in upper case; `false` for one that is not available. */
  xClient: Map<string, string | false>;
  /** Always empty: XFORWARD is not spoken. */
  xForward: Map<string, string | false>;
  /** The last refusal that a callback chose. */
  error?: string | undefined;
  /**
   * Commands that get 500 in this session, in place of the option
   * `disabledCommands`: a callback may set it. EHLO lists what it listed, and a
   * login that is required stays so.
   */
  disabledCommands?: string[] | undefined;
}

/** A member of `server.connections`. */
export interface SMTPServerConnection {
  /** The id of its session. */
  readonly id: string;
  /** Its session. */
  readonly session: SMTPServerSession;
  /** The IP address to which the client connected. */
  readonly localAddress: string;
  /** The port to which the client connected. */
  readonly localPort: number;
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** The client's port. */
  readonly remotePort: number;
  /** The client's name in the DNS, else its address in brackets. */
  readonly clientHostname: string;
  /** The client's name in HELO; `false` before it, whatever the type says. */
  readonly hostNameAppearsAs: string;
  /** Whether it is encrypted. */
  readonly secure: boolean;
  /** Ends it. */
  close(): void;
}

/** The facts of a client, as the event `connect` has them. */
export interface SMTPServerConnectionInfo {
  /** The id of its session. */
  readonly id: string;
  /** The IP address to which it connected. */
  readonly localAddress: string;
  /** The port to which it connected. */
  readonly localPort: number;
  /** Its IP address. */
  readonly remoteAddress: string;
  /** Its port. */
  readonly remotePort: number;
  /** Its name in HELO: `false`, unless XCLIENT told it. */
  readonly hostNameAppearsAs: string | false;
  /** Its name in the DNS, else its address in brackets. */
  readonly clientHostname: string | false;
}

/** Looks up the names of an address. */
export interface SMTPServerResolver {
  /** Calls back with the names of an IP address. */
  reverse(
    address: string,
    callback: (error: Error | null, names?: string[]) => void,
  ): void;
}

/** The mechanism of a login; `"XCLIENT"` for one that a proxy claims. */
export type SMTPServerAuthenticationMethod =
  | "PLAIN"
  | "LOGIN"
  | "CRAM-MD5"
  | "XOAUTH2"
  | "XCLIENT";

/** A login that `onAuth` decides on. */
export interface SMTPServerAuthentication {
  /** The mechanism. */
  method: SMTPServerAuthenticationMethod;
  /** The user name, prepared by SASLprep. */
  username: string;
  /** PLAIN only: the authentication identity. */
  authcid?: string | undefined;
  /** PLAIN only: the authorization identity, `""` if none was sent. */
  authzid?: string | undefined;
  /** PLAIN and LOGIN only: the password. */
  password?: string | undefined;
  /** XOAUTH2 only: the bearer token. */
  accessToken?: string | undefined;
  /** CRAM-MD5 only: the challenge. */
  challenge?: string | undefined;
  /** CRAM-MD5 only: the client's digest. */
  challengeResponse?: string | undefined;
  /** Whether the client knows the password, in constant time; not with XOAUTH2 and XCLIENT. */
  validatePassword(password: string): boolean;
}

/** What `onAuth` answers. */
export interface SMTPServerAuthenticationResponse {
  /** The user, kept as `session.user`; without it the login is refused. */
  // deno-lint-ignore no-explicit-any
  user?: any;
  /** The text of the refusal. */
  message?: string | undefined;
  /** The code of the refusal. Default 535. */
  responseCode?: number | undefined;
  /** Not used: a refused XOAUTH2 token gets the error of RFC 7628. */
  data?: unknown;
}

/** The content of a message. */
export interface SMTPServerDataStream extends Readable {
  /** Bytes read so far. */
  byteLength: number;
  /** Whether there are more than `size`. Only with `hideSize`: otherwise the server refuses such a message. */
  sizeExceeded: boolean;
}

/** The result for one recipient in LMTP: the text of its 250, or an error. */
export type SMTPServerDataResult = string | Error;

/** The TLS of a connection, as `onSecure` gets it in place of a socket. */
export interface SMTPServerSecureSocket {
  /** The client's address. */
  readonly remoteAddress?: string | undefined;
  /** The server name that the client asked for. */
  readonly servername?: string | undefined;
  /** Whether the client's certificate was verified. */
  readonly authorized: boolean;
  /** The version of TLS. */
  getProtocol(): string | null;
  /** The cipher suite. */
  getCipher(): { name: string; version: string };
  /** The client's certificate in the form of `node:tls`; `{}` without one. */
  getPeerCertificate(): object;
}

/** A logger with a function for each level, as those of bunyan and pino: it gets the facts of a record and its text. */
export interface SMTPServerLogger {
  /** Takes debug records. */
  debug?(facts: Record<string, unknown>, text: string): void;
  /** Takes info records. */
  info(facts: Record<string, unknown>, text: string): void;
  /** Takes warnings; `info` gets them if it is missing. */
  warn?(facts: Record<string, unknown>, text: string): void;
  /** Takes errors. */
  error(facts: Record<string, unknown>, text: string): void;
}

/** The callbacks. Each may also be a method of a subclass. */
export interface SMTPServerCallbacks {
  /** A client has connected. */
  onConnect?(
    session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void;
  /** The connection is encrypted: at its start, or after STARTTLS. */
  onSecure?(
    socket: SMTPServerSecureSocket,
    session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void;
  /** A client logs in. */
  onAuth?(
    auth: SMTPServerAuthentication,
    session: SMTPServerSession,
    callback: (
      error: Error | null | undefined,
      response?: SMTPServerAuthenticationResponse,
    ) => void,
  ): void;
  /** MAIL FROM. */
  onMailFrom?(
    address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void;
  /** RCPT TO. */
  onRcptTo?(
    address: SMTPServerAddress,
    session: SMTPServerSession,
    callback: SMTPServerCallback,
  ): void;
  /**
   * A message is complete. The answer is the text of the 250, in LMTP an array
   * with a text or an error for each recipient.
   */
  onData?(
    stream: SMTPServerDataStream,
    session: SMTPServerSession,
    callback: (
      error?: Error | null,
      answer?: string | readonly (SMTPServerDataResult | boolean | undefined)[],
    ) => void,
  ): void;
  /** The connection has ended. There is nothing to wait for: its callback does nothing. */
  onClose?(session: SMTPServerSession, callback: SMTPServerCallback): void;
}

/**
 * The options of {@linkcode SMTPServer}. Of those of `node:tls` it serves `key`,
 * `cert`, `ca`, `passphrase`, `requestCert` and `rejectUnauthorized`, in PEM.
 * Those that would change what is secure are a `TypeError`; the others have no
 * effect.
 */
export interface SMTPServerOptions extends TlsOptions, SMTPServerCallbacks {
  /** Whether TLS comes before the first byte. Default `false`. */
  secure?: boolean | undefined;
  /**
   * With `secure`: TLS ends at a proxy in front, and connections are plain here.
   * Default `false`.
   */
  secured?: boolean | undefined;
  /** The same as without it: this server begins TLS itself. Default `false`. */
  needsUpgrade?: boolean | undefined;
  /** The server's name. Default: this machine's. */
  name?: string | undefined;
  /** Text of the greeting behind the name. Default `"ready"`. */
  banner?: string | undefined;
  /**
   * First line of the reply to EHLO and HELO; the first `%s` is the server, the
   * second the client. Default: the name of the server.
   */
  heloResponse?: string | undefined;
  /** Largest message in bytes; a larger one gets 552. Default: that of `limits.maxSize`. */
  size?: number | undefined;
  /** The same as without it: a message that is too large is refused. Default `true`. */
  rejectOversized?: boolean | undefined;
  /**
   * Hides SIZE: `stream.sizeExceeded` says whether a message is larger than
   * `size`. Default `false`.
   */
  hideSize?: boolean | undefined;
  /** The SASL mechanisms. Default LOGIN and PLAIN. */
  authMethods?: string | readonly string[] | undefined;
  /** Whether clients may send without a login. Default `false`. */
  authOptional?: boolean | undefined;
  /** Text of the 530 for a client without a login. Default: the standard text. */
  authRequiredMessage?: string | undefined;
  /** Whether clients may log in without TLS. Default `false`. */
  allowInsecureAuth?: boolean | undefined;
  /** Commands that get 500. Default: none. */
  disabledCommands?: string | readonly string[] | undefined;
  /** Hides STARTTLS, and allows logins without it. Default `false`. */
  hideSTARTTLS?: boolean | undefined;
  /** Hides PIPELINING. Default `false`. */
  hidePIPELINING?: boolean | undefined;
  /** Hides 8BITMIME. Default `false`. */
  hide8BITMIME?: boolean | undefined;
  /** Hides SMTPUTF8. Default `false`. */
  hideSMTPUTF8?: boolean | undefined;
  /** Hides DSN. Default `true`. */
  hideDSN?: boolean | undefined;
  /** Hides ENHANCEDSTATUSCODES. Default `true`; replies of callbacks have none then. */
  hideENHANCEDSTATUSCODES?: boolean | undefined;
  /** Hides REQUIRETLS. Default `true`. */
  hideREQUIRETLS?: boolean | undefined;
  /** Whether the client's name is not looked up. Default `false`. */
  disableReverseLookup?: boolean | undefined;
  /** Looks names up in place of the DNS. Default: the DNS. */
  resolver?: SMTPServerResolver | undefined;
  /** `true` for lines on standard error, or a logger. Default: no log. */
  logger?: boolean | SMTPServerLogger | undefined;
  /** The fact `component` of each log record. Default `"smtp-server"`; lines have it only if it is set. */
  component?: string | undefined;
  /** Most connections. Default: that of `limits.maxConnections`. */
  maxClients?: number | undefined;
  /** Most recipients of a message. Default 1000. */
  maxRecipients?: number | undefined;
  /**
   * Most commands without a login, where one is required, until 421; `false` for
   * no limit. Default 10.
   */
  maxAllowedUnauthenticatedCommands?: number | false | undefined;
  /**
   * Whether connections begin with a PROXY header: `true` or `["*"]` for all, or
   * from these addresses. Default `false`.
   */
  useProxy?: boolean | readonly string[] | undefined;
  /** Whether clients may send XCLIENT: `true` or `["*"]` for all, or from these addresses. Default `false`. */
  useXClient?: boolean | readonly string[] | undefined;
  /** Only `false`: XFORWARD is not spoken. Default `false`. */
  useXForward?: boolean | readonly string[] | undefined;
  /** Addresses whose sessions are not logged. Default: none. */
  ignoredHosts?: readonly string[] | undefined;
  /** Whether it speaks LMTP. Default `false`. */
  lmtp?: boolean | undefined;
  /** Milliseconds that a client may be silent. Default: that of `limits.timeoutMs`. */
  socketTimeout?: ms | undefined;
  /** Milliseconds that `close()` gives transactions. Default 30,000. */
  closeTimeout?: ms | undefined;
  /** Certificates by server name. Default: none. */
  sniOptions?:
    | ReadonlyMap<string, TlsOptions>
    | Readonly<Record<string, TlsOptions>>
    | undefined;
  /** Not served: the limits of RFC 5321 hold. Default: those. */
  maxCommandLength?: undefined;
  /** Whether addresses that break the rules of dots are accepted, as `user.@example.com`. Default `false`. */
  lenientAddressParsing?: boolean | undefined;
}
