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
  /**
   * What the client said, where an alias, the delimiter or `redirect()` made
   * another address of it; `undefined` where `address` is what it said.
   */
  readonly original?: Address | undefined;
  /** The parameters of RCPT: NOTIFY and ORCPT. */
  readonly parameters: RcptParameters;
  /**
   * LMTP only: the reply for this recipient after the message (RFC 2033 section
   * 4.2). If unset, the reply of the message applies.
   */
  reply?: SmtpReply | undefined;
}

/**
 * What the client has said of a message so far: from an accepted MAIL until the
 * final reply to the message, or until the transaction is reset.
 *
 * @example Count the recipients of one domain
 * ```ts
 * import type { Envelope, SmtpHandlers } from "@smtp/server";
 *
 * const countOf = (envelope: Envelope, domain: string) =>
 *   envelope.recipients.filter(({ address }) => address.domain === domain).length;
 * const handlers: SmtpHandlers = {
 *   onRcptTo({ envelope }, { domain }) {
 *     // Set in onRcptTo and later; a bounce has one recipient.
 *     if (envelope!.from.isNull) return envelope!.recipients.length === 0;
 *     return countOf(envelope!, domain) < 10;
 *   },
 * };
 * console.assert(handlers.onRcptTo !== undefined);
 * ```
 */
export interface Envelope {
  /** The reverse-path; `from.isNull` for a bounce. */
  readonly from: Address;
  /** The parameters of MAIL: SIZE, BODY, RET, HOLDFOR, BY, REQUIRETLS and others. */
  readonly parameters: MailParameters;
  /** The recipients accepted so far, in order of RCPT. The list grows with each. */
  readonly recipients: readonly Recipient[];
}
