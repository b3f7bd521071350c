/**
 * The answer to RCPT that accepts a recipient and sends its mail to other
 * addresses. Stands alone: the protocol, the handlers, the threads and the
 * entry point all need it.
 */

import { Address } from "./address.ts";
import type { SmtpReply } from "./reply.ts";

/** Most addresses of one redirect: a longer list is a mailing list, and wants a program of its own. */
export const MOST_TARGETS = 1000;

/**
 * What {@linkcode redirect} returns, for `onRcptTo` to return: the recipient is
 * accepted, and the message goes to these addresses instead.
 *
 * @example The type of a handler of its own
 * ```ts
 * import { type Address, type Redirect, redirect } from "@smtp/server";
 *
 * const moved = new Map([["old@example.com", "new@example.org"]]);
 * const forward = (address: Address): Redirect | undefined => {
 *   const to = moved.get(String(address));
 *   return to === undefined ? undefined : redirect(to);
 * };
 * console.assert(typeof forward === "function");
 * ```
 */
export class Redirect {
  /** The addresses that get the message. */
  readonly addresses: readonly Address[];
  /** The reply, if a handler chose one; `"silent-allow"` if the handler has sent it. */
  readonly reply: SmtpReply | "silent-allow" | undefined;

  /** Made by the server; programs call {@linkcode redirect}. */
  constructor(
    addresses: readonly Address[],
    reply?: SmtpReply | "silent-allow",
  ) {
    this.addresses = addresses;
    this.reply = reply;
  }
}

/**
 * Accepts a recipient in `onRcptTo`, and sends the message to other addresses
 * instead: to those in `domains` by the store, to all others by the queue,
 * whatever `relay` allows the client, because the program has decided it.
 * Without `domains` every address is kept by the store.
 *
 * The addresses are used as they are: no handler is asked about them, and
 * `aliases`, `recipientDelimiter` and `localRecipients` do not apply to them.
 * Each becomes a recipient of the message whose `original` is what the client
 * said. A DSN names that as well: the client's ORCPT is kept, or else its
 * address becomes ORCPT (RFC 3461 section 4.2); NOTIFY is kept. An address that
 * the message goes to already, with the same NOTIFY, does not get it twice. For
 * `maxRecipients` and the limits of addresses and users it is one recipient,
 * however many it becomes.
 *
 * @param address The address that gets the message
 * @param more Further addresses, at most 999
 * @throws {AddressSyntaxError} If a text is not an address
 * @throws {TypeError} If an address is empty, or not an address at all
 * @throws {RangeError} If there are more than 1,000 addresses
 *
 * @example An address that has moved, and one for the whole team
 * ```ts
 * import { redirect, type SmtpHandlers } from "@smtp/server";
 *
 * const handlers: SmtpHandlers = {
 *   onRcptTo(_session, { localPart }) {
 *     if (localPart === "bob") return redirect("bob@example.org");
 *     if (localPart === "team") {
 *       return redirect("ann@example.com", "bob@example.org");
 *     }
 *   },
 * };
 * console.assert(handlers.onRcptTo !== undefined);
 * ```
 */
export function redirect(
  address: string | Address,
  ...more: readonly (string | Address)[]
): Redirect {
  if (more.length >= MOST_TARGETS) {
    throw new RangeError(
      `Cannot redirect to ${
        more.length + 1
      } addresses: want at most ${MOST_TARGETS}`,
    );
  }
  return new Redirect([address, ...more].map(targetOf));
}

function targetOf(given: string | Address): Address {
  const address = given instanceof Address ? given : Address.parse(given);
  if (address.isNull) {
    throw new TypeError(
      'Cannot redirect to an empty address: want one, as "ann@example.com"',
    );
  }
  return address;
}
