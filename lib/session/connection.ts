/**
 * One inbound connection: the loop that carries out what the receiving machine
 * asks for, one effect after the other. It owns the transport, the read buffers,
 * the waits and the end of the session; it knows no verb.
 *
 * Nothing is awaited that is not a promise: without handlers, a command costs
 * the loop no turn of the event loop beside the read and the write.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207} (STARTTLS),
 * {@link https://www.rfc-editor.org/rfc/rfc8314 | RFC 8314} (TLS before the first byte)
 *
 * Read buffers. A session that waits for a command holds a small one; a large
 * one is borrowed for as long as a body comes in, and lent to the next session
 * afterwards. An idle connection costs 10 KiB with a buffer of 2 KiB and 54
 * with one of 64. All sessions of a thread share what this file holds; a
 * connection is about one, so the file stands alone.
 */

import { isConnectionError, type Transport } from "../net/transport.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type {
  CloseReason,
  ReadPhase,
  ServerAsk,
  ServerEffect,
} from "../protocol/server/effects.ts";
import { forClient } from "../protocol/server/outbox.ts";
import { ServerProtocol } from "../protocol/server/protocol.ts";
import { Authentication } from "./authentication.ts";
import type { SessionContext } from "./context.ts";
import { SessionDeadlines } from "./deadlines.ts";
import { EarlyRead } from "./early_read.ts";
import { type Answer, HandlerCalls } from "./handler_calls.ts";
import { impersonate, mayImpersonate } from "./impersonation.ts";
import { EXEMPT, type Ticket } from "./limits.ts";
import {
  noteConnect,
  noteEnd,
  noteFailure,
  noteNoAnswer,
  noteRefusal,
  noteTlsFailure,
} from "./log.ts";
import { ProxiedTransport } from "./proxied_transport.ts";
import { Reception } from "./reception.ts";
import { type SessionInit, type SessionState, SmtpSession } from "./session.ts";
import { SessionLimits } from "./session_limits.ts";
import { callHandler, isPromise, verdictOfError } from "./verdicts.ts";
import {
  ARENA_BUFFER_SIZE,
  arenaBuffers,
  isArenaBuffer,
} from "../protocol/body_scanner.ts";

/** How long a client that is sent away may take to read why, in ms. */
const FAREWELL_MS = 10_000;

const GIVEN_UP = Symbol("given up");

/** The end of a session: why, and what the client is told. */
interface End {
  readonly reason: CloseReason;
  readonly reply: SmtpReply | undefined;
}

/** One inbound connection. */
export class Connection {
  /** The session as handlers see it. */
  readonly session: SmtpSession;
  /** When the client is given up on, by the clock of the context. */
  deadline: number = Infinity;
  /** What the session may do, by its address. */
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
  /** What is under way: the client is waited for while "reading" only. */
  #activity: "working" | "reading" | "writing" | "handshake" = "working";
  /** Whether replies go out at once; see {@linkcode Transport.hurry}. */
  #hurried = false;
  /** Ends the wait for a handler or a store, where there is one. */
  #giveUp: (() => void) | undefined;
  /** Whether the session is to end as soon as no transaction is under way. */
  #leaving = false;
  /** The end that waits for the handler that is busy. */
  #pending: End | undefined;
  /** The end that was first: it is the one that counts. */
  #ended: End | undefined;
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
    const { ticket = EXEMPT } = options;
    const limits = new SessionLimits(context, { session, ticket });
    const reception = new Reception(context, { session, protocol });
    const authentication = context.authentication &&
      new Authentication(context.authentication, session);
    const parts = { session, protocol, limits, reception, authentication };
    protocol.impersonationAllowed(mayImpersonate(context, session));
    protocol.observe({
      gate: limits,
      onRefusal: context.verbose
        ? (reply, command) =>
          noteRefusal(context, session, { reply, ...command })
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
  }

  /** Runs the session to its end. Never rejects. */
  async run(): Promise<void> {
    try {
      noteConnect(this.#context, this.session);
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
        this.#tellState();
      }
      if (effect.effect === "read") {
        this.#received(await this.#read(effect.phase));
      } else if (effect.effect === "write") {
        this.deadline = this.#deadlines.writing(this.#context.now());
        this.#activity = "writing";
        if (!this.#hurried) this.#hurryIfPipelined();
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

  /** Carries out one effect; a promise where it takes time. */
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
        return this.limits.readmit();
    }
  }

  // Bytes in and out.

  /** Begins to read; resolves with the number of bytes, `null` at the end. */
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

  /** Hands what was read to the machine. */
  #received(count: number | null): void {
    this.#activity = "working";
    if (count === null) {
      return this.#protocol.close(undefined, "disconnected");
    }
    this.#deadlines.received(this.#context.now(), count);
    const tooMany = this.limits.octets(count);
    if (tooMany !== undefined) return this.#protocol.close(tooMany, "refused");
    this.#protocol.receive(this.#buffers.current, count);
  }

  /** A client that knows of PIPELINING may have two replies on their way; after HELO none does. */
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

  /** Tells the machine the answer, unless the wait for it has ended the session. */
  #answer(question: ServerAsk, answer: Answer | typeof GIVEN_UP): void {
    const protocol = this.#protocol;
    if (answer === GIVEN_UP) return;
    if (question.ask === "connect" && answer === undefined) {
      const reply = this.#early.refusal(this.#context, this.session);
      if (reply !== undefined) this.#ended = { reason: "early", reply };
      protocol.answer(reply);
    } else if (typeof answer !== "object" || answer instanceof SmtpReply) {
      protocol.answer(answer);
    } else if ("line" in answer) protocol.answerCommand(answer.line);
    else protocol.challenge(answer.challenge);
  }

  /**
   * Waits for a handler or a store. The client is not to blame, but one that
   * never answers must not hold the session for ever: past its time, or when the
   * session has been ended meanwhile, there is no answer.
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

  /** Waits for the server itself: the client is not to blame. */
  async #takeTime(waiting: Promise<void>): Promise<void> {
    const since = this.#context.now();
    await waiting;
    this.#deadlines.extend(this.#context.now() - since);
  }

  #tellState(): void {
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

  /** Takes over a transport, and what it says of its encryption. */
  #useTransport(transport: Transport): void {
    this.#transport = transport;
    this.session.tls = transport.tls;
    this.#protocol.transportChanged({
      tls: transport.tls !== undefined,
      mechanisms: this.#authentication?.mechanisms ?? [],
    });
  }

  /**
   * TLS before the first byte, where the listener wants it. After a failure the
   * session does not begin: no handler has been told of it.
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
      noteTlsFailure(this.#context, this.session, error);
      transport.close();
      return false;
    } finally {
      this.#activity = "working";
    }
  }

  /** TLS after STARTTLS. The peer's bytes so far are forgotten by the machine. */
  async #startTls(): Promise<void> {
    this.deadline = Infinity;
    this.#activity = "handshake";
    try {
      this.#useTransport(await this.#context.secure!(this.#transport));
    } catch (error) {
      noteTlsFailure(this.#context, this.session, error);
      this.#ended ??= { reason: "tls", reply: undefined };
      throw error;
    } finally {
      this.#activity = "working";
    }
    this.#protocol.tlsStarted();
    // A client that logged in in the clear has to do so again.
    this.session.username = undefined;
  }

  // Ends: `end` and `abort` from outside, `#unwind` after an error, `#finish` after all.

  /** The client has let its time pass, or a handler or a store has. */
  timeOut(): void {
    if (this.#giveUp !== undefined) {
      noteNoAnswer(this.#context, this.session);
      return this.#giveUp();
    }
    // A client that does not read is not told, either; nor is one told twice.
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
   * The server is stopping: ends the session with 421 at once where no
   * transaction is under way, else after it.
   */
  leave(): void {
    this.#leaving = true;
    // Nothing can be said during a handshake.
    if (this.#activity === "handshake") return this.abort("shutdown");
    if (this.#protocol.state.envelope === undefined) {
      this.end(replies.shutdown, "shutdown");
    }
  }

  /**
   * Ends the session from outside, with `reply` if there is one: at once where
   * the client is being waited for, else when the handler is done.
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
    this.#transport.write(forClient(reply, capabilities).bytes)
      .then(close, close);
  }

  /** Ends the session without waiting for anything, as a handler that is busy. */
  abort(reason: CloseReason): void {
    this.#ended ??= { reason, reply: undefined };
    this.#transport.close();
    this.#giveUp?.();
  }

  /**
   * The loop broke off: the client went away, or a fault of our own. Carries out
   * what the machine still wants done.
   */
  async #unwind(error: unknown): Promise<void> {
    if (this.#ended === undefined && !isConnectionError(error)) {
      noteFailure(this.#context, this.session, error);
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

  /** Lets everything go, and tells that the session is over. */
  async #finish(): Promise<void> {
    this.#transport.close();
    this.#authentication?.end();
    // A read that is still under way owns its buffer.
    if (this.#activity !== "reading" && !this.#early.isPending) {
      this.#buffers.giveBack();
    }
    const context = this.#context;
    const { session } = this;
    const end = this.#ended ??= { reason: "disconnected", reply: undefined };
    if (context.handlers.onStateChange !== undefined) this.#tellState();
    const told = callHandler(context, "onDisconnect", session, end.reason);
    if (isPromise(told)) await this.#bounded(told);
    noteEnd(context, session, end);
  }
}

/** Enough for a pipelined envelope of some dozen recipients. */
const COMMAND_BUFFER_SIZE = 4096;

/** The large buffers at hand: those that are scanned fastest come first and always come back. */
const spareLarge: Uint8Array<ArrayBuffer>[] = arenaBuffers();
const spareSmall: Uint8Array<ArrayBuffer>[] = [];

/** Most buffers of a kind that are kept; others are left to the collector. */
const KEPT = 64;

/** The buffers of one session. */
class SessionBuffers {
  /**
   * A small one, borrowed for the length of the session: making one costs as
   * much as the rest of the session's beginning.
   */
  readonly command: Uint8Array<ArrayBuffer> = spareSmall.pop() ??
    new Uint8Array(COMMAND_BUFFER_SIZE);
  /** The one that is read into. */
  current: Uint8Array<ArrayBuffer> = this.command;
  #body: Uint8Array<ArrayBuffer> | undefined;

  /** Chooses the buffer to read into: a large one while a body comes in. */
  use(phase: ReadPhase): Uint8Array<ArrayBuffer> {
    if (phase === "data" || phase === "bdat") {
      this.#body ??= spareLarge.pop() ?? new Uint8Array(ARENA_BUFFER_SIZE);
      return this.current = this.#body;
    }
    this.#returnBody();
    return this.current = this.command;
  }

  #returnBody(): void {
    const body = this.#body;
    if (body === undefined) return;
    this.#body = undefined;
    if (spareLarge.length < KEPT || isArenaBuffer(body)) spareLarge.push(body);
  }

  /**
   * Gives the buffers back, without what the client said. No read into one of
   * them may be under way.
   */
  giveBack(): void {
    this.#returnBody();
    if (spareSmall.length < KEPT) spareSmall.push(this.command.fill(0));
  }
}
