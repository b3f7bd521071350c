/**
 * Reads the values of header fields: encoded words, lists of addresses and
 * dates. The counterpart of `header_encoding.ts`.
 *
 * Takes any text: what cannot be read stays as it is, or is left out. Each
 * function reads its text once, so that no text takes more time than its length.
 * Decoded text never has a control character: it could forge a line wherever a
 * program writes it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2047#section-6 | RFC 2047 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc2231#section-5 | RFC 2231 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.3 | RFC 5322 sections 3.3},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.4 | 3.4} and
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-4.3 | 4.3}
 */

import { concat, isBlank } from "./bytes.ts";
import { commentEnd, quotedEnd } from "./header_encoding.ts";

/**
 * One address of a header field.
 *
 * @example The authors that a message names
 * ```ts
 * import type { HeaderAddress, SmtpHandlers } from "@smtp/server";
 *
 * const line = ({ name, address }: HeaderAddress) => `${name} <${address}>`;
 * const handlers: SmtpHandlers = {
 *   onHeaders(_session, _message, headers) {
 *     console.log(headers.addresses("From").map(line).join(", "));
 *   },
 * };
 * console.assert(handlers.onHeaders !== undefined);
 * ```
 */
export interface HeaderAddress {
  /** The decoded name, from the phrase or else from a comment; `""` without one. */
  readonly name: string;
  /** The address as written, without comments and blanks; `""` where a name has none. */
  readonly address: string;
}

/** An encoded word; the charset may have a language after `*`. No part of it can be another one's. */
const ENCODED_WORD =
  /=\?([!-)+->@-~]{1,60})(?:\*[!->@-~]{0,60})?\?([bq])\?([!->@-~]*)\?=/gi;

/** Replaces control characters by spaces. */
function withoutControls(text: string): string {
  return text.replace(/\p{Cc}/gu, " ");
}

/**
 * Decodes the encoded words of an unfolded text. Blanks between two of them
 * vanish, and words of one charset are decoded together: senders cut characters.
 *
 * @example
 * ```ts ignore
 * decodeWords("=?utf-8?Q?Gr=C3?= =?utf-8?Q?=BC=C3=9Fe?= an alle"); // "Grüße an alle"
 * ```
 */
export function decodeWords(text: string): string {
  if (!text.includes("=?")) return withoutControls(text);
  const parts: string[] = [];
  let at = 0;
  let run: { charset: string; pieces: Uint8Array[] } | undefined;
  const flush = () => {
    if (run !== undefined) parts.push(decodeBytes(run.charset, run.pieces));
    run = undefined;
  };
  for (const match of text.matchAll(ENCODED_WORD)) {
    const [word, label = "", form = "", body = ""] = match;
    const charset = label.toLowerCase();
    const bytes = form.toLowerCase() === "q" ? decodeQ(body) : decodeB(body);
    if (bytes === undefined || !isCharset(charset)) continue;
    const between = text.slice(at, match.index);
    if (run?.charset !== charset || !isAllBlank(between)) {
      const isGap = run !== undefined && isAllBlank(between);
      flush();
      if (!isGap) parts.push(between);
      run = { charset, pieces: [] };
    }
    run.pieces.push(bytes);
    at = match.index + word.length;
  }
  flush();
  parts.push(text.slice(at));
  return withoutControls(parts.join(""));
}

function isAllBlank(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    if (!isBlank(text.charCodeAt(at))) return false;
  }
  return true;
}

/** The charsets asked for so far, and whether the platform has them; a text chooses their names. */
const charsets = new Map<string, boolean>();
const MOST_CHARSETS = 200;

function isCharset(name: string): boolean {
  let known = charsets.get(name);
  if (known === undefined) {
    try {
      new TextDecoder(name);
      known = true;
    } catch {
      known = false;
    }
    if (charsets.size >= MOST_CHARSETS) charsets.clear();
    charsets.set(name, known);
  }
  return known;
}

function decodeBytes(charset: string, pieces: readonly Uint8Array[]): string {
  return new TextDecoder(charset).decode(concat(pieces));
}

/** Decodes the form Q; a `=` without two digits stays. */
function decodeQ(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const digits = text.slice(at + 1, at + 3);
    if (code === 0x3d && /^[0-9a-f]{2}$/i.test(digits)) {
      bytes[length++] = parseInt(digits, 16);
      at += 2;
    } else {
      bytes[length++] = code === 0x5f ? 0x20 : code;
    }
  }
  return bytes.subarray(0, length);
}

/** Decodes the form B; `undefined` if it is not base64. Padding may be missing. */
function decodeB(text: string): Uint8Array | undefined {
  let end = text.length;
  while (end > 0 && text[end - 1] === "=") end--;
  try {
    return Uint8Array.fromBase64(text.slice(0, end));
  } catch {
    return undefined;
  }
}

/** The parts of the address that is being read. */
class AddressReader {
  readonly addresses: HeaderAddress[] = [];
  /** The words before an angle bracket, or of an address without one. */
  #words: string[] = [];
  /** Whether a blank stands before the next word. */
  #isApart = false;
  #comments: string[] = [];
  #angle: string | undefined;

  /** Takes blanks. */
  blanks(): void {
    this.#isApart = true;
  }

  /** Takes a word: its text as written, and as a part of a name. */
  word(written: string, name: string): void {
    this.#words.push(this.#isApart ? " " : "", written, name);
    this.#isApart = false;
  }

  comment(text: string): void {
    this.#comments.push(text);
    this.#isApart = true;
  }

  angle(address: string): void {
    this.#angle ??= address;
  }

  /** Forgets the name of a group. */
  group(): void {
    this.#words = [];
    this.#comments = [];
    this.#isApart = false;
  }

  /** Ends an address. */
  end(): void {
    const comment = decodeWords(this.#comments.join(" ")).trim();
    if (this.#angle !== undefined) {
      const name = this.#name();
      this.addresses.push({
        name: name === "" ? comment : name,
        address: this.#angle,
      });
    } else if (this.#words.length > 0) {
      this.#plain(comment);
    }
    this.#angle = undefined;
    this.group();
  }

  /** An address without angle brackets, or a name without an address. */
  #plain(comment: string): void {
    const written: string[] = [];
    let words = 1;
    for (let at = 0; at < this.#words.length; at += 3) {
      const word = this.#words[at + 1]!;
      // Blanks may stand around the dots and the @ of an address.
      const joins = /^[@.]/.test(word) || /[@.]$/.test(written.at(-1) ?? "@");
      if (this.#words[at] === " " && !joins) words++;
      written.push(word);
    }
    const address = written.join("");
    const isAddress = words === 1 && !address.startsWith("=?");
    this.addresses.push(
      isAddress
        ? { name: comment, address: withoutControls(address) }
        : { name: this.#name(), address: "" },
    );
  }

  /** The words as a name. */
  #name(): string {
    const parts: string[] = [];
    /** Words outside quotation marks, which may be encoded. */
    let plain: string[] = [];
    const flush = () => {
      if (plain.length > 0) parts.push(decodeWords(plain.join("")));
      plain = [];
    };
    for (let at = 0; at < this.#words.length; at += 3) {
      const [blank = "", written = "", name = ""] = this.#words.slice(
        at,
        at + 3,
      );
      if (written.startsWith('"')) {
        flush();
        // Encoded words in quotation marks are not allowed, and common.
        parts.push(blank, decodeWords(name));
      } else plain.push(blank, name);
    }
    flush();
    return parts.join("").trim();
  }
}

/**
 * The addresses of an unfolded list, in order; those of groups are among them.
 *
 * @example
 * ```ts ignore
 * parseAddressList('"Ann" <ann@a.example>, team: bob@b.example;');
 * // [{ name: "Ann", address: "ann@a.example" }, { name: "", address: "bob@b.example" }]
 * ```
 */
export function parseAddressList(text: string): HeaderAddress[] {
  const reader = new AddressReader();
  for (let at = 0; at < text.length;) {
    const from = at;
    const char = text[at]!;
    if (isSpace(text.charCodeAt(at))) {
      reader.blanks();
      at++;
    } else if (char === "(") {
      at = commentEnd(text, at);
      reader.comment(unescape(text.slice(from + 1, at), ")"));
    } else if (char === '"') {
      at = quotedEnd(text, at);
      reader.word(
        text.slice(from, at),
        unescape(text.slice(from + 1, at), '"'),
      );
    } else if (char === "<") {
      const angle = readAngle(text, at);
      reader.angle(angle.address);
      at = angle.end;
    } else if (char === "," || char === ";") {
      reader.end();
      at++;
    } else if (char === ":") {
      reader.group();
      at++;
    } else {
      at = wordEnd(text, at);
      const word = text.slice(from, at);
      reader.word(word, word);
    }
  }
  reader.end();
  return reader.addresses;
}

function isSpace(code: number): boolean {
  return code <= 0x20 || code === 0x7f;
}

/** Removes the closing character and the backslashes of a quoted text. */
function unescape(text: string, close: string): string {
  const inner = text.endsWith(close) ? text.slice(0, -1) : text;
  return inner.replace(/\\([^])/g, "$1");
}

/** Longest address literal, in characters; a longer one is read as words. */
const MAX_LITERAL = 100;

function wordEnd(text: string, start: number): number {
  let at = start + 1;
  if (text[start] === "[") {
    // An address literal has colons.
    const most = Math.min(text.length, start + MAX_LITERAL);
    while (at < most && text[at] !== "]" && text[at] !== ",") at++;
    if (text[at] === "]") return at + 1;
    at = start + 1;
  }
  while (
    at < text.length && !isSpace(text.charCodeAt(at)) &&
    !'()<>",;:['.includes(text[at]!)
  ) at++;
  return at;
}

/** The address in angle brackets, without its source route, comments and blanks. */
function readAngle(
  text: string,
  start: number,
): { readonly address: string; readonly end: number } {
  const parts: string[] = [];
  let isRoute = false;
  let at = start + 1;
  while (at < text.length && text[at] !== ">") {
    const from = at;
    const char = text[at]!;
    if (char === '"') at = quotedEnd(text, at);
    else if (char === "(") at = commentEnd(text, at);
    else at++;
    if (char === "@" && parts.length === 0) isRoute = true;
    if (char === "(" || isSpace(text.charCodeAt(from))) continue;
    if (isRoute) {
      if (char === ":") isRoute = false;
    } else parts.push(text.slice(from, at));
  }
  return {
    address: withoutControls(parts.join("")),
    end: Math.min(text.length, at + 1),
  };
}

const MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec";
/** Minutes east of Greenwich of the old names of zones. */
const ZONES: Readonly<Record<string, number>> = {
  ...{ ut: 0, utc: 0, gmt: 0, z: 0 },
  ...{ est: -300, edt: -240, cst: -360, cdt: -300 },
  ...{ mst: -420, mdt: -360, pst: -480, pdt: -420 },
};
/** Longest date with its comments, in characters. */
const MAX_DATE = 200;
const DATE =
  /^(?:[a-z]{3,9} ?,? ?)?(\d{1,2}) ?([a-z]{3})[a-z]{0,6} ?(\d{2,4}) (\d{1,2}) ?: ?(\d{2})(?: ?: ?(\d{2})(?:\.\d{1,9})?)?(?: ?([+-]\d{4}|[a-z]{1,5}))?$/;

/** Reads the value of a Date field, in milliseconds since 1970; `undefined` if it is not a date. */
export function parseDate(value: string): number | undefined {
  if (value.length > MAX_DATE) return undefined;
  const text = withoutComments(value).replace(/[\s-]+(?=[a-z])/gi, " ")
    .replace(/([a-z])-/gi, "$1 ").replace(/\s+/g, " ").trim().toLowerCase();
  const match = DATE.exec(text);
  if (match === null) return undefined;
  const [, day, name = "", year = "", hour, minute, second = "0", zone = ""] =
    match;
  const month = MONTHS.indexOf(name);
  if (month < 0 || month % 3 !== 0) return undefined;
  const offset = /^[+-]/.test(zone)
    ? Number(`${zone[0]}1`) *
      (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(3)))
    : Object.hasOwn(ZONES, zone)
    ? ZONES[zone]!
    : 0;
  return timeOf({
    year: fullYear(year),
    month: month / 3,
    day: Number(day),
    hour: Number(hour),
    minute: Number(minute),
    second: Number(second),
  }, offset);
}

/** The text with each comment replaced by a space. */
function withoutComments(text: string): string {
  const parts: string[] = [];
  let from = 0;
  for (;;) {
    const start = text.indexOf("(", from);
    if (start < 0) break;
    parts.push(text.slice(from, start), " ");
    from = commentEnd(text, start);
  }
  return parts.join("") + text.slice(from);
}

/** Years of two and three digits are from old programs (RFC 5322 section 4.3). */
function fullYear(digits: string): number {
  const year = Number(digits);
  if (digits.length === 4) return year;
  return year + (digits.length === 3 || year >= 50 ? 1900 : 2000);
}

/** A time of day in a zone, in milliseconds since 1970; `undefined` if there is no such time. */
function timeOf(
  time: {
    readonly year: number;
    /** From 0. */
    readonly month: number;
    readonly day: number;
    readonly hour: number;
    readonly minute: number;
    readonly second: number;
  },
  offset: number,
): number | undefined {
  const { year, month, day, hour, minute, second } = time;
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const lengths = [
    31,
    isLeap ? 29 : 28,
    31,
    30,
    31,
    30,
    31,
    31,
    30,
    31,
    30,
    31,
  ];
  const isDay = day >= 1 && day <= lengths[month]!;
  // A leap second counts as the next one.
  if (!isDay || hour > 23 || minute > 59 || second > 60) return undefined;
  if (year < 1900 || Math.abs(offset) > 5999) return undefined;
  const before = year - 1;
  const leaps = Math.floor(before / 4) - Math.floor(before / 100) +
    Math.floor(before / 400);
  const days = before * 365 + leaps - 719_162 + day - 1 +
    lengths.slice(0, month).reduce((sum, length) => sum + length, 0);
  return ((days * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000;
}
