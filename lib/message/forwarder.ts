/**
 * What changes mail from outside on its way through this server to others, as the
 * queue and the deliveries see it. Stands alone: it knows no key and no secret,
 * and the queue knows nothing else of forwarding.
 */

import type { Address } from "../protocol/address.ts";
import type { Message } from "./message.ts";

/** A message that is about to enter the queue. */
export interface ForwardRequest {
  /** Where it goes. */
  readonly recipients: readonly { readonly address: Address }[];
  /** Whether the program has chosen another sender, which stays as it is. */
  readonly hasSender: boolean;
}

/** What forwarding changes. */
export interface Forwarded {
  /** The sender in place of the message's; `undefined` if that stays. */
  readonly from?: string | undefined;
  /** The fields for the top of the content; `undefined` for none. */
  readonly seal?: Uint8Array<ArrayBuffer> | undefined;
}

/** Rewrites the senders of forwarded mail, and seals it. */
export interface MailForwarder {
  /** Whether it does anything. */
  readonly isActive: boolean;
  /**
   * What is to be changed in a message from outside, which leaves for recipients.
   *
   * @throws {unknown} The error of the content, and no other
   */
  forward(message: Message, request: ForwardRequest): Promise<Forwarded>;
  /**
   * Makes the seal of a converted content again: the fields for its top, or `""`
   * for none, which the log says then.
   *
   * @param seal The former fields
   * @param content The converted content without them
   * @throws {unknown} The error of the content, and no other
   */
  sealAgain(
    seal: Uint8Array,
    content: AsyncIterable<Uint8Array>,
  ): Promise<string>;
  /**
   * The address to which a DSN about a message goes: its sender before it was rewritten.
   *
   * @param acceptedAt When the message came, in milliseconds since 1970: it may
   * wait for longer than the address is valid
   */
  returnPath(sender: string, acceptedAt: number): string;
}
