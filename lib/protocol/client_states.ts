/**
 * The sending machine's tables: in which state which order may be given, which
 * reply each command wants, and how long each phase may last.
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
 * 3. The progress of the transaction, kept by `client_transaction.ts`: which
 *    recipients are decided, which wait, whether content is wanted.
 * 4. What the server can do, forgotten when TLS begins (RFC 3207 section 4.2).
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920}
 */

import type { SmtpReply } from "./reply.ts";

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
export const ORDER_STATES: Readonly<
  Record<ClientOrder, readonly ClientState[]>
> = {
  open: ["new"],
  startTls: ["ready"],
  secured: ["securing"],
  authenticate: ["ready"],
  transaction: ["ready"],
  quit: ["ready", "refused"],
};

/** The phase that waiting for a command's reply belongs to. */
export const VERB_PHASE: Readonly<Record<ClientVerb, ClientPhase>> = {
  greeting: "greeting",
  EHLO: "hello",
  HELO: "hello",
  LHLO: "hello",
  STARTTLS: "startTls",
  AUTH: "authenticate",
  RSET: "reset",
  MAIL: "mail",
  RCPT: "rcpt",
  DATA: "data",
  BDAT: "dataEnd",
  dataEnd: "dataEnd",
  QUIT: "quit",
};

/**
 * The first digits that make sense as a reply that is not a refusal. Another
 * one means that the server answers something else than what was asked.
 */
export const VERB_WANTS: Readonly<Record<ClientVerb, readonly number[]>> = {
  greeting: [2],
  EHLO: [2],
  HELO: [2],
  LHLO: [2],
  STARTTLS: [2],
  AUTH: [2, 3],
  RSET: [2],
  MAIL: [2],
  RCPT: [2],
  DATA: [3],
  BDAT: [2],
  dataEnd: [2],
  QUIT: [2],
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
