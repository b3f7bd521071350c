/**
 * The header block of a message: parses it, reads and edits its fields, and
 * prints it again.
 *
 * Never changes a field that was not edited: signatures cover the bytes, so
 * folding, odd spacing and bytes that are not UTF-8 stay. Never lets a line end
 * into the block that is not folding: it would begin another field. Does not
 * interpret fields.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.2 | RFC 5322 sections 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1 | 2.1.1} and
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-4.5 | 4.5},
 * {@link https://www.rfc-editor.org/rfc/rfc6532 | RFC 6532}
 */

import { concat, isAscii, isBlank } from "./bytes.ts";
import { checkOptions, flag, type Rules } from "../options.ts";
import {
  checkFieldLines,
  checkFieldValue,
  foldField,
  trimBlanks,
} from "./folding.ts";
import {
  decodeWords,
  type HeaderAddress,
  parseAddressList,
  parseDate,
} from "./header_decoding.ts";
import { encodeField } from "./header_encoding.ts";

const CR = 13;
const LF = 10;
const COLON = 58;
const NAME = /^[!-9;-~]+$/;
const MBOX_FROM = /^>?From /;
const LINE_END = new Uint8Array([CR, LF]);
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const byteDecoder = new TextDecoder("latin1");

/** Options of {@linkcode MessageHeaders.parse}. */
type ParseOptions = Parameters<typeof MessageHeaders.parse>[1] & object;
const RULES: Rules<ParseOptions> = { utf8: flag };
const NO_OPTIONS: ParseOptions = Object.freeze({});

/**
 * One field, as positions in a block. Holds no view of the block and no text: a
 * block may have 65,000 fields, and most of them are never read.
 */
interface Field {
  /** The block of the field. */
  readonly block: Uint8Array;
  /** Index at which the field begins. */
  readonly from: number;
  /** Index after the line end of the field. */
  readonly to: number;
  /** Index at which the name ends. */
  readonly nameEnd: number;
  /** Index at which the value begins, after the colon. */
  readonly valueAt: number;
}

/**
 * The fields of a message's header block, in order. Names are compared without
 * regard to case. A value is the text of the field, unfolded, trimmed and
 * decoded as UTF-8.
 *
 * Keeps but does not show lines that are not fields: an mbox `From ` line at
 * the beginning, and everything from the first other line that is not a field
 * (a body without an empty line before it). Edits go before that line. Once
 * edited, the block has an empty line there, so that every reader agrees where
 * the body begins.
 *
 * @example Mark a message
 * ```ts
 * import { MessageHeaders } from "@smtp/server";
 *
 * const block = new TextEncoder().encode("Subject: Hello\r\nX-Spam: no\r\n\r\nHi");
 * const headers = MessageHeaders.parse(block);
 * headers.set("X-Spam", "yes");
 * console.assert(headers.get("subject") === "Hello");
 * console.assert(headers.toString() === "Subject: Hello\r\nX-Spam: yes\r\n");
 * ```
 */
export class MessageHeaders implements Iterable<[name: string, value: string]> {
  #fields: Field[] = [];
  #edits = 0;
  #utf8 = true;
  #isFrozen = false;
  /** The mbox `From ` line. */
  #before: Uint8Array = new Uint8Array(0);
  /** The bytes from the first line after the fields that is not a field. */
  #after: Uint8Array = new Uint8Array(0);

  /**
   * Parses the beginning of a message, up to the first empty line or the end.
   * Never throws on a block. Copies the bytes that it keeps.
   *
   * @param block The bytes
   * @param options The form of fields that are set later
   */
  static parse(
    block: Uint8Array,
    options: {
      /**
       * Whether fields that are set may be UTF-8 (RFC 6532). If not, text beyond
       * ASCII becomes encoded words, and in parameters the form of RFC 2231; what
       * has neither form (an address, a message identifier) is written in UTF-8
       * all the same.
       *
       * @default {true}
       */
      readonly utf8?: boolean | undefined;
    } = NO_OPTIONS,
  ): MessageHeaders {
    if (options !== NO_OPTIONS) {
      checkOptions("MessageHeaders.parse", options, RULES);
    }
    const end = findHeaderEnd(block, 0);
    const bytes = block.slice(0, end < 0 ? block.length : end - 2);
    const headers = new MessageHeaders();
    headers.#utf8 = options.utf8 ?? true;
    let at = 0;
    if (isMboxFrom(bytes)) {
      at = lineEnd(bytes, 0);
      headers.#before = bytes.subarray(0, at);
    }
    while (at < bytes.length) {
      const field = fieldAt(bytes, at);
      if (field === undefined) break;
      headers.#fields.push(field);
      at = field.to;
    }
    headers.#after = bytes.subarray(at);
    return headers;
  }

  /** The number of fields. */
  get count(): number {
    return this.#fields.length;
  }

  /** Whether a field was added, replaced or removed after parsing. */
  get changed(): boolean {
    return this.#edits > 0;
  }

  /** @internal Grows with each edit. */
  get edits(): number {
    return this.#edits;
  }

  /** The value of the first field with that name, if there is one. */
  get(name: string): string | undefined {
    const key = keyOf(name);
    const field = this.#fields.find((field) => isNamed(field, key));
    return field && valueOf(field);
  }

  /** The values of all fields with that name, in order. */
  getAll(name: string): string[] {
    const key = keyOf(name);
    return this.#fields.filter((field) => isNamed(field, key)).map(valueOf);
  }

  /** Whether there is a field with that name. */
  has(name: string): boolean {
    const key = keyOf(name);
    return this.#fields.some((field) => isNamed(field, key));
  }

  /**
   * The text of the first field with that name as a reader sees it: unfolded,
   * encoded words decoded (RFC 2047), control characters replaced by spaces. What
   * cannot be decoded stays as it is.
   *
   * @example
   * ```ts
   * import { MessageHeaders } from "@smtp/server";
   *
   * const block = "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= from\r\n Ann\r\n\r\n";
   * const headers = MessageHeaders.parse(new TextEncoder().encode(block));
   * console.assert(headers.text("Subject") === "Grüße from Ann");
   * ```
   */
  text(name: string): string | undefined {
    const value = this.get(name);
    return value === undefined ? undefined : decodeWords(value);
  }

  /**
   * The addresses of all fields with that name, as `From`, `To` or `Cc`: names
   * decoded, those of groups among the others (RFC 5322 section 3.4). An address
   * is as written and may be wrong; {@linkcode Address.parse} checks it. A name
   * without an address has the address `""`.
   *
   * @example
   * ```ts
   * import { MessageHeaders } from "@smtp/server";
   *
   * const block = 'To: "Smith, Ann" <ann@a.example>, team: bob@b.example;\r\n';
   * const headers = MessageHeaders.parse(new TextEncoder().encode(block));
   * const [ann, bob] = headers.addresses("To");
   * console.assert(ann?.name === "Smith, Ann" && ann.address === "ann@a.example");
   * console.assert(bob?.name === "" && bob.address === "bob@b.example");
   * ```
   */
  addresses(name: string): HeaderAddress[] {
    return this.getAll(name).flatMap(parseAddressList);
  }

  /**
   * The time in the first field with that name; `undefined` without a field, or
   * if it is no date (RFC 5322 sections 3.3 and 4.3). A zone that is not known
   * counts as UTC.
   *
   * @param name The field. Default `"Date"`
   *
   * @example
   * ```ts
   * import { MessageHeaders } from "@smtp/server";
   *
   * const block = "Date: Mon, 30 Nov 2026 21:25:31 +0100\r\n";
   * const headers = MessageHeaders.parse(new TextEncoder().encode(block));
   * console.assert(headers.date()?.toJSON() === "2026-11-30T20:25:31.000Z");
   * ```
   */
  date(name: string = "Date"): Date | undefined {
    const time = parseDate(this.get(name) ?? "");
    return time === undefined ? undefined : new Date(time);
  }

  /** Whether edits are refused, because the message would not get them. */
  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  /** Refuses all further edits. Returns itself. */
  freeze(): this {
    this.#isFrozen = true;
    return this;
  }

  #edit(): void {
    if (this.#isFrozen) {
      throw new TypeError(
        "Cannot edit the header fields of a message here: edit those that onHeaders gets, or message.headers before onMessage returns",
      );
    }
    this.#edits++;
  }

  #make(name: string, value: string): Field {
    return makeField(name, value, this.#utf8);
  }

  /**
   * Replaces the first field with that name and removes the others; appends the
   * field if it is missing. The value may be any text, even in a message
   * without SMTPUTF8: text beyond ASCII then becomes encoded words (RFC 2047).
   *
   * @throws {TypeError} If the name is not a field name, or the value contains NUL or
   * a CR or LF that is not folding (CRLF, then a space or tab and text), or the
   * message would not get the edit: see {@linkcode Message.headers}
   * @throws {RangeError} If a line would be longer than 998 bytes
   */
  set(name: string, value: string): void {
    const field = this.#make(name, value);
    this.#edit();
    const key = keyOf(name);
    const index = this.#fields.findIndex((other) => isNamed(other, key));
    if (index < 0) {
      this.#fields.push(field);
    } else {
      this.#fields[index] = field;
      this.#fields = this.#fields.filter((other, at) =>
        at <= index || !isNamed(other, key)
      );
    }
  }

  /**
   * Appends a field after the others.
   *
   * @throws {TypeError} As {@linkcode MessageHeaders.set}
   * @throws {RangeError} As {@linkcode MessageHeaders.set}
   */
  add(name: string, value: string): void {
    const field = this.#make(name, value);
    this.#edit();
    this.#fields.push(field);
  }

  /**
   * Inserts a field before the others, the place for trace fields.
   *
   * @throws {TypeError} As {@linkcode MessageHeaders.set}
   * @throws {RangeError} As {@linkcode MessageHeaders.set}
   */
  prepend(name: string, value: string): void {
    const field = this.#make(name, value);
    this.#edit();
    this.#fields.unshift(field);
  }

  /** Removes all fields with that name. Returns their number. */
  remove(name: string): number {
    const key = keyOf(name);
    const rest = this.#fields.filter((field) => !isNamed(field, key));
    const removed = this.#fields.length - rest.length;
    if (removed === 0) return 0;
    this.#edit();
    this.#fields = rest;
    return removed;
  }

  /**
   * Replaces this block with the result of {@linkcode MessageHeaders.encode}
   * for a block that was changed.
   */
  assign(block: Uint8Array): void {
    this.#edit();
    const other = MessageHeaders.parse(block);
    const end = findHeaderEnd(block, 0);
    this.#fields = other.#fields;
    this.#before = other.#before;
    this.#after = end < 0 ? other.#after : block.slice(end);
  }

  /** Removes all fields. */
  clear(): void {
    if (this.#fields.length > 0) this.#edit();
    this.#fields = [];
  }

  /** The fields in order, as name (as written) and value. */
  *[Symbol.iterator](): IterableIterator<[name: string, value: string]> {
    for (const field of this.#fields) yield [nameOf(field), valueOf(field)];
  }

  /** The fields in order, as pairs of name and value, for JSON. */
  toJSON(): [name: string, value: string][] {
    return [...this];
  }

  /** The block as {@linkcode MessageHeaders.encode} returns it, decoded as UTF-8. */
  toString(): string {
    return decoder.decode(this.encode());
  }

  /**
   * The bytes of the block, without the empty line after it. Fields that were
   * not edited are returned byte for byte.
   */
  encode(): Uint8Array<ArrayBuffer> {
    const parts = [this.#before, ...runs(this.#fields)];
    // The block may have been cut inside its last field, and fields appended.
    if (this.changed) terminate(parts);
    if (this.changed && this.#after.length > 0) parts.push(LINE_END);
    parts.push(this.#after);
    return concat(parts);
  }
}

/**
 * The offset after the empty line (CRLF CRLF) that ends a header block, -1 if
 * it has not arrived yet. `from` is the number of bytes that an earlier call
 * searched; they are not searched again.
 *
 * @example
 * ```ts ignore
 * const bytes = new TextEncoder().encode("A: b\r\n\r\nbody");
 * findHeaderEnd(bytes, 0); // 8
 * ```
 */
export function findHeaderEnd(bytes: Uint8Array, from: number): number {
  if (from < 2 && bytes[0] === CR && bytes[1] === LF) return 2;
  let at = bytes.indexOf(LF, Math.max(from, 3));
  while (at >= 0) {
    if (
      bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR
    ) return at + 1;
    at = bytes.indexOf(LF, at + 1);
  }
  return -1;
}

/** Index at which the line at `at` ends, its line end included. */
function lineEnd(bytes: Uint8Array, at: number): number {
  const end = bytes.indexOf(LF, at);
  return end < 0 ? bytes.length : end + 1;
}

/**
 * The field that begins at `from`. White space before the colon is obsolete but
 * accepted (RFC 5322 4.5).
 */
function fieldAt(block: Uint8Array, from: number): Field | undefined {
  const nameEnd = skipName(block, from);
  let valueAt = nameEnd;
  while (isBlank(block[valueAt]!)) valueAt++;
  if (nameEnd === from || block[valueAt] !== COLON) return undefined;
  valueAt++;
  let to = valueAt;
  // Searches short lines here: a call for each would cost more.
  for (;;) {
    const near = Math.min(block.length, to + NEAR);
    while (to < near && block[to] !== LF) to++;
    to = to < near ? to + 1 : lineEnd(block, to);
    if (to >= block.length || !isBlank(block[to]!)) break;
  }
  return { block, from, to, nameEnd, valueAt };
}

/** Bytes of a line that are searched without a call. */
const NEAR = 32;

function skipName(block: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = block[at];
    if (byte === undefined || byte < 33 || byte > 126 || byte === COLON) {
      return at;
    }
    at++;
  }
}

/** Whether a block begins with the `From ` line of an mbox, and not with a field. */
function isMboxFrom(block: Uint8Array): boolean {
  return fieldAt(block, 0) === undefined &&
    MBOX_FROM.test(byteDecoder.decode(block.subarray(0, 6)));
}

/** The name in lower case, for comparison. */
function keyOf(name: string): Uint8Array {
  return encoder.encode(name.toLowerCase());
}

function isNamed({ block, from, nameEnd }: Field, key: Uint8Array): boolean {
  const { length } = key;
  if (nameEnd - from !== length) return false;
  for (let at = 0; at < length; at++) {
    const byte = block[from + at]!;
    const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    if (lower !== key[at]) return false;
  }
  return true;
}

function nameOf({ block, from, nameEnd }: Field): string {
  return shortAscii(block, from, nameEnd) ??
    byteDecoder.decode(block.subarray(from, nameEnd));
}

/** The bytes of fields; consecutive fields of one block make one piece. */
function runs(fields: readonly Field[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < fields.length;) {
    const { block, from } = fields[at]!;
    let { to } = fields[at]!;
    at++;
    for (; at < fields.length; at++) {
      const next = fields[at]!;
      if (next.block !== block || next.from !== to) break;
      to = next.to;
    }
    pieces.push(block.subarray(from, to));
  }
  return pieces;
}

/**
 * One field as text, with its line ends.
 *
 * @param form Whether it may be UTF-8
 * @throws {TypeError} As {@linkcode MessageHeaders.set}
 * @throws {RangeError} As {@linkcode MessageHeaders.set}
 */
export function formatField(
  name: string,
  value: string,
  form: { readonly utf8: boolean },
): string {
  return decoder.decode(makeField(name, value, form.utf8).block);
}

/**
 * The bytes of an edited block, with its empty line.
 *
 * @param isWhole Whether the block that was parsed had its empty line
 */
export function encodeBlock(
  headers: MessageHeaders,
  isWhole: boolean,
): Uint8Array<ArrayBuffer> {
  const bytes = headers.encode();
  // The encoded header of a text without a blank line may hold one already.
  return isWhole || findHeaderEnd(bytes, 0) < 0
    ? concat([bytes, LINE_END])
    : bytes;
}

function makeField(name: string, value: string, utf8: boolean): Field {
  if (typeof name !== "string" || !NAME.test(name)) {
    throw new TypeError(
      `Cannot make a header field named ${
        JSON.stringify(name)
      }: want printable ASCII without ":"`,
    );
  }
  if (typeof value !== "string") {
    throw new TypeError(
      `Cannot make a header field "${name}": want its value as text`,
    );
  }
  const block = utf8 || isAscii(value)
    ? encoder.encode(foldField(name, value))
    : encodedField(name, value);
  return {
    block,
    from: 0,
    to: block.length,
    nameEnd: name.length,
    valueAt: name.length + 1,
  };
}

/** Encodes a field without SMTPUTF8. A line that is too long in UTF-8 may fit after that. */
function encodedField(name: string, value: string): Uint8Array {
  checkFieldValue(name, value);
  const bytes = encodeField(encoder.encode(`${name}: ${value}\r\n`));
  checkFieldLines(name, decoder.decode(bytes).trimEnd());
  return bytes;
}

function valueOf({ block, to, valueAt }: Field): string {
  let end = to;
  if (block[end - 1] === LF) end -= block[end - 2] === CR ? 2 : 1;
  let from = valueAt;
  while (from < end && isBlank(block[from]!)) from++;
  while (end > from && isBlank(block[end - 1]!)) end--;
  return shortAscii(block, from, end) ?? trimBlanks(
    decoder.decode(block.subarray(from, to))
      .replace(/\r?\n(?=[ \t])/g, "").replace(/\r?\n$/, ""),
  );
}

/** Longest text that is built byte by byte. */
const SHORT = 32;

/**
 * Decodes a short text without control characters; `undefined` for all other
 * text. A call of the decoder costs more, which counts in a block of 65,000
 * fields.
 */
function shortAscii(
  block: Uint8Array,
  from: number,
  to: number,
): string | undefined {
  if (to - from > SHORT) return undefined;
  let text = "";
  for (let at = from; at < to; at++) {
    const byte = block[at]!;
    if (byte < 32 || byte > 126) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** Appends a line end to each part that has none. */
function terminate(parts: Uint8Array[]): void {
  for (let index = parts.length - 1; index >= 0; index--) {
    const end = parts[index]!.at(-1);
    if (end !== undefined && end !== LF) parts.splice(index + 1, 0, LINE_END);
  }
}
