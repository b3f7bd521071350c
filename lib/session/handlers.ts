/**
 * The handlers: the questions a program may answer about a session, and the
 * one rule for all answers.
 *
 * The rule: return nothing (or `true`) to accept; return `false` to refuse with
 * the standard reply; return or throw an `SmtpReply` or `SmtpError` to choose
 * the reply; anything else that is thrown is 451 4.3.0 and a log record.
 */

import {
  isOptions,
  optionError,
  type Place,
  type Rule,
  unknownOption,
} from "../options.ts";
import { nearest } from "../spelling.ts";
import type { Message } from "../message/message.ts";
import type { Address } from "../protocol/address.ts";
import type { MessageHeaders } from "../protocol/headers.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { CloseReason, ServerAsk } from "../protocol/server/effects.ts";
import type { RelayHooks } from "../queue/options.ts";
import type { Relay } from "../queue/relay.ts";
import type { PeerCertificate } from "../client/options.ts";
import type { Credentials } from "../sasl/credentials.ts";
import type { SessionState, SmtpSession } from "./session.ts";

/**
 * Accepts, and says that the handler has sent its own reply with `session.send()`.
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
 * Refuses, and says that the handler has sent its own reply with `session.send()`.
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
 * From `onConnect` only: closes the connection without a word.
 *
 * @example Not to be found by some
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

/** What a handler may say. */
export type HandlerVerdict =
  | void
  | undefined
  | boolean
  | SmtpReply
  | SmtpError
  | typeof SILENT_ALLOW
  | typeof SILENT_DENY;

/**
 * The handlers of a server, every one optional, sync or async. A slow one
 * delays its own session only. Those of relaying have rules of their own, told
 * with each.
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
 */
export interface SmtpHandlers extends RelayHooks {
  /**
   * A client has connected and not been greeted. {@linkcode DROP} closes without
   * a word. Asked again, for the same session, when XCLIENT has named another
   * client: `session.xclient` tells.
   */
  onConnect?(
    session: SmtpSession,
  ): HandlerVerdict | typeof DROP | Promise<HandlerVerdict | typeof DROP>;
  /**
   * A command line has come, before anything is made of it. Return the line to
   * run instead, `""` to run none (after a `session.send()` of your own), or
   * nothing to run it as it is. What follows the mechanism of AUTH is replaced
   * by `***`; such a line cannot be rewritten unless it is changed. So are lines
   * in base64 behind an AUTH that was refused, which are its answers.
   */
  onCommand?(
    session: SmtpSession,
    line: string,
  ): string | void | undefined | Promise<string | void | undefined>;
  /** HELO, EHLO or LHLO, with the name that the client gave itself. */
  onHelo?(
    session: SmtpSession,
    name: string,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * AUTH. Refuses unless it returns `true` or a 2xx reply. `credentials.verify()`
   * compares with what the program knows, in constant time, whatever the
   * mechanism; call it for unknown users too, with `undefined`.
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
  /** MAIL FROM; `address.isNull` for a bounce. */
  onMailFrom?(
    session: SmtpSession,
    address: Address,
    parameters: MailParameters,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /** RCPT TO, once for each recipient. */
  onRcptTo?(
    session: SmtpSession,
    address: Address,
    parameters: RcptParameters,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * The envelope is complete, the content comes next: the last moment to choose
   * `message.store`, or `message.filename` and `message.append`.
   * {@linkcode SILENT_ALLOW} stands for the 354, or the reply to the first of
   * several chunks; the message gets its final reply all the same.
   */
  onMessageStart?(
    session: SmtpSession,
    message: Message,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /**
   * The header block is complete and nothing is stored yet. Edits of `headers`
   * are what is kept; a refusal is sent when the client has finished sending.
   */
  onHeaders?(
    session: SmtpSession,
    message: Message,
    headers: MessageHeaders,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /** The whole message is here and nothing has been answered yet. */
  onMessage?(
    session: SmtpSession,
    message: Message,
  ): HandlerVerdict | Promise<HandlerVerdict>;
  /** A transaction is over without a message: RSET, another HELO, the end of the session. */
  onReset?(session: SmtpSession): void | Promise<void>;
  /** The session is over: exactly once for each session that `onConnect` saw, XCLIENT or not. */
  onDisconnect?(
    session: SmtpSession,
    reason: CloseReason,
  ): void | Promise<void>;
  /** VRFY. Return the lines of the answer, as `Real Name <mailbox>`, at most 100; nothing for 252. */
  onVerify?(
    session: SmtpSession,
    text: string,
  ):
    | string
    | readonly string[]
    | HandlerVerdict
    | Promise<string | readonly string[] | HandlerVerdict>;
  /** EXPN. Return the members of the list, a line each, at most 100. */
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
   * A host that mail is relayed to has shown its certificate. Return `true` to
   * go on, `false` to break off (another host or another try follows), nothing
   * to leave it to the `security` in force. Asked once a session, which may
   * carry other messages later on.
   *
   * @param relay The message that made us connect
   * @param peer The host, its certificate, and why that is not to be trusted
   */
  onRelayCertificate?(
    relay: Relay,
    peer: PeerCertificate,
  ): boolean | void | Promise<boolean | void>;
}

/** What a handler gets after the session, by the word of {@linkcode HANDLERS}. */
export interface HandlerArguments {
  /** A line, a name, a reason or a state. */
  readonly text: string;
  readonly address: Address;
  readonly parameters: MailParameters | RcptParameters;
  /** The message, its content not yet there. */
  readonly message: Message;
  /** The message with its whole content. */
  readonly content: Message;
  readonly headers: MessageHeaders;
  readonly credentials: Credentials;
}

/** The handlers about sessions; the others are about relaying. */
export type SessionHandlerName = Exclude<
  keyof SmtpHandlers,
  `onRelay${string}`
>;

/** What a handler about sessions is called with, the session first. */
export type ArgumentsOf<N extends SessionHandlerName> = Parameters<
  Required<SmtpHandlers>[N]
>;

/** The questions of the machine that a handler may answer; those within AUTH are part of "auth". */
export type HandlerAsk = Exclude<ServerAsk["ask"], "authLine">;

type Word<T> = {
  [W in keyof HandlerArguments]: T extends HandlerArguments[W] ? W : never;
}[keyof HandlerArguments];

type Words<A extends readonly unknown[]> = A extends
  readonly [unknown, ...infer R] ? { readonly [I in keyof R]: Word<R[I]> }
  : never;

/** What is known of one handler about sessions. */
interface SessionHandler<
  A extends readonly (keyof HandlerArguments)[] =
    readonly (keyof HandlerArguments)[],
> {
  readonly about: "session";
  /** The machine's question that it answers. */
  readonly ask?: HandlerAsk;
  /** What it gets after the session. */
  readonly args: A;
  /**
   * What is made of its answer: a verdict, the verdict or the lines of a reply,
   * the command line to run, whether a log-in is right. Nothing, after it is
   * done, or without a wait for it.
   */
  readonly answer: "verdict" | "lines" | "command" | "login" | "done" | "none";
}

/**
 * Every handler there is. Whatever goes over all handlers goes over this table:
 * what the machine asks, what crosses threads, the names that a program may use.
 * A handler that is missing here, or is none, does not compile.
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
  onRelayCertificate: { about: "relay" },
  onRelayStateChange: { about: "relay" },
  onRelayDone: { about: "relay" },
  onRelayError: { about: "relay" },
} as const satisfies {
  readonly [N in keyof SmtpHandlers]-?: N extends SessionHandlerName
    ? SessionHandler<Words<ArgumentsOf<N>>>
    : { readonly about: "relay" };
};

/** The handlers about sessions. */
export const HANDLERS: Readonly<Record<SessionHandlerName, SessionHandler>> =
  TABLE;

const HANDLER_NAMES = Object.keys(TABLE) as (keyof SmtpHandlers)[];

const SESSION_HANDLERS = HANDLER_NAMES.filter(isAboutSession);

function isAboutSession(name: keyof SmtpHandlers): name is SessionHandlerName {
  return TABLE[name].about === "session";
}

/** The handlers about sessions that a program has set. */
export function sessionHandlersOf(
  handlers: SmtpHandlers,
): readonly SessionHandlerName[] {
  return SESSION_HANDLERS.filter((name) => handlers[name] !== undefined);
}

/** The questions that the table has a handler for: all that the machine asks, or this does not compile. */
type Answered = Extract<
  typeof TABLE[SessionHandlerName],
  { readonly ask: HandlerAsk }
>["ask"];

/** Which of the machine's questions a program has a handler for. */
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

/** Calls a handler by its name, if the program has set it. */
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

/** Whether a handler has this name. */
export function isHandler(name: string): boolean {
  return Object.hasOwn(TABLE, name);
}

/**
 * Handlers: a plain object, a module, or an instance whose class has them. What
 * else the object has is its own affair, unless its name is that of a handler
 * with a slip in it.
 */
export const HANDLERS_RULE: Rule = {
  want: "handlers, as { onRcptTo() {} }",
  check(value, at) {
    if (!isOptions(value)) throw optionError(at, value, this);
    let owner: object | null = value;
    const members: string[] = [];
    while (owner !== null && owner !== Object.prototype) {
      for (const name of Object.getOwnPropertyNames(owner)) {
        const isGiven = checkHandler(owner, {
          name,
          at,
          isPlain: isPlain(value),
        });
        if (isGiven && name !== "constructor") members.push(name);
      }
      owner = Object.getPrototypeOf(owner);
    }
    // `{ default: handlers }` and `{ rcpt() {} }` would never be asked.
    if (members.length > 0 && !members.some(isHandler)) {
      throw unknownOption(at, members[0]!, { known: HANDLER_NAMES });
    }
  },
};

/** Whether all that the object has was written down for it. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Checks a member; whether there is one. */
function checkHandler(
  owner: object,
  facts: { readonly name: string; readonly at: Place; isPlain: boolean },
): boolean {
  const { name, at } = facts;
  // Not read: a getter may do anything.
  const { value, get } = Object.getOwnPropertyDescriptor(owner, name)!;
  if (value === undefined && get === undefined) return false;
  const place = { ...at, path: at.path === "" ? name : `${at.path}.${name}` };
  if (isHandler(name)) {
    if (value !== undefined && typeof value !== "function") {
      throw optionError(place, value, { want: "a function" });
    }
    return true;
  }
  // `one`, `once` and `only` are words, `onhelo` is a slip.
  const begins = /^on(?:[A-Z]|.{4})|^O[Nn]./.test(name);
  const lower = (begins ? name : `on${name}`).toLowerCase();
  const meant = begins
    ? nearest(name, HANDLER_NAMES)
    : facts.isPlain && typeof value === "function"
    ? HANDLER_NAMES.find((known) => known.toLowerCase() === lower)
    : undefined;
  if (meant !== undefined || /^on[A-Z]/.test(name)) {
    throw unknownOption(at, name, { known: HANDLER_NAMES, meant });
  }
  return true;
}
