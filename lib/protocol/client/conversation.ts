/**
 * Where the conversation with one server stands, and what each of its replies
 * does to it, the exchange of AUTH included. `protocol.ts` moves bytes and takes
 * orders; which command a reply belongs to is `pipeline.ts`, what it means to a
 * recipient is `transaction.ts`.
 *
 * Owns no secret longer than an AUTH exchange lasts, and shows none.
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

/** The state of one session of the sending side. */
export class ClientConversation {
  /** Where the session stands. */
  state: ClientState = "new";
  /** What the server offered in its last reply to EHLO. */
  capabilities: ClientCapabilities = ClientCapabilities.NONE;
  /** Replies taken so far. */
  replies = 0;
  /** What the owner of the machine is to be told next. */
  effect: ClientEffect | undefined;
  /** Why the session is broken, if it is. */
  fault: ClientFault | undefined;
  /** Whether the server accepted DATA after rejecting every recipient. */
  isOdd = false;
  /** Whether the server must be told RSET before the next transaction. */
  needsReset = false;
  /** The transaction under way, or the last one. */
  transaction: ClientTransaction | undefined;
  /** Its content on the way out. */
  content: ContentFlow | undefined;
  /** The AUTH exchange under way. */
  auth: AuthExchange | undefined;
  /** Commands on their way. */
  readonly pipeline: CommandPipeline = new CommandPipeline();
  /** What came from the server and has not been taken. */
  readonly reader: ReplyReader = new ReplyReader();
  /** Whether LMTP is spoken. */
  readonly lmtp: boolean;
  readonly #hostname: string;

  /**
   * @param options The own name, and whether to speak LMTP
   * @throws {TypeError} If the name has characters that could end the command line
   */
  constructor(options: ClientProtocolOptions) {
    this.#hostname = checkLine(options.hostname);
    this.lmtp = options.lmtp === true;
  }

  /**
   * Begins an order.
   *
   * @throws {Error} If the state forbids it
   */
  begin(order: ClientOrder, state: ClientState): void {
    checkOrder(order, this.state);
    this.state = state;
    this.pipeline.clear();
    this.transaction = undefined;
    this.effect = undefined;
  }

  /** Says EHLO, or LHLO. */
  hello(): void {
    const verb = this.lmtp ? "LHLO" : "EHLO";
    this.pipeline.push(verb, `${verb} ${this.#hostname}`);
  }

  /** Takes the reply to the oldest command without one. */
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
      // Somebody in between may have put them there, to be taken for what the
      // server says under TLS (RFC 3207 section 6).
      return this.break(INJECTED);
    }
    this.capabilities = ClientCapabilities.NONE;
    this.state = "securing";
    this.effect = { kind: "startTls" };
  }

  #onAuth(reply: SmtpReply): void {
    const step = this.auth!.take(reply);
    if (step.kind === "line") return this.pipeline.push("AUTH", step.line);
    if (step.kind === "challenge") this.effect = step;
    else if (step.kind === "stuck") this.break(STUCK);
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

  /** Ends the order under way. */
  finish(state: ClientState, reply: SmtpReply | undefined): void {
    this.state = state;
    this.effect = { kind: "done", reply };
  }

  /** Ends a transaction whose recipients are all decided. */
  finishTransaction(): void {
    checkUnderWay(this.state);
    this.needsReset = this.transaction!.needsReset;
    this.content = undefined;
    this.finish("ready", undefined);
  }

  /** Breaks the session: nothing can be sent or taken any more. */
  break(cause: FaultCause): void {
    if (this.fault) return;
    const fault: ClientFault = { ...cause, phase: this.phase };
    this.state = "broken";
    this.fault = fault;
    this.transaction?.abort(fault);
  }

  /** What is under way: the oldest command without an answer, else the content. */
  get phase(): ClientPhase {
    const command = this.pipeline.oldest;
    if (command) return VERBS[command.verb].phase;
    if (this.state === "startTls") return "startTls";
    if (this.state === "authenticating") return "authenticate";
    return this.transaction?.isOpen ? "body" : "reset";
  }
}

/** AUTH keeps to the length of a command line, CRLF not counted. */
const MAX_AUTH_LINE = 510;
/** Challenges of one exchange: no mechanism in use asks more than four times. */
const MAX_CHALLENGES = 10;

/** What follows a reply in an AUTH exchange. */
export type AuthStep =
  | {
    /** The exchange is over, well or badly as the reply says. */
    readonly kind: "over";
  }
  | {
    /** The server goes on after the exchange was cancelled: the session is useless. */
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
  /** An initial response too long for the first line: it answers the first challenge. */
  #initial: Uint8Array | undefined;
  #challenges = 0;
  #isCancelled = false;

  /**
   * @param mechanism The SASL mechanism's name
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
   * What to do about a reply. A challenge that is not base64, or one too many,
   * cancels the exchange; a server that asks on after that is given up.
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

  /** The line of a response; `undefined` cancels with `*`. */
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
