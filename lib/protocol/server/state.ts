/**
 * The state of the conversation with one client, and the rules of order: the
 * facts of one connection, their only owner, and the tables.
 *
 * Three state machines run side by side, and each fact belongs to only one of
 * them:
 *
 * - the conversation, {@linkcode Phase}: which verb may come now;
 * - the connection: plain or TLS, anonymous or authenticated. TLS does not end.
 *   STARTTLS and XCLIENT return the conversation to its start, and a login does
 *   not outlast them (RFC 3207 section 4.2);
 * - the content: between commands, in DATA, in a BDAT chunk, in an AUTH
 *   exchange ({@linkcode ReadPhase}): how the next bytes are read.
 *
 * All decisions by phase are in this file. The other parts of the state machine
 * call a method named after the event, and a getter for its meaning. They never
 * compare phases themselves.
 *
 * One command returns to the very beginning: after XCLIENT the session has
 * another client, and must decide again whether it may connect.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.4 | RFC 5321 section 4.1.4}
 */

import { NOTHING } from "../bytes.ts";
import type { Address } from "../address.ts";
import type { Verb } from "../command.ts";
import type { Envelope, Recipient } from "../envelope.ts";
import type { RcptParameters } from "../parameters.ts";
import { replies, tooMany } from "../replies.ts";
import type { SmtpReply } from "../reply.ts";
import type {
  CloseReason,
  CountingGate,
  ReadPhase,
  ServerProfile,
} from "./effects.ts";
import { Outbox } from "./outbox.ts";
import { Rewriting, type Said } from "./rewriting.ts";

/** Phase of the conversation. */
export type Phase =
  /** The session decides on the connection; no reply has been sent. */
  | "connecting"
  /** Greeted; no HELO yet. */
  | "greeted"
  /** HELO done, no transaction. */
  | "ready"
  /** MAIL accepted, no recipient accepted yet. */
  | "mail"
  /** At least one recipient accepted. */
  | "rcpt"
  /** The first BDAT chunk accepted, the last not yet received. */
  | "bdat"
  /** A BDAT chunk was refused: the transaction is lost until RSET or the last chunk. */
  | "bdat-lost"
  /** Over. */
  | "closed";

/** The rule for a verb in a phase: run it, or refuse it with a reply. */
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

/**
 * The rules by verb and phase. AUTH and STARTTLS belong between transactions
 * (RFC 4954 section 4, RFC 3207).
 */
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

/** The reply that refuses `verb` in `phase`, `undefined` if it may run. */
export function refuseOutOfOrder(
  verb: Verb,
  phase: Phase,
): SmtpReply | undefined {
  if (phase === "connecting" || phase === "closed") return outOfOrder;
  // After a lost BDAT transaction only a new start and its own last chunk are
  // allowed.
  const lost = phase === "bdat-lost";
  const rule = ORDER[verb][lost ? "bdat" : phase];
  return rule === RUN ? undefined : rule;
}

/**
 * Verbs allowed before TLS where TLS is required; all others get 530 (RFC 3207
 * section 4). HELO reveals no more than EHLO; XCLIENT has its own rule.
 */
const BEFORE_TLS: ReadonlySet<Verb> = new Set([
  ...["HELO", "EHLO", "LHLO", "NOOP", "STARTTLS", "QUIT", "XCLIENT"] as const,
]);

/**
 * Verbs allowed before the login where one is required; all others get 530 (RFC
 * 4954 section 6).
 */
const BEFORE_LOGIN: ReadonlySet<Verb> = new Set([
  ...["HELO", "EHLO", "LHLO", "AUTH", "NOOP", "RSET", "QUIT"] as const,
  ...["STARTTLS", "XCLIENT"] as const,
]);

/**
 * The state of a session: `connecting` before the greeting, `ready` between
 * commands, `receiving` in the content of a message, `authenticating` in an AUTH
 * exchange, `disconnected` at the end.
 */
export type SessionState =
  | "connecting"
  | "ready"
  | "receiving"
  | "authenticating"
  | "disconnected";

/** The state of a session after the greeting. */
const ACTIVITY: Readonly<Record<ReadPhase, SessionState>> = {
  command: "ready",
  data: "receiving",
  bdat: "receiving",
  auth: "authenticating",
};

/** The state of a connection, read-only, for the session. */
export interface ServerFacts {
  /** Phase of the conversation. */
  readonly phase: Phase;
  /** How the next bytes are read. */
  readonly reading: ReadPhase;
  /** Whether the session still decides on the connection. */
  readonly isConnecting: boolean;
  /** Whether the end of the session has been decided. */
  readonly isClosed: boolean;
  /** The state of the session, in a word. */
  readonly activity: SessionState;
  /** Whether the next bytes belong to a message's content: commands between BDAT chunks do. */
  readonly awaitsContent: boolean;
  /** The client's HELO name, `undefined` before HELO. */
  readonly helo: string | undefined;
  /** Whether the client sent EHLO or LHLO. */
  readonly extended: boolean;
  /** Whether the connection is encrypted. */
  readonly tls: boolean;
  /** Whether the client has authenticated. */
  readonly authenticated: boolean;
  /** Whether the client may send XCLIENT. */
  readonly mayImpersonate: boolean;
  /** The SASL mechanisms available on the connection now. */
  readonly mechanisms: readonly string[];
  /** The envelope of the current transaction. */
  readonly envelope: Envelope | undefined;
  /** The recipients for each accepted RCPT of the transaction, in order. */
  readonly said: readonly Said[];
}

/** An envelope that grows. */
interface OpenEnvelope extends Envelope {
  readonly recipients: Recipient[];
}

const NONE_SAID: readonly Said[] = [];

/** The state of one connection, shared by the parts of the state machine. */
export class ServerState implements ServerFacts {
  /** The settings shared by the sessions of the listener. */
  readonly profile: ServerProfile;
  /** The replies and effects to come. */
  readonly outbox: Outbox;
  /** The bytes received and not yet read. */
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
  #envelope: OpenEnvelope | undefined;
  /** Set once a recipient of the transaction has become another. */
  #rewriting: Rewriting | undefined;
  /** Refused RCPT commands of this transaction. */
  #refusedRecipients = 0;
  /** Commands since the last accepted message. */
  #idleCommands = 0;
  /** Whether the session holds a partly received message. */
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

  get activity(): SessionState {
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

  /** Whether the next bytes are content that ends with a line with a single dot. */
  get isReadingData(): boolean {
    return this.#reading === "data";
  }

  /** Whether an earlier chunk of the transaction was refused. */
  get isBdatLost(): boolean {
    return this.#phase === "bdat-lost";
  }

  /** Whether a chunk now would be the first of its message. */
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

  /** Counts messages and recipients; if unset, nothing is counted. */
  get gate(): CountingGate | undefined {
    return this.#gate;
  }

  /** Whether the client may have messages held: it submits them, or has logged in. */
  get mayHold(): boolean {
    const { kind, capabilities } = this.profile;
    return (kind.completesMessages || this.#authenticated) &&
      this.#gate !== undefined && capabilities.has("FUTURERELEASE");
  }

  get envelope(): Envelope | undefined {
    return this.#envelope;
  }

  get said(): readonly Said[] {
    return this.#rewriting?.said ?? this.#envelope?.recipients ?? NONE_SAID;
  }

  /** The reply that refuses `verb` now, `undefined` if it may run. */
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
    // If every RCPT was refused, the reply to DATA says so in place of "send
    // RCPT". In LMTP it must still be 503 (RFC 2033 section 4.2).
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

  /** Sets the gate that counts messages and recipients. */
  countWith(gate: CountingGate | undefined): void {
    this.#gate = gate;
  }

  /** Sets whether the connection is encrypted, and the SASL mechanisms available on it. */
  transportChanged(tls: boolean, mechanisms: readonly string[]): void {
    this.#tls = tls;
    this.#mechanisms = mechanisms;
  }

  /** Sets whether the client may send XCLIENT. */
  impersonationAllowed(isAllowed: boolean): void {
    this.#mayImpersonate = isAllowed;
  }

  /** STARTTLS: discards the facts received in the clear (RFC 3207 section 4.2). */
  tlsStarted(): void {
    this.#tls = true;
    this.#authenticated = false;
    this.resetTransaction();
    this.#helo = undefined;
    this.#extended = false;
    if (this.#phase !== "connecting") this.#phase = "greeted";
  }

  /** XCLIENT: the session has another client; the decision on it comes next. */
  clientChanged(
    client: { readonly helo: string | undefined; readonly loggedIn: boolean },
  ): void {
    this.resetTransaction();
    this.#phase = "connecting";
    this.#helo = client.helo;
    this.#extended = false;
    this.#authenticated = client.loggedIn;
  }

  /** Ends the session: sends `reply` if given, then closes. */
  close(reply: SmtpReply | undefined, reason: CloseReason): void {
    if (this.outbox.closed) return;
    this.input.forget();
    this.resetTransaction();
    this.outbox.close(reason, reply);
  }

  // HELO and AUTH.

  /** HELO, EHLO or LHLO arrived; the decision on it comes next. */
  helloSaid(name: string, extended: boolean): void {
    this.resetTransaction();
    this.#helo = name;
    this.#extended = extended;
  }

  /** The HELO name is accepted. */
  helloAccepted(): void {
    this.#phase = "ready";
  }

  /** The HELO name is refused, and discarded. */
  helloRefused(): void {
    this.#phase = "greeted";
    this.#helo = undefined;
    this.#extended = false;
  }

  /** A challenge is sent: the next line is the response. */
  challengeSent(): void {
    this.#reading = "auth";
  }

  /** The response has arrived. */
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

  /** Adds a recipient to the transaction. */
  recipientAccepted(
    address: Address,
    parameters: RcptParameters,
  ): void {
    if (this.#rewriting === undefined) {
      this.#envelope!.recipients.push({ address, parameters });
    } else this.#rewriting.keep({ address, parameters });
    this.#phase = "rcpt";
  }

  /** Adds the recipients that a recipient becomes. */
  recipientRedirected(
    recipient: {
      readonly address: Address;
      readonly parameters: RcptParameters;
    },
    targets: readonly Address[],
  ): void {
    this.#rewriting ??= new Rewriting(this.#envelope!.recipients);
    this.#rewriting.replace(recipient, targets);
    this.#phase = "rcpt";
  }

  /** A recipient is refused; returns how many of the transaction have been. */
  recipientRefused(): number {
    return ++this.#refusedRecipients;
  }

  /** Ends a transaction without a message, and tells the session. */
  resetTransaction(): void {
    if (this.#envelope !== undefined) this.outbox.push({ effect: "reset" });
    this.endTransaction();
  }

  /** Ends a transaction that the session knows to be over. */
  endTransaction(): void {
    this.#envelope = undefined;
    this.#rewriting = undefined;
    this.#collecting = false;
    this.#refusedRecipients = 0;
    if (this.#phase !== "connecting" && this.#phase !== "greeted") {
      this.#phase = "ready";
    }
  }

  /**
   * Counts a command that brings no message closer. Beyond
   * `maxCommandsWithoutMail` ends the session, and returns true.
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

  /** The bytes of a chunk follow, refused or not. */
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

  /** A chunk other than the last is refused: the rest of the message is lost. */
  chunkRefused(): void {
    this.#phase = "bdat-lost";
  }

  /** The current content is refused; returns whether the session holds bytes to drop. */
  contentRefused(): boolean {
    const isHeld = this.#collecting;
    this.#collecting = false;
    return isHeld;
  }

  /** The final verdict on a message is sent: its transaction is over. */
  messageDecided(isAccepted: boolean): void {
    if (isAccepted) this.#idleCommands = 0;
    this.endTransaction();
  }
}

/** The bytes of one read, and the position in them. */
export class ServerInput {
  /** The bytes; the state machine may change those it has read. */
  bytes: Uint8Array = NOTHING;
  /** Index of the next unread byte. */
  position = 0;
  /** Index at which the unread bytes end. */
  end = 0;

  /** Whether all bytes have been read. */
  get isEmpty(): boolean {
    return this.position === this.end;
  }

  /** Takes the first `count` of `bytes`. */
  take(bytes: Uint8Array, count: number): void {
    this.bytes = bytes;
    this.position = 0;
    this.end = count;
  }

  /** Drops all bytes, read or not. */
  forget(): void {
    this.bytes = NOTHING;
    this.position = this.end = 0;
  }
}
