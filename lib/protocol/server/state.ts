/**
 * Where the conversation with one client stands, and what may follow what: the
 * facts of one connection, their only owner, and the tables of the order.
 *
 * Three machines run side by side, and each fact lives in one of them only:
 *
 * - the conversation, {@linkcode Phase}: which verb may come now;
 * - the connection: plain or TLS, anonymous or authenticated. Both only ever
 *   change one way, and STARTTLS throws the conversation back to its start
 *   (RFC 3207 section 4.2);
 * - the content: between commands, in DATA, in a BDAT chunk, in an AUTH
 *   exchange ({@linkcode ReadPhase}): how the next bytes are to be read.
 *
 * Everything that decides on order is in this file: the other parts of the
 * machine call a method named after what has happened, and ask a getter what it
 * means. They never compare phases themselves.
 *
 * One command goes back to the very beginning: after XCLIENT there is another
 * client, which has not been decided on.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.4 | RFC 5321 section 4.1.4}
 */

import type { Address } from "../address.ts";
import type { Verb } from "../command.ts";
import type { Envelope } from "../envelope.ts";
import type { RcptParameters } from "../parameters.ts";
import { replies, tooMany } from "../replies.ts";
import { SmtpReply } from "../reply.ts";
import type {
  CloseReason,
  CountingGate,
  ReadPhase,
  ServerProfile,
  Verdict,
} from "./effects.ts";
import { Outbox } from "./outbox.ts";

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

/** What may be said before TLS where TLS is required; all else gets 530 (RFC 3207 section 4). HELO tells as little as EHLO; XCLIENT has a rule of its own. */
const BEFORE_TLS: ReadonlySet<Verb> = new Set([
  ...["HELO", "EHLO", "LHLO", "NOOP", "STARTTLS", "QUIT", "XCLIENT"] as const,
]);

/** What may be said before the login where one is required; all else gets 530 (RFC 4954 section 6). */
const BEFORE_LOGIN: ReadonlySet<Verb> = new Set([
  ...["HELO", "EHLO", "LHLO", "AUTH", "NOOP", "RSET", "QUIT"] as const,
  ...["STARTTLS", "XCLIENT"] as const,
]);

/** What a session is doing. */
export type Activity =
  | "connecting"
  | "ready"
  | "receiving"
  | "authenticating"
  | "disconnected";

/** What a session is doing once its client is greeted. */
const ACTIVITY: Readonly<Record<ReadPhase, Activity>> = {
  command: "ready",
  data: "receiving",
  bdat: "receiving",
  auth: "authenticating",
};

/** Where things stand, for everyone but the machine itself. */
export interface ServerFacts {
  /** Where the conversation is. */
  readonly phase: Phase;
  /** How the next bytes will be read. */
  readonly reading: ReadPhase;
  /** Whether the connection is still being decided on. */
  readonly isConnecting: boolean;
  /** Whether the end of the session has been decided. */
  readonly isClosed: boolean;
  /** What the session is doing, in a word. */
  readonly activity: Activity;
  /** Whether what is waited for belongs to a message's content: the commands between BDAT chunks do. */
  readonly awaitsContent: boolean;
  /** The name the client gave, `undefined` before HELO. */
  readonly helo: string | undefined;
  /** Whether the client said EHLO or LHLO. */
  readonly extended: boolean;
  /** Whether the connection is encrypted. */
  readonly tls: boolean;
  /** Whether the client has authenticated. */
  readonly authenticated: boolean;
  /** Whether the client may send XCLIENT. */
  readonly mayImpersonate: boolean;
  /** The SASL mechanisms that can be served on the connection as it is now. */
  readonly mechanisms: readonly string[];
  /** The transaction under way. */
  readonly envelope: Envelope | undefined;
}

/** The state of one connection, which the parts of the machine share. */
export class ServerState implements ServerFacts {
  /** What the listener's sessions have in common. */
  readonly profile: ServerProfile;
  /** What is to be said and done. */
  readonly outbox: Outbox;
  /** What came and has not been read. */
  readonly input: ServerInput = new ServerInput();
  #phase: Phase = "connecting";
  #reading: ReadPhase = "command";
  #helo: string | undefined;
  #extended = false;
  #tls = false;
  #authenticated = false;
  #mayImpersonate = false;
  #mechanisms: readonly string[] = [];
  #gate: CountingGate | undefined;
  #envelope: Envelope | undefined;
  /** RCPT commands of this transaction that were refused. */
  #refusedRecipients = 0;
  /** Commands since the last message that was taken. */
  #idleCommands = 0;
  /** Whether the session holds a message that has begun. */
  #collecting = false;

  constructor(profile: ServerProfile) {
    this.profile = profile;
    this.outbox = new Outbox(profile);
  }

  get phase(): Phase {
    return this.outbox.closed ? "closed" : this.#phase;
  }

  get reading(): ReadPhase {
    return this.#reading;
  }

  get isConnecting(): boolean {
    return !this.outbox.closed && this.#phase === "connecting";
  }

  get isClosed(): boolean {
    return this.outbox.closed;
  }

  get activity(): Activity {
    if (this.isClosed) return "disconnected";
    if (this.#phase === "connecting") return "connecting";
    return ACTIVITY[this.#reading];
  }

  /** Whether the next line belongs to an AUTH exchange. */
  get isAuthenticating(): boolean {
    return this.#reading === "auth";
  }

  /** Whether the next bytes are a message's content. */
  get isReadingContent(): boolean {
    return this.#reading === "data" || this.#reading === "bdat";
  }

  get awaitsContent(): boolean {
    return this.isReadingContent || this.#phase === "bdat" || this.isBdatLost;
  }

  /** Whether the next bytes are content that ends with a dot on a line of its own. */
  get isReadingData(): boolean {
    return this.#reading === "data";
  }

  /** Whether an earlier chunk of the transaction was refused. */
  get isBdatLost(): boolean {
    return this.#phase === "bdat-lost";
  }

  /** Whether a chunk that comes now is the first of its message. */
  get isFirstChunk(): boolean {
    return this.#phase === "rcpt";
  }

  get helo(): string | undefined {
    return this.#helo;
  }

  get extended(): boolean {
    return this.#extended;
  }

  get tls(): boolean {
    return this.#tls;
  }

  get authenticated(): boolean {
    return this.#authenticated;
  }

  get mayImpersonate(): boolean {
    return this.#mayImpersonate;
  }

  get mechanisms(): readonly string[] {
    return this.#mechanisms;
  }

  /** Counts messages and recipients; unset, nothing is counted. */
  get gate(): CountingGate | undefined {
    return this.#gate;
  }

  get envelope(): Envelope | undefined {
    return this.#envelope;
  }

  /** The reply that refuses `verb` now, `undefined` where it may run. */
  refuse(verb: Verb): SmtpReply | undefined {
    const { startTls, authentication, kind } = this.profile;
    if (startTls === "required" && !this.#tls && !BEFORE_TLS.has(verb)) {
      return replies.needTls;
    }
    if (
      authentication === "required" && !this.#authenticated &&
      !BEFORE_LOGIN.has(verb)
    ) return replies.needAuth;
    const refusal = refuseOutOfOrder(verb, this.#phase);
    // With every RCPT refused, DATA is told that and not "send RCPT"; in LMTP
    // it must be 503 all the same (RFC 2033 section 4.2).
    return refusal === noRecipients && this.#refusedRecipients > 0 &&
        !kind.repliesPerRecipient
      ? replies.noValidRecipients
      : refusal;
  }

  // The connection.

  /** The client may stay: the greeting follows. */
  connectionAccepted(): void {
    this.#phase = "greeted";
  }

  /** The session says what counts messages and recipients. */
  countWith(gate: CountingGate | undefined): void {
    this.#gate = gate;
  }

  /** The session says how the connection is protected, and what can be served on it. */
  transportChanged(tls: boolean, mechanisms: readonly string[]): void {
    this.#tls = tls;
    this.#mechanisms = mechanisms;
  }

  /** The session says whether the client may send XCLIENT. */
  impersonationAllowed(isAllowed: boolean): void {
    this.#mayImpersonate = isAllowed;
  }

  /** STARTTLS: what was said in the clear is forgotten (RFC 3207 section 4.2). */
  tlsStarted(): void {
    this.#tls = true;
    this.#authenticated = false;
    this.resetTransaction();
    this.#helo = undefined;
    this.#extended = false;
    if (this.#phase !== "connecting") this.#phase = "greeted";
  }

  /** XCLIENT: the client is another one, which is decided on next. */
  clientChanged(
    client: { readonly helo: string | undefined; readonly loggedIn: boolean },
  ): void {
    this.resetTransaction();
    this.#phase = "connecting";
    this.#helo = client.helo;
    this.#extended = false;
    this.#authenticated = client.loggedIn;
  }

  /** Ends the session: `reply` if given, then close. */
  close(reply: SmtpReply | undefined, reason: CloseReason): void {
    if (this.outbox.closed) return;
    this.input.forget();
    this.resetTransaction();
    this.outbox.close(reason, reply);
  }

  // HELO and AUTH.

  /** HELO, EHLO or LHLO was said; it is decided on next. */
  helloSaid(name: string, extended: boolean): void {
    this.resetTransaction();
    this.#helo = name;
    this.#extended = extended;
  }

  /** The client's name is accepted. */
  helloAccepted(): void {
    this.#phase = "ready";
  }

  /** The client's name is refused, and forgotten. */
  helloRefused(): void {
    this.#phase = "greeted";
    this.#helo = undefined;
    this.#extended = false;
  }

  /** A challenge goes out: the next line is the response. */
  challengeSent(): void {
    this.#reading = "auth";
  }

  /** The response has come. */
  responseRead(): void {
    this.#reading = "command";
  }

  /** The login succeeded or failed. */
  loginDecided(isAccepted: boolean): void {
    this.#authenticated = isAccepted;
  }

  // Transactions.

  /** A transaction begins. */
  mailAccepted(
    from: Envelope["from"],
    parameters: Envelope["parameters"],
  ): void {
    this.#envelope = { from, parameters, recipients: [] };
    this.#refusedRecipients = 0;
    this.#phase = "mail";
  }

  /** The transaction has one recipient more. */
  recipientAccepted(
    address: Address,
    parameters: RcptParameters,
  ): void {
    this.#envelope!.recipients.push({ address, parameters });
    this.#phase = "rcpt";
  }

  /** A recipient of the transaction is refused; returns how many have been. */
  recipientRefused(): number {
    return ++this.#refusedRecipients;
  }

  /** A transaction that has not come to its message is over: the session is told. */
  resetTransaction(): void {
    if (this.#envelope !== undefined) this.outbox.push({ effect: "reset" });
    this.endTransaction();
  }

  /** A transaction is over, and the session knows. */
  endTransaction(): void {
    this.#envelope = undefined;
    this.#collecting = false;
    this.#refusedRecipients = 0;
    if (this.#phase !== "connecting" && this.#phase !== "greeted") {
      this.#phase = "ready";
    }
  }

  /**
   * Counts a command that brings no message nearer. Past
   * `maxCommandsWithoutMail` it ends the session, and returns true.
   */
  countIdle(): boolean {
    const { maxCommandsWithoutMail: most } = this.profile;
    if (++this.#idleCommands <= most || most === 0) return false;
    this.close(tooMany("commands without mail", most), "errors");
    return true;
  }

  // Content.

  /** DATA is accepted: the content follows. */
  dataAccepted(): void {
    this.#collecting = true;
    this.#reading = "data";
  }

  /** The bytes of a chunk follow, whether or not it is refused. */
  chunkStarted(): void {
    this.#reading = "bdat";
  }

  /** The first chunk is decided on: the message has begun, refused or not. */
  bdatBegun(isAccepted: boolean): void {
    this.#collecting = isAccepted;
    this.#phase = "bdat";
  }

  /** A chunk or the content of DATA has been read to its end. */
  contentEnded(): void {
    this.#reading = "command";
  }

  /** A chunk that was not the last is refused: the rest of the message is lost. */
  chunkRefused(): void {
    this.#phase = "bdat-lost";
  }

  /** The content under way is refused; returns whether the session has to drop any. */
  contentRefused(): boolean {
    const isHeld = this.#collecting;
    this.#collecting = false;
    return isHeld;
  }

  /** The final verdict on a message is said: its transaction is over. */
  messageDecided(isAccepted: boolean): void {
    if (isAccepted) this.#idleCommands = 0;
    this.endTransaction();
  }
}

/** Whether a verdict accepts. */
export function accepts(verdict: Verdict): boolean {
  return verdict === undefined || verdict === "silent-allow" ||
    (verdict instanceof SmtpReply && verdict.isPositive);
}

const NOTHING = new Uint8Array(0);

/** The bytes of one read, and how far they have been used. */
export class ServerInput {
  /** The bytes; the machine may change what it has read. */
  bytes: Uint8Array = NOTHING;
  /** Where the next unread byte stands. */
  position = 0;
  /** Where the unread bytes end. */
  end = 0;

  /** Whether all has been read. */
  get isEmpty(): boolean {
    return this.position === this.end;
  }

  /** Takes the first `count` of `bytes`. */
  take(bytes: Uint8Array, count: number): void {
    this.bytes = bytes;
    this.position = 0;
    this.end = count;
  }

  /** Lets go of all of it, read or not. */
  forget(): void {
    this.bytes = NOTHING;
    this.position = this.end = 0;
  }
}
