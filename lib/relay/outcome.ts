/**
 * What a failure means: try the next host, try again later, or give up. The
 * one page of policy of the sending side, and pure.
 *
 * The rules, by what failed:
 *
 * | failed | soft, more hosts | soft, last host | hard, more hosts | hard, last host |
 * |---|---|---|---|---|
 * | connection, TLS, session (no word of the server) | next | defer | - | - |
 * | greeting, EHLO | next | defer | next | bounce |
 * | TLS or log-in wanted and not to be had | next | defer | next | defer |
 * | MAIL, RCPT, DATA | next | defer | bounce | bounce |
 * | the content, before its last octet | next | defer | bounce | bounce |
 * | the end of the content: a reply | next | defer | bounce | bounce |
 * | the end of the content: no reply | defer | defer | - | - |
 *
 * A log-in that is refused for good is deferred: a person put a wrong secret
 * there, and all mail would come back. When the end of the content gets no
 * reply, the server may have the message; another host would deliver it twice.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1 | RFC 5321 section 4.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc1047 | RFC 1047}
 */

import type { SmtpReply } from "../protocol/reply.ts";
import type { ClientStage } from "./client_error.ts";

/** What to do about a failure. */
export type Verdict = "next" | "defer" | "bounce";

/** A failure, of a session or of one recipient. */
export interface Failure {
  /** The step that failed. */
  readonly stage: ClientStage;
  /** The reply, the server's or one of our own. */
  readonly reply: SmtpReply;
  /** Whether the reply is the server's. */
  readonly fromPeer: boolean;
  /** Whether the session broke. */
  readonly broken: boolean;
}

/** Whether a failure is of the host rather than of the message: other messages would fail, too. */
export function isHostFailure(failure: Failure): boolean {
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

/**
 * What to do about a failure.
 *
 * @param failure The failure
 * @param options Whether there is another host to try
 *
 * @example A recipient that does not exist
 * ```ts ignore
 * import { judgeFailure, SmtpReply } from "@smtp/server";
 *
 * const reply = new SmtpReply(550, "No such user", { enhanced: "5.1.1" });
 * const failure = { stage: "rcpt", reply, fromPeer: true, broken: false } as const;
 * console.assert(judgeFailure(failure, { moreHosts: true }) === "bounce");
 * ```
 */
export function judgeFailure(
  failure: Failure,
  options: {
    /** Whether there is another host to try. */
    moreHosts: boolean;
  },
): Verdict {
  const { stage } = failure;
  const soft: Verdict = options.moreHosts ? "next" : "defer";
  const hard = !failure.broken && !isSoft(failure);
  switch (stage) {
    case "greeting":
    case "hello":
      if (options.moreHosts) return "next";
      return hard ? "bounce" : "defer";
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

/**
 * Whether the server wants the remaining recipients in another transaction:
 * it took some, and has no room for more in this one.
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

/** RFC 5321 section 4.5.3.1.10: 552 to RCPT once meant "too many", and is to be read as 452. */
function isSoft({ stage, reply }: Failure): boolean {
  if (reply.isTemporary || reply.isPositive) return true;
  const { code, enhanced } = reply;
  return stage === "rcpt" && code === 552 &&
    (enhanced === undefined || enhanced === "5.5.3");
}
