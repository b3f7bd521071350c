/**
 * What may follow what: the states of the receiving side, in tables.
 *
 * Three machines run side by side, and each fact lives in one of them only:
 *
 * - the conversation, {@linkcode Phase}: who may say which verb now;
 * - the connection: plain or TLS, anonymous or authenticated. Both only ever
 *   change one way, and STARTTLS throws the conversation back to its start
 *   (RFC 3207 section 4.2);
 * - the content: between commands, in DATA, in a BDAT chunk, in an AUTH
 *   exchange ({@linkcode ReadPhase}): how the next bytes are to be read.
 *
 * Everything that decides on order is in this file; the machine asks it and
 * never compares phases itself.
 *
 * One command goes back to the very beginning: after XCLIENT there is another
 * client, who has not been decided on.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.4 | RFC 5321 section 4.1.4}
 */

import type { Verb } from "../command.ts";
import { replies } from "../replies.ts";
import type { SmtpReply } from "../reply.ts";

/** Where the conversation is. */
export type Phase =
  /** The connection is being decided on; nothing has been said. */
  | "connecting"
  /** Greeted; no HELO yet. */
  | "greeted"
  /** HELO done, no transaction. */
  | "ready"
  /** MAIL taken, no recipient taken yet. */
  | "mail"
  /** At least one recipient taken. */
  | "rcpt"
  /** The first BDAT chunk taken, the last not yet. */
  | "bdat"
  /** A BDAT chunk refused: the transaction is lost until RSET or the last chunk. */
  | "bdat-lost"
  /** Over. */
  | "closed";

/** How the next bytes are to be read: decides the time limit too. */
export type ReadPhase = "command" | "data" | "bdat" | "auth";

/** What a verb may do in a phase: run, or be refused with a reply. */
type Rule = "run" | SmtpReply;

const RUN = "run";
const { outOfOrder, sayHello, nested, noMail, noRecipients, bdatBegun } =
  replies;

type Row = Readonly<
  Record<Exclude<Phase, "connecting" | "closed" | "bdat-lost">, Rule>
>;

function row(
  greeted: Rule,
  ready: Rule,
  mail: Rule,
  rcpt: Rule,
  bdat: Rule,
): Row {
  return { greeted, ready, mail, rcpt, bdat };
}

const ALWAYS = row(RUN, RUN, RUN, RUN, RUN);

/** Verb by phase. AUTH and STARTTLS belong between transactions (RFC 4954 section 4, RFC 3207). */
const ORDER: Readonly<Record<Verb, Row>> = {
  //             greeted   ready    mail          rcpt    bdat
  HELO: ALWAYS,
  EHLO: ALWAYS,
  LHLO: ALWAYS,
  RSET: ALWAYS,
  NOOP: ALWAYS,
  QUIT: ALWAYS,
  HELP: ALWAYS,
  VRFY: ALWAYS,
  EXPN: ALWAYS,
  MAIL: row(sayHello, RUN, nested, nested, nested),
  RCPT: row(sayHello, noMail, RUN, RUN, bdatBegun),
  DATA: row(sayHello, noMail, noRecipients, RUN, bdatBegun),
  BDAT: row(sayHello, noMail, noRecipients, RUN, RUN),
  AUTH: row(sayHello, RUN, outOfOrder, outOfOrder, outOfOrder),
  STARTTLS: row(RUN, RUN, outOfOrder, outOfOrder, outOfOrder),
  XCLIENT: row(RUN, RUN, nested, nested, nested),
};

/** The reply that refuses `verb` in `phase`, `undefined` where it may run. */
export function refuseOutOfOrder(
  verb: Verb,
  phase: Phase,
): SmtpReply | undefined {
  if (phase === "connecting" || phase === "closed") return outOfOrder;
  // A lost BDAT transaction takes nothing but a new start and its own last chunk.
  const lost = phase === "bdat-lost";
  const rule = ORDER[verb][lost ? "bdat" : phase];
  return rule === RUN ? undefined : rule;
}
