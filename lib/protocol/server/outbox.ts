/**
 * What the receiving machine has to say and do next: reply bytes that gather
 * until they must go out, and effects in their order. It also counts the
 * client's errors, because the reply to one too many is the last.
 *
 * Replies gather until the session is about to wait for the peer: that is what
 * makes PIPELINING pay, one packet for many replies.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2920#section-3.2 | RFC 2920 section 3.2}
 */

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

/** Replies beyond this are written although more commands are waiting: 16 KiB. */
const OUTPUT_LIMIT = 16384;

/** Is told that a command was refused, and how. */
export type RefusalListener = (
  reply: SmtpReply,
  command: { readonly verb: string; readonly argument: string },
) => void;

/** Replies and effects of one connection, in order. */
export class Outbox {
  /** Whether the end of the session has been decided. */
  closed = false;
  /** The question that waits for its answer. */
  ask: ServerAsk | undefined;
  /** Told of each refusal of a command, where there is somebody to be told. */
  onRefusal: RefusalListener | undefined;
  /** The verb of the command under way, `""` for a line without a known one; `undefined` where refusals are told otherwise. */
  verb: string | undefined;
  /** What stood behind the verb. */
  argument = "";
  readonly #output = new OutputBuffer();
  /** The bytes of the reply that waits, where it is the only one: written as they are, not copied. */
  #single: Uint8Array<ArrayBuffer> | undefined;
  readonly #effects: ServerEffect[] = [];
  readonly #maxErrors: number;
  readonly #enhanced: boolean;
  #errors = 0;
  #end: ServerEffect | undefined;

  /** @param profile What the listener's sessions have in common */
  constructor(profile: ServerProfile) {
    this.#maxErrors = profile.maxErrors;
    this.#enhanced = profile.capabilities.has("ENHANCEDSTATUSCODES");
  }

  /** The effect that comes next, `undefined` when the machine may read on. */
  next(): ServerEffect | undefined {
    const effect = this.#effects[0];
    if (effect === undefined) {
      if (this.#end !== undefined) return this.flush() ?? this.#end;
      return this.#output.size > OUTPUT_LIMIT ? this.flush() : undefined;
    }
    // What ends or changes the connection must not overtake the reply before it.
    const last = effect.effect === "close" || effect.effect === "startTls";
    const before = last ? this.flush() : undefined;
    if (before !== undefined) return before;
    this.#effects.shift();
    return effect;
  }

  /** The bytes to be written before the machine waits, if there are any. */
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

  /** Asks; the machine stands still until the answer. */
  question(ask: ServerAsk): void {
    this.ask = ask;
    this.#effects.push(ask);
  }

  /** Appends text as it is. */
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
    // 421 is always the last word (RFC 5321 section 3.8).
    if (reply.code === 421) this.close("refused");
  }

  /** Appends the verdict's reply, or the standard one where it has none. */
  replyWith(verdict: Verdict, standard: SmtpReply): void {
    if (verdict === "silent-allow" || verdict === "silent-deny") return;
    this.reply(verdict instanceof SmtpReply ? verdict : standard);
  }

  /** Appends the reply to an error of the client, which counts. */
  error(reply: SmtpReply): void {
    if (this.#isOneTooMany()) this.#endForErrors();
    else this.reply(reply);
  }

  /**
   * As {@linkcode Outbox.replyWith}, for a refusal that counts as an error of the
   * client where it is permanent: a 4xx reply does not count.
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
    const octets = this.#isEmpty ? sent.cachedBytes : undefined;
    if (octets !== undefined) {
      this.#single = octets;
    } else {
      this.#gather();
      this.#output.appendText(sent.wire);
    }
  }

  get #isEmpty(): boolean {
    return this.#single === undefined && this.#output.size === 0;
  }

  /** More is to come behind the single reply: they go out together. */
  #gather(): void {
    if (this.#single === undefined) return;
    this.#output.append(this.#single);
    this.#single = undefined;
  }

  /** Ends the session when all that was said, and `reply` last, is written. */
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

/** A reply as clients get it: with its enhanced code where ENHANCEDSTATUSCODES is offered (RFC 2034 section 3). */
export function forClient(
  reply: SmtpReply,
  capabilities: Capabilities,
): SmtpReply {
  return capabilities.has("ENHANCEDSTATUSCODES") ? reply : plainReply(reply);
}

/** Replies without their enhanced status code: most are standard ones and come again. */
const plainReplies = new WeakMap<SmtpReply, SmtpReply>();

/** The reply for a client that was not told of enhanced status codes. */
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

/** Storage that is kept for the next reply; more is given back. */
const KEPT_STORAGE = 2048;

const NOTHING = new Uint8Array(0);

/** Room of one buffer to begin with: a reply or two. */
const FIRST_STORAGE = 256;

/** First rooms are cut from a larger piece: making each by itself costs ten times as much. */
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
 * Gathers bytes to be written, without an allocation per reply. Two storages
 * take turns: what a handler sends at any time must not change what is being
 * written.
 */
class OutputBuffer {
  #octets: Uint8Array<ArrayBuffer> = NOTHING;
  #other: Uint8Array<ArrayBuffer> = this.#octets;
  #used = 0;

  /** Bytes waiting. */
  get size(): number {
    return this.#used;
  }

  /** Appends `octets`. */
  append(octets: Uint8Array): void {
    this.#reserve(octets.length);
    this.#octets.set(octets, this.#used);
    this.#used += octets.length;
  }

  #reserve(count: number): void {
    const wanted = this.#used + count;
    if (wanted <= this.#octets.length) return;
    const grown = wanted <= FIRST_STORAGE
      ? firstStorage()
      : new Uint8Array(Math.max(wanted, 2 * this.#octets.length));
    grown.set(this.#octets.subarray(0, this.#used));
    this.#octets = grown;
  }

  /** Appends text: ASCII byte by byte, which costs less than a call of an encoder. */
  appendText(text: string): void {
    const { length } = text;
    this.#reserve(length);
    const octets = this.#octets;
    let used = this.#used;
    for (let at = 0; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code > 127) return this.append(encoder.encode(text));
      octets[used++] = code;
    }
    this.#used = used;
  }

  /** Takes what waits. It stays untouched until the call after the next. */
  take(): Uint8Array<ArrayBuffer> {
    const octets = this.#octets;
    const taken = octets.subarray(0, this.#used);
    this.#used = 0;
    this.#octets = this.#other;
    this.#other = octets.length > KEPT_STORAGE ? NOTHING : octets;
    return taken;
  }
}
