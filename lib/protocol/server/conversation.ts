/**
 * Where the conversation with one client stands: what the client has said, the
 * transaction under way, and how the next bytes are to be read. The parts of
 * the receiving machine share it; what may follow what is in `server_states.ts`.
 *
 * What the client has sent and the receiving machine has not read yet.
 */

import type { Envelope } from "../envelope.ts";
import { tooMany } from "../replies.ts";
import { SmtpReply } from "../reply.ts";
import type {
  CloseReason,
  CountingGate,
  ServerProfile,
  Verdict,
} from "./effects.ts";
import { Outbox } from "./outbox.ts";
import type { Phase, ReadPhase } from "./state.ts";

/** The state of one connection that the parts of the machine share. */
export class Conversation {
  /** What the listener's sessions have in common. */
  readonly profile: ServerProfile;
  /** What is to be said and done. */
  readonly outbox: Outbox;
  /** What came and has not been read. */
  readonly input: ServerInput = new ServerInput();
  /** Where the conversation is, as long as it is not closed. */
  phase: Phase = "connecting";
  /** How the next bytes will be read. */
  reading: ReadPhase = "command";
  /** The name the client gave, `undefined` before HELO. */
  helo: string | undefined;
  /** Whether the client said EHLO or LHLO. */
  extended = false;
  /** Whether the connection is encrypted. */
  tls = false;
  /** Whether the client has authenticated. */
  authenticated = false;
  /** Whether the client may say for whom it speaks. */
  mayImpersonate = false;
  /** The SASL mechanisms that can be served on the connection as it is now. */
  mechanisms: readonly string[] = [];
  /** The transaction under way. */
  envelope: Envelope | undefined;
  /** RCPT commands of this transaction that were refused. */
  refusedRecipients = 0;
  /** Counts messages and recipients, where somebody does. */
  gate: CountingGate | undefined;
  /** Commands since the last message that was taken; see {@linkcode Conversation.countIdle}. */
  idleCommands = 0;
  /** Whether the session holds a message that has begun. */
  collecting = false;

  /** @param profile What the listener's sessions have in common */
  constructor(profile: ServerProfile) {
    this.profile = profile;
    this.outbox = new Outbox(profile);
  }

  /**
   * Counts a command that brings no message nearer; ends the session with the
   * one that is too many, and says so.
   */
  countIdle(): boolean {
    const { maxCommandsWithoutMail: most } = this.profile;
    if (++this.idleCommands <= most || most === 0) return false;
    this.close(tooMany("commands without mail", most), "errors");
    return true;
  }

  /** Begins a transaction. */
  begin(from: Envelope["from"], parameters: Envelope["parameters"]): void {
    this.envelope = { from, parameters, recipients: [] };
    this.refusedRecipients = 0;
    this.phase = "mail";
  }

  /** Ends a transaction that has not come to its message. */
  resetTransaction(): void {
    if (this.envelope !== undefined) this.outbox.push({ effect: "reset" });
    this.endTransaction();
  }

  /** Ends a transaction, the session knowing of it. */
  endTransaction(): void {
    this.envelope = undefined;
    this.collecting = false;
    this.refusedRecipients = 0;
    if (this.phase !== "connecting" && this.phase !== "greeted") {
      this.phase = "ready";
    }
  }

  /** Ends the session: `reply` if given, then close. */
  close(reply: SmtpReply | undefined, reason: CloseReason): void {
    if (this.outbox.closed) return;
    this.input.forget();
    this.resetTransaction();
    this.outbox.close(reason, reply);
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
