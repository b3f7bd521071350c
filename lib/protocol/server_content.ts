/**
 * DATA and BDAT: how a message's content begins, comes in and ends, and when
 * its refusal is said. What the octets mean is `server_body.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4 | RFC 5321 section 4.1.1.4} (DATA),
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030} (BDAT),
 * {@link https://www.rfc-editor.org/rfc/rfc2033#section-4.2 | RFC 2033 section 4.2} (LMTP)
 */

import { parseBdat } from "./command.ts";
import { replies } from "./replies.ts";
import { SmtpReply } from "./reply.ts";
import { BodyReader } from "./server_body.ts";
import { accepts, type Conversation } from "./server_conversation.ts";
import type { ServerAsk, ServerEffect, Verdict } from "./server_effects.ts";
import type { Outbox } from "./server_outbox.ts";

/** The content of messages of one connection, one after the other. */
export class ServerContent {
  readonly #conversation: Conversation;
  readonly #outbox: Outbox;
  readonly #body: BodyReader;
  /** Whether a handler has itself sent the reply to the command whose octets come in. */
  #silent = false;

  /** @param conversation Where things stand */
  constructor(conversation: Conversation) {
    const { profile, outbox } = conversation;
    this.#conversation = conversation;
    this.#outbox = outbox;
    this.#body = new BodyReader(profile.maxSize, profile.bareNewlines);
  }

  /** Octets of body so far. */
  get size(): number {
    return this.#body.size;
  }

  /** DATA. */
  start(argument: string): void {
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    if (this.#conversation.envelope!.parameters.body === "BINARYMIME") {
      return this.#outbox.error(replies.binaryNeedsBdat);
    }
    this.#outbox.question({ effect: "ask", ask: "messageStart", via: "DATA" });
  }

  /**
   * BDAT. The octets behind it are on their way whatever becomes of the
   * command, so a refusal waits until they are swallowed. Without a size that
   * can be read, no octet after the line can be trusted to be a command.
   *
   * @param refusal Why the command may not come now, if so
   */
  startChunk(argument: string, refusal: SmtpReply | undefined): void {
    const conversation = this.#conversation;
    if (!conversation.profile.capabilities.has("CHUNKING")) {
      return conversation.close(replies.notImplemented, "errors");
    }
    const chunk = parseBdat(argument);
    if (chunk === undefined) {
      return conversation.close(replies.badBdat, "errors");
    }
    const isIdle = chunk.size === 0 && !chunk.last;
    if (isIdle && conversation.countIdle()) return;
    this.#body.startChunk(chunk);
    this.#silent = false;
    conversation.reading = "bdat";
    if (refusal !== undefined) this.#body.chunkRefusal = refusal;
    else if (conversation.phase === "bdat-lost") {
      this.#body.chunkRefusal = replies.bdatLost;
    } else if (conversation.phase === "rcpt") {
      this.#outbox.question({
        effect: "ask",
        ask: "messageStart",
        via: "BDAT",
      });
    }
  }

  /** Carries out the answer to the question whether content may come. */
  settleStart(
    ask: ServerAsk & { readonly ask: "messageStart" },
    verdict: Verdict,
  ): void {
    const conversation = this.#conversation;
    const accepted = accepts(verdict);
    conversation.collecting = accepted;
    this.#body.start(ask.via === "BDAT" ? "bdat" : "data", {
      binary: conversation.envelope!.parameters.body === "BINARYMIME",
    });
    if (ask.via === "BDAT") return this.#startBdat(verdict);
    this.#silent = false;
    if (!accepted) {
      conversation.endTransaction();
      return this.#outbox.say(verdict, replies.refusedMessage);
    }
    conversation.reading = "data";
    // After any other reply the client would not send, and both would wait.
    const isOther = verdict instanceof SmtpReply && verdict.code !== 354;
    this.#outbox.say(isOther ? undefined : verdict, replies.startData);
  }

  /** The first chunk is decided on; what is to be said of it is said at its end. */
  #startBdat(verdict: Verdict): void {
    this.#conversation.phase = "bdat";
    // Who lets an only chunk come in has not said what becomes of the message.
    this.#silent = verdict === "silent-deny" ||
      (verdict === "silent-allow" && !this.#body.lastChunk);
    if (accepts(verdict)) return;
    this.#body.refusal = verdict instanceof SmtpReply
      ? verdict
      : replies.refusedMessage;
  }

  /** Whether the end has been read, of the body in DATA or of the chunk in BDAT. */
  get isComplete(): boolean {
    return this.#conversation.reading === "data"
      ? this.#body.dataEnded
      : this.#body.chunkEnded;
  }

  /**
   * Reads content; `undefined` means: look again. The end is dealt with one
   * step after the last octets, which the session may have refused meanwhile.
   */
  read(): ServerEffect | undefined {
    const { input, reading } = this.#conversation;
    const body = this.#body;
    if (this.isComplete) {
      const rest = reading === "data" ? undefined : this.#endOfChunks();
      if (rest !== undefined) return { effect: "body", bytes: rest };
      if (reading === "data") this.#endOfBody();
      else this.#endOfChunk();
      return undefined;
    }
    const octets = reading === "data"
      ? body.readData(input.bytes, input.position, input.end)
      : body.readChunk(input.bytes, input.position, input.end);
    input.position = body.position;
    if (body.refusal !== undefined) this.#drop(body.refusal);
    // DATA has its end; after a chunk another one may follow.
    const isOver = reading === "data" && body.dataEnded;
    if (body.isEndless && !isOver) {
      this.#conversation.close(replies.endlessContent, "errors");
      return undefined;
    }
    return octets.length === 0 ? undefined : { effect: "body", bytes: octets };
  }

  /** What the last chunk still has to give, if anything. */
  #endOfChunks(): Uint8Array | undefined {
    const body = this.#body;
    if (!body.lastChunk) return undefined;
    const rest = body.endChunks();
    if (body.refusal !== undefined) this.#drop(body.refusal);
    return rest.length === 0 ? undefined : rest;
  }

  #endOfChunk(): void {
    const { refusal, chunkRefusal, lastChunk, size } = this.#body;
    const conversation = this.#conversation;
    conversation.reading = "command";
    if (chunkRefusal !== undefined) {
      if (!lastChunk || conversation.phase !== "bdat-lost") {
        return this.#outbox.error(chunkRefusal);
      }
      this.#reply(chunkRefusal);
      conversation.endTransaction();
    } else if (lastChunk) {
      this.#endOfBody();
    } else if (refusal !== undefined) {
      this.#drop(refusal);
      conversation.phase = "bdat-lost";
      if (!this.#silent) this.#outbox.reply(refusal);
    } else if (!this.#silent) {
      this.#outbox.reply(
        new SmtpReply(250, `${size} octets received`, { enhanced: "2.0.0" }),
      );
    }
  }

  /** The body is complete: ask what becomes of it, or say why nothing does. */
  #endOfBody(): void {
    const { refusal } = this.#body;
    const conversation = this.#conversation;
    conversation.reading = "command";
    if (refusal === undefined) {
      return this.#outbox.question({ effect: "ask", ask: "message" });
    }
    this.#drop(refusal);
    this.#reply(refusal);
    conversation.endTransaction();
  }

  /** Lets the session drop what it has collected, once. */
  #drop(refusal: SmtpReply): void {
    if (!this.#conversation.collecting) return;
    this.#conversation.collecting = false;
    this.#outbox.push({ effect: "drop", refusal });
    // The session tells of the message, so the command is not told of.
    this.#outbox.verb = undefined;
  }

  /** The reply to a whole body: in LMTP one for each recipient. */
  #reply(reply: SmtpReply): void {
    if (this.#silent) return;
    const { profile, envelope } = this.#conversation;
    if (profile.protocol !== "lmtp") return this.#outbox.reply(reply);
    for (const recipient of envelope!.recipients) {
      this.#outbox.reply(recipient.reply ?? reply);
    }
  }

  /**
   * Refuses the body that is coming in; it is read to its end first.
   *
   * @param silent Whether the reply to the command under way has been sent
   */
  refuse(reply: SmtpReply, silent: boolean): void {
    if (silent) this.#silent = true;
    this.#body.refusal ??= reply;
  }

  /** Carries out the final verdict on a message. */
  settleMessage(verdict: Verdict): void {
    this.#outbox.verb = undefined;
    this.#conversation.collecting = false;
    if (accepts(verdict)) this.#conversation.idleCommands = 0;
    if (verdict !== "silent-allow" && verdict !== "silent-deny") {
      const standard = accepts(verdict)
        ? replies.messageOk
        : replies.refusedMessage;
      this.#reply(verdict instanceof SmtpReply ? verdict : standard);
    }
    this.#conversation.endTransaction();
  }
}
