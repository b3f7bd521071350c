/**
 * The state of the conversation with one server, and the effect of each reply
 * on it, AUTH exchanges included. `protocol.ts` moves bytes and takes orders,
 * `pipeline.ts` matches replies to commands, `transaction.ts` decides what a
 * reply means for a recipient.
 *
 * Keeps a secret only for the time of an AUTH exchange, and never shows it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.1 | RFC 5321 section 4.1.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import { ClientCapabilities } from "./capabilities.ts";
import type { ContentFlow } from "./content.ts";
import {
  checkLine,
  checkOrder,
  checkUnderWay,
  type ClientEffect,
  type ClientFault,
  type ClientOrder,
  type ClientPhase,
  type ClientProtocolOptions,
  type ClientState,
  type ClientVerb,
  type FaultCause,
  INJECTED,
  replyFault,
  STUCK,
  VERBS,
} from "./state.ts";
import { CommandPipeline } from "./pipeline.ts";
import { ReplyReader } from "./replies.ts";
import type { ClientCommand, ClientTransaction } from "./transaction.ts";
import type { SmtpReply } from "../reply.ts";

const EMPTY_MESSAGE = new TextEncoder().encode(".\r\n");

/** The state of one client session. */
export class ClientConversation {
  /** State of the session. */
  state: ClientState = "new";
  /** Capabilities from the last reply to EHLO. */
  capabilities: ClientCapabilities = ClientCapabilities.NONE;
  /** Replies received so far. */
  replies = 0;
  /** The next effect for the owner of the state machine. */
  effect: ClientEffect | undefined;
  /** The fault that broke the session, if any. */
  fault: ClientFault | undefined;
  /** Whether the server misbehaved in a transaction, as {@linkcode ClientTransaction.isOdd} says. */
  isOdd = false;
  /** Whether the next transaction must begin with RSET. */
  needsReset = false;
  /** The current or last transaction. */
  transaction: ClientTransaction | undefined;
  /** Sends the content of the transaction. */
  content: ContentFlow | undefined;
  /** The current AUTH exchange. */
  auth: AuthExchange | undefined;
  /** The commands sent and to be sent. */
  readonly pipeline: CommandPipeline = new CommandPipeline();
  /** Bytes received and not yet parsed. */
  readonly reader: ReplyReader = new ReplyReader();
  /** Whether the session speaks LMTP. */
  readonly lmtp: boolean;
  readonly #hostname: string;

  /**
   * @param options The name of this client, and whether to speak LMTP
   * @throws {TypeError} If the name has characters that could end the command line
   */
  constructor(options: ClientProtocolOptions) {
    this.#hostname = checkLine(options.hostname);
    this.lmtp = options.lmtp === true;
  }

  /**
   * Begins an order.
   *
   * @throws {Error} If the state does not allow it
   */
  begin(order: ClientOrder, state: ClientState): void {
    checkOrder(order, this.state);
    this.state = state;
    this.pipeline.clear();
    this.transaction = undefined;
    this.effect = undefined;
  }

  /** Sends EHLO, or LHLO. */
  hello(): void {
    const verb = this.lmtp ? "LHLO" : "EHLO";
    this.pipeline.push(verb, `${verb} ${this.#hostname}`);
  }

  /** Takes the reply to the oldest unanswered command. */
  take(reply: SmtpReply): void {
    const command = this.pipeline.oldest!;
    this.replies++;
    const cause = replyFault(command.verb, reply);
    if (cause) return this.break(cause);
    this.pipeline.answer();
    this.#dispatch(command, reply);
  }

  #dispatch(command: ClientCommand, reply: SmtpReply): void {
    switch (command.verb) {
      case "greeting":
        if (reply.isPositive) return this.hello();
        return this.finish("refused", reply);
      case "EHLO":
      case "LHLO":
      case "HELO":
        return this.#onHello(command.verb, reply);
      case "STARTTLS":
        return this.#onStartTls(reply);
      case "AUTH":
        return this.#onAuth(reply);
      case "QUIT":
        return this.finish("closed", reply);
      default:
        return this.#onTransaction(command, reply);
    }
  }

  #onHello(verb: ClientVerb, reply: SmtpReply): void {
    if (reply.isPositive) {
      this.capabilities = verb === "HELO"
        ? ClientCapabilities.NONE
        : ClientCapabilities.parse(reply);
      this.finish("ready", reply);
    } else if (verb === "EHLO" && !reply.isTemporary) {
      this.pipeline.push("HELO", `HELO ${this.#hostname}`);
    } else {
      this.finish("refused", reply);
    }
  }

  #onStartTls(reply: SmtpReply): void {
    if (!reply.isPositive) return this.finish("ready", reply);
    if (!this.reader.isEmpty) {
      // An attacker may have injected the bytes, to pass them off as the
      // server's under TLS (RFC 3207 section 6).
      return this.break(INJECTED);
    }
    this.capabilities = ClientCapabilities.NONE;
    this.state = "securing";
    this.effect = { kind: "startTls" };
  }

  #onAuth(reply: SmtpReply): void {
    const step = this.auth!.take(reply);
    if (step.kind === "line") return this.pipeline.push("AUTH", step.line);
    if (step.kind === "challenge") {
      this.effect = step;
      return;
    }
    // Its first line may hold a password. So does the list of commands.
    this.auth = undefined;
    this.pipeline.clear();
    if (step.kind === "stuck") this.break(STUCK);
    else this.finish("ready", reply);
  }

  #onTransaction(command: ClientCommand, reply: SmtpReply): void {
    const transaction = this.transaction!;
    transaction.answer(command, reply);
    if (transaction.isOdd) this.isOdd = true;
    if (command.verb !== "DATA" || !transaction.isVoid) return;
    this.pipeline.write(EMPTY_MESSAGE);
    this.pipeline.pushSent("dataEnd", 1);
  }

  /** Completes the current order. */
  finish(state: ClientState, reply: SmtpReply | undefined): void {
    this.state = state;
    this.effect = { kind: "done", reply };
  }

  /** Completes a transaction in which every recipient is decided. */
  finishTransaction(): void {
    checkUnderWay(this.state);
    this.needsReset = this.transaction!.needsReset;
    this.content = undefined;
    this.finish("ready", undefined);
  }

  /** Breaks the session: no more bytes are sent or accepted. */
  break(cause: FaultCause): void {
    if (this.fault) return;
    const fault: ClientFault = { ...cause, phase: this.phase };
    this.state = "broken";
    this.fault = fault;
    this.transaction?.abort(fault);
  }

  /** The current phase: that of the oldest unanswered command, else the content. */
  get phase(): ClientPhase {
    const command = this.pipeline.oldest;
    if (command) return VERBS[command.verb].phase;
    if (this.state === "startTls") return "startTls";
    if (this.state === "authenticating") return "authenticate";
    return this.transaction?.isOpen ? "body" : "reset";
  }
}

/** Longest AUTH command line, in bytes without CRLF: that of any command line. */
const MAX_AUTH_LINE = 510;
/** Most challenges of one exchange: no mechanism in use sends more than four. */
const MAX_CHALLENGES = 10;

/** The next step of an AUTH exchange after a reply. */
export type AuthStep =
  | {
    /** The exchange is complete; the reply tells success or failure. */
    readonly kind: "over";
  }
  | {
    /**
     * The server continues after the exchange was cancelled: the session cannot
     * be used further.
     */
    readonly kind: "stuck";
  }
  | {
    /** Send this line. */
    readonly kind: "line";
    /** The line without CRLF. */
    readonly line: string;
  }
  | {
    /** Ask for the response to this challenge. */
    readonly kind: "challenge";
    /** The challenge, decoded. */
    readonly challenge: Uint8Array;
  };

/** One AUTH exchange. */
export class AuthExchange {
  /** The first line, without CRLF. */
  readonly command: string;
  /** An initial response that is too long for the first line, sent after the first challenge. */
  #initial: Uint8Array | undefined;
  #challenges = 0;
  #isCancelled = false;

  /**
   * @param mechanism The name of the SASL mechanism
   * @param initial The initial response; an empty one is not the same as none
   */
  constructor(mechanism: string, initial: Uint8Array | undefined) {
    const bare = `AUTH ${mechanism}`;
    const full = initial && `${bare} ${initial.toBase64() || "="}`;
    const fits = full !== undefined && full.length <= MAX_AUTH_LINE;
    this.command = fits ? full : bare;
    this.#initial = fits ? undefined : initial;
  }

  /**
   * Decides on the step after a reply. Cancels the exchange at a challenge that
   * is not base64, or at one too many. A server that sends another challenge
   * after that breaks the session.
   */
  take(reply: SmtpReply): AuthStep {
    if (reply.code < 300 || reply.code >= 400) return { kind: "over" };
    if (this.#isCancelled) return { kind: "stuck" };
    if (++this.#challenges > MAX_CHALLENGES) {
      return this.#respondLine(undefined);
    }
    const initial = this.#initial;
    this.#initial = undefined;
    if (initial) return this.#respondLine(initial);
    const challenge = decodeBase64(reply.lines.join(""));
    return challenge
      ? { kind: "challenge", challenge }
      : this.#respondLine(undefined);
  }

  /** The line with a response; `undefined` cancels with `*`. */
  respond(response: Uint8Array | undefined): string {
    if (response === undefined) this.#isCancelled = true;
    return response === undefined ? "*" : response.toBase64();
  }

  #respondLine(response: Uint8Array | undefined): AuthStep {
    return { kind: "line", line: this.respond(response) };
  }
}

function decodeBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}
