/**
 * Lists of `tag=value; tag=value`, as in DKIM-Signature fields, key records, ARC
 * fields and DMARC records. One reader for all of them.
 *
 * Never throws: a list that breaks the grammar is a value with a reason. Text is
 * one character for each byte (latin1), or text of the DNS.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.2 | RFC 6376 section 3.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8616#section-4 | RFC 8616 section 4} (bytes beyond ASCII)
 */

/** The tags of a list by their name, in the order in which they stand. */
export type Tags = ReadonlyMap<string, string>;

/** A list that was read, or why it cannot be read. */
export type TagList =
  | { readonly tags: Tags; readonly fault?: undefined }
  | { readonly tags?: undefined; readonly fault: string };

const NAME = /^[A-Za-z][A-Za-z0-9_]*$/;
/** A control character other than white space. */
// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;
/** Most tags of a list: more of them are no list of any standard. */
const MOST_TAGS = 100;

/**
 * Reads a list. Values keep the white space inside them, and lose that around
 * them; names keep their case.
 *
 * @param text The list, folded or not
 */
export function parseTagList(text: string): TagList {
  const tags = new Map<string, string>();
  const parts = text.split(";", MOST_TAGS + 2);
  // A semicolon may follow the last tag.
  if (parts.length > 1 && trimSpace(parts.at(-1)!) === "") parts.pop();
  if (parts.length > MOST_TAGS) {
    return { fault: `There are more than ${MOST_TAGS} tags` };
  }
  const isClean = !CONTROL.test(text);
  for (const part of parts) {
    const equals = part.indexOf("=");
    const name = trimSpace(equals < 0 ? part : part.slice(0, equals));
    if (equals < 0) return { fault: "A tag has no value" };
    if (!NAME.test(name)) return { fault: "A tag has no valid name" };
    if (tags.has(name)) return { fault: `Tag ${name}= stands there twice` };
    const value = trimSpace(part.slice(equals + 1));
    if (!isClean && CONTROL.test(value)) {
      return { fault: `Tag ${name}= has a control character` };
    }
    tags.set(name, value);
  }
  return { tags };
}

/** The text without spaces, tabs and line ends around it. */
export function trimSpace(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isSpace(text.charCodeAt(start))) start++;
  while (end > start && isSpace(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/** The text without any spaces, tabs and line ends: for base64 and lists. */
export function removeSpace(text: string): string {
  return text.replace(/[ \t\r\n]+/g, "");
}

/** The entries of a value that colons separate, as `h=from:to`, without the white space around them. */
export function colonList(value: string): readonly string[] {
  return value.split(":").map(trimSpace);
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d || code === 0x0a;
}
