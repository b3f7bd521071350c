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
    this.#body.startChunk(chunk);
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
    this.#body.start();
    if (ask.via === "BDAT") {
      conversation.phase = "bdat";
      if (!accepted) {
        this.#body.refusal = verdict instanceof SmtpReply
          ? verdict
          : replies.refusedMessage;
      }
      return;
    }
    if (accepted) {
      conversation.reading = "data";
      this.#outbox.say(verdict, replies.startData);
    } else {
      conversation.endTransaction();
      this.#outbox.say(verdict, replies.refusedMessage);
    }
  }

  /** Reads DATA content; `undefined` means: look again. Not without input. */
  readData(): ServerEffect | undefined {
    const { input } = this.#conversation;
    const octets = this.#body.readData(
      input.bytes,
      input.position,
      input.end,
    );
    input.position = this.#body.position;
    if (this.#body.dataEnded) this.#endOfBody();
    return this.#keep(octets);
  }

  /** Whether the chunk is not complete. */
  get wantsChunk(): boolean {
    return !this.#body.chunkEnded;
  }

  /** Reads BDAT content, as {@linkcode readData}. */
  readChunk(): ServerEffect | undefined {
    const { input } = this.#conversation;
    const octets = this.#body.readChunk(
      input.bytes,
      input.position,
      input.end,
    );
    input.position = this.#body.position;
    if (this.#body.chunkEnded) this.#endOfChunk();
    return this.#keep(octets);
  }

  #keep(octets: Uint8Array): ServerEffect | undefined {
    if (this.#body.refusal !== undefined) this.#drop(this.#body.refusal);
    return octets.length === 0 ? undefined : { effect: "body", bytes: octets };
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
  }

  /** The reply to a whole body: in LMTP one for each recipient. */
  #reply(reply: SmtpReply): void {
    const { profile, envelope } = this.#conversation;
    if (profile.protocol !== "lmtp") return this.#outbox.reply(reply);
    for (const recipient of envelope!.recipients) {
      this.#outbox.reply(recipient.reply ?? reply);
    }
  }

  /** Refuses the body that is coming in; it is read to its end first. */
  refuse(reply: SmtpReply): void {
    this.#body.refusal ??= reply;
  }

  /** Carries out the final verdict on a message. */
  settleMessage(verdict: Verdict): void {
    const { refusal } = this.#body;
    this.#conversation.collecting = false;
    if (refusal !== undefined) {
      // The last octets came with the end, and were refused after the question.
      this.#reply(refusal);
    } else if (verdict !== "silent-allow" && verdict !== "silent-deny") {
      const standard = accepts(verdict)
        ? replies.messageOk
        : replies.refusedMessage;
      this.#reply(verdict instanceof SmtpReply ? verdict : standard);
    }
    this.#conversation.endTransaction();
  }
}
