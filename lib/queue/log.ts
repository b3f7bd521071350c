/**
 * All log records of the queue: what became of each recipient, the DSNs, what
 * operators and programs did to a message, and the faults. No record holds
 * content or a secret of a login. Records of the levels info and debug are made
 * only if the log wants that level.
 */

import {
  describeError,
  fieldsOf,
  type LogValue,
  oneOrAll,
  type WantedLog,
} from "../log.ts";
import type { DsnKind } from "../dsn/policy.ts";
import {
  type RecipientResult,
  returnTime,
  type SpoolEntry,
  type StoredEnvelope,
} from "../spool/envelope.ts";
import type { SpoolProblem } from "../spool/spool.ts";
import type { DeliveryPath } from "./job.ts";

/** The ids of a message in the queue. A message of an older spool has no others than its name. */
function idsOf({ id, origin }: StoredEnvelope): Record<string, LogValue> {
  return { id: origin?.message ?? id, relay: id };
}

/** The ids, and the addresses by which people look for a message. */
function storyOf(
  envelope: StoredEnvelope,
  recipients: StoredEnvelope["recipients"],
): Record<string, LogValue | undefined> {
  return {
    ...idsOf(envelope),
    from: envelope.from,
    recipient: oneOrAll(recipients.map(({ address }) => address)),
  };
}

// Deliveries.

/** What a log shows of a delivery besides its result. */
export interface DeliveryNote {
  /** How it went; `undefined` without a delivery. */
  readonly path?: DeliveryPath | undefined;
  /** Milliseconds from the acceptance of the message to the delivery. */
  readonly queueMs?: number | undefined;
  /** Whether the recipient is given up because the message has expired. */
  readonly isExpired: boolean;
}

/** A recipient has a result. */
export function logDelivery(
  { log, verbose }: WantedLog,
  { envelope, progress }: SpoolEntry,
  result: RecipientResult,
  note: DeliveryNote,
): void {
  const kind = KINDS[result.status];
  const isFailed = kind === "failed";
  if (!isFailed && !verbose) return;
  const { path, queueMs, isExpired } = note;
  const answer = result.answer ??
    progress.recipients[result.index]?.answer;
  const text = answer?.text ?? "";
  const recipient = envelope.recipients[result.index]!.address;
  const nextAt = kind === "deferred"
    ? new Date(result.nextTryAt).toISOString()
    : undefined;
  const until = nextAt === undefined ? "" : `, next try at ${nextAt}`;
  log({
    level: isFailed ? "warn" : "info",
    event: "delivery",
    message: `${WORDS[kind]} ${recipient}${until}${
      isExpired ? ", expired" : ""
    }${text === "" ? "" : `: ${text}`}`,
    session: envelope.origin?.session,
    fields: fieldsOf({
      ...idsOf(envelope),
      about: envelope.origin?.about,
      from: envelope.from,
      recipient,
      result: kind,
      status: isExpired ? expiredStatus(envelope) : answer?.status,
      reply: answer?.isReply ? text : undefined,
      reason: isExpired
        ? "expired"
        : answer?.isReply
        ? undefined
        : text || undefined,
      host: path?.host ?? answer?.remoteMta,
      address: path?.address,
      tls: path?.tls,
      verified: path?.verified,
      remoteId: answer?.isReply && !isFailed && kind !== "deferred"
        ? remoteIdOf(text)
        : undefined,
      attempt: result.attempts,
      delays: delaysOf(path, queueMs),
      nextAt,
    }),
  });
}

/** The status of a recipient that is given up: BY asked for it, or the lifetime is over. */
function expiredStatus(envelope: StoredEnvelope): string {
  return returnTime(envelope) < Infinity ? "5.4.7" : "4.4.7";
}

/** The results in a record, by the status of the recipient. */
const KINDS = {
  "pending": "deferred",
  "relayed": "relayed",
  "passed-on": "delivered",
  "delivered": "delivered",
  "failed": "failed",
} as const;

const WORDS = {
  deferred: "Deferred",
  relayed: "Relayed to",
  delivered: "Delivered to",
  failed: "Failed for",
} as const;

function delaysOf(
  { delays }: DeliveryPath = {},
  queueMs: number | undefined,
): Readonly<Record<string, number>> | undefined {
  if (queueMs === undefined) return undefined;
  const { dns = 0, connect = 0, transfer = 0 } = delays ?? {};
  return {
    queue: Math.max(0, Math.round(queueMs)),
    dns: Math.round(dns),
    connect: Math.round(connect),
    transfer: Math.round(transfer),
  };
}

/** Where servers put the name of the message in their 250, the surest first. */
const REMOTE_IDS: readonly RegExp[] = [
  // Postfix, Amavis and many more.
  /\bqueued as:? ?<?([\w.+-]+)/i,
  // This server.
  /\baccepted as ([\w.-]+)/i,
  // Exim.
  /\bid=([\w.-]+)/,
  // Exchange.
  /\bInternalId=(\d+)/i,
  // Sendmail.
  /([\w.]+) Message accepted for delivery/i,
  // Google.
  /([\w.-]+) - gsmtp$/,
  // qmail.
  /\bqp (\d+)$/,
];

/** Longest name of a message on another server, in characters. */
const LONGEST_ID = 100;

/** The message's name on the other server, if its reply has one. */
function remoteIdOf(reply: string): string | undefined {
  for (const pattern of REMOTE_IDS) {
    const found = pattern.exec(reply)?.[1];
    if (found !== undefined) return found.slice(0, LONGEST_ID);
  }
  return undefined;
}

// DSNs.

/** A DSN is in the queue. */
export function logDsn(
  { log, verbose }: WantedLog,
  { envelope }: SpoolEntry,
  dsn: {
    readonly kind: DsnKind | "lost";
    readonly notice: StoredEnvelope;
    /** The recipients that it is about. */
    readonly indices: readonly number[];
  },
): void {
  if (!verbose) return;
  const isBounce = dsn.kind === "failed" || dsn.kind === "lost";
  log({
    level: "info",
    event: isBounce ? "bounce" : "notice",
    message: `Told the sender: ${dsn.kind}`,
    session: envelope.origin?.session,
    fields: fieldsOf({
      ...storyOf(envelope, dsn.indices.map((at) => envelope.recipients[at]!)),
      to: envelope.from,
      kind: dsn.kind,
      notice: dsn.notice.id,
      size: dsn.notice.size,
    }),
  });
}

/** A DSN was refused for its content, and a smaller one is in the queue. */
export function logSmallerDsn(
  { log, verbose }: WantedLog,
  { envelope }: SpoolEntry,
  notice: StoredEnvelope,
): void {
  if (!verbose) return;
  log({
    level: "info",
    event: "bounce",
    message: "A notice was refused; it goes again with less in it",
    session: envelope.origin?.session,
    fields: fieldsOf({
      ...storyOf(envelope, envelope.recipients),
      to: envelope.recipients[0]!.address,
      kind: "failed",
      notice: notice.id,
      size: notice.size,
    }),
  });
}

// Messages.

/** The party that did something to a message. */
export type Actor = "operator" | "program" | "queue";

/** A message was held, released or removed. The queue itself removes those that are done. */
export function logAction(
  { log, verbose, debug }: WantedLog,
  { envelope }: SpoolEntry,
  action: {
    readonly event: "removed" | "held" | "released";
    readonly by: Actor;
  },
): void {
  const { event, by } = action;
  // The end of each message that is done is no news.
  const level = by === "queue" ? "debug" : "info";
  if (!(level === "debug" ? debug : verbose)) return;
  log({
    level,
    event,
    message: `${ACTIONS[event]} the queue's message ${envelope.id}`,
    session: envelope.origin?.session,
    fields: fieldsOf({ ...storyOf(envelope, envelope.recipients), by }),
  });
}

const ACTIONS = {
  removed: "Removed",
  held: "Held",
  released: "Released",
} as const;

// Faults.

/** The spool had a problem when it was opened. */
export function logProblem(
  { log }: WantedLog,
  { name, reason }: SpoolProblem,
): void {
  log({
    level: "warn",
    event: "warning",
    message: `Spool: ${reason}`,
    fields: { name },
  });
}

/** A delivery has thrown an error of the network. */
export function logUnreachable(
  { log }: WantedLog,
  reason: string,
  { envelope }: SpoolEntry,
): void {
  log({
    level: "warn",
    event: "warning",
    message: `A delivery did not reach its destination: ${reason}`,
    session: envelope.origin?.session,
    fields: idsOf(envelope),
  });
}

/**
 * Something has failed.
 *
 * @param message A sentence that says what
 * @param entry The message that it concerns
 */
export function logFault(
  { log }: WantedLog,
  message: string,
  error: unknown,
  entry?: SpoolEntry,
): void {
  log({
    level: "error",
    event: "error",
    message,
    session: entry?.envelope.origin?.session,
    ...(entry === undefined ? {} : { fields: idsOf(entry.envelope) }),
    error: describeError(error),
  });
}
