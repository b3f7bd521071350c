/**
 * The log records of a session's messages: accepted, stored, refused, or lost by
 * a store, the queue or the disk. No record holds content of a message.
 */

import { describeError, errorMessage, fieldsOf } from "../log.ts";
import {
  failuresOf,
  type Message,
  type Recipient,
  StoreError,
} from "../message/message.ts";
import {
  formatMailParameters,
  type MailParameters,
} from "../protocol/parameters.ts";
import type { Verdict } from "../protocol/server/effects.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpError, SmtpReply } from "../protocol/reply.ts";
import type { SessionContext } from "./context.ts";
import type { LimitName } from "./handlers.ts";
import type { SmtpSession } from "./session.ts";
import { clientOf, recipientsOf, textOf } from "./log.ts";

type Log = Pick<SessionContext, "log" | "verbose" | "debug">;

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
      recipient: recipientsOf(recipients),
      recipients: recipients.length,
      messageId: messageIdOf(message.body.head),
      size,
      asked: askedOf(message.parameters),
      ...provedBy(message),
      stored: stored && Object.keys(stored).length > 0 ? stored : undefined,
      queued: relays.length > 0 ? relays : undefined,
      // The time of day may have been set back meanwhile.
      ms: Math.max(0, Date.now() - receivedAt.getTime()),
    }),
  });
}

/** What the client has asked of the way of a message, as it wrote it in MAIL; `undefined` for nothing. */
function askedOf(
  { holdFor, holdUntil, by, requireTls }: MailParameters,
): string | undefined {
  if ((holdFor ?? holdUntil ?? by ?? requireTls) === undefined) {
    return undefined;
  }
  const asked = Object.entries({ holdFor, holdUntil, by, requireTls });
  return formatMailParameters(
    Object.fromEntries(asked.filter(([, value]) => value !== undefined)),
  ).trim();
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
  const failures = error instanceof StoreError
    ? failuresOf(error, message.recipients)
    : undefined;
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
    // A store that chose the reply, as for a full mailbox, has not failed.
    const isRefusal = why instanceof SmtpError;
    context.log({
      level: isRefusal ? "warn" : "error",
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
      ...(isRefusal || described.has(why) ? {} : { error: describeError(why) }),
    });
    described.add(why);
  }
  if (others.length === 0) return;
  logStored(context, session, message.forRecipients(others), { store, kept });
}

/**
 * The content of a message was refused.
 *
 * @param limit The limit that the user has reached
 */
export function logRefusedMessage(
  { log, verbose }: Log,
  session: SmtpSession,
  message: Message,
  verdict: Verdict,
  limit?: LimitName,
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
      ...provedBy(message),
      limit,
    }),
  });
}

/** The results of a message's checks in a word each, if it was checked. */
function provedBy(
  { authentication }: Message,
): Record<string, string> | undefined {
  if (authentication === undefined) return undefined;
  const { spf, dkim, dmarc, arc } = authentication;
  const best = dkim.find(({ result }) => result === "pass") ?? dkim[0];
  return {
    spf: spf.result,
    dkim: best?.result ?? "none",
    dmarc: dmarc.result,
    arc: arc.result,
  };
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
