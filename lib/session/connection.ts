/**
 * One inbound connection: the loop that carries out what the receiving machine
 * asks for, one effect after the other. It owns the transport, the read buffers
 * and the end of the session; it knows no verb and writes no reply of its own.
 *
 * Nothing is awaited that is not a promise: without handlers, a command costs
 * the loop no turn of the event loop beside the read and the write.
 */

import { isConnectionError, type Transport } from "../net/transport.ts";
import { beginsTls } from "../protocol/command.ts";
import { replies } from "../protocol/replies.ts";
import type { SmtpReply } from "../protocol/reply.ts";
import type {
  CloseReason,
  ServerEffect,
  Verdict,
} from "../protocol/server/effects.ts";
import { forClient } from "../protocol/server/outbox.ts";
import { ServerProtocol } from "../protocol/server/protocol.ts";
import type { ReadPhase } from "../protocol/server/effects.ts";
import { Asks, Questions } from "./handler_calls.ts";
import { Authentication } from "./authentication.ts";
import { SessionBuffers } from "./buffers.ts";
import type { SessionContext } from "./context.ts";
import { secureFirst, secureNow } from "./encryption.ts";
import { impersonate, mayImpersonate } from "./impersonation.ts";
import { EXEMPT, type Ticket } from "./limits.ts";
import { Patience } from "./deadlines.ts";
import { ProxiedTransport } from "./proxied_transport.ts";
import { Reception } from "./reception.ts";
import { noteConnect, noteEnd, noteFailure, noteRefusal } from "./log.ts";
import { type SessionInit, type SessionState, SmtpSession } from "./session.ts";
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
  readonly #asks: Asks;
  readonly #reception: Reception;
  readonly #patience: Patience;
  readonly #authentication: Authentication | undefined;
  readonly #buffers = new SessionBuffers();
  /** Whether a write is under way. */
  #writing = false;
  /** The read that was begun before the greeting. */
  #early: Promise<number | null> | undefined;
  /** Bytes that came before the greeting. */
  #spoke = 0;
  /** Whether a read is under way. */
  #reading = false;
  /** Whether replies go out at once; see {@linkcode Transport.hurry}. */
  #hurried = false;
  #reason: CloseReason | undefined;
  /** What the client was told at last. */
  #lastWord: SmtpReply | undefined;
  /** Whether the session is to end as soon as no transaction is under way. */
  #leaving = false;
  /** Whether a TLS handshake is under way. */
  #isSecuring = false;
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
    protocol.impersonationAllowed(mayImpersonate(context, session));
    this.#protocol = protocol;
    this.session = session;
    const { ticket = EXEMPT } = options;
    const limits = new SessionLimits(context, { session, ticket });
    this.limits = limits;
    protocol.observe({
      gate: limits,
      onRefusal: context.verbose
        ? (reply, command) =>
          noteRefusal(context, session, { reply, ...command })
        : undefined,
    });
    this.#patience = new Patience(context.limits);
    this.#reception = new Reception(context, { session, protocol });
    this.#authentication = context.authentication &&
      new Authentication(context.authentication, session);
    this.#asks = new Asks({
      ...{ context, session, protocol },
      questions: new Questions(context, { session, protocol, limits }),
      reception: this.#reception,
      authentication: this.#authentication,
      patience: this.#patience,
      greet: (verdict) => this.#greet(verdict),
      waits: (deadline) => this.deadline = deadline,
      givenUp: () => protocol.close(replies.noAnswer, this.#reason ??= "error"),
    });
    this.#useTransport(transport);
  }

  /** Runs the session to its end. Never rejects. */
  async run(): Promise<void> {
    try {
      noteConnect(this.#context, this.session);
      const { session } = this;
      this.#isSecuring = true;
      const secured = await secureFirst(
        this.#transport,
        this.#context,
        session,
      );
      this.#isSecuring = false;
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
    this.#protocol.transportChanged({
      tls: transport.tls !== undefined,
      mechanisms: this.#authentication?.mechanisms ?? [],
    });
  }

  /** TLS after STARTTLS. The peer's bytes so far are forgotten by the machine. */
  async #startTls(): Promise<void> {
    this.deadline = Infinity;
    this.#isSecuring = true;
    try {
      this.#useTransport(
        await secureNow(this.#transport, this.#context, this.session),
      );
    } catch (error) {
      this.#reason ??= "tls";
      throw error;
    } finally {
      this.#isSecuring = false;
    }
    this.#protocol.tlsStarted();
    // Who logged in in the clear has to do so again.
    this.session.username = undefined;
  }

  /**
   * Reads before anything is said, to learn whether the client waits for the
   * greeting. The empty write is one turn of the event loop: enough for bytes
   * that are here already, and no wait for any that are not.
   */
  async #listenEarly(): Promise<void> {
    this.#reading = true;
    this.#early = this.#transport.read(this.#buffers.command).then((count) => {
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
        if (!this.#hurried) this.#hurryIfPipelined();
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

  /** Who knows of PIPELINING may have two replies on their way; after HELO nobody does. */
  #hurryIfPipelined(): void {
    if (!this.#protocol.state.extended) return;
    this.#hurried = true;
    this.#transport.hurry?.();
  }

  /** Waits for the server itself: the client is not to blame. */
  async #takeTime(waiting: Promise<void>): Promise<void> {
    const since = this.#context.now();
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
        return this.#asks.put(effect);
      case "body": {
        const taking = this.#reception.take(effect.bytes);
        return taking && this.#asks.wait(taking);
      }
      case "drop":
        return this.#reception.drop(effect.refusal);
      case "reset":
        return this.#asks.wait(this.#reception.reset());
      case "startTls":
        return this.#startTls();
      case "xclient":
        impersonate(effect.attributes, {
          init: this.#init,
          session: this.session,
          protocol: this.#protocol,
        }, this.#context);
        return this.limits.readmit();
    }
  }

  /** Begins to read; resolves with the number of bytes, `null` at the end. */
  #read(phase: ReadPhase): Promise<number | null> | null {
    if (this.#leaving && this.#protocol.state.envelope === undefined) {
      this.#ending ??= { reply: replies.shutdown, reason: "shutdown" };
    }
    if (this.#ending !== undefined) {
      const { reply, reason } = this.#ending;
      this.#protocol.close(reply, reason);
      return null;
    }
    this.deadline = this.#patience.wait(
      this.#context.now(),
      this.#protocol.state.awaitsContent ? "content" : "command",
    );
    const buffer = this.#buffers.use(phase);
    this.#reading = true;
    return this.#early ?? this.#transport.read(buffer);
  }

  /** Hands what was read to the machine. */
  #received(count: number | null): void {
    this.#reading = false;
    this.#early = undefined;
    if (count === null) {
      return this.#protocol.close(undefined, "disconnected");
    }
    this.#patience.received(this.#context.now(), count);
    const tooMany = this.limits.octets(count);
    if (tooMany !== undefined) return this.#protocol.close(tooMany, "refused");
    this.#protocol.receive(this.#buffers.current, count);
  }

  /** Lets the client in or not: one that speaks before it is spoken to goes. */
  #greet(verdict: Verdict): void {
    // Later on, after XCLIENT, it is the client's turn to speak.
    const early = this.#spoke > 0 && this.#early !== undefined;
    const refusal = early && verdict === undefined
      ? this.#judgeEarly()
      : undefined;
    if (refusal !== undefined) {
      this.#reason = "early";
      this.#lastWord = refusal;
    }
    this.#protocol.answer(verdict ?? refusal);
  }

  /** The reply to a client that has spoken before the greeting; `undefined` where that is read as commands. */
  #judgeEarly(): SmtpReply | undefined {
    // No command begins like TLS: an answer in the clear helps most before any other.
    const said = this.#buffers.command.subarray(0, this.#spoke);
    if (beginsTls(said)) return replies.tlsOnPlain;
    const { earlyTalkers, limits } = this.#context;
    if (earlyTalkers === "allow") return undefined;
    const { remoteAddress } = this.session;
    return limits.exempt.some((it) => it.contains(remoteAddress))
      ? undefined
      : replies.earlyTalker;
  }

  // Ends.

  /** The client has let its time pass. */
  timeOut(): void {
    if (this.#asks.isWaiting) return this.#asks.timeOut();
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
    if (busy || this.#protocol.state.isConnecting) {
      this.#ending ??= { reply, reason };
      return;
    }
    this.#reason = reason;
    const close = () => this.#transport.close();
    this.#lastWord = reply;
    if (reply === undefined) return close();
    const { capabilities } = this.#context.profile;
    this.#transport.write(forClient(reply, capabilities).octets)
      .then(close, close);
  }

  /**
   * The server is stopping: ends the session with 421 at once where no
   * transaction is under way, else after it.
   */
  leave(): void {
    this.#leaving = true;
    // Nothing can be said during a handshake.
    if (this.#isSecuring) return this.abort("shutdown");
    if (this.#protocol.state.envelope === undefined) {
      this.end(replies.shutdown, "shutdown");
    }
  }

  /** Ends the session without waiting for anything, as a handler that is busy. */
  abort(reason: CloseReason): void {
    this.#reason ??= reason;
    this.#transport.close();
    this.#asks.giveUp();
  }

  /** Notes why the loop broke off: the client went away, or a fault of our own. */
  #fail(error: unknown): void {
    if (this.#reason === undefined && !isConnectionError(error)) {
      noteFailure(this.#context, this.session, error);
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
        await this.#asks.wait(this.#reception.reset());
      }
      if (effect === "close") return;
    }
  }

  async #finish(): Promise<void> {
    this.#transport.close();
    this.#authentication?.end();
    // A read that is still under way owns its buffer.
    if (!this.#reading) this.#buffers.giveBack();
    const { handlers } = this.#context;
    const { session } = this;
    const reason = this.#reason ?? "disconnected";
    if (handlers.onStateChange !== undefined) this.#tellState();
    if (handlers.onDisconnect !== undefined) {
      const told = ask(
        () => handlers.onDisconnect!(session, reason),
        this.#about("onDisconnect"),
      );
      if (isPromise(told)) await this.#asks.wait(told);
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
