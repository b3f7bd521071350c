/**
 * All log records of a session, from its beginning to its end. None carries a
 * word of mail, nor of what stands behind AUTH. A record of the level info or
 * debug is only made where somebody reads that level.
 */

import { describeError } from "../log.ts";
import type { Message } from "../message/message.ts";
import type { CloseReason } from "../protocol/server/effects.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { AuthenticationContext } from "./authentication_context.ts";
import type { SessionContext } from "./context.ts";
import type { SessionHandlerName } from "./handlers.ts";
import type { LimitBreach } from "./limits.ts";
import type { SmtpSession } from "./session.ts";

/** Takes the records. */
type Log = Pick<SessionContext, "log" | "verbose" | "debug">;

// The beginning.

/** Notes that a client has connected. */
export function noteConnect({ log, debug }: Log, session: SmtpSession): void {
  if (!debug) return;
  log({
    level: "debug",
    event: "connect",
    message: `Connection from ${session.remoteAddress}`,
    session: session.id,
    fields: { address: session.remoteAddress, port: session.remotePort },
  });
}

/**
 * Notes that XCLIENT has named another client.
 *
 * @param by The address of the client that said it
 */
export function noteImpersonation(
  { log, verbose }: Log,
  session: SmtpSession,
  by: string,
): void {
  if (!verbose) return;
  log({
    level: "info",
    event: "connect",
    message: `Client is ${session.remoteAddress}, as ${by} says by XCLIENT`,
    session: session.id,
    fields: { address: session.remoteAddress, port: session.remotePort },
  });
}

/** Notes that a TLS handshake has failed. */
export function noteTlsFailure(
  { log, verbose }: Log,
  session: SmtpSession,
  error: unknown,
): void {
  if (!verbose) return;
  const reason = error instanceof Error ? error.message : String(error);
  log({
    level: "info",
    event: "refused",
    message: `TLS handshake failed: ${reason}`,
    session: session.id,
    fields: { address: session.remoteAddress },
  });
}

/** Notes how a log-in has ended. */
export function noteLogin(
  { log }: Pick<AuthenticationContext, "log">,
  session: SmtpSession,
  login: {
    readonly ok: boolean;
    readonly username: string;
    readonly mechanism: string;
    /** Why it has failed. */
    readonly why: string | undefined;
  },
): void {
  const { ok, username, mechanism, why } = login;
  const address = session.remoteAddress;
  log({
    level: "info",
    event: "auth",
    message: ok ? "Logged in" : `Log-in failed: ${why}`,
    session: session.id,
    fields: { ok, username, mechanism, address },
  });
}

// Refusals.

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
  { log, verbose }: Log,
  session: SmtpSession,
  refused: {
    readonly verb: string;
    readonly argument: string;
    readonly reply: SmtpReply;
  },
): void {
  const { verb, reply } = refused;
  if (!verbose || reply.code === 421) return;
  const argument = TOLD.has(verb)
    ? refused.argument.slice(0, LONGEST_ARGUMENT)
    : "";
  const what = argument === "" ? verb || "a line" : `${verb} ${argument}`;
  const said = `${reply.code} ${reply.enhanced ?? ""} ${reply.lines[0]}`
    .replace("  ", " ");
  log({
    level: "info",
    event: "refused",
    message: `Refused ${what}: ${said}`,
    session: session.id,
    fields: { address: session.remoteAddress, verb, reply: said },
  });
}

/**
 * Notes that a client has met a limit.
 *
 * @param text What it is told
 */
export function noteLimit(
  { log, verbose }: Log,
  client: {
    readonly address: string;
    readonly session?: string | undefined;
    readonly limit: LimitBreach;
  },
  text: string,
): void {
  if (!verbose) return;
  const { address, session, limit } = client;
  log({
    level: "info",
    event: "refused",
    message: text,
    session,
    fields: { address, limit },
  });
}

// Messages.

/** Notes that a message has been accepted: `size` bytes of content. */
export function noteAccepted(
  { log, verbose }: Log,
  session: SmtpSession,
  { message, size }: { readonly message: Message; readonly size: number },
): void {
  if (!verbose) return;
  log({
    level: "info",
    event: "message",
    message: "Accepted message",
    session: session.id,
    fields: {
      id: message.id,
      from: message.from.toString(),
      to: message.recipients.map(({ address }) => address).join(", "),
      size,
    },
  });
}

/**
 * Notes that a message has been refused.
 *
 * @param what Its name, or the reply
 */
export function noteRefusedMessage(
  { log, verbose }: Log,
  session: SmtpSession,
  what: string,
): void {
  if (!verbose) return;
  log({
    level: "info",
    event: "refused",
    message: `Refused message: ${what}`,
    session: session.id,
    fields: { address: session.remoteAddress },
  });
}

/** Notes that a content could not be written down while it came in. */
export function noteContentFailure(
  { log }: Log,
  session: SmtpSession,
  error: unknown,
): void {
  log({
    level: "error",
    event: "error",
    message: "Cannot keep the content of a message while it comes in",
    session: session.id,
    error: describeError(error),
  });
}

/** Notes that a store, or the queue, has not kept a message. */
export function noteStoreFailure(
  { log }: Log,
  session: SmtpSession,
  failure: {
    readonly what: string;
    readonly message: Message;
    readonly error: unknown;
  },
): void {
  const { what, message, error } = failure;
  log({
    level: "error",
    event: "error",
    message: `${what} failed for message ${message.id}`,
    session: session.id,
    error: describeError(error),
  });
}

// Handlers.

/** Notes that a handler has failed, or returned what no handler may. */
export function noteHandlerFailure(
  { log }: Pick<Log, "log">,
  session: SmtpSession,
  failure: { readonly name: SessionHandlerName; readonly error: unknown },
): void {
  log({
    level: "error",
    event: "error",
    message: `${failure.name} failed`,
    session: session.id,
    error: describeError(failure.error),
  });
}

/** Notes that the answer of a handler has been cut to `most` lines. */
export function noteLongAnswer(
  { log }: Pick<Log, "log">,
  session: SmtpSession,
  { name, most }: { readonly name: SessionHandlerName; readonly most: number },
): void {
  log({
    level: "warn",
    event: "error",
    message: `${name} gave a long answer: cut to ${most} lines`,
    session: session.id,
  });
}

/** Notes that a handler or a store has not answered in time. */
export function noteNoAnswer({ log }: Log, session: SmtpSession): void {
  log({
    level: "error",
    event: "error",
    message: "A handler or a store has not answered in time",
    session: session.id,
    fields: { state: session.state },
  });
}

// The end.

/** Notes that a session has broken off by a fault of our own. */
export function noteFailure(
  { log }: Log,
  session: SmtpSession,
  error: unknown,
): void {
  log({
    level: "error",
    event: "error",
    message: "Session failed",
    session: session.id,
    error: describeError(error),
  });
}

/** Ends that a limit or a wrong beginning has brought about. */
const REFUSALS: ReadonlySet<CloseReason> = new Set([
  "errors",
  "timeout",
  "early",
]);

/** Notes that a session is over, and that its client was sent away if it was. */
export function noteEnd(
  { log, verbose, debug }: Log,
  session: SmtpSession,
  end: {
    readonly reason: CloseReason;
    /** What the client was told at last. */
    readonly reply: SmtpReply | undefined;
  },
): void {
  const { reason, reply } = end;
  if (verbose && reply !== undefined && REFUSALS.has(reason)) {
    log({
      level: "info",
      event: "refused",
      message: `Ended the session: ${reply.lines[0]}`,
      session: session.id,
      fields: { address: session.remoteAddress, reason },
    });
  }
  if (!debug) return;
  log({
    level: "debug",
    event: "disconnect",
    message: `Connection from ${session.remoteAddress} ended: ${reason}`,
    session: session.id,
    fields: { reason, messages: session.messages },
  });
}
