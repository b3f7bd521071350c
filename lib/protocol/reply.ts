/**
 * Replies: makes and parses the three-digit code, the enhanced status code and
 * the text of one reply of an SMTP server.
 *
 * Never lets a peer's text break out of the reply: line ends split the text
 * into reply lines, other control characters become `?`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2 | RFC 5321 section 4.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2034 | RFC 2034},
 * {@link https://www.rfc-editor.org/rfc/rfc3463 | RFC 3463}
 */

import { checkOptions, type Rules, text as textRule } from "../options.ts";

const encoder = new TextEncoder();
const ENHANCED = /^([245])\.(\d{1,3})\.(\d{1,3})$/;
/**
 * Longest text of a reply line, in bytes, without code, enhanced code and line
 * end (RFC 5321 4.5.3.1.5: 512 in all).
 */
const MAX_TEXT = 496;

/**
 * One reply of an SMTP server. Immutable.
 *
 * @example A refusal with an enhanced status code
 * ```ts
 * import { SmtpReply } from "@smtp/server";
 *
 * const reply = new SmtpReply(550, "No such user", { enhanced: "5.1.1" });
 * console.assert(String(reply) === "550 5.1.1 No such user");
 * ```
 */
export class SmtpReply {
  /** The three-digit code, 200 to 599. */
  readonly code: number;
  /** The enhanced status code, such as `"5.7.1"`, or `undefined` if the reply has none. */
  readonly enhanced: string | undefined;
  /** The text, one entry for each reply line, without code, enhanced code and line end. */
  readonly lines: readonly string[];
  #wire: string | undefined;
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #isKnown = false;

  /**
   * Makes a reply.
   *
   * @param code The three-digit code
   * @param text The text; a line end in it, or an array, makes a reply of several lines
   * @throws {RangeError} If the code is not 200 to 599 or the enhanced code does not fit it
   */
  constructor(
    code: number,
    text: string | readonly string[],
    options: SmtpReplyOptions = NO_OPTIONS,
  ) {
    if (!Number.isInteger(code) || code < 200 || code > 599) {
      throw new RangeError(
        `Cannot make a reply with code "${code}": want 200 to 599`,
      );
    }
    const { enhanced } = options;
    // Sessions make thousands of replies: plain ones skip the checks.
    if (options !== NO_OPTIONS && typeof enhanced !== "string") {
      checkOptions("SmtpReply", options, RULES, '{ enhanced: "5.7.1" }');
    }
    if (enhanced !== undefined && !fits(enhanced, code)) {
      throw new RangeError(
        `Cannot make a reply: enhanced code "${enhanced}" does not fit code ${code}`,
      );
    }
    this.code = code;
    this.enhanced = enhanced;
    this.lines = splitText(text);
  }

  /** Whether the code is below 400: the request was accepted. */
  get isPositive(): boolean {
    return this.code < 400;
  }

  /** Whether the code is 4xx: a later attempt may succeed. */
  get isTemporary(): boolean {
    return this.code >= 400 && this.code < 500;
  }

  /** The bytes on the wire, every line with its CRLF. Shared: do not change them. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes ??= encoder.encode(this.wire);
  }

  /** The text on the wire, every line with its CRLF. */
  get wire(): string {
    return this.#wire ??= this.#compose();
  }

  #compose(): string {
    const status = this.enhanced === undefined ? "" : `${this.enhanced} `;
    const last = this.lines.length - 1;
    if (last === 0) return `${this.code} ${status}${this.lines[0]}\r\n`;
    let wire = "";
    for (let at = 0; at <= last; at++) {
      const separator = at === last ? " " : "-";
      wire += `${this.code}${separator}${status}${this.lines[at]}\r\n`;
    }
    return wire;
  }

  /**
   * {@linkcode SmtpReply.bytes}, but `undefined` on the first call: a reply
   * that is sent once should not keep bytes. For the server.
   */
  get cachedBytes(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#isKnown) return this.bytes;
    this.#isKnown = true;
    return undefined;
  }

  /** The code, the enhanced status code if there is one, and the lines of text, for JSON. */
  toJSON(): {
    readonly code: number;
    readonly enhanced?: string | undefined;
    readonly lines: readonly string[];
  } {
    const { code, enhanced, lines } = this;
    return { code, enhanced, lines };
  }

  /** The text on the wire, with line feeds between the lines. */
  toString(): string {
    return this.wire.trimEnd().replaceAll("\r\n", "\n");
  }
}

/**
 * Options of {@linkcode SmtpReply}.
 *
 * @example A reply with an enhanced status code
 * ```ts
 * import { SmtpReply, type SmtpReplyOptions } from "@smtp/server";
 *
 * const full: SmtpReplyOptions = { enhanced: "4.2.2" };
 * const reply = new SmtpReply(452, "Mailbox full", full);
 * console.assert(String(reply).startsWith("452 4.2.2 Mailbox full"));
 * ```
 */
export interface SmtpReplyOptions {
  /**
   * The enhanced status code; its class must be the code's first digit (RFC 2034
   * section 4). Default: none.
   */
  enhanced?: string | undefined;
}

const RULES: Rules<SmtpReplyOptions> = {
  enhanced: textRule('an enhanced status code, as "5.7.1"'),
};
const NO_OPTIONS: SmtpReplyOptions = Object.freeze({});

/** Whether `enhanced` is an enhanced status code of the class of `code`. */
function fits(enhanced: string, code: number): boolean {
  if (enhanced.charCodeAt(0) - 48 !== Math.floor(code / 100)) return false;
  return enhanced === "2.0.0" || ENHANCED.test(enhanced);
}

/** Whether the text is one line of printable ASCII that fits: a cheap test for the common case. */
function isPlainLine(text: string): boolean {
  if (text.length > MAX_TEXT) return false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 32 || code > 126) return false;
  }
  return true;
}

/** Splits text into reply lines that fit, without control characters. */
function splitText(text: string | readonly string[]): readonly string[] {
  if (typeof text === "string" && isPlainLine(text)) return [text];
  const lines: string[] = [];
  for (const part of typeof text === "string" ? [text] : text) {
    for (const line of part.split(/\r\n|\r|\n/)) {
      // deno-lint-ignore no-control-regex
      const clean = line.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "?");
      lines.push(...cut(clean));
    }
  }
  return lines.length === 0 ? [""] : lines;
}

/** Splits a text into pieces that fit, without cutting a character. */
function* cut(text: string): Generator<string> {
  const bytes = new Uint8Array(MAX_TEXT);
  let rest = text;
  do {
    const { read } = encoder.encodeInto(rest, bytes);
    yield rest.slice(0, read);
    rest = rest.slice(read);
  } while (rest !== "");
}

/**
 * An error with an SMTP reply. A handler that throws or returns it sends the
 * reply to the client. The SMTP client throws it with the reply of the server.
 *
 * @example Refuse a sender temporarily
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
  /** The reply sent to the peer, or received from it. */
  readonly reply: SmtpReply;
  /** `"SmtpError"`, or the name of a subclass. */
  override readonly name: string = "SmtpError";

  /**
   * Makes an error from a code and text, or from a whole reply.
   *
   * @param code The three-digit code, 400 to 599, or a whole reply
   * @param text The text of the reply
   * @throws {RangeError} If the code is not 400 to 599, or the enhanced code does not fit it
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

  /** Whether a later attempt may succeed (4xx). */
  get isTemporary(): boolean {
    return this.reply.isTemporary;
  }
}
