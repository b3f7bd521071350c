/**
 * One inbound connection: the loop that carries out the effects of the
 * {@linkcode ServerProtocol} one after the other. It owns the transport, the
 * read buffers, the deadline and the end of the session. It knows no SMTP verb.
 *
 * The loop awaits promises only: without handlers, a command costs no event-loop
 * turn other than its read and write.
 *
 * A session that waits for a command holds a small read buffer. It borrows a
 * large one while a body comes in and then returns it for the next session of
 * the thread. An idle connection costs 10 KiB with a buffer of 2 KiB and 54 KiB
 * with one of 64 KiB.
 *
 * One read begins before the greeting. The policy (`earlyTalkers`) for the bytes
 * that it finds is a part of its own: a client that speaks before the greeting is
 * a spammer's program, or speaks TLS.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207} (STARTTLS),
 * {@link https://www.rfc-editor.org/rfc/rfc8314 | RFC 8314} (TLS before the first byte)
 */

import { isConnectionError, type Transport } from "../net/transport.ts";
import { replies } from "../protocol/replies.ts";
import { Redirect } from "../protocol/redirect.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type {
  CloseReason,
  ReadPhase,
  ServerAsk,
  ServerEffect,
} from "../protocol/server/effects.ts";
import { forClient } from "../protocol/server/outbox.ts";
import { ServerProtocol } from "../protocol/server/protocol.ts";
import type { SessionState } from "../protocol/server/state.ts";
import { Authentication } from "./authentication.ts";
import type { SessionContext } from "./context.ts";
import { SessionDeadlines } from "./deadlines.ts";
import { Dialogue } from "./dialogue.ts";
import { type Answer, HandlerCalls } from "./handler_calls.ts";
import { EarlyRead, SessionBuffers } from "./inbound.ts";
import { impersonate, mayImpersonate, ProxiedTransport } from "./proxied.ts";
import { EXEMPT, type Ticket } from "./limits.ts";
import {
  logConnect,
  logEnd,
  logFailure,
  logNoAnswer,
  logRefusal,
  logTlsFailure,
} from "./log.ts";
import { Reception } from "./reception.ts";
import { type SessionInit, SmtpSession } from "./session.ts";
import { SenderCheck } from "./sender_policy.ts";
import { SessionLimits } from "./session_limits.ts";
import { callHandler, isPromise, verdictOfError } from "./verdicts.ts";

/** How long a client may take to read the reply that ends its session, in ms. */
const FAREWELL_MS = 10_000;

/** The result of a wait that ended without an answer. */
const GIVEN_UP = Symbol("given up");

/** The end of a session: the reason and the last reply. */
interface End {
  readonly reason: CloseReason;
  readonly reply: SmtpReply | undefined;
}

/** One inbound connection. */
export class Connection {
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** When {@linkcode Connection.timeOut} is due, by the clock of the context. */
  deadline: number = Infinity;
  /** The limits of the client's address. */
  readonly limits: SessionLimits;
  readonly #context: SessionContext;
  readonly #init: SessionInit;
  #transport: Transport;
  readonly #protocol: ServerProtocol;
  readonly #calls: HandlerCalls;
  readonly #reception: Reception;
  readonly #deadlines: SessionDeadlines;
  readonly #authentication: Authentication | undefined;
  readonly #buffers = new SessionBuffers();
  readonly #early = new EarlyRead(this.#buffers.command);
  /** What the loop does now. It waits for the client while "reading" only. */
  #activity: "working" | "reading" | "writing" | "handshake" = "working";
  /** Whether the transport sends replies at once; see {@linkcode Transport.hurry}. */
  #hurried = false;
  /** Ends the current wait for a handler or a store. */
  #giveUp: (() => void) | undefined;
  #dialogue: Dialogue | undefined;
  /** Whether the session ends when the current transaction is over. */
  #leaving = false;
  /** An end that was asked for while a handler was busy. */
  #pending: End | undefined;
  /** The first end; later ones are ignored. */
  #ended: End | undefined;
  #state: SessionState = "connecting";

  /**
   * @param context The settings of the listener's sessions
   * @param options `ticket`: the client's, from {@linkcode AddressLimits.admit}
   */
  constructor(
    transport: Transport,
    context: SessionContext,
    options: { readonly ticket?: Ticket } = {},
  ) {
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
      spf: context.spf,
    };
    const session = new SmtpSession(this.#init);
    const { ticket = EXEMPT } = options;
    const limits = new SessionLimits(context, { session, ticket });
    const senders = context.senders &&
      new SenderCheck(context.senders, session);
    const reception = new Reception(context, {
      ...{ session, protocol, limits, senders },
    });
    const authentication = context.authentication &&
      new Authentication(context.authentication, session);
    const parts = {
      ...{ session, protocol, limits, senders, reception, authentication },
    };
    protocol.impersonationAllowed(mayImpersonate(context, session));
    protocol.observe({
      gate: limits,
      onRefusal: context.verbose
        ? (reply, command) =>
          logRefusal(context, session, {
            reply,
            ...command,
            limit: limits.limitOf(reply),
            envelope: protocol.state.envelope,
          })
        : undefined,
    });
    this.session = session;
    this.limits = limits;
    this.#context = context;
    this.#transport = transport;
    this.#protocol = protocol;
    this.#calls = new HandlerCalls(context, parts);
    this.#reception = reception;
    this.#deadlines = new SessionDeadlines(context.limits);
    this.#authentication = authentication;
    this.#useTransport(transport);
    this.#listen();
  }

  /** Runs the session to its end. Never rejects. */
  async run(): Promise<void> {
    try {
      logConnect(this.#context, this.session);
      if (!await this.#secureFirst()) return;
      await this.#early.begin(this.#transport);
      await this.#loop();
    } catch (error) {
      await this.#unwind(error);
    }
    await this.#finish();
  }

  async #loop(): Promise<void> {
    for (;;) {
      const effect = this.#protocol.next();
      if (this.#context.handlers.onStateChange !== undefined) {
        this.#reportState();
      }
      if (effect.effect === "read") {
        this.#received(await this.#read(effect.phase));
      } else if (effect.effect === "write") {
        this.deadline = this.#deadlines.writing(this.#context.now());
        this.#activity = "writing";
        if (!this.#hurried) this.#hurryIfPipelined();
        this.#dialogue?.sent(effect.bytes);
        await this.#transport.write(effect.bytes);
        this.#activity = "working";
      } else if (effect.effect === "ask") {
        const answer = this.#ask(effect);
        this.#answer(
          effect,
          isPromise(answer) ? await this.#bounded(answer) : answer,
        );
      } else if (effect.effect === "close") {
        const { reason, reply } = effect;
        this.#ended ??= { reason, reply };
        return;
      } else {
        const work = this.#carryOut(effect);
        if (work !== undefined) await work;
      }
    }
  }

  /** Carries out one effect; returns a promise only if it takes time. */
  #carryOut(
    effect: Exclude<
      ServerEffect,
      { readonly effect: "read" | "write" | "ask" | "close" }
    >,
  ): void | Promise<unknown> {
    switch (effect.effect) {
      case "body": {
        const taking = this.#reception.take(effect.bytes);
        return taking && this.#bounded(taking);
      }
      case "drop":
        return this.#takeTime(this.#reception.drop(effect.refusal));
      case "reset":
        return this.#bounded(this.#reception.reset());
      case "startTls":
        return this.#takeTime(this.#startTls());
      case "xclient":
        impersonate(effect.attributes, {
          init: this.#init,
          session: this.session,
          protocol: this.#protocol,
        }, this.#context);
        this.#listen();
        return this.limits.readmit();
    }
  }

  /** Shows the dialogue if the client's network is traced, or a handler wants it. */
  #listen(): void {
    this.#dialogue = Dialogue.of(this.#context, this.session, this.#dialogue);
    this.#protocol.listen(this.#dialogue);
  }

  // Bytes in and out.

  /** Starts a read; resolves with the number of bytes, `null` at the end. */
  #read(phase: ReadPhase): Promise<number | null> | null {
    if (this.#leaving && this.#protocol.state.envelope === undefined) {
      this.#pending ??= { reply: replies.shutdown, reason: "shutdown" };
    }
    if (this.#pending !== undefined) {
      const { reply, reason } = this.#pending;
      this.#protocol.close(reply, reason);
      return null;
    }
    const now = this.#context.now();
    this.deadline = this.#protocol.state.awaitsContent
      ? this.#deadlines.content(now)
      : this.#deadlines.command(now);
    const buffer = this.#buffers.use(phase);
    this.#activity = "reading";
    return this.#early.take() ?? this.#transport.read(buffer);
  }

  /** Hands the bytes that were read to the protocol. */
  #received(count: number | null): void {
    this.#activity = "working";
    if (count === null) {
      return this.#protocol.close(undefined, "disconnected");
    }
    this.#deadlines.received(this.#context.now(), count);
    const tooMany = this.limits.bytes(count);
    if (tooMany !== undefined) return this.#protocol.close(tooMany, "refused");
    this.#protocol.receive(this.#buffers.current, count);
  }

  /** After EHLO a client may pipeline, and two replies may be on their way; after HELO it may not. */
  #hurryIfPipelined(): void {
    if (!this.#protocol.state.extended) return;
    this.#hurried = true;
    this.#transport.hurry?.();
  }

  // Questions.

  #ask(question: ServerAsk): Answer | Promise<Answer> {
    this.#deadlines.commandDone();
    if (question.ask === "message") this.#deadlines.mailDone();
    return this.#calls.put(question);
  }

  /** Gives the answer to the protocol, unless the wait for it has ended the session. */
  #answer(question: ServerAsk, answer: Answer | typeof GIVEN_UP): void {
    const protocol = this.#protocol;
    if (answer === GIVEN_UP) return;
    if (question.ask === "connect" && answer === undefined) {
      const reply = this.#early.refusal(this.#context, this.session);
      if (reply !== undefined) this.#ended = { reason: "early", reply };
      protocol.answer(reply);
    } else if (
      typeof answer !== "object" || answer instanceof SmtpReply ||
      answer instanceof Redirect
    ) {
      protocol.answer(answer);
    } else if ("line" in answer) protocol.answerCommand(answer.line);
    else protocol.challenge(answer.challenge);
  }

  /**
   * Waits for a handler or a store, at most `handlerTimeoutMs`. The client's
   * deadlines are extended by the wait. After a timeout, or if the session was
   * ended meanwhile, the result is {@linkcode GIVEN_UP}.
   */
  async #bounded<T>(waiting: Promise<T>): Promise<T | typeof GIVEN_UP> {
    const since = this.#context.now();
    this.deadline = since + this.#context.limits.handlerTimeoutMs;
    const { promise, resolve, reject } = Promise.withResolvers<
      T | typeof GIVEN_UP
    >();
    this.#giveUp = () => resolve(GIVEN_UP);
    waiting.then(resolve, reject);
    const value = await promise;
    this.#giveUp = undefined;
    this.#deadlines.extend(this.#context.now() - since);
    if (this.#protocol.state.isClosed) return GIVEN_UP;
    if (value === GIVEN_UP) {
      this.#ended ??= { reason: "error", reply: undefined };
      this.#protocol.close(replies.noAnswer, this.#ended.reason);
    }
    return value;
  }

  /** Waits for the server itself; the client's deadlines are extended by the wait. */
  async #takeTime(waiting: Promise<void>): Promise<void> {
    const since = this.#context.now();
    await waiting;
    this.#deadlines.extend(this.#context.now() - since);
  }

  #reportState(): void {
    const { state } = this.session;
    if (state === this.#state) return;
    const previous = this.#state;
    this.#state = state;
    try {
      this.#context.handlers.onStateChange!(this.session, state, previous);
    } catch (error) {
      verdictOfError(error, {
        ...{ context: this.#context, session: this.session },
        name: "onStateChange",
      });
    }
  }

  // Encryption.

  /** Takes a transport into use, with its TLS state. */
  #useTransport(transport: Transport): void {
    this.#transport = transport;
    this.session.tls = transport.tls;
    this.#protocol.transportChanged({
      tls: transport.tls !== undefined,
      mechanisms: this.#authentication?.mechanisms ?? [],
    });
  }

  /**
   * TLS before the first byte, if the listener is for implicit TLS. After a
   * failure the session does not begin, and no handler is called.
   */
  async #secureFirst(): Promise<boolean> {
    const { implicitTls, secure } = this.#context;
    const transport = this.#transport;
    this.#activity = "handshake";
    try {
      if (transport.handshake !== undefined) await transport.handshake();
      else if (implicitTls && transport.tls === undefined) {
        this.#useTransport(await secure!(transport));
      }
      return true;
    } catch (error) {
      logTlsFailure(this.#context, this.session, error);
      transport.close();
      return false;
    } finally {
      this.#activity = "working";
    }
  }

  /** TLS after STARTTLS. The protocol forgets all bytes that came before. */
  async #startTls(): Promise<void> {
    this.deadline = Infinity;
    this.#activity = "handshake";
    try {
      this.#useTransport(await this.#context.secure!(this.#transport));
    } catch (error) {
      logTlsFailure(this.#context, this.session, error);
      this.#ended ??= { reason: "tls", reply: undefined };
      throw error;
    } finally {
      this.#activity = "working";
    }
    this.#protocol.tlsStarted();
    this.#dialogue?.encrypted();
    // A login without TLS does not last.
    this.session.username = undefined;
  }

  // Ends: `timeOut`, `leave`, `end` and `abort` from outside, `#unwind` after an
  // error, `#finish` last.

  /** Called when the deadline of the client, a handler or a store has passed. */
  timeOut(): void {
    if (this.#giveUp !== undefined) {
      logNoAnswer(this.#context, this.session);
      return this.#giveUp();
    }
    // No reply to a client that does not read, and never a second one.
    if (this.#activity === "reading" && this.#ended === undefined) {
      const now = this.#context.now();
      const { timeoutMs } = this.#context.limits;
      this.deadline = now + Math.min(FAREWELL_MS, timeoutMs);
      this.end(this.#deadlines.reply(now), "timeout");
    } else {
      this.deadline = Infinity;
      this.abort("timeout");
    }
  }

  /**
   * The server is stopping: ends the session with 421, at once or after the
   * current transaction.
   */
  leave(): void {
    this.#leaving = true;
    // No reply can be sent during a handshake.
    if (this.#activity === "handshake") return this.abort("shutdown");
    if (this.#protocol.state.envelope === undefined) {
      this.end(replies.shutdown, "shutdown");
    }
  }

  /**
   * Ends the session from outside, with `reply` if given: at once if the session
   * waits for the client, else when the handler has answered.
   */
  end(reply: SmtpReply | undefined, reason: CloseReason): void {
    if (this.#ended !== undefined) return;
    const isBusy = this.#activity !== "reading";
    if (isBusy || this.#protocol.state.isConnecting) {
      this.#pending ??= { reply, reason };
      return;
    }
    this.#ended = { reply, reason };
    const close = () => this.#transport.close();
    if (reply === undefined) return close();
    const { capabilities } = this.#context.profile;
    const { bytes } = forClient(reply, capabilities);
    this.#dialogue?.sent(bytes);
    this.#transport.write(bytes)
      .then(close, close);
  }

  /** Ends the session at once, even if a handler is busy. */
  abort(reason: CloseReason): void {
    this.#ended ??= { reason, reply: undefined };
    this.#transport.close();
    this.#giveUp?.();
  }

  /**
   * The loop threw: the client disconnected, or the server has a fault. Carries
   * out the last effects of the protocol.
   */
  async #unwind(error: unknown): Promise<void> {
    if (this.#ended === undefined && !isConnectionError(error)) {
      logFailure(this.#context, this.session, error);
      this.#ended = { reason: "error", reply: undefined };
    }
    this.#ended ??= { reason: "disconnected", reply: undefined };
    this.#protocol.close(undefined, this.#ended.reason);
    for (;;) {
      const { effect } = this.#protocol.next();
      if (effect === "reset") await this.#bounded(this.#reception.reset());
      if (effect === "close") return;
    }
  }

  /** Releases all resources, and reports the end to `onDisconnect` and the log. */
  async #finish(): Promise<void> {
    this.#transport.close();
    this.#authentication?.end();
    this.limits.notAccepted();
    this.#dialogue?.end();
    // A pending read still writes into its buffer.
    if (this.#activity !== "reading" && !this.#early.isPending) {
      this.#buffers.giveBack();
    }
    const context = this.#context;
    const { session } = this;
    const end = this.#ended ??= { reason: "disconnected", reply: undefined };
    if (context.handlers.onStateChange !== undefined) this.#reportState();
    const done = callHandler(context, "onDisconnect", session, end.reason);
    if (isPromise(done)) await this.#bounded(done);
    logEnd(context, session, end);
  }
}
