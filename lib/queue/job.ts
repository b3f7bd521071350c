/**
 * What passes between the queue and whoever delivers: a job for one
 * destination, and the report of it. The queue knows nothing of sockets, the
 * delivery nothing of schedules; this is all they share.
 */

import type { ClientProgress } from "../client/options.ts";
import type { Login } from "../client/next_hop.ts";
import type { Recipient } from "../protocol/envelope.ts";
import type { Address } from "../protocol/address.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type { RelayRoute } from "../spool/envelope.ts";

/**
 * Where a delivery stands: the steps of the client, before them the wait in the
 * queue and the questions to DNS. In the order of time; some may be skipped.
 */
export type DeliveryState =
  | "idle-waiting"
  | "resolving-mx"
  | "resolving-a"
  | ClientProgress;

/** One delivery: a message, and those of its recipients that go the same way. */
export interface DeliveryJob {
  /** The message's name in the queue. */
  readonly id: string;
  /** The reverse-path. */
  readonly from: Address;
  /** What came with MAIL FROM, to be passed on as far as the next hop knows it. */
  readonly parameters: MailParameters;
  /** The recipients, one at least. */
  readonly recipients: readonly Recipient[];
  /**
   * Where it goes: the recipients' domain with A-labels in lower case; with a smarthost, its
   * host and port as `"relay.example.com:587"`; or the queue's
   * `commonDestination`.
   */
  readonly destination: string;
  /** Next hop and security chosen for this message. */
  readonly route?: RelayRoute | undefined;
  /** The log-in chosen for this message. Not to be logged. */
  readonly login?: Login | undefined;
  /** Bytes of the content. */
  readonly size: number;
  /** When the message was accepted, in milliseconds since 1970. */
  readonly acceptedAt: number;
  /** Which try this is, 1 for the first. */
  readonly attempt: number;
  /** The content with CRLF line ends. Each call begins at the beginning: once a host. */
  content(): AsyncIterable<Uint8Array<ArrayBuffer>>;
  /**
   * Whether somebody has asked for this try: hosts that were found silent lately
   * are to be called all the same.
   */
  readonly isUrged?: boolean | undefined;
  /**
   * To be called at each step. Never throws. A delivery that has reached
   * `"hello"` is taken for one whose host speaks; before that, and after a second
   * without a step unless content is being sent, its slot is lent to others.
   */
  readonly onState?: ((state: DeliveryState) => void) | undefined;
  /**
   * To be called with the IP address that is called, before it is: destinations
   * that lead to one address share the slots. Never throws.
   */
  readonly onHost?: ((address: string) => void) | undefined;
}

/** How one recipient fared. */
export interface RecipientReport {
  /**
   * `"delivered"`: the next hop has taken responsibility. `"deferred"`: to be
   * tried again. `"failed"`: trying again makes no sense.
   */
  readonly status: "delivered" | "deferred" | "failed";
  /** The reply that decided it, if there was one. */
  readonly reply?: SmtpReply | undefined;
  /**
   * Whether the reply is a host's. One made here is shown and kept without its
   * code: words of this side must not stand in a notice as if a host had said them.
   *
   * @default {true}
   */
  readonly fromPeer?: boolean | undefined;
  /** In words what decided it, where it was no reply. */
  readonly reason?: string | undefined;
  /** The enhanced status code, where the reply has none or there was no reply. */
  readonly enhanced?: string | undefined;
  /** Name of the host that decided it. */
  readonly remoteMta?: string | undefined;
  /**
   * Delivered: whether the next hop knows delivery status notices and got
   * NOTIFY, so that reporting is its duty from here on (RFC 3461 section 5.2.2).
   */
  readonly dsnPassedOn?: boolean | undefined;
  /** Delivered: whether into the recipient's mailbox, and not to another hop. */
  readonly inMailbox?: boolean | undefined;
}

/** How a job ended. */
export interface DeliveryReport {
  /** One report a recipient, in the job's order. One that is missing counts as deferred. */
  readonly recipients: readonly RecipientReport[];
  /**
   * Whether the destination as a whole failed: no host of it could be reached
   * or would speak. Shrinks its window; after some time it is left in peace.
   */
  readonly destinationFailed: boolean;
  /**
   * What went wrong on this side, where that ended the job: the content could
   * not be read.
   */
  readonly error?: unknown;
}

/**
 * Delivers one job. Resolves with a report whatever the network does; what it
 * throws is taken as a fault of the program: logged, and the job deferred.
 *
 * @param job The job
 * @param signal Aborted when the queue stops or the message is removed; the
 * report is wanted soon then, and what was not delivered by then is `"deferred"`.
 * With a `TimeoutError` as its reason no host has said a word for so long that
 * others are to be let go: the destination has failed
 *
 * @example A delivery that refuses everything
 * ```ts
 * import type { Deliver } from "@smtp/server/queue";
 *
 * const refuse: Deliver = (job) =>
 *   Promise.resolve({
 *     recipients: job.recipients.map(() => ({
 *       status: "failed",
 *       reason: "No mail leaves this house",
 *       enhanced: "5.7.1",
 *     })),
 *     destinationFailed: false,
 *   });
 * console.assert(typeof refuse === "function");
 * ```
 */
export type Deliver = (
  job: DeliveryJob,
  signal: AbortSignal,
) => Promise<DeliveryReport>;

/** What a job is ended with when its hosts have said nothing for too long. */
export function overdueReason(): DOMException {
  return new DOMException("No word in time", "TimeoutError");
}

/** Whether a job was ended because its hosts have said nothing for too long. */
export function isOverdue(signal: AbortSignal | undefined): boolean {
  const reason = signal?.reason;
  return reason instanceof DOMException && reason.name === "TimeoutError";
}

/** What is reported of the recipients of such a job. */
export const OVERDUE: RecipientReport & { readonly reason: string } = {
  status: "deferred",
  reason: "No host said a word in time",
  enhanced: "4.4.1",
};
