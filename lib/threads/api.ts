/**
 * What crosses between the main thread and its workers: the two APIs with their
 * plain data, which is JSON unless a call is rich (`start`, `reload`, `relay`),
 * and what each side is made of. Types only.
 *
 * Sessions live in the worker that accepted them. The main thread has a
 * `RemoteSession` for each that was reported to it, for handlers and
 * for `server.sessions`. Stores that no worker can make again, handlers that are
 * no module, accounts, the queue and the counts of logins stay on the main
 * thread, and workers call it.
 */

import type { Logger, LogRecord } from "../log.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { MechanismName } from "../sasl/mechanism_name.ts";
import type { SessionHandlerName, SmtpHandlers } from "../session/handlers.ts";
import type { LoginAttempt, LoginCounter } from "../session/login_guard.ts";
import type { SessionProxy } from "../protocol/proxy_header.ts";
import type { SessionState, SmtpSession } from "../session/session.ts";
import type { StoreDescription } from "../store/thread_store.ts";
import type { HandlerContext } from "../session/handler_module.ts";
import type { AddressLimiter, SharedCounts } from "../session/limits.ts";
import type { BodyOptions } from "../message/body.ts";
import type { Message, MessageStore } from "../message/message.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { CertificateSource } from "../tls/set.ts";

/** Bytes in base64: calls are text, but for the one piece that may go along. */
export type Base64 = string;

/** A reply as plain data. */
export interface WireReply {
  /** The three-digit code. */
  readonly code: number;
  /** The enhanced status code. */
  readonly enhanced: string | undefined;
  /** The text, one entry a reply line. */
  readonly lines: readonly string[];
}

/** What was thrown, as plain data. */
export interface WireError {
  /** What it was. */
  readonly kind: "error" | "reply" | "value";
  /** The name of the class. */
  readonly name: string;
  /** What it says. */
  readonly message: string;
  /** Where it was thrown. */
  readonly stack?: string | undefined;
  /** The code of an error of the system, as `"ENOSPC"`. */
  readonly code?: unknown;
  /** The reply that it carries. */
  readonly reply?: WireReply | undefined;
  /** What caused it. */
  readonly cause?: WireError | undefined;
  /** What it puts together. */
  readonly errors?: readonly WireError[] | undefined;
  /** Of a store: recipients by their place in the message, and why each went without. */
  readonly failures?: readonly (readonly [number, WireError])[] | undefined;
}

/** What is known of a connection's encryption. */
export interface WireTls
  extends Omit<TlsInfo, "ownCertificate" | "peerCertificate"> {
  /** This end's certificate in DER. */
  readonly ownCertificate: Base64 | undefined;
  /** The peer's certificate in DER. */
  readonly peerCertificate: Base64 | undefined;
}

/** What the header of a proxy says of a connection. */
export interface WireProxy extends Omit<SessionProxy, "tlvs"> {
  /** Types and values. */
  readonly tlvs: readonly (readonly [number, Base64])[];
}

/** What changes in a session while it lives. */
export interface SessionChanges {
  /** The name of HELO. */
  readonly helo: string | undefined;
  /** Whether the client speaks ESMTP. */
  readonly extended: boolean;
  /** Where it is. */
  readonly state: SessionState;
  /** The name of the user that has logged in. */
  readonly username: string | undefined;
  /** Messages accepted so far. */
  readonly messages: number;
  /** The encryption in force. */
  readonly tls: WireTls | undefined;
  /** The client's address. */
  readonly remoteAddress: string;
  /** The client's port. */
  readonly remotePort: number;
  /** The address that it connected to. */
  readonly localAddress: string;
  /** The port that it connected to. */
  readonly localPort: number;
  /** What XCLIENT says of the client. */
  readonly xclient: SmtpSession["xclient"];
}

/** A session that is published for the first time. */
export interface SessionFacts extends SessionChanges {
  /** Its name. */
  readonly id: string;
  /** What the header of the proxy says. */
  readonly proxy: WireProxy | undefined;
  /** What the listener is for. */
  readonly kind: ListenerKind;
  /** When it connected, in ms. */
  readonly connectedAt: number;
}

/** What is new about a session; `null` where there is nothing any more, as what is `undefined` gets lost on its way. */
export type SessionUpdate = {
  readonly [K in keyof SessionChanges]?: SessionChanges[K] | null;
};

/** A session in a call: what is new about it. */
export type SessionNews =
  & { readonly id: string }
  & (SessionFacts | SessionUpdate);

/** The bytes of a message: those in memory go along with the call, the rest is asked for by `key`. */
export interface BodyFacts {
  /** By which name the other thread gives the bytes, while the call lasts. */
  readonly key: number;
  /** Bytes in all. */
  readonly size: number;
}

/** A message. */
export interface MessageFacts {
  /** Its name. */
  readonly id: string;
  /** The reverse-path. */
  readonly from: string;
  /** What came with MAIL. */
  readonly parameters: MailParameters;
  /** The recipients and what came with each. */
  readonly recipients: readonly (readonly [string, RcptParameters])[];
  /** When it began to arrive, in ms. */
  readonly receivedAt: number;
  /** The fields that the server puts in front. */
  readonly trace: string;
}

/** What a client showed of itself in AUTH. */
export interface CredentialsFacts {
  /** The mechanism. */
  readonly mechanism: MechanismName;
  /** The name that it gives. */
  readonly username: string;
  /** Whom it wants to act for. */
  readonly authorizationId: string;
  /** The password, where it was sent. */
  readonly password: string | undefined;
  /** The token, where one was sent. */
  readonly token: string | undefined;
  /** The client's certificate. */
  readonly certificate: Base64 | undefined;
}

/** A secret that is known of a user: plain, or the text of a verifier. */
export type WireSecret =
  | { readonly plain: string }
  | { readonly verifier: string }
  | undefined;

/** A handler of the main thread is asked. */
export interface HandlerCall {
  /** Which one. */
  readonly name: SessionHandlerName;
  /** The session that it is about. */
  readonly session: SessionNews;
  /** The message under way; its facts where they have not been sent. */
  readonly message?: string | MessageFacts | undefined;
  /** Its content. */
  readonly body?: BodyFacts | undefined;
  /** The text that the handler gets: a line, a name, an address, a reason. */
  readonly text?: string | undefined;
  /** The parameters of MAIL or RCPT. */
  readonly parameters?: MailParameters | RcptParameters | undefined;
  /** The header block. */
  readonly headers?: Base64 | undefined;
  /** What is shown in AUTH. */
  readonly credentials?: CredentialsFacts | undefined;
}

/** What a handler returned or threw. */
export type WireVerdict =
  | undefined
  | boolean
  | string
  | readonly string[]
  | { readonly reply: WireReply }
  | { readonly symbol: "SILENT_ALLOW" | "SILENT_DENY" | "DROP" }
  | { readonly thrown: WireError }
  /** Any other value. */
  | { readonly unusable: true };

/** What a handler did to the message. */
export interface MessageChanges {
  /** The file it chose. */
  readonly filename: string | undefined;
  /** Whether that is appended to. */
  readonly append: boolean;
  /** The kinds of the stores that it chose, which are on its thread. */
  readonly stores: readonly string[] | undefined;
  /** The content that takes the place of the one there was, all of it to be asked for. */
  readonly replaced: BodyFacts | undefined;
  /** Replies for recipients, by their place. */
  readonly replies: readonly (readonly [number, WireReply])[];
}

/** The answer of a handler. */
export interface HandlerAnswer {
  /** What it said. */
  readonly verdict: WireVerdict;
  /** The name of the user that has logged in, where the handler changed it; `null` for none. */
  readonly username?: string | null | undefined;
  /** The identity that the session has after AUTH. */
  readonly identity?: string | undefined;
  /** What it did to the message. */
  readonly message?: MessageChanges | undefined;
  /** The header block that it wants. */
  readonly headers?: Base64 | undefined;
}

/** A message for a store or the queue of the main thread. */
export interface MessageCall {
  /** The message, with the recipients that it is for. */
  readonly message: MessageFacts;
  /** Its content. */
  readonly body: BodyFacts;
}

/** What a worker may ask of the main thread. */
export interface MainApi {
  /** Waited for. */
  readonly calls: {
    /** Asks a handler. */
    readonly handler: readonly [HandlerCall, HandlerAnswer];
    /** Keeps a message in the server's store, or in one that a handler chose; what the store threw, if it did. */
    readonly save: readonly [
      MessageCall & {
        readonly partial: boolean;
        readonly chosen: number | undefined;
      },
      WireError | undefined,
    ];
    /** Hands a message to the queue; its name there. */
    readonly relay: readonly [
      MessageCall & { readonly options: PlainOptions },
      string,
    ];
    /** The secret of a user. */
    readonly find: readonly [string, WireSecret];
    /** A login is about to be tried. */
    readonly enter: readonly [LoginAttempt, boolean];
    /** A login has failed: answered when the client may get its reply. */
    readonly fail: readonly [LoginAttempt, void];
    /** The certificate for a name that none of those known is for. */
    readonly choose: readonly [string, WireCertificate | undefined];
    /** Bytes of a body that was offered, `undefined` at the end. */
    readonly read: readonly [BodyRead, Uint8Array | undefined];
  };
  /** Not waited for. */
  readonly notifications: {
    /** A log record. */
    readonly log: LogRecord;
    /** Sessions, new or changed. */
    readonly sessions: readonly SessionNews[];
    /** A session has ended. */
    readonly closed: string;
    /** A session's state has changed: calls `onStateChange`. */
    readonly state: {
      readonly session: SessionNews;
      readonly state: SessionState;
      readonly previous: SessionState;
    };
    /** The attempt to log in is over. */
    readonly leave: LoginAttempt;
    /** The login has succeeded. */
    readonly succeed: LoginAttempt;
    /** Ends all waits for logins. */
    readonly release: undefined;
    /** The thread is about to end by its own doing. */
    readonly ending: string;
  };
}

/** Reads on in an offered body. */
export interface BodyRead {
  /** The body. */
  readonly key: number;
  /** The reader: each begins at the beginning. */
  readonly reader: number;
}

/** A certificate with its key. */
export interface WireCertificate {
  /** The chain in PEM. */
  readonly pem: string;
  /** The key in PEM. */
  readonly key: string;
}

/** The certificates in use. */
export interface WireCertificates {
  /** All of them. */
  readonly list: readonly WireCertificate[];
  /** Which one is for everyone else; -1 for none. */
  readonly fallback: number;
  /** Whether the main thread may know further ones. */
  readonly isOpen: boolean;
  /** Whether it is one certificate that is never exchanged. */
  readonly isSingle: boolean;
}

/** Options by their names, of which threads know only that they can cross. */
export type PlainOptions = Readonly<Record<string, unknown>>;

/** What a worker serves with. What is not there stays as it is. */
export interface WireOptions {
  /** What is data already. */
  readonly plain: PlainOptions;
  /** The certificates. */
  readonly certificates?: WireCertificates | undefined;
  /** Whether clients are asked for theirs, and who vouches for them, in PEM; `null` where they are not any more. */
  readonly clientCertificate?:
    | {
      readonly mode: "none" | "request" | "require";
      readonly trusted: readonly string[] | undefined;
    }
    | null
    | undefined;
  /** What unknown users are compared with, where there are accounts; `null` where there are none. */
  readonly accounts?: { readonly decoy: string | undefined } | null | undefined;
}

/** How a worker begins. */
export interface ThreadStart {
  /** Which one it is, from 1. */
  readonly thread: number;
  /** What its names of sessions and messages begin with. */
  readonly prefix: string;
  /** Where it listens. */
  readonly listen: readonly ListenOptions[];
  /** What it serves with. */
  readonly options: WireOptions;
  /** The handler module to load. */
  readonly module: string | undefined;
  /** The handlers of the main thread. */
  readonly handlers: readonly SessionHandlerName[];
  /** The store to make; `undefined` for that of the main thread, whose kind it is. */
  readonly store: StoreDescription | { readonly main: string };
  /** Key of SCRAM's salts. */
  readonly saltKey: Uint8Array;
  /** Sessions by thread, in memory that all threads see. */
  readonly sessions: Int32Array;
  /** Counted up by each thread while it turns. */
  readonly pulses: Int32Array;
  /** The counts per address. */
  readonly addresses: SharedArrayBuffer;
  /** Where the thread writes down which of them it has open connections from. */
  readonly tickets: Uint32Array;
  /** What time it is on the main thread's clock, in ms. */
  readonly now: number;
}

/** Where a worker listens. */
export interface WireAddress extends SocketAddress {
  /** What the listener is for. */
  readonly kind: ListenerKind;
  /** What TLS means there. */
  readonly security: "none" | "allowed" | "required" | "implicit";
}

/** What the main thread may ask of a worker. */
export interface WorkerApi {
  /** Waited for. */
  readonly calls: {
    /** Begins to listen. */
    readonly start: readonly [ThreadStart, readonly WireAddress[]];
    /** Takes over new settings. */
    readonly reload: readonly [WireOptions, void];
    /** Stops; answered when the last session has ended. */
    readonly stop: readonly [number, void];
    /** Whether the client showed that it knows the secret. */
    readonly verify: readonly [
      { readonly session: string; readonly secret: WireSecret },
      boolean,
    ];
    /** Bytes of a body that was offered. */
    readonly read: readonly [BodyRead, Uint8Array | undefined];
  };
  /** Not waited for. */
  readonly notifications: {
    /** Other certificates are in use. */
    readonly certificates: WireCertificates;
    /** Sends text to a client. */
    readonly send: { readonly session: string; readonly text: string };
    /** Ends a session. */
    readonly close: {
      readonly session: string;
      readonly reply: WireReply | undefined;
    };
    /** Ends the grace of a stop under way. */
    readonly abort: undefined;
  };
}

/** What the main thread has for its workers. */
export interface MainServices {
  /** The module that a worker runs. */
  readonly worker: URL;
  /** The handler module that each worker loads; else the handlers of the settings are called. */
  readonly module: string | undefined;
  /** Where workers listen. */
  readonly listen: readonly ListenOptions[];
  readonly settings: MainSettings;
  /** The server's store. */
  readonly store: MessageStore;
  readonly relays: MainRelays;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  /** Counts what clients do. */
  readonly counts: AddressLimiter;
  readonly log: Logger;
}

/** The settings in force on the main thread. */
export interface MainSettings {
  readonly handlers: SmtpHandlers;
  readonly accounts: Accounts | undefined;
  readonly certificates: CertificateSource | undefined;
  /** Where contents go that handlers replace. */
  readonly body: BodyOptions;
  /** All that a worker serves with. */
  encode(): WireOptions;
}

/** The queue as the main thread has it for workers. */
export interface MainRelays {
  /** Queues a message with options that came from a worker; gives its name in the queue. */
  add(message: Message, options: PlainOptions): Promise<string>;
}

/** What the main thread does for a server in another one. */
export interface ThreadServices {
  /** Which thread it is, from 1. */
  readonly thread: number;
  /** What its names of sessions and messages begin with. */
  readonly prefix: string;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  /** What sessions and their addresses are counted in. */
  readonly counts: SharedCounts;
  /** The clock of the main thread, in ms: {@linkcode performance.now} begins at 0 in each. */
  readonly now: () => number;
  /** Key of SCRAM's salts for unknown users. */
  readonly saltKey: Uint8Array;
  /** The queue. */
  readonly relays: HandlerContext["relays"];
  /** Reports sessions to the main thread. */
  readonly observer: SessionObserver;
}

/** Learns which sessions there are. */
export interface SessionObserver {
  /** A session has begun. */
  opened(session: SmtpSession): void;
  /** A session has ended. */
  closed(session: SmtpSession): void;
}
