/**
 * The lines of one AUTH exchange: base64, initial responses and their length.
 * Owns no secret longer than the exchange lasts, and shows none.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

import type { SmtpReply } from "./reply.ts";

/** AUTH keeps to the length of a command line, CRLF not counted. */
const MAX_AUTH_LINE = 510;
/** Challenges of one exchange: no mechanism in use asks more than four times. */
const MAX_CHALLENGES = 10;

/** What follows a reply in an AUTH exchange. */
export type AuthStep =
  | {
    /** The exchange is over, well or badly as the reply says. */
    readonly kind: "over";
  }
  | {
    /** The server goes on after the exchange was cancelled: the session is useless. */
    readonly kind: "stuck";
  }
  | {
    /** Send this line. */
    readonly kind: "line";
    /** The line without CRLF. */
    readonly line: string;
  }
  | {
    /** Ask for the response to this challenge. */
    readonly kind: "challenge";
    /** The challenge, decoded. */
    readonly challenge: Uint8Array;
  };

/** One AUTH exchange. */
export class AuthExchange {
  /** The first line, without CRLF. */
  readonly command: string;
  /** An initial response too long for the first line: it answers the first challenge. */
  #initial: Uint8Array | undefined;
  #challenges = 0;
  #isCancelled = false;

  /**
   * @param mechanism The SASL mechanism's name
   * @param initial The initial response; an empty one is not the same as none
   */
  constructor(mechanism: string, initial: Uint8Array | undefined) {
    const bare = `AUTH ${mechanism}`;
    const full = initial && `${bare} ${initial.toBase64() || "="}`;
    const fits = full !== undefined && full.length <= MAX_AUTH_LINE;
    this.command = fits ? full : bare;
    this.#initial = fits ? undefined : initial;
  }

  /**
   * What to do about a reply. A challenge that is not base64, or one too many,
   * cancels the exchange; a server that asks on after that is given up.
   */
  take(reply: SmtpReply): AuthStep {
    if (reply.code < 300 || reply.code >= 400) return { kind: "over" };
    if (this.#isCancelled) return { kind: "stuck" };
    if (++this.#challenges > MAX_CHALLENGES) return this.#say(undefined);
    const initial = this.#initial;
    this.#initial = undefined;
    if (initial) return this.#say(initial);
    const challenge = decodeBase64(reply.lines.join(""));
    return challenge ? { kind: "challenge", challenge } : this.#say(undefined);
  }

  /** The line of a response; `undefined` cancels with `*`. */
  respond(response: Uint8Array | undefined): string {
    if (response === undefined) this.#isCancelled = true;
    return response === undefined ? "*" : response.toBase64();
  }

  #say(response: Uint8Array | undefined): AuthStep {
    return { kind: "line", line: this.respond(response) };
  }
}

function decodeBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}
