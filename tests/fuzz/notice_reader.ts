/**
 * Reads a DSN as a mail program does, and throws where there are two ways to read
 * it. Made for tests: one character a byte.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1 | RFC 2046 section 5.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc3464#section-2 | RFC 3464 section 2}
 */

/** Fields in order, unfolded. */
export type Fields = readonly (readonly [name: string, value: string])[];

/** A parsed DSN. */
export interface ReadNotice {
  /** The header block, byte for byte. */
  readonly head: string;
  /** Its fields. */
  readonly header: Fields;
  /** The text part. */
  readonly words: string;
  /** The groups of the status part. */
  readonly groups: readonly Fields[];
  /** The content of the third part. */
  readonly returned: string;
}

/** Parses a DSN. */
export function readNotice(text: string): ReadNotice {
  const { head, body } = split(text);
  const header = readFields(head);
  const boundary = /boundary="([^"]+)"/.exec(
    header.find(([name]) => name === "Content-Type")?.[1] ?? "",
  )?.[1];
  if (boundary === undefined) throw new Error("A notice without a boundary");
  const [preamble = "", ...rest] = `\r\n${body}`.split(`\r\n--${boundary}`);
  const end = rest.pop();
  if (rest.length !== 3 || end !== "--\r\n") {
    throw new Error(`A notice of ${rest.length} parts: ${text}`);
  }
  const parts = rest.map((part) => {
    if (!part.startsWith("\r\n")) throw new Error("A boundary goes on");
    return split(part.slice(2));
  });
  const [words, status, returned] = parts.map((part) => part.body);
  for (const part of [head, preamble, words!, status!]) checkLines(part);
  return {
    head,
    header,
    words: words!,
    groups: status!.replace(/\r\n$/, "").split("\r\n\r\n").map(readFields),
    returned: returned!,
  };
}

function split(text: string): { readonly head: string; readonly body: string } {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) throw new Error("No empty line behind the header");
  return { head: text.slice(0, end), body: text.slice(end + 4) };
}

/** Our own lines: no control characters, and none over 998 bytes (RFC 5322 section 2.1.1). */
function checkLines(text: string): void {
  for (const line of text.split("\r\n")) {
    // deno-lint-ignore no-control-regex
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(line)) {
      throw new Error(`A control character in ${JSON.stringify(line)}`);
    }
    if (line.length > 998) throw new Error(`A line of ${line.length} bytes`);
  }
}

function readFields(block: string): Fields {
  return block.replace(/\r\n(?=[ \t])/g, "").split("\r\n").map((line) => {
    const match = /^([A-Za-z-]+): ?(.*)$/s.exec(line);
    if (match === null) throw new Error(`No field: ${JSON.stringify(line)}`);
    return [match[1]!, match[2]!.trim()] as const;
  });
}
