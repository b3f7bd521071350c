/**
 * What a delivery report means for each recipient: done, tried again and when,
 * or given up. Pure; the one place where the schedule and the expiry meet.
 */

import type { DeliveryReport, RecipientReport } from "./delivery_job.ts";
import type { RetrySchedule } from "./schedule.ts";
import type {
  Progress,
  RecipientAnswer,
  RecipientResult,
} from "./stored_envelope.ts";

/** Characters of an answer that are kept: a screenful. */
const MAX_TEXT = 900;

/** What the decision depends on beside the report. */
export interface ResultCircumstances {
  /** When the report came, in milliseconds since 1970. */
  readonly now: number;
  /** When the message expires, in milliseconds since 1970. */
  readonly expiresAt: number;
  /** When deferred deliveries are tried again. */
  readonly schedule: RetrySchedule;
  /** Gives a number from 0 up to but not including 1. */
  readonly random: () => number;
}

/**
 * The new state of each recipient of a job.
 *
 * @param progress The message's progress before
 * @param job The indices of the job's recipients, and the report
 */
export function resultsOf(
  progress: Progress,
  job: {
    readonly indices: readonly number[];
    readonly report: DeliveryReport;
  },
  circumstances: ResultCircumstances,
): RecipientResult[] {
  const { now, expiresAt, schedule, random } = circumstances;
  const attempts = 1 + Math.max(
    0,
    ...job.indices.map((index) => progress.recipients[index]?.attempts ?? 0),
  );
  // One time for all, so that what goes the same way stays together; the last
  // try comes at the expiry, not long before it.
  const retryAt = now + schedule.delayAfter(attempts, random);
  const nextTryAt = Math.min(retryAt, Math.max(expiresAt, now + 1));
  return job.indices.map((index, at) => {
    const report = job.report.recipients[at] ?? NO_REPORT;
    const answer = answerOf(report, now);
    if (report.status === "delivered") {
      const status = deliveredStatus(report);
      return { index, status, attempts, nextTryAt: now, answer };
    }
    if (report.status === "failed" || now >= expiresAt) {
      return { index, status: "failed", attempts, nextTryAt: now, answer };
    }
    return { index, status: "pending", attempts, nextTryAt, answer };
  });
}

/** What a sender is told whose message is not whole any more. */
export const DAMAGED = "The message was damaged on the disk of this server";

const NO_REPORT: RecipientReport = {
  status: "deferred",
  reason: "The delivery did not say what became of this recipient",
};

function deliveredStatus(
  report: RecipientReport,
): "delivered" | "passed-on" | "relayed" {
  if (report.inMailbox) return "delivered";
  return report.dsnPassedOn ? "passed-on" : "relayed";
}

/** What was heard, as it is kept and shown. */
export function answerOf(
  report: RecipientReport,
  now: number,
): RecipientAnswer {
  const { reply, remoteMta } = report;
  const text = reply === undefined
    ? report.reason ?? "No reason given"
    : `${reply.code} ${reply.enhanced ? `${reply.enhanced} ` : ""}${
      reply.lines.join(" ")
    }`;
  const status = report.enhanced ?? reply?.enhanced ??
    DEFAULT_STATUS[report.status];
  return {
    at: now,
    // deno-lint-ignore no-control-regex
    text: text.replace(/[\x00-\x1f\x7f]+/g, " ").slice(0, MAX_TEXT),
    isReply: reply !== undefined,
    // What is tried again is no permanent failure, whatever a host calls it.
    status: report.status === "deferred" ? status.replace(/^5/, "4") : status,
    ...(remoteMta === undefined ? {} : { remoteMta }),
  };
}

const DEFAULT_STATUS: Readonly<Record<RecipientReport["status"], string>> = {
  delivered: "2.0.0",
  deferred: "4.0.0",
  failed: "5.0.0",
};

/** The results that give up what is still to be tried, for the age of the message. */
export function expiryResults(
  progress: Progress,
  indices: readonly number[],
  now: number,
): RecipientResult[] {
  return indices.map((index) => {
    const { attempts, answer } = progress.recipients[index]!;
    const unheard: RecipientAnswer = {
      at: now,
      text: "Delivery time expired before the destination could be tried",
      isReply: false,
      status: "4.4.7",
    };
    return {
      index,
      status: "failed",
      attempts,
      nextTryAt: now,
      answer: answer ?? unheard,
    };
  });
}

/** The results for a message whose content is lost: all that was still to be tried has failed. */
export function lossResults(
  progress: Progress,
  now: number,
): RecipientResult[] {
  const answer: RecipientAnswer = {
    at: now,
    text: DAMAGED,
    isReply: false,
    status: "5.3.0",
  };
  return progress.recipients.flatMap(({ status, attempts }, index) =>
    status === "pending"
      ? [{ index, status: "failed", attempts, nextTryAt: now, answer }]
      : []
  );
}
