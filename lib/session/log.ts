/**
 * All log records of a session, from its beginning to its end. No record holds
 * content of a message or a secret of a login. Records of the levels info and
 * debug are made only if the log wants that level; those of logins are always
 * made.
 */

import {
  describeError,
  errorMessage,
  fieldsOf,
  type Logger,
  type LogValue,
  oneOrAll,
  type WantedLog,
} from "../log.ts";
import type { Recipient } from "../message/message.ts";
import { formatHostPort, kindName } from "../net/listen_options.ts";
import { parsePath } from "../protocol/address.ts";
import type { Envelope } from "../protocol/envelope.ts";
import type { CloseReason } from "../protocol/server/effects.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { AuthenticationContext } from "./authentication_context.ts";
import type { SessionContext } from "./context.ts";
import type {
  DialogueLine,
  LimitName,
  SessionHandlerName,
} from "./handlers.ts";
import type { LimitBreach } from "./limits.ts";
import type { SmtpSession } from "./session.ts";

type Log = WantedLog;

/** The client of a session, as far as it is known. */
export function clientOf(
  session: SmtpSession,
): Record<string, LogValue | undefined> {
  return {
    address: session.remoteAddress,
    helo: session.helo,
    tls: session.tls?.protocol,
    user: session.username,
  };
}

// The beginning.

/** The log of a listener's sessions. */
type ListenerLog = Log & Pick<SessionContext, "implicitTls" | "path">;

export function logConnect(context: ListenerLog, session: SmtpSession): void {
  if (!context.debug) return;
  context.log({
    level: "debug",
    event: "connect",
    message: `Connection from ${session.remoteAddress}`,
    session: session.id,
    fields: connectFields(context, session),
  });
}

function connectFields(
  { implicitTls, path }: ListenerLog,
  session: SmtpSession,
): Record<string, LogValue> {
  const { localAddress: address, localPort: port, kind } = session;
  const security = implicitTls ? "implicit" : "none";
  return fieldsOf({
    listener: `${formatHostPort({ address, port, path })}/${
      kindName({ kind, security })
    }`,
    address: session.remoteAddress,
    port: session.remotePort,
    proxy: session.proxy?.address,
  });
}

/**
 * XCLIENT has named another client.
 *
 * @param by The address of the client that sent XCLIENT
 */
export function logImpersonation(
  context: ListenerLog,
  session: SmtpSession,
  by: string,
): void {
  if (!context.verbose) return;
  context.log({
    level: "info",
    event: "connect",
    message: `Client is ${session.remoteAddress}, as ${by} says by XCLIENT`,
    session: session.id,
    fields: { ...connectFields(context, session), proxy: by },
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
    fields: fieldsOf({ ...clientOf(session), reason: "tls" }),
  });
}

/** A line of the dialogue of a traced session; wanted at every level. */
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
  log({
    level: "info",
    event: "auth",
    message: ok ? "Logged in" : `Log-in failed: ${why}`,
    session: session.id,
    fields: fieldsOf({
      address: session.remoteAddress,
      user: username,
      mechanism,
      result: ok ? "accepted" : "refused",
      reason: why || undefined,
    }),
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
 * A command was refused for its syntax, its order, a limit or by policy. A reply
 * that ends the session is not logged here: {@linkcode logEnd} logs it with the
 * reason.
 */
export function logRefusal(
  { log, verbose }: Log,
  session: SmtpSession,
  refused: {
    readonly verb: string;
    readonly argument: string;
    readonly reply: SmtpReply;
    /** The limit that the client has reached. */
    readonly limit: LimitName | undefined;
    /** The transaction so far. */
    readonly envelope: Envelope | undefined;
  },
): void {
  const { verb, reply, limit, envelope } = refused;
  if (!verbose || reply.code === 421) return;
  const argument = VERBS_WITH_PUBLIC_ARGUMENT.has(verb)
    ? refused.argument.slice(0, LONGEST_ARGUMENT)
    : "";
  const what = argument === "" ? verb || "a line" : `${verb} ${argument}`;
  const said = textOf(reply);
  const isMail = verb === "MAIL";
  log({
    level: "info",
    event: "refused",
    message: limit === undefined ? `Refused ${what}: ${said}` : reply.lines[0]!,
    session: session.id,
    fields: fieldsOf({
      ...clientOf(session),
      verb,
      from: isMail ? pathOf(argument) : envelope?.from.toString(),
      recipient: verb === "RCPT"
        ? pathOf(argument)
        : recipientsOf(envelope?.recipients),
      reply: said,
      limit,
    }),
  });
}

/** A reply in one line. */
export function textOf({ code, enhanced, lines }: SmtpReply): string {
  return `${code} ${enhanced ?? ""} ${lines[0]}`.replace("  ", " ");
}

/** The address in the argument of MAIL or RCPT; another text as it stands. */
function pathOf(argument: string): string | undefined {
  const text = /^(?:FROM|TO):[ \t]*(.*)$/i.exec(argument)?.[1];
  if (text === undefined) return undefined;
  const path = parsePath(text, 0, { kind: "reverse", utf8: true });
  return "address" in path ? path.address.toString() : text;
}

/** The one address, or the list of several. */
export function recipientsOf(
  recipients: readonly Recipient[] | undefined,
): string | readonly string[] | undefined {
  return recipients && oneOrAll(recipients.map(({ address }) => `${address}`));
}

/** A limit has refused a connection, or ends a session. */
export function logLimit(
  { log, verbose }: Log,
  client: {
    readonly address: string;
    readonly session?: string | undefined;
    readonly limit: LimitBreach;
  },
  reply: SmtpReply,
): void {
  if (!verbose) return;
  const { address, session, limit } = client;
  log({
    level: "info",
    event: "refused",
    message: reply.lines[0]!,
    session,
    fields: { address, reply: textOf(reply), limit },
  });
}

/**
 * A user has reached a limit: perhaps the password is stolen. The caller reports
 * it once a minute. Each refusal has a record of its own beside it.
 *
 * @param text The text of the reply
 */
export function logUserLimit(
  { log }: Pick<Log, "log">,
  session: SmtpSession,
  limit: LimitName,
  text: string,
): void {
  const { id, remoteAddress: address, username: user = "" } = session;
  log({
    level: "warn",
    event: "warning",
    message: `Limit of the user "${user}": ${text}`,
    session: id,
    fields: { address, user, limit },
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

/** The function in `trace` has failed. */
export function logTraceFailure(
  log: Logger,
  session: SmtpSession,
  error: unknown,
): void {
  log({
    level: "error",
    event: "error",
    message: "Cannot choose by trace whether to log the dialogue",
    session: session.id,
    error: describeError(error),
  });
}

/** The accounts could not tell the addresses of a user. */
export function logSendersFailure(
  { log }: Pick<Log, "log">,
  session: SmtpSession,
  error: unknown,
): void {
  log({
    level: "error",
    event: "error",
    message: "Cannot find the addresses of the user",
    session: session.id,
    error: describeError(error),
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
    event: "warning",
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
      fields: fieldsOf({
        ...clientOf(session),
        reply: textOf(reply),
        reason,
      }),
    });
  }
  if (!debug) return;
  log({
    level: "debug",
    event: "disconnect",
    message: `Connection from ${session.remoteAddress} ended: ${reason}`,
    session: session.id,
    fields: {
      address: session.remoteAddress,
      reason,
      messages: session.messages,
    },
  });
}
