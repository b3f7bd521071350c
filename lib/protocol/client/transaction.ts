/**
 * The state of one mail transaction on the client side: which recipients are
 * decided, by which reply, and whether content is wanted. Makes the commands of
 * the envelope, but sends nothing; `conversation.ts` passes it one reply at a
 * time.
 *
 * Does not decide the consequence of a refusal (next host, later, never):
 * `delivery/outcome.ts` does.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.3 | RFC 5321 section 3.3},
 * {@link https://www.rfc-editor.org/rfc/rfc2033#section-4.2 | RFC 2033 section 4.2},
 * {@link https://www.rfc-editor.org/rfc/rfc3030#section-2 | RFC 3030 section 2}
 */

import type { ClientFault, ClientPhase, ClientVerb } from "./state.ts";
import type { SmtpReply } from "../reply.ts";

/** One recipient of a {@linkcode ClientEnvelope}. */
export interface ClientRecipient {
  /** The forward-path with its angle brackets. */
  readonly path: string;
  /** The parameters of RCPT as sent on the wire; `""` for none. */
  readonly parameters?: string | undefined;
}

/** The envelope of a message, and the framing of its content. */
export interface ClientEnvelope {
  /** The reverse-path with its angle brackets, `"<>"` for the null sender. */
  readonly from: string;
  /** The parameters of MAIL as sent on the wire; `""` for none. */
  readonly parameters?: string | undefined;
  /** The recipients, at least one. */
  readonly recipients: readonly ClientRecipient[];
  /**
   * The framing of the content: `data` with DATA, `bdat` in BDAT chunks,
   * `binary` in BDAT chunks with line ends unchanged (BODY=BINARYMIME). BDAT
   * needs a server with CHUNKING, and does not work with LMTP.
   *
   * @default {"data"}
   */
  readonly framing?: "data" | "bdat" | "binary" | undefined;
  /**
   * With BDAT: send the content without waiting for the replies to MAIL and
   * RCPT. Saves a round trip, but wastes the content if all recipients are
   * refused.
   *
   * @default {false}
   */
  readonly eager?: boolean | undefined;
}

/** The outcome for one recipient. */
export interface RecipientOutcome {
  /** Whether the server accepted the message for this recipient. */
  readonly accepted: boolean;
  /** The step that decided. */
  readonly phase: ClientPhase;
  /** The reply that decided, `undefined` if the session broke without one. */
  readonly reply: SmtpReply | undefined;
  /** The fault that broke the session, if it decided. */
  readonly fault?: ClientFault | undefined;
}

/** One command of the pipeline. */
export interface ClientCommand {
  /** The verb. */
  readonly verb: ClientVerb;
  /** The line without CRLF; empty for waits, and for BDAT, whose line is written with its bytes. */
  readonly line: string;
  /** For RCPT the index of the recipient. For BDAT 1 for the last chunk, else 0. */
  readonly index: number;
}

/** The state of one transaction. */
export class ClientTransaction {
  /** Whether the next transaction must begin with RSET. */
  needsReset = true;
  /** Whether content may be sent: DATA got its 354, or BDAT may begin. */
  isOpen = false;
  /** Whether the server accepted content without a recipient, or seems not to know BDAT. */
  isOdd = false;
  /** Whether DATA got 354 with no recipient accepted: an empty message must end it. */
  isVoid = false;
  readonly #outcomes: (RecipientOutcome | undefined)[];
  #accepted: number[] = [];
  #settled = 0;
  #mailRefused = false;
  #nextLmtp = 0;
  readonly #envelope: ClientEnvelope;
  readonly #lmtp: boolean;

  /**
   * @param envelope The envelope of the message
   * @param options Whether each recipient gets its own reply (LMTP)
   */
  constructor(
    envelope: ClientEnvelope,
    options: {
      /** Whether the session speaks LMTP. */
      lmtp: boolean;
    },
  ) {
    this.#envelope = envelope;
    this.#lmtp = options.lmtp;
    this.#outcomes = envelope.recipients.map(() => undefined);
  }

  /** The framing of the content. */
  get framing(): "data" | "bdat" | "binary" {
    return this.#envelope.framing ?? "data";
  }

  /** Whether content is sent before the replies to MAIL and RCPT. */
  get isEager(): boolean {
    return this.#envelope.eager === true && this.framing !== "data";
  }

  /** Whether every recipient is decided. */
  get isSettled(): boolean {
    return this.#settled === this.#outcomes.length;
  }

  /** Whether a recipient is accepted and the content decides on it. */
  get hasAccepted(): boolean {
    return this.#accepted.length > 0 && !this.isSettled;
  }

  /** Number of replies to the end of the content. */
  get finalReplies(): number {
    return this.#lmtp && !this.isVoid ? this.#accepted.length : 1;
  }

  /** Outcomes in the order of the envelope; `undefined` while not decided. */
  get outcomes(): readonly (RecipientOutcome | undefined)[] {
    return this.#outcomes;
  }

  /** The commands up to DATA, in order. */
  commands(): ClientCommand[] {
    const { from, recipients } = this.#envelope;
    const commands: ClientCommand[] = [{
      verb: "MAIL",
      line: withParameters(`MAIL FROM:${from}`, this.#envelope.parameters),
      index: 0,
    }];
    for (const [index, { path, parameters }] of recipients.entries()) {
      const line = withParameters(`RCPT TO:${path}`, parameters);
      commands.push({ verb: "RCPT", line, index });
    }
    if (this.framing === "data") {
      commands.push({ verb: "DATA", line: "DATA", index: 0 });
    }
    return commands;
  }

  /** Whether an unsent command has no purpose any more. `answered`: no command is in flight. */
  skips(verb: ClientVerb, answered: boolean): boolean {
    if (this.#mailRefused) return true;
    return verb === "DATA" && answered && this.#accepted.length === 0;
  }

  /** Takes the reply to one of {@linkcode ClientTransaction.commands}, or to the content. */
  answer(command: ClientCommand, reply: SmtpReply): void {
    switch (command.verb) {
      case "MAIL":
        if (reply.isPositive) return;
        this.#mailRefused = true;
        this.needsReset = false;
        this.#settleAll({ accepted: false, phase: "mail", reply });
        return;
      case "RCPT":
        if (reply.isPositive) this.#accept(command.index);
        else this.#refuse(command.index, reply);
        return;
      case "DATA":
        this.#answerData(reply);
        return;
      case "BDAT":
        this.#answerChunk(command.index === 1, reply);
        return;
      case "dataEnd":
        this.#answerEnd(reply);
        return;
    }
  }

  /** Decides all open recipients, after the session broke. */
  abort(fault: ClientFault): void {
    const { phase, reply } = fault;
    this.#settleAll({ accepted: false, phase, reply, fault });
  }

  #accept(index: number): void {
    if (this.#outcomes[index] === undefined) this.#accepted.push(index);
  }

  #refuse(index: number, reply: SmtpReply): void {
    this.#settle(index, { accepted: false, phase: "rcpt", reply });
  }

  #answerData(reply: SmtpReply): void {
    if (!reply.isPositive) {
      this.#settleAll({ accepted: false, phase: "data", reply });
    } else if (this.hasAccepted) {
      this.isOpen = true;
    } else {
      this.isVoid = this.isOdd = true;
    }
  }

  #answerChunk(last: boolean, reply: SmtpReply): void {
    if (reply.isPositive && !last) return;
    if (reply.isPositive && !this.hasAccepted) this.isOdd = true;
    if (reply.isPositive) this.needsReset = false;
    else this.isOpen = false;
    // A server that does not know BDAT reads the chunk as commands.
    if (!this.isSettled && reply.code >= 500 && reply.code <= 504) {
      this.isOdd = true;
    }
    this.#settleAll({
      accepted: reply.isPositive,
      phase: "dataEnd",
      reply,
    });
  }

  #answerEnd(reply: SmtpReply): void {
    this.needsReset = false;
    const outcome: RecipientOutcome = {
      accepted: reply.isPositive,
      phase: "dataEnd",
      reply,
    };
    if (!this.#lmtp) return this.#settleAll(outcome);
    const index = this.#accepted[this.#nextLmtp++];
    if (index !== undefined) this.#settle(index, outcome);
  }

  #settle(index: number, outcome: RecipientOutcome): void {
    if (this.#outcomes[index] !== undefined) return;
    this.#outcomes[index] = outcome;
    this.#settled++;
  }

  #settleAll(outcome: RecipientOutcome): void {
    for (let index = 0; index < this.#outcomes.length; index++) {
      this.#settle(index, outcome);
    }
  }
}

function withParameters(command: string, parameters = ""): string {
  const text = parameters.trim();
  return text === "" ? command : `${command} ${text}`;
}
