/**
 * The interface between the queue and a delivery: a job for one destination, and
 * its report. The queue knows nothing of sockets, the delivery nothing of
 * schedules; these types are all they share.
 */

import type { ClientProgress } from "../client/options.ts";
import type { Login } from "../client/next_hop.ts";
import type { Recipient } from "../protocol/envelope.ts";
import type { Address } from "../protocol/address.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { RelayRoute } from "../spool/envelope.ts";

/**
 * The state of a delivery: the wait in the queue, the DNS lookups, then the
 * steps of the client. In order of time; some may be skipped.
 */
export type DeliveryState =
  | "idle-waiting"
  | "resolving-mx"
  | "resolving-a"
  | ClientProgress;

/** One delivery: a message, and those of its recipients that go to one destination. */
export interface DeliveryJob {
  /** The message's name in the queue. */
  readonly id: string;
  /** The reverse-path. */
  readonly from: Address;
  /** The parameters of MAIL FROM, passed on as far as the next hop supports them. */
  readonly parameters: MailParameters;
  /** The recipients, at least one. */
  readonly recipients: readonly Recipient[];
  /**
   * The destination: the recipients' domain with A-labels in lower case; with a
   * smarthost, its host and port as `"relay.example.com:587"`; or the queue's
   * `commonDestination`.
   */
  readonly destination: string;
  /** Next hop and security chosen for this message. */
  readonly route?: RelayRoute | undefined;
  /** The login chosen for this message. Must not be logged. */
  readonly login?: Login | undefined;
  /** Bytes of the content. */
  readonly size: number;
  /** Bytes on top of the content that are the server's own signatures. Default: none. */
  readonly signed?: number | undefined;
  /** Bytes on top of the content that are the server's seal (ARC). Default: none. */
  readonly sealed?: number | undefined;
  /** When the message was accepted, in milliseconds since 1970. */
  readonly acceptedAt: number;
  /** Whether it goes into the server's own store. Default: to other hosts. */
  readonly toStore?: boolean | undefined;
  /** Whether the message says `TLS-Required: No` (RFC 8689). Default: it does not. */
  readonly declinesTls?: boolean | undefined;
  /** Number of this try, 1 for the first. */
  readonly attempt: number;
  /** The content with CRLF line ends. Each call starts at the beginning: one call for each host. */
  content(): AsyncIterable<Uint8Array<ArrayBuffer>>;
  /**
   * Whether an operator or program asked for this try: the delivery then also
   * calls hosts that were silent recently.
   */
  readonly isUrged?: boolean | undefined;
  /**
   * The delivery calls it at each step. Never throws. From `"hello"` on the host
   * counts as one that speaks. Before that, and after a second without a step
   * unless it sends content, the delivery's slot is lent to others.
   */
  readonly onState?: ((state: DeliveryState) => void) | undefined;
  /**
   * The delivery calls it with each IP address before it calls the address:
   * destinations that lead to one address share the slots. Never throws.
   */
  readonly onHost?: ((address: string) => void) | undefined;
}

/**
 * How a delivery went to a host, for the log.
 *
 * @example Tell the log where a message went
 * ```ts
 * import type { DeliveryPath, RecipientReport } from "@smtp/server/queue";
 *
 * const path: DeliveryPath = { host: "archive", address: "192.0.2.1" };
 * const report: RecipientReport = { status: "delivered", path };
 * console.assert(report.path?.host === "archive");
 * ```
 */
export interface DeliveryPath {
  /** Name of the host. */
  readonly host?: string | undefined;
  /** Its IP address. */
  readonly address?: string | undefined;
  /** The version of TLS, as `"TLSv1.3"`; `"none"` without TLS. */
  readonly tls?: string | undefined;
  /** Whether its certificate was verified. */
  readonly verified?: boolean | undefined;
  /**
   * Milliseconds spent up to the result: on questions to the DNS, on connections
   * up to the end of TLS and login (0 on a session that was open already), and on
   * the transaction.
   */
  readonly delays?: {
    readonly dns: number;
    readonly connect: number;
    readonly transfer: number;
  } | undefined;
}

/** The result for one recipient. */
export interface RecipientReport {
  /**
   * `"delivered"`: the next hop has taken responsibility. `"deferred"`: to be
   * tried again. `"failed"`: never to be tried again.
   */
  readonly status: "delivered" | "deferred" | "failed";
  /** The reply that decided the status, if there was one. */
  readonly reply?: SmtpReply | undefined;
  /**
   * Whether the reply came from a host. A reply made on this side is shown and
   * stored without its code, so that a DSN does not present it as a host's.
   *
   * @default {true}
   */
  readonly fromPeer?: boolean | undefined;
  /** The reason in words, if no reply decided the status. */
  readonly reason?: string | undefined;
  /** The enhanced status code, if the reply has none or there was no reply. */
  readonly enhanced?: string | undefined;
  /** Name of the host that decided the status. */
  readonly remoteMta?: string | undefined;
  /**
   * For `"delivered"`: whether the next hop supports DSN and got NOTIFY, so that
   * it is responsible for reporting now (RFC 3461 section 5.2.2).
   */
  readonly dsnPassedOn?: boolean | undefined;
  /** For `"delivered"`: whether the next hop got BY, and so sees to the time of delivery (RFC 2852). */
  readonly deliverByPassedOn?: boolean | undefined;
  /** For `"delivered"`: whether the message is in the recipient's mailbox, not at another hop. */
  readonly inMailbox?: boolean | undefined;
  /** How the message went to the host that decided the status. */
  readonly path?: DeliveryPath | undefined;
}

/**
 * The result of a job.
 *
 * @example Deliver to another program
 * ```ts
 * import {
 *   type DeliveryJob,
 *   type DeliveryReport,
 *   MemorySpool,
 *   type RecipientReport,
 *   RelayQueue,
 *   type RelayQueueOptions,
 * } from "@smtp/server/queue";
 *
 * const texts: string[] = [];
 * async function deliver(job: DeliveryJob): Promise<DeliveryReport> {
 *   const { readable, writable } = new TextDecoderStream();
 *   const content = ReadableStream.from(job.content()).pipeTo(writable);
 *   texts.push((await Array.fromAsync(readable)).join(""));
 *   await content;
 *   const report: RecipientReport = { status: "delivered", inMailbox: true };
 *   return { recipients: job.recipients.map(() => report) };
 * }
 * const options: RelayQueueOptions = {
 *   hostname: "mail.example.com",
 *   spool: new MemorySpool(),
 *   deliver,
 * };
 * console.assert(new RelayQueue(options).relays.count === 0);
 * ```
 */
export interface DeliveryReport {
  /** One report for each recipient, in the job's order. A missing one counts as deferred. */
  readonly recipients: readonly RecipientReport[];
  /**
   * Whether the destination as a whole failed: no host of it could be reached or
   * spoke SMTP. Shrinks its window; repeated failures pause it.
   *
   * @default {false}
   */
  readonly destinationFailed?: boolean | undefined;
  /**
   * The error on this side that ended the job, if any: the content could not be
   * read.
   */
  readonly error?: unknown;
}

/**
 * Delivers one job. Resolves with a report for each recipient, or with one for
 * all of them. If it throws, the queue logs the error and defers all recipients;
 * the reason is the error's message with those of its causes, which a DSN shows
 * to the sender. Of URLs in it only the origin is left.
 *
 * @param job The job
 * @param signal Aborted when the queue stops or the message is removed; the
 * delivery should report soon then, with `"deferred"` for undelivered recipients.
 * With a `TimeoutError` as the reason, the hosts have been silent for so long that
 * other deliveries get the slot: report the destination as failed
 *
 * @example A delivery that rejects everything
 * ```ts
 * import type { Deliver } from "@smtp/server/queue";
 *
 * const refuse: Deliver = () =>
 *   Promise.resolve({
 *     status: "failed",
 *     reason: "No mail leaves this house",
 *     enhanced: "5.7.1",
 *   });
 * console.assert(typeof refuse === "function");
 * ```
 */
export type Deliver = (
  job: DeliveryJob,
  signal: AbortSignal,
) => Promise<
  DeliveryReport | RecipientReport & Pick<DeliveryReport, "destinationFailed">
>;

/** The abort reason of a job whose hosts have been silent for too long. */
export function overdueReason(): DOMException {
  return new DOMException("No word in time", "TimeoutError");
}

/** Whether a job was aborted because its hosts were silent for too long. */
export function isOverdue(signal: AbortSignal | undefined): boolean {
  const reason = signal?.reason;
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

/** The report for each recipient of such a job. */
export const OVERDUE: RecipientReport & { readonly reason: string } = {
  status: "deferred",
  reason: "No host said a word in time",
  enhanced: "4.4.1",
};
