/**
 * Answers what the machine asks, by handlers, the reception and log-ins, and
 * waits for them, but not for ever. It neither reads nor writes.
 *
 * Where nobody has to be waited for there is no promise.
 */

import type { ServerAsk, Verdict } from "../protocol/server_effects.ts";
import type { ServerProtocol } from "../protocol/server_protocol.ts";
import type { Authentication, AuthenticationStep } from "./authentication.ts";
import type { SessionContext } from "./context.ts";
import type { Patience } from "./patience.ts";
import type { Questions } from "./questions.ts";
import type { Reception } from "./reception.ts";
import type { SmtpSession } from "./session.ts";
import { isPromise } from "./verdicts.ts";

const GIVEN_UP = Symbol("given up");

/** What {@linkcode Asks} are made of. */
export interface AsksInit {
  /** What the sessions of the listener have in common. */
  readonly context: SessionContext;
  /** The session. */
  readonly session: SmtpSession;
  /** Whose questions they are. */
  readonly protocol: ServerProtocol;
  /** Knows the handlers. */
  readonly questions: Questions;
  /** Knows the message. */
  readonly reception: Reception;
  /** Knows the client, where there are log-ins. */
  readonly authentication: Authentication | undefined;
  /** What the client is waited for. */
  readonly patience: Patience;
  /** Answers whether a client may stay that has just connected. */
  greet(verdict: Verdict): void;
  /** Somebody is waited for: until when, by the clock of the context. */
  waits(deadline: number): void;
  /** Somebody has not answered in time. */
  givenUp(): void;
}

/** The questions of one session. */
export class Asks {
  readonly #init: AsksInit;
  /** Ends the wait for a handler or a store, where there is one. */
  #giveUp: (() => void) | undefined;

  /** Made by the connection. */
  constructor(init: AsksInit) {
    this.#init = init;
  }

  /** Whether a handler or a store is waited for. */
  get isWaiting(): boolean {
    return this.#giveUp !== undefined;
  }

  /** Puts a question, and tells the machine the answer. */
  put(effect: ServerAsk): void | Promise<void> {
    const { protocol, questions, reception, patience } = this.#init;
    patience.commandDone();
    switch (effect.ask) {
      case "command": {
        const line = questions.command(effect.line);
        return isPromise(line)
          ? this.wait(line, (it) => protocol.answerCommand(it))
          : protocol.answerCommand(line);
      }
      case "messageStart":
        return this.#settle(reception.start());
      case "message":
        patience.mailDone();
        return this.#settle(reception.finish());
      case "auth":
        return this.#goOn(this.#init.authentication!.start(effect));
      case "authLine":
        return this.#goOn(this.#init.authentication!.line(effect.text));
      case "connect": {
        const verdict = questions.put(effect);
        return isPromise(verdict)
          ? this.wait(verdict, (it) => this.#init.greet(it))
          : this.#init.greet(verdict);
      }
      default:
        return this.#settle(questions.put(effect));
    }
  }

  #settle(verdict: Verdict | Promise<Verdict>): void | Promise<void> {
    const { protocol } = this.#init;
    return isPromise(verdict)
      ? this.wait(verdict, (it) => protocol.answer(it))
      : protocol.answer(verdict);
  }

  #goOn(
    step: AuthenticationStep | Promise<AuthenticationStep>,
  ): void | Promise<void> {
    const { protocol } = this.#init;
    const answer = (it: AuthenticationStep) =>
      "challenge" in it
        ? protocol.challenge(it.challenge)
        : protocol.answer(it.verdict);
    return isPromise(step) ? this.wait(step, answer) : answer(step);
  }

  /**
   * Waits for a handler or a store. The client is not to blame, but one that
   * never answers must not hold the session for ever: past its time the session
   * ends, and what comes then is the answer to nobody.
   */
  async wait<T>(
    waiting: Promise<T>,
    answer: (value: T) => void = () => {},
  ): Promise<void> {
    const { context, protocol, waits, givenUp } = this.#init;
    waits(context.now() + context.limits.handlerTimeoutMs);
    const { promise, resolve, reject } = Promise.withResolvers<
      T | typeof GIVEN_UP
    >();
    this.#giveUp = () => resolve(GIVEN_UP);
    waiting.then(resolve, reject);
    const value = await promise;
    this.#giveUp = undefined;
    // The session may have been ended meanwhile.
    if (protocol.phase === "closed") return;
    if (value !== GIVEN_UP) answer(value);
    else givenUp();
  }

  /** Gives up whoever is waited for: it has let its time pass. */
  timeOut(): void {
    const { context, session } = this.#init;
    context.log({
      level: "error",
      event: "error",
      message: "A handler or a store has not answered in time",
      session: session.id,
      fields: { state: session.state },
    });
    this.giveUp();
  }

  /** Gives up whoever is waited for. */
  giveUp(): void {
    this.#giveUp?.();
  }
}
