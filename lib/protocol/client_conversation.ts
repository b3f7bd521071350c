/**
 * Where the conversation with one server stands, and what each of its replies
 * does to it. The sending machine in `client_protocol.ts` moves octets and
 * takes orders; which command a reply belongs to is `client_pipeline.ts`, what
 * it means to a recipient is `client_transaction.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.1 | RFC 5321 section 4.1.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import type { AuthExchange } from "./client_auth.ts";
import { ClientCapabilities } from "./client_capabilities.ts";
import type { ContentFlow } from "./client_content_flow.ts";
import type { ClientEffect, ClientProtocolOptions } from "./client_effects.ts";
import {
  checkLine,
  checkOrder,
  checkUnderWay,
  type FaultCause,
  INJECTED,
  replyFault,
  STUCK,
} from "./client_faults.ts";
import { CommandPipeline } from "./client_pipeline.ts";
import { ReplyReader } from "./client_replies.ts";
import {
  type ClientFault,
  type ClientOrder,
  type ClientPhase,
  type ClientState,
  type ClientVerb,
  VERB_PHASE,
} from "./client_states.ts";
import type { ClientCommand, ClientTransaction } from "./client_transaction.ts";
import type { SmtpReply } from "./reply.ts";

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
  /** Whether the server has ever taken content for nobody. */
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
    if (command) return VERB_PHASE[command.verb];
    if (this.state === "startTls") return "startTls";
    if (this.state === "authenticating") return "authenticate";
    return this.transaction?.isOpen ? "body" : "reset";
  }
}
