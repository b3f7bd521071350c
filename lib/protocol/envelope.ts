/**
 * The envelope: who sends a message to whom, and what each asked for.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.1 | RFC 5321 section 2.3.1}
 */

import type { Address } from "./address.ts";
import type { MailParameters, RcptParameters } from "./parameters.ts";
import type { SmtpReply } from "./reply.ts";

/** One accepted RCPT TO. */
export interface Recipient {
  /** The forward-path, source route dropped. */
  readonly address: Address;
  /** What came with it: NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
  /**
   * LMTP only: the reply for this recipient after the message (RFC 2033
   * section 4.2). Not set: the message's own reply.
   */
  reply?: SmtpReply | undefined;
}

/** The sender and the recipients of one transaction. */
export interface Envelope {
  /** The reverse-path. */
  readonly from: Address;
  /** What came with MAIL FROM. */
  readonly parameters: MailParameters;
  /** The accepted recipients, in order. */
  readonly recipients: Recipient[];
}
