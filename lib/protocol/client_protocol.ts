/**
 * The sending machine: a client's half of SMTP and LMTP, without a socket, a
 * clock or a promise. Owns which octets go out, in which order, and which
 * command each reply belongs to.
 *
 * Never decides what to do next: its owner gives orders (open, startTls,
 * authenticate, transaction, quit), carries out one effect at a time, and is
 * told when an order is done. Never throws on what the server sends; orders in
 * the wrong state throw, for those are mistakes of the owner.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321 | RFC 5321},
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import { AuthExchange, responseLine } from "./client_auth.ts";
import { ClientCapabilities } from "./client_capabilities.ts";
import { ContentFlow, openContent } from "./client_content_flow.ts";
import type { ClientEffect, ClientProtocolOptions } from "./client_effects.ts";
import {
  checkLine,
  checkOrder,
  checkUnderWay,
  CLOSED,
  type FaultCause,
  INJECTED,
  replyFault,
  unaskedFault,
} from "./client_faults.ts";
import { CommandPipeline } from "./client_pipeline.ts";
import { ReplyReader } from "./client_replies.ts";
import {
  type ClientFault,
  type ClientOrder,
  type ClientPhase,
  type ClientState,
  type ClientVerb,
  MAX_IN_FLIGHT,
  VERB_PHASE,
} from "./client_states.ts";
import {
  type ClientCommand,
  type ClientEnvelope,
  ClientTransaction,
  type RecipientOutcome,
} from "./client_transaction.ts";
import type { SmtpReply } from "./reply.ts";

const EMPTY_MESSAGE = new TextEncoder().encode(".\r\n");

/**
 * A client's half of an SMTP session.
 *
 * @example Open a session by hand
 * ```ts ignore
 * import { ClientProtocol } from "@smtp/server";
 *
 * const octets = (text: string) => new TextEncoder().encode(text);
 * const client = new ClientProtocol({ hostname: "me.example" });
 * client.open();
 * console.assert(client.next().kind === "read");
 * client.receive(octets("220 mx.example ESMTP\r\n"));
 * console.assert(client.next().kind === "write"); // EHLO me.example
 * client.receive(octets("250-mx.example\r\n250 PIPELINING\r\n"));
 * console.assert(client.next().kind === "done");
 * console.assert(client.capabilities.has("PIPELINING"));
 * ```
 */
export class ClientProtocol {
  #state: ClientState = "new";
  #capabilities = ClientCapabilities.NONE;
  #replies = 0;
  #effect: ClientEffect | undefined;
  #fault: ClientFault | undefined;
  #ended = false;
  #odd = false;
  #needsReset = false;
  #transaction: ClientTransaction | undefined;
  #content: ContentFlow | undefined;
  #auth: AuthExchange | undefined;
  readonly #pipeline = new CommandPipeline();
  readonly #reader = new ReplyReader();
  readonly #hostname: string;
  readonly #lmtp: boolean;

  /**
   * @param options The own name, and whether to speak LMTP
   * @throws {TypeError} If the name has characters that could end the command line
   */
  constructor(options: ClientProtocolOptions) {
    this.#hostname = checkLine(options.hostname);
    this.#lmtp = options.lmtp === true;
  }

  /** Where the session stands. */
  get state(): ClientState {
    return this.#state;
  }

  /** What the server offered in its last reply to EHLO. */
  get capabilities(): ClientCapabilities {
    return this.#capabilities;
  }

  /** Replies taken so far: whoever sets time limits sees progress here. */
  get replies(): number {
    return this.#replies;
  }

  /** Whether another transaction may begin: idle, and nothing odd ever happened. */
  get isReusable(): boolean {
    return this.#state === "ready" && !this.#odd && this.#reader.isEmpty;
  }

  /** The recipients of the last transaction, in order; `undefined` while not decided. */
  get outcomes(): readonly (RecipientOutcome | undefined)[] {
    return this.#transaction?.outcomes ?? [];
  }

  /** Order: wait for the greeting, then say EHLO (LHLO; HELO where EHLO is not known). */
  open(): void {
    this.#begin("open", "greeting");
    this.#pipeline.push("greeting", "");
  }

  /** Order: STARTTLS. Ends in a `startTls` effect, or in `done` with the refusal. */
  startTls(): void {
    this.#begin("startTls", "startTls");
    this.#pipeline.push("STARTTLS", "STARTTLS");
  }

  /** Order: TLS is up, say EHLO again. What the server offered before is forgotten. */
  secured(): void {
    this.#begin("secured", "greeting");
    this.#hello();
  }

  /**
   * Order: AUTH. Each `challenge` effect wants a {@linkcode ClientProtocol.respond}.
   *
   * @param initial The initial response; an empty one is not the same as none
   */
  authenticate(mechanism: string, initial?: Uint8Array): void {
    const exchange = new AuthExchange(checkLine(mechanism), initial);
    this.#begin("authenticate", "authenticating");
    this.#auth = exchange;
    this.#pipeline.push("AUTH", exchange.command);
  }

  /** Answers a challenge; `undefined` cancels the exchange. */
  respond(response: Uint8Array | undefined): void {
    this.#pipeline.push("AUTH", responseLine(response));
  }

  /**
   * Order: one message. Wants content with `content` effects as soon as the
   * server, or BDAT, allows it; `done` when every recipient is decided.
   *
   * @throws {TypeError} If there is no recipient, or a path or parameter could end its line
   */
  transaction(envelope: ClientEnvelope): void {
    if (envelope.recipients.length === 0) {
      throw new TypeError("Cannot start a transaction without a recipient");
    }
    const transaction = new ClientTransaction(envelope, { lmtp: this.#lmtp });
    const commands = transaction.commands();
    for (const { line } of commands) checkLine(line);
    this.#begin("transaction", "transaction");
    if (this.#needsReset) this.#pipeline.push("RSET", "RSET");
    this.#pipeline.pushAll(commands);
    this.#transaction = transaction;
    this.#content = new ContentFlow(transaction, this.#pipeline);
    this.#needsReset = true;
  }

  /** Order: QUIT. `done` when the server has answered, or has gone. */
  quit(): void {
    this.#begin("quit", "quitting");
    this.#pipeline.push("QUIT", "QUIT");
  }

  /** Takes octets from the server; they are the caller's again at once. */
  receive(bytes: Uint8Array): void {
    this.#reader.push(bytes);
  }

  /** The server has closed the connection. */
  end(): void {
    this.#ended = true;
  }

  /** The owner gives up: a time limit passed or the network failed. */
  fail(kind: "timeout" | "network", message: string): void {
    this.#break({ kind, message });
  }

  /**
   * Writing failed: takes the replies that the server left before it closed,
   * for they tell more than a broken pipe. `fail()` is to follow.
   */
  takeLastWords(): void {
    for (let got = this.#reader.next(); got; got = this.#reader.next()) {
      if (this.#fault || "fault" in got) return;
      if (this.#pipeline.inFlight > 0) this.#take(got.reply);
      else this.#break(unaskedFault(got));
    }
  }

  /** Takes the next piece of content, which belongs to the machine from here on. */
  content(chunk: Uint8Array): void {
    openContent(this.#content).add(chunk);
  }

  /** The content is complete. */
  endContent(): void {
    openContent(this.#content).end();
  }

  /** The one thing to do now. Call it again when that is done. */
  next(): ClientEffect {
    for (;;) {
      if (this.#fault) return { kind: "failed", fault: this.#fault };
      const bytes = this.#pipeline.takeOut();
      if (bytes) return { kind: "write", bytes, phase: this.#phase };
      const effect = this.#effect;
      if (effect) {
        this.#effect = undefined;
        return effect;
      }
      const waits = this.#pipeline.inFlight > 0;
      if (!waits && !this.#reader.isEmpty && this.#state !== "quitting") {
        this.#break(unaskedFault(this.#reader.next()));
        continue;
      }
      const got = waits ? this.#reader.next() : undefined;
      if (got) {
        if ("fault" in got) {
          this.#break({ kind: "protocol", message: got.fault });
        } else this.#take(got.reply);
        continue;
      }
      this.#send();
      if (this.#pipeline.hasLines) {
        // Eager content leaves in one write with its envelope.
        const { isEager = false } = this.#transaction ?? {};
        if (isEager && this.#content?.isWanted) return { kind: "content" };
        continue;
      }
      const idle = this.#idleEffect();
      if (idle) return idle;
    }
  }

  /** What is left when there is nothing to write and no reply to take. */
  #idleEffect(): ClientEffect | undefined {
    if (this.#content?.isWanted) return { kind: "content" };
    if (this.#pipeline.inFlight === 0) {
      this.#finishTransaction();
      return undefined;
    }
    if (!this.#ended) return { kind: "read", phase: this.#phase };
    if (this.#state === "quitting") {
      this.#pipeline.answer();
      this.#finish("closed", undefined);
    } else {
      this.#break(CLOSED);
    }
    return undefined;
  }

  #begin(order: ClientOrder, state: ClientState): void {
    checkOrder(order, this.#state);
    this.#state = state;
    this.#pipeline.clear();
    this.#transaction = undefined;
    this.#effect = undefined;
  }

  /** Sends what may go now, and drops what has become pointless. */
  #send(): void {
    const pipeline = this.#pipeline;
    const transaction = this.#transaction;
    const limit = transaction && this.#capabilities.has("PIPELINING")
      ? MAX_IN_FLIGHT
      : 1;
    for (;;) {
      const { unsent, inFlight } = pipeline;
      if (!unsent || inFlight >= limit) return;
      if (transaction?.skips(unsent.verb, inFlight === 0)) {
        return pipeline.dropUnsent();
      }
      pipeline.send();
    }
  }

  #take(reply: SmtpReply): void {
    const command = this.#pipeline.oldest!;
    this.#replies++;
    const cause = replyFault(command.verb, reply);
    if (cause) return this.#break(cause);
    this.#pipeline.answer();
    this.#dispatch(command, reply);
  }

  #dispatch(command: ClientCommand, reply: SmtpReply): void {
    switch (command.verb) {
      case "greeting":
        if (reply.isPositive) return this.#hello();
        return this.#finish("refused", reply);
      case "EHLO":
      case "LHLO":
      case "HELO":
        return this.#onHello(command.verb, reply);
      case "STARTTLS":
        return this.#onStartTls(reply);
      case "AUTH":
        return this.#onAuth(reply);
      case "QUIT":
        return this.#finish("closed", reply);
      default:
        return this.#onTransaction(command, reply);
    }
  }

  #hello(): void {
    const verb = this.#lmtp ? "LHLO" : "EHLO";
    this.#pipeline.push(verb, `${verb} ${this.#hostname}`);
  }

  #onHello(verb: ClientVerb, reply: SmtpReply): void {
    if (reply.isPositive) {
      this.#capabilities = verb === "HELO"
        ? ClientCapabilities.NONE
        : ClientCapabilities.parse(reply);
      this.#finish("ready", reply);
    } else if (verb === "EHLO" && !reply.isTemporary) {
      this.#pipeline.push("HELO", `HELO ${this.#hostname}`);
    } else {
      this.#finish("refused", reply);
    }
  }

  #onStartTls(reply: SmtpReply): void {
    if (!reply.isPositive) return this.#finish("ready", reply);
    if (!this.#reader.isEmpty) {
      // Somebody in between may have put them there, to be taken for what the
      // server says under TLS (RFC 3207 section 6).
      return this.#break(INJECTED);
    }
    this.#capabilities = ClientCapabilities.NONE;
    this.#state = "securing";
    this.#effect = { kind: "startTls" };
  }

  #onAuth(reply: SmtpReply): void {
    const step = this.#auth!.take(reply);
    if (step.kind === "line") return this.#pipeline.push("AUTH", step.line);
    if (step.kind === "challenge") this.#effect = step;
    else this.#finish("ready", reply);
  }

  #onTransaction(command: ClientCommand, reply: SmtpReply): void {
    const transaction = this.#transaction!;
    transaction.answer(command, reply);
    if (transaction.isOdd) this.#odd = true;
    if (command.verb !== "DATA" || !transaction.isVoid) return;
    this.#pipeline.write(EMPTY_MESSAGE);
    this.#pipeline.pushSent("dataEnd", 1);
  }

  #finish(state: ClientState, reply: SmtpReply | undefined): void {
    this.#state = state;
    this.#effect = { kind: "done", reply };
  }

  #finishTransaction(): void {
    checkUnderWay(this.#state);
    this.#needsReset = this.#transaction!.needsReset;
    this.#content = undefined;
    this.#finish("ready", undefined);
  }

  #break(cause: FaultCause): void {
    if (this.#fault) return;
    const fault: ClientFault = { ...cause, phase: this.#phase };
    this.#state = "broken";
    this.#fault = fault;
    this.#transaction?.abort(fault);
  }

  /** What is under way: the oldest command without an answer, else the content. */
  get #phase(): ClientPhase {
    const command = this.#pipeline.oldest;
    if (command) return VERB_PHASE[command.verb];
    if (this.#state === "startTls") return "startTls";
    return this.#transaction?.isOpen ? "body" : "reset";
  }
}
