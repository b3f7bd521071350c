/**
 * The errors that callers are meant to catch. Everything else is a built-in
 * class chosen by meaning (`TypeError`, `RangeError`, `Deno.errors.*`).
 */

import { SmtpReply, type SmtpReplyOptions } from "./protocol/reply.ts";

/**
 * A refusal with a reply of one's own: thrown (or returned) by a handler it is
 * the answer to the client; thrown by the client it is what the server said.
 *
 * @example Refuse a sender for the time being
 * ```ts
 * import { SmtpError } from "@smtp/server";
 *
 * const error = new SmtpError(451, "Greylisted, try again in 5 minutes", {
 *   enhanced: "4.7.1",
 * });
 * console.assert(error.isTemporary);
 * ```
 */
export class SmtpError extends Error {
  /** The reply that the peer gets, or gave. */
  readonly reply: SmtpReply;
  /** `"SmtpError"`, or the name of a subclass. */
  override readonly name: string = "SmtpError";

  /**
   * Makes an error of a code and text, or of a whole reply.
   *
   * @param code The three-digit code, 400 to 599, or a whole reply
   * @param text The text of the reply
   * @throws {RangeError} If the code is not a refusal, or the enhanced code does not fit it
   */
  constructor(
    code: number | SmtpReply,
    text: string | readonly string[] = "",
    options: SmtpReplyOptions & ErrorOptions = {},
  ) {
    const reply = typeof code === "number"
      ? new SmtpReply(code, text, options)
      : code;
    super(reply.toString(), options);
    if (reply.isPositive) {
      throw new RangeError(
        `Cannot make an error of reply code "${reply.code}": want 400 to 599`,
      );
    }
    this.reply = reply;
  }

  /** Whether trying again later makes sense (4xx). */
  get isTemporary(): boolean {
    return this.reply.isTemporary;
  }
}

/**
 * An address that does not fit RFC 5321 section 4.1.2.
 *
 * @example Tell where an address goes wrong
 * ```ts
 * import { Address, AddressSyntaxError } from "@smtp/server";
 *
 * try {
 *   Address.parse("a b@example.com");
 * } catch (error) {
 *   console.assert(error instanceof AddressSyntaxError && error.offset === 1);
 * }
 * ```
 */
export class AddressSyntaxError extends SyntaxError {
  /** Where in the text the first octet that does not fit stands, from 0. */
  readonly offset: number;
  /** `"AddressSyntaxError"`. */
  override readonly name: string = "AddressSyntaxError";

  /**
   * Makes an error that points into the text.
   *
   * @param offset Where in the text the fault stands, from 0
   */
  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}
