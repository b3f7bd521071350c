/**
 * How one message goes to one server: which parameters, which framing, whether
 * its content must be converted, or why it cannot go at all. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1870 | RFC 1870},
 * {@link https://www.rfc-editor.org/rfc/rfc6152 | RFC 6152},
 * {@link https://www.rfc-editor.org/rfc/rfc6531#section-3.2 | RFC 6531 section 3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-5 | RFC 3461 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030}
 */

import type {
  ClientCapabilities,
  ClientLimits,
} from "../protocol/client/capabilities.ts";
import type { MailParameters, RcptParameters } from "../protocol/parameters.ts";
import { SmtpReply } from "../protocol/reply.ts";

/** Content up to this size may go in one flight with its envelope, in bytes. */
const MAX_EAGER = 65536;

/** What is known of a message. */
export interface MessageFacts {
  /** What came with MAIL. */
  readonly parameters: MailParameters;
  /** Whether every address, made ASCII where that is possible, is ASCII. */
  readonly asciiAddresses: boolean;
  /** Bytes of the content, where known. */
  readonly size: number | undefined;
  /** Whether all bytes are below 128, where the content was looked at. */
  readonly isAscii: boolean | undefined;
  /** Whether those of the header are, where it was looked at. */
  readonly headerIsAscii: boolean | undefined;
  /** Whether it has lines of over 998 bytes, where it was looked at. */
  readonly hasLongLines: boolean | undefined;
  /** Whether the content has been changed already: what it still holds goes as it is. */
  readonly isConverted: boolean;
}

/** What is known of the session. */
export interface SessionFacts {
  /** What the server offers. */
  readonly capabilities: ClientCapabilities;
  /** Whether content may go before its envelope is answered. */
  readonly mayBeEager: boolean;
  /** Whether long lines are encoded. */
  readonly encodesLongLines: boolean;
}

/** How the message goes. */
export interface SendingPlan {
  /** The parameters for MAIL that this server knows. */
  readonly parameters: MailParameters;
  /** Whether NOTIFY and ORCPT may be passed on. */
  readonly dsn: boolean;
  /** How the content is framed. */
  readonly framing: "data" | "bdat" | "binary";
  /** Whether the content goes before its envelope is answered. */
  readonly eager: boolean;
}

/** The outcome of planning. */
export type Planned =
  | {
    /** It goes. */
    readonly kind: "send";
    /** How. */
    readonly plan: SendingPlan;
  }
  | {
    /** The content must be changed first; then plan again. */
    readonly kind: "convert";
    /** Whether it must be made 7-bit. */
    readonly to7Bit: boolean;
    /** Whether its long lines must be encoded. */
    readonly shortLines: boolean;
  }
  | {
    /** It cannot go to this server. */
    readonly kind: "refuse";
    /** Why. */
    readonly reply: SmtpReply;
  };

/** Plans how a message goes to a server. */
export function planSending(
  message: MessageFacts,
  session: SessionFacts,
): Planned {
  const { capabilities } = session;
  const refusal = refuseSize(message, capabilities) ??
    refuseUtf8(message, capabilities);
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
 * @param limits What the server allows
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

/** The parameters of RCPT that a server knows. */
export function rcptParameters(
  parameters: RcptParameters,
  plan: SendingPlan,
): RcptParameters {
  return plan.dsn ? parameters : {};
}

/**
 * Whether what a server offers makes it necessary to look at content that came
 * without a look: what it holds must not depend on where it is held.
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
  // Senders say SMTPUTF8 for messages that could do without: where the header
  // was looked at, what stands there decides.
  return message.parameters.smtpUtf8 === true && message.headerIsAscii !== true;
}

function mailParameters(
  message: MessageFacts,
  capabilities: ClientCapabilities,
): MailParameters {
  const { body, ret, envid, auth } = message.parameters;
  const { size } = message;
  const dsn = capabilities.has("DSN");
  // What nobody looked at is called 8-bit: that is true of ASCII, too.
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
