/**
 * What the receiving machine has to say and do next: reply octets that gather
 * until they must go out, and effects in their order. It also counts the
 * client's errors, because the reply to one too many is the last.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2920#section-3.2 | RFC 2920 section 3.2}
 */

import { OutputBuffer } from "./output_buffer.ts";
import { replies } from "./replies.ts";
import { SmtpReply } from "./reply.ts";
import type {
  CloseReason,
  ServerAsk,
  ServerEffect,
  Verdict,
} from "./server_effects.ts";

/** Replies beyond this are written although more commands are waiting: 16 KiB. */
const OUTPUT_LIMIT = 16384;

const encoder = new TextEncoder();

/** Replies and effects of one connection, in order. */
export class Outbox {
  /** Whether the end of the session has been decided. */
  closed = false;
  /** The question that waits for its answer. */
  ask: ServerAsk | undefined;
  readonly #output = new OutputBuffer();
  readonly #effects: ServerEffect[] = [];
  readonly #maxErrors: number;
  #errors = 0;

  /** @param maxErrors Errors of the client after which the session ends, 0 for no end */
  constructor(maxErrors: number) {
    this.#maxErrors = maxErrors;
  }

  /** The effect that comes next, `undefined` when the machine may read on. */
  next(): ServerEffect | undefined {
    const effect = this.#effects[0];
    if (effect === undefined) {
      return this.#output.size > OUTPUT_LIMIT ? this.flush() : undefined;
    }
    // What ends or changes the connection must not overtake the reply before it.
    const last = effect.effect === "close" || effect.effect === "startTls";
    if (last && this.#output.size > 0) return this.flush();
    this.#effects.shift();
    return effect;
  }

  /** The octets to be written before the machine waits, if there are any. */
  flush(): ServerEffect | undefined {
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
    this.#effects.push({ effect: "ask", ...ask });
  }

  /** Appends text as it is. */
  text(text: string): void {
    this.#output.append(encoder.encode(text));
  }

  /** Appends a reply. */
  reply(reply: SmtpReply): void {
    this.#output.append(reply.encode());
    // 421 is always the last word (RFC 5321 section 3.8).
    if (reply.code === 421) this.close("refused");
  }

  /** Appends the verdict's reply, or the standard one where it has none. */
  say(verdict: Verdict, standard: SmtpReply): void {
    if (verdict === "silent-allow" || verdict === "silent-deny") return;
    this.reply(verdict instanceof SmtpReply ? verdict : standard);
  }

  /** Appends the reply to an error of the client, which counts. */
  error(reply: SmtpReply): void {
    this.#errors++;
    if (this.#maxErrors > 0 && this.#errors > this.#maxErrors) {
      this.#output.append(replies.tooManyErrors.encode());
      this.close("errors");
    } else {
      this.reply(reply);
    }
  }

  /** Ends the session when all that was said is written. */
  close(reason: CloseReason): void {
    if (this.closed) return;
    this.closed = true;
    this.ask = undefined;
    this.#effects.push({ effect: "close", reason });
  }
}
