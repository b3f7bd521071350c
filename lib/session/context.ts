/**
 * The settings and services of all sessions of one listener. The server makes
 * them once; sessions never change them. Relaying is one of them: it decides
 * which clients may relay, and takes their mail; a session never sees the queue
 * behind it. Types only.
 */

import type { WantedLog } from "../log.ts";
import type { Cidr } from "../net/cidr.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { Transport } from "../net/transport.ts";
import type { ServerProfile } from "../protocol/server/effects.ts";
import type { Message, MessageStore, Recipient } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { RelayOptions } from "../queue/relay.ts";
import type { AuthenticationContext } from "./authentication_context.ts";
import type { Delays } from "./delays.ts";
import type { SmtpHandlers } from "./handlers.ts";
import type { Limits } from "./limit_options.ts";
import type { LocalTest } from "./local_domains.ts";
import type { AddressLimits } from "./limits.ts";
import type { RecipientPolicy } from "./recipient_policy.ts";
import type { SenderPolicy } from "./sender_policy.ts";
import type { SmtpSession } from "./session.ts";
import type { UserLimiter } from "./user_limits.ts";
import type { SessionSpf, Verification } from "./verification.ts";

/** The settings and services of all sessions of one listener. */
export interface SessionContext extends WantedLog {
  readonly kind: ListenerKind;
  /** The path of the listener's unix socket. */
  readonly path?: string | undefined;
  /** The settings of the protocol. */
  readonly profile: ServerProfile;
  /** The server's own host name. */
  readonly hostname: string;
  readonly handlers: SmtpHandlers;
  /** The store of messages for which no handler chose another. */
  readonly store: MessageStore;
  /** Whether an address is local; if unset, all are. */
  readonly isLocal?: LocalTest | undefined;
  /** The addresses from which users may send; if unset, from any. */
  readonly senders?: SenderPolicy | undefined;
  /** Decides on local recipients; if unset, all are what they are, and exist. */
  readonly recipients?: RecipientPolicy | undefined;
  /** What domains have of their own; unset if they have nothing. */
  readonly domains?: SessionDomains | undefined;
  /** Relays mail for non-local addresses. If unset, such mail is refused. */
  readonly relaying?: SessionRelaying | undefined;
  /** Knows the addresses of bounces to forwarded mail; if unset, no address is one. */
  readonly forwarding?: SessionForwarding | undefined;
  /** Checks SPF where a handler asks for it. */
  readonly spf?: SessionSpf | undefined;
  /** Checks the mail from outside; if unset, nothing is checked. */
  readonly verification?: Verification | undefined;
  /** Whether each message gets a Received field. */
  readonly addReceived: boolean;
  /** How missing header fields are added; if unset, headers stay as they are. */
  readonly complete?: {
    /** The domain for author addresses without one. */
    readonly domain: string;
  } | undefined;
  /** Bytes of a message kept in memory, and the folder for the rest. */
  readonly body: {
    readonly memoryLimit: number;
    readonly temporaryFolder?: string | undefined;
  };
  readonly limits: Limits;
  /** Treatment of clients that speak before the greeting; exempt networks may do so. */
  readonly earlyTalkers: "refuse" | "allow";
  /** Counts per client address. */
  readonly counts: AddressLimits;
  /** Counts per user; if unset, users have no limits. */
  readonly users?: UserLimiter | undefined;
  /** Delays before the reply to a refused command. */
  readonly delays: Pick<Delays, "wait">;
  /** Performs the TLS handshake as a server; `undefined` without a certificate. */
  readonly secure?:
    | ((transport: Transport) => Promise<Transport>)
    | undefined;
  /** Whether TLS comes before the first byte. */
  readonly implicitTls: boolean;
  /** Networks of proxies; connections from there begin with a PROXY header. */
  readonly proxies?: readonly Cidr[] | undefined;
  /** Networks of clients that may use XCLIENT. */
  readonly xclients?: readonly Cidr[] | undefined;
  /** The sessions whose dialogue is logged; none if unset. */
  readonly tracing?: Tracing | undefined;
  /** The settings of logins; `undefined` if AUTH is not offered. */
  readonly authentication: AuthenticationContext | undefined;
  /** Makes the next unique id of a session or message. */
  nextId(): string;
  /** A monotonic time in ms; may lag by a second. */
  now(): number;
}

/** Answers whether the dialogue of a session is logged. */
export interface Tracing {
  /** Whether to trace a session, in its present state. */
  traces(session: SmtpSession): boolean;
}

/** What domains have of their own. */
export interface SessionDomains {
  /** Most bytes of a message for an address; 0 for no limit of its own. */
  maxSizeOf(address: Address): number;
  /** How mail of a user is relayed; `undefined` for as the server relays. */
  routeOf(username: string | undefined): RelayOptions | undefined;
}

/** Decides on recipients that forwarding has made from senders. */
export interface SessionForwarding {
  /**
   * The address that a recipient leads back to, or the reply that refuses it;
   * `undefined` for any other recipient.
   *
   * @param from The reverse-path
   */
  recipient(address: Address, from: Address): Address | SmtpReply | undefined;
}

/** A client that wants to relay. */
export interface RelayClient {
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** The user that is logged in. */
  readonly username: string | undefined;
}

/** Takes mail for non-local recipients. */
export interface SessionRelaying {
  /** Whether a client may relay. */
  allows(client: RelayClient): boolean;
  /** Whether the server sends for a client: its mail may be signed with the server's keys. */
  sendsFor(client: RelayClient): boolean;
  /**
   * Takes a message for some of its recipients. Resolves when it is in the spool.
   *
   * @param route How it is relayed. Default: as the server relays
   * @throws {SmtpError} If it cannot be kept, with the reply for the client
   */
  add(
    message: Message,
    recipients: readonly Recipient[],
    route?: RelayOptions,
  ): Promise<void>;
}
