/**
 * Content made 7-bit for a server without 8BITMIME: text becomes
 * quoted-printable, everything else base64, part by part. Pure.
 *
 * Never touches what is signed or encrypted as a whole, and never guesses: what
 * cannot be converted is refused, to be returned with 5.6.3.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6152#section-3 | RFC 6152 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6 | RFC 2045 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc1847 | RFC 1847},
 * {@link https://www.rfc-editor.org/rfc/rfc1428 | RFC 1428}
 */

import { MessageHeaders } from "../protocol/headers.ts";
import { SmtpReply } from "../protocol/reply.ts";
import { findBoundary, splitMultipart } from "./multipart.ts";
import { toBase64Lines, toQuotedPrintable } from "./transfer_encoding.ts";

const CR = 0x0d;
const LF = 0x0a;
/** Deeper nesting is an attack, not mail. */
const MAX_DEPTH = 30;

/** The outcome of a conversion. */
export type Converted =
  | {
    /** The content, all of it below 128, with the line ends it had. */
    readonly content: Uint8Array<ArrayBuffer>;
  }
  | {
    /** Why it cannot be converted. */
    readonly reply: SmtpReply;
  };

/** Thrown and caught in this file alone: the way out of the recursion. */
class CannotConvert extends Error {}

/** Whether all octets are below 128. */
export function isAscii(bytes: Uint8Array): boolean {
  const end = bytes.length;
  let at = 0;
  // Eight octets a step: this looks at every message that is relayed.
  for (; at + 8 <= end; at += 8) {
    const all = bytes[at]! | bytes[at + 1]! | bytes[at + 2]! | bytes[at + 3]! |
      bytes[at + 4]! | bytes[at + 5]! | bytes[at + 6]! | bytes[at + 7]!;
    if (all > 127) return false;
  }
  for (; at < end; at++) if (bytes[at]! > 127) return false;
  return true;
}

/**
 * Converts a message.
 *
 * @param message The whole content, header first
 *
 * @example
 * ```ts ignore
 * import { convertTo7Bit } from "@smtp/server";
 *
 * const message = new TextEncoder().encode(
 *   "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
 *     "Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n",
 * );
 * const converted = convertTo7Bit(message);
 * const text = "content" in converted
 *   ? new TextDecoder().decode(converted.content)
 *   : "";
 * console.assert(text.endsWith("\r\n\r\nGr=C3=BC=C3=9Fe\r\n"));
 * ```
 */
export function convertTo7Bit(message: Uint8Array): Converted {
  try {
    return { content: concat(convertEntity(message, 0)) };
  } catch (error) {
    if (!(error instanceof CannotConvert)) throw error;
    return {
      reply: new SmtpReply(
        554,
        `Message is not 7-bit, the server takes nothing else, and ${error.message}`,
        { enhanced: "5.6.3" },
      ),
    };
  }
}

/** One entity, a message or a part, as pieces. What is 7-bit already stays as it is. */
function convertEntity(entity: Uint8Array, depth: number): Uint8Array[] {
  if (depth > MAX_DEPTH) throw new CannotConvert("its parts nest too deep");
  const start = bodyStart(entity);
  const body = entity.subarray(start);
  const headers = MessageHeaders.parse(entity.subarray(0, start));
  const encoding = (headers.get("Content-Transfer-Encoding") ?? "7bit")
    .trim().toLowerCase();
  if (!isAscii(entity.subarray(0, start))) {
    throw new CannotConvert("its header cannot be converted");
  }
  if (isAscii(body) && encoding !== "binary") return [entity];
  const type = headers.get("Content-Type")?.trim() ?? "";
  const kind = (/^[^\s;]+/.exec(type)?.[0] ?? "text/plain").toLowerCase();
  if (kind === "multipart/signed" || kind === "multipart/encrypted") {
    throw new CannotConvert("it is signed or encrypted");
  }
  if (kind === "message/partial") {
    throw new CannotConvert("it is a fragment of another");
  }
  if (!["7bit", "8bit", "binary"].includes(encoding)) {
    throw new CannotConvert("its encoding is not what its header says");
  }
  if (kind.startsWith("multipart/")) {
    return convertMultipart(headers, { body, type, depth });
  }
  if (kind === "message/rfc822") {
    setHeaders(headers, "7bit", depth);
    return [block(headers), ...convertEntity(body, depth + 1)];
  }
  if (type === "") {
    headers.set("Content-Type", "text/plain; charset=unknown-8bit");
  }
  // Quoted-printable text cannot keep a bare CR or LF apart from a line end.
  if (kind.startsWith("text/") && encoding !== "binary") {
    setHeaders(headers, "quoted-printable", depth);
    return [block(headers), toQuotedPrintable(body)];
  }
  setHeaders(headers, "base64", depth);
  return [block(headers), toBase64Lines(body)];
}

function convertMultipart(
  headers: MessageHeaders,
  entity: {
    body: Uint8Array;
    type: string;
    depth: number;
  },
): Uint8Array[] {
  const boundary = findBoundary(entity.type);
  const pieces = boundary && splitMultipart(entity.body, boundary);
  if (!pieces) throw new CannotConvert("its parts cannot be told apart");
  setHeaders(headers, "7bit", entity.depth);
  const out: Uint8Array[] = [block(headers)];
  for (const { kind, bytes } of pieces) {
    if (kind === "part") out.push(...convertEntity(bytes, entity.depth + 1));
    else out.push(isAscii(bytes) ? bytes : masked(bytes));
  }
  return out;
}

function setHeaders(
  headers: MessageHeaders,
  encoding: string,
  depth: number,
): void {
  headers.set("Content-Transfer-Encoding", encoding);
  if (depth === 0 && !headers.has("MIME-Version")) {
    headers.set("MIME-Version", "1.0");
  }
}

/** The header block with the empty line after it. */
function block(headers: MessageHeaders): Uint8Array {
  return concat([headers.encode(), new Uint8Array([CR, LF])]);
}

/** Text around the parts, which no reader shows. */
function masked(bytes: Uint8Array): Uint8Array {
  return bytes.map((octet) => octet > 127 ? 0x3f : octet);
}

/** Where the body begins: after the first empty line, or at the end. */
function bodyStart(entity: Uint8Array): number {
  if (entity[0] === LF) return 1;
  if (entity[0] === CR && entity[1] === LF) return 2;
  for (let at = entity.indexOf(LF); at >= 0; at = entity.indexOf(LF, at + 1)) {
    if (entity[at + 1] === LF) return at + 2;
    if (entity[at + 1] === CR && entity[at + 2] === LF) return at + 3;
  }
  return entity.length;
}

/** One array of all the pieces. */
function concat(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
