/**
 * Joins the queue to the delivery: a job of the one becomes a job of the other,
 * and the report goes back. Decides nothing about replies or hosts.
 */

import { describeError, type Logger } from "../log.ts";
import type {
  DeliveryJob,
  DeliveryReport,
  RecipientReport,
} from "../queue/delivery_job.ts";
import { SpoolError } from "../spool/spool.ts";
import type { Delivery } from "./delivery.ts";
import type { RecipientReport as HostReport, RelayJob } from "./job.ts";

/** The delivery's form of a job. */
export function relayJob(job: DeliveryJob): RelayJob {
  const { smarthost, security } = job.route;
  return {
    from: job.from,
    parameters: job.parameters,
    recipients: job.recipients,
    // With a smarthost of whatever kind it is not looked at.
    domain: job.destination,
    size: job.size,
    open: () => job.content(),
    smarthosts: smarthost && [smarthost],
    security,
    login: job.login,
    isUrged: job.isUrged,
    onHost: job.onHost && ((address) => job.onHost!(address)),
    // A session is done with a message that may have to be tried again: the
    // queue knows when it is done for good.
    onProgress: (state) => {
      if (state !== "done") job.onState(state);
    },
  };
}

/** Options of {@linkcode deliverJob}. */
export interface DeliverJobOptions {
  /** Ends the delivery. */
  readonly signal: AbortSignal;
  /** Takes the record of a fault of this side. */
  readonly log: Logger;
  /** Is shown the delivery's form of the job before it begins. */
  readonly onJob?: ((job: RelayJob) => void) | undefined;
}

/** Delivers a job of the queue to the hosts of its destination. */
export async function deliverJob(
  delivery: Delivery,
  job: DeliveryJob,
  options: DeliverJobOptions,
): Promise<DeliveryReport> {
  const wanted = relayJob(job);
  options.onJob?.(wanted);
  const report = await delivery.deliver(wanted, options.signal);
  const { error } = report;
  // The queue knows what damage means, as long as no host has the message.
  const isKept = report.recipients.every(({ status }) => status === "deferred");
  if (error instanceof SpoolError && error.isDamaged && isKept) throw error;
  if (error !== undefined) {
    options.log({
      level: "error",
      event: "error",
      message: `Cannot deliver message ${job.id}: its content failed`,
      fields: { id: job.id },
      error: describeError(error),
    });
  }
  return {
    recipients: report.recipients.map(recipientReport),
    destinationFailed: report.hostFailure,
  };
}

/** Words of this side must not stand in a notice as if a host had said them. */
function recipientReport(report: HostReport): RecipientReport {
  const { status, reply, fromPeer, remoteMta, dsnPassedOn } = report;
  const common = { status, remoteMta, dsnPassedOn };
  return fromPeer ? { ...common, reply } : {
    ...common,
    reason: reply.lines.join(" "),
    enhanced: reply.enhanced,
  };
}
