/**
 * Answers what the machine asks: by the handlers, the server's own policy, the
 * reception of messages and log-ins. A promise comes back only where one of
 * these gave one. It waits for nothing; the connection does, and tells the machine.
 */

import type { ServerAsk, Verdict } from "../protocol/server/effects.ts";
import type { ServerProtocol } from "../protocol/server/protocol.ts";
import { replies } from "../protocol/replies.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { parseMechanismName } from "../sasl/mechanism_name.ts";
import type { Authentication, AuthenticationStep } from "./authentication.ts";
import type { SessionContext } from "./context.ts";
import type { Reception } from "./reception.ts";
import type { SmtpSession } from "./session.ts";
import type { SessionLimits } from "./session_limits.ts";
import {
  callHandler,
  isPromise,
  isRefusal,
  verdictOfError,
} from "./verdicts.ts";

/** An answer to the machine: a verdict, how AUTH goes on, or the command line to run, `""` for none. */
export type Answer = AuthenticationStep | { readonly line: string };

/** What can answer beside the handlers. */
export interface HandlerCallsInit {
  readonly session: SmtpSession;
  readonly protocol: ServerProtocol;
  readonly limits: SessionLimits;
  readonly reception: Reception;
  /** `undefined` where there are no log-ins. */
  readonly authentication: Authentication | undefined;
}

/** A line that begins as AUTH does, and what may be shown of it beside the name of a mechanism. */
const AUTH = /^([^A-Za-z]*AUTH)(?:([ \t]+)([A-Za-z0-9_-]+)([ \t]*))?/i;
/** Whole commands as clients send them; nothing else behind AUTH is shown. */
const COMMAND =
  /^(?:(?:EHLO|HELO|LHLO)[ \t]+\S+|MAIL[ \t]+FROM:.*|RCPT[ \t]+TO:.*|BDAT[ \t]+\d+(?:[ \t]+LAST)?|DATA|RSET|NOOP|QUIT|HELP|STARTTLS)[ \t]*$/i;

/** The answers for one session. */
export class HandlerCalls {
  readonly #context: SessionContext;
  readonly #session: SmtpSession;
  readonly #init: HandlerCallsInit;
  /** Whether the lines to come may be answers to an AUTH that was refused. */
  #afterAuth = false;
  /** Whether the client had logged in when it said AUTH. */
  #wasLoggedIn = false;

  constructor(context: SessionContext, init: HandlerCallsInit) {
    this.#context = context;
    this.#session = init.session;
    this.#init = init;
  }

  /** Answers one question. */
  put(question: ServerAsk): Answer | Promise<Answer> {
    const context = this.#context;
    const session = this.#session;
    const { limits, reception, authentication } = this.#init;
    switch (question.ask) {
      case "connect":
        return limits.notAdmitted ?? callHandler(context, "onConnect", session);
      case "command":
        return this.#command(question.line);
      case "helo":
        return callHandler(context, "onHelo", session, question.name);
      case "auth":
        return authentication!.start(question);
      case "authLine":
        return authentication!.line(question.text);
      case "mail": {
        const { address, parameters } = question;
        return callHandler(context, "onMailFrom", session, address, parameters);
      }
      case "rcpt":
        return this.#afterTarpit(this.#recipient(question));
      case "messageStart":
        return reception.start();
      case "message":
        return reception.finish();
      case "verify":
        return this.#afterTarpit(
          callHandler(context, "onVerify", session, question.text),
        );
      case "expand":
        return this.#afterTarpit(
          callHandler(context, "onExpand", session, question.text),
        );
      default:
        return question satisfies never;
    }
  }

  /** The more names of a client are refused, the longer it waits for the answers. */
  #afterTarpit(
    verdict: Verdict | Promise<Verdict>,
  ): Verdict | Promise<Verdict> {
    if (isPromise(verdict)) {
      return verdict.then((known) => this.#afterTarpit(known));
    }
    const isTemporary = verdict instanceof SmtpReply && verdict.isTemporary;
    if (isTemporary || !isRefusal(verdict)) return verdict;
    return this.#init.limits.tarpit()?.then(() => verdict) ?? verdict;
  }

  #recipient(
    { address, parameters }: ServerAsk & { readonly ask: "rcpt" },
  ): Verdict | Promise<Verdict> {
    const { isLocal, relaying } = this.#context;
    const session = this.#session;
    const isForeign = isLocal !== undefined &&
      !isLocal(address, session.localAddress);
    if (isForeign && !relaying?.allows(session)) return replies.relayingDenied;
    return callHandler(this.#context, "onRcptTo", session, address, parameters);
  }

  /**
   * Shows a command line to `onCommand`; gives the line to run, `""` for none.
   * What AUTH carries is not shown, nor what comes behind one that is refused.
   */
  #command(line: string): Answer | Promise<Answer> {
    const shown = this.#withoutSecret(line);
    const run = (changed: string | void) => ({
      line: changed === undefined || changed === shown ? line : changed,
    });
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
    const { authenticated } = this.#init.protocol.state;
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
  #commandFailed(error: unknown): Answer {
    const verdict = verdictOfError(error, {
      ...{ context: this.#context, session: this.#session },
      name: "onCommand",
    });
    if (verdict instanceof SmtpReply) this.#init.protocol.reply(verdict);
    return { line: "" };
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
