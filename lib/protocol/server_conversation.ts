/**
 * Where the conversation with one client stands: what the client has said, the
 * transaction under way, and how the next octets are to be read. The parts of
 * the receiving machine share it; what may follow what is in `server_states.ts`.
 */

import type { Envelope } from "./envelope.ts";
import { SmtpReply } from "./reply.ts";
import type { CloseReason, ServerProfile, Verdict } from "./server_effects.ts";
import { ServerInput } from "./server_input.ts";
import { Outbox } from "./server_outbox.ts";
import type { Phase, ReadPhase } from "./server_states.ts";

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
  /** How the next octets will be read. */
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
  /** Whether the session holds a message that has begun. */
  collecting = false;

  /** @param profile What the listener's sessions have in common */
  constructor(profile: ServerProfile) {
    this.profile = profile;
    this.outbox = new Outbox(profile);
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
