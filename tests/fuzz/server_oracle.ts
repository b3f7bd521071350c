/**
 * A second implementation of how a client's bytes are read. It shares no code with
 * the machine and works on whole strings, one character a byte. Slow and plain.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.2 | RFC 5321 section 4.5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc3030#section-2 | RFC 3030 section 2}
 */

import type { BareNewlinePolicy } from "../../lib/protocol/data_decoder.ts";

/** DATA content, decoded. */
export interface DecodedData {
  /** Bytes up to and with the end of data; `undefined` while it has not come. */
  readonly length: number | undefined;
  /** The body that is kept; `undefined` where it must be refused. */
  readonly body: string | undefined;
}

/** Decodes what follows the reply 354. */
export function decodeData(
  sent: string,
  policy: BareNewlinePolicy,
): DecodedData {
  // The line of DATA itself ended in CRLF: the end may come at once.
  const stream = `\r\n${sent}`;
  const end = stream.indexOf("\r\n.\r\n");
  if (end < 0) return { length: undefined, body: undefined };
  const lines = stream.slice(2, end + 2).split("\r\n")
    .map((line) => line.startsWith(".") ? line.slice(1) : line);
  const length = end + 5 - 2;
  const isBare = lines.some((line) => /[\r\n]/.test(line));
  if (isBare && policy === "reject") return { length, body: undefined };
  const body = policy === "normalize"
    ? lines.map(normalized).join("\r\n")
    : lines.join("\r\n");
  return { length, body };
}

/** A line without bare line ends; behind a bare LF one of two dots is a stuffed one. */
function normalized(line: string): string {
  return line.replaceAll("\r", " ").replaceAll("\n..", "\n.")
    .replaceAll("\n", "\r\n");
}

/**
 * The chunk that a BDAT line announces; `"unreadable"` where it is BDAT but does
 * not say how much follows, `undefined` for any other line.
 */
export function readBdat(
  line: string,
): number | "unreadable" | undefined {
  const argument = line.slice(4);
  const isBdat = line.slice(0, 4).toUpperCase() === "BDAT";
  if (!isBdat || /^[!-~]/.test(argument)) return undefined;
  const [, size = "", last = "", ...more] = argument
    .replace(/[ \t]+$/, "").replaceAll(/ +/g, " ").split(" ");
  const isSize = /^[0-9]{1,15}$/.test(size);
  const isLast = last === "" || last.toUpperCase() === "LAST";
  return isSize && isLast && more.length === 0
    ? parseInt(size, 10)
    : "unreadable";
}
