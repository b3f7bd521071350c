/**
 * One client as callbacks of smtp-server see it: the session object, its
 * envelope, and addresses in that form. Reads the server's own session; the
 * callbacks are called elsewhere.
 */

import { X509Certificate } from "node:crypto";
import { domainToUnicode } from "node:url";
import type {
  Address,
  MailParameters,
  RcptParameters,
  SmtpSession,
  TlsInfo,
} from "../../mod.ts";
import type {
  SMTPServerAddress,
  SMTPServerAddressArgs,
  SMTPServerConnection,
  SMTPServerEnvelope,
  SMTPServerOptions,
  SMTPServerSecureSocket,
  SMTPServerSession,
} from "./types.ts";

/** The names before HELO: `false`, which the types of that package leave out. */
const NONE = false as unknown as string;

/** One connected client. */
export class Client implements SMTPServerConnection {
  /** The session as callbacks get it. */
  readonly session: SMTPServerSession;
  /** Whether `onSecure` was called. */
  isAnnounced = false;
  /** Whether the event `connect` was emitted. */
  isTold = false;
  /** Commands before a login. */
  commands = 0;
  readonly #own: SmtpSession;
  readonly #options: SMTPServerOptions;

  constructor(own: SmtpSession, options: SMTPServerOptions) {
    this.#own = own;
    this.#options = options;
    this.session = {
      ...{ id: own.id, secure: false, tlsOptions: false },
      ...{ localAddress: "", localPort: 0, remoteAddress: "", remotePort: 0 },
      ...{ clientHostname: "", openingCommand: NONE },
      hostNameAppearsAs: NONE,
      envelope: newEnvelope(options),
      transaction: 1,
      transmissionType: "",
      ...{ xClient: new Map(), xForward: new Map() },
    };
    this.connected();
  }

  /** The id of the session. */
  get id(): string {
    return this.session.id;
  }

  /** The IP address to which the client connected. */
  get localAddress(): string {
    return this.session.localAddress;
  }

  /** The port to which the client connected. */
  get localPort(): number {
    return this.session.localPort;
  }

  /** The client's IP address. */
  get remoteAddress(): string {
    return this.session.remoteAddress;
  }

  /** The client's port. */
  get remotePort(): number {
    return this.session.remotePort;
  }

  /** The client's name in the DNS, else its address in brackets. */
  get clientHostname(): string {
    return this.session.clientHostname;
  }

  /** The client's name in HELO. */
  get hostNameAppearsAs(): string {
    return this.session.hostNameAppearsAs;
  }

  /** Whether the connection is encrypted. */
  get secure(): boolean {
    return this.session.secure;
  }

  /** Ends the session without a reply. */
  close(): void {
    this.#own.close();
  }

  /** A client has connected, or XCLIENT has named another one. */
  connected(): void {
    const { session } = this;
    const own = this.#own;
    for (const [key, member] of Object.entries(NAMED)) {
      const isKept = session.xClient.has(`${key}:DEFAULT`);
      if (isKept || own.xclient?.[member.attribute] === undefined) continue;
      session.xClient.set(`${key}:DEFAULT`, `${session[member.known]}`);
    }
    session.localAddress = own.localAddress;
    session.localPort = own.localPort;
    session.remoteAddress = own.remoteAddress;
    session.remotePort = own.remotePort;
    session.clientHostname = `[${own.remoteAddress}]`;
    session.openingCommand = NONE;
    session.hostNameAppearsAs = NONE;
    delete session.user;
    for (const [name, value] of Object.entries(own.xclient ?? {})) {
      if (value === undefined) continue;
      const isMissing = UNAVAILABLE.test(`${value}`);
      session.xClient.set(name.toUpperCase(), isMissing ? false : `${value}`);
    }
    this.secured();
    this.reset();
  }

  /** The TLS of the connection may have changed. */
  secured(): void {
    const { session } = this;
    const { tls } = this.#own;
    session.secure = tls !== undefined || this.#options.secured === true;
    session.servername = tls?.serverName;
    session.tlsOptions = tls === undefined ? false : cipherOf(tls);
    this.#typed();
  }

  /** The client has said its name. */
  greeted(name: string): void {
    const { extended, kind } = this.#own;
    this.session.hostNameAppearsAs = name.toLowerCase();
    this.session.openingCommand = !extended
      ? "HELO"
      : kind === "lmtp"
      ? "LHLO"
      : "EHLO";
    this.reset();
  }

  /** The client has logged in. */
  loggedIn(user: unknown): void {
    this.session.user = user;
    this.#typed();
  }

  /** A transaction has ended: its message was decided on, or not. */
  reset(): void {
    this.session.envelope = newEnvelope(this.#options);
    this.#typed();
  }

  /** A message was decided on. */
  finished(): void {
    this.session.transaction++;
    this.reset();
  }

  /** The session's parameters of MAIL, before `onMailFrom` sees them. */
  mail(parameters: MailParameters): void {
    const { envelope } = this.session;
    envelope.bodyType = (parameters.body ?? "7BIT").toLowerCase();
    envelope.smtpUtf8 = parameters.smtpUtf8 === true;
    envelope.requireTLS = parameters.requireTls === true;
    if (envelope.dsn === undefined) return;
    envelope.dsn.ret = parameters.ret ?? null;
    envelope.dsn.envid = parameters.envid ?? null;
  }

  /** Adds an accepted recipient; a later one replaces an equal one. */
  recipient(added: SMTPServerAddress): void {
    const { rcptTo } = this.session.envelope;
    const key = added.address.toLowerCase();
    const at = rcptTo.findIndex(({ address }) => address.toLowerCase() === key);
    if (at < 0) rcptTo.push(added);
    else rcptTo[at] = added;
  }

  /** The TLS of the connection in the form of a socket. */
  get socket(): SMTPServerSecureSocket {
    const tls = this.#own.tls!;
    const { peerCertificate } = tls;
    return {
      remoteAddress: this.#own.remoteAddress,
      servername: tls.serverName,
      authorized: tls.authorized,
      getProtocol: () => tls.protocol,
      getCipher: () => cipherOf(tls),
      getPeerCertificate: () =>
        peerCertificate === undefined
          ? {}
          : new X509Certificate(peerCertificate).toLegacyObject(),
    };
  }

  #typed(): void {
    const { lmtp } = this.#options;
    const { openingCommand, secure, user } = this.session;
    const isExtended = openingCommand === "EHLO" || openingCommand === "LHLO";
    this.session.transmissionType = `${isExtended && !lmtp ? "E" : ""}${
      lmtp ? "LMTP" : "SMTP"
    }${secure ? "S" : ""}${user === undefined ? "" : "A"}`;
  }
}

/** What XCLIENT replaces, and its member of the session. */
const NAMED = {
  ADDR: { attribute: "addr", known: "remoteAddress" },
  NAME: { attribute: "name", known: "clientHostname" },
  PORT: { attribute: "port", known: "remotePort" },
} as const;

const UNAVAILABLE = /^\[(?:UNAVAILABLE|TEMPUNAVAIL)\]$/;

function cipherOf(tls: TlsInfo): { name: string; version: string } {
  return { name: tls.cipher, version: tls.protocol };
}

function newEnvelope({ hideDSN }: SMTPServerOptions): SMTPServerEnvelope {
  return {
    mailFrom: false,
    rcptTo: [],
    bodyType: "7bit",
    smtpUtf8: false,
    requireTLS: false,
    ...(hideDSN === false && { dsn: { ret: null, envid: null } }),
  };
}

/** An address with its parameters in the form of smtp-server. */
export function addressOf(
  address: Address,
  parameters: MailParameters | RcptParameters,
  options: SMTPServerOptions,
): SMTPServerAddress {
  const args: SMTPServerAddressArgs = {};
  for (const [name, value] of Object.entries(parameters)) {
    const text = argumentOf(value);
    if (text !== undefined) args[name.toUpperCase()] = text;
  }
  const { notify, orcpt } = parameters as RcptParameters;
  const hasDsn = options.hideDSN === false && (notify ?? orcpt) !== undefined;
  return {
    address: textOf(address),
    args: Object.keys(args).length === 0 ? false : args,
    ...(hasDsn && {
      dsn: {
        ...(notify !== undefined && { notify: [...notify] }),
        ...(orcpt !== undefined && { orcpt: `${args.ORCPT}` }),
      },
    }),
  };
}

/** The value of a parameter as text; `true` for one without a value. */
function argumentOf(value: unknown): string | true | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true) return true;
  if (Array.isArray(value)) return value.join(",");
  if (typeof value !== "object" || value === null) return String(value);
  const { type, address } = value as { type?: string; address?: unknown };
  return type === undefined ? String(value) : `${type};${address}`;
}

/** A local part that is quoted only because of its dots: shown as the client sent it. */
const DOTS_ONLY = /^"([^\s"\\@<>]+)"$/;

/** The address with U-labels; an IPv6 literal in its shortest form. */
function textOf({ isNull, localPart, domain, isLiteral }: Address): string {
  if (isNull) return "";
  const local = localPart.replace(DOTS_ONLY, "$1");
  if (domain === "") return local;
  return `${local}@${
    isLiteral ? literalOf(domain) : domainToUnicode(domain) || domain
  }`;
}

const IPV6 = /^\[ipv6:(.*)\]$/i;

function literalOf(domain: string): string {
  const ip = IPV6.exec(domain)?.[1];
  if (ip === undefined) return domain;
  // An IPv4 address at its end stays in its dots.
  const short = ip.includes(".") ? ip : new URL(`smtp://[${ip}]`).hostname;
  return `[IPv6:${short.replace(/^\[|\]$/g, "")}]`;
}
