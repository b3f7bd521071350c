/**
 * The handlers: the functions by which a program decides on sessions and
 * messages, and one rule for what they return.
 *
 * The rule: return nothing (or `true`) to accept; return `false` to refuse with
 * the standard reply; return or throw an `SmtpReply` or `SmtpError` to choose
 * the reply. Any other error is logged, and the reply is 451 4.3.0.
 */

import type { Message } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import type { MessageHeaders } from "../protocol/headers.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { Redirect } from "../protocol/redirect.ts";
import type { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { CloseReason, ServerAsk } from "../protocol/server/effects.ts";
import type { SessionState } from "../protocol/server/state.ts";
import type { RelayHooks } from "../queue/options.ts";
import type { Relay } from "../queue/relay.ts";
import type { PeerCertificate } from "../client/options.ts";
import type { TlsResult } from "../secure_transport/tls_result.ts";
import type { Credentials } from "../sasl/credentials.ts";
import type { SmtpSession } from "./session.ts";
import type { UserLimitOptions } from "./user_limit_options.ts";

/**
 * Accepts without a standard reply: the handler has sent its own with `session.send()`.
 *
 * @example A reply in its own form
 * ```ts
 * import { SILENT_ALLOW, type SmtpHandlers } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onHelo(session, name) {
 *     if (session.extended) return;
 *     session.send(`250 Good day, ${name}\r\n`);
 *     return SILENT_ALLOW;
 *   },
 * };
 * console.assert(handlers.onHelo !== undefined);
 * ```
 */
export const SILENT_ALLOW: unique symbol = Symbol("SILENT_ALLOW");

/**
 * Refuses without a standard reply: the handler has sent its own with `session.send()`.
 *
 * @example A refusal in its own form
 * ```ts
 * import { SILENT_DENY, type SmtpHandlers } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onRcptTo(session, address) {
 *     if (address.localPart !== "old") return;
 *     session.send("551 5.1.6 She has moved to ann@example.org\r\n");
 *     return SILENT_DENY;
 *   },
 * };
 * console.assert(handlers.onRcptTo !== undefined);
 * ```
 */
export const SILENT_DENY: unique symbol = Symbol("SILENT_DENY");

/**
 * From `onConnect` only: closes the connection without a reply.
 *
 * @example Hide from a network
 * ```ts
 * import { DROP, type SmtpHandlers } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onConnect: ({ remoteAddress }) =>
 *     remoteAddress.startsWith("192.0.2.") ? DROP : undefined,
 * };
 * console.assert(handlers.onConnect !== undefined);
 * ```
 */
export const DROP: unique symbol = Symbol("DROP");

/** What a handler may return. */
export type HandlerVerdict =
  | void
  | undefined
  | boolean
  | SmtpReply
  | SmtpError
  | typeof SILENT_ALLOW
  | typeof SILENT_DENY;

/**
 * The name of a limit that a session can reach: one of its address, or one of
 * its user, as `"perUser.messagesPerDay"`.
 *
 * @example Count what is refused
 * ```ts
 * import type { LimitName, SmtpHandlers } from "@smtp/server";
 *
 * const refused = new Map<LimitName, number>();
 * const handlers: SmtpHandlers = {
 *   onLimit(_session, limit) {
 *     refused.set(limit, (refused.get(limit) ?? 0) + 1);
 *   },
 * };
 * console.assert(handlers.onLimit !== undefined);
 * ```
 */
export type LimitName =
  | "maxConnections"
  | "maxConnectionsPerIp"
  | "connectionsPerMinute"
  | "messagesPerMinute"
  | "recipientsPerMinute"
  | "bytesPerMinute"
  | `perUser.${keyof UserLimitOptions}`;

/**
 * The handlers of a server. Each is optional, and sync or async. A slow handler
 * delays its own session only. Each handler about relaying documents its own
 * rule.
 *
 * @example Take mail for one domain, refuse one sender
 * ```ts
 * import { type SmtpHandlers, SmtpReply } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onMailFrom(_session, address) {
 *     if (address.domain === "spam.example") {
 *       return new SmtpReply(550, "Not from you", { enhanced: "5.7.1" });
 *     }
 *   },
 *   onRcptTo: (_session, address) => address.domain === "example.com",
 * };
 * console.assert(typeof handlers.onRcptTo === "function");
 * ```
 *
 * @example Handlers as a class
 * ```ts
 * import type {
 *   Address,
 *   CloseReason,
 *   HandlerVerdict,
 *   MailParameters,
 *   RcptParameters,
 *   SessionState,
 *   SmtpHandlers,
 *   SmtpSession,
 * } from "@smtp/server";
 *
 * class Policy implements SmtpHandlers {
 *   onMailFrom(
 *     _session: SmtpSession,
 *     address: Address,
 *     { size = 0 }: MailParameters,
 *   ): HandlerVerdict {
 *     return address.isNull || size < 1_000_000;
 *   }
 *   onRcptTo(
 *     _session: SmtpSession,
 *     _address: Address,
 *     { notify = [] }: RcptParameters,
 *   ): HandlerVerdict {
 *     return !notify.includes("DELAY");
 *   }
 *   onStateChange({ id }: SmtpSession, state: SessionState): void {
 *     console.log(id, state);
 *   }
 *   onDisconnect({ id }: SmtpSession, reason: CloseReason): void {
 *     console.log(id, reason);
 *   }
 * }
 * console.assert(new Policy() instanceof Policy);
 * ```
 */
export interface SmtpHandlers extends RelayHooks {
  /**
   * A client has connected; the greeting comes next. {@linkcode DROP} closes the
   * connection without a reply. Called again for the same session after XCLIENT
   * has named another client: `session.xclient` is set then.
   */
  onConnect?(
    session: SmtpSession,
  ): HandlerVerdict | typeof DROP | Promise<HandlerVerdict | typeof DROP>;
  /**
   * A command line has come and is not parsed yet. Return the line to run
   * instead, `""` to run none (after a `session.send()` of your own), or nothing
   * to run it as it is. Secrets are shown as `***`: what follows the mechanism of
   * AUTH, and base64 lines after an AUTH that was refused, which may be its
   * responses. To return such a line unchanged runs the original line.
   */
  onCommand?(
    session: SmtpSession,
    line: string,
  ): string | void | undefined | Promise<string | void | undefined>;
  /**
   * HELO, EHLO or LHLO, with the client's name. A positive reply of one line
   * stands in place of the server's name; the extensions follow it.
   */
  onHelo?(
    session: SmtpSession,
    name: string,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * AUTH. The login is refused unless the handler returns `true` or a 2xx reply.
   * `credentials.verify()` compares with the secret that the program knows, in
   * constant time and for every mechanism; for unknown users call it with
   * `undefined`.
   */
  onAuthenticate?(
    session: SmtpSession,
    credentials: Credentials,
  ):
    | boolean
    | SmtpReply
    | SmtpError
    | void
    | undefined
    | Promise<boolean | SmtpReply | SmtpError | void | undefined>;
  /** MAIL FROM; `address.isNull` is true for a bounce. */
  onMailFrom?(
    session: SmtpSession,
    address: Address,
    parameters: MailParameters,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * RCPT TO, once for each recipient, with the address as the client said it.
   * {@linkcode redirect} accepts it and sends the message to other addresses.
   * The options `aliases` and `localRecipients` come first: a recipient that
   * they refuse is not shown.
   */
  onRcptTo?(
    session: SmtpSession,
    address: Address,
    parameters: RcptParameters,
  ): HandlerVerdict | Redirect | Promise<HandlerVerdict | Redirect>;
  /**
   * The envelope is complete; the content comes next. This is the last moment to
   * choose `message.store`, or `message.filename` and `message.append`.
   * {@linkcode SILENT_ALLOW} replaces the 354, or the reply to the first of
   * several chunks; the final reply to the message is sent in any case.
   */
  onMessageStart?(
    session: SmtpSession,
    message: Message,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * The header block is complete; nothing is stored yet. The message is kept with
   * the edits of `headers`. A refusal is sent after the end of the content.
   */
  onHeaders?(
    session: SmtpSession,
    message: Message,
    headers: MessageHeaders,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * The message is complete; the final reply is not sent yet. The message is kept
   * with the edits of `message.headers`.
   */
  onMessage?(
    session: SmtpSession,
    message: Message,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /** A transaction ended without a message: by RSET, another HELO or the end of the session. */
  onReset?(session: SmtpSession): void | Promise<void>;
  /** The session has ended: called exactly once for each session that `onConnect` saw, with or without XCLIENT. */
  onDisconnect?(
    session: SmtpSession,
    reason: CloseReason,
  ): void | Promise<void>;
  /** VRFY. Return the lines of the reply, as `Real Name <mailbox>`, at most 100, or nothing for 252. */
  onVerify?(
    session: SmtpSession,
    text: string,
  ):
    | string
    | readonly string[]
    | HandlerVerdict
    | Promise<string | readonly string[] | HandlerVerdict>;
  /** EXPN. Return the members of the list, one a line, at most 100. */
  onExpand?(
    session: SmtpSession,
    text: string,
  ):
    | string
    | readonly string[]
    | HandlerVerdict
    | Promise<string | readonly string[] | HandlerVerdict>;
  /** The session's state has changed. */
  onStateChange?(
    session: SmtpSession,
    state: SessionState,
    previous: SessionState,
  ): void;
  /**
   * A limit has refused something to this session: its address or, if the name
   * begins with `perUser.`, its user has reached it. Called at most once a minute
   * for each limit of a user, and for each limit of the address in a session. The
   * reply is sent already and cannot be changed; the session does not wait. A
   * connection that a limit does not admit is no session: see the log.
   */
  onLimit?(session: SmtpSession, limit: LimitName): void;
  /**
   * A line of the dialogue, of the client or of the server, in their order.
   * Content is a number of bytes, and everything of AUTH is `***`. Nothing waits
   * for this handler. Without it, and without `trace`, no line is made.
   */
  onDialogue?(session: SmtpSession, exchange: DialogueLine): void;
  /**
   * A next hop has shown its certificate. Return `true` to go on, `false` to
   * disconnect (another host or a later try follows), or nothing to let the
   * `security` option decide. Called once a session with the next hop; the
   * session may carry other messages later.
   *
   * @param relay The message for which the session was opened
   * @param peer The host, its certificate, and why it is not trusted
   */
  onRelayCertificate?(
    relay: Relay,
    peer: PeerCertificate,
  ): boolean | void | Promise<boolean | void>;
  /**
   * What became of the TLS of a connection to a next hop, or why there was no
   * connection: the policy that applied (DANE, MTA-STS or neither) and the outcome
   * in the words of RFC 8460. A session that carries several messages is
   * reported once, with the message that opened it. Nothing waits for this
   * handler.
   *
   * @param relay The message for which the connection was made
   * @param result The host, the policy and the outcome
   */
  onTlsResult?(relay: Relay, result: TlsResult): void | Promise<void>;
}

/**
 * One line of a session's dialogue.
 *
 * @example The dialogue of clients that have not logged in
 * ```ts
 * import type { DialogueLine, SmtpHandlers } from "@smtp/server";
 *
 * const shown = ({ side, line, atMs }: DialogueLine) =>
 *   `${atMs} ${side === "client" ? "C" : "S"}: ${line}`;
 * const handlers: SmtpHandlers = {
 *   onDialogue(session, exchange) {
 *     if (session.username === undefined) console.log(shown(exchange));
 *   },
 * };
 * console.assert(handlers.onDialogue !== undefined);
 * ```
 */
export interface DialogueLine {
  /** The side that sends it. */
  readonly side: "client" | "server";
  /**
   * The line without its end: at most 1000 characters of it, unprintable ones as
   * `\u001b`. What is no line stands in parentheses: `(1234 bytes of content)`,
   * `(TLSv1.3 has begun)`.
   */
  readonly line: string;
  /** Milliseconds since the session began. */
  readonly atMs: number;
}

/** The arguments of handlers after the session, by their names in {@linkcode HANDLERS}. */
export interface HandlerArguments {
  /** A command line, a name, a reason or a state. */
  readonly text: string;
  readonly address: Address;
  readonly parameters: MailParameters | RcptParameters;
  /** The message without its content. */
  readonly message: Message;
  /** The message with its whole content. */
  readonly content: Message;
  readonly headers: MessageHeaders;
  readonly credentials: Credentials;
  readonly exchange: DialogueLine;
}

/** The names of handlers about sessions; the others are about relaying. */
export type SessionHandlerName = Exclude<
  keyof SmtpHandlers,
  `onRelay${string}` | "onTlsResult"
>;

/** The arguments of a handler about sessions, the session first. */
export type ArgumentsOf<N extends SessionHandlerName> = Parameters<
  Required<SmtpHandlers>[N]
>;

/** The questions of the protocol that a handler may answer; those within AUTH are part of "auth". */
export type HandlerAsk = Exclude<ServerAsk["ask"], "authLine">;

type Word<T> = {
  [W in keyof HandlerArguments]: T extends HandlerArguments[W] ? W : never;
}[keyof HandlerArguments];

type Words<A extends readonly unknown[]> = A extends
  readonly [unknown, ...infer R] ? { readonly [I in keyof R]: Word<R[I]> }
  : never;

/** The row of one handler about sessions. */
interface SessionHandler<
  A extends readonly (keyof HandlerArguments)[] =
    readonly (keyof HandlerArguments)[],
> {
  readonly about: "session";
  /** The question of the protocol that it answers. */
  readonly ask?: HandlerAsk;
  /** Its arguments after the session. */
  readonly args: A;
  /**
   * What it returns: a verdict; a verdict or the lines of a reply; the command
   * line to run; whether the login is right. "done" and "none" return nothing:
   * the session waits for the end of the former and not of the latter.
   */
  readonly answer: "verdict" | "lines" | "command" | "login" | "done" | "none";
}

/**
 * All handlers. Everything that needs a list of them reads this table: the
 * questions of the protocol, the calls between threads, the names that a program
 * may use. A missing row or a row too many does not compile.
 */
const TABLE = {
  onConnect: { about: "session", ask: "connect", args: [], answer: "verdict" },
  onCommand: {
    about: "session",
    ask: "command",
    args: ["text"],
    answer: "command",
  },
  onHelo: { about: "session", ask: "helo", args: ["text"], answer: "verdict" },
  onAuthenticate: {
    about: "session",
    ask: "auth",
    args: ["credentials"],
    answer: "login",
  },
  onMailFrom: {
    about: "session",
    ask: "mail",
    args: ["address", "parameters"],
    answer: "verdict",
  },
  onRcptTo: {
    about: "session",
    ask: "rcpt",
    args: ["address", "parameters"],
    answer: "verdict",
  },
  onMessageStart: {
    about: "session",
    ask: "messageStart",
    args: ["message"],
    answer: "verdict",
  },
  onHeaders: {
    about: "session",
    args: ["message", "headers"],
    answer: "verdict",
  },
  onMessage: {
    about: "session",
    ask: "message",
    args: ["content"],
    answer: "verdict",
  },
  onReset: { about: "session", args: [], answer: "done" },
  onDisconnect: { about: "session", args: ["text"], answer: "done" },
  onVerify: {
    about: "session",
    ask: "verify",
    args: ["text"],
    answer: "lines",
  },
  onExpand: {
    about: "session",
    ask: "expand",
    args: ["text"],
    answer: "lines",
  },
  onStateChange: { about: "session", args: ["text", "text"], answer: "none" },
  onLimit: { about: "session", args: ["text"], answer: "none" },
  onDialogue: { about: "session", args: ["exchange"], answer: "none" },
  onRelayCertificate: { about: "relay" },
  onTlsResult: { about: "relay" },
  onRelayStateChange: { about: "relay" },
  onRelayDone: { about: "relay" },
  onRelayError: { about: "relay" },
} as const satisfies {
  readonly [N in keyof SmtpHandlers]-?: N extends SessionHandlerName
    ? SessionHandler<Words<ArgumentsOf<N>>>
    : { readonly about: "relay" };
};

/** The rows of the handlers about sessions. */
export const HANDLERS: Readonly<Record<SessionHandlerName, SessionHandler>> =
  TABLE;

export const HANDLER_NAMES = Object.keys(TABLE) as (keyof SmtpHandlers)[];

const SESSION_HANDLERS = HANDLER_NAMES.filter(isAboutSession);

function isAboutSession(name: keyof SmtpHandlers): name is SessionHandlerName {
  return TABLE[name].about === "session";
}

/** The names of the handlers about sessions that a program has set. */
export function sessionHandlersOf(
  handlers: SmtpHandlers,
): readonly SessionHandlerName[] {
  return SESSION_HANDLERS.filter((name) => handlers[name] !== undefined);
}

/** The questions with a handler in the table: all of the protocol's, or {@linkcode askedOf} does not compile. */
type Answered = Extract<
  typeof TABLE[SessionHandlerName],
  { readonly ask: HandlerAsk }
>["ask"];

/** For each question of the protocol, whether the program has its handler. */
export function askedOf(
  handlers: SmtpHandlers,
): Readonly<Record<HandlerAsk, boolean>> {
  const asked: Partial<Record<Answered, boolean>> = {};
  for (const name of SESSION_HANDLERS) {
    const handler = TABLE[name];
    if ("ask" in handler) asked[handler.ask] = handlers[name] !== undefined;
  }
  return asked as Record<Answered, boolean>;
}

/** Calls the handler of that name if the program has set it. */
export function invoke(
  handlers: SmtpHandlers,
  name: SessionHandlerName,
  args: readonly unknown[],
): unknown {
  const all = handlers as Readonly<
    Record<string, ((...args: readonly unknown[]) => unknown) | undefined>
  >;
  return all[name]?.(...args);
}

/** Whether it is the name of a handler. */
export function isHandler(name: string): boolean {
  return Object.hasOwn(TABLE, name);
}
