/**
 * Answers what the machine asks, by handlers, the reception and log-ins, and
 * waits for them, but not for ever. It neither reads nor writes.
 *
 * Where nobody has to be waited for there is no promise.
 *
 * Puts the machine's questions to the handlers, and answers those that the
 * server's own policy decides. A promise comes back only where a handler gave
 * one.
 */

import type { ServerAsk, Verdict } from "../protocol/server/effects.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import type { Authentication, AuthenticationStep } from "./authentication.ts";
import type { SessionContext } from "./context.ts";
import type { Patience } from "./deadlines.ts";
import type { Reception } from "./reception.ts";
import type { SmtpSession } from "./session.ts";
import {
  ask,
  isPromise,
  isRefusal,
  type VerdictContext,
  verdictOfError,
} from "./verdicts.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { parseMechanismName } from "../sasl/mechanism_name.ts";
import type { SessionLimits } from "./session_limits.ts";

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
    if (protocol.state.isClosed) return;
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

/** What is asked about a message is the reception's, a command line has an answer of its own. */
type Question = Exclude<
  ServerAsk,
  { readonly ask: "command" | "messageStart" | "message" | "auth" | "authLine" }
>;

/** A line that begins as AUTH does, and what may be shown of it beside the name of a mechanism. */
const AUTH = /^([^A-Za-z]*AUTH)(?:([ \t]+)([A-Za-z0-9_-]+)([ \t]*))?/i;
/** Whole commands as clients send them; nothing else behind AUTH is shown. */
const COMMAND =
  /^(?:(?:EHLO|HELO|LHLO)[ \t]+\S+|MAIL[ \t]+FROM:.*|RCPT[ \t]+TO:.*|BDAT[ \t]+\d+(?:[ \t]+LAST)?|DATA|RSET|NOOP|QUIT|HELP|STARTTLS)[ \t]*$/i;

/** Asks the handlers of one session. */
export class Questions {
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  readonly #protocol: ServerProtocol;
  readonly #limits: SessionLimits;
  /** Whether the lines to come may be answers to an AUTH that was refused. */
  #afterAuth = false;
  /** Whether the client had logged in when it said AUTH. */
  #wasLoggedIn = false;

  /** @param context What the sessions of the listener have in common */
  constructor(
    context: SessionContext,
    ends: {
      readonly session: SmtpSession;
      readonly protocol: ServerProtocol;
      readonly limits: SessionLimits;
    },
  ) {
    this.#context = context;
    this.#session = ends.session;
    this.#protocol = ends.protocol;
    this.#limits = ends.limits;
  }

  /** Puts one question. */
  put(question: Question): Verdict | Promise<Verdict> {
    const { handlers } = this.#context;
    const session = this.#session;
    switch (question.ask) {
      case "connect":
        return this.#limits.notAdmitted ?? (handlers.onConnect &&
          this.#ask("onConnect", () => handlers.onConnect!(session)));
      case "helo":
        return this.#ask(
          "onHelo",
          () => handlers.onHelo!(session, question.name),
        );
      case "mail":
        return this.#ask(
          "onMailFrom",
          () =>
            handlers.onMailFrom!(
              session,
              question.address,
              question.parameters,
            ),
        );
      case "rcpt":
        return this.#afterTarpit(this.#recipient(question));
      case "verify":
        return this.#afterTarpit(
          this.#ask(
            "onVerify",
            () => handlers.onVerify!(session, question.text),
            true,
          ),
        );
      case "expand":
        return this.#afterTarpit(
          this.#ask(
            "onExpand",
            () => handlers.onExpand!(session, question.text),
            true,
          ),
        );
    }
  }

  /** Who asks for names that are none waits longer and longer for the answers. */
  #afterTarpit(
    verdict: Verdict | Promise<Verdict>,
  ): Verdict | Promise<Verdict> {
    if (isPromise(verdict)) return verdict.then((it) => this.#afterTarpit(it));
    const isTemporary = verdict instanceof SmtpReply && verdict.isTemporary;
    if (isTemporary || !isRefusal(verdict)) return verdict;
    return this.#limits.tarpit()?.then(() => verdict) ?? verdict;
  }

  #recipient(
    question: ServerAsk & { readonly ask: "rcpt" },
  ): Verdict | Promise<Verdict> {
    const { handlers, isLocal, relaying } = this.#context;
    const { address, parameters } = question;
    const isForeign = isLocal !== undefined &&
      !isLocal(address, this.#session.localAddress);
    if (isForeign && !relaying?.allows(this.#session)) {
      return replies.relayingDenied;
    }
    return handlers.onRcptTo &&
      this.#ask(
        "onRcptTo",
        () => handlers.onRcptTo!(this.#session, address, parameters),
      );
  }

  /**
   * Shows a command line to `onCommand`; gives the line to run, `""` for none.
   * What AUTH carries is not shown, nor what comes behind one that is refused.
   */
  command(line: string): string | Promise<string> {
    const shown = this.#withoutSecret(line);
    const run = (changed: string | void) =>
      changed === undefined || changed === shown ? line : changed;
    try {
      const changed = this.#context.handlers.onCommand!(this.#session, shown);
      return isPromise(changed)
        ? changed.then(run, (error) => this.#commandFailed(error))
        : run(changed);
    } catch (error) {
      return this.#commandFailed(error);
    }
  }

  /** The line as it may be shown. A client may send user and password along with AUTH, and wait for nothing. */
  #withoutSecret(line: string): string {
    const { authenticated } = this.#protocol.state;
    const match = AUTH.exec(line);
    if (match !== null) {
      this.#afterAuth = true;
      this.#wasLoggedIn = authenticated;
      return hideAuth(line, match);
    }
    // After the log-in, or a whole command, the client has no answer to give.
    if (authenticated !== this.#wasLoggedIn || COMMAND.test(line)) {
      this.#afterAuth = false;
      this.#wasLoggedIn = authenticated;
    }
    return this.#afterAuth ? "***" : line;
  }

  /** The command is not run; what was thrown is the answer to it. */
  #commandFailed(error: unknown): string {
    const verdict = verdictOfError(error, this.#about("onCommand"));
    if (verdict instanceof SmtpReply) this.#protocol.reply(verdict);
    return "";
  }

  #ask(
    handler: string,
    call: () => unknown,
    lines?: true,
  ): Verdict | Promise<Verdict> {
    return ask(call, this.#about(handler, lines));
  }

  #about(handler: string, lines?: true): VerdictContext {
    const { log } = this.#context;
    const about = { log, session: this.#session.id, handler };
    return lines ? { ...about, lines } : about;
  }
}

/** An AUTH line without all that may be a secret: everything but the name of a mechanism. */
function hideAuth(line: string, match: RegExpExecArray): string {
  const [whole, verb = "", blanks = "", name = "", rest = ""] = match;
  const isName = name !== "" && parseMechanismName(name) !== undefined &&
    (rest !== "" || whole === line);
  const shown = isName ? `${verb}${blanks}${name}${rest}` : verb;
  if (shown === line) return line;
  return isName ? `${shown}***` : `${shown} ***`;
}
