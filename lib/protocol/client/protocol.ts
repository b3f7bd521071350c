/**
 * The client side of SMTP and LMTP as a state machine without a socket, a clock
 * or a promise. Decides which bytes are sent, in which order, and which command
 * each reply belongs to.
 *
 * Never decides what to do next: its owner gives orders (open, startTls,
 * secured, authenticate, transaction, quit), carries out one effect at a time,
 * and gets a `done` effect when an order is complete. Never throws on bytes from
 * the server. An order in the wrong state throws, because it is an error of the
 * owner. `conversation.ts` interprets the replies.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321 | RFC 5321},
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920},
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import { AuthExchange, ClientConversation } from "./conversation.ts";
import type { ClientCapabilities } from "./capabilities.ts";
import { ContentFlow, openContent } from "./content.ts";
import {
  checkLine,
  type ClientEffect,
  type ClientFault,
  type ClientProtocolOptions,
  type ClientState,
  CLOSED,
  MAX_IN_FLIGHT,
  unaskedFault,
} from "./state.ts";
import type { CommandPipeline } from "./pipeline.ts";
import type { ReplyReader } from "./replies.ts";
import {
  type ClientEnvelope,
  ClientTransaction,
  type RecipientOutcome,
} from "./transaction.ts";

/** A client's half of an SMTP session. */
export class ClientProtocol {
  readonly #conversation: ClientConversation;
  readonly #pipeline: CommandPipeline;
  readonly #reader: ReplyReader;
  #ended = false;

  /**
   * @param options The name of this client, and whether to speak LMTP
   * @throws {TypeError} If the name has characters that could end the command line
   */
  constructor(options: ClientProtocolOptions) {
    this.#conversation = new ClientConversation(options);
    this.#pipeline = this.#conversation.pipeline;
    this.#reader = this.#conversation.reader;
  }

  /** State of the session. */
  get state(): ClientState {
    return this.#conversation.state;
  }

  /** The fault that broke the session, if any. */
  get fault(): ClientFault | undefined {
    return this.#conversation.fault;
  }

  /** Capabilities from the last reply to EHLO. */
  get capabilities(): ClientCapabilities {
    return this.#conversation.capabilities;
  }

  /** Replies received so far: shows progress to the owner of time limits. */
  get replies(): number {
    return this.#conversation.replies;
  }

  /**
   * Whether another transaction may begin: the session is idle, and the server
   * never misbehaved.
   */
  get isReusable(): boolean {
    return this.#conversation.state === "ready" && !this.#conversation.isOdd &&
      this.#reader.isEmpty;
  }

  /**
   * Outcomes of the recipients of the last transaction, in order; `undefined`
   * while not decided.
   */
  get outcomes(): readonly (RecipientOutcome | undefined)[] {
    return this.#conversation.transaction?.outcomes ?? [];
  }

  /** Order: wait for the greeting, then send EHLO (LHLO; HELO if EHLO is unknown). */
  open(): void {
    this.#conversation.begin("open", "greeting");
    this.#pipeline.push("greeting", "");
  }

  /** Order: STARTTLS. Ends in a `startTls` effect, or in `done` with the refusal. */
  startTls(): void {
    this.#conversation.begin("startTls", "startTls");
    this.#pipeline.push("STARTTLS", "STARTTLS");
  }

  /** Order: TLS is established, send EHLO again. Discards the earlier capabilities. */
  secured(): void {
    this.#conversation.begin("secured", "greeting");
    this.#conversation.hello();
  }

  /**
   * Order: AUTH. Each `challenge` effect requires a
   * {@linkcode ClientProtocol.respond}.
   *
   * @param initial The initial response; an empty one is not the same as none
   */
  authenticate(mechanism: string, initial?: Uint8Array): void {
    const exchange = new AuthExchange(checkLine(mechanism), initial);
    this.#conversation.begin("authenticate", "authenticating");
    this.#conversation.auth = exchange;
    this.#pipeline.push("AUTH", exchange.command);
  }

  /** Answers a challenge; `undefined` cancels the exchange. */
  respond(response: Uint8Array | undefined): void {
    const line = this.#conversation.auth!.respond(response);
    this.#pipeline.push("AUTH", line);
  }

  /**
   * Order: send one message. Asks for content with `content` effects as soon as
   * the server, or BDAT, allows it. `done` when every recipient is decided.
   *
   * @throws {TypeError} If there is no recipient, or a path or parameter could end its line
   */
  transaction(envelope: ClientEnvelope): void {
    const conversation = this.#conversation;
    if (envelope.recipients.length === 0) {
      throw new TypeError("Cannot start a transaction without a recipient");
    }
    const transaction = new ClientTransaction(envelope, {
      lmtp: conversation.lmtp,
    });
    const commands = transaction.commands();
    for (const { line } of commands) checkLine(line);
    conversation.begin("transaction", "transaction");
    if (conversation.needsReset) this.#pipeline.push("RSET", "RSET");
    this.#pipeline.pushAll(commands);
    conversation.transaction = transaction;
    conversation.content = new ContentFlow(transaction, this.#pipeline);
    conversation.needsReset = true;
  }

  /** Order: QUIT. `done` when the server has replied or closed the connection. */
  quit(): void {
    this.#conversation.begin("quit", "quitting");
    this.#pipeline.push("QUIT", "QUIT");
  }

  /** Takes bytes from the server. The caller may reuse them at once. */
  receive(bytes: Uint8Array): void {
    this.#reader.push(bytes);
  }

  /** Reports that the server has closed the connection. */
  end(): void {
    this.#ended = true;
  }

  /** Reports a failure found by the owner: an exceeded time limit or a network error. */
  fail(kind: "timeout" | "network", message: string): void {
    this.#conversation.break({ kind, message });
  }

  /**
   * Reports that writing failed. Reads the replies that the server sent before
   * it closed the connection: they tell more than a broken pipe. The owner
   * calls `fail()` next.
   */
  takeLastWords(): void {
    const conversation = this.#conversation;
    for (let got = this.#reader.next(); got; got = this.#reader.next()) {
      if (conversation.fault || "fault" in got) return;
      if (this.#pipeline.inFlight > 0) conversation.take(got.reply);
      else conversation.break(unaskedFault(got));
    }
  }

  /** Takes the next piece of content and ownership of it. */
  content(chunk: Uint8Array): void {
    openContent(this.#conversation.content).add(chunk);
  }

  /** Ends the content. */
  endContent(): void {
    openContent(this.#conversation.content).end();
  }

  /** Returns the next effect. Call it again when that effect is carried out. */
  next(): ClientEffect {
    const conversation = this.#conversation;
    for (;;) {
      if (conversation.fault) {
        return { kind: "failed", fault: conversation.fault };
      }
      const bytes = this.#pipeline.takeOut();
      if (bytes) {
        return { kind: "write", bytes, phase: conversation.phase };
      }
      const effect = conversation.effect;
      if (effect) {
        conversation.effect = undefined;
        return effect;
      }
      const waits = this.#pipeline.inFlight > 0;
      if (
        !waits && !this.#reader.isEmpty &&
        conversation.state !== "quitting"
      ) {
        conversation.break(unaskedFault(this.#reader.next()));
        continue;
      }
      const got = waits ? this.#reader.next() : undefined;
      if (got) {
        if ("fault" in got) {
          conversation.break({ kind: "protocol", message: got.fault });
        } else conversation.take(got.reply);
        continue;
      }
      this.#send();
      if (this.#pipeline.hasLines) {
        // Sends eager content in one write with its envelope.
        const { isEager = false } = conversation.transaction ?? {};
        if (isEager && conversation.content?.isWanted) {
          return { kind: "content" };
        }
        continue;
      }
      const idle = this.#idleEffect();
      if (idle) return idle;
    }
  }

  /** The effect when there are no bytes to write and no replies to take. */
  #idleEffect(): ClientEffect | undefined {
    const conversation = this.#conversation;
    if (conversation.content?.isWanted) return { kind: "content" };
    if (this.#pipeline.inFlight === 0) {
      conversation.finishTransaction();
      return undefined;
    }
    if (!this.#ended) return { kind: "read", phase: conversation.phase };
    if (conversation.state === "quitting") {
      this.#pipeline.answer();
      conversation.finish("closed", undefined);
    } else {
      conversation.break(CLOSED);
    }
    return undefined;
  }

  /** Sends the commands that may go now, and drops those that have no purpose any more. */
  #send(): void {
    const pipeline = this.#pipeline;
    const { transaction, capabilities } = this.#conversation;
    const limit = transaction && capabilities.has("PIPELINING")
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
}
