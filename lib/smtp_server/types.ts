/**
 * The shapes of the package smtp-server: its options, and what its callbacks
 * get. Types only, named as programs of that package know them. Stands alone:
 * it is what a program reads first.
 */

import type { Readable } from "node:stream";

/** Ends a step: without an error the client may go on. */
export type SMTPServerCallback = (error?: Error | null) => void;

/** An address of MAIL or RCPT. */
export interface SMTPServerAddress {
  /** The address; its domain with U-labels. `""` for the null path. */
  address: string;
  /** The parameters of the command, with their keywords in upper case; `false` without any. */
  args: false | Record<string, string | true>;
  /** NOTIFY and ORCPT of RCPT; only if `hideDSN` is `false`. */
  dsn?: { notify?: string[]; orcpt?: string } | undefined;
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
  /** Always `false`: REQUIRETLS is not offered. */
  requireTLS: boolean;
  /** RET and ENVID of MAIL; only if `hideDSN` is `false`. */
  dsn?: { ret: string | null; envid: string | null } | undefined;
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
  /** `"HELO"`, `"EHLO"` or `"LHLO"`; `false` before it. */
  openingCommand: string | false;
  /** The client's name in HELO, in lower case; `false` before it. */
  hostNameAppearsAs: string | false;
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
}

/** A member of `server.connections`. */
export interface SMTPServerConnection {
  /** The id of its session. */
  readonly id: string;
  /** Its session. */
  readonly session: SMTPServerSession;
  /** Ends it. */
  close(): void;
}

/** A login that `onAuth` decides on. */
export interface SMTPServerAuthentication {
  /** The mechanism: `"PLAIN"`, `"LOGIN"`, `"CRAM-MD5"`, `"XOAUTH2"`, or `"XCLIENT"` for a login that a proxy claims. */
  method: string;
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
  user?: unknown;
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

/** The TLS of a connection, as `onSecure` gets it in place of a socket. */
export interface SMTPServerSecureSocket {
  /** The client's address. */
  readonly remoteAddress: string;
  /** The server name that the client asked for. */
  readonly servername: string | undefined;
  /** Whether the client's certificate was verified. */
  readonly authorized: boolean;
  /** The version of TLS. */
  getProtocol(): string;
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

/** A certificate with its key, in PEM. */
export interface SMTPServerTlsOptions {
  /** The key. Default: that of a self-signed certificate. */
  key?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined;
  /** The certificate and its issuers. Default: a self-signed one for localhost. */
  cert?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined;
  /** The authorities that may sign certificates of clients. Default: the platform's. */
  ca?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined;
  /** The passphrase of the key. Default: the key is not encrypted. */
  passphrase?: string | undefined;
  /** The oldest version of TLS. Only `"TLSv1.2"`. Default `"TLSv1.2"`. */
  minVersion?: string | undefined;
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
      answer?: string | readonly (string | Error | boolean | undefined)[],
    ) => void,
  ): void;
  /** The connection has ended. */
  onClose?(session: SMTPServerSession): void;
}

/** The options of {@linkcode SMTPServer}. */
export interface SMTPServerOptions
  extends SMTPServerTlsOptions, SMTPServerCallbacks {
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
  /** Only `true`: REQUIRETLS is not offered. Default `true`. */
  hideREQUIRETLS?: boolean | undefined;
  /** Whether the client's name is not looked up. Default `false`. */
  disableReverseLookup?: boolean | undefined;
  /** Looks names up in place of the DNS. Default: the DNS. */
  resolver?: {
    reverse(
      address: string,
      callback: (error: Error | null, names?: string[]) => void,
    ): void;
  } | undefined;
  /** `true` for the console, or a logger. Default: no log. */
  logger?: boolean | SMTPServerLogger | undefined;
  /** A fact `component` of each log record. Default `"smtp-server"`. */
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
  /** Whether clients may send XCLIENT. Default `false`. */
  useXClient?: boolean | undefined;
  /** Only `false`: XFORWARD is not spoken. Default `false`. */
  useXForward?: boolean | undefined;
  /** Addresses whose sessions are not logged. Default: none. */
  ignoredHosts?: readonly string[] | undefined;
  /** Whether it speaks LMTP. Default `false`. */
  lmtp?: boolean | undefined;
  /** Milliseconds that a client may be silent. Default: that of `limits.timeoutMs`. */
  socketTimeout?: number | undefined;
  /** Milliseconds that `close()` gives transactions. Default 30,000. */
  closeTimeout?: number | undefined;
  /** Certificates by server name. Default: none. */
  sniOptions?:
    | ReadonlyMap<string, SMTPServerTlsOptions>
    | Readonly<Record<string, SMTPServerTlsOptions>>
    | undefined;
  /** Whether clients are asked for a certificate. Default `false`. */
  requestCert?: boolean | undefined;
  /** With `requestCert`: whether a certificate that is not verified fails. Default `true`. */
  rejectUnauthorized?: boolean | undefined;
  /**
   * Whether addresses that break the rules of dots are accepted, as
   * `user.@example.com`. Default `false`.
   */
  lenientAddressParsing?: boolean | undefined;
}
