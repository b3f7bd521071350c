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
import { beginsTls, ServerProtocol } from "../protocol/server_protocol.ts";
import type { ReadPhase } from "../protocol/server_states.ts";
import {
  borrowBodyBuffer,
  COMMAND_BUFFER_SIZE,
  returnBodyBuffer,
} from "./buffers.ts";
import { Authentication, type AuthenticationStep } from "./authentication.ts";
import type { SessionContext } from "./context.ts";
import { secureFirst, secureNow } from "./encryption.ts";
import { EXEMPT, type Ticket } from "./limits.ts";
import { Patience } from "./patience.ts";
import { Questions } from "./questions.ts";
import { Reception } from "./reception.ts";
import { noteConnect, noteEnd } from "./records.ts";
import { type SessionState, SmtpSession } from "./session.ts";
import { SessionLimits } from "./session_limits.ts";
import {
  ask,
  isPromise,
  type VerdictContext,
  verdictOfError,
} from "./verdicts.ts";

const NOTHING = new Uint8Array(0);
/** How long a client that is sent away may take to read why, in ms. */
const FAREWELL_MS = 10_000;
const encoder = new TextEncoder();

/** One inbound connection. */
export class Connection {
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** When the client is given up on, by the clock of the context. */
  deadline: number = Infinity;
  /** What the session may do, by its address. */
  readonly limits: SessionLimits;
  readonly #context: SessionContext;
  #transport: Transport;
  readonly #protocol: ServerProtocol;
  readonly #questions: Questions;
  readonly #reception: Reception;
  readonly #patience: Patience;
  readonly #authentication: Authentication | undefined;
  readonly #commandBuffer: Uint8Array<ArrayBuffer> = new Uint8Array(
    COMMAND_BUFFER_SIZE,
  );
  #bodyBuffer: Uint8Array<ArrayBuffer> | undefined;
  /** The one of the two that is read into. */
  #buffer: Uint8Array<ArrayBuffer> = this.#commandBuffer;
  /** Whether a write is under way. */
  #writing = false;
  /** The read that was begun before the greeting. */
  #early: Promise<number | null> | undefined;
  /** Octets that came before the greeting. */
  #spoke = 0;
  /** Whether a read is under way. */
  #reading = false;
  #reason: CloseReason | undefined;
  /** What the client was told at last. */
  #lastWord: SmtpReply | undefined;
  /** The end that waits for the handler that is busy. */
  #ending: { reply: SmtpReply | undefined; reason: CloseReason } | undefined;
  #state: SessionState = "connecting";

  /**
   * @param context What the sessions of the listener have in common
   * @param options `ticket`: what the client was admitted with
   */
  constructor(
    transport: Transport,
    context: SessionContext,
    options: { readonly ticket?: Ticket } = {},
  ) {
    this.#context = context;
    this.#transport = transport;
    const protocol = new ServerProtocol(context.profile);
    const session = new SmtpSession({
      id: context.nextId(),
      remote: transport.remote,
      local: transport.local,
      kind: context.kind,
      protocol,
      close: (reply) => this.end(reply, "refused"),
    });
    this.#protocol = protocol;
    this.session = session;
    const { ticket = EXEMPT } = options;
    const limits = new SessionLimits(context, { session, ticket });
    this.limits = limits;
    this.#patience = new Patience(context.limits);
    this.#questions = new Questions(context, { session, protocol, limits });
    this.#reception = new Reception(context, { session, protocol });
    this.#authentication = context.authentication &&
      new Authentication(context.authentication, session);
    this.#useTransport(transport);
  }

  /** Runs the session to its end. Never rejects. */
  async run(): Promise<void> {
    try {
      noteConnect(this.#context, this.session);
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
      this.#spoke = count ?? 0;
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
        this.deadline = this.#patience.write(this.#context.now());
        this.#writing = true;
        await this.#transport.write(effect.bytes);
        this.#writing = false;
      } else if (effect.effect === "close") {
        this.#reason ??= effect.reason;
        this.#lastWord ??= effect.reply;
        return;
      } else {
        const waiting = this.#carryOut(effect);
        if (waiting !== undefined) await this.#takeTime(waiting);
      }
    }
  }

  /** Waits for the server itself, as long as it takes: the client is not to blame. */
  async #takeTime(waiting: Promise<void>): Promise<void> {
    const since = this.#context.now();
    this.deadline = Infinity;
    await waiting;
    this.#patience.excuse(this.#context.now() - since);
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
      case "body":
        return this.#reception.take(effect.bytes);
      case "drop":
        return this.#reception.drop(effect.refusal);
      case "reset":
        return this.#reception.reset();
      case "startTls":
        return this.#startTls();
    }
  }

  /** Begins to read; resolves with the number of octets, `null` at the end. */
  #read(phase: ReadPhase): Promise<number | null> | null {
    if (this.#ending !== undefined) {
      const { reply, reason } = this.#ending;
      this.#protocol.close(reply, reason);
      return null;
    }
    this.deadline = this.#patience.wait(
      this.#context.now(),
      this.#protocol.awaitsContent ? "content" : "command",
    );
    this.#buffer = this.#bufferFor(phase);
    this.#reading = true;
    return this.#early ?? this.#transport.read(this.#buffer);
  }

  /** Hands what was read to the machine. */
  #received(count: number | null): void {
    this.#reading = false;
    this.#early = undefined;
    if (count === null) {
      return this.#protocol.close(undefined, "disconnected");
    }
    this.#patience.received(this.#context.now(), count);
    this.limits.octets(count);
    this.#protocol.receive(this.#buffer, count);
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
    this.#patience.commandDone();
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
        this.#patience.mailDone();
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
      if (this.#spoke > 0 && it === undefined) {
        const said = this.#commandBuffer.subarray(0, this.#spoke);
        this.#reason = "early";
        this.#lastWord = beginsTls(said)
          ? replies.tlsOnPlain
          : replies.earlyTalker;
        this.#protocol.answer(this.#lastWord);
      } else {
        this.#protocol.answer(it);
      }
    };
    return isPromise(verdict) ? this.#await(verdict, answer) : answer(verdict);
  }

  /** Waits for a handler. */
  async #await<T>(
    waiting: Promise<T>,
    answer: (value: T) => void,
  ): Promise<void> {
    const value = await waiting;
    // The session may have been ended meanwhile.
    if (this.#protocol.phase !== "closed") answer(value);
  }

  // Ends.

  /** The client has let its time pass. */
  timeOut(): void {
    // A client that does not read is not told, either; nor is one told twice.
    if (this.#reading && !this.#writing && this.#reason === undefined) {
      const now = this.#context.now();
      const { timeoutMs } = this.#context.limits;
      this.deadline = now + Math.min(FAREWELL_MS, timeoutMs);
      this.end(this.#patience.reply(now), "timeout");
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
    this.#lastWord = reply;
    if (reply === undefined) return close();
    const wire = encoder.encode(this.#protocol.wireOf(reply));
    this.#transport.write(wire).then(close, close);
  }

  /** Ends the session without waiting for anything. */
  abort(reason: CloseReason): void {
    this.#reason ??= reason;
    this.#transport.close();
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
      if (effect === "reset") await this.#reception.reset();
      if (effect === "close") return;
    }
  }

  async #finish(): Promise<void> {
    this.#transport.close();
    this.#authentication?.end();
    // A read that is still under way owns its buffer.
    if (!this.#reading) this.#returnBuffer();
    const { handlers } = this.#context;
    const { session } = this;
    const reason = this.#reason ?? "disconnected";
    if (handlers.onStateChange !== undefined) this.#tellState();
    if (handlers.onDisconnect !== undefined) {
      await ask(
        () => handlers.onDisconnect!(session, reason),
        this.#about("onDisconnect"),
      );
    }
    noteEnd(this.#context, session, { reason, said: this.#lastWord });
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
