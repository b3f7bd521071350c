/**
 * What crosses between the main thread and its workers: the two faces, and the
 * plain data that goes there, as JSON unless it is rich (`start`, `reload`,
 * `relay`). Types only.
 *
 * Sessions live in the worker that accepted them. The main thread has a mirror
 * of those that it was told of, for handlers and for `server.sessions`.
 *
 * What a server that is one thread of another gets from that: everything of
 * which there is one for all threads. Types only.
 */

import type { LogRecord } from "../log.ts";
import type { ListenerKind, ListenOptions } from "../net/listen_options.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { MechanismName } from "../sasl/mechanism_name.ts";
import type { SmtpHandlers } from "../session/handlers.ts";
import type { LoginAttempt, LoginCounter } from "../session/login_guard.ts";
import type { SessionProxy } from "../session/proxied_transport.ts";
import type { SessionState, SmtpSession } from "../session/session.ts";
import type { StoreDescription } from "../store/thread_store.ts";
import type { WireError, WireReply } from "./wire_errors.ts";
import type { Message, Recipient } from "../message/message.ts";
import type { HandlerContext } from "../session/handler_module.ts";
import type { SharedCounts } from "../session/limits.ts";

/** The handlers about sessions: those that a worker may have to ask for. */
export type SessionHandlerName = Exclude<
  keyof SmtpHandlers,
  `onRelay${string}`
>;

/** Bytes in base64: calls are text, but for the one piece that may go along. */
export type Base64 = string;

/** What is known of a connection's encryption. */
export interface WireTls
  extends Omit<TlsInfo, "ownCertificate" | "peerCertificate"> {
  /** This end's certificate in DER. */
  readonly ownCertificate: Base64 | undefined;
  /** The peer's certificate in DER. */
  readonly peerCertificate: Base64 | undefined;
}

/** What a proxy told of a connection. */
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
  /** Who has logged in. */
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
  /** What was told of the client by XCLIENT. */
  readonly xclient: SmtpSession["xclient"];
}

/** A session that the main thread has not been told of. */
export interface SessionFacts extends SessionChanges {
  /** Its name. */
  readonly id: string;
  /** What the proxy in front told. */
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
  /** Who it says it is. */
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
  /** About whom. */
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
  /** Anything that nobody can use. */
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
  /** Who has logged in, where it changed that; `null` for nobody. */
  readonly username?: string | null | undefined;
  /** Who the session belongs to after AUTH. */
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
export interface MainFace {
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
      MessageCall & { readonly options: unknown },
      string,
    ];
    /** The secret of a user. */
    readonly find: readonly [string, WireSecret];
    /** A log-in is about to be tried. */
    readonly enter: readonly [LoginAttempt, boolean];
    /** A log-in has failed: answered when the client may be told. */
    readonly fail: readonly [LoginAttempt, void];
    /** The certificate for a name that none of those known is for. */
    readonly choose: readonly [string, WireCertificate | undefined];
    /** Bytes of a body that was offered, `undefined` at the end. */
    readonly read: readonly [BodyRead, Uint8Array | undefined];
  };
  /** Not waited for. */
  readonly notes: {
    /** A log record. */
    readonly log: LogRecord;
    /** Sessions, new or changed. */
    readonly sessions: readonly SessionNews[];
    /** A session has ended. */
    readonly closed: string;
    /** A session's state has changed: `onStateChange` is to be told. */
    readonly state: {
      readonly session: SessionNews;
      readonly state: SessionState;
      readonly previous: SessionState;
    };
    /** The attempt to log in is over. */
    readonly leave: LoginAttempt;
    /** The log-in was right. */
    readonly succeed: LoginAttempt;
    /** Nobody is to wait any longer. */
    readonly release: undefined;
    /** The thread is about to end by its own doing. */
    readonly ending: string;
  };
}

/** Reads on in an offered body. */
export interface BodyRead {
  /** The body. */
  readonly key: number;
  /** Who reads: each reader begins at the beginning. */
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
  /** Whether it is one certificate that nobody exchanges. */
  readonly isSingle: boolean;
}

/** Options of the server that are data already, by their names. */
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
export interface WorkerFace {
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
  readonly notes: {
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

/** What the main thread does for a server in another one. */
export interface ThreadServices {
  /** Which thread it is, from 1. */
  readonly thread: number;
  /** What its names of sessions and messages begin with. */
  readonly prefix: string;
  /** Counts failed log-ins. */
  readonly guard: LoginCounter;
  /** What sessions and their addresses are counted in. */
  readonly counts: SharedCounts;
  /** The clock of the main thread, in ms: {@linkcode performance.now} begins anew in each. */
  readonly now: () => number;
  /** Key of SCRAM's salts for unknown users. */
  readonly saltKey: Uint8Array;
  /** The queue, for handler modules. */
  readonly relays: HandlerContext["relays"];
  /** The queue, for what clients send elsewhere. */
  relay(message: Message, recipients: readonly Recipient[]): Promise<void>;
  /** A session has begun. */
  opened(session: SmtpSession): void;
  /** A session has ended. */
  closed(session: SmtpSession): void;
}
