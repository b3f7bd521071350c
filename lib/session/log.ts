/**
 * All log records of a session, from its beginning to its end. No record holds
 * content of a message or a secret of a login. Records of the levels info and
 * debug are made only if the log wants that level; those of logins are always
 * made.
 */

import { describeError, errorMessage } from "../log.ts";
import type { Message } from "../message/message.ts";
import type { CloseReason } from "../protocol/server/effects.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { AuthenticationContext } from "./authentication_context.ts";
import type { SessionContext } from "./context.ts";
import type { DialogueLine, SessionHandlerName } from "./handlers.ts";
import type { LimitBreach } from "./limits.ts";
import type { SmtpSession } from "./session.ts";

/** The log, and the levels that it wants. */
type Log = Pick<SessionContext, "log" | "verbose" | "debug">;

// The beginning.

export function logConnect({ log, debug }: Log, session: SmtpSession): void {
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
 * XCLIENT has named another client.
 *
 * @param by The address of the client that sent XCLIENT
 */
export function logImpersonation(
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

export function logTlsFailure(
  { log, verbose }: Log,
  session: SmtpSession,
  error: unknown,
): void {
  if (!verbose) return;
  const reason = errorMessage(error);
  log({
    level: "info",
    event: "refused",
    message: `TLS handshake failed: ${reason}`,
    session: session.id,
    fields: { address: session.remoteAddress },
  });
}

/** A line of the dialogue with a client of a traced network; wanted at every level. */
export function logDialogue(
  { log }: Pick<Log, "log">,
  session: SmtpSession,
  { side, line, atMs }: DialogueLine,
): void {
  log({
    level: "debug",
    event: "dialogue",
    message: side === "client" ? "The client sends" : "The server sends",
    session: session.id,
    fields: { address: session.remoteAddress, side, atMs, line },
  });
}

/** A login has succeeded or failed. */
export function logLogin(
  { log }: Pick<AuthenticationContext, "log">,
  session: SmtpSession,
  login: {
    readonly ok: boolean;
    readonly username: string;
    readonly mechanism: string;
    /** Why it failed. */
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

/** Verbs whose argument is no secret and shows what was refused. */
const VERBS_WITH_PUBLIC_ARGUMENT: ReadonlySet<string> = new Set([
  ...["HELO", "EHLO", "LHLO", "MAIL", "RCPT", "BDAT", "VRFY", "EXPN"],
]);

/** Longest argument of a command in a record, in characters. */
const LONGEST_ARGUMENT = 300;

/**
 * A command was refused for its syntax, its order or by policy. A reply that ends
 * the session is not logged here: {@linkcode logEnd} logs it with the reason.
 */
export function logRefusal(
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
  const argument = VERBS_WITH_PUBLIC_ARGUMENT.has(verb)
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
 * A client has reached a limit.
 *
 * @param text The text of the reply
 */
export function logLimit(
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

/** A message was accepted; `size` is the length of its content in bytes. */
export function logAccepted(
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
 * A message was refused.
 *
 * @param what Its id, or the reply
 */
export function logRefusedMessage(
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

/** The temporary file of a content could not be written. */
export function logContentFailure(
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

/** A store or the queue has failed to keep a message. */
export function logStoreFailure(
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

/** A handler has thrown, or returned what no handler may return. */
export function logHandlerFailure(
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

/** The answer of a handler was cut to `most` lines. */
export function logLongAnswer(
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

export function logNoAnswer({ log }: Log, session: SmtpSession): void {
  log({
    level: "error",
    event: "error",
    message: "A handler or a store has not answered in time",
    session: session.id,
    fields: { state: session.state },
  });
}

// The end.

/** A session has failed by a fault of the server. */
export function logFailure(
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

/** Reasons that mean that the server rejected the client. */
const REFUSALS: ReadonlySet<CloseReason> = new Set([
  "errors",
  "timeout",
  "early",
]);

/** A session has ended; a client that was rejected gets a record of that as well. */
export function logEnd(
  { log, verbose, debug }: Log,
  session: SmtpSession,
  end: {
    readonly reason: CloseReason;
    /** The last reply. */
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
