/**
 * What a failure means: try the next host, try again later, or give up. The
 * one page of policy of the sending side, and pure.
 *
 * The rules, by what failed:
 *
 * | failed | soft, more hosts | soft, last host | hard, more hosts | hard, last host |
 * |---|---|---|---|---|
 * | connection, TLS, session (no word of the server) | next | defer | - | - |
 * | greeting | next | defer | next | defer; 521 bounce |
 * | EHLO | next | defer | next | bounce |
 * | TLS or log-in wanted and not to be had | next | defer | next | defer |
 * | MAIL, RCPT, DATA | next | defer | bounce | bounce |
 * | the content, before its last byte | next | defer | bounce | bounce |
 * | the end of the content: a reply | next | defer | bounce | bounce |
 * | the end of the content: no reply | defer | defer | - | - |
 *
 * A refusal of how we came is none of the message: no TLS, no log-in (530, 538,
 * 5.7.10, 5.7.11), or a smarthost, which is the same for all mail, that refuses
 * the greeting or EHLO. It counts as soft, and as a failure of the host. A
 * greeting that refuses is about this client, too: 521 alone says that the host
 * never takes mail (RFC 7504 section 3).
 *
 * A log-in that is refused for good is deferred: a person put a wrong secret
 * there, and all mail would come back. When the end of the content gets no
 * reply, the server may have the message; another host would deliver it twice.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1 | RFC 5321 section 4.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc1047 | RFC 1047}
 */

import type { Failure } from "../client/error.ts";

/** What to do about a failure. */
export type Verdict = "next" | "defer" | "bounce";

/** Whether a failure is of the host rather than of the message: other messages would fail, too. */
export function isHostFailure(failure: Failure): boolean {
  if (refusesManner(failure)) return true;
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

/** Codes and statuses that ask for TLS or a log-in first (RFC 4954 section 6, RFC 3207 section 4, RFC 5248). */
const MANNER_CODES: ReadonlySet<number> = new Set([523, 524, 530, 538]);
const MANNER_STATUS: ReadonlySet<string> = new Set(["5.7.10", "5.7.11"]);

/** Whether a host refuses not the message but how we came: without TLS, or without a log-in. */
export function refusesManner({ reply, fromPeer }: Failure): boolean {
  return fromPeer && (MANNER_CODES.has(reply.code) ||
    (reply.code >= 500 && MANNER_STATUS.has(reply.enhanced ?? "")));
}

/**
 * What to do about a failure.
 *
 * @param failure The failure
 * @param options Whether there is another host to try, and whether a person named the host
 */
export function judgeFailure(
  failure: Failure,
  options: {
    /** Whether there is another host to try. */
    moreHosts: boolean;
    /**
     * Whether the host is a smarthost: what it says before MAIL is about this
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
function isSoft(failure: Failure): boolean {
  const { stage, reply } = failure;
  if (refusesManner(failure)) return true;
  if (reply.isTemporary || reply.isPositive) return true;
  const { code, enhanced } = reply;
  return stage === "rcpt" && code === 552 &&
    (enhanced === undefined || enhanced === "5.5.3");
}

/**
 * Whether a failure on a session that has carried messages before may be the
 * end of that session, and no word about this message: another session will
 * tell. Content was not complete, so nothing is delivered twice.
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
