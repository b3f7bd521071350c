/**
 * Command lines as handlers and logs may see them: without the secrets of AUTH,
 * those included that a client sends along with an AUTH that is refused.
 */

import { parseMechanismName } from "../sasl/mechanism_name.ts";

/** A line that begins as AUTH does: the verb, blanks, a name that may be a mechanism, blanks. */
const AUTH = /^([^A-Za-z]*AUTH)(?:([ \t]+)([A-Za-z0-9_-]+)([ \t]*))?/i;
/** Whole commands as clients send them. After a failed AUTH only such lines are shown. */
const COMMAND =
  /^(?:(?:EHLO|HELO|LHLO)[ \t]+\S+|MAIL[ \t]+FROM:.*|RCPT[ \t]+TO:.*|BDAT[ \t]+\d+(?:[ \t]+LAST)?|DATA|RSET|NOOP|QUIT|HELP|STARTTLS)[ \t]*$/i;
/** Commands whose arguments are no secrets. */
const PUBLIC =
  /^(?:EHLO|HELO|LHLO|MAIL|RCPT|BDAT|DATA|RSET|NOOP|QUIT|HELP|STARTTLS|VRFY|EXPN|XCLIENT)(?:[ \t]|$)/i;
/** The verb of another line, if it reads like one. */
const VERB = /^[A-Za-z]{1,8}(?=[ \t]|$)/;

/** Hides the secrets in the command lines of one session. */
export class SecretLines {
  /** Whether the next lines may be responses to an AUTH that was refused. */
  #afterAuth = false;
  /** Whether the client was logged in when it sent AUTH. */
  #wasLoggedIn = false;

  /**
   * The line as others may see it. A client may pipeline its user name and
   * password behind AUTH.
   *
   * @param isLoggedIn Whether the client is logged in now
   */
  shown(line: string, isLoggedIn: boolean): string {
    const match = AUTH.exec(line);
    if (match !== null) {
      this.#afterAuth = true;
      this.#wasLoggedIn = isLoggedIn;
      return hideAuth(line, match);
    }
    // After the login, or a whole command, no response follows.
    if (isLoggedIn !== this.#wasLoggedIn || COMMAND.test(line)) {
      this.#afterAuth = false;
      this.#wasLoggedIn = isLoggedIn;
    }
    return this.#afterAuth ? "***" : line;
  }

  /**
   * The line as a log may have it. What follows a verb that this server does not
   * know may be a secret as well: AUTH mistyped, `PASS` of another protocol, a
   * message whose DATA was refused.
   */
  traced(line: string): string {
    // Hidden after a login as well: only a whole command ends what AUTH began.
    const shown = this.shown(line, false);
    if (shown !== line || PUBLIC.test(line) || AUTH.test(line)) return shown;
    const verb = VERB.exec(line)?.[0] ?? "";
    return verb === line ? line : `${verb} ***`.trimStart();
  }

  /**
   * The beginning of a line that cannot be read, as others may see it. AUTH may
   * be anywhere in it, and its responses in the next lines.
   */
  shownHead(head: string): string {
    const shown = this.#afterAuth ? "***" : `${head}...`;
    this.#afterAuth = true;
    return shown;
  }
}

/** An AUTH line in which everything but the name of a mechanism is hidden: it may be a secret. */
function hideAuth(line: string, match: RegExpExecArray): string {
  const [whole, verb = "", blanks = "", name = "", rest = ""] = match;
  const isName = name !== "" && parseMechanismName(name) !== undefined &&
    (rest !== "" || whole === line);
  const shown = isName ? `${verb}${blanks}${name}${rest}` : verb;
  if (shown === line) return line;
  return isName ? `${shown}***` : `${shown} ***`;
}
