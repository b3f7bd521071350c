/**
 * The two APIs between the main thread and its workers, the services behind each
 * API, and the plain data of the calls. The data is JSON unless a call is rich
 * (`start`, `reload`, `relay`). Types only.
 *
 * A session lives in the worker that accepted it. The main thread has a
 * `RemoteSession` for each session that was published, for handlers and
 * `server.sessions`. Stores that a worker cannot rebuild, handlers that are not a
 * module, accounts, the queue and the counts of logins stay on the main thread;
 * workers call it for these.
 */

import type { Logger, LogRecord } from "../log.ts";
import type { ListenOptions } from "../net/listen_options.ts";
import type { ListenerKind } from "../protocol/listener_kind.ts";
import type { SocketAddress, TlsInfo } from "../net/transport.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { MechanismName } from "../sasl/mechanism_name.ts";
import type { Address } from "../protocol/address.ts";
import type { WireAliases } from "../session/aliases.ts";
import type {
  DialogueLine,
  LimitName,
  SessionHandlerName,
  SmtpHandlers,
} from "../session/handlers.ts";
import type { LoginAttempt, LoginCounter } from "../session/login_guard.ts";
import type { SessionProxy } from "../protocol/proxy_header.ts";
import type { RereadObserver } from "../session/recipient_policy.ts";
import type { SessionState } from "../protocol/server/state.ts";
import type { SmtpSession } from "../session/session.ts";
import type { StoreDescription } from "../store/thread_store.ts";
import type { HandlerContext } from "../session/handler_module.ts";
import type { AddressLimiter, SharedCounts } from "../session/limits.ts";
import type { BodyOptions } from "../message/body.ts";
import type { Message, MessageStore } from "../message/message.ts";
import type { Accounts } from "../sasl/accounts.ts";
import type { CertificateSource } from "../tls/set.ts";
import type { AuthenticationValues, SpfResult } from "../trust/result.ts";

// The APIs.

/** The API of the main thread for a worker. */
export interface MainApi {
  /** Calls, with arguments and result. */
  readonly calls: {
    /** Calls a handler. */
    readonly handler: readonly [HandlerCall, HandlerAnswer];
    /** Saves a message in a store; resolves with the recipients' mailboxes or the store's error, if any. */
    readonly save: readonly [
      MessageCall & {
        readonly partial: boolean;
        /** The number of the store, or its index among those that a handler chose. */
        readonly place:
          | { readonly number: number }
          | { readonly chosen: number };
      },
      {
        readonly mailboxes?: readonly string[] | undefined;
        readonly failure?: WireError | undefined;
      },
    ];
    /** Hands a message to the queue; resolves with its id there. */
    readonly relay: readonly [
      MessageCall & { readonly options: PlainOptions },
      string,
    ];
    /** Whether a mailbox of a store has room for so many bytes. */
    readonly room: readonly [
      {
        readonly address: string;
        readonly size: number;
        readonly store: number;
      },
      boolean,
    ];
    /** The stored secret of a user. */
    readonly find: readonly [string, WireSecret];
    /** Whether an account is disabled. */
    readonly isDisabled: readonly [string, boolean];
    /** The addresses of an account. */
    readonly ownAddresses: readonly [string, readonly string[]];
    /** Whether the program's function knows a local recipient, or what it threw. */
    readonly recipient: readonly [
      {
        readonly address: string;
        /** The domain whose function it is; `undefined` for the server's. */
        readonly domain: string | undefined;
      },
      { readonly known?: boolean; readonly thrown?: WireError },
    ];
    /** {@linkcode LoginCounter.enter}. */
    readonly enter: readonly [LoginAttempt, boolean];
    /** {@linkcode LoginCounter.fail}: resolves when the reply may be sent. */
    readonly fail: readonly [LoginAttempt, void];
    /** Selects the certificate for a host name for which the worker has none. */
    readonly choose: readonly [string, WireCertificate | undefined];
    /** The next bytes of an offered body; `undefined` at the end. */
    readonly read: readonly [BodyRead, Uint8Array | undefined];
  };
  /** Notifications, with their argument. */
  readonly notifications: {
    /** A log record. */
    readonly log: LogRecord;
    /** New or changed sessions. */
    readonly sessions: readonly SessionNews[];
    /** The id of a session that has ended. */
    readonly closed: string;
    /** Calls `onStateChange`. */
    readonly state: {
      readonly session: SessionNews;
      readonly state: SessionState;
      readonly previous: SessionState;
    };
    /** Calls `onLimit`. */
    readonly limit: {
      readonly session: SessionNews;
      readonly limit: LimitName;
    };
    /** Calls `onDialogue`. */
    readonly dialogue: {
      readonly session: SessionNews;
      readonly exchange: DialogueLine;
    };
    /** {@linkcode LoginCounter.leave}. */
    readonly leave: LoginAttempt;
    /** {@linkcode LoginCounter.succeed}. */
    readonly succeed: LoginAttempt;
    /** {@linkcode LoginCounter.release}. */
    readonly release: undefined;
    /** Files of local recipients have changed; a domain that they are for. */
    readonly recipients: string;
    /** The worker is about to exit; the reason. */
    readonly ending: string;
  };
}

/** The API of a worker for the main thread. */
export interface WorkerApi {
  /** Calls, with arguments and result. */
  readonly calls: {
    /** Starts to listen; resolves with the addresses. */
    readonly start: readonly [ThreadStart, readonly WireAddress[]];
    /** Applies new settings. */
    readonly reload: readonly [WireOptions, void];
    /** Stops with so much grace in ms; resolves when the last session has ended. */
    readonly stop: readonly [number, void];
    /** Whether the client has proved that it knows the secret. */
    readonly verify: readonly [
      { readonly session: string; readonly secret: WireSecret },
      boolean,
    ];
    /** {@linkcode SmtpSession.checkSpf} of the session of that id. */
    readonly spf: readonly [string, SpfResult];
    /** The next bytes of an offered body; `undefined` at the end. */
    readonly read: readonly [BodyRead, Uint8Array | undefined];
  };
  /** Notifications, with their argument. */
  readonly notifications: {
    /** The certificates were replaced. */
    readonly certificates: WireCertificates;
    /** Sends text to a client. */
    readonly send: { readonly session: string; readonly text: string };
    /** Ends a session. */
    readonly close: {
      readonly session: string;
      readonly reply: WireReply | undefined;
    };
    /** Ends the grace of the current stop. */
    readonly abort: undefined;
  };
}

// The services behind them.

/** The services of the main thread for its workers. */
export interface MainServices {
  /** URL of the module that a worker runs. */
  readonly worker: URL;
  /** URL of the handler module that each worker loads; if unset, workers call the handlers of the settings. */
  readonly module: string | undefined;
  readonly listen: readonly ListenOptions[];
  readonly settings: MainSettings;
  readonly relays: MainRelays;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  /** Counts per client address. */
  readonly counts: AddressLimiter;
  readonly log: Logger;
}

/** The settings in force on the main thread. */
export interface MainSettings {
  readonly handlers: SmtpHandlers;
  readonly accounts: Accounts | undefined;
  /** The program's function that knows the local recipients of a domain, or of the server. */
  recipientsOf(
    domain: string | undefined,
  ): ((address: Address) => boolean | Promise<boolean>) | undefined;
  /** Looks at the files of local recipients for a domain. */
  rereadRecipients(domain: string): void;
  readonly certificates: CertificateSource | undefined;
  /** The server's own store. */
  readonly store: WireStore;
  /** The store of a number. */
  storeOf(number: number): MessageStore | undefined;
  /** Where new contents of messages are kept. */
  readonly body: BodyOptions;
  /** The options of a worker as plain data. */
  encode(): WireOptions;
}

/** The queue of the main thread for workers. */
export interface MainRelays {
  /** Queues a message with the options of a worker; resolves with its id in the queue. */
  add(message: Message, options: PlainOptions): Promise<string>;
}

/** The services of the main thread as a server in a worker uses them. */
export interface ThreadServices {
  /** Number of the thread, from 1. */
  readonly thread: number;
  /** Prefix of its ids of sessions and messages. */
  readonly prefix: string;
  /** Counts failed logins. */
  readonly guard: LoginCounter;
  /** The counts that the threads share. */
  readonly counts: SharedCounts;
  /** The clock of the main thread, in ms; {@linkcode performance.now} starts at 0 in each thread. */
  readonly now: () => number;
  /** Key of SCRAM's salts for unknown users. */
  readonly saltKey: Uint8Array;
  readonly relays: HandlerContext["relays"];
  /** Tells the main thread that files of local recipients have changed. */
  readonly recipients: RereadObserver;
  /** Publishes sessions to the main thread. */
  readonly observer: SessionObserver;
}

/** Observes the start and end of sessions. */
export interface SessionObserver {
  opened(session: SmtpSession): void;
  closed(session: SmtpSession): void;
}

// The data of calls.

/** Bytes in base64: a call is text, except for one piece of bytes beside it. */
export type Base64 = string;

/** A reply as plain data. */
export interface WireReply {
  /** The three-digit code. */
  readonly code: number;
  /** The enhanced status code. */
  readonly enhanced: string | undefined;
  /** The text, one entry for each line. */
  readonly lines: readonly string[];
}

/** A thrown value as plain data. */
export interface WireError {
  /** An error, an `SmtpReply`, or any other value. */
  readonly kind: "error" | "reply" | "value";
  /** The name of the class. */
  readonly name: string;
  readonly message: string;
  readonly stack?: string | undefined;
  /** The code of a system error, as `"ENOSPC"`. */
  readonly code?: unknown;
  /** The reply of an `SmtpError` or `SmtpReply`. */
  readonly reply?: WireReply | undefined;
  readonly cause?: WireError | undefined;
  /** The errors of an `AggregateError`. */
  readonly errors?: readonly WireError[] | undefined;
  /** The failures of a `StoreError`: indexes of recipients in the message, and their errors. */
  readonly failures?: readonly (readonly [number, WireError])[] | undefined;
}

/** The TLS of a connection as plain data. */
export interface WireTls
  extends Omit<TlsInfo, "ownCertificate" | "peerCertificate"> {
  /** This end's certificate in DER. */
  readonly ownCertificate: Base64 | undefined;
  /** The peer's certificate in DER. */
  readonly peerCertificate: Base64 | undefined;
}

/** A PROXY header as plain data. */
export interface WireProxy extends Omit<SessionProxy, "tlvs"> {
  /** Types and values. */
  readonly tlvs: readonly (readonly [number, Base64])[];
}

/** A recipient as plain data: the address, the parameters of RCPT, and what the client said, if another. */
export type WireRecipient =
  | readonly [string, RcptParameters]
  | readonly [string, RcptParameters, string];

/** An envelope as plain data, or the recipients that one has got since. */
export interface WireEnvelope {
  /** The reverse-path and the parameters of MAIL; unset for further recipients. */
  readonly begun?: readonly [string, MailParameters] | undefined;
  readonly recipients: readonly WireRecipient[];
}

/** The facts of a session that change during its life. */
export interface SessionChanges {
  /** The client's name in HELO, EHLO or LHLO. */
  readonly helo: string | undefined;
  readonly extended: boolean;
  readonly state: SessionState;
  /** The user that is logged in. */
  readonly username: string | undefined;
  /** Messages accepted so far. */
  readonly messages: number;
  readonly tls: WireTls | undefined;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The address to which the client connected. */
  readonly localAddress: string;
  readonly localPort: number;
  readonly xclient: SmtpSession["xclient"];
  /** The envelope of the transaction; for one that is published, its new recipients. */
  readonly envelope: WireEnvelope | undefined;
}

/** The facts of a session that is published for the first time. */
export interface SessionFacts extends SessionChanges {
  readonly id: string;
  readonly proxy: WireProxy | undefined;
  readonly kind: ListenerKind;
  /** When the client connected, in ms since 1970. */
  readonly connectedAt: number;
}

/** The changed facts of a session; `null` stands for `undefined`, which JSON drops. */
export type SessionUpdate = {
  readonly [K in keyof SessionChanges]?: SessionChanges[K] | null;
};

/** A session in a call: its id and its changed facts. */
export type SessionNews =
  & { readonly id: string }
  & (SessionFacts | SessionUpdate);

/** The content of a message: bytes in memory go with the call, the others are read by `key`. */
export interface BodyFacts {
  /** The key of the offer, valid for the length of the call. */
  readonly key: number;
  /** Length of the whole content in bytes. */
  readonly size: number;
}

/** A message as plain data, without its content. */
export interface MessageFacts {
  readonly id: string;
  /** The reverse-path. */
  readonly from: string;
  /** The parameters of MAIL. */
  readonly parameters: MailParameters;
  readonly recipients: readonly WireRecipient[];
  /** When the content began to arrive, in ms since 1970. */
  readonly receivedAt: number;
  /** The id of its session. */
  readonly session: string | undefined;
  /** Whether the server may sign it. */
  readonly isOwn: boolean;
  /** The trace fields of this server. */
  readonly trace: string;
  /** What it proved, if it was checked. */
  readonly authentication?: WireAuthentication | undefined;
}

/** The credentials of an AUTH exchange, without secrets that the client did not send. */
export interface CredentialsFacts {
  readonly mechanism: MechanismName;
  readonly username: string;
  /** The identity for which the client asks to act. */
  readonly authorizationId: string;
  /** The password, if the mechanism sends it. */
  readonly password: string | undefined;
  /** The token, if the mechanism sends one. */
  readonly token: string | undefined;
  /** The client's certificate in DER. */
  readonly certificate: Base64 | undefined;
}

/** The stored secret of a user: a password, or the text of a SCRAM verifier. */
export type WireSecret =
  | { readonly plain: string }
  | { readonly verifier: string }
  | undefined;

/** A call of a handler of the main thread. */
export interface HandlerCall {
  readonly name: SessionHandlerName;
  readonly session: SessionNews;
  /** The message of the transaction: its facts in the first call, then its id. */
  readonly message?: string | MessageFacts | undefined;
  /** The content of the message. */
  readonly body?: BodyFacts | undefined;
  /** What the message proved, and its trace fields, which say so. */
  readonly proved?:
    | { readonly authentication: WireAuthentication; readonly trace: string }
    | undefined;
  /** The text argument of the handler: a line, a name, an address or a reason. */
  readonly text?: string | undefined;
  /** The parameters of MAIL or RCPT. */
  readonly parameters?: MailParameters | RcptParameters | undefined;
  /** The header block. */
  readonly headers?: Base64 | undefined;
  readonly credentials?: CredentialsFacts | undefined;
}

/** The value that a handler returned or threw. */
export type WireVerdict =
  | undefined
  | boolean
  | string
  | readonly string[]
  | { readonly reply: WireReply }
  | { readonly symbol: "SILENT_ALLOW" | "SILENT_DENY" | "DROP" }
  | { readonly redirect: readonly string[] }
  | { readonly thrown: WireError }
  /** Any other value. */
  | { readonly unusable: true };

/** What a message proved. */
export interface WireAuthentication {
  readonly values: AuthenticationValues;
  readonly text: string;
}

/** The changes of handlers to a message. */
export interface MessageChanges {
  readonly filename: string | undefined;
  readonly append: boolean;
  /** The kinds of the chosen stores, which stay on the main thread. */
  readonly stores: readonly string[] | undefined;
  /** The new content, if it was replaced; all of it must be read. */
  readonly replaced: BodyFacts | undefined;
  /** The trace fields. */
  readonly trace: string;
  /** The header block, if `onMessage` has edited it. */
  readonly headers: Base64 | undefined;
  /** Replies of recipients, by their index. */
  readonly replies: readonly (readonly [number, WireReply])[];
  /** Names under which the message was put into the queue. */
  readonly relays: readonly string[];
}

/** The answer to a {@linkcode HandlerCall}. */
export interface HandlerAnswer {
  readonly verdict: WireVerdict;
  /** `session.username`, if the handler changed it; `null` for `undefined`. */
  readonly username?: string | null | undefined;
  /** `credentials.identity`: the user after the login. */
  readonly identity?: string | undefined;
  readonly message?: MessageChanges | undefined;
  /** The header block, if the handler changed it. */
  readonly headers?: Base64 | undefined;
}

/** A message for a store or the queue of the main thread. */
export interface MessageCall {
  /** The message with the recipients of this copy. */
  readonly message: MessageFacts;
  readonly body: BodyFacts;
}

/** A read of the next bytes of an offered body. */
export interface BodyRead {
  /** The key of the offer. */
  readonly key: number;
  /** The number of the reader; each starts at the beginning of the body. */
  readonly reader: number;
}

/** A certificate with its private key. */
export interface WireCertificate {
  /** The chain in PEM. */
  readonly pem: string;
  /** The private key in PEM. */
  readonly key: string;
}

/** The certificates in use. */
export interface WireCertificates {
  readonly list: readonly WireCertificate[];
  /** Index of the certificate for all other host names; -1 for none. */
  readonly fallback: number;
  /** Whether the main thread may have further certificates. */
  readonly isOpen: boolean;
  /** Whether it is a single certificate that is never replaced. */
  readonly isSingle: boolean;
}

/** Options by name; their values can be sent to another thread. */
export type PlainOptions = Readonly<Record<string, unknown>>;

/** The options of a worker. An option that is missing stays as it is. */
export interface WireOptions {
  /** The options that are plain data. */
  readonly plain: PlainOptions;
  /** The domains; `null` if they are not set. */
  readonly domains?: readonly string[] | WireDomains | null | undefined;
  readonly certificates?: WireCertificates | undefined;
  /** The mode of client certificates and the trusted CAs in PEM; `null` if no longer requested. */
  readonly clientCertificate?:
    | {
      readonly mode: "none" | "request" | "require";
      readonly trusted: readonly string[] | undefined;
    }
    | null
    | undefined;
  /** The secret with which unknown users are compared; `null` without accounts. */
  readonly accounts?: { readonly decoy: string | undefined } | null | undefined;
  readonly aliases?: WireAliases | null | undefined;
  readonly localRecipients?: WireRecipients | undefined;
}

/** The local recipients as given; `"main"` for a function of the main thread. */
export type WireRecipients =
  | {
    readonly given: string | readonly string[] | { path: string } | undefined;
  }
  | "main";

/** A store: to be made, or one on the main thread. */
export type WireStore = StoreDescription | {
  /** The kind of the store. */
  readonly main: string;
  /** Its number; see `MainSettings.storeOf`. */
  readonly number: number;
  /** Whether it says if a mailbox has room. */
  readonly hasRoom: boolean;
};

/** Domains with options. */
export interface WireDomains {
  /** The stores of domains, each once. */
  readonly stores: readonly WireStore[];
  /** The options of each domain. */
  readonly options: Readonly<Record<string, WireDomain>>;
}

/** The options of a domain. */
export interface WireDomain {
  /** The options that are plain data. */
  readonly plain: PlainOptions;
  /** The index of its store, -1 for the server's. */
  readonly store: number;
  readonly aliases?: WireAliases | undefined;
  readonly localRecipients?: WireRecipients | undefined;
}

/** The arguments of a worker's start. */
export interface ThreadStart {
  /** Number of the thread, from 1. */
  readonly thread: number;
  /** Prefix of its ids of sessions and messages. */
  readonly prefix: string;
  readonly listen: readonly ListenOptions[];
  readonly options: WireOptions;
  /** URL of the handler module to load. */
  readonly module: string | undefined;
  /** Names of the handlers on the main thread. */
  readonly handlers: readonly SessionHandlerName[];
  /** The server's store. */
  readonly store: WireStore;
  /** Key of SCRAM's salts for unknown users. */
  readonly saltKey: Uint8Array;
  /** Sessions by thread, in shared memory. */
  readonly sessions: Int32Array;
  /** Pulses by thread, in shared memory. */
  readonly pulses: Int32Array;
  /** The counts per address. */
  readonly addresses: SharedArrayBuffer;
  /** The counts per user. */
  readonly users: SharedArrayBuffer;
  /** The slots of the thread's `TicketLedger`. */
  readonly tickets: Uint32Array;
  /** The current time of the main thread's clock, in ms. */
  readonly now: number;
}

/** An address on which a worker listens. */
export interface WireAddress extends SocketAddress {
  readonly kind: ListenerKind;
  /** The TLS policy of the listener. */
  readonly security: "none" | "allowed" | "required" | "implicit";
}
