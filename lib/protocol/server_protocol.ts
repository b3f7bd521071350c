/**
 * The receiving side of SMTP and LMTP as a machine without input, output, clock
 * or promise: `receive` takes octets, `next` gives one thing to do, `answer`
 * takes a verdict. It owns the order of things and every standard reply; it
 * never decides a matter of policy and never touches a socket.
 *
 * One effect at a time is the back-pressure: as long as the session has not
 * dealt with the last one, no further octet is looked at. Replies gather and
 * are given out when the machine is about to wait for the peer.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321 | RFC 5321},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920} (PIPELINING),
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030} (BDAT),
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207} (STARTTLS),
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954} (AUTH),
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033} (LMTP)
 */

import {
  AUTH_LINE_LIMIT,
  COMMAND_LINE_LIMIT,
  isHttp,
  lineLimit,
  parseBdat,
  parseCommand,
  type Verb,
} from "./command.ts";
import type { Envelope, Recipient } from "./envelope.ts";
import { LineBuffer, type LineStatus } from "./line_buffer.ts";
import { replies } from "./replies.ts";
import { SmtpReply } from "./reply.ts";
import { BodyReader } from "./server_body.ts";
import {
  checkAuth,
  checkMail,
  checkName,
  checkRcpt,
} from "./server_commands.ts";
import type {
  CloseReason,
  ServerAsk,
  ServerEffect,
  ServerProfile,
  Verdict,
} from "./server_effects.ts";
import { Outbox } from "./server_outbox.ts";
import {
  type Phase,
  type ReadPhase,
  refuseOutOfOrder,
} from "./server_states.ts";

const NOTHING = new Uint8Array(0);

/** The first octets of a TLS record: a client that expects TLS from the start. */
const TLS_HANDSHAKE = "\x16\x03";

/** The receiving machine of one connection. */
export class ServerProtocol {
  /** The name the client gave, `undefined` before HELO. */
  helo: string | undefined;
  /** Whether the client said EHLO or LHLO. */
  extended = false;
  /** Whether the connection is encrypted. */
  tls = false;
  /** Whether the client has authenticated. */
  authenticated = false;
  /** The SASL mechanisms that can be served on the connection as it is now. */
  mechanisms: readonly string[] = [];
  /** The transaction under way. */
  envelope: Envelope | undefined;
  readonly #profile: ServerProfile;
  readonly #lines: LineBuffer;
  readonly #body: BodyReader;
  readonly #outbox: Outbox;
  #phase: Phase = "connecting";
  #reading: ReadPhase = "command";
  #input: Uint8Array = NOTHING;
  #position = 0;
  #end = 0;
  #refusedRecipients = 0;
  /** Whether the session holds a message that has begun. */
  #collecting = false;

  /** @param profile What the listener's sessions have in common */
  constructor(profile: ServerProfile) {
    this.#profile = profile;
    this.#lines = new LineBuffer(
      profile.authentication === "none" ? COMMAND_LINE_LIMIT : AUTH_LINE_LIMIT,
    );
    this.#body = new BodyReader(profile.maxSize, profile.bareNewlines);
    this.#outbox = new Outbox(profile.maxErrors);
    this.#outbox.question({ effect: "ask", ask: "connect" });
  }

  /** Where the conversation is. */
  get phase(): Phase {
    return this.#outbox.closed ? "closed" : this.#phase;
  }

  /** How the next octets will be read. */
  get reading(): ReadPhase {
    return this.#reading;
  }

  /** Octets of body so far. */
  get bodySize(): number {
    return this.#body.size;
  }

  /**
   * Takes octets from the peer, which the machine may change in place: the
   * first `count` of `bytes`, or all. Only after a read effect.
   */
  receive(bytes: Uint8Array, count: number = bytes.length): void {
    this.#input = bytes;
    this.#position = 0;
    this.#end = count;
  }

  /** The one thing to do now. Not while an ask is open. */
  next(): ServerEffect {
    for (;;) {
      const effect = this.#outbox.next() ?? this.#advance();
      if (effect === undefined) continue;
      if (effect.effect !== "close" || this.envelope === undefined) {
        return effect;
      }
      // A reply that ends the session may come at any point of a transaction.
      this.#outbox.push(effect);
      this.#endTransaction();
      return { effect: "reset" };
    }
  }

  /** Reads on where the last effect left off; `undefined` means: look again. */
  #advance(): ServerEffect | undefined {
    const { ask } = this.#outbox;
    if (ask !== undefined) {
      throw new TypeError(
        `Cannot go on while "${ask.ask}" waits for its answer`,
      );
    }
    switch (this.#reading) {
      case "command":
      case "auth":
        return this.#readLine();
      case "data":
        return this.#readData();
      case "bdat":
        return this.#readChunk();
    }
  }

  #forget(): void {
    this.#input = NOTHING;
    this.#position = this.#end = 0;
  }

  #wait(): ServerEffect {
    this.#forget();
    return this.#outbox.flush() ?? { effect: "read", phase: this.#reading };
  }

  // Lines.

  #readLine(): ServerEffect | undefined {
    const lines = this.#lines;
    const status = lines.next(this.#input, this.#position, this.#end);
    this.#position = lines.position;
    if (status === "more") return this.#wait();
    if (status === "endless") this.close(replies.endlessLine, "errors");
    else if (this.#reading === "auth") this.#authLine(status);
    else if (status === "line") this.#line(lines.text);
    else this.#outbox.error(BAD_LINE[status]);
    return undefined;
  }

  #line(line: string): void {
    if (this.#profile.asks.command) {
      this.#outbox.question({ effect: "ask", ask: "command", line });
    } else {
      this.#run(line);
    }
  }

  #run(line: string): void {
    const { verb, argument } = parseCommand(line);
    const lines = this.#lines;
    const octets = line === lines.text ? lines.octets : line.length;
    if (octets > lineLimit(verb)) {
      return this.#outbox.error(replies.lineTooLong);
    }
    if (verb === undefined) return this.#unknown(line);
    // deno-lint-ignore no-control-regex
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(argument)) {
      return this.#outbox.error(replies.controlCharacter);
    }
    const refusal = this.#refuseOrder(verb);
    if (verb === "BDAT") return this.#bdat(argument, refusal);
    if (refusal !== undefined) return this.#outbox.error(refusal);
    this.#dispatch(verb, argument);
  }

  #unknown(line: string): void {
    if (isHttp(line)) return this.close(replies.http, "errors");
    if (line.startsWith(TLS_HANDSHAKE)) {
      return this.close(replies.tlsOnPlain, "errors");
    }
    this.#outbox.error(replies.unknownCommand);
  }

  #refuseOrder(verb: Verb): SmtpReply | undefined {
    const refusal = refuseOutOfOrder(verb, this.#phase);
    // With every RCPT refused, DATA is told that and not "send RCPT"; in LMTP
    // it must be 503 all the same (RFC 2033 section 4.2).
    return refusal === replies.noRecipients && this.#refusedRecipients > 0 &&
        this.#profile.protocol === "smtp"
      ? replies.noValidRecipients
      : refusal;
  }

  #dispatch(verb: Exclude<Verb, "BDAT">, argument: string): void {
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
        return this.#startData(argument);
      case "RSET":
        if (argument !== "") return this.#outbox.error(replies.noArgument);
        this.#resetTransaction();
        return this.#outbox.reply(replies.reset);
      case "NOOP":
        return this.#outbox.reply(replies.ok);
      case "QUIT":
        if (argument !== "") return this.#outbox.error(replies.noArgument);
        return this.close(this.#profile.goodbye, "quit");
      case "HELP":
        return this.#help();
      case "VRFY":
      case "EXPN":
        return this.#lookUp(verb, argument);
      case "AUTH":
        return this.#auth(argument);
      case "STARTTLS":
        return this.#startTls(argument);
    }
  }

  #hello(verb: "HELO" | "EHLO" | "LHLO", argument: string): void {
    const lmtp = this.#profile.protocol === "lmtp";
    if (lmtp !== (verb === "LHLO")) {
      return this.#outbox.error(lmtp ? replies.useLhlo : replies.useEhlo);
    }
    const bad = checkName(argument);
    if (bad !== undefined) return this.#outbox.error(bad);
    this.#resetTransaction();
    this.helo = argument;
    this.extended = verb !== "HELO";
    this.#decide({ effect: "ask", ask: "helo", name: argument });
  }

  #mail(argument: string): void {
    const { startTls, authentication } = this.#profile;
    if (startTls === "required" && !this.tls) {
      return this.#outbox.error(replies.needTls);
    }
    if (authentication === "required" && !this.authenticated) {
      return this.#outbox.error(replies.needAuth);
    }
    const sender = checkMail(argument, this.#profile);
    if (sender instanceof SmtpReply) return this.#outbox.error(sender);
    const { address, parameters } = sender;
    this.#decide({ effect: "ask", ask: "mail", address, parameters });
  }

  #rcpt(argument: string): void {
    const envelope = this.envelope!;
    const { capabilities, maxRecipients } = this.#profile;
    const candidate = checkRcpt(argument, { capabilities, envelope });
    if (candidate instanceof SmtpReply) {
      this.#refusedRecipients++;
      return this.#outbox.error(candidate);
    }
    if (envelope.recipients.length >= maxRecipients) {
      return this.#outbox.reply(replies.tooManyRecipients);
    }
    const { address, parameters } = candidate;
    this.#decide({ effect: "ask", ask: "rcpt", address, parameters });
  }

  #help(): void {
    if (this.#profile.capabilities.has("HELP")) {
      return this.#outbox.reply(replies.help);
    }
    this.#outbox.error(replies.notImplemented);
  }

  #lookUp(verb: "VRFY" | "EXPN", argument: string): void {
    if (argument === "") return this.#outbox.error(replies.wantText);
    const { asks } = this.#profile;
    if (verb === "VRFY" && !asks.verify) {
      return this.#outbox.reply(replies.cannotVerify);
    }
    if (verb === "EXPN" && !asks.expand) {
      return this.#outbox.error(replies.notImplemented);
    }
    const ask = verb === "VRFY" ? "verify" : "expand";
    this.#outbox.question({ effect: "ask", ask, text: argument });
  }

  // Bodies.

  #startData(argument: string): void {
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    if (this.envelope!.parameters.body === "BINARYMIME") {
      return this.#outbox.error(replies.binaryNeedsBdat);
    }
    this.#outbox.question({ effect: "ask", ask: "messageStart", via: "DATA" });
  }

  /**
   * The octets behind BDAT are on their way whatever becomes of the command,
   * so a refusal waits until they are swallowed. Without a size that can be
   * read, no octet after the line can be trusted to be a command.
   */
  #bdat(argument: string, refusal: SmtpReply | undefined): void {
    if (!this.#profile.capabilities.has("CHUNKING")) {
      return this.close(replies.notImplemented, "errors");
    }
    const chunk = parseBdat(argument);
    if (chunk === undefined) return this.close(replies.badBdat, "errors");
    this.#body.startChunk(chunk);
    this.#reading = "bdat";
    if (refusal !== undefined) this.#body.chunkRefusal = refusal;
    else if (this.#phase === "bdat-lost") {
      this.#body.chunkRefusal = replies.bdatLost;
    } else if (this.#phase === "rcpt") {
      this.#outbox.question({
        effect: "ask",
        ask: "messageStart",
        via: "BDAT",
      });
    }
  }

  #readData(): ServerEffect | undefined {
    if (this.#position === this.#end) return this.#wait();
    const octets = this.#body.readData(
      this.#input,
      this.#position,
      this.#end,
    );
    this.#position = this.#body.position;
    if (this.#body.dataEnded) this.#endOfBody();
    return this.#keep(octets);
  }

  #readChunk(): ServerEffect | undefined {
    if (!this.#body.chunkEnded && this.#position === this.#end) {
      return this.#wait();
    }
    const octets = this.#body.readChunk(
      this.#input,
      this.#position,
      this.#end,
    );
    this.#position = this.#body.position;
    if (this.#body.chunkEnded) this.#endOfChunk();
    return this.#keep(octets);
  }

  #keep(octets: Uint8Array): ServerEffect | undefined {
    if (this.#body.refusal !== undefined) this.#drop(this.#body.refusal);
    return octets.length === 0 ? undefined : { effect: "body", bytes: octets };
  }

  #endOfChunk(): void {
    const { refusal, chunkRefusal, lastChunk, size } = this.#body;
    this.#reading = "command";
    if (chunkRefusal !== undefined) {
      if (!lastChunk || this.#phase !== "bdat-lost") {
        return this.#outbox.error(chunkRefusal);
      }
      this.#replyToBody(chunkRefusal);
      this.#endTransaction();
    } else if (lastChunk) {
      this.#endOfBody();
    } else if (refusal !== undefined) {
      this.#drop(refusal);
      this.#phase = "bdat-lost";
      this.#outbox.reply(refusal);
    } else {
      this.#outbox.reply(
        new SmtpReply(250, `${size} octets received`, { enhanced: "2.0.0" }),
      );
    }
  }

  /** The body is complete: ask what becomes of it, or say why nothing does. */
  #endOfBody(): void {
    const { refusal } = this.#body;
    this.#reading = "command";
    if (refusal === undefined) {
      return this.#outbox.question({ effect: "ask", ask: "message" });
    }
    this.#drop(refusal);
    this.#replyToBody(refusal);
    this.#endTransaction();
  }

  /** Lets the session drop what it has collected, once. */
  #drop(refusal: SmtpReply): void {
    if (!this.#collecting) return;
    this.#collecting = false;
    this.#outbox.push({ effect: "drop", refusal });
  }

  /** The reply to a whole body: in LMTP one for each recipient (RFC 2033 section 4.2). */
  #replyToBody(reply: SmtpReply): void {
    if (this.#profile.protocol !== "lmtp") return this.#outbox.reply(reply);
    for (const recipient of this.envelope!.recipients) {
      this.#outbox.reply(recipient.reply ?? reply);
    }
  }

  /** Refuses the body that is coming in; it is read to its end first. */
  refuseBody(reply: SmtpReply): void {
    this.#body.refusal ??= reply;
  }

  // AUTH and STARTTLS.

  #auth(argument: string): void {
    const { authentication, startTls } = this.#profile;
    if (authentication === "none") {
      return this.#outbox.error(replies.notImplemented);
    }
    if (startTls === "required" && !this.tls) {
      return this.#outbox.error(replies.needTls);
    }
    if (this.authenticated) return this.#outbox.error(replies.outOfOrder);
    const request = checkAuth(argument);
    if (request instanceof SmtpReply) return this.#outbox.error(request);
    this.#outbox.question({ effect: "ask", ask: "auth", ...request });
  }

  #authLine(status: LineStatus): void {
    this.#reading = "command";
    // What is no text is no base64, either.
    const unreadable = status === "too-long" ? undefined : "\n";
    const text = status === "line" ? this.#lines.text : unreadable;
    this.#outbox.question({ effect: "ask", ask: "authLine", text });
  }

  /** Goes on with AUTH: sends `challenge`, which is base64, and asks for the next line. */
  challenge(challenge: string): void {
    this.#outbox.ask = undefined;
    this.#reading = "auth";
    this.send(`334 ${challenge}\r\n`);
  }

  #startTls(argument: string): void {
    if (this.tls) return this.#outbox.error(replies.outOfOrder);
    if (this.#profile.startTls === "none") {
      return this.#outbox.error(replies.notImplemented);
    }
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    // Whatever else came with the command came in the clear: it is dropped,
    // or an attacker's octets would be run as the client's (CVE-2011-0411).
    this.#forget();
    this.#outbox.reply(replies.startTls);
    this.#outbox.push({ effect: "startTls" });
  }

  /** The connection is encrypted: forget all that was said in the clear (RFC 3207 section 4.2). */
  tlsStarted(): void {
    this.tls = true;
    this.authenticated = false;
    this.#lines.reset();
    this.#resetTransaction();
    this.helo = undefined;
    this.extended = false;
    if (this.#phase !== "connecting") this.#phase = "greeted";
  }

  // Asking and answering.

  /** Asks where somebody wants to decide, accepts on the spot where nobody does. */
  #decide(ask: ServerAsk & { readonly ask: "helo" | "mail" | "rcpt" }): void {
    if (this.#profile.asks[ask.ask]) this.#outbox.question(ask);
    else this.#settle(ask, undefined);
  }

  /** Answers the open ask; see {@linkcode Verdict}. */
  answer(verdict?: Verdict): void {
    const { ask } = this.#outbox;
    if (ask === undefined) {
      throw new TypeError("Cannot answer: nothing was asked");
    }
    this.#outbox.ask = undefined;
    this.#settle(ask, verdict);
  }

  /** Answers the ask "command" with the line to run instead; `""` runs none. */
  answerCommand(line: string): void {
    this.#outbox.ask = undefined;
    if (line !== "") this.#run(line);
  }

  #settle(ask: ServerAsk, verdict: Verdict): void {
    const standard = this.#take(ask, verdict);
    if (standard !== undefined) this.#outbox.say(verdict, standard);
  }

  /** Carries out what was decided; returns the standard reply, if there is to be one. */
  #take(ask: ServerAsk, verdict: Verdict): SmtpReply | undefined {
    const accepted = accepts(verdict);
    switch (ask.ask) {
      case "connect":
        if (accepted) {
          this.#phase = "greeted";
          return this.#profile.greeting;
        }
        if (verdict !== "drop") {
          this.#outbox.say(verdict, replies.refusedConnection);
        }
        this.#outbox.close("refused");
        return undefined;
      case "helo":
        this.#phase = accepted ? "ready" : "greeted";
        return accepted ? this.#greet() : replies.refusedHelo;
      case "mail":
        if (!accepted) return replies.refusedSender;
        this.#begin(ask.address, ask.parameters);
        return replies.senderOk;
      case "rcpt":
        return this.#takeRecipient(ask, accepted);
      case "messageStart":
        return this.#takeStart(ask.via, verdict);
      case "message":
        this.#takeMessage(verdict);
        return undefined;
      case "verify":
        return replies.cannotVerify;
      case "auth":
      case "authLine":
        this.authenticated = accepted;
        if (accepted) return replies.authenticated;
        this.#outbox.error(
          verdict instanceof SmtpReply ? verdict : replies.authFailed,
        );
        return undefined;
      case "expand":
      case "command":
        return replies.notImplemented;
    }
  }

  #begin(from: Envelope["from"], parameters: Envelope["parameters"]): void {
    this.envelope = { from, parameters, recipients: [] };
    this.#refusedRecipients = 0;
    this.#phase = "mail";
  }

  #takeRecipient(recipient: Recipient, accepted: boolean): SmtpReply {
    if (!accepted) {
      this.#refusedRecipients++;
      return replies.refusedRecipient;
    }
    const { address, parameters } = recipient;
    this.envelope!.recipients.push({ address, parameters });
    this.#phase = "rcpt";
    return replies.recipientOk;
  }

  #takeStart(
    via: "DATA" | "BDAT",
    verdict: Verdict,
  ): SmtpReply | undefined {
    const accepted = accepts(verdict);
    this.#collecting = accepted;
    this.#body.start();
    if (via === "BDAT") {
      this.#phase = "bdat";
      if (!accepted) {
        this.#body.refusal = verdict instanceof SmtpReply
          ? verdict
          : replies.refusedMessage;
      }
      return undefined;
    }
    if (!accepted) {
      this.#endTransaction();
      return replies.refusedMessage;
    }
    this.#reading = "data";
    return replies.startData;
  }

  #takeMessage(verdict: Verdict): void {
    const { refusal } = this.#body;
    this.#collecting = false;
    if (refusal !== undefined) {
      // The last octets came with the end, and were refused after the question.
      this.#replyToBody(refusal);
    } else if (verdict !== "silent-allow" && verdict !== "silent-deny") {
      const standard = accepts(verdict)
        ? replies.messageOk
        : replies.refusedMessage;
      this.#replyToBody(verdict instanceof SmtpReply ? verdict : standard);
    }
    this.#endTransaction();
  }

  /** The reply to HELO, EHLO or LHLO. */
  #greet(): SmtpReply {
    const { capabilities, startTls, authentication } = this.#profile;
    if (!this.extended) return capabilities.plainHelloReply;
    const auth = authentication !== "none" && !this.authenticated &&
      (startTls !== "required" || this.tls);
    return capabilities.helloReply({
      startTls: startTls !== "none" && !this.tls,
      mechanisms: auth ? this.mechanisms : [],
    });
  }

  // Ends.

  /** Appends text to what is sent, as it is: the caller keeps to the protocol. */
  send(text: string): void {
    this.#outbox.text(text);
  }

  /** Ends the session: `reply` if given, then close. */
  close(reply: SmtpReply | undefined, reason: CloseReason): void {
    if (this.#outbox.closed) return;
    this.#forget();
    this.#resetTransaction();
    // The close must carry this reason, not the one a 421 would give it.
    if (reply !== undefined) this.#outbox.text(reply.wire);
    this.#outbox.close(reason);
  }

  /** Ends a transaction that has not come to its message. */
  #resetTransaction(): void {
    if (this.envelope !== undefined) this.#outbox.push({ effect: "reset" });
    this.#endTransaction();
  }

  #endTransaction(): void {
    this.envelope = undefined;
    this.#collecting = false;
    this.#refusedRecipients = 0;
    if (this.#phase !== "connecting" && this.#phase !== "greeted") {
      this.#phase = "ready";
    }
  }
}

/** Whether a verdict accepts. */
function accepts(verdict: Verdict): boolean {
  return verdict === undefined || verdict === "silent-allow" ||
    (verdict instanceof SmtpReply && verdict.isPositive);
}

/** The replies to lines that cannot be used. */
const BAD_LINE = {
  "too-long": replies.lineTooLong,
  "bare-newline": replies.bareNewlineInCommand,
  "not-utf8": replies.notUtf8,
} as const;
