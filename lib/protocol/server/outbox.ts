/**
 * The output of the server state machine: reply bytes, collected until they
 * must be written, and effects in their order. Also counts the errors of the
 * client, because the reply to one too many is the last.
 *
 * Collects replies until the session is about to wait for the peer. This is
 * what makes PIPELINING fast: one packet for many replies.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2920#section-3.2 | RFC 2920 section 3.2}
 */

import { NOTHING } from "../bytes.ts";
import type { Capabilities } from "../capabilities.ts";
import { tooMany } from "../replies.ts";
import { SmtpReply } from "../reply.ts";
import type {
  CloseReason,
  ServerAsk,
  ServerEffect,
  ServerProfile,
  Verdict,
} from "./effects.ts";

/** Collected replies beyond this are written even if more commands are waiting: 16 KiB. */
const OUTPUT_LIMIT = 16384;

/** Called when a command is refused, with the reply. */
export type RefusalListener = (
  reply: SmtpReply,
  command: { readonly verb: string; readonly argument: string },
) => void;

/** The replies and effects of one connection, in order. */
export class Outbox {
  /** Whether the end of the session has been decided. */
  closed = false;
  /** The open question. */
  ask: ServerAsk | undefined;
  /** Called for each refusal of a command, if set. */
  onRefusal: RefusalListener | undefined;
  /**
   * The verb of the current command, `""` for a line with an unknown verb;
   * `undefined` if refusals are reported otherwise.
   */
  verb: string | undefined;
  /** The text after the verb. */
  argument = "";
  readonly #output = new OutputBuffer();
  /** The bytes of the only pending reply: written as they are, not copied. */
  #single: Uint8Array<ArrayBuffer> | undefined;
  readonly #effects: ServerEffect[] = [];
  readonly #maxErrors: number;
  readonly #enhanced: boolean;
  #errors = 0;
  #end: ServerEffect | undefined;

  /** @param profile The settings shared by the sessions of the listener */
  constructor(profile: ServerProfile) {
    this.#maxErrors = profile.maxErrors;
    this.#enhanced = profile.capabilities.has("ENHANCEDSTATUSCODES");
  }

  /** The next effect, `undefined` if the state machine may read on. */
  next(): ServerEffect | undefined {
    const effect = this.#effects[0];
    if (effect === undefined) {
      if (this.#end !== undefined) return this.flush() ?? this.#end;
      return this.#output.size > OUTPUT_LIMIT ? this.flush() : undefined;
    }
    // An effect that ends or changes the connection must not overtake the reply
    // before it.
    const last = effect.effect === "close" || effect.effect === "startTls";
    const before = last ? this.flush() : undefined;
    if (before !== undefined) return before;
    this.#effects.shift();
    return effect;
  }

  /** The bytes to write before the state machine waits, if any. */
  flush(): ServerEffect | undefined {
    const single = this.#single;
    if (single !== undefined) {
      this.#single = undefined;
      return { effect: "write", bytes: single };
    }
    return this.#output.size === 0
      ? undefined
      : { effect: "write", bytes: this.#output.take() };
  }

  /** Adds an effect. */
  push(effect: ServerEffect): void {
    this.#effects.push(effect);
  }

  /** Asks a question; the state machine stops until the answer. */
  question(ask: ServerAsk): void {
    this.ask = ask;
    this.#effects.push(ask);
  }

  /** Appends text unchanged. */
  text(text: string): void {
    this.#gather();
    this.#output.appendText(text);
  }

  /** Appends a reply. */
  reply(reply: SmtpReply): void {
    this.#append(reply);
    if (reply.code >= 400 && this.verb !== undefined) {
      this.onRefusal?.(reply, { verb: this.verb, argument: this.argument });
    }
    // 421 is always the last reply (RFC 5321 section 3.8).
    if (reply.code === 421) this.close("refused");
  }

  /** Appends the reply of the verdict, or the standard one if it has none. */
  replyWith(verdict: Verdict, standard: SmtpReply): void {
    if (verdict === "silent-allow" || verdict === "silent-deny") return;
    this.reply(verdict instanceof SmtpReply ? verdict : standard);
  }

  /** Appends the reply to an error of the client, and counts the error. */
  error(reply: SmtpReply): void {
    if (this.#isOneTooMany()) this.#endForErrors();
    else this.reply(reply);
  }

  /**
   * As {@linkcode Outbox.replyWith}, for a refusal. Counts it as an error of
   * the client if it is permanent: a 4xx reply does not count.
   */
  refuse(verdict: Verdict, standard: SmtpReply): void {
    const { isTemporary } = verdict instanceof SmtpReply ? verdict : standard;
    if (!isTemporary && this.#isOneTooMany()) {
      this.#endForErrors();
    } else this.replyWith(verdict, standard);
  }

  #endForErrors(): void {
    this.close("errors", tooMany("errors", this.#maxErrors));
  }

  #isOneTooMany(): boolean {
    this.#errors++;
    return this.#maxErrors > 0 && this.#errors > this.#maxErrors;
  }

  #append(reply: SmtpReply): void {
    const sent = this.#enhanced ? reply : plainReply(reply);
    const bytes = this.#isEmpty ? sent.cachedBytes : undefined;
    if (bytes !== undefined) {
      this.#single = bytes;
    } else {
      this.#gather();
      this.#output.appendText(sent.wire);
    }
  }

  get #isEmpty(): boolean {
    return this.#single === undefined && this.#output.size === 0;
  }

  /** Copies the single reply to the buffer, because more follows: they are written together. */
  #gather(): void {
    if (this.#single === undefined) return;
    this.#output.append(this.#single);
    this.#single = undefined;
  }

  /** Ends the session once all replies, and `reply` last, are written. */
  close(reason: CloseReason, reply?: SmtpReply): void {
    if (this.closed) return;
    this.closed = true;
    if (reply !== undefined) this.#append(reply);
    this.ask = undefined;
    this.#end = reply === undefined
      ? { effect: "close", reason }
      : { effect: "close", reason, reply };
    this.#effects.push(this.#end);
  }
}

/**
 * The reply in the form for clients: with its enhanced code if
 * ENHANCEDSTATUSCODES is offered (RFC 2034 section 3).
 */
export function forClient(
  reply: SmtpReply,
  capabilities: Capabilities,
): SmtpReply {
  return capabilities.has("ENHANCEDSTATUSCODES") ? reply : plainReply(reply);
}

/** Replies without their enhanced status code. Cached: most are standard replies and repeat. */
const plainReplies = new WeakMap<SmtpReply, SmtpReply>();

/** The reply for a client to which enhanced status codes are not offered. */
function plainReply(reply: SmtpReply): SmtpReply {
  if (reply.enhanced === undefined) return reply;
  let plain = plainReplies.get(reply);
  if (plain === undefined) {
    plain = new SmtpReply(reply.code, reply.lines);
    plainReplies.set(reply, plain);
  }
  return plain;
}

const encoder = new TextEncoder();

/** Storage kept for the next reply, in bytes; larger storage is released. */
const KEPT_STORAGE = 2048;

/** First storage of a buffer, in bytes: one or two replies. */
const FIRST_STORAGE = 256;

/** First storages are cut from a larger piece: separate allocations cost ten times as much. */
let piece: Uint8Array<ArrayBuffer> = NOTHING;
let pieceUsed = 0;

function firstStorage(): Uint8Array<ArrayBuffer> {
  if (pieceUsed + FIRST_STORAGE > piece.length) {
    piece = new Uint8Array(32 * FIRST_STORAGE);
    pieceUsed = 0;
  }
  pieceUsed += FIRST_STORAGE;
  return piece.subarray(pieceUsed - FIRST_STORAGE, pieceUsed);
}

/**
 * Collects bytes to write, without an allocation per reply. Two storages
 * alternate: a handler may send at any time, and must not change the bytes
 * being written.
 */
class OutputBuffer {
  #bytes: Uint8Array<ArrayBuffer> = NOTHING;
  #other: Uint8Array<ArrayBuffer> = this.#bytes;
  #used = 0;

  /** Bytes waiting. */
  get size(): number {
    return this.#used;
  }

  /** Appends `bytes`. */
  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #reserve(count: number): void {
    const wanted = this.#used + count;
    if (wanted <= this.#bytes.length) return;
    const grown = wanted <= FIRST_STORAGE
      ? firstStorage()
      : new Uint8Array(Math.max(wanted, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#used));
    this.#bytes = grown;
  }

  /** Appends ASCII text byte by byte, which costs less than a call of an encoder. */
  appendText(text: string): void {
    const { length } = text;
    this.#reserve(length);
    const bytes = this.#bytes;
    let used = this.#used;
    for (let at = 0; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code > 127) return this.append(encoder.encode(text));
      bytes[used++] = code;
    }
    this.#used = used;
  }

  /** Takes the collected bytes. They stay unchanged until the call after the next. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes;
    const taken = bytes.subarray(0, this.#used);
    this.#used = 0;
    this.#bytes = this.#other;
    this.#other = bytes.length > KEPT_STORAGE ? NOTHING : bytes;
    return taken;
  }
}
