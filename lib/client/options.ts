/**
 * The options of a client, and the steps of a session that it reports. Types,
 * tables and rules only.
 */

import {
  abortSignal,
  callable,
  flag,
  host,
  oneOf,
  ownName,
  path,
  type Rules,
} from "../options.ts";
import type { ConnectTransport } from "../net/deno_transport.ts";
import type {
  UpgradeClientOptions,
  UpgradedClient,
} from "../net/tls_upgrade.ts";
import type { SocketAddress, Transport } from "../net/transport.ts";
import type { Certificate } from "../tls/certificate.ts";
import { CERTIFICATE_RULE, TRUSTED_RULE } from "../tls/context.ts";
import {
  HOP_RULES,
  type Login,
  LOGIN_RULE,
  type NextHop,
  TLS_SECURITY_RULE,
  type TlsSecurity,
} from "./next_hop.ts";
import { type ClientTimeouts, TIMEOUTS_RULE } from "./session.ts";

/** The steps of a session with a server, in the order of time. Some may be skipped. */
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

/** The part of a session that each step belongs to, in the order of time. */
const STEPS: Readonly<Record<ClientProgress, "opening" | "message" | "end">> = {
  "connecting": "opening",
  "connected": "opening",
  "negotiating-tls": "opening",
  "tls-established": "opening",
  "hello": "opening",
  "authenticating": "opening",
  "mail-from": "message",
  "rcpt-to": "message",
  "data": "message",
  "sending-headers": "message",
  "sending-body": "message",
  "done": "end",
};

/** The steps of one message on a session, in the order of time. */
export const MESSAGE_STEPS: readonly ClientProgress[] =
  (Object.keys(STEPS) as ClientProgress[]).filter((step) =>
    STEPS[step] === "message"
  );

/** A server's certificate, to be judged. */
export interface PeerCertificate {
  /** The host that the certificate should name. */
  readonly host: string;
  /** The certificate and its chain. */
  readonly certificate: Certificate;
  /** Why it is not trusted, in one line; `undefined` if it is. */
  readonly error: string | undefined;
}

/**
 * Options of {@linkcode SmtpClient.connect}.
 *
 * @example A pinned certificate, and each step
 * ```ts
 * import type { Certificate } from "@smtp/server";
 * import {
 *   type ClientProgress,
 *   type PeerCertificate,
 *   SmtpClient,
 *   SmtpClientError,
 *   type SmtpClientOptions,
 * } from "@smtp/server/client";
 * import { startTestServer } from "@smtp/server/testing";
 *
 * function pinned(to: { host: string; port: number }, pin: string) {
 *   const isPinned = ({ fingerprint }: Certificate) => fingerprint === pin;
 *   const steps: ClientProgress[] = [];
 *   const options: SmtpClientOptions = {
 *     ...to,
 *     security: "required",
 *     onCertificate: ({ certificate }: PeerCertificate) => isPinned(certificate),
 *     onProgress: (step) => steps.push(step),
 *   };
 *   return { options, steps };
 * }
 *
 * await using server = await startTestServer();
 * const { options, steps } = pinned({ host: server.address, port: server.port }, "");
 * try {
 *   await SmtpClient.connect(options);
 * } catch (error) {
 *   // This server has no TLS.
 *   console.assert(error instanceof SmtpClientError);
 *   console.assert(steps.includes("connected"));
 * }
 * ```
 */
export interface SmtpClientOptions extends Omit<NextHop, "host"> {
  /**
   * Host name, or IP address without brackets. The certificate must be for it.
   * Required without `path`.
   *
   * @default {"localhost"}
   */
  readonly host?: string | undefined;
  /**
   * The IP address of `host` to connect to, if it is known already.
   *
   * @default {the host}
   */
  readonly address?: string | undefined;
  /**
   * Path of a unix socket to connect to instead of `host` and `port`; `host` then
   * only names the server in errors and for its certificate. Requires
   * `allow-net=unix:PATH`, and `allow-read` and `allow-write` for the path.
   * Default: none.
   */
  readonly path?: string | undefined;
  /**
   * The client's name in EHLO: a domain or an address literal.
   *
   * @default {the literal of the connection's local address}
   */
  readonly hostname?: string | undefined;
  /**
   * The TLS policy.
   *
   * @default {"opportunistic", with `login` "verified"}
   */
  readonly security?: TlsSecurity | undefined;
  /**
   * The login, with the strongest mechanism that both sides support. Default: the
   * client does not log in.
   */
  readonly login?: Login | undefined;
  /**
   * Whether a password or token may go over a connection without TLS.
   *
   * @default {false}
   */
  readonly allowInsecureAuth?: boolean | undefined;
  /**
   * Whether small messages go in one flight with BDAT if the server offers CHUNKING.
   *
   * @default {true}
   */
  readonly chunking?: boolean | undefined;
  /**
   * What to do with lines of over 998 bytes (RFC 5321 section 4.5.3.1.6):
   * `"keep"` sends them as they are; `"encode"` makes the parts that have them
   * quoted-printable or base64, and folds header lines. Signed and encrypted
   * parts stay as they are.
   *
   * @default {"keep"}
   */
  readonly longLines?: "keep" | "encode" | undefined;
  /**
   * Time limits in milliseconds. Default: those of RFC 5321 section 4.5.3.2, and
   * those of {@linkcode ClientTimeouts}.
   */
  readonly timeouts?: Partial<ClientTimeouts> | undefined;
  /** The certificate to present if the server asks for one. Default: none. */
  readonly clientCertificate?: Certificate | undefined;
  /** The trusted authorities. Default: the platform's. */
  readonly trusted?: readonly Certificate[] | undefined;
  /**
   * Judges the server's certificate: `true` accepts it, `false` rejects it,
   * `undefined` leaves the decision to the policy. Default: the policy of
   * `security` decides.
   */
  readonly onCertificate?:
    | ((peer: PeerCertificate) => boolean | void | Promise<boolean | void>)
    | undefined;
  /** Called at each step. Default: no calls. */
  readonly onProgress?: ((progress: ClientProgress) => void) | undefined;
  /**
   * Ends connecting; the promise rejects with the signal's reason. Default: only
   * the time limits end it.
   */
  readonly signal?: AbortSignal | undefined;
}

/** The options of a client whose host is known. */
export type SettledClientOptions = SmtpClientOptions & NextHop;

/** The network of a client. Tests replace it. */
export interface ClientNetwork {
  /** Opens the connection, instead of {@linkcode connectTcp}. */
  readonly connect?: ConnectTransport | undefined;
  /** Puts TLS on it, instead of the platform's own. */
  readonly upgrade?: UpgradeTransport | undefined;
  /** The name for SNI and for the certificate. Default: the host. */
  readonly serverName?: string | undefined;
  /** Called with the address of this side as soon as a connection is open; twice if it is tried again. */
  readonly connected?: ((local: SocketAddress) => void) | undefined;
  /** Says why a certificate is refused, whatever the policy and `onCertificate` say. */
  readonly judge?: ((peer: PeerCertificate) => string | undefined) | undefined;
}

/** Puts TLS on a connection: the type of `upgradeClient`. */
export type UpgradeTransport = (
  inner: Transport,
  options: UpgradeClientOptions,
) => Promise<UpgradedClient>;

/** The rules for {@linkcode SmtpClientOptions}. */
export const CLIENT_RULES: Rules<SmtpClientOptions> = {
  ...HOP_RULES,
  host,
  address: host,
  path,
  hostname: ownName,
  security: TLS_SECURITY_RULE,
  login: LOGIN_RULE,
  allowInsecureAuth: flag,
  chunking: flag,
  longLines: oneOf("keep", "encode"),
  timeouts: TIMEOUTS_RULE,
  clientCertificate: CERTIFICATE_RULE,
  trusted: TRUSTED_RULE,
  onCertificate: callable(),
  onProgress: callable(),
  signal: abortSignal,
};
