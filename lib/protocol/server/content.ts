/**
 * The content of messages, by DATA or by BDAT chunks: how it begins, where it
 * ends, how large it is, and when its refusal is sent. Always reads to the true
 * end, even of refused content: a server that stops earlier reads the rest of a
 * body as commands. If that end is too far after a refusal, the session ends.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4 | RFC 5321 section 4.1.1.4} (DATA),
 * {@link https://www.rfc-editor.org/rfc/rfc3030 | RFC 3030} (BDAT),
 * {@link https://www.rfc-editor.org/rfc/rfc2033#section-4.2 | RFC 2033 section 4.2} (LMTP)
 */

import { NOTHING } from "../bytes.ts";
import { parseBdat } from "../command.ts";
import type { Recipient } from "../envelope.ts";
import { chunkReceived, replies } from "../replies.ts";
import { SmtpReply } from "../reply.ts";
import {
  accepts,
  type ServerAsk,
  type ServerEffect,
  type Verdict,
} from "./effects.ts";
import type { Outbox } from "./outbox.ts";
import type { ServerState } from "./state.ts";
import {
  type BareNewlinePolicy,
  type ContentFraming,
  DataDecoder,
} from "../data_decoder.ts";

/** Reads the content of a connection's messages, one after the other. */
export class ServerContent {
  readonly #state: ServerState;
  readonly #outbox: Outbox;
  readonly #body: BodyReader;
  /** Whether a handler has sent the reply to the command of the current bytes. */
  #silent = false;

  constructor(state: ServerState) {
    const { profile, outbox } = state;
    this.#state = state;
    this.#outbox = outbox;
    this.#body = new BodyReader(profile.maxSize, profile.bareNewlines);
  }

  /** Bytes of body so far. */
  get size(): number {
    return this.#body.size;
  }

  /** Runs DATA. */
  start(argument: string): void {
    if (argument !== "") return this.#outbox.error(replies.noArgument);
    if (this.#state.envelope!.parameters.body === "BINARYMIME") {
      return this.#outbox.error(replies.binaryNeedsBdat);
    }
    this.#outbox.question({ effect: "ask", ask: "messageStart", via: "DATA" });
  }

  /**
   * Runs BDAT. Its bytes are already on their way, so a refusal is sent only
   * after they are read and dropped. Without a valid size, no byte after the
   * line can be trusted to be a command.
   *
   * @param refusal The reply if the command may not come now
   */
  startChunk(argument: string, refusal: SmtpReply | undefined): void {
    const state = this.#state;
    if (!state.profile.capabilities.has("CHUNKING")) {
      return state.close(replies.notImplemented, "errors");
    }
    const chunk = parseBdat(argument);
    if (chunk === undefined) {
      return state.close(replies.badBdat, "errors");
    }
    const isIdle = chunk.size === 0 && !chunk.last;
    if (isIdle && state.countIdle()) return;
    this.#body.startChunk(chunk);
    this.#silent = false;
    state.chunkStarted();
    if (refusal !== undefined) this.#body.chunkRefusal = refusal;
    else if (state.isBdatLost) {
      this.#body.chunkRefusal = replies.bdatLost;
    } else if (state.isFirstChunk) {
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
    const state = this.#state;
    const accepted = accepts(verdict);
    this.#body.start(ask.via === "BDAT" ? "bdat" : "data", {
      binary: state.envelope!.parameters.body === "BINARYMIME",
    });
    if (ask.via === "BDAT") return this.#startBdat(verdict);
    this.#silent = false;
    if (!accepted) {
      state.endTransaction();
      return this.#outbox.replyWith(verdict, replies.refusedMessage);
    }
    state.dataAccepted();
    // After any other reply the client would not send content, and both sides
    // would wait.
    const isOther = verdict instanceof SmtpReply && verdict.code !== 354;
    this.#outbox.replyWith(isOther ? undefined : verdict, replies.startData);
  }

  /** Carries out the verdict on the first chunk; its reply is sent at the end of the chunk. */
  #startBdat(verdict: Verdict): void {
    this.#state.bdatBegun(accepts(verdict));
    // SILENT_ALLOW on BDAT ... LAST covers the chunk, not the final reply.
    this.#silent = verdict === "silent-deny" ||
      (verdict === "silent-allow" && !this.#body.lastChunk);
    if (accepts(verdict)) return;
    this.#body.refusal = verdict instanceof SmtpReply
      ? verdict
      : replies.refusedMessage;
  }

  /** Whether the end has been read, of the body in DATA or of the chunk in BDAT. */
  get isComplete(): boolean {
    return this.#state.isReadingData
      ? this.#body.dataEnded
      : this.#body.chunkEnded;
  }

  /**
   * Reads content; `undefined` means: call again. The end is handled one step
   * after the last bytes, because the session may refuse those.
   */
  read(): ServerEffect | undefined {
    const { input, isReadingData } = this.#state;
    const body = this.#body;
    if (this.isComplete) {
      const rest = isReadingData ? undefined : this.#endOfChunks();
      if (rest !== undefined) return { effect: "body", bytes: rest };
      if (isReadingData) this.#endOfBody();
      else this.#endOfChunk();
      return undefined;
    }
    const bytes = isReadingData
      ? body.readData(input.bytes, input.position, input.end)
      : body.readChunk(input.bytes, input.position, input.end);
    input.position = body.position;
    if (body.refusal !== undefined) this.#drop(body.refusal);
    // DATA is complete; another chunk may follow a chunk.
    const isOver = isReadingData && body.dataEnded;
    if (body.isEndless && !isOver) {
      this.#state.close(replies.endlessContent, "errors");
      return undefined;
    }
    return bytes.length === 0 ? undefined : { effect: "body", bytes };
  }

  /** The last bytes of the last chunk, if any were held back. */
  #endOfChunks(): Uint8Array | undefined {
    const body = this.#body;
    if (!body.lastChunk) return undefined;
    const rest = body.endChunks();
    if (body.refusal !== undefined) this.#drop(body.refusal);
    return rest.length === 0 ? undefined : rest;
  }

  #endOfChunk(): void {
    const { refusal, chunkRefusal, lastChunk, size } = this.#body;
    const state = this.#state;
    state.contentEnded();
    if (chunkRefusal !== undefined) {
      if (!lastChunk || !state.isBdatLost) {
        return this.#outbox.error(chunkRefusal);
      }
      this.#reply(chunkRefusal);
      state.endTransaction();
    } else if (lastChunk) {
      this.#endOfBody();
    } else if (refusal !== undefined) {
      this.#drop(refusal);
      state.chunkRefused();
      if (!this.#silent) this.#outbox.reply(refusal);
    } else if (!this.#silent) {
      this.#outbox.reply(chunkReceived(size));
    }
  }

  /** Ends the body: asks for the verdict, or sends the reply that refuses it. */
  #endOfBody(): void {
    const { refusal } = this.#body;
    const state = this.#state;
    state.contentEnded();
    if (refusal === undefined) {
      return this.#outbox.question({ effect: "ask", ask: "message" });
    }
    this.#drop(refusal);
    this.#reply(refusal);
    state.endTransaction();
  }

  /** Makes the session drop the bytes it has collected, once. */
  #drop(refusal: SmtpReply): void {
    if (!this.#state.contentRefused()) return;
    this.#outbox.push({ effect: "drop", refusal });
    // The session logs the message, so the refusal of the command is not
    // reported.
    this.#outbox.verb = undefined;
  }

  /** Sends the reply to a whole body: in LMTP one for each recipient. */
  #reply(reply: SmtpReply): void {
    if (this.#silent) return;
    const { profile, said } = this.#state;
    if (!profile.kind.repliesPerRecipient) return this.#outbox.reply(reply);
    for (const one of said) {
      this.#outbox.reply(
        "address" in one ? one.reply ?? reply : worst(one, reply),
      );
    }
  }

  /**
   * Refuses the current body; it is read to its end first.
   *
   * @param silent Whether the reply to the current command has been sent
   */
  refuse(reply: SmtpReply, silent: boolean): void {
    if (silent) this.#silent = true;
    this.#body.refusal ??= reply;
  }

  /** Carries out the final verdict on a message. */
  settleMessage(verdict: Verdict): void {
    this.#outbox.verb = undefined;
    const isAccepted = accepts(verdict);
    if (verdict !== "silent-allow" && verdict !== "silent-deny") {
      const standard = isAccepted ? replies.messageOk : replies.refusedMessage;
      this.#reply(verdict instanceof SmtpReply ? verdict : standard);
    }
    this.#state.messageDecided(isAccepted);
  }
}

/**
 * The reply to a recipient that became several: the worst of theirs, so the
 * sender hears of each failure.
 *
 * @param reply The reply to those without one of their own
 */
function worst(recipients: readonly Recipient[], reply: SmtpReply): SmtpReply {
  let found: SmtpReply | undefined;
  for (const { reply: own = reply } of recipients) {
    if (found === undefined || own.code > found.code) found = own;
  }
  return found ?? reply;
}

/** Least bytes of refused content to read, 4 MiB: the client should get the reply. */
const LEAST_REFUSED = 4_194_304;
/** Most bytes of refused content to read if `maxSize` is 0, 1 GiB. */
const MOST_REFUSED = 1_073_741_824;

/** Reads bodies, one after the other. */
class BodyReader {
  /** Bytes of body so far. */
  size = 0;
  /** Index of the next unread byte of the last input. */
  position = 0;
  /** The reply that refuses the body; bytes read after that are dropped. */
  refusal: SmtpReply | undefined;
  /** Reply that rejects this chunk only; the transaction is unaffected. */
  chunkRefusal: SmtpReply | undefined;
  /** Bytes read since the content, or the chunk, was refused. */
  #refused = 0;
  /** Whether the current chunk is the last. */
  lastChunk = false;
  readonly #maxSize: number;
  readonly #decoder: DataDecoder;
  readonly #policy: BareNewlinePolicy;
  /** Whether BDAT content is stored unchanged. */
  #verbatim = false;
  #chunkLeft = 0;

  /**
   * @param maxSize Largest body in bytes, 0 for no limit
   * @param bareNewlines The treatment of bare line ends, except in BODY=BINARYMIME
   */
  constructor(maxSize: number, bareNewlines: BareNewlinePolicy) {
    this.#maxSize = maxSize;
    this.#decoder = new DataDecoder(bareNewlines);
    this.#policy = bareNewlines;
  }

  /**
   * Begins a body.
   *
   * @param options `binary`: whether it came with BODY=BINARYMIME, which has no lines
   */
  start(
    framing: ContentFraming,
    options: { readonly binary: boolean },
  ): void {
    this.size = 0;
    this.#refused = 0;
    this.refusal = undefined;
    this.chunkRefusal = undefined;
    this.#verbatim = framing === "bdat" &&
      (options.binary || this.#policy === "keep");
    this.#decoder.reset(framing);
  }

  /** Begins a BDAT chunk. */
  startChunk(
    chunk: { readonly size: number; readonly last: boolean },
  ): void {
    this.#chunkLeft = chunk.size;
    this.lastChunk = chunk.last;
    this.chunkRefusal = undefined;
  }

  /**
   * Whether more bytes have come after a refusal than the reader accepts: as
   * many as a message may have.
   */
  get isEndless(): boolean {
    const most = this.#maxSize === 0
      ? MOST_REFUSED
      : Math.max(this.#maxSize, LEAST_REFUSED);
    return this.#refused > most;
  }

  /** Whether the end of DATA has been read. */
  get dataEnded(): boolean {
    return this.#decoder.done;
  }

  /** Whether the chunk has been read. */
  get chunkEnded(): boolean {
    return this.#chunkLeft === 0;
  }

  /**
   * Reads DATA content from `input`; returns the body bytes to keep, possibly
   * none. Call it next with the unread input from
   * {@linkcode BodyReader.position} on.
   */
  readData(input: Uint8Array, start: number, end: number): Uint8Array {
    const bytes = this.#decoder.decode(input, start, end);
    this.position = this.#decoder.consumed;
    this.#countRefused(this.position - start);
    return this.#judge(bytes);
  }

  /** Reads BDAT content from `input`, as {@linkcode BodyReader.readData}. */
  readChunk(input: Uint8Array, start: number, end: number): Uint8Array {
    const stop = Math.min(end, start + this.#chunkLeft);
    const decodes = !this.#verbatim && this.chunkRefusal === undefined;
    const bytes = decodes
      ? this.#decoder.decode(input, start, stop)
      : input.subarray(start, stop);
    this.position = decodes ? this.#decoder.consumed : stop;
    this.#chunkLeft -= this.position - start;
    this.#countRefused(this.position - start);
    if (this.chunkRefusal !== undefined) return NOTHING;
    return decodes ? this.#judge(bytes) : this.#count(bytes);
  }

  /** Returns the bytes of the last chunk that were held back. */
  endChunks(): Uint8Array {
    return this.#verbatim || this.chunkRefusal !== undefined
      ? NOTHING
      : this.#judge(this.#decoder.end());
  }

  /** Refuses bare line ends under the policy `"reject"`. */
  #judge(bytes: Uint8Array): Uint8Array {
    const { bareNewline } = this.#decoder;
    if (bareNewline !== undefined && this.#policy === "reject") {
      // Of two errors always report this one, or the reply would depend on
      // packet boundaries.
      if (this.refusal === undefined || this.refusal === replies.tooLarge) {
        this.refusal = bareNewline === "CR" ? replies.bareCr : replies.bareLf;
      }
    }
    return this.#count(bytes);
  }

  #countRefused(read: number): void {
    if (this.refusal !== undefined || this.chunkRefusal !== undefined) {
      this.#refused += read;
    }
  }

  #count(bytes: Uint8Array): Uint8Array {
    this.size += bytes.length;
    if (this.#maxSize > 0 && this.size > this.#maxSize) {
      this.refusal ??= replies.tooLarge;
    }
    return this.refusal === undefined ? bytes : NOTHING;
  }
}
