/**
 * Turns what a handler returned or threw into the verdict that the receiving
 * machine understands. The one place where the rule for handlers is applied.
 */

import { SmtpError } from "../errors.ts";
import { describeError, type Logger } from "../log.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { Verdict } from "../protocol/server_effects.ts";
import { DROP, SILENT_ALLOW, SILENT_DENY } from "./handlers.ts";

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
  if (value instanceof SmtpReply) return value;
  if (value instanceof SmtpError) return value.reply;
  if (value === SILENT_ALLOW) return "silent-allow";
  if (value === SILENT_DENY) return "silent-deny";
  if (value === DROP) return "drop";
  if (context.lines && isLines(value)) return linesReply(value);
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

function linesReply(lines: string | readonly string[]): Verdict {
  return lines.length === 0
    ? undefined
    : new SmtpReply(250, lines, { enhanced: "2.1.5" });
}

/** The verdict after an error: its reply if it has one, else 451 and a record. */
export function verdictOfError(
  error: unknown,
  context: VerdictContext,
): Verdict {
  if (error instanceof SmtpError) return error.reply;
  if (error instanceof SmtpReply) return error;
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
