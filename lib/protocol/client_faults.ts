/**
 * Which replies break a session, and which orders are out of place: the checks
 * of the sending machine, each a function of what it is given.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.3.2 | RFC 5321 section 4.3.2}
 */

import type { ReplyOrFault } from "./client_replies.ts";
import {
  type ClientFault,
  type ClientOrder,
  type ClientState,
  type ClientVerb,
  ORDER_STATES,
  VERB_WANTS,
} from "./client_states.ts";
import type { SmtpReply } from "./reply.ts";

/** A fault without the phase, which only the machine knows. */
export type FaultCause = Omit<ClientFault, "phase">;

/** The connection ended where a reply was waited for. */
export const CLOSED: FaultCause = {
  kind: "closed",
  message: "The server closed the connection",
};

/** Something came in the clear after the server had agreed to begin TLS. */
export const INJECTED: FaultCause = {
  kind: "protocol",
  message: "Octets follow the reply to STARTTLS",
};

/** A challenge came after the exchange was cancelled with `*` (RFC 4954 section 4). */
export const STUCK: FaultCause = {
  kind: "protocol",
  message: "The server goes on with an exchange that was cancelled",
};

/** Why the reply to a command breaks the session, `undefined` if it does not. */
export function replyFault(
  verb: ClientVerb,
  reply: SmtpReply,
): FaultCause | undefined {
  if (reply.code === 421 && verb !== "QUIT") {
    return { kind: "closing", message: "The server closes the session", reply };
  }
  const digit = Math.trunc(reply.code / 100);
  if (reply.isPositive && !VERB_WANTS[verb].includes(digit)) {
    const message = `Reply code ${reply.code} makes no sense here`;
    return { kind: "protocol", message };
  }
  if (verb === "RSET" && !reply.isPositive) {
    return { kind: "protocol", message: "RSET was refused" };
  }
  return undefined;
}

/** What octets mean that nothing was sent for: the server gives up, or is out of step. */
export function unaskedFault(got: ReplyOrFault | undefined): FaultCause {
  if (got && "reply" in got && !got.reply.isPositive) {
    const message = "The server gives up unasked";
    return { kind: "closing", message, reply: got.reply };
  }
  return {
    kind: "protocol",
    message: "The server answers what was not asked",
  };
}

/**
 * Checks that an order may be given.
 *
 * @throws {Error} If the state forbids it
 */
export function checkOrder(order: ClientOrder, state: ClientState): void {
  const wanted = ORDER_STATES[order];
  if (wanted.includes(state)) return;
  throw new Error(
    `Cannot begin "${order}" in state "${state}": want "${
      wanted.join('" or "')
    }"`,
  );
}

/**
 * Checks that there is an order to go on with.
 *
 * @throws {Error} If there is none
 */
export function checkUnderWay(state: ClientState): void {
  if (state === "transaction") return;
  throw new Error(
    `Cannot tell what is next in state "${state}": want an order`,
  );
}

/**
 * Checks that nothing in a command line could end it and begin another.
 *
 * @throws {TypeError} If there is a control character in it
 */
export function checkLine(line: string): string {
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f]/.test(line)) {
    throw new TypeError(
      `Cannot send ${
        JSON.stringify(line.slice(0, 80))
      }: want no control characters`,
    );
  }
  return line;
}
