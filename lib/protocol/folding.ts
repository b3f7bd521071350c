/**
 * Folding: splits one header field into lines. Breaks lines only at white
 * space, so that unfolding returns the same value.
 *
 * Never makes a line of white space alone, and never lets through a line end
 * that is not folding.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.2.3 | RFC 5322 sections 2.2.3}
 * and {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1 | 2.1.1}
 */

import { concat, isBlank } from "./bytes.ts";

/** Bytes of a line without its line end (RFC 5322 section 2.1.1). */
export const MAX_LINE = 998;
/** Characters of a line before it is folded (RFC 5322 section 2.1.1). */
export const WANTED_LINE = 78;
const encoder = new TextEncoder();

/**
 * Returns the field with its CRLF, folded at white space to 78 characters where
 * possible. A value that is already folded keeps its lines.
 *
 * @throws {TypeError} If the value holds NUL or a CR or LF that is not folding
 * @throws {RangeError} If a line would be longer than 998 bytes
 *
 * @example
 * ```ts ignore
 * foldField("Subject", "Hello"); // "Subject: Hello\r\n"
 * ```
 */
export function foldField(name: string, value: string): string {
  checkFieldValue(name, value);
  const folded = value.includes("\r\n")
    ? `${name}: ${value}`
    : fold(name, value);
  checkFieldLines(name, folded);
  return `${folded}\r\n`;
}

/**
 * Checks that a value cannot end its field.
 *
 * @throws {TypeError} If the value holds NUL or a CR or LF that is not folding
 */
export function checkFieldValue(name: string, value: string): void {
  const lines = value.split("\r\n");
  for (const [index, line] of lines.entries()) {
    const folding = index === 0 || /^[ \t]+[^ \t]/.test(line);
    if (!folding || /[\0\r\n]/.test(line)) {
      throw new TypeError(
        `Cannot make a header field "${name}": its value holds NUL or a line end that is not folding`,
      );
    }
  }
}

/**
 * Checks the length of each line of a field.
 *
 * @throws {RangeError} If a line is longer than 998 bytes
 */
export function checkFieldLines(name: string, field: string): void {
  for (const line of field.split("\r\n")) {
    if (line.length * 3 <= MAX_LINE) continue;
    const { length } = encoder.encode(line);
    if (length > MAX_LINE) {
      throw new RangeError(
        `Cannot make a header field "${name}": a line of ${length} bytes has no white space to fold at, want at most ${MAX_LINE}`,
      );
    }
  }
}

/**
 * Folds a value. Drops blanks at its end: some readers take a line of blanks
 * for the end of the header block. Cuts by index, because a value may have 256
 * KiB.
 */
function fold(name: string, value: string): string {
  const text = trimBlanks(value);
  const lines: string[] = [];
  /** Index at which the current line begins. */
  let from = 0;
  let column = name.length + 1;
  for (let at = 0; at < text.length;) {
    const start = at;
    while (isBlank(text.charCodeAt(at))) at++;
    while (at < text.length && !isBlank(text.charCodeAt(at))) at++;
    const width = at - start + (start === 0 ? 1 : 0);
    if (start > 0 && column + width > WANTED_LINE) {
      lines.push(text.slice(from, start));
      from = start;
      column = 0;
    }
    column += width;
  }
  lines.push(text.slice(from));
  return text === "" ? `${name}:` : `${name}: ${lines.join("\r\n")}`;
}

/**
 * The text without spaces and tabs at its ends. Trims by index: a regular
 * expression for trailing blanks takes quadratic time on inner ones.
 */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/**
 * Returns a header block in which no line is longer than `limit`: breaks a long
 * line before a blank, or cuts it if it has no blank. Shorter lines stay
 * unchanged.
 *
 * @param block Whole lines
 * @param limit Bytes of a line without its line end
 *
 * @example
 * ```ts ignore
 * foldLongLines(new TextEncoder().encode(`X: ${"a ".repeat(3000)}\r\n`), 998);
 * ```
 */
export function foldLongLines(block: Uint8Array, limit: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let kept = 0;
  for (let at = 0; at < block.length;) {
    const feed = block.indexOf(0x0a, at);
    const next = feed < 0 ? block.length : feed + 1;
    let end = feed < 0 ? next : feed;
    if (end > at && block[end - 1] === 0x0d) end--;
    if (end - at > limit) {
      pieces.push(block.subarray(kept, at));
      foldLine(block.subarray(at, end), { limit, pieces });
      kept = end;
    }
    at = next;
  }
  if (kept === 0) return block;
  pieces.push(block.subarray(kept));
  return concat(pieces);
}

/**
 * Adds the parts of a line to `pieces`, with line ends, and a blank at the
 * start of each continuation line.
 */
function foldLine(
  line: Uint8Array,
  { limit, pieces }: { limit: number; pieces: Uint8Array[] },
): void {
  let end = line.length;
  while (end > 0 && isBlank(line[end - 1]!)) end--;
  // Keep one byte of each line for the blank, in case the line is cut inside a
  // word.
  const room = limit - 1;
  for (let at = 0; at < end;) {
    if (end - at <= room) {
      pieces.push(line.subarray(at, end));
      return;
    }
    let text = at;
    while (isBlank(line[text]!)) text++;
    let cut = at + room;
    while (cut > text && !isBlank(line[cut]!)) cut--;
    if (cut > text) {
      pieces.push(line.subarray(at, cut), LINE_END);
    } else if (text >= at + room) {
      // Some readers take a line of blanks for the end of the block.
      cut = text - 1;
    } else {
      cut = at + room;
      pieces.push(line.subarray(at, cut), FOLD);
    }
    at = cut;
  }
}

const LINE_END = encoder.encode("\r\n");
const FOLD = encoder.encode("\r\n ");
