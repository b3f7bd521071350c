/**
 * What the sessions of one listener have in common: made once by the server,
 * never changed by a session. Relaying is part of it: whether a client may, and
 * where mail for other domains goes; a session never sees the queue behind it.
 * Types only.
 */

import type { Logger } from "../log.ts";
import type { Cidr } from "../net/cidr.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { Transport } from "../net/transport.ts";
import type { ServerProfile } from "../protocol/server/effects.ts";
import type { Message, MessageStore, Recipient } from "../message/message.ts";
import type { AuthenticationContext } from "./authentication_context.ts";
import type { Delays } from "./delays.ts";
import type { SmtpHandlers } from "./handlers.ts";
import type { Limits } from "./limit_options.ts";
import type { LocalTest } from "./local_domains.ts";
import type { AddressLimits } from "./limits.ts";

/** What the sessions of one listener have in common. */
export interface SessionContext {
  /** What the listener is for. */
  readonly kind: ListenerKind;
  /** What the machines have in common. */
  readonly profile: ServerProfile;
  /** The server's own name. */
  readonly hostname: string;
  /** The program's decisions. */
  readonly handlers: SmtpHandlers;
  /** Where messages go that have no store of their own. */
  readonly store: MessageStore;
  /** Whether an address is for this server; every one is when not given. */
  readonly isLocal?: LocalTest | undefined;
  /** Takes mail for addresses that are not; they are refused when not given. */
  readonly relaying?: SessionRelaying | undefined;
  /** Whether a Received field is put in front of each message. */
  readonly addReceived: boolean;
  /** How headers are completed; they stay as they are when not given. */
  readonly complete?: {
    /** The domain for addresses of the author that have none. */
    readonly domain: string;
  } | undefined;
  /** Bytes of a message kept in memory, and where the rest goes. */
  readonly body: {
    readonly memoryLimit: number;
    readonly temporaryFolder?: string | undefined;
  };
  /** The limits in force. */
  readonly limits: Limits;
  /** What becomes of clients that speak before the greeting; exempt networks are not judged. */
  readonly earlyTalkers: "refuse" | "allow";
  /** What clients have done so far, by their addresses. */
  readonly counts: AddressLimits;
  /** Waits before a refusal is told. */
  readonly delays: Pick<Delays, "wait">;
  /** Takes log records. */
  readonly log: Logger;
  /** Whether records of the level info are read: if not, none is made. */
  readonly verbose: boolean;
  /** Whether records of the level debug are read. */
  readonly debug: boolean;
  /** Encrypts a connection, the server's side; `undefined` without a certificate. */
  readonly secure?:
    | ((transport: Transport) => Promise<Transport>)
    | undefined;
  /** Whether TLS comes before the first byte. */
  readonly implicitTls: boolean;
  /** Where proxies are, whose connections begin with a PROXY header. */
  readonly proxies?: readonly Cidr[] | undefined;
  /** Networks of clients that may say XCLIENT. */
  readonly xclients?: readonly Cidr[] | undefined;
  /** Log-ins, `undefined` where there are none. */
  readonly authentication: AuthenticationContext | undefined;
  /** Gives the next unique name of a session or message. */
  nextId(): string;
  /** A time in ms that never goes back; may lag by a second. */
  now(): number;
}

/** A client that wants to send mail elsewhere. */
export interface RelayClient {
  /** The client's IP address. */
  readonly remoteAddress: string;
  /** The user that has logged in, if one has. */
  readonly username: string | undefined;
}

/** Takes mail for recipients that are not this server's own. */
export interface SessionRelaying {
  /** Whether a client may send to such recipients. */
  allows(client: RelayClient): boolean;
  /**
   * Takes a message for some of its recipients. Resolves when it is safe.
   *
   * @throws {SmtpError} If it cannot be kept, with the reply for the client
   */
  add(message: Message, recipients: readonly Recipient[]): Promise<void>;
}
