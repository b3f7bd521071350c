/**
 * What a client is told: where to connect, how much TLS, who logs in. Types
 * and their defaults only.
 */

import {
  abortSignal,
  callable,
  flag,
  host,
  list,
  object,
  oneOf,
  ownName,
  port,
  required,
  type Rule,
  type Rules,
  secret,
  text,
} from "../options.ts";
import type { ConnectTransport } from "../net/connect.ts";
import type {
  UpgradeClientOptions,
  UpgradedClient,
} from "../net/tls_upgrade.ts";
import type { Transport } from "../net/transport.ts";
import type { ClientMechanismOptions } from "../sasl/client_mechanism.ts";
import { MECHANISM_NAMES, type MechanismName } from "../sasl/mechanism_name.ts";
import type { Certificate } from "../tls/certificate.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "../tls/context.ts";
import { type ClientTimeouts, TIMEOUTS_RULE } from "./session.ts";
import { TLS_SECURITY_RULE, type TlsSecurity } from "./tls_policy.ts";

/** Where a delivery stands, in the order of time. */
export type ClientProgress =
  | "connecting"
  | "connected"
  | "negotiating-tls"
  | "tls-established"
  | "hello"
  | "authenticating"
  | "mail-from"
  | "rcpt-to"
  | "data"
  | "sending-headers"
  | "sending-body"
  | "done";

/** A server's certificate, to be judged. */
export interface PeerCertificate {
  /** The host that was connected to, as the certificate should name it. */
  readonly host: string;
  /** The certificate and its chain. */
  readonly certificate: Certificate;
  /** Why it is not to be trusted, in one line; `undefined` if it is. */
  readonly error: string | undefined;
}

/** Judges a certificate: `true` accepts, `false` refuses, nothing leaves it to the policy. */
export type JudgeCertificate = (
  peer: PeerCertificate,
) => boolean | void | Promise<boolean | void>;

/** Who logs in: `username` with `password` or `token`. */
export interface ClientLogin extends
  Pick<
    ClientMechanismOptions,
    "username" | "password" | "token" | "authorizationId"
  > {
  /**
   * The mechanisms that may be used, in the order to try them. One that the
   * server refuses (5xx but 530; 535 under TLS only) gives way to the next.
   *
   * @default {all, the strongest first}
   */
  readonly mechanisms?: readonly MechanismName[] | undefined;
}

/** Options of {@linkcode SmtpClient.connect}. */
export interface SmtpClientOptions {
  /** The server: a host name or an IP address. Its certificate must be for this. */
  readonly host: string;
  /**
   * Where to connect, if that is known already: an IP address of `host`.
   *
   * @default {the host}
   */
  readonly address?: string | undefined;
  /**
   * The port.
   *
   * @default {25, with `implicitTls` 465}
   */
  readonly port?: number | undefined;
  /**
   * The own name for EHLO: a domain or an address literal.
   *
   * @default {the literal of the connection's own address}
   */
  readonly hostname?: string | undefined;
  /**
   * How much TLS.
   *
   * @default {"opportunistic", with `auth` "verified"}
   */
  readonly security?: TlsSecurity | undefined;
  /**
   * Whether TLS begins with the first byte (RFC 8314) instead of STARTTLS.
   *
   * @default {false}
   */
  readonly implicitTls?: boolean | undefined;
  /** Who logs in; the strongest mechanism that both sides have is taken. Nobody when not given. */
  readonly auth?: ClientLogin | undefined;
  /**
   * Whether a password or token may go over a connection without TLS.
   *
   * @default {false}
   */
  readonly allowInsecureAuth?: boolean | undefined;
  /**
   * Whether to speak LMTP (RFC 2033).
   *
   * @default {false}
   */
  readonly lmtp?: boolean | undefined;
  /**
   * Whether small messages may go in one flight with BDAT where the server has CHUNKING.
   *
   * @default {true}
   */
  readonly chunking?: boolean | undefined;
  /**
   * What becomes of lines of over 998 bytes (RFC 5321 section 4.5.3.1.6):
   * `"keep"` sends them as they are; `"encode"` makes the parts that have them
   * quoted-printable or base64, and folds header lines. What is signed or
   * encrypted stays as it is.
   *
   * @default {"keep"}
   */
  readonly longLines?: "keep" | "encode" | undefined;
  /** Time limits in milliseconds, instead of those of RFC 5321 section 4.5.3.2. */
  readonly timeouts?: Partial<ClientTimeouts> | undefined;
  /** The certificate to show where the server asks for one. */
  readonly clientCertificate?: Certificate | undefined;
  /** The authorities to trust; the platform's own when not given. */
  readonly trusted?: readonly Certificate[] | undefined;
  /** Judges the server's certificate. */
  readonly onCertificate?: JudgeCertificate | undefined;
  /** Told of each step. */
  readonly onProgress?: ((progress: ClientProgress) => void) | undefined;
  /** Ends connecting; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What a client takes of the network; for tests. */
export interface ClientNetwork {
  /** Opens the connection, instead of {@linkcode connectTcp}. */
  readonly connect?: ConnectTransport | undefined;
  /** Puts TLS on it, instead of the platform's own. */
  readonly upgrade?: UpgradeTransport | undefined;
}

/** Puts TLS on a connection: the type of `upgradeClient`. */
export type UpgradeTransport = (
  inner: Transport,
  options: UpgradeClientOptions,
) => Promise<UpgradedClient>;

const LOGIN_RULES: Rules<ClientLogin> = {
  username: required(text()),
  password: text(),
  token: text(),
  authorizationId: text(),
  mechanisms: list(oneOf(...MECHANISM_NAMES)),
};

/** What a {@linkcode ClientLogin} must be, inside other options. */
export const LOGIN_RULE: Rule = secret(
  object(LOGIN_RULES, '{ username: "ann", password: "..." }'),
);

/** What {@linkcode SmtpClientOptions} must be. */
export const CLIENT_RULES: Rules<SmtpClientOptions> = {
  host: required(host),
  address: host,
  port,
  hostname: ownName,
  security: TLS_SECURITY_RULE,
  implicitTls: flag,
  auth: LOGIN_RULE,
  allowInsecureAuth: flag,
  lmtp: flag,
  chunking: flag,
  longLines: oneOf("keep", "encode"),
  timeouts: TIMEOUTS_RULE,
  clientCertificate: CERTIFICATE_RULE,
  trusted: TRUSTED_RULE,
  onCertificate: callable(),
  onProgress: callable(),
  signal: abortSignal,
};
