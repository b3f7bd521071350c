/**
 * The types and tables of the client state machine: its states, effects and
 * faults, the states that allow each order, the replies that each command
 * expects, and the time limit of each phase. The checks are pure functions.
 *
 * The model. Four facts change side by side:
 *
 * 1. The state of the session ({@linkcode ClientState}). Orders of the
 *    owner and the replies that end them change it:
 *    `new -> greeting -> ready <-> (authenticating | transaction)`,
 *    `ready -> startTls -> securing -> greeting (hello again) -> ready`,
 *    `(ready | refused) -> quitting -> closed`.
 *    After `refused` (the server refused the greeting or EHLO) the only order
 *    is to quit; after `broken` no order is allowed.
 * 2. Two cursors over the list of commands, `sent` and `answered`. Replies have
 *    no name: the n-th reply belongs to the n-th command, so only the list
 *    can match them. With PIPELINING `sent` runs ahead, by a bounded number:
 *    otherwise a server that blocks while it writes replies and a client that
 *    blocks while it writes commands would wait for each other forever. A
 *    reply that arrives when `sent = answered` matches no command: the two
 *    sides are out of step.
 * 3. The progress of the transaction, in `transaction.ts`: which recipients
 *    are decided, which are open, whether content is wanted.
 * 4. The capabilities of the server, discarded when TLS begins (RFC 3207
 *    section 4.2).
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.3.2 | RFC 5321 sections 4.3.2} and
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | 4.5.3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920}
 */

import type { SmtpReply } from "../reply.ts";
import type { ReplyOrFault } from "./replies.ts";

/** State of a client session. */
export type ClientState =
  | "new"
  | "greeting"
  | "ready"
  | "startTls"
  | "securing"
  | "authenticating"
  | "transaction"
  | "refused"
  | "broken"
  | "quitting"
  | "closed";

/** The current phase of a session: decides the time limit, and names the step in reports. */
export type ClientPhase =
  | "greeting"
  | "hello"
  | "startTls"
  | "authenticate"
  | "reset"
  | "mail"
  | "rcpt"
  | "data"
  | "body"
  | "dataEnd"
  | "quit";

/** The orders that the owner may give. */
export type ClientOrder =
  | "open"
  | "startTls"
  | "secured"
  | "authenticate"
  | "transaction"
  | "quit";

/** The reason why a session broke: it sends nothing more, and open recipients stay undecided. */
export interface ClientFault {
  /**
   * `closed`: the server closed the connection. `closing`: it announced that
   * with 421 or another refusal that matches no command. `protocol`: it sent
   * bytes that are not valid SMTP here. `timeout` and `network`: as the owner
   * reported.
   */
  readonly kind: "closed" | "closing" | "protocol" | "timeout" | "network";
  /** The phase in which the session broke. */
  readonly phase: ClientPhase;
  /** The fault as a phrase for people. */
  readonly message: string;
  /** The reply of the server, for `closing`. */
  readonly reply?: SmtpReply | undefined;
}

/** The commands, and the two waits that have no command. */
export type ClientVerb =
  | "greeting"
  | "EHLO"
  | "HELO"
  | "LHLO"
  | "STARTTLS"
  | "AUTH"
  | "RSET"
  | "MAIL"
  | "RCPT"
  | "DATA"
  | "BDAT"
  | "dataEnd"
  | "QUIT";

/** The states that allow each order; in any other the order is an error of the owner. */
const ORDER_STATES: Readonly<
  Record<ClientOrder, readonly ClientState[]>
> = {
  open: ["new"],
  startTls: ["ready"],
  secured: ["securing"],
  authenticate: ["ready"],
  transaction: ["ready"],
  quit: ["ready", "refused"],
};

/**
 * For each command: the phase of the wait for its reply, and the first digits
 * of a reply that is not a refusal. Another digit means that the server answers
 * a different command.
 */
export const VERBS: Readonly<
  Record<
    ClientVerb,
    { readonly phase: ClientPhase; readonly wants: readonly number[] }
  >
> = {
  greeting: { phase: "greeting", wants: [2] },
  EHLO: { phase: "hello", wants: [2] },
  HELO: { phase: "hello", wants: [2] },
  LHLO: { phase: "hello", wants: [2] },
  STARTTLS: { phase: "startTls", wants: [2] },
  AUTH: { phase: "authenticate", wants: [2, 3] },
  RSET: { phase: "reset", wants: [2] },
  MAIL: { phase: "mail", wants: [2] },
  RCPT: { phase: "rcpt", wants: [2] },
  DATA: { phase: "data", wants: [3] },
  BDAT: { phase: "dataEnd", wants: [2] },
  dataEnd: { phase: "dataEnd", wants: [2] },
  QUIT: { phase: "quit", wants: [2] },
};

/** Most commands in flight with PIPELINING. */
export const MAX_IN_FLIGHT = 100;

/** Most BDAT chunks in flight: enough to fill a connection, few enough to notice a refusal. */
export const MAX_CHUNKS_IN_FLIGHT = 8;

const SECOND = 1000;
const MINUTE = 60 * SECOND;

/**
 * Time limit of each phase, in milliseconds, from RFC 5321 section 4.5.3.2
 * where it gives one. `body` is the limit of one write. `quit` is short,
 * because nothing depends on its reply.
 */
export const CLIENT_TIME_LIMITS: Readonly<Record<ClientPhase, number>> = {
  greeting: 5 * MINUTE,
  hello: 5 * MINUTE,
  startTls: 5 * MINUTE,
  authenticate: 5 * MINUTE,
  reset: 20 * SECOND,
  mail: 5 * MINUTE,
  rcpt: 5 * MINUTE,
  data: 2 * MINUTE,
  body: 3 * MINUTE,
  dataEnd: 10 * MINUTE,
  quit: 5 * SECOND,
};

/** The next thing for the owner to do. */
export type ClientEffect =
  | {
    /** Read from the connection, then call `receive()`, `end()` or `fail()`. */
    readonly kind: "read";
    /** The phase of the wait: decides the time limit. */
    readonly phase: ClientPhase;
  }
  | {
    /** Write all of `bytes`. */
    readonly kind: "write";
    /** The bytes to write. The state machine does not change them afterwards. */
    readonly bytes: Uint8Array;
    /** The current phase. */
    readonly phase: ClientPhase;
  }
  | {
    /** Pass content to `content()` and, at its end, call `endContent()`. */
    readonly kind: "content";
  }
  | {
    /** Compute the response to a SASL challenge and call `respond()`. */
    readonly kind: "challenge";
    /** The challenge, decoded. */
    readonly challenge: Uint8Array;
  }
  | {
    /** Begin TLS on the connection before any other read or write, then call `secured()`. */
    readonly kind: "startTls";
  }
  | {
    /** The order is complete. */
    readonly kind: "done";
    /** The reply that decided; for a transaction see `outcomes`. */
    readonly reply: SmtpReply | undefined;
  }
  | {
    /** The session broke: close the connection. */
    readonly kind: "failed";
    /** The reason. */
    readonly fault: ClientFault;
  };

/** Options of {@linkcode ClientProtocol}. */
export interface ClientProtocolOptions {
  /** The name for EHLO, HELO or LHLO: a domain or an address literal. */
  readonly hostname: string;
  /**
   * Whether to speak LMTP: LHLO, and one reply for each recipient.
   *
   * @default {false}
   */
  readonly lmtp?: boolean | undefined;
}

/** A fault without the phase, which only the state machine knows. */
export type FaultCause = Omit<ClientFault, "phase">;

/** The connection ended during the wait for a reply. */
export const CLOSED: FaultCause = {
  kind: "closed",
  message: "The server closed the connection",
};

/** Bytes arrived in the clear after the server had accepted STARTTLS. */
export const INJECTED: FaultCause = {
  kind: "protocol",
  message: "Bytes follow the reply to STARTTLS",
};

/** A challenge arrived after the exchange was cancelled with `*` (RFC 4954 section 4). */
export const STUCK: FaultCause = {
  kind: "protocol",
  message: "The server goes on with an exchange that was cancelled",
};

/** The fault if the reply to a command breaks the session, `undefined` otherwise. */
export function replyFault(
  verb: ClientVerb,
  reply: SmtpReply,
): FaultCause | undefined {
  if (reply.code === 421 && verb !== "QUIT") {
    return { kind: "closing", message: "The server closes the session", reply };
  }
  const digit = Math.trunc(reply.code / 100);
  if (reply.isPositive && !VERBS[verb].wants.includes(digit)) {
    const message = `Reply code ${reply.code} makes no sense here`;
    return { kind: "protocol", message };
  }
  if (verb === "RSET" && !reply.isPositive) {
    return { kind: "protocol", message: "RSET was refused" };
  }
  return undefined;
}

/** The fault if a reply matches no command: the server closes the session, or is out of step. */
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
 * Checks that the state allows an order.
 *
 * @throws {Error} If it does not
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
 * Checks that an order is in progress.
 *
 * @throws {Error} If there is no order
 */
export function checkUnderWay(state: ClientState): void {
  if (state === "transaction") return;
  throw new Error(
    `Cannot tell what is next in state "${state}": want an order`,
  );
}

/**
 * Checks that a command line cannot contain a second command.
 *
 * @throws {TypeError} If it has a control character
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
