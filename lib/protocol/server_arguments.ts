/**
 * What the server makes of a command's argument: a question to be decided on,
 * or the reply that refuses it. Form only: order is in `server_states.ts`,
 * policy is the handlers'.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | RFC 5321 section 4.1.2}
 */

import { type Address, parsePath } from "./address.ts";
import { skipBlanks } from "./command.ts";
import type { Capabilities } from "./capabilities.ts";
import type { Envelope } from "./envelope.ts";
import {
  type MailParameters,
  parseMailParameters,
  parseRcptParameters,
  type RcptParameters,
} from "./parameters.ts";
import { replies } from "./replies.ts";
import { SmtpReply } from "./reply.ts";

/** Longest HELO name that is kept (RFC 5321 section 4.5.3.1.2). */
const MAX_NAME = 255;

/** The replies to a greeting without a name. */
const WANT_NAME = {
  HELO: replies.wantHelo,
  EHLO: replies.wantEhlo,
  LHLO: replies.wantLhlo,
} as const;

/** No parameters, for senders and recipients that were seen without. */
const NONE: MailParameters & RcptParameters = Object.freeze({});

/** An address with its parameters, ready to be decided on. */
export interface Sender {
  /** The reverse-path. */
  readonly address: Address;
  /** What came with it. */
  readonly parameters: MailParameters;
}

/** A recipient with its parameters, ready to be decided on. */
export interface Candidate {
  /** The forward-path. */
  readonly address: Address;
  /** What came with it. */
  readonly parameters: RcptParameters;
}

/**
 * Checks the name behind HELO, EHLO or LHLO: one word of printable characters.
 * Real clients send names that are no domain, so what it means is left to the
 * handler.
 */
export function checkName(
  verb: "HELO" | "EHLO" | "LHLO",
  argument: string,
): SmtpReply | undefined {
  if (argument === "") return WANT_NAME[verb];
  if (argument.length > MAX_NAME) return replies.nameTooLong;
  return /[ \t]/.test(argument) ? replies.nameWithBlank : undefined;
}

/** Checks the argument of MAIL. */
export function checkMail(
  argument: string,
  offer: { readonly capabilities: Capabilities; readonly maxSize: number },
): Sender | SmtpReply {
  const { senders, mailRules: rules } = offer.capabilities;
  const known = senders.find(argument);
  if (known !== undefined) return { address: known, parameters: NONE };
  const start = pathStart(argument, /^FROM:/i);
  if (start < 0 || start === argument.length) return replies.wantFrom;
  const path = parsePath(argument, start, {
    kind: "reverse",
    utf8: rules.smtpUtf8,
  });
  if ("error" in path) return badPath(path, 1);
  const result = parseMailParameters(argument.slice(path.end), rules);
  if ("reply" in result) return result.reply;
  const { parameters } = result;
  if (!path.address.isAscii && parameters.smtpUtf8 !== true) {
    return replies.needSmtpUtf8;
  }
  if (offer.maxSize > 0 && (parameters.size ?? 0) > offer.maxSize) {
    return replies.tooLarge;
  }
  if (path.end === argument.length) senders.keep(argument, path.address);
  return { address: path.address, parameters };
}

/** Checks the argument of RCPT. */
export function checkRcpt(
  argument: string,
  context: { readonly capabilities: Capabilities; readonly envelope: Envelope },
): Candidate | SmtpReply {
  const { recipients } = context.capabilities;
  const known = recipients.find(argument);
  if (known !== undefined) return { address: known, parameters: NONE };
  const start = pathStart(argument, /^TO:/i);
  if (start < 0 || start === argument.length) return replies.wantTo;
  const utf8 = context.envelope.parameters.smtpUtf8 === true;
  const path = parsePath(argument, start, { kind: "forward", utf8 });
  if ("error" in path) return badPath(path, 3);
  const result = parseRcptParameters(argument.slice(path.end), {
    dsn: context.capabilities.has("DSN"),
    utf8,
  });
  if ("reply" in result) return result.reply;
  // An address in UTF-8 is not taken in the next transaction, perhaps.
  if (path.end === argument.length && path.address.isAscii) {
    recipients.keep(argument, path.address);
  }
  return { address: path.address, parameters: result.parameters };
}

/** Checks the argument of AUTH: a mechanism, and perhaps an initial response. */
export function checkAuth(
  argument: string,
):
  | { readonly mechanism: string; readonly initial: string | undefined }
  | SmtpReply {
  const match = /^([A-Za-z0-9_-]{1,20})(?:[ \t]+(\S+))?$/.exec(argument);
  if (match === null) return replies.badArgument;
  return { mechanism: match[1]!.toUpperCase(), initial: match[2] };
}

/**
 * Where the path begins behind `FROM:` or `TO:`, -1 without that. Blanks and
 * tabs between are not RFC 5321, but sent by so many that every server takes them.
 */
function pathStart(argument: string, keyword: RegExp): number {
  const found = keyword.exec(argument);
  return found === null ? -1 : skipBlanks(argument, found[0].length);
}

/** The reply to an address that cannot be read: 5.1.7 for a sender, 5.1.3 for a recipient. */
function badPath(
  path: { readonly error: string; readonly utf8?: true },
  detail: 1 | 3,
): SmtpReply {
  if (path.utf8) return replies.needSmtpUtf8;
  return new SmtpReply(501, path.error, {
    enhanced: detail === 1 ? "5.1.7" : "5.1.3",
  });
}
