/**
 * Header fields as they came, and the two canonical forms in which DKIM and ARC
 * sign them. Fields are text with one character for each byte, so that a byte
 * beyond ASCII stays what it is.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.4 | RFC 6376 section 3.4},
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5.4.2 | section 5.4.2}
 */

import { Buffer } from "node:buffer";

/** The name of a field, with the blanks that old mail has before the colon. */
const FIELD_NAME = /^([!-9;-~]+)[ \t]*$/;

/** How a header or a body is made canonical. */
export type Canonicalization = "simple" | "relaxed";

/** One header field as it came. */
export interface RawField {
  /** The name in lower case, without the white space before the colon. */
  readonly name: string;
  /** The whole field with its name and its line ends inside, without the last line end. */
  readonly text: string;
  /** Where it begins in the block, in bytes. */
  readonly at: number;
}

/** The value of a field: what follows the colon, folded as it came. */
export function valueOf({ text }: RawField): string {
  return text.slice(text.indexOf(":") + 1);
}

/**
 * The fields of a header block, from top to bottom. A line that is no field is
 * left out. The lines end with CRLF.
 *
 * @param block The block, with or without its empty line and what follows it
 */
export function rawFields(block: Uint8Array): readonly RawField[] {
  const text = Buffer.from(block.buffer, block.byteOffset, block.byteLength)
    .toString("latin1");
  const fields: RawField[] = [];
  let at = 0;
  while (at < text.length) {
    let end = lineEnd(text, at);
    // The empty line ends the block.
    if (end === at) break;
    while (isBlank(text.charCodeAt(end + 2))) end = lineEnd(text, end + 2);
    const field = text.slice(at, end);
    const start = at;
    at = end + 2;
    const colon = field.indexOf(":");
    if (colon <= 0) continue;
    const name = FIELD_NAME.exec(field.slice(0, colon))?.[1];
    if (name !== undefined) {
      fields.push({ name: name.toLowerCase(), text: field, at: start });
    }
  }
  return fields;
}

/** Where the line that begins at `from` ends: at its CRLF, or at the end of the text. */
function lineEnd(text: string, from: number): number {
  const end = text.indexOf("\r\n", from);
  return end < 0 ? text.length : end;
}

/** The field in its canonical form, without a line end after it. */
export function canonicalField(
  { name, text }: RawField,
  form: Canonicalization,
): string {
  if (form === "simple") return text;
  const value = text.slice(text.indexOf(":") + 1);
  return `${name}:${relaxed(value)}`;
}

/** Unfolds, and makes each run of blanks one space; none at the ends. */
function relaxed(value: string): string {
  // Line ends inside a field are folding only.
  const line = value.replaceAll("\r\n", "");
  // Most fields have single spaces only.
  const even = /\t| {2}/.test(line) ? line.replace(/[ \t]+/g, " ") : line;
  return even.slice(
    even.startsWith(" ") ? 1 : 0,
    even.endsWith(" ") ? -1 : undefined,
  );
}

/**
 * Picks the fields that a list of names signs: each time that a name occurs it
 * takes the next field of that name from the bottom (RFC 6376 section 5.4.2).
 */
export class FieldPicker {
  readonly #left = new Map<string, RawField[]>();

  /** @param fields The fields from top to bottom */
  constructor(fields: readonly RawField[]) {
    for (const field of fields) {
      const same = this.#left.get(field.name);
      if (same === undefined) this.#left.set(field.name, [field]);
      else same.push(field);
    }
  }

  /** The next field of that name, in any case; `undefined` if there are no more. */
  take(name: string): RawField | undefined {
    return this.#left.get(name.toLowerCase())?.pop();
  }
}

/**
 * The text that a signature covers: the listed fields, each with its line end,
 * and the signature's own field with an empty `b=` and without one.
 *
 * @param fields The fields from top to bottom, the signature's own among them or not
 */
export function signedText(
  fields: readonly RawField[],
  options: {
    /** The names in `h=`. */
    readonly names: readonly string[];
    /** The canonical form. */
    readonly form: Canonicalization;
    /** The signature's own field. */
    readonly own: RawField;
  },
): string {
  const { names, form, own } = options;
  // A signature never covers its own field but at the end (RFC 6376 section 3.5).
  const picker = new FieldPicker(fields.filter((field) => field !== own));
  let text = "";
  for (const name of names) {
    const field = picker.take(name);
    if (field !== undefined) text += `${canonicalField(field, form)}\r\n`;
  }
  return text + canonicalField(withoutSignature(own), form);
}

/** The field with the value of its `b=` removed; nothing else changes. */
export function withoutSignature(field: RawField): RawField {
  const { text } = field;
  const colon = text.indexOf(":") + 1;
  const value = text.slice(colon).replace(
    /((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*/,
    "$1",
  );
  return { ...field, text: text.slice(0, colon) + value };
}

/** The bytes of text with one character for each byte. */
export function latin1Bytes(text: string): Uint8Array<ArrayBuffer> {
  const ascii = utf8.encode(text);
  if (ascii.length === text.length) return ascii;
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

const utf8 = new TextEncoder();

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
