/**
 * Folding: one header field as lines. Breaks lines at white space only, so that
 * unfolding gives the value back.
 *
 * Never makes a line of white space alone, and never lets a line end through
 * that is not folding.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.2.3 | RFC 5322 sections 2.2.3}
 * and {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1 | 2.1.1}
 */

/** Characters that a line should not pass. */
const WANTED = 78;
/** Octets that a line must not pass. */
const LIMIT = 998;
const encoder = new TextEncoder();

/**
 * The field as it stands in a message, with its CRLF: folded at white space to
 * 78 characters where possible. A value that is folded already keeps its lines.
 *
 * @throws {TypeError} If the value holds NUL or a CR or LF that is not folding
 * @throws {RangeError} If a line would be longer than 998 octets
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
 * Checks that a value stays inside its field.
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
 * Checks the lines of a field.
 *
 * @throws {RangeError} If one is longer than 998 octets
 */
export function checkFieldLines(name: string, field: string): void {
  for (const line of field.split("\r\n")) {
    if (line.length * 3 <= LIMIT) continue;
    const { length } = encoder.encode(line);
    if (length > LIMIT) {
      throw new RangeError(
        `Cannot make a header field "${name}": a line of ${length} octets has no white space to fold at, want at most ${LIMIT}`,
      );
    }
  }
}

/** Blanks at the value's end are left out: a line of them alone would be taken for the end of the block by some. */
function fold(name: string, value: string): string {
  let text = `${name}:`;
  let column = text.length;
  const words = trimBlanks(value).match(/[ \t]*[^ \t]+/g) ?? [];
  for (const [index, word] of words.entries()) {
    if (index === 0) {
      text += ` ${word}`;
      column += 1 + word.length;
    } else if (column + word.length > WANTED) {
      text += `\r\n${word}`;
      column = word.length;
    } else {
      text += word;
      column += word.length;
    }
  }
  return text;
}

/** The text without spaces and tabs at its ends. By index: an expression for trailing blanks takes quadratic time on inner ones. */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/** Whether the character code is that of a space or tab. */
export function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
