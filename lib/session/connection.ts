/**
 * One inbound connection: the loop that carries out what the receiving machine
 * asks for, one effect after the other. It owns the transport, the read buffers
 * and the end of the session; it knows no verb and writes no reply of its own.
 *
 * Nothing is awaited that is not a promise: without handlers, a command costs
 * the loop no turn of the event loop beside the read and the write.
 */

import { describeError } from "../log.ts";
import { isConnectionError, type Transport } from "../net/transport.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type {
  CloseReason,
  ServerAsk,
  ServerEffect,
  Verdict,
} from "../protocol/server_effects.ts";
import { ServerProtocol } from "../protocol/server_protocol.ts";
import type { ReadPhase } from "../protocol/server_states.ts";
import {
  borrowBodyBuffer,
  borrowCommandBuffer,
  returnBodyBuffer,
  returnCommandBuffer,
} from "./buffers.ts";
import { Authentication, type AuthenticationStep } from "./authentication.ts";
import { noteDetail, type SessionContext } from "./context.ts";
import { secureFirst, secureNow } from "./encryption.ts";
import { impersonate, mayImpersonate } from "./impersonation.ts";
import { ProxiedTransport } from "./proxied_transport.ts";
import { Questions } from "./questions.ts";
import { Reception } from "./reception.ts";
import { type SessionInit, type SessionState, SmtpSession } from "./session.ts";
import {
  ask,
  isPromise,
  type VerdictContext,
  verdictOfError,
} from "./verdicts.ts";

const NOTHING = new Uint8Array(0);
/** How long a handler or a store may take: past that no client waits any more (RFC 5321 section 4.5.3.2.6). */
const HANDLER_TIMEOUT_MS = 600_000;
const GIVEN_UP = Symbol("given up");
const nothing = () => {};

/** One inbound connection. */
export class Connection {
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** When the client is given up on, by the clock of the context. */
  deadline: number = Infinity;
  readonly #context: SessionContext;
  readonly #init: SessionInit;
  #transport: Transport;
  readonly #protocol: ServerProtocol;
  readonly #questions: Questions;
  readonly #reception: Reception;
  readonly #authentication: Authentication | undefined;
  readonly #commandBuffer: Uint8Array<ArrayBuffer> = borrowCommandBuffer();
  #bodyBuffer: Uint8Array<ArrayBuffer> | undefined;
  /** The one of the two that is read into. */
  #buffer: Uint8Array<ArrayBuffer> = this.#commandBuffer;
  /** Whether a write is under way. */
  #writing = false;
  /** The read that was begun before the greeting. */
  #early: Promise<number | null> | undefined;
  /** Whether the client spoke before the greeting. */
  #spoke = false;
  /** Whether a read is under way. */
  #reading = false;
  #reason: CloseReason | undefined;
  /** The end that waits for the handler that is busy. */
  #ending: { reply: SmtpReply | undefined; reason: CloseReason } | undefined;
  #state: SessionState = "connecting";
  /** Ends the wait for a handler or a store, where there is one. */
  #giveUp: (() => void) | undefined;

  /** @param context What the sessions of the listener have in common */
  constructor(transport: Transport, context: SessionContext) {
    this.#context = context;
    this.#transport = transport;
    const protocol = new ServerProtocol(context.profile);
    this.#init = {
      id: context.nextId(),
      remote: transport.remote,
      local: transport.local,
      proxy: transport instanceof ProxiedTransport
        ? transport.proxy
        : undefined,
      kind: context.kind,
      protocol,
      close: (reply) => this.end(reply, "refused"),
    };
    const session = new SmtpSession(this.#init);
    protocol.mayImpersonate = mayImpersonate(context, session);
    this.#protocol = protocol;
    this.session = session;
    this.#questions = new Questions(context, session);
    this.#reception = new Reception(context, { session, protocol });
    this.#authentication = context.authentication &&
      new Authentication(context.authentication, session);
    this.#useTransport(transport);
  }

  /** Runs the session to its end. Never rejects. */
  async run(): Promise<void> {
    try {
      noteDetail(this.#context, () => ({
        level: "debug",
        event: "connect",
        message: `Connection from ${this.session.remoteAddress}`,
        session: this.session.id,
        fields: {
          address: this.session.remoteAddress,
          port: this.session.remotePort,
        },
      }));
      const { session } = this;
      const secured = await secureFirst(
        this.#transport,
        this.#context,
        session,
      );
      if (secured === undefined) return;
      if (secured !== this.#transport) this.#useTransport(secured);
      await this.#listenEarly();
      await this.#loop();
    } catch (error) {
      this.#fail(error);
      await this.#unwind();
    }
    await this.#finish();
  }

  /** Takes over a transport, and what it says of its encryption. */
  #useTransport(transport: Transport): void {
    this.#transport = transport;
    this.session.tls = transport.tls;
    this.#protocol.tls = transport.tls !== undefined;
    this.#protocol.mechanisms = this.#authentication?.mechanisms ?? [];
  }

  /** TLS after STARTTLS. The peer's octets so far are forgotten by the machine. */
  async #startTls(): Promise<void> {
    this.deadline = Infinity;
    try {
      this.#useTransport(
        await secureNow(this.#transport, this.#context, this.session),
      );
    } catch (error) {
      this.#reason ??= "tls";
      throw error;
    }
    this.#protocol.tlsStarted();
    // Who logged in in the clear has to do so again.
    this.session.username = undefined;
  }

  /**
   * Reads before anything is said, to learn whether the client waits for the
   * greeting. The empty write is one turn of the event loop: enough for octets
   * that are here already, and no wait for any that are not.
   */
  async #listenEarly(): Promise<void> {
    this.#reading = true;
    this.#early = this.#transport.read(this.#commandBuffer).then((count) => {
      this.#spoke = count !== null;
      return count;
    });
    // Whoever awaits it sees the failure; until then it is no unhandled one.
    this.#early.catch(() => {});
    await this.#transport.write(NOTHING);
  }

  async #loop(): Promise<void> {
    for (;;) {
      const effect = this.#protocol.next();
      if (this.#context.handlers.onStateChange !== undefined) {
        this.#tellState();
      }
      if (effect.effect === "read") {
        this.#received(await this.#read(effect.phase));
      } else if (effect.effect === "write") {
        this.#extendDeadline();
        this.#writing = true;
        await this.#transport.write(effect.bytes);
        this.#writing = false;
      } else if (effect.effect === "close") {
        this.#reason ??= effect.reason;
        return;
      } else {
        const waiting = this.#carryOut(effect);
        if (waiting !== undefined) await waiting;
      }
    }
  }

  /** Carries out one effect; a promise where it takes time. */
  #carryOut(
    effect: Exclude<
      ServerEffect,
      { readonly effect: "read" | "write" | "close" }
    >,
  ): void | Promise<void> {
    switch (effect.effect) {
      case "ask":
        return this.#ask(effect);
      case "body": {
        const taking = this.#reception.take(effect.bytes);
        return taking && this.#await(taking, nothing);
      }
      case "drop":
        return this.#reception.drop(effect.refusal);
      case "reset":
        return this.#await(this.#reception.reset(), nothing);
      case "startTls":
        return this.#startTls();
      case "xclient":
        return impersonate(effect.attributes, {
          init: this.#init,
          session: this.session,
          protocol: this.#protocol,
        }, this.#context);
    }
  }

  /** Begins to read; resolves with the number of octets, `null` at the end. */
  #read(phase: ReadPhase): Promise<number | null> | null {
    if (this.#ending !== undefined) {
      const { reply, reason } = this.#ending;
      this.#protocol.close(reply, reason);
      return null;
    }
    this.#extendDeadline();
    this.#buffer = this.#bufferFor(phase);
    this.#reading = true;
    return this.#early ?? this.#transport.read(this.#buffer);
  }

  /** Hands what was read to the machine. */
  #received(count: number | null): void {
    this.#reading = false;
    this.#early = undefined;
    if (count === null) this.#protocol.close(undefined, "disconnected");
    else this.#protocol.receive(this.#buffer, count);
  }

  #extendDeadline(): void {
    this.deadline = this.#context.now() + this.#context.timeoutMs;
  }

  /** A large buffer while a body comes in, the session's own small one else. */
  #bufferFor(phase: ReadPhase): Uint8Array<ArrayBuffer> {
    if (phase === "data" || phase === "bdat") {
      return this.#bodyBuffer ??= borrowBodyBuffer();
    }
    this.#returnBuffer();
    return this.#commandBuffer;
  }

  #returnBuffer(): void {
    if (this.#bodyBuffer === undefined) return;
    returnBodyBuffer(this.#bodyBuffer);
    this.#bodyBuffer = undefined;
  }

  // Asks.

  #ask(effect: ServerAsk): void | Promise<void> {
    switch (effect.ask) {
      case "command": {
        const line = this.#questions.command(effect.line);
        return isPromise(line)
          ? this.#await(line, (it) => this.#protocol.answerCommand(it))
          : this.#protocol.answerCommand(line);
      }
      case "messageStart":
        return this.#settle(this.#reception.start());
      case "message":
        return this.#settle(this.#reception.finish());
      case "auth":
        return this.#goOn(this.#authentication!.start(effect));
      case "authLine":
        return this.#goOn(this.#authentication!.line(effect.text));
      case "connect":
        return this.#settleConnect(this.#questions.put(effect));
      default:
        return this.#settle(this.#questions.put(effect));
    }
  }

  #settle(verdict: Verdict | Promise<Verdict>): void | Promise<void> {
    return isPromise(verdict)
      ? this.#await(verdict, (it) => this.#protocol.answer(it))
      : this.#protocol.answer(verdict);
  }

  #goOn(
    step: AuthenticationStep | Promise<AuthenticationStep>,
  ): void | Promise<void> {
    const answer = (it: AuthenticationStep) =>
      "challenge" in it
        ? this.#protocol.challenge(it.challenge)
        : this.#protocol.answer(it.verdict);
    return isPromise(step) ? this.#await(step, answer) : answer(step);
  }

  #settleConnect(verdict: Verdict | Promise<Verdict>): void | Promise<void> {
    const answer = (it: Verdict) => {
      // Later on, after XCLIENT, it is the client's turn to speak.
      const early = this.#spoke && this.#early !== undefined;
      if (early && it === undefined) {
        this.#reason = "early";
        this.#protocol.answer(replies.earlyTalker);
      } else {
        this.#protocol.answer(it);
      }
    };
    return isPromise(verdict) ? this.#await(verdict, answer) : answer(verdict);
  }

  /**
   * Waits for a handler or a store. The client is not to blame, but one that
   * never answers must not hold the session for ever: past its time the session
   * ends, and what comes then is the answer to nobody.
   */
  async #await<T>(
    waiting: Promise<T>,
    answer: (value: T) => void,
  ): Promise<void> {
    const { now, handlerTimeoutMs = HANDLER_TIMEOUT_MS } = this.#context;
    this.deadline = now() + handlerTimeoutMs;
    const { promise, resolve } = Promise.withResolvers<typeof GIVEN_UP>();
    this.#giveUp = () => resolve(GIVEN_UP);
    const value = await Promise.race([waiting, promise]);
    this.#giveUp = undefined;
    // The session may have been ended meanwhile.
    if (this.#protocol.phase === "closed") return;
    if (value !== GIVEN_UP) answer(value);
    else this.#protocol.close(replies.noAnswer, this.#reason ??= "error");
  }

  // Ends.

  /** The client has let its time pass. */
  timeOut(): void {
    if (this.#giveUp !== undefined) {
      this.#context.log({
        level: "error",
        event: "error",
        message: "A handler or a store has not answered in time",
        session: this.session.id,
        fields: { state: this.session.state },
      });
      this.#giveUp();
      return;
    }
    // A client that does not read is not told, either; nor is one told twice.
    if (this.#reading && !this.#writing && this.#reason === undefined) {
      this.#extendDeadline();
      this.end(replies.timeout, "timeout");
    } else {
      this.deadline = Infinity;
      this.abort("timeout");
    }
  }

  /**
   * Ends the session from outside, with `reply` if there is one: at once where
   * the client is being waited for, else when the handler is done.
   */
  end(reply: SmtpReply | undefined, reason: CloseReason): void {
    if (this.#reason !== undefined) return;
    const busy = !this.#reading || this.#writing;
    if (busy || this.#protocol.phase === "connecting") {
      this.#ending ??= { reply, reason };
      return;
    }
    this.#reason = reason;
    const close = () => this.#transport.close();
    if (reply === undefined) close();
    else this.#transport.write(reply.octets).then(close, close);
  }

  /** Ends the session without waiting for anything, as a handler that is busy. */
  abort(reason: CloseReason): void {
    this.#reason ??= reason;
    this.#transport.close();
    this.#giveUp?.();
  }

  /** Notes why the loop broke off: the client went away, or a fault of our own. */
  #fail(error: unknown): void {
    if (this.#reason === undefined && !isConnectionError(error)) {
      this.#context.log({
        level: "error",
        event: "error",
        message: "Session failed",
        session: this.session.id,
        error: describeError(error),
      });
      this.#reason = "error";
    }
    this.#reason ??= "disconnected";
    this.#protocol.close(undefined, this.#reason);
  }

  /** Carries out what the machine still wants done for a client that is gone. */
  async #unwind(): Promise<void> {
    for (;;) {
      const { effect } = this.#protocol.next();
      if (effect === "reset") {
        await this.#await(this.#reception.reset(), nothing);
      }
      if (effect === "close") return;
    }
  }

  async #finish(): Promise<void> {
    this.#transport.close();
    this.#authentication?.end();
    // A read that is still under way owns its buffer.
    if (!this.#reading) {
      this.#returnBuffer();
      returnCommandBuffer(this.#commandBuffer);
    }
    const { handlers } = this.#context;
    const { session } = this;
    const reason = this.#reason ?? "disconnected";
    if (handlers.onStateChange !== undefined) this.#tellState();
    if (handlers.onDisconnect !== undefined) {
      const told = ask(
        () => handlers.onDisconnect!(session, reason),
        this.#about("onDisconnect"),
      );
      if (isPromise(told)) await this.#await(told, nothing);
    }
    noteDetail(this.#context, () => ({
      level: "debug",
      event: "disconnect",
      message: `Connection from ${session.remoteAddress} ended: ${reason}`,
      session: session.id,
      fields: { reason, messages: session.messages },
    }));
  }

  #tellState(): void {
    const { state } = this.session;
    if (state === this.#state) return;
    const previous = this.#state;
    this.#state = state;
    try {
      this.#context.handlers.onStateChange!(this.session, state, previous);
    } catch (error) {
      verdictOfError(error, this.#about("onStateChange"));
    }
  }

  #about(handler: string): VerdictContext {
    return { log: this.#context.log, session: this.session.id, handler };
  }
}
