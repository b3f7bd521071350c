/**
 * What each verb does: the syntax of its argument, the question to the session,
 * and the effect of the answer. The rule for a verb is in one place here, with
 * two exceptions: `state.ts` decides whether it may come now, and DATA and BDAT
 * are in `content.ts`. The handlers decide policy.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1 | RFC 5321 sections 4.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | 4.1.2},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207} (STARTTLS),
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954} (AUTH),
 * {@link https://www.rfc-editor.org/rfc/rfc4865 | RFC 4865} (FUTURERELEASE),
 * {@link https://www.postfix.org/XCLIENT_README.html | Postfix XCLIENT Howto}
 */

import { skipBlanks } from "../bytes.ts";
import type { Verb } from "../command.ts";
import {
  badPath,
  replies,
  tooMany,
  tooManyRecipients,
  withFirstLine,
} from "../replies.ts";
import { Redirect } from "../redirect.ts";
import { SmtpReply } from "../reply.ts";
import type { ServerContent } from "./content.ts";
import { accepts, type ServerAsk, type Verdict } from "./effects.ts";
import type { Outbox } from "./outbox.ts";
import type { ServerState } from "./state.ts";
import { parseXclient } from "../xclient.ts";
import { type Address, parsePath, type PathFault } from "../address.ts";
import type { Capabilities, MailClient } from "../capabilities.ts";
import type { Envelope } from "../envelope.ts";
import {
  type MailParameters,
  parseMailParameters,
  parseRcptParameters,
  type RcptParameters,
} from "../parameters.ts";
import {
  formatReleaseTime,
  isHeld,
  MAX_HOLD,
  refuseTiming,
} from "../timing.ts";

/**
 * Refused RCPT commands of a transaction that do not count as idle: a long list
 * may be deferred as a whole.
 */
const FREE_REFUSALS = 1000;

/** Verbs that do not count for `maxCommandsWithoutMail`. */
const HAS_OWN_LIMIT: ReadonlySet<Verb> = new Set(["RCPT", "BDAT", "QUIT"]);

/** The question `Name` to the session. */
type Ask<Name extends ServerAsk["ask"]> = ServerAsk & { readonly ask: Name };

/** A question that results from a command. */
export type CommandAsk = Ask<
  "helo" | "mail" | "rcpt" | "verify" | "expand" | "auth" | "authLine"
>;

/** Runs the verbs of one connection. */
export class ServerCommands {
  readonly #state: ServerState;
  readonly #outbox: Outbox;
  readonly #content: ServerContent;
  #refusedNames = 0;

  constructor(state: ServerState, content: ServerContent) {
    this.#state = state;
    this.#outbox = state.outbox;
    this.#content = content;
  }

  /** Runs a command. */
  run(verb: Verb, argument: string): void {
    this.#outbox.verb = verb;
    this.#outbox.argument = argument;
    if (!HAS_OWN_LIMIT.has(verb) && this.#state.countIdle()) return;
    const refusal = this.#state.refuse(verb);
    if (verb === "BDAT") return this.#content.startChunk(argument, refusal);
    if (refusal !== undefined) return this.#outbox.error(refusal);
    switch (verb) {
      case "HELO":
      case "EHLO":
      case "LHLO":
        return this.#hello(verb, argument);
      case "MAIL":
        return this.#mail(argument);
      case "RCPT":
        return this.#rcpt(argument);
      case "DATA":
        return this.#content.start(argument);
      case "RSET":
        return this.#rset(argument);
      case "NOOP":
        return this.#outbox.reply(replies.ok);
      case "QUIT":
        return this.#quit(argument);
      case "HELP":
        return this.#help();
      case "VRFY":
        return this.#vrfy(argument);
      case "EXPN":
        return this.#expn(argument);
      case "AUTH":
        return this.#auth(argument);
      case "STARTTLS":
        return this.#startTls(argument);
      case "XCLIENT":
        return this.#xclient(argument);
      default:
        verb satisfies never;
    }
  }

  /** Asks the session if a handler decides; accepts at once otherwise. */
  #decide(ask: Ask<"helo" | "mail" | "rcpt">): void {
    if (this.#state.profile.asks[ask.ask]) this.#outbox.question(ask);
    else this.settle(ask, undefined);
  }

  /** Carries out the answer to a question. */
  settle(ask: CommandAsk, verdict: Verdict): void {
    switch (ask.ask) {
      case "helo":
        return this.#settleHello(verdict);
      case "mail":
        return this.#settleSender(ask, verdict);
      case "rcpt":
        return this.#settleRecipient(ask, verdict);
      case "verify":
        return this.#settleVrfy(verdict);
      case "expand":
        return this.#settleExpn(verdict);
      case "auth":
      case "authLine":
        return this.#settleLogin(verdict);
      default:
        ask satisfies never;
    }
  }

  /**
   * Refuses a recipient or a name. A client may have some unknown recipients,
   * but one that tries many is guessing: `maxRefusedRecipients`.
   */
  #refuseName(verdict: Verdict, standard: SmtpReply): void {
    const { isTemporary } = verdict instanceof SmtpReply ? verdict : standard;
    const { maxRefusedRecipients: most } = this.#state.profile;
    if (!isTemporary && ++this.#refusedNames > most && most > 0) {
      const reply = tooMany("refused recipients", most);
      return this.#state.close(reply, "errors");
    }
    this.#outbox.replyWith(verdict, standard);
  }

  // HELO, EHLO, LHLO.

  #hello(verb: "HELO" | "EHLO" | "LHLO", argument: string): void {
    const state = this.#state;
    const { hello } = state.profile.kind;
    // HELO is allowed wherever EHLO is.
    if ((hello === "LHLO") !== (verb === "LHLO")) {
      return this.#outbox.error(USE_OTHER[hello]);
    }
    const bad = checkName(verb, argument);
    if (bad !== undefined) return this.#outbox.error(bad);
    state.helloSaid(argument, verb !== "HELO");
    this.#decide({ effect: "ask", ask: "helo", name: argument });
  }

  #settleHello(verdict: Verdict): void {
    if (accepts(verdict)) {
      this.#state.helloAccepted();
      const standard = this.#helloReply();
      // One line in place of the name: what the server offers still follows.
      const own = this.#state.extended && verdict instanceof SmtpReply &&
          verdict.lines.length === 1
        ? withFirstLine(standard, verdict.lines[0]!)
        : verdict;
      return this.#outbox.replyWith(own, standard);
    }
    this.#state.helloRefused();
    this.#outbox.replyWith(verdict, replies.refusedHelo);
  }

  #helloReply(): SmtpReply {
    const { profile, extended, tls, authenticated, mechanisms } = this.#state;
    const { capabilities, startTls, authentication } = profile;
    if (!extended) return capabilities.plainHelloReply;
    const auth = authentication !== "none" && !authenticated &&
      (startTls !== "required" || tls);
    return capabilities.helloReply({
      startTls: startTls !== "none" && !tls,
      mechanisms: auth ? mechanisms : [],
      xclient: this.#refuseXclient() === undefined,
      tls,
      latestRelease: this.#state.mayHold
        ? formatReleaseTime(this.#state.gate!.time() + MAX_HOLD * 1000)
        : undefined,
    });
  }

  // MAIL.

  #mail(argument: string): void {
    const { profile, tls, mayHold, gate } = this.#state;
    const sender = checkMail(argument, profile, { tls, mayHold });
    if (sender instanceof SmtpReply) return this.#outbox.error(sender);
    const { address, parameters } = sender;
    const refusal = isHeld(parameters)
      ? refuseTiming(parameters, gate!.time())
      : undefined;
    if (refusal !== undefined) return this.#outbox.error(refusal);
    const excess = gate?.message(parameters.size ?? 0);
    if (excess !== undefined) return this.#outbox.reply(excess);
    this.#decide({ effect: "ask", ask: "mail", address, parameters });
  }

  #settleSender(sender: Ask<"mail">, verdict: Verdict): void {
    if (!accepts(verdict)) {
      return this.#outbox.replyWith(verdict, replies.refusedSender);
    }
    this.#state.mailAccepted(sender.address, sender.parameters);
    this.#outbox.replyWith(verdict, replies.senderOk);
  }

  // RCPT.

  #rcpt(argument: string): void {
    const state = this.#state;
    const { capabilities, maxRecipients } = state.profile;
    const envelope = state.envelope!;
    const candidate = checkRcpt(argument, { capabilities, envelope });
    if (candidate instanceof SmtpReply) {
      state.recipientRefused();
      return this.#outbox.error(candidate);
    }
    if (state.said.length >= maxRecipients) {
      if (this.#countRefused()) return;
      return this.#outbox.reply(tooManyRecipients(maxRecipients));
    }
    const excess = state.gate?.recipient();
    if (excess !== undefined) {
      if (this.#countRefused()) return;
      return this.#outbox.reply(excess);
    }
    const { address, parameters } = candidate;
    this.#decide({ effect: "ask", ask: "rcpt", address, parameters });
  }

  #settleRecipient(recipient: Ask<"rcpt">, verdict: Verdict): void {
    if (!accepts(verdict)) {
      if (this.#countRefused()) return;
      return this.#refuseName(verdict, replies.refusedRecipient);
    }
    const { address, parameters } = recipient;
    if (verdict instanceof Redirect) {
      this.#state.recipientRedirected(recipient, verdict.addresses);
      return this.#outbox.replyWith(verdict.reply, replies.recipientOk);
    }
    this.#state.recipientAccepted(address, parameters);
    this.#outbox.replyWith(verdict, replies.recipientOk);
  }

  /** Counts a refused RCPT; returns whether that ended the session. */
  #countRefused(): boolean {
    return this.#state.recipientRefused() > FREE_REFUSALS &&
      this.#state.countIdle();
  }

  // RSET, QUIT, HELP.

  #rset(argument: string): void {
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    this.#state.resetTransaction();
    this.#outbox.reply(replies.reset);
  }

  #quit(argument: string): void {
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    this.#state.close(this.#state.profile.goodbye, "quit");
  }

  #help(): void {
    if (this.#state.profile.capabilities.has("HELP")) {
      return this.#outbox.reply(replies.help);
    }
    this.#outbox.error(replies.notImplemented);
  }

  // VRFY, EXPN.

  #vrfy(argument: string): void {
    if (argument === "") return this.#outbox.error(replies.wantVrfy);
    if (!this.#state.profile.asks.verify) {
      return this.#outbox.reply(replies.cannotVerify);
    }
    this.#outbox.question({ effect: "ask", ask: "verify", text: argument });
  }

  #settleVrfy(verdict: Verdict): void {
    if (accepts(verdict)) this.#outbox.replyWith(verdict, replies.cannotVerify);
    else this.#refuseName(verdict, replies.noSuchUser);
  }

  #expn(argument: string): void {
    if (argument === "") return this.#outbox.error(replies.wantExpn);
    if (!this.#state.profile.asks.expand) {
      return this.#outbox.error(replies.notImplemented);
    }
    this.#outbox.question({ effect: "ask", ask: "expand", text: argument });
  }

  #settleExpn(verdict: Verdict): void {
    if (accepts(verdict)) this.#outbox.replyWith(verdict, replies.cannotExpand);
    else this.#refuseName(verdict, replies.noSuchList);
  }

  // AUTH.

  #auth(argument: string): void {
    const { profile, authenticated } = this.#state;
    if (profile.authentication === "none") {
      return this.#outbox.error(replies.notImplemented);
    }
    if (authenticated) return this.#outbox.error(replies.outOfOrder);
    const request = checkAuth(argument);
    if (request instanceof SmtpReply) return this.#outbox.error(request);
    this.#outbox.question({ effect: "ask", ask: "auth", ...request });
  }

  /** Continues AUTH: sends `challenge`, which is base64, and waits for the next line. */
  challenge(challenge: string): void {
    this.#state.challengeSent();
    this.#outbox.text(`334 ${challenge}\r\n`);
  }

  /** Takes the line after a challenge, `undefined` for an unusable one. */
  authLine(text: string | undefined): void {
    this.#state.responseRead();
    this.#outbox.question({ effect: "ask", ask: "authLine", text });
  }

  #settleLogin(verdict: Verdict): void {
    const accepted = accepts(verdict);
    this.#state.loginDecided(accepted);
    if (accepted) this.#outbox.replyWith(verdict, replies.authenticated);
    else this.#outbox.refuse(verdict, replies.authFailed);
  }

  // STARTTLS.

  #startTls(argument: string): void {
    const { profile, tls, input } = this.#state;
    if (tls) return this.#outbox.error(replies.outOfOrder);
    if (profile.startTls === "none") {
      return this.#outbox.error(replies.notImplemented);
    }
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    // Any other bytes in this read came in the clear: drop them, or an
    // attacker's bytes would run as the client's (CVE-2011-0411).
    input.forget();
    this.#outbox.reply(replies.startTls);
    this.#outbox.push({ effect: "startTls" });
  }

  // XCLIENT.

  #xclient(argument: string): void {
    const refusal = this.#refuseXclient();
    if (refusal !== undefined) return this.#outbox.error(refusal);
    const attributes = parseXclient(argument);
    if (attributes instanceof SmtpReply) return this.#outbox.error(attributes);
    const { helo, login } = attributes;
    this.#state.clientChanged({
      helo: helo === "[UNAVAILABLE]" ? undefined : helo,
      loggedIn: login !== undefined && login !== "[UNAVAILABLE]",
    });
    this.#outbox.push({ effect: "xclient", attributes });
    this.#outbox.question({ effect: "ask", ask: "connect" });
  }

  /** The reply that refuses XCLIENT to this client now, if any. */
  #refuseXclient(): SmtpReply | undefined {
    const { profile, mayImpersonate, tls } = this.#state;
    if (profile.xclient !== true) return replies.unknownCommand;
    if (!mayImpersonate) return replies.xclientDenied;
    // XCLIENT may contain a login, which must not be sent in the clear.
    return profile.startTls === "required" && !tls
      ? replies.needTls
      : undefined;
  }
}

/** Longest HELO name, in characters (RFC 5321 section 4.5.3.1.2). */
const MAX_NAME = 255;

/** The replies to a HELO, EHLO or LHLO without a name. */
const WANT_NAME = {
  HELO: replies.wantHelo,
  EHLO: replies.wantEhlo,
  LHLO: replies.wantLhlo,
} as const;

/** The replies to the HELO verb of the other protocol. */
const USE_OTHER = { EHLO: replies.useEhlo, LHLO: replies.useLhlo } as const;

/** No parameters: for cached senders and recipients, which have none. */
const NONE: MailParameters & RcptParameters = Object.freeze({});

/** The checked arguments of MAIL. */
interface Sender {
  /** The reverse-path. */
  readonly address: Address;
  /** The parameters of MAIL. */
  readonly parameters: MailParameters;
}

/** The checked arguments of RCPT. */
interface Candidate {
  /** The forward-path. */
  readonly address: Address;
  /** The parameters of RCPT. */
  readonly parameters: RcptParameters;
}

/**
 * Checks the argument of HELO, EHLO or LHLO: one word of printable characters.
 * Real clients send names that are not domains, so the handler decides on its
 * meaning.
 */
function checkName(
  verb: "HELO" | "EHLO" | "LHLO",
  argument: string,
): SmtpReply | undefined {
  if (argument === "") return WANT_NAME[verb];
  if (argument.length > MAX_NAME) return replies.nameTooLong;
  return /[ \t]/.test(argument) ? replies.nameWithBlank : undefined;
}

/** Checks the argument of MAIL. */
function checkMail(
  argument: string,
  offer: { readonly capabilities: Capabilities; readonly maxSize: number },
  client: MailClient,
): Sender | SmtpReply {
  const { senders } = offer.capabilities;
  const known = senders.find(argument);
  if (known !== undefined) return { address: known, parameters: NONE };
  const start = pathStart(argument, /^FROM:/i);
  if (start < 0 || start === argument.length) return replies.wantFrom;
  const rules = offer.capabilities.mailRules(client);
  const path = parsePath(argument, start, {
    kind: "reverse",
    utf8: rules.smtpUtf8,
  });
  if ("error" in path) return refusePath(path, "reverse");
  const result = parseMailParameters(argument.slice(path.end), rules);
  if ("reply" in result) return result.reply;
  const { parameters } = result;
  if (!path.address.isAscii && parameters.smtpUtf8 !== true) {
    return replies.needSmtpUtf8;
  }
  if (offer.maxSize > 0 && (parameters.size ?? 0) > offer.maxSize) {
    return replies.tooLarge;
  }
  if (path.end === argument.length) senders.keep(argument, path.address);
  return { address: path.address, parameters };
}

/** Checks the argument of RCPT. */
function checkRcpt(
  argument: string,
  context: { readonly capabilities: Capabilities; readonly envelope: Envelope },
): Candidate | SmtpReply {
  const { recipients } = context.capabilities;
  const known = recipients.find(argument);
  if (known !== undefined) return { address: known, parameters: NONE };
  const start = pathStart(argument, /^TO:/i);
  if (start < 0 || start === argument.length) return replies.wantTo;
  const utf8 = context.envelope.parameters.smtpUtf8 === true;
  const path = parsePath(argument, start, { kind: "forward", utf8 });
  if ("error" in path) return refusePath(path, "forward");
  const result = parseRcptParameters(argument.slice(path.end), {
    dsn: context.capabilities.has("DSN"),
    utf8,
  });
  if ("reply" in result) return result.reply;
  // The next transaction may not allow an address in UTF-8.
  if (path.end === argument.length && path.address.isAscii) {
    recipients.keep(argument, path.address);
  }
  return { address: path.address, parameters: result.parameters };
}

/** Checks the argument of AUTH: a mechanism, and optionally an initial response. */
function checkAuth(
  argument: string,
):
  | { readonly mechanism: string; readonly initial: string | undefined }
  | SmtpReply {
  const match = /^([A-Za-z0-9_-]{1,20})(?:[ \t]+(\S+))?$/.exec(argument);
  if (match === null) return replies.badArgument;
  return { mechanism: match[1]!.toUpperCase(), initial: match[2] };
}

/**
 * Offset of the path after `FROM:` or `TO:`, -1 if that is missing. RFC 5321
 * has no spaces or tabs between them, but many clients send them, so every
 * server accepts them.
 */
function pathStart(argument: string, keyword: RegExp): number {
  const found = keyword.exec(argument);
  return found === null ? -1 : skipBlanks(argument, found[0].length);
}

/** The reply to a malformed address. */
function refusePath(path: PathFault, kind: "reverse" | "forward"): SmtpReply {
  return path.utf8 ? replies.needSmtpUtf8 : badPath(path.error, kind);
}
