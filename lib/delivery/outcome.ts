/**
 * The meaning of a failure: try the next host, try again later, or give up. All
 * of this policy of the sending side is here. Pure.
 *
 * The rules, by what failed:
 *
 * | failed | soft, more hosts | soft, last host | hard, more hosts | hard, last host |
 * |---|---|---|---|---|
 * | connection, TLS, session (without a reply) | next | defer | - | - |
 * | greeting | next | defer | next | defer; 521 bounce |
 * | EHLO | next | defer | next | bounce |
 * | TLS or login required and not possible | next | defer | next | defer |
 * | MAIL, RCPT, DATA | next | defer | bounce | bounce |
 * | the content, before its last byte | next | defer | bounce | bounce |
 * | the end of the content: a reply | next | defer | bounce | bounce |
 * | the end of the content: no reply | defer | defer | - | - |
 *
 * A host may refuse the session rather than the message: because TLS or a login
 * is missing (530, 538, 5.7.10, 5.7.11), or, as a smarthost, which is the same
 * for all mail, in its greeting or its reply to EHLO. Such a refusal is soft and
 * a failure of the host. A refusal in the greeting is about this client, too:
 * only 521 says that the host never takes mail (RFC 7504 section 3).
 *
 * A host that lacks DELIVERBY or REQUIRETLS, which a message needs, is passed
 * over; the message is returned if none has them.
 *
 * A permanent refusal of a login is deferred: the configured secret is wrong,
 * and all mail would come back. If the end of the content gets no reply, the
 * server may have the message; another host would deliver it twice.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1 | RFC 5321 section 4.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc1047 | RFC 1047}
 */

import type { SmtpClient } from "../client/client.ts";
import type { Failure, SmtpClientError } from "../client/error.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import { SmtpReply } from "../protocol/reply.ts";
import {
  type DeliveryJob,
  OVERDUE,
  type RecipientReport,
} from "../queue/job.ts";

/** The action after a failure. */
export type Verdict = "next" | "defer" | "bounce";

/** Whether the host failed rather than the message: other messages would fail, too. */
export function isHostFailure(failure: Failure): boolean {
  if (requiresTlsOrLogin(failure)) return true;
  switch (failure.stage) {
    case "mail":
    case "rcpt":
    case "data":
    case "body":
    case "dataEnd":
      return failure.broken;
    default:
      return true;
  }
}

/** Codes and statuses that require TLS or a login first (RFC 4954 section 6, RFC 3207 section 4, RFC 5248). */
const TLS_OR_LOGIN_CODES: ReadonlySet<number> = new Set([523, 524, 530, 538]);
const TLS_OR_LOGIN_STATUS: ReadonlySet<string> = new Set(["5.7.10", "5.7.11"]);

/** Whether a host refuses the session for lack of TLS or of a login, and not the message. */
export function requiresTlsOrLogin({ reply, fromPeer }: Failure): boolean {
  return fromPeer && (TLS_OR_LOGIN_CODES.has(reply.code) ||
    (reply.code >= 500 && TLS_OR_LOGIN_STATUS.has(reply.enhanced ?? "")));
}

/**
 * Decides what to do after a failure.
 *
 * @param failure The failure
 * @param options Facts about the host
 */
export function judgeFailure(
  failure: Failure,
  options: {
    /** Whether there is another host to try. */
    moreHosts: boolean;
    /**
     * Whether the host is a smarthost: its refusals before MAIL are about this
     * server, and would return all mail.
     *
     * @default {false}
     */
    smarthost?: boolean | undefined;
  },
): Verdict {
  const { stage } = failure;
  const soft: Verdict = options.moreHosts ? "next" : "defer";
  const hard = !failure.broken && !isSoft(failure);
  switch (stage) {
    case "greeting":
    case "hello": {
      if (options.moreHosts) return "next";
      const isFinal = stage === "hello" || failure.reply.code === 521;
      return hard && isFinal && options.smarthost !== true ? "bounce" : "defer";
    }
    case "mail":
    case "rcpt":
    case "data":
      return hard ? "bounce" : soft;
    case "body":
      // A refusal in the middle of the content comes with a closed connection.
      return failure.fromPeer && !isSoft(failure) ? "bounce" : soft;
    case "dataEnd":
      if (failure.broken && !failure.fromPeer) return "defer";
      return hard ? "bounce" : soft;
    default:
      return soft;
  }
}

/** The statuses of refusals made here, of a host that lacks what a message needs. */
const LACKING: ReadonlySet<string> = new Set(["5.4.7", "5.7.10", "5.7.30"]);

/** Whether a host lacks an extension that this message needs: DELIVERBY or REQUIRETLS. */
export function lacksExtension({ stage, reply, fromPeer }: Failure): boolean {
  return stage === "mail" && !fromPeer && LACKING.has(reply.enhanced ?? "");
}

/**
 * Whether the server wants the recipient in another transaction, because this
 * one has too many.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1.10 | RFC 5321 section 4.5.3.1.10}
 */
export function isTooManyRecipients(failure: Failure): boolean {
  const { stage, reply, broken } = failure;
  if (stage !== "rcpt" || broken) return false;
  if (reply.code === 452) {
    return reply.enhanced === undefined || reply.enhanced === "4.5.3";
  }
  return reply.code === 552 && isSoft(failure);
}

/** Whether a failure is temporary. 552 to RCPT once meant "too many" and counts as 452 (RFC 5321 section 4.5.3.1.10). */
function isSoft(failure: Failure): boolean {
  const { stage, reply } = failure;
  if (requiresTlsOrLogin(failure)) return true;
  if (reply.isTemporary || reply.isPositive) return true;
  const { code, enhanced } = reply;
  return stage === "rcpt" && code === 552 &&
    (enhanced === undefined || enhanced === "5.5.3");
}

/**
 * Whether a failure on a session that has carried messages before may mean the
 * end of that session rather than a refusal of this message. The message is sent
 * again on a new session; its content was not complete, so it arrives once.
 */
export function mayEndSession(failure: Failure): boolean {
  const { stage, broken, fromPeer } = failure;
  switch (stage) {
    case "reset":
    case "mail":
      return broken || fromPeer;
    case "rcpt":
    case "data":
      return broken;
    default:
      return false;
  }
}

// Replies that this side gives in place of a host.

export const STOPPED: SmtpReply = new SmtpReply(451, "Delivery was stopped", {
  enhanced: "4.3.2",
});
/** Stands where the `delivery` timeout has passed. */
export const LATE: SmtpReply = new SmtpReply(451, "The hosts took too long", {
  enhanced: "4.4.7",
});
/** Stands where the queue ended the job because no host had answered for too long. */
export const SILENT: SmtpReply = new SmtpReply(451, OVERDUE.reason, {
  enhanced: OVERDUE.enhanced,
});
/** Stands where the content cannot be read. */
export const UNREADABLE: SmtpReply = new SmtpReply(
  451,
  "Cannot read the message",
  {
    enhanced: "4.3.0",
  },
);

/** Stands where a host cannot carry a message that needs TLS all its way. */
export function noRequireTls(reason: string): SmtpReply {
  return new SmtpReply(550, `REQUIRETLS support required: ${reason}`, {
    enhanced: "5.7.30",
  });
}

/** The facts of a job about its TLS. */
type TlsNeeds = Pick<DeliveryJob, "from" | "parameters">;

/**
 * Whether a message must not go without TLS. A notice has a null sender and is lost
 * if it cannot go: it takes the best that its way has (RFC 8689 sections 4.2.1 and 5).
 */
export function needsTls({ from, parameters }: TlsNeeds): boolean {
  return parameters.requireTls === true && !from.isNull;
}

/** The parameters for a session: a notice goes without REQUIRETLS where that is not to be had. */
export function parametersFor(
  job: TlsNeeds,
  { tls, capabilities }: Pick<SmtpClient, "tls" | "capabilities">,
): MailParameters {
  const { requireTls, ...others } = job.parameters;
  const isToBeHad = tls !== undefined && capabilities.has("REQUIRETLS");
  return requireTls && !isToBeHad && !needsTls(job) ? others : job.parameters;
}

/** The failure of a session that did not begin. A host without TLS lacks what a message with REQUIRETLS needs. */
export function connectFailure(
  { stage, reply, fromPeer }: SmtpClientError,
  job: TlsNeeds,
): Failure {
  if (!needsTls(job) || stage !== "startTls" || reply.enhanced !== "4.7.4") {
    return { stage, reply, fromPeer, broken: !fromPeer };
  }
  const lacking = new SmtpReply(
    550,
    `Encryption needed: ${reply.lines.join(" ")}`,
    { enhanced: "5.7.10" },
  );
  return { stage: "mail", reply: lacking, fromPeer: false, broken: false };
}

/** Whether a report counts against the destination: a host's reply, or a temporary failure found here. */
export function blamesHost(
  { fromPeer = false, status }: RecipientReport,
): boolean {
  return fromPeer || status === "deferred";
}
