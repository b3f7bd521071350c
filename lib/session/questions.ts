/**
 * Puts the machine's questions to the handlers, and answers those that the
 * server's own policy decides. A promise comes back only where a handler gave
 * one.
 */

import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import type { ServerAsk, Verdict } from "../protocol/server_effects.ts";
import type { ServerProtocol } from "../protocol/server_protocol.ts";
import { parseMechanismName } from "../sasl/mechanism_name.ts";
import type { SessionContext } from "./context.ts";
import type { SessionLimits } from "./session_limits.ts";
import type { SmtpSession } from "./session.ts";
import {
  ask,
  isPromise,
  isRefusal,
  type VerdictContext,
  verdictOfError,
} from "./verdicts.ts";

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
    const { authenticated } = this.#protocol;
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
    if (verdict instanceof SmtpReply) this.#protocol.say(verdict);
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
