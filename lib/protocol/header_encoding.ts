/**
 * Encodes header fields with bytes above 127 as ASCII: encoded words in texts,
 * phrases and comments, the forms of RFC 2231 in parameters. The charset is
 * UTF-8 if the bytes are UTF-8, else ISO-8859-1.
 *
 * Domains of addresses get A-labels if the local part is ASCII. Leaves
 * unchanged whatever has no ASCII form: another address, a message identifier,
 * a trace field, a signature. Also leaves a boundary unchanged: it must equal
 * the lines of the body.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2047#section-5 | RFC 2047 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc2231#section-4 | RFC 2231 section 4}
 */

import { isAscii, isBlank } from "./bytes.ts";
import { asciiMailbox } from "./domain.ts";

/**
 * Longest encoded word, in characters. RFC 2047 allows 75, and 76 for its line
 * with the field name.
 */
const MAX_WORD = 60;
/** Longest line, in characters. */
const MAX_LINE = 76;
/** Longest value of one section of a parameter, in characters. */
const MAX_SECTION = 50;

const encoder = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Fields that contain addresses: their phrases and comments may be encoded. */
const ADDRESS_FIELDS =
  /^(?:resent-)?(?:from|sender|reply-to|to|cc|bcc)$|^(?:mail-followup-to|disposition-notification-to|return-receipt-to|errors-to|list-id)$/;
/** Fields with parameters. */
const PARAMETER_FIELDS = /^content-(?:type|disposition)$/;
/** Fields whose syntax does not allow encoded words. */
const RIGID_FIELDS =
  /^(?:received|return-path|delivered-to|date|message-id|in-reply-to|references|mime-version|content-transfer-encoding|content-id|content-location|content-md5|dkim-.*|arc-.*|authentication-results|received-spf|domainkey-.*|list-(?!id$).*|resent-date|resent-message-id|auto-submitted|x-original-to|original-.*|final-.*|newsgroups|path|xref)$/;

/** Text and its charset. */
interface Decoded {
  readonly text: string;
  readonly charset: "utf-8" | "iso-8859-1";
}

/**
 * Encodes the bytes of a field above 127 where its syntax allows that; returns
 * the same bytes otherwise.
 *
 * @param field One whole field, with its line ends
 *
 * @example
 * ```ts ignore
 * const field = new TextEncoder().encode("Subject: Grüße\r\n");
 * encodeField(field); // Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=
 * ```
 */
export function encodeField(field: Uint8Array): Uint8Array {
  const { text, charset } = decodeField(field);
  const match = /^([!-9;-~]+)[ \t]*:/.exec(text);
  if (match === null) return field;
  const name = match[1]!;
  const key = name.toLowerCase();
  if (RIGID_FIELDS.test(key)) return field;
  const value = text.slice(match[0].length)
    .replace(/\r?\n(?=[ \t])/g, "").replace(/\r?\n$/, "");
  const decoded = { text: value, charset };
  const line = new FoldedLine(`${name}:`);
  if (PARAMETER_FIELDS.test(key)) encodeParameters(decoded, line);
  else if (ADDRESS_FIELDS.test(key)) encodeAddresses(decoded, line);
  else encodeText(decoded, line);
  return bytesOf(`${line.text}\r\n`, charset);
}

function decodeField(field: Uint8Array): Decoded {
  try {
    return { text: strictUtf8.decode(field), charset: "utf-8" };
  } catch {
    return { text: latin1Text(field), charset: "iso-8859-1" };
  }
}

/** Decodes each byte to one character. The platform's "latin1" is windows-1252. */
function latin1Text(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 4096) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
  }
  return parts.join("");
}

function bytesOf(text: string, charset: Decoded["charset"]): Uint8Array {
  return charset === "utf-8"
    ? encoder.encode(text)
    : Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** Builds lines word by word, and breaks them before a word with a blank in front. */
class FoldedLine {
  readonly #parts: string[];
  #column: number;
  #isEmpty = true;

  /** @param start The beginning of the first line */
  constructor(start: string) {
    this.#parts = [start];
    this.#column = start.length;
  }

  get text(): string {
    return this.#parts.join("");
  }

  /** Appends `blanks` and `word`, on a new line if they do not fit. */
  add(blanks: string, word: string): void {
    const gap = this.#isEmpty && blanks === "" ? " " : blanks;
    const width = gap.length + word.length;
    const breaks = !this.#isEmpty && gap !== "" && word !== "" &&
      this.#column + width > MAX_LINE;
    if (breaks) this.#parts.push("\r\n");
    this.#parts.push(gap, word);
    this.#column = breaks ? width : this.#column + width;
    this.#isEmpty = false;
  }
}

/** The words of a text, each with the blanks before it. */
function wordsOf(text: string): { blanks: string; word: string }[] {
  const words: { blanks: string; word: string }[] = [];
  let at = 0;
  while (at < text.length) {
    const from = at;
    while (at < text.length && isBlank(text.charCodeAt(at))) at++;
    const start = at;
    while (at < text.length && !isBlank(text.charCodeAt(at))) at++;
    if (start < at) {
      words.push({
        blanks: text.slice(from, start),
        word: text.slice(start, at),
      });
    }
  }
  return words;
}

/** Encodes an unstructured text, or the words of a phrase. */
function encodeText(
  { text, charset }: Decoded,
  line: FoldedLine,
  isPhrase = false,
): void {
  const words = wordsOf(text);
  for (let at = 0; at < words.length;) {
    const { blanks, word } = words[at]!;
    if (isAscii(word)) {
      line.add(blanks, word);
      at++;
      continue;
    }
    // Readers drop blanks between two encoded words, so the blanks belong
    // inside one.
    let run = at > 0 && isEncodedWord(words[at - 1]!.word) ? blanks : "";
    run += word;
    let next = at + 1;
    for (; next < words.length && !isAscii(words[next]!.word); next++) {
      run += words[next]!.blanks + words[next]!.word;
    }
    if (next < words.length && isEncodedWord(words[next]!.word)) {
      run += words[next]!.blanks;
    }
    addEncoded(line, { blanks, run: { text: run, charset }, isPhrase });
    at = next;
  }
}

function addEncoded(
  line: FoldedLine,
  what: { blanks: string; run: Decoded; isPhrase: boolean },
): void {
  const encoded = encodedWords(what.run, what.isPhrase);
  for (const [index, word] of encoded.entries()) {
    line.add(index === 0 ? what.blanks : " ", word);
  }
}

/** Encodes a text as encoded words, without cutting a character. */
function encodedWords({ text, charset }: Decoded, isPhrase: boolean): string[] {
  const bytes = bytesOf(text, charset);
  const forms = isPhrase ? PHRASE_FORMS : TEXT_FORMS;
  let quoted = 0;
  for (const byte of bytes) quoted += forms[byte]!.length;
  const isQ = quoted <= Math.ceil(bytes.length / 3) * 4;
  const room = MAX_WORD - `=?${charset}?Q??=`.length;
  const out: string[] = [];
  let from = 0;
  let body = "";
  const flush = (to: number) => {
    if (!isQ) body = bytes.subarray(from, to).toBase64();
    out.push(`=?${charset}?${isQ ? "Q" : "B"}?${body}?=`);
    from = to;
    body = "";
  };
  for (let at = 0; at < bytes.length;) {
    const next = charEnd(bytes, at, charset);
    let form = "";
    if (isQ) {
      for (let index = at; index < next; index++) form += forms[bytes[index]!]!;
    }
    const fits = isQ
      ? body.length + form.length <= room
      : Math.ceil((next - from) / 3) * 4 <= room;
    if (!fits) flush(at);
    body += form;
    at = next;
  }
  if (from < bytes.length) flush(bytes.length);
  return out;
}

/** Index at which the character that begins at `at` ends. */
function charEnd(
  bytes: Uint8Array,
  at: number,
  charset: Decoded["charset"],
): number {
  let end = at + 1;
  if (charset === "iso-8859-1") return end;
  while (end < bytes.length && (bytes[end]! & 0xc0) === 0x80) end++;
  return end;
}

/** The encoded form of each byte. A table, because a field may have 256 KiB. */
function formsOf(plain: RegExp, escape: string): readonly string[] {
  return Array.from({ length: 256 }, (_, byte) => {
    const char = String.fromCharCode(byte);
    return plain.test(char)
      ? char
      : escape + byte.toString(16).toUpperCase().padStart(2, "0");
  });
}

/** The forms in a text: `_` is a space. */
const TEXT_FORMS = formsOf(/[!-~]/, "=").map((form, byte) =>
  byte === 0x20
    ? "_"
    : /^[=?_()"]$/.test(form)
    ? `=${byte.toString(16).toUpperCase()}`
    : form
);
/** The forms in a phrase: only letters, digits and `!*+-/` stay (RFC 2047 section 5 (3)). */
const PHRASE_FORMS = formsOf(/[A-Za-z0-9!*+/-]/, "=").map((form, byte) =>
  byte === 0x20 ? "_" : form
);
/** The forms in the value of a parameter (RFC 2231 section 7). */
const PARAMETER_FORMS = formsOf(/[A-Za-z0-9!#$&+.^_`{|}~-]/, "%");

function isEncodedWord(word: string): boolean {
  return word.startsWith("=?") && word.endsWith("?=");
}

/**
 * Encodes a list of addresses: names and comments are encoded, addresses stay.
 * A separator character ends a phrase.
 */
function encodeAddresses({ text, charset }: Decoded, line: FoldedLine): void {
  let at = 0;
  let blanks = "";
  let phrase: { blanks: string; text: string } | undefined;
  const put = (word: string) => {
    line.add(blanks, word);
    blanks = "";
  };
  const flush = (isName = false) => {
    if (phrase === undefined) return;
    let kept = blanks;
    blanks = phrase.blanks;
    const whole = { text: phrase.text, charset };
    if (isAscii(phrase.text) || (!isName && phrase.text.includes("@"))) {
      for (const { blanks: gap, word } of wordsOf(phrase.text)) {
        blanks += gap;
        put(asciiAddress(word));
      }
    } else {
      addEncoded(line, {
        blanks,
        run: { ...whole, text: unquote(phrase.text) },
        isPhrase: true,
      });
      // An encoded word must be followed by a blank (RFC 2047 section 5).
      if (kept === "" && isName) kept = " ";
    }
    blanks = kept;
    phrase = undefined;
  };
  while (at < text.length) {
    const from = at;
    const char = text[at]!;
    if (isBlank(text.charCodeAt(at))) {
      while (at < text.length && isBlank(text.charCodeAt(at))) at++;
      blanks += text.slice(from, at);
      continue;
    }
    if (char === "(" || char === "<" || ",:;".includes(char)) {
      flush(char === "<");
      at = pieceEnd(text, at);
      const piece = text.slice(from, at);
      if (char === "<") put(asciiAddress(piece));
      else if (char !== "(" || isAscii(piece)) put(piece);
      else {
        for (const [index, word] of commentWords(piece, charset).entries()) {
          if (index > 0) blanks = " ";
          put(word);
        }
      }
      continue;
    }
    at = char === '"' ? quotedEnd(text, at) : wordEnd(text, at);
    const word = text.slice(from, at);
    if (phrase === undefined) phrase = { blanks, text: word };
    else phrase.text += blanks + word;
    blanks = "";
  }
  flush();
}

/** Encodes a comment; its parentheses stay outside the encoded words. */
function commentWords(comment: string, charset: Decoded["charset"]): string[] {
  const text = comment.slice(1, comment.endsWith(")") ? -1 : undefined);
  const words = encodedWords({ text, charset }, true);
  words[0] = `(${words[0]}`;
  words[words.length - 1] += ")";
  return words;
}

/** Converts a word that may be an address, with or without angle brackets. */
function asciiAddress(word: string): string {
  if (isAscii(word) || !word.includes("@")) return word;
  return word.startsWith("<") && word.endsWith(">")
    ? `<${asciiMailbox(word.slice(1, -1))}>`
    : asciiMailbox(word);
}

/** The text of a phrase, with the quotes around its words removed. */
function unquote(phrase: string): string {
  const parts: string[] = [];
  for (let at = 0; at < phrase.length;) {
    const from = at;
    if (phrase[at] === '"') {
      at = quotedEnd(phrase, at);
      const end = at > from + 1 && phrase[at - 1] === '"' ? at - 1 : at;
      parts.push(phrase.slice(from + 1, end).replace(/\\([^])/g, "$1"));
    } else {
      while (at < phrase.length && phrase[at] !== '"') at++;
      parts.push(phrase.slice(from, at));
    }
  }
  return parts.join("");
}

/** Index after the comment, the angle brackets or the separator at `start`. */
function pieceEnd(text: string, start: number): number {
  if (text[start] === "(") return commentEnd(text, start);
  return text[start] === "<" ? angleEnd(text, start) : start + 1;
}

/** Index after the quoted string at `start`, or the end of the text if it is not closed. */
export function quotedEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

/** Index after the comment at `start`, with those in it, or the end of the text if it is not closed. */
export function commentEnd(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at + 1;
  }
  return text.length;
}

function angleEnd(text: string, start: number): number {
  const end = text.indexOf(">", start);
  return end < 0 ? text.length : end + 1;
}

const ENDS_WORD: ReadonlySet<number> = new Set(
  Array.from(' \t\r\n\v\f\u00a0"(<,:;', (char) => char.charCodeAt(0)),
);

function wordEnd(text: string, start: number): number {
  let at = start;
  while (at < text.length && !ENDS_WORD.has(text.charCodeAt(at))) at++;
  return Math.max(at, start + 1);
}

/** Encodes a value with parameters: parameters beyond ASCII take the form of RFC 2231. */
function encodeParameters({ text, charset }: Decoded, line: FoldedLine): void {
  for (const [index, piece] of splitAtSemicolons(text).entries()) {
    const gap = index === 0 ? "" : " ";
    const before = index === 0 ? "" : ";";
    const trimmed = piece.trim();
    if (before !== "") line.add("", before);
    const match = /^([^\s=*"()]+)\s*=\s*([^]*)$/.exec(trimmed);
    if (
      isAscii(trimmed) || match === null ||
      match[1]!.toLowerCase() === "boundary"
    ) {
      if (trimmed !== "") line.add(gap, trimmed);
      continue;
    }
    const value = unquote(match[2]!);
    const sections = percentSections({ text: value, charset });
    for (const [number, section] of sections.entries()) {
      const star = sections.length === 1 ? "*" : `*${number}*`;
      const head = number === 0 ? `${charset}''` : "";
      if (number > 0) line.add("", ";");
      line.add(" ", `${match[1]}${star}=${head}${section}`);
    }
  }
}

function splitAtSemicolons(text: string): string[] {
  const pieces: string[] = [];
  let from = 0;
  for (let at = 0; at < text.length;) {
    if (text[at] === '"') at = quotedEnd(text, at);
    else if (text[at] === "(") at = commentEnd(text, at);
    else {
      if (text[at] === ";") {
        pieces.push(text.slice(from, at));
        from = at + 1;
      }
      at++;
    }
  }
  pieces.push(text.slice(from));
  return pieces;
}

function percentSections({ text, charset }: Decoded): string[] {
  const bytes = bytesOf(text, charset);
  const sections: string[] = [];
  let section = "";
  for (let at = 0; at < bytes.length;) {
    const next = charEnd(bytes, at, charset);
    let form = "";
    for (; at < next; at++) form += PARAMETER_FORMS[bytes[at]!]!;
    if (section.length + form.length > MAX_SECTION) {
      sections.push(section);
      section = "";
    }
    section += form;
  }
  sections.push(section);
  return sections;
}
