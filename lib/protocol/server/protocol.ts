/**
 * The server side of SMTP and LMTP as a state machine without input, output,
 * clock or promise: `receive` takes bytes, `next` returns one effect, `answer`
 * takes a verdict. Decides the order of commands and sends every standard
 * reply. Never decides policy and never touches a socket. This file moves bytes
 * and effects; the verbs are in `commands.ts`, DATA and BDAT in `content.ts`,
 * the state in `state.ts`.
 *
 * One effect at a time is the back-pressure: no further byte is read until the
 * session has carried out the last effect. Replies are collected and written
 * when the state machine is about to wait for the peer.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321 | RFC 5321},
 * {@link https://www.rfc-editor.org/rfc/rfc2920 | RFC 2920} (PIPELINING),
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030} (BDAT),
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207} (STARTTLS),
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954} (AUTH),
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033} (LMTP)
 */

import { isBlank, skipBlanks } from "../bytes.ts";
import {
  AUTH_LINE_LIMIT,
  COMMAND_LINE_LIMIT,
  isHttp,
  type KnownCommand,
  lineLimit,
  parseCommand,
  TLS_RECORD,
} from "../command.ts";
import { LineBuffer } from "../line_buffer.ts";
import type { RecentLines } from "../parse_cache.ts";
import { replies } from "../replies.ts";
import type { SmtpReply } from "../reply.ts";
import { ServerCommands } from "./commands.ts";
import { ServerContent } from "./content.ts";
import {
  accepts,
  type CloseReason,
  type CountingGate,
  type InputListener,
  type ServerAsk,
  type ServerEffect,
  type ServerProfile,
  type Verdict,
} from "./effects.ts";
import type { Outbox, RefusalListener } from "./outbox.ts";
import { type ServerFacts, type ServerInput, ServerState } from "./state.ts";

/** The server state machine of one connection. */
export class ServerProtocol {
  readonly #profile: ServerProfile;
  readonly #state: ServerState;
  readonly #input: ServerInput;
  readonly #outbox: Outbox;
  readonly #content: ServerContent;
  readonly #commands: ServerCommands;
  readonly #lines: LineBuffer;
  #listener: InputListener | undefined;
  /** Bytes of the current line that match the start of a TLS record; -1 after a mismatch. */
  #tlsBytes = 0;

  /** @param profile The settings shared by the sessions of the listener */
  constructor(profile: ServerProfile) {
    const state = new ServerState(profile);
    this.#profile = profile;
    this.#state = state;
    this.#input = state.input;
    this.#outbox = state.outbox;
    this.#content = new ServerContent(state);
    this.#commands = new ServerCommands(state, this.#content);
    this.#lines = new LineBuffer(
      profile.authentication === "none" ? COMMAND_LINE_LIMIT : AUTH_LINE_LIMIT,
    );
    this.#outbox.question({ effect: "ask", ask: "connect" });
  }

  // Facts for the session.

  /** The state of the connection. */
  get state(): ServerFacts {
    return this.#state;
  }

  /** Bytes of body so far. */
  get bodySize(): number {
    return this.#content.size;
  }

  /**
   * Sets the gate that counts messages and recipients, and the listener for
   * refusals of commands.
   */
  observe(
    observers: {
      readonly gate?: CountingGate;
      readonly onRefusal?: RefusalListener | undefined;
    },
  ): void {
    this.#state.countWith(observers.gate);
    this.#outbox.onRefusal = observers.onRefusal;
  }

  /** Sets the listener for all that the client sends; `undefined` for none. */
  listen(listener: InputListener | undefined): void {
    this.#listener = listener;
  }

  /** Sets whether the connection is encrypted, and the SASL mechanisms available on it. */
  transportChanged(
    transport: {
      readonly tls: boolean;
      readonly mechanisms: readonly string[];
    },
  ): void {
    this.#state.transportChanged(transport.tls, transport.mechanisms);
  }

  /** Sets whether the client may send XCLIENT. */
  impersonationAllowed(isAllowed: boolean): void {
    this.#state.impersonationAllowed(isAllowed);
  }

  // Bytes in, one effect out.

  /**
   * Takes bytes from the peer: the first `count` of `bytes`, or all. May change
   * them in place. Only after a read effect.
   */
  receive(bytes: Uint8Array, count: number = bytes.length): void {
    this.#input.take(bytes, count);
  }

  /** Returns the next effect. Must not be called while an ask is open. */
  next(): ServerEffect {
    for (;;) {
      const effect = this.#outbox.next() ?? this.#advance();
      if (effect === undefined) continue;
      if (effect.effect !== "close" || this.#state.envelope === undefined) {
        return effect;
      }
      // A reply can end the session at any point of a transaction.
      this.#outbox.push(effect);
      this.#state.endTransaction();
      return { effect: "reset" };
    }
  }

  /** Continues after the last effect; `undefined` means: call again. */
  #advance(): ServerEffect | undefined {
    const { ask } = this.#outbox;
    if (ask !== undefined) {
      throw new TypeError(
        `Cannot go on while "${ask.ask}" waits for its answer`,
      );
    }
    if (!this.#state.isReadingContent) return this.#readLine();
    const content = this.#content;
    const input = this.#input;
    if (input.isEmpty && !content.isComplete) return this.#wait();
    const listener = this.#listener;
    if (listener === undefined) return content.read();
    const start = input.position;
    const effect = content.read();
    listener.content(input.position - start, !this.#state.isReadingContent);
    return effect;
  }

  #wait(): ServerEffect {
    this.#input.forget();
    return this.#outbox.flush() ??
      { effect: "read", phase: this.#state.reading };
  }

  #readLine(): ServerEffect | undefined {
    const input = this.#input;
    const lines = this.#lines;
    const { isAuthenticating } = this.#state;
    const recent = this.#recentLines();
    const start = input.position;
    const known = recent?.find(input.bytes, start, input.end);
    if (known !== undefined) {
      input.position = start + recent!.length;
      this.#listener?.line(
        lineOf(input.bytes, start, input.position),
        "command",
      );
      this.#commands.run(known.verb, known.argument);
      return undefined;
    }
    if (this.#beginsTls()) {
      this.close(replies.tlsOnPlain, "errors");
      return undefined;
    }
    const status = lines.next(input.bytes, input.position, input.end);
    input.position = lines.position;
    if (status === "more") return this.#wait();
    this.#tlsBytes = 0;
    this.#listener?.line(
      status === "line" ? lines.text : lines.head,
      isAuthenticating ? "auth" : status === "line" ? "command" : "unusable",
    );
    if (!isAuthenticating) {
      this.#outbox.verb = this.#outbox.argument = "";
    }
    if (status === "endless") this.close(replies.endlessLine, "errors");
    else if (isAuthenticating) {
      // A line that is not text is not base64, either.
      const unreadable = status === "too-long" ? undefined : "\n";
      this.#commands.authLine(status === "line" ? lines.text : unreadable);
    } else if (status !== "line") {
      if (BDAT.test(lines.head)) this.close(replies.badBdat, "errors");
      else this.#outbox.error(BAD_LINE[status]);
    } else if (this.#profile.asks.command) {
      this.#outbox.question({
        effect: "ask",
        ask: "command",
        line: lines.text,
      });
    } else {
      const command = this.#parse(lines.text);
      if (command === undefined) return undefined;
      recent?.keep(input.bytes, start, command);
      this.#commands.run(command.verb, command.argument);
    }
    return undefined;
  }

  /** The cache for the next line, if it is a command and begins here. */
  #recentLines(): RecentLines | undefined {
    const { asks, capabilities } = this.#profile;
    return !this.#state.isAuthenticating && !asks.command &&
        this.#lines.isAtLineStart
      ? capabilities.commands
      : undefined;
  }

  /**
   * Whether the current line begins like TLS. Decides on its first bytes: a
   * handshake has no line end to wait for, and its client also waits.
   */
  #beginsTls(): boolean {
    const { bytes, position, end } = this.#input;
    for (let at = position; at < end && this.#tlsBytes >= 0; at++) {
      if (bytes[at] !== TLS_RECORD[this.#tlsBytes]) this.#tlsBytes = -1;
      else if (++this.#tlsBytes === TLS_RECORD.length) return true;
    }
    return false;
  }

  /** Parses a command; `undefined` if a refusal was sent. */
  #parse(line: string): KnownCommand | undefined {
    const { verb, argument } = parseCommand(line);
    // Any error in it is reported at the end of the chunk, not now.
    if (verb === "BDAT") return { verb, argument };
    const lines = this.#lines;
    const byteLength = line === lines.text ? lines.byteLength : line.length;
    this.#outbox.verb = verb ?? "";
    if (byteLength > lineLimit(verb)) this.#outbox.error(replies.lineTooLong);
    else if (verb === undefined) this.#unknown(line);
    else if (CONTROL.test(argument)) {
      this.#outbox.error(replies.controlCharacter);
    } else return { verb, argument };
    return undefined;
  }

  #unknown(line: string): void {
    if (isHttp(line)) return this.close(replies.http, "errors");
    if (BDAT.test(line)) return this.close(replies.badBdat, "errors");
    this.#outbox.error(whyUnknown(line));
  }

  // Input from the session.

  /** Answers the open ask; see {@linkcode Verdict}. */
  answer(verdict?: Verdict): void {
    const { ask } = this.#outbox;
    if (ask === undefined) {
      throw new TypeError("Cannot answer: nothing was asked");
    }
    this.#outbox.ask = undefined;
    this.#settle(ask, verdict);
  }

  #settle(ask: ServerAsk, verdict: Verdict): void {
    switch (ask.ask) {
      case "connect":
        return this.#settleConnect(verdict);
      case "command":
        return this.#outbox.replyWith(verdict, replies.notImplemented);
      case "messageStart":
        return this.#content.settleStart(ask, verdict);
      case "message":
        return this.#content.settleMessage(verdict);
      default:
        return this.#commands.settle(ask, verdict);
    }
  }

  #settleConnect(verdict: Verdict): void {
    if (accepts(verdict)) {
      this.#state.connectionAccepted();
      return this.#outbox.replyWith(verdict, this.#profile.greeting);
    }
    if (verdict !== "drop") {
      this.#outbox.replyWith(verdict, replies.refusedConnection);
    }
    this.#outbox.close("refused");
  }

  /** Answers the ask "command" with the line to run in its place; `""` runs no command. */
  answerCommand(line: string): void {
    this.#outbox.ask = undefined;
    const command = line === "" ? undefined : this.#parse(line);
    if (command !== undefined) {
      this.#commands.run(command.verb, command.argument);
    }
  }

  /** Continues AUTH: sends `challenge`, which is base64, and asks for the next line. */
  challenge(challenge: string): void {
    this.#outbox.ask = undefined;
    this.#commands.challenge(challenge);
  }

  /**
   * The connection is encrypted: discards everything received in the clear (RFC
   * 3207 section 4.2).
   */
  tlsStarted(): void {
    const { end, position } = this.#input;
    if (end > position) this.#listener?.dropped(end - position);
    this.#lines.reset();
    this.#tlsBytes = 0;
    this.#state.tlsStarted();
  }

  /**
   * Refuses the current body; it is read to its end first.
   *
   * @param options `silent`: the reply to the current command has already been sent
   */
  refuseBody(reply: SmtpReply, options: { readonly silent?: true } = {}): void {
    this.#content.refuse(reply, options.silent === true);
  }

  /** Appends text to the output, unchanged: the caller must follow the protocol. */
  send(text: string): void {
    this.#outbox.text(text);
  }

  /** Appends a reply outside of any question; 421 ends the session. */
  reply(reply: SmtpReply): void {
    this.#outbox.reply(reply);
  }

  /** Ends the session: sends `reply` if given, then closes. */
  close(reply: SmtpReply | undefined, reason: CloseReason): void {
    this.#state.close(reply, reason);
  }
}

const utf8 = new TextDecoder();

/** The text of a line, without its end. */
function lineOf(bytes: Uint8Array, start: number, end: number): string {
  return utf8.decode(bytes.subarray(start, end)).replace(/\r?\n$/, "");
}

/**
 * The beginning of a line that some software may read as BDAT: its chunk may
 * follow, and must not run as commands.
 */
const BDAT = /^BDAT(?![!-~])/i;

/** Control characters but the tab. */
// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** The reply to a line without a known verb. */
function whyUnknown(line: string): SmtpReply {
  if (CONTROL.test(line)) return replies.controlCharacter;
  const isBehindBlank = isBlank(line.charCodeAt(0)) &&
    parseCommand(line.slice(skipBlanks(line, 0))).verb !== undefined;
  return isBehindBlank ? replies.blankBeforeCommand : replies.unknownCommand;
}

/** The replies to unusable lines. */
const BAD_LINE = {
  "too-long": replies.lineTooLong,
  "bare-newline": replies.bareNewlineInCommand,
  "not-utf8": replies.notUtf8,
} as const;
