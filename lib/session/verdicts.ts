/**
 * Calls handlers, and turns what they return or throw into the verdict for the
 * protocol. It is the only place that applies the rule for handlers;
 * `onAuthenticate` and `onCommand` have rules of their own. It returns a promise
 * only if the handler did.
 */

import { Redirect } from "../protocol/redirect.ts";
import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import { firstLines, found, replies } from "../protocol/replies.ts";
import type { Verdict } from "../protocol/server/effects.ts";
import type { SessionContext } from "./context.ts";
import {
  type ArgumentsOf,
  DROP,
  HANDLERS,
  invoke,
  type SessionHandlerName,
  SILENT_ALLOW,
  SILENT_DENY,
} from "./handlers.ts";
import { logHandlerFailure, logLongAnswer } from "./log.ts";
import type { SmtpSession } from "./session.ts";

/** The most lines of a reply to VRFY or EXPN. */
const MOST_LINES = 100;
/** Bytes of a reply line. A text is cut to {@linkcode MOST_LINES} times as many characters before it is split. */
const LONGEST_LINE = 512;

/** A call of a handler: which one, and about which session. */
export interface CalledHandler {
  /** Logs an unexpected error. */
  readonly context: Pick<SessionContext, "log">;
  readonly session: SmtpSession;
  readonly name: SessionHandlerName;
}

/**
 * Calls the handler of that name if the program has set it, and turns its answer
 * into a verdict. After the end of the session it calls none but those of the end,
 * and denies: what no handler has seen must not be kept.
 */
export function callHandler<
  N extends Exclude<
    SessionHandlerName,
    "onCommand" | "onAuthenticate" | "onStateChange" | "onLimit"
  >,
>(
  context: Pick<SessionContext, "handlers" | "log">,
  name: N,
  ...args: ArgumentsOf<N>
): Verdict | Promise<Verdict> {
  const { handlers } = context;
  if (handlers[name] === undefined) return undefined;
  const called = { context, session: args[0], name };
  if (isLate(called)) return "deny";
  let result: unknown;
  try {
    result = invoke(handlers, name, args);
  } catch (error) {
    return verdictOfError(error, called);
  }
  if (isPromise(result)) {
    return result.then(
      (value) => verdictOf(value, called),
      (error) => verdictOfError(error, called),
    );
  }
  return verdictOf(result, called);
}

/** Whether the session has ended while something else was asked before the handler: its end has been reported. */
function isLate({ session, name }: CalledHandler): boolean {
  return session.state === "disconnected" && name !== "onReset" &&
    name !== "onDisconnect";
}

/**
 * Calls a handler that only gets to know, if the program has set it. A failure is
 * logged; a promise is not awaited.
 */
export function tellHandler<N extends "onLimit" | "onDialogue">(
  context: Pick<SessionContext, "handlers" | "log">,
  name: N,
  ...args: ArgumentsOf<N>
): void {
  const { handlers } = context;
  if (handlers[name] === undefined) return;
  const session = args[0];
  try {
    const result = invoke(handlers, name, args);
    if (!isPromise(result)) return;
    result.then(
      undefined,
      (error) => logHandlerFailure(context, session, { name, error }),
    );
  } catch (error) {
    logHandlerFailure(context, session, { name, error });
  }
}

/** Whether a result must be awaited. */
export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

function verdictOf(value: unknown, called: CalledHandler): Verdict {
  if (value === undefined || value === null) return undefined;
  if (value === true) return called.name === "onMessage" ? "allow" : undefined;
  if (value === false) return "deny";
  if (value instanceof SmtpReply) return bounded(value, called);
  if (value instanceof SmtpError) return bounded(value.reply, called);
  if (value === SILENT_ALLOW) return "silent-allow";
  if (value === SILENT_DENY) return "silent-deny";
  if (value === DROP) return "drop";
  if (value instanceof Redirect && called.name === "onRcptTo") return value;
  if (HANDLERS[called.name].answer === "lines" && isLines(value)) {
    return linesReply(value, called);
  }
  return verdictOfError(
    new TypeError(
      `Cannot use what ${called.name} returned: want nothing, a boolean, an SmtpReply or an SmtpError`,
    ),
    called,
  );
}

/** Whether a value is the lines of a reply to VRFY or EXPN. */
function isLines(value: unknown): value is string | readonly string[] {
  return typeof value === "string" ||
    (Array.isArray(value) && value.every((line) => typeof line === "string"));
}

function linesReply(
  lines: string | readonly string[],
  called: CalledHandler,
): Verdict {
  if (lines.length === 0) return undefined;
  const some = typeof lines === "string"
    ? lines.slice(0, MOST_LINES * LONGEST_LINE)
    : lines.slice(0, MOST_LINES + 1);
  return bounded(found(some), called);
}

/** The reply; one to VRFY or EXPN is cut to {@linkcode MOST_LINES}. */
function bounded(reply: SmtpReply, called: CalledHandler): SmtpReply {
  const { context, session, name } = called;
  const isAny = HANDLERS[name].answer !== "lines";
  if (isAny || reply.lines.length <= MOST_LINES) return reply;
  logLongAnswer(context, session, { name, most: MOST_LINES });
  return firstLines(reply, MOST_LINES);
}

/** The verdict after an error: its reply if it has one; else 451, and the error is logged. */
export function verdictOfError(
  error: unknown,
  called: CalledHandler,
): Verdict {
  if (error instanceof SmtpError) return bounded(error.reply, called);
  if (error instanceof SmtpReply) return bounded(error, called);
  const { context, session, name } = called;
  logHandlerFailure(context, session, { name, error });
  return replies.localError;
}
