/**
 * A multipart body taken apart at its boundary, octet for octet: the pieces
 * put together again are the body. Pure; decodes nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1 | RFC 2046 section 5.1.1}
 */

const CR = 0x0d;
const LF = 0x0a;
const DASH = 0x2d;
const SPACE = 0x20;
const TAB = 0x09;

/** One piece of a multipart body. */
export interface MultipartPiece {
  /** `part`: an entity, without the line end that belongs to the boundary after it. `between`: all the rest. */
  readonly kind: "part" | "between";
  /** Its octets. */
  readonly bytes: Uint8Array;
}

/** The boundary parameter of a Content-Type, `undefined` where there is none that is allowed. */
export function findBoundary(contentType: string): string | undefined {
  const match = /;\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i.exec(
    contentType,
  );
  const boundary = match?.[1]?.replace(/\\(.)/g, "$1") ?? match?.[2];
  return boundary && /^[\x20-\x7e]{1,100}$/.test(boundary)
    ? boundary
    : undefined;
}

/** The pieces of a multipart body, `undefined` where its boundary never occurs. */
export function splitMultipart(
  body: Uint8Array,
  boundary: string,
): MultipartPiece[] | undefined {
  const mark = new TextEncoder().encode(`--${boundary}`);
  const pieces: MultipartPiece[] = [];
  let from = 0;
  let inPart = false;
  for (let line = 0; line < body.length;) {
    const feed = body.indexOf(LF, line);
    const next = feed < 0 ? body.length : feed + 1;
    const found = matchMark(body.subarray(line, next), mark);
    if (found) {
      const end = inPart ? beforeLineEnd(body, from, line) : line;
      const kind = inPart ? "part" : "between";
      pieces.push({ kind, bytes: body.subarray(from, end) });
      pieces.push({ kind: "between", bytes: body.subarray(end, next) });
      from = next;
      inPart = found === "open";
      if (!inPart) break;
    }
    line = next;
  }
  if (pieces.length === 0) return undefined;
  pieces.push({
    kind: inPart ? "part" : "between",
    bytes: body.subarray(from),
  });
  return pieces;
}

/** Whether a line is the boundary: `open` before a part, `close` after the last. */
function matchMark(
  line: Uint8Array,
  mark: Uint8Array,
): "open" | "close" | undefined {
  if (line.length < mark.length) return undefined;
  for (let at = 0; at < mark.length; at++) {
    if (line[at] !== mark[at]) return undefined;
  }
  const closes = line[mark.length] === DASH && line[mark.length + 1] === DASH;
  for (const octet of line.subarray(mark.length + (closes ? 2 : 0))) {
    if (octet !== SPACE && octet !== TAB && octet !== CR && octet !== LF) {
      return undefined;
    }
  }
  return closes ? "close" : "open";
}

/** The end of a part: the line end before a boundary belongs to the boundary. */
function beforeLineEnd(body: Uint8Array, from: number, line: number): number {
  let end = line;
  if (end > from && body[end - 1] === LF) end--;
  if (end > from && body[end - 1] === CR) end--;
  return end;
}
