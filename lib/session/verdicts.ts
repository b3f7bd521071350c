/**
 * Turns what a handler returned or threw into the verdict that the receiving
 * machine understands. The one place where the rule for handlers is applied.
 */

import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import { describeError, type Logger } from "../log.ts";
import { firstLines, found, replies } from "../protocol/replies.ts";
import type { Verdict } from "../protocol/server/effects.ts";
import { DROP, SILENT_ALLOW, SILENT_DENY } from "./handlers.ts";

/** Lines of an answer to VRFY or EXPN that are sent. */
const MOST_LINES = 100;
/** Characters of a text that is cut before it is split into lines of at most 512 bytes. */
const LONGEST_LINE = 512;

/** Where an error of a handler is reported. */
export interface VerdictContext {
  /** Takes the record of an unexpected error. */
  readonly log: Logger;
  /** The session's name. */
  readonly session: string;
  /** The handler's name. */
  readonly handler: string;
  /** Whether the answer may be text: the lines of a reply to VRFY or EXPN. */
  readonly lines?: true;
}

/**
 * Calls a handler and turns its answer into a verdict; a promise only where the
 * handler gave one, so that sync handlers cost no turn of the event loop.
 */
export function ask(
  call: () => unknown,
  context: VerdictContext,
): Verdict | Promise<Verdict> {
  let result: unknown;
  try {
    result = call();
  } catch (error) {
    return verdictOfError(error, context);
  }
  if (isPromise(result)) {
    return result.then(
      (value) => verdictOf(value, context),
      (error) => verdictOfError(error, context),
    );
  }
  return verdictOf(result, context);
}

/** Whether a handler's result has to be waited for. */
export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

function verdictOf(value: unknown, context: VerdictContext): Verdict {
  if (value === undefined || value === null || value === true) return undefined;
  if (value === false) return "deny";
  if (value instanceof SmtpReply) return bounded(value, context);
  if (value instanceof SmtpError) return bounded(value.reply, context);
  if (value === SILENT_ALLOW) return "silent-allow";
  if (value === SILENT_DENY) return "silent-deny";
  if (value === DROP) return "drop";
  if (context.lines && isLines(value)) return linesReply(value, context);
  return verdictOfError(
    new TypeError(
      `Cannot use what ${context.handler} returned: want nothing, a boolean, an SmtpReply or an SmtpError`,
    ),
    context,
  );
}

/** The lines of an answer to VRFY or EXPN. */
function isLines(value: unknown): value is string | readonly string[] {
  return typeof value === "string" ||
    (Array.isArray(value) && value.every((line) => typeof line === "string"));
}

function linesReply(
  lines: string | readonly string[],
  context: VerdictContext,
): Verdict {
  if (lines.length === 0) return undefined;
  const some = typeof lines === "string"
    ? lines.slice(0, MOST_LINES * LONGEST_LINE)
    : lines.slice(0, MOST_LINES + 1);
  return bounded(found(some), context);
}

/** An answer to VRFY or EXPN, cut where it has more lines than any client reads. */
function bounded(reply: SmtpReply, context: VerdictContext): SmtpReply {
  if (context.lines !== true || reply.lines.length <= MOST_LINES) return reply;
  context.log({
    level: "warn",
    event: "error",
    message:
      `${context.handler} gave a long answer: cut to ${MOST_LINES} lines`,
    session: context.session,
  });
  return firstLines(reply, MOST_LINES);
}

/** The verdict after an error: its reply if it has one, else 451 and a record. */
export function verdictOfError(
  error: unknown,
  context: VerdictContext,
): Verdict {
  if (error instanceof SmtpError) return bounded(error.reply, context);
  if (error instanceof SmtpReply) return bounded(error, context);
  context.log({
    level: "error",
    event: "error",
    message: `${context.handler} failed`,
    session: context.session,
    error: describeError(error),
  });
  return replies.localError;
}

/** Whether a verdict refuses. */
export function isRefusal(verdict: Verdict | void): boolean {
  return verdict instanceof SmtpReply
    ? !verdict.isPositive
    : verdict !== undefined && verdict !== "silent-allow";
}
