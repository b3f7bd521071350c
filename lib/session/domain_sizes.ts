/**
 * The sizes of messages that the recipients' domains take. Stands alone: two
 * questions about a context and a message, whose answers reception carries out.
 */

import type { Message, Recipient } from "../message/message.ts";
import { replies } from "../protocol/replies.ts";
import type { SessionContext, SessionDomains } from "./context.ts";

/**
 * Most bytes that a message may have for its recipients' domains; 0 for no limit
 * of theirs. SMTP has one reply for all recipients, so the smallest limit holds;
 * in LMTP each has a reply, and the largest limit ends the content.
 */
export function maxSizeOf(
  { recipients }: Message,
  context: SessionContext,
): number {
  const { domains } = context;
  if (domains === undefined) return 0;
  const sizes = recipients.map((one) => sizeOf(one, domains));
  const most = context.profile.kind.repliesPerRecipient
    ? Math.max(...sizes)
    : Math.min(...sizes);
  return most === Infinity ? 0 : most;
}

/** LMTP: the message for the recipients whose domains take its size; the others get their reply. */
export function fittingMessage(
  message: Message,
  context: SessionContext,
  { size }: { readonly size: number },
): Message {
  const { domains } = context;
  if (domains === undefined || !context.profile.kind.repliesPerRecipient) {
    return message;
  }
  const { recipients } = message;
  const fitting = recipients.filter((recipient) => {
    const fits = size <= sizeOf(recipient, domains);
    if (!fits) recipient.reply = replies.tooLarge;
    return fits;
  });
  return fitting.length === recipients.length
    ? message
    : message.forRecipients(fitting);
}

/** The limit of a recipient: that of its domain, and that of the domain which the client named. */
function sizeOf(
  { address, original }: Recipient,
  domains: SessionDomains,
): number {
  const own = domains.maxSizeOf(address) || Infinity;
  return original === undefined
    ? own
    : Math.min(own, domains.maxSizeOf(original) || Infinity);
}
