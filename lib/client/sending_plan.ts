/**
 * Plans how one message goes to one server: its parameters, its framing, whether
 * its content must be converted, or why it cannot be sent. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1870 | RFC 1870},
 * {@link https://www.rfc-editor.org/rfc/rfc6152 | RFC 6152},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-3.2 | RFC 6531 section 3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-5 | RFC 3461 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030},
 * {@link https://www.rfc-editor.org/rfc/rfc2852#section-4.1.4 | RFC 2852 section 4.1.4},
 * {@link https://www.rfc-editor.org/rfc/rfc4865 | RFC 4865},
 * {@link https://www.rfc-editor.org/rfc/rfc8689#section-4.2.1 | RFC 8689 section 4.2.1}
 */

import type {
  ClientCapabilities,
  ClientLimits,
} from "../protocol/client/capabilities.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import { SmtpReply } from "../protocol/reply.ts";

/** Content up to this size may go in one flight with its envelope, in bytes. */
const MAX_EAGER = 65536;

/** The facts about a message. Those about its content are `undefined` if it was not measured. */
export interface MessageFacts {
  /** The parameters of MAIL. */
  readonly parameters: MailParameters;
  /** Whether all addresses are ASCII after their domains have been written with A-labels. */
  readonly asciiAddresses: boolean;
  /** Bytes of the content, if known. */
  readonly size: number | undefined;
  /** Whether all bytes are below 128. */
  readonly isAscii: boolean | undefined;
  /** Whether all bytes of the header are below 128. */
  readonly headerIsAscii: boolean | undefined;
  /** Whether a line has over 998 bytes. */
  readonly hasLongLines: boolean | undefined;
  /** Whether the content has been converted already: it is not converted again. */
  readonly isConverted: boolean;
}

/** The facts about a session. */
export interface SessionFacts {
  /** The extensions and limits of the server. */
  readonly capabilities: ClientCapabilities;
  /** Whether the session is encrypted. */
  readonly isEncrypted: boolean;
  /** Whether content may go before the replies to its envelope. */
  readonly mayBeEager: boolean;
  /** Whether long lines are encoded. */
  readonly encodesLongLines: boolean;
}

/** The plan for a message that can be sent. */
export interface SendingPlan {
  /** The parameters of MAIL that this server knows. */
  readonly parameters: MailParameters;
  /** Whether NOTIFY and ORCPT may be passed on. */
  readonly dsn: boolean;
  readonly framing: "data" | "bdat" | "binary";
  /** Whether the content goes before the replies to its envelope. */
  readonly eager: boolean;
}

/** The result of {@linkcode planSending}. */
export type Planned =
  | {
    readonly kind: "send";
    readonly plan: SendingPlan;
  }
  | {
    /** The content must be converted first; then plan again. */
    readonly kind: "convert";
    /** Whether it must be made 7-bit. */
    readonly to7Bit: boolean;
    /** Whether its long lines must be encoded. */
    readonly shortLines: boolean;
  }
  | {
    /** The message cannot be sent to this server. */
    readonly kind: "refuse";
    /** The reason. */
    readonly reply: SmtpReply;
  };

export function planSending(
  message: MessageFacts,
  session: SessionFacts,
): Planned {
  const { capabilities } = session;
  const refusal = refuseSize(message, capabilities) ??
    refuseUtf8(message, capabilities) ??
    refuseTimes(message.parameters, capabilities) ??
    refuseTls(message.parameters, session);
  if (refusal) return { kind: "refuse", reply: refusal };
  const binary = message.parameters.body === "BINARYMIME";
  const to7Bit = binary
    ? !capabilities.has("BINARYMIME") || !capabilities.has("CHUNKING")
    : needs8Bit(message) && !capabilities.has("8BITMIME");
  const shortLines = session.encodesLongLines &&
    message.hasLongLines === true &&
    (!binary || to7Bit);
  if ((to7Bit || shortLines) && !message.isConverted) {
    return { kind: "convert", to7Bit, shortLines };
  }
  const eager = !binary && session.mayBeEager &&
    capabilities.has("PIPELINING") && capabilities.has("CHUNKING") &&
    message.size !== undefined && message.size <= MAX_EAGER;
  return {
    kind: "send",
    plan: {
      parameters: mailParameters(message, capabilities),
      dsn: capabilities.has("DSN"),
      framing: binary ? "binary" : eager ? "bdat" : "data",
      eager,
    },
  };
}

/**
 * The recipients that fit into one transaction, as indexes (RFC 9422 section 4).
 *
 * @param domains The domain of each recipient
 * @param limits The server's limits
 */
export function fittingRecipients(
  domains: readonly string[],
  limits: ClientLimits,
): number[] {
  const { rcptMax, rcptDomainMax } = limits;
  const seen = new Set<string>();
  const fitting: number[] = [];
  for (const [index, domain] of domains.entries()) {
    if (fitting.length >= rcptMax) break;
    const name = domain.toLowerCase();
    if (!seen.has(name) && seen.size >= rcptDomainMax) continue;
    seen.add(name);
    fitting.push(index);
  }
  return fitting;
}

/** The parameters of RCPT that the server knows. */
export function rcptParameters(
  parameters: RcptParameters,
  plan: SendingPlan,
): RcptParameters {
  return plan.dsn ? parameters : {};
}

/**
 * Whether content must be measured because of what the server offers. The plan
 * must not depend on whether the content is in memory or a stream.
 */
export function needsFacts(
  parameters: MailParameters,
  { capabilities, encodesLongLines }: SessionFacts,
): boolean {
  const { body, smtpUtf8 } = parameters;
  return encodesLongLines || !capabilities.has("8BITMIME") ||
    (smtpUtf8 === true && !capabilities.has("SMTPUTF8")) ||
    (body === "BINARYMIME" &&
      !(capabilities.has("BINARYMIME") && capabilities.has("CHUNKING")));
}

/** Whether the content has, or may have, bytes above 127. */
function needs8Bit({ parameters, isAscii }: MessageFacts): boolean {
  return isAscii === undefined ? parameters.body !== "7BIT" : !isAscii;
}

function needsUtf8(message: MessageFacts): boolean {
  if (!message.asciiAddresses) return true;
  // Some senders use SMTPUTF8 for messages that do not need it: if the header
  // was measured, its bytes decide.
  return message.parameters.smtpUtf8 === true && message.headerIsAscii !== true;
}

function mailParameters(
  message: MessageFacts,
  capabilities: ClientCapabilities,
): MailParameters {
  const { body, ret, envid, auth } = message.parameters;
  const { holdFor, holdUntil, by, requireTls } = message.parameters;
  const { size } = message;
  const dsn = capabilities.has("DSN");
  // Content that was not measured counts as 8-bit, which is true of ASCII, too.
  const kind = body === "BINARYMIME"
    ? body
    : needs8Bit(message) && capabilities.has("8BITMIME")
    ? "8BITMIME"
    : undefined;
  return {
    ...(size !== undefined && capabilities.has("SIZE") && { size }),
    ...(kind !== undefined && { body: kind }),
    ...(needsUtf8(message) && { smtpUtf8: true as const }),
    ...(dsn && ret !== undefined && { ret }),
    ...(dsn && envid !== undefined && { envid }),
    ...(auth !== undefined && capabilities.has("AUTH") && { auth }),
    ...(holdFor !== undefined && { holdFor }),
    ...(holdUntil !== undefined && { holdUntil }),
    ...(by !== undefined && capabilities.has("DELIVERBY") && { by }),
    ...(requireTls && { requireTls }),
  };
}

function refuseSize(
  { size }: MessageFacts,
  { maxSize }: ClientCapabilities,
): SmtpReply | undefined {
  if (size === undefined || maxSize === undefined || size <= maxSize) return;
  return new SmtpReply(
    552,
    `Message of ${size} bytes is larger than the ${maxSize} that the server takes`,
    { enhanced: "5.3.4" },
  );
}

function refuseUtf8(
  message: MessageFacts,
  capabilities: ClientCapabilities,
): SmtpReply | undefined {
  if (!needsUtf8(message) || capabilities.has("SMTPUTF8")) return;
  return message.asciiAddresses
    ? new SmtpReply(
      554,
      "Message has a header that is not ASCII, and the server does not take SMTPUTF8",
      { enhanced: "5.6.9" },
    )
    : new SmtpReply(
      553,
      "Message has an address that is not ASCII, and the server does not take SMTPUTF8",
      { enhanced: "5.6.7" },
    );
}

/** The reply for a message whose times the server would not keep. */
function refuseTimes(
  { holdFor, holdUntil, by }: MailParameters,
  capabilities: ClientCapabilities,
): SmtpReply | undefined {
  const holds = holdFor !== undefined || holdUntil !== undefined;
  if (holds && !capabilities.has("FUTURERELEASE")) {
    return new SmtpReply(
      554,
      "Message is to be held, and the server does not take FUTURERELEASE",
      { enhanced: "5.3.3" },
    );
  }
  // With the mode "notify" it may go to any server.
  if (by?.mode !== "return") return undefined;
  if (!capabilities.has("DELIVERBY")) {
    return new SmtpReply(
      554,
      "Message is to be delivered or returned in time, and the server does not take DELIVERBY",
      { enhanced: "5.4.7" },
    );
  }
  const least = capabilities.leastDeliverBy;
  if (by.seconds >= least) return undefined;
  return new SmtpReply(
    554,
    `Message is to be delivered in ${by.seconds} seconds, and the server needs ${least} at least`,
    { enhanced: "5.4.7" },
  );
}

/** The reply for a message that needs TLS all its way, if the server does not see to it. */
function refuseTls(
  { requireTls }: MailParameters,
  { capabilities, isEncrypted }: SessionFacts,
): SmtpReply | undefined {
  if (!requireTls || isEncrypted && capabilities.has("REQUIRETLS")) return;
  return isEncrypted
    ? new SmtpReply(
      550,
      "REQUIRETLS support required: the server does not offer it",
      { enhanced: "5.7.30" },
    )
    : new SmtpReply(550, "Encryption needed: the session is not encrypted", {
      enhanced: "5.7.10",
    });
}
