/**
 * One delivery from start to end: makes the job, has it delivered, and turns the
 * report into a result for each recipient: done, tried again at a time, or given
 * up. The only place that combines the schedule and the expiry. Owns no timer
 * and no turns, and writes nothing to the spool.
 */

import { Address } from "../protocol/address.ts";
import {
  type Deliver,
  type DeliveryJob,
  type DeliveryReport,
  type DeliveryState,
  isOverdue,
  OVERDUE,
  type RecipientReport,
} from "./job.ts";
import type { WorkOutcome } from "./dispatcher.ts";
import type { QueueConfig } from "./options.ts";
import { expiresAt, type RelayGroup, type RelayTask } from "./tasks.ts";
import { RetrySchedule } from "./schedule.ts";
import { logDelivery, logFault, logUnreachable } from "./log.ts";
import { SpoolError } from "../spool/spool.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import type { DeliverBy } from "../protocol/timing.ts";
import {
  plainRoute,
  type Progress,
  type RecipientAnswer,
  type RecipientResult,
  returnTime,
  routeOf,
  type SpoolEntry,
  type StoredEnvelope,
} from "../spool/envelope.ts";

/** The inputs of a run. */
export interface JobRun {
  /** Aborts the job. */
  readonly signal: AbortSignal;
  /** Called at each step. */
  readonly onState: (state: DeliveryState) => void;
  /** Called with each address that the delivery calls. */
  readonly onHost: (address: string) => void;
}

/** The outcome of a job. */
export interface JobResult {
  /** What it says about the destination. */
  readonly outcome: WorkOutcome;
  /** The new state of each recipient that was decided; not written to the spool yet. */
  readonly results: readonly RecipientResult[];
}

const NOTHING_LEARNED: JobResult = { outcome: "unknown", results: [] };

/** Runs deliveries. */
export class JobRunner {
  readonly #config: QueueConfig;

  constructor(config: QueueConfig) {
    this.#config = config;
  }

  /** Delivers the pending recipients of a group. */
  async run(group: RelayGroup, run: JobRun): Promise<JobResult> {
    const { task } = group;
    const indices = group.pending();
    if (indices.length === 0) return NOTHING_LEARNED;
    const { clock } = this.#config;
    const now = clock.now();
    // After this time it must not be delivered any more (RFC 2852).
    if (now >= returnTime(task.entry.envelope)) {
      return this.#tooLate(task, { indices, now });
    }
    const queueMs = now - task.entry.envelope.acceptedAt;
    const report = await this.#report(group, indices, run);
    if (report === undefined || task.removed) return NOTHING_LEARNED;
    // A recipient that was undecided when the delivery was aborted has had no
    // try: its progress stays as it was, and it is due at the next start.
    const isEnded = run.signal.aborted && !isOverdue(run.signal);
    const decided = isEnded
      ? [...indices.keys()].filter((at) =>
        report.recipients[at]?.status !== "deferred"
      )
      : [...indices.keys()];
    if (decided.length === 0) return NOTHING_LEARNED;
    const results = this.#results(task, {
      indices: decided.map((at) => indices[at]!),
      report: {
        ...report,
        recipients: decided.map((at) => report.recipients[at]!),
      },
    });
    for (const [at, result] of results.entries()) {
      const own = report.recipients[decided[at]!];
      logDelivery(this.#config, task.entry, result, {
        path: own?.path,
        queueMs,
        // Given up although the host may take it later.
        isExpired: result.status === "failed" && own?.status !== "failed",
      });
    }
    return {
      outcome: report.destinationFailed ? "destination-failed" : "answered",
      results,
    };
  }

  /** The results without a delivery, for a message that would come too late. */
  #tooLate(
    task: RelayTask,
    given: { readonly indices: readonly number[]; readonly now: number },
  ): JobResult {
    const { entry } = task;
    const results = expiryResults(entry, given.indices, given.now);
    for (const result of results) {
      logDelivery(this.#config, entry, result, { isExpired: true });
    }
    return { outcome: "unknown", results };
  }

  /** The report of a delivery; `undefined` if it was aborted before it reported. */
  async #report(
    group: RelayGroup,
    indices: readonly number[],
    run: JobRun,
  ): Promise<DeliveryReport | undefined> {
    const { signal } = run;
    try {
      const job = await this.#job(group, indices, run);
      const report = wholeReport(
        await this.#config.deliver(job, signal),
        indices.length,
      );
      const { error, recipients } = report;
      if (error === undefined) return report;
      // A damaged message is returned, as long as no host has taken it.
      const isKept = recipients.every(({ status }) => status === "deferred");
      if (error instanceof SpoolError && error.isDamaged && isKept) throw error;
      const { id } = job;
      const message = `Cannot deliver message ${id}: its content failed`;
      logFault(this.#config, message, error, group.task.entry);
      return report;
    } catch (error) {
      // An abort is not a failure.
      if (signal.aborted) {
        return isOverdue(signal)
          ? {
            recipients: indices.map(() => OVERDUE),
            destinationFailed: true,
          }
          : undefined;
      }
      const reason = reasonOf(error);
      if (isNetworkError(error)) {
        logUnreachable(this.#config, reason, group.task.entry);
      } else {
        const what = "A delivery failed in an unforeseen way";
        logFault(this.#config, what, error, group.task.entry);
      }
      // Damage stays: report it now instead of trying again.
      const isDamaged = error instanceof SpoolError && error.isDamaged;
      return wholeReport(
        isDamaged
          ? { status: "failed", reason: DAMAGED, enhanced: "5.3.0" }
          : { status: "deferred", reason, enhanced: "4.3.0" },
        indices.length,
      );
    }
  }

  async #job(
    group: RelayGroup,
    indices: readonly number[],
    { onState, onHost }: JobRun,
  ): Promise<DeliveryJob> {
    const { task, destination } = group;
    const { envelope, progress } = task.entry;
    const { id, size, signed, sealed, acceptedAt, from } = envelope;
    const { options } = envelope;
    const { spool } = this.#config;
    const login = options.hasLogin ? await spool.login(id) : undefined;
    return {
      id,
      from: from === "" ? Address.NULL : Address.parse(from),
      parameters: parametersOf(envelope, this.#config.clock.now()),
      recipients: indices.map((index) => {
        const { address, parameters } = envelope.recipients[index]!;
        return { address: Address.parse(address), parameters };
      }),
      destination,
      route: plainRoute(routeOf(task.entry)),
      login,
      size,
      ...{ signed, sealed },
      acceptedAt,
      toStore: options.toStore,
      declinesTls: options.declinesTls,
      attempt: 1 + progress.recipients[indices[0]!]!.attempts,
      content: () => spool.content(id),
      isUrged: group.isUrged,
      onState,
      onHost,
    };
  }

  #results(
    task: RelayTask,
    job: {
      readonly indices: readonly number[];
      readonly report: DeliveryReport;
    },
  ): RecipientResult[] {
    const { envelope } = task.entry;
    const { clock, random, schedule, expireAfterMs } = this.#config;
    const own = envelope.options.schedule;
    return resultsOf(task.entry, job, {
      now: clock.now(),
      expiresAt: expiresAt(task, expireAfterMs),
      schedule: own === undefined ? schedule : RetrySchedule.parse(own),
      random,
    });
  }
}

/**
 * The report with one entry for each recipient.
 *
 * @throws {TypeError} If the program's function has returned something else
 */
function wholeReport(
  report: Awaited<ReturnType<Deliver>>,
  count: number,
): DeliveryReport {
  if (Array.isArray((report as Partial<DeliveryReport>)?.recipients)) {
    return report as DeliveryReport;
  }
  const { status, destinationFailed } = report as Partial<RecipientReport> & {
    readonly destinationFailed?: boolean | undefined;
  } ?? {};
  if (status === undefined || !Object.hasOwn(DEFAULT_STATUS, status)) {
    throw new TypeError(
      'Cannot use what deliver() returned: want { status: "delivered" }, or { recipients } with one of these for each',
    );
  }
  const recipients = Array<RecipientReport>(count).fill(
    report as RecipientReport,
  );
  return { recipients, destinationFailed };
}

/** A URL; its path may be a secret. */
const URL_TEXT = /\bhttps?:\/\/[^\s()"']+/g;
/** Most causes of an error that a reason names. */
const MOST_CAUSES = 3;

/** Why a delivery has thrown, in one line without paths of URLs or of this server's spool. */
function reasonOf(error: unknown): string {
  if (error instanceof SpoolError) return "Internal error; see the log";
  const texts: string[] = [];
  let one = error;
  for (let depth = 0; depth <= MOST_CAUSES && one !== undefined; depth++) {
    texts.push(one instanceof Error ? one.message || one.name : `${one}`);
    one = one instanceof Error ? one.cause : undefined;
  }
  return texts.join(": ").replace(
    URL_TEXT,
    (url) => URL.canParse(url) ? new URL(url).origin : "(a URL)",
  );
}

/** Names of the platform's errors about the network, and codes of Node's. */
const NETWORK_ERRORS: ReadonlySet<unknown> = new Set([
  ...["AddrNotAvailable", "BrokenPipe", "ConnectionAborted"],
  ...["ConnectionRefused", "ConnectionReset", "Http", "NetworkUnreachable"],
  ...["NotConnected", "SmtpClientError", "TimedOut", "TimeoutError"],
  ...["UnexpectedEof", "EAI_AGAIN", "ECONNABORTED", "ECONNREFUSED"],
  ...["ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EPIPE"],
  ...["ETIMEDOUT"],
]);

/** Whether an error says that the destination could not be reached, which is no fault of the program. */
function isNetworkError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { name, message, cause } = error;
  return NETWORK_ERRORS.has(name) ||
    NETWORK_ERRORS.has(Reflect.get(error, "code")) ||
    // What fetch() throws without a reply.
    name === "TypeError" && message === "fetch failed" && cause !== undefined;
}

/** Characters of an answer that are kept: about one screen. */
const MAX_TEXT = 900;

/** The inputs of the decision besides the report. */
interface ResultCircumstances {
  /** When the report came, in milliseconds since 1970. */
  readonly now: number;
  /** When the message expires, in milliseconds since 1970. */
  readonly expiresAt: number;
  /** The delays between tries. */
  readonly schedule: RetrySchedule;
  /** Returns a number from 0 up to but not including 1. */
  readonly random: () => number;
}

/**
 * Computes the new state of each recipient of a job.
 *
 * @param entry The message, with its progress before
 * @param job The indices of the job's recipients, and the report
 */
function resultsOf(
  { envelope, progress }: SpoolEntry,
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
  // One time for all, so that recipients of one destination stay together. The
  // last try comes at the expiry, not long before it.
  const retryAt = now + schedule.delayAfter(attempts, random);
  const nextTryAt = Math.min(retryAt, Math.max(expiresAt, now + 1));
  return job.indices.map((index, at) => {
    const report = job.report.recipients[at] ?? NO_REPORT;
    const answer = answerOf(report, now);
    if (report.status === "delivered") {
      const { parameters } = envelope.recipients[index]!;
      const status = deliveredStatus(report, {
        ...{ parameters, by: envelope.parameters.by },
        isInTime: now < (envelope.options.deliverBy ?? Infinity),
      });
      return { index, status, attempts, nextTryAt: now, answer };
    }
    if (report.status === "failed" || now >= expiresAt) {
      return { index, status: "failed", attempts, nextTryAt: now, answer };
    }
    return { index, status: "pending", attempts, nextTryAt, answer };
  });
}

/** Reason in the DSN for a damaged message. */
const DAMAGED = "The message was damaged on the disk of this server";

const NO_REPORT: RecipientReport = {
  status: "deferred",
  reason: "The delivery did not say what became of this recipient",
};

/**
 * The status of a recipient whose message has been taken. With BY, "relayed" is
 * what the sender is to hear of: from a host that does not see to the time, and
 * from each where a trace is wanted (RFC 2852 section 4.1.4).
 */
function deliveredStatus(
  report: RecipientReport,
  asked: {
    readonly parameters: RcptParameters;
    readonly by: DeliverBy | undefined;
    readonly isInTime: boolean;
  },
): "delivered" | "passed-on" | "relayed" {
  if (report.inMailbox) return "delivered";
  const { by, isInTime, parameters } = asked;
  if (by === undefined) return report.dsnPassedOn ? "passed-on" : "relayed";
  if (by.trace || isInTime && !report.deliverByPassedOn) return "relayed";
  const isOwed = parameters.notify?.includes("SUCCESS") === true;
  return report.dsnPassedOn || !isOwed ? "passed-on" : "relayed";
}

/** The parameters of MAIL for other hosts: with the time that is left, and without a hold that is over. */
function parametersOf(
  { parameters, options }: StoredEnvelope,
  now: number,
): MailParameters {
  const { holdFor: _for, holdUntil: _until, by, ...others } = parameters;
  if (by === undefined || options.deliverBy === undefined) return others;
  const left = Math.floor((options.deliverBy - now) / 1000);
  const seconds = by.mode === "return" ? Math.max(1, left) : left;
  return { ...others, by: { ...by, seconds } };
}

/** The answer as the spool stores it and the program sees it. */
function answerOf(
  report: RecipientReport,
  now: number,
): RecipientAnswer {
  const { reply, remoteMta } = report;
  const isReply = reply !== undefined && report.fromPeer !== false;
  const text = !isReply
    ? report.reason ?? reply?.lines.join(" ") ?? "No reason given"
    : `${reply.code} ${reply.enhanced ? `${reply.enhanced} ` : ""}${
      reply.lines.join(" ")
    }`;
  const status = report.enhanced ?? reply?.enhanced ??
    DEFAULT_STATUS[report.status];
  return {
    at: now,
    // deno-lint-ignore no-control-regex
    text: text.replace(/[\x00-\x1f\x7f]+/g, " ").slice(0, MAX_TEXT),
    isReply,
    // A deferred recipient has no permanent status, whatever the host sent.
    status: report.status === "deferred" ? status.replace(/^5/, "4") : status,
    ...(remoteMta === undefined ? {} : { remoteMta }),
  };
}

const DEFAULT_STATUS: Readonly<Record<RecipientReport["status"], string>> = {
  delivered: "2.0.0",
  deferred: "4.0.0",
  failed: "5.0.0",
};

/** The results that give up recipients of an expired message. */
export function expiryResults(
  { progress, envelope }: SpoolEntry,
  indices: readonly number[],
  now: number,
): RecipientResult[] {
  return indices.map((index) => {
    const { attempts, answer } = progress.recipients[index]!;
    const unheard: RecipientAnswer = {
      at: now,
      text: "Delivery time expired before the destination could be tried",
      isReply: false,
      status: now >= returnTime(envelope) ? "5.4.7" : "4.4.7",
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

/** The results for a message whose content is lost: every pending recipient fails. */
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
