/**
 * The log records of a session's beginning, refusals, failure and end. None
 * carries a word of mail, nor of what stands behind AUTH.
 */

import { describeError } from "../log.ts";
import type { CloseReason } from "../protocol/server/effects.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import { note, noteDetail, type SessionContext } from "./context.ts";
import type { SmtpSession } from "./session.ts";

/** Ends that a limit or a wrong beginning has brought about. */
const REFUSALS: ReadonlySet<CloseReason> = new Set([
  "errors",
  "timeout",
  "early",
]);

/** Notes that a client has connected. */
export function noteConnect(
  context: SessionContext,
  session: SmtpSession,
): void {
  noteDetail(context, () => ({
    level: "debug",
    event: "connect",
    message: `Connection from ${session.remoteAddress}`,
    session: session.id,
    fields: { address: session.remoteAddress, port: session.remotePort },
  }));
}

/** Verbs whose argument is no secret, and tells what was refused. */
const TOLD: ReadonlySet<string> = new Set([
  ...["HELO", "EHLO", "LHLO", "MAIL", "RCPT", "BDAT", "VRFY", "EXPN"],
]);

/** Longest argument of a command in a record, in characters. */
const LONGEST_ARGUMENT = 300;

/**
 * Notes that a command has been refused: by form, order or policy. A reply that
 * ends the session has a record of its own, with the reason.
 */
export function noteRefusal(
  context: SessionContext,
  session: SmtpSession,
  refused: {
    readonly verb: string;
    readonly argument: string;
    readonly reply: SmtpReply;
  },
): void {
  const { verb, reply } = refused;
  if (reply.code === 421) return;
  const argument = TOLD.has(verb)
    ? refused.argument.slice(0, LONGEST_ARGUMENT)
    : "";
  const what = argument === "" ? verb || "a line" : `${verb} ${argument}`;
  const said = `${reply.code} ${reply.enhanced ?? ""} ${reply.lines[0]}`
    .replace("  ", " ");
  note(context, () => ({
    level: "info",
    event: "refused",
    message: `Refused ${what}: ${said}`,
    session: session.id,
    fields: { address: session.remoteAddress, verb, reply: said },
  }));
}

/** Notes that a session has broken off by a fault of our own. */
export function noteFailure(
  context: SessionContext,
  session: SmtpSession,
  error: unknown,
): void {
  context.log({
    level: "error",
    event: "error",
    message: "Session failed",
    session: session.id,
    error: describeError(error),
  });
}

/**
 * Notes that a session is over, and that its client was sent away if it was.
 *
 * @param end Why, and what the client was told at last
 */
export function noteEnd(
  context: SessionContext,
  session: SmtpSession,
  end: { readonly reason: CloseReason; readonly said: SmtpReply | undefined },
): void {
  const { reason, said } = end;
  if (said !== undefined && REFUSALS.has(reason)) {
    note(context, () => ({
      level: "info",
      event: "refused",
      message: `Ended the session: ${said.lines[0]}`,
      session: session.id,
      fields: { address: session.remoteAddress, reason },
    }));
  }
  noteDetail(context, () => ({
    level: "debug",
    event: "disconnect",
    message: `Connection from ${session.remoteAddress} ended: ${reason}`,
    session: session.id,
    fields: { reason, messages: session.messages },
  }));
}
