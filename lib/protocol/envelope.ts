/**
 * The envelope of a message: the reverse-path, the recipients, and the
 * parameters of MAIL and RCPT.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.1 | RFC 5321 section 2.3.1}
 */

import type { Address } from "./address.ts";
import type { MailParameters, RcptParameters } from "./parameters.ts";
import type { SmtpReply } from "./reply.ts";

/** One accepted RCPT TO. `JSON.stringify` writes addresses and replies in a form of their own. */
export interface Recipient {
  /** The forward-path, without its source route. */
  readonly address: Address;
  /** The parameters of RCPT: NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
  /**
   * LMTP only: the reply for this recipient after the message (RFC 2033 section
   * 4.2). If unset, the reply of the message applies.
   */
  reply?: SmtpReply | undefined;
}

/** The reverse-path and the recipients of one transaction. */
export interface Envelope {
  /** The reverse-path. */
  readonly from: Address;
  /** The parameters of MAIL. */
  readonly parameters: MailParameters;
  /** The accepted recipients, in order of RCPT. */
  readonly recipients: Recipient[];
}
