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
  type LogValue,
  type WantedLog,
} from "../log.ts";
import {
  type Message,
  type Recipient,
  StoreError,
} from "../message/message.ts";
import { formatHostPort, kindName } from "../net/listen_options.ts";
import { parsePath } from "../protocol/address.ts";
import type { Envelope } from "../protocol/envelope.ts";
import type { CloseReason, Verdict } from "../protocol/server/effects.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
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
function clientOf(session: SmtpSession): Record<string, LogValue | undefined> {
  return {
    address: session.remoteAddress,
    helo: session.helo,
    tls: session.tls?.protocol,
    user: session.username,
  };
}

// The beginning.

/** The log of a listener's sessions. */
type ListenerLog = Log & Pick<SessionContext, "implicitTls">;

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
  { implicitTls }: ListenerLog,
  session: SmtpSession,
): Record<string, LogValue> {
  const { localAddress: address, localPort: port, kind } = session;
  const security = implicitTls ? "implicit" : "none";
  return fieldsOf({
    listener: `${formatHostPort({ address, port })}/${
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
      reason: why,
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
function textOf({ code, enhanced, lines }: SmtpReply): string {
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
function recipientsOf(
  recipients: readonly Recipient[] | undefined,
): string | readonly string[] | undefined {
  if (recipients === undefined || recipients.length === 0) return undefined;
  return recipients.length === 1
    ? recipients[0]!.address.toString()
    : recipients.map(({ address }) => address.toString());
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
 * it once a minute.
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
    event: "refused",
    message: text,
    session: id,
    fields: { address, user, limit },
  });
}

// Messages.

/** What became of an accepted message so far, for its record. */
export interface Kept {
  /** Mailboxes, or recipients where the store has none, by kind of store. */
  readonly stored: Record<string, number>;
}

/** A message was accepted. */
export function logAccepted(
  { log, verbose }: Log,
  session: SmtpSession,
  accepted: {
    readonly message: Message;
    /** Bytes of its content. */
    readonly size: number;
    /** The protocol as in the Received field. */
    readonly protocol: string;
    readonly stored: Kept["stored"] | undefined;
  },
): void {
  if (!verbose) return;
  const { message, size, protocol, stored } = accepted;
  const { id, recipients, receivedAt, relays } = message;
  const { address, helo, tls, user } = clientOf(session);
  log({
    level: "info",
    event: "message",
    message: "Accepted message",
    session: session.id,
    fields: fieldsOf({
      ...{ id, address, helo, protocol, tls, user },
      from: message.from.toString(),
      recipients: recipients.length,
      messageId: messageIdOf(message.body.head),
      size,
      stored: stored && Object.keys(stored).length > 0 ? stored : undefined,
      queued: relays.length > 0 ? relays : undefined,
      // The time of day may have been set back meanwhile.
      ms: Math.max(0, Date.now() - receivedAt.getTime()),
    }),
  });
}

/** Bytes of a header block in which its Message-ID is looked for. */
const SEARCHED = 16_384;
/** Longest Message-ID in a record, in characters. */
const LONGEST_ID = 300;
const decoder = new TextDecoder();

/** The Message-ID of a content, in one line. */
function messageIdOf(head: Uint8Array): string | undefined {
  const text = decoder.decode(head.subarray(0, SEARCHED));
  const end = text.indexOf("\r\n\r\n");
  const block = end < 0 ? text : text.slice(0, end);
  const found = /^message-id[ \t]*:((?:\r\n[ \t]|[^\r\n])*)/im.exec(block);
  const id = found?.[1]?.replace(/\s+/g, " ").trim().slice(0, LONGEST_ID);
  return id === "" ? undefined : id;
}

/**
 * A store has kept a message, or no store was asked.
 *
 * @param to `store`: its kind; `mailboxes`: those of the recipients in their
 * order, if the store has told; `kept`: counts them
 */
export function logStored(
  { log, verbose }: Log,
  session: SmtpSession,
  message: Message,
  to: {
    readonly store: string | undefined;
    readonly mailboxes?: readonly string[] | undefined;
    readonly kept?: Kept | undefined;
  },
): void {
  if (!verbose) return;
  const { store, mailboxes, kept } = to;
  const result = store === undefined
    ? "handled"
    : store === "discard"
    ? "discarded"
    : "stored";
  for (const [index, { address }] of message.recipients.entries()) {
    log({
      level: "info",
      event: "stored",
      message: `${STORED[result]} ${address}`,
      session: session.id,
      fields: fieldsOf({
        id: message.id,
        from: message.from.toString(),
        recipient: address.toString(),
        store,
        mailbox: mailboxes?.[index],
        result,
      }),
    });
  }
  if (kept === undefined || store === undefined) return;
  const count = mailboxes === undefined
    ? message.recipients.length
    : new Set(mailboxes).size;
  kept.stored[store] = (kept.stored[store] ?? 0) + count;
}

const STORED = {
  stored: "Stored for",
  discarded: "Discarded for",
  handled: "Left to the program for",
} as const;

/**
 * A store has failed to keep a message for some of its recipients, or for all.
 * The others have their copies if the recipients get replies of their own.
 */
export function logStoreFailure(
  context: Log,
  session: SmtpSession,
  message: Message,
  failure: {
    readonly store: string;
    readonly error: unknown;
    /** Whether the recipients without a failure of their own have their copies. */
    readonly partial: boolean;
    readonly kept: Kept | undefined;
  },
): void {
  const { store, error, partial, kept } = failure;
  const failures = error instanceof StoreError ? error.failures : undefined;
  const described = new Set<unknown>();
  const others: Recipient[] = [];
  for (const recipient of message.recipients) {
    const { address } = recipient;
    const isOwn = failures?.has(recipient) === true;
    if (partial && failures !== undefined && !isOwn) {
      others.push(recipient);
      continue;
    }
    const why = isOwn ? failures?.get(recipient) : error;
    const reason = errorMessage(why);
    context.log({
      level: "error",
      event: "stored",
      message:
        `Store "${store}" failed for message ${message.id} to ${address}: ${reason}`,
      session: session.id,
      fields: {
        id: message.id,
        from: message.from.toString(),
        recipient: address.toString(),
        store,
        result: "failed",
        reason,
      },
      // Recipients that failed for one reason need its stack once.
      ...(described.has(why) ? {} : { error: describeError(why) }),
    });
    described.add(why);
  }
  if (others.length === 0) return;
  logStored(context, session, message.forRecipients(others), { store, kept });
}

/** The content of a message was refused. */
export function logRefusedMessage(
  { log, verbose }: Log,
  session: SmtpSession,
  message: Message,
  verdict: Verdict,
): void {
  if (!verbose) return;
  const said = textOf(
    verdict instanceof SmtpReply ? verdict : replies.refusedMessage,
  );
  log({
    level: "info",
    event: "refused",
    message: `Refused message: ${said}`,
    session: session.id,
    fields: fieldsOf({
      ...clientOf(session),
      id: message.id,
      verb: "DATA",
      from: message.from.toString(),
      recipient: recipientsOf(message.recipients),
      reply: said,
    }),
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

/** The queue has failed to keep a message. */
export function logQueueFailure(
  { log }: Log,
  session: SmtpSession,
  { id }: Message,
  error: unknown,
): void {
  log({
    level: "error",
    event: "error",
    message: `Queue failed for message ${id}`,
    session: session.id,
    fields: { id },
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
