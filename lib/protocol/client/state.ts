/**
 * The sending machine's words and tables: its states, effects and faults, in
 * which state which order may be given, which reply each command wants, and how
 * long each phase may last. The checks are functions of what they are given.
 *
 * The theory. Four facts run side by side:
 *
 * 1. The state of the session ({@linkcode ClientState}), moved by orders of the
 *    owner and by the replies that end them:
 *    `new -> greeting -> ready <-> (authenticating | transaction)`,
 *    `ready -> startTls -> securing -> greeting (hello again) -> ready`,
 *    any but `closed` `-> quitting -> closed`.
 *    From `refused` (the server answered the greeting or EHLO with no) only
 *    quitting is left; from `broken` nothing is.
 * 2. Two cursors over the list of commands, `sent` and `answered`. Replies carry
 *    no name: the n-th reply belongs to the n-th command, so the list is the
 *    only truth. With PIPELINING `sent` runs ahead, by a bounded number, else a
 *    server that blocks while writing replies and a client that blocks while
 *    writing commands wait for each other for ever. A reply that arrives when
 *    `sent = answered` was not asked for: the two sides are out of step.
 * 3. The progress of the transaction, kept by `transaction.ts`: which
 *    recipients are decided, which wait, whether content is wanted.
 * 4. What the server can do, forgotten when TLS begins (RFC 3207 section 4.2).
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.3.2 | RFC 5321 sections 4.3.2} and
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | 4.5.3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920}
 */

import type { SmtpReply } from "../reply.ts";
import type { ReplyOrFault } from "./replies.ts";

/** Where a client's session stands. */
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

/** What is under way at the moment: names the time limit, and the step in reports. */
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

/** What the owner of the machine may tell it to do. */
export type ClientOrder =
  | "open"
  | "startTls"
  | "secured"
  | "authenticate"
  | "transaction"
  | "quit";

/** Why a session broke: nothing more can be sent, and what was not decided never will be. */
export interface ClientFault {
  /**
   * `closed`: the server closed the connection. `closing`: it said so with
   * 421 or another refusal that nobody had asked for. `protocol`: it sent what
   * makes no sense. `timeout` and `network`: as the owner reported.
   */
  readonly kind: "closed" | "closing" | "protocol" | "timeout" | "network";
  /** What was under way. */
  readonly phase: ClientPhase;
  /** The fault as a phrase for people. */
  readonly message: string;
  /** What the server said, for `closing`. */
  readonly reply?: SmtpReply | undefined;
}

/** The commands, and the two waits that have no command of their own. */
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

/** In which states an order may be given; anything else is a mistake of the owner. */
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
 * What is known of each command: the phase that waiting for its reply belongs
 * to, and the first digits that make sense as a reply that is not a refusal.
 * Another digit means that the server answers something else than what was asked.
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

/** Commands that may be under way at once with PIPELINING. */
export const MAX_IN_FLIGHT = 100;

/** BDAT chunks that may be under way at once: enough to fill a line, few enough to notice a refusal. */
export const MAX_CHUNKS_IN_FLIGHT = 8;

const SECOND = 1000;
const MINUTE = 60 * SECOND;

/**
 * How long each phase may last, in milliseconds, by RFC 5321 section 4.5.3.2
 * where that has a say. `body` is the limit of one write. `quit` is short, for
 * nothing hangs on its answer.
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

/** What the owner has to do next. */
export type ClientEffect =
  | {
    /** Read from the connection, hand it to `receive()` or call `end()` or `fail()`. */
    readonly kind: "read";
    /** What is waited for: names the time limit. */
    readonly phase: ClientPhase;
  }
  | {
    /** Write all of `bytes`. */
    readonly kind: "write";
    /** What to write. The machine does not touch it again. */
    readonly bytes: Uint8Array;
    /** What is under way. */
    readonly phase: ClientPhase;
  }
  | {
    /** Hand over content with `content()` and, after the last of it, `endContent()`. */
    readonly kind: "content";
  }
  | {
    /** Compute the answer to a SASL challenge and call `respond()`. */
    readonly kind: "challenge";
    /** The challenge, decoded. */
    readonly challenge: Uint8Array;
  }
  | {
    /** Begin TLS on the connection now, with nothing read or written before it; then `secured()`. */
    readonly kind: "startTls";
  }
  | {
    /** The order is carried out. */
    readonly kind: "done";
    /** The reply that decided; for a transaction see `outcomes`. */
    readonly reply: SmtpReply | undefined;
  }
  | {
    /** The session broke; close the connection. */
    readonly kind: "failed";
    /** Why. */
    readonly fault: ClientFault;
  };

/** Options of {@linkcode ClientProtocol}. */
export interface ClientProtocolOptions {
  /** The name to give in EHLO, HELO or LHLO: a domain or an address literal. */
  readonly hostname: string;
  /**
   * Whether to speak LMTP: LHLO, and one reply a recipient.
   *
   * @default {false}
   */
  readonly lmtp?: boolean | undefined;
}

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
  if (reply.isPositive && !VERBS[verb].wants.includes(digit)) {
    const message = `Reply code ${reply.code} makes no sense here`;
    return { kind: "protocol", message };
  }
  if (verb === "RSET" && !reply.isPositive) {
    return { kind: "protocol", message: "RSET was refused" };
  }
  return undefined;
}

/** What bytes mean that nothing was sent for: the server gives up, or is out of step. */
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
