/**
 * The form of small files with a name and a list on each line, as aliases have
 * it: `name: value, value`. A line that begins with a blank goes on with the line
 * before; `#` at the beginning of a line or after a blank begins a comment.
 * Quotes and the brackets of an address literal keep `:`, `,` and `#` what they
 * are. Knows nothing of what the names and values mean.
 */

/** One line of such a file. */
export interface NamedList {
  /** The name, as written. */
  readonly name: string;
  /** The values, as written; at least one. */
  readonly values: readonly string[];
  /** The number of the line on which the name stands, from 1. */
  readonly line: number;
}

/**
 * Reads such a file.
 *
 * @param of The file for errors, as `the aliases` or `"/etc/smtp/aliases"`
 * @throws {SyntaxError} If a line has another form; the error names the line
 */
export function parseNamedLists(text: string, of: string): NamedList[] {
  return logicalLines(text).map(({ content, line }) => {
    const [name, rest] = split(content, ":", 2) ?? [];
    if (name === undefined) {
      throw lineError(of, line, "a quote or bracket is not closed");
    }
    if (name === "" || rest === undefined) {
      throw lineError(of, line, 'want "NAME: VALUE, VALUE"');
    }
    const values = split(rest, ",") ?? [];
    if (values.includes("")) {
      throw lineError(of, line, "want a value before and after each comma");
    }
    return { name, values, line };
  });
}

/**
 * Reads a file with one value a line; comments as in {@linkcode parseNamedLists}.
 *
 * @returns The values with the numbers of their lines
 */
export function parseLines(
  text: string,
): { readonly content: string; readonly line: number }[] {
  return text.replace(/^\ufeff/, "").split(/\r?\n/).flatMap((whole, index) => {
    const content = withoutComment(whole).trim();
    return content === "" ? [] : [{ content, line: index + 1 }];
  });
}

/** The values of a list, as a program writes it: `"ann@example.com, bob"`. `undefined` if a quote is not closed. */
export function splitValues(text: string): readonly string[] | undefined {
  return split(text, ",");
}

/** The error for a line. */
export function lineError(
  of: string,
  line: number,
  reason: string,
): SyntaxError {
  return new SyntaxError(`Cannot use line ${line} of ${of}: ${reason}`);
}

/** The lines without comments, each joined with those that go on with it. */
function logicalLines(
  text: string,
): { readonly content: string; readonly line: number }[] {
  const found: { content: string; line: number }[] = [];
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (const [index, whole] of lines.entries()) {
    const content = withoutComment(whole).trim();
    if (content === "") continue;
    const last = found.at(-1);
    if (/^[ \t]/.test(whole) && last !== undefined) {
      last.content += ` ${content}`;
    } else found.push({ content, line: index + 1 });
  }
  return found;
}

function withoutComment(line: string): string {
  if (!line.includes("#")) return line;
  let isBlank = true;
  for (const { sign, at } of plainSigns(line)) {
    if (sign === "#" && isBlank) return line.slice(0, at);
    isBlank = sign === " " || sign === "\t";
  }
  return line;
}

/**
 * Splits text at a sign, and trims the parts; `undefined` if a quote or bracket
 * is not closed.
 *
 * @param most The most parts
 */
function split(
  text: string,
  sign: string,
  most: number = Infinity,
): string[] | undefined {
  const parts: string[] = [];
  let start = 0;
  for (const found of plainSigns(text)) {
    if (found.sign === "") return undefined;
    if (found.sign !== sign || parts.length + 1 >= most) continue;
    parts.push(text.slice(start, found.at).trim());
    start = found.at + 1;
  }
  return [...parts, text.slice(start).trim()];
}

/** The characters outside of quotes and brackets; `""` at the end if one is not closed. */
function* plainSigns(
  text: string,
): Generator<{ readonly sign: string; readonly at: number }> {
  let end = "";
  for (let at = 0; at < text.length; at++) {
    const sign = text[at]!;
    if (end !== "") {
      if (sign === "\\" && end === '"') at++;
      else if (sign === end) {
        end = "";
        yield { sign: '"', at };
      }
    } else if (sign === '"') end = '"';
    else if (sign === "[") end = "]";
    else yield { sign, at };
  }
  if (end !== "") yield { sign: "", at: text.length };
}
