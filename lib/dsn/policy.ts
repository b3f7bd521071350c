/**
 * Decides which DSNs the sender of a message gets, by the progress of the
 * message. Knows NOTIFY and the null reverse-path, and nothing about the form of
 * a DSN. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-4.1 | RFC 3461 sections 4.1}
 * and {@link https://www.rfc-editor.org/rfc/rfc3461#section-5.2 | 5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2852#section-4.1 | RFC 2852 section 4.1}
 */

import {
  type EnvelopeRecipient,
  noticeTime,
  type RecipientProgress,
  type SpoolEntry,
} from "../spool/envelope.ts";

/** The event that a DSN reports. */
export type DsnKind = "failed" | "delayed" | "succeeded";

/** Recipients whose final status has not been reported yet, as indexes of the envelope. */
export interface OpenReports {
  /** All that failed: the program gets these. */
  readonly failed: readonly number[];
  /** Failed, and NOTIFY permits a DSN to the sender. */
  readonly toReturn: readonly number[];
  /** Delivered or relayed, and NOTIFY asks for a DSN to the sender. */
  readonly succeeded: readonly number[];
}

/** The reports that the program and the sender have not got yet. */
export function openReports(entry: SpoolEntry): OpenReports {
  const failed: number[] = [];
  const toReturn: number[] = [];
  const succeeded: number[] = [];
  for (const [index, one] of entry.progress.recipients.entries()) {
    if (one.status === "failed" && !one.reported) failed.push(index);
  }
  eachRecipient(entry, (recipient, progress, index) => {
    if (progress.reported) return;
    if (progress.status === "failed") {
      if (wants(recipient, "FAILURE")) toReturn.push(index);
    } else if (
      progress.status === "relayed" || progress.status === "delivered"
    ) {
      // BY asks for it (RFC 2852 section 4.1.4).
      const isTraced = progress.status === "relayed" &&
        entry.envelope.parameters.by !== undefined && mayHear(recipient);
      if (isTraced || wants(recipient, "SUCCESS")) succeeded.push(index);
    }
  });
  return { failed, toReturn, succeeded };
}

/** Whether the program or the sender has not got a report yet. */
export function hasOpenReports(entry: SpoolEntry): boolean {
  const { failed, succeeded } = openReports(entry);
  return failed.length > 0 || succeeded.length > 0;
}

/**
 * Recipients for a delay DSN: tried at least once, and NOTIFY permits it.
 *
 * @param isStuck Whether recipients without an attempt count, too: their
 * destination did not answer when others were tried
 */
export function delayedRecipients(
  entry: SpoolEntry,
  isStuck: boolean,
): readonly number[] {
  const delayed: number[] = [];
  // BY asks for a notice, whatever was tried (RFC 2852 section 4.1.3).
  const isPromised = noticeTime(entry.envelope) !== undefined;
  eachRecipient(entry, (recipient, progress, index) => {
    const { status, attempts } = progress;
    const isLate = isStuck || isPromised || attempts > 0;
    if (status !== "pending" || !isLate) return;
    const isDue = isPromised ? mayHear(recipient) : wants(recipient, "DELAY");
    if (isDue) delayed.push(index);
  });
  return delayed;
}

function eachRecipient(
  entry: SpoolEntry,
  action: (
    recipient: EnvelopeRecipient,
    progress: RecipientProgress,
    index: number,
  ) => void,
): void {
  // No DSN about a DSN: two hosts would send each other reports without end (RFC
  // 5321 section 6.1).
  if (entry.envelope.from === "") return;
  for (const [index, recipient] of entry.envelope.recipients.entries()) {
    action(recipient, entry.progress.recipients[index]!, index);
  }
}

/** Whether NOTIFY permits any DSN. */
function mayHear({ parameters }: EnvelopeRecipient): boolean {
  return parameters.notify?.includes("NEVER") !== true;
}

/** Whether NOTIFY permits a DSN of this kind; without NOTIFY, all but success. */
function wants(
  recipient: EnvelopeRecipient,
  what: "SUCCESS" | "FAILURE" | "DELAY",
): boolean {
  const { notify } = recipient.parameters;
  return notify === undefined ? what !== "SUCCESS" : notify.includes(what);
}
