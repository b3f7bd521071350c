/**
 * Finds where the parts of a message begin and end, in one pass: header blocks,
 * bodies and boundaries, with the few header fields that describe a body. The
 * result is a sequence of sections without a gap. Knows nothing about the use of
 * a section. Pure.
 *
 * Messages come from strangers: the time is linear in the size of the message,
 * and the memory depends on the depth of its nesting, not on its size. The
 * scanner does not look into parts that are nested too deep. It accepts all
 * content: a body that cannot be parsed is text.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1 | RFC 2046 section 5.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-5.2 | RFC 2045 section 5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc6532#section-3.7 | RFC 6532 section 3.7}
 */

import { concat } from "../protocol/bytes.ts";
import { MAX_LINE } from "../protocol/folding.ts";
import {
  parseMimeField,
  parseTransferEncoding,
} from "../protocol/mime_field.ts";
import { isAsciiBytes } from "./content_meter.ts";

const CR = 0x0d;
const LF = 0x0a;
const DASH = 0x2d;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
/** The depth of nesting; a message with more is an attack. */
export const MAX_DEPTH = 30;
/** Bytes of a boundary; RFC 2046 allows 70. */
const MAX_BOUNDARY = 250;
/** Bytes of a line that are scanned in one piece: a longer line cannot be a boundary. */
const MAX_PIECE = 8192;
/** Bytes of a field that are read. */
const MAX_FIELD = 65536;
const NOTHING = new Uint8Array(0);
const NO_SECTIONS: readonly Section[] = [];

/** A range of the message that has been scanned, or the end of an entity. */
export type Section =
  /** A header block is complete, and its entity's facts are known. */
  | {
    readonly kind: "header";
    readonly entity: Entity;
    readonly from: number;
    readonly to: number;
    /** What ended it: a blank line, text without one, or the end of the entity. */
    readonly end: HeaderEnd;
  }
  /** A body, or the text before, between and after the parts of a multipart. */
  | {
    readonly kind: "body";
    readonly entity: Entity;
    readonly to: number;
    /** Whether it has bytes above 127. */
    readonly is8Bit: boolean;
    /** Whether it has a line of over 998 bytes; false without the option `wantsLines`. */
    readonly isLong: boolean;
  }
  /** The line end before a boundary, and the boundary itself. */
  | { readonly kind: "boundary"; readonly to: number }
  /** An entity is complete, with all in it. */
  | { readonly kind: "end"; readonly entity: Entity };

type HeaderEnd = "blank" | "text" | "end";

/** The structure of the body of an entity. */
type Shape =
  /** No parts, or none that are scanned. */
  | "leaf"
  /** Parts between boundaries. */
  | "multipart"
  /** Another message. */
  | "message";

/** One entity, a message or a part. Its facts are valid from its header section on. */
export interface Entity {
  readonly parent: Entity | undefined;
  readonly depth: number;
  /** Its media type in lower case, without parameters. */
  readonly kind: string;
  /** Whether it has a Content-Type. */
  readonly isTyped: boolean;
  /** Its Content-Transfer-Encoding, `"7bit"` without one. */
  readonly encoding: string;
  readonly shape: Shape;
  /** Whether it has a MIME-Version. */
  readonly hasVersion: boolean;
  /** Whether its header block has bytes above 127. */
  readonly headerIs8Bit: boolean;
  /** Whether its header block has a line of over 998 bytes. */
  readonly headerIsLong: boolean;
  /** Whether one of its boundaries has been seen; multipart only. */
  readonly isOpened: boolean;
}

/** An entity while it is scanned. */
interface OpenEntity extends Entity {
  readonly parent: OpenEntity | undefined;
  /** Its type if it has no Content-Type. */
  readonly defaultType: string;
  /** Where it begins in the message. */
  readonly start: number;
  /** The value of its Content-Type. */
  type: string | undefined;
  /** The value of its Content-Transfer-Encoding. */
  encodingField: string | undefined;
  /** The line before a part, `--` and the boundary; multipart only. */
  mark: Uint8Array | undefined;
  /** Whether the last boundary has been seen; multipart only. */
  isClosed: boolean;
  kind: string;
  isTyped: boolean;
  encoding: string;
  shape: Shape;
  hasVersion: boolean;
  headerIs8Bit: boolean;
  headerIsLong: boolean;
  isOpened: boolean;
}

/** Scans one message, chunk by chunk. */
export class MimeScanner {
  readonly #wantsLines: boolean;
  /** Sections found since the last {@linkcode MimeScanner.push}. */
  #sections: Section[] = [];
  /** Bytes of the message so far, the carried ones included. */
  #seen = 0;
  /** The bytes of an incomplete line. */
  #carry: Uint8Array = new Uint8Array(0);
  /** Whether a piece of the current line has been scanned. */
  #inLine = false;
  #entity: OpenEntity;
  #state: "header" | "body" = "header";
  /** The multiparts around the current entity, outermost first. */
  #open: OpenEntity[] = [];
  /** The current field, if it is one of `INTEREST`. */
  #field: { name: string; parts: Uint8Array[]; size: number } | undefined;
  /** Lines of the current header block. */
  #lines = 0;
  /** Where the body, or the text between parts, begins. */
  #from = 0;
  #is8Bit = false;
  #isLong = false;
  /** Bytes of the current line in earlier pieces. */
  #lineBefore = 0;
  /** Bytes of the line end before the current line. */
  #endBefore = 0;
  /** Whether the current chunk is all ASCII. */
  #chunkIsAscii = false;
  /** Where the current chunk begins in the message. */
  #base = 0;
  /** Bytes of the current chunk that have been checked for values above 127. */
  #lookedAt = 0;

  /** @param options `wantsLines`: whether to find long lines in bodies */
  constructor(options: { readonly wantsLines: boolean }) {
    this.#wantsLines = options.wantsLines;
    this.#entity = this.#begin(undefined, "text/plain");
  }

  /** Bytes of the message so far. */
  get size(): number {
    return this.#seen;
  }

  /** Takes the next chunk; does not keep it. Returns the sections that it completes. */
  push(chunk: Uint8Array): readonly Section[] {
    const data = this.#carry.length === 0
      ? chunk
      : concat([this.#carry, chunk]);
    const base = this.#base = this.#seen - this.#carry.length;
    this.#seen += chunk.length;
    let at = 0;
    this.#lookedAt = 0;
    this.#chunkIsAscii = isAsciiBytes(data);
    for (;;) {
      if (this.#state === "body" && this.#isPlain) {
        // Only the end of the message ends this body: lines do not matter.
        this.#look(data, data.length);
        at = data.length;
        break;
      }
      const feed = data.indexOf(LF, at);
      if (feed < 0) break;
      this.#line({ data, base, from: at, to: feed + 1, isEnd: true });
      at = feed + 1;
    }
    if (data.length - at > MAX_PIECE) {
      // The last byte is carried: it may be the CR of the line end.
      const to = data.length - 1;
      this.#line({ data, base, from: at, to, isEnd: false });
      at = to;
    }
    if (this.#state === "body") this.#look(data, at);
    this.#carry = at === data.length ? NOTHING : data.slice(at);
    return this.#taken();
  }

  /** Ends the message. Returns the last sections. */
  end(): readonly Section[] {
    const data = this.#carry;
    const base = this.#base = this.#seen - data.length;
    this.#lookedAt = 0;
    this.#carry = NOTHING;
    this.#chunkIsAscii = false;
    if (data.length > 0) {
      this.#line({ data, base, from: 0, to: data.length, isEnd: true });
    }
    if (this.#state === "header") this.#endHeader(this.#seen, "end");
    if (this.#state === "body") {
      this.#look(data, data.length);
      this.#endBody(this.#seen);
    }
    this.#closeTo(undefined);
    return this.#taken();
  }

  #taken(): readonly Section[] {
    const sections = this.#sections;
    if (sections.length === 0) return NO_SECTIONS;
    this.#sections = [];
    return sections;
  }

  /** Whether the body needs no scan for lines. */
  get #isPlain(): boolean {
    return this.#open.length === 0 && !this.#wantsLines;
  }

  #line(line: Line): void {
    this.#take(line);
    const { data, from, to, isEnd } = line;
    if (isEnd) {
      const feed = data[to - 1] === LF;
      this.#endBefore = !feed
        ? 0
        : to - 2 >= from && data[to - 2] === CR
        ? 2
        : 1;
      this.#lineBefore = 0;
    } else {
      this.#lineBefore += to - from;
    }
    this.#inLine = !isEnd;
  }

  #take(line: Line): void {
    if (this.#state === "header") this.#headerLine(line);
    else this.#bodyLine(line);
  }

  #headerLine(line: Line): void {
    const { data, base, from, to } = line;
    const entity = this.#entity;
    const start = base + from;
    if (!this.#inLine) {
      const mark = this.#findMark(line);
      if (mark !== undefined) {
        mark.entity.isOpened = true;
        this.#endHeader(
          start - this.#cutLineEnd(entity.start, start),
          "end",
        );
        this.#atMark(mark, line);
        return;
      }
      if (isBlankLine(data, from, to)) {
        this.#endHeader(base + to, "blank");
        return;
      }
      const first = data[from]!;
      const continues = (first === SPACE || first === TAB) && this.#lines > 0;
      if (!continues) {
        this.#endField();
        const name = fieldName(data, from, to);
        if (name === undefined) {
          const isFrom = this.#lines === 0 && startsWithFrom(data, from, to);
          if (!isFrom) {
            // Text without a blank line before it: the body begins here.
            this.#endHeader(start, "text");
            return this.#take(line);
          }
        } else if (name !== "") {
          this.#field = { name, parts: [], size: 0 };
        }
      }
      this.#lines++;
    }
    if (
      !this.#chunkIsAscii && !entity.headerIs8Bit &&
      !isAsciiBytes(data.subarray(from, to))
    ) {
      entity.headerIs8Bit = true;
    }
    if (this.#lineBefore + to - from > MAX_LINE + 2) {
      entity.headerIsLong = true;
    }
    const field = this.#field;
    if (field !== undefined && field.size < MAX_FIELD) {
      field.parts.push(data.slice(from, Math.min(to, from + MAX_FIELD)));
      field.size += to - from;
    }
  }

  /** Reads the current field, which is complete. */
  #endField(): void {
    const field = this.#field;
    if (field === undefined) return;
    this.#field = undefined;
    const entity = this.#entity;
    const text = field.parts.map(byteText).join("");
    const value = text.slice(text.indexOf(":") + 1);
    if (field.name === "mime-version") entity.hasVersion = true;
    else if (field.name === "content-type") entity.type ??= value;
    else entity.encodingField ??= value;
  }

  #begin(
    parent: OpenEntity | undefined,
    defaultType: string,
    at = 0,
  ): OpenEntity {
    this.#lines = 0;
    this.#field = undefined;
    this.#state = "header";
    return {
      parent,
      depth: parent === undefined ? 0 : parent.depth + 1,
      defaultType,
      start: at,
      type: undefined,
      encodingField: undefined,
      mark: undefined,
      isClosed: false,
      kind: defaultType,
      isTyped: false,
      encoding: "7bit",
      shape: "leaf",
      hasVersion: false,
      headerIs8Bit: false,
      headerIsLong: false,
      isOpened: false,
    };
  }

  /** Ends the header block, and decides on the structure of the body. */
  #endHeader(at: number, end: HeaderEnd): void {
    this.#endField();
    const entity = this.#entity;
    const field = parseMimeField(entity.type ?? "");
    entity.isTyped = entity.type !== undefined;
    // An invalid type counts as plain text (RFC 2045 section 5.2).
    entity.kind = /^[^/]+\/[^/]+$/.test(field.value)
      ? field.value
      : entity.isTyped
      ? "text/plain"
      : entity.defaultType;
    entity.encoding = parseTransferEncoding(entity.encodingField);
    this.#sections.push({
      kind: "header",
      entity,
      from: entity.start,
      to: at,
      end,
    });
    this.#state = "body";
    this.#from = at;
    this.#lookedAt = Math.max(0, at - this.#base);
    this.#is8Bit = false;
    this.#isLong = false;
    if (entity.depth >= MAX_DEPTH) return;
    const isEncoded = entity.encoding === "base64" ||
      entity.encoding === "quoted-printable";
    if (entity.kind.startsWith("multipart/")) {
      entity.mark = markOf(field.parameters.get("boundary"));
      if (entity.mark === undefined) return;
      entity.shape = "multipart";
      this.#open.push(entity);
    } else if (
      entity.kind === "message/rfc822" && !isEncoded && end !== "end"
    ) {
      entity.shape = "message";
      this.#entity = this.#begin(entity, "text/plain", at);
    }
  }

  #bodyLine(line: Line): void {
    const { data, from, to, isEnd } = line;
    if (!this.#inLine) {
      const mark = this.#findMark(line);
      if (mark !== undefined) {
        mark.entity.isOpened = true;
        this.#look(data, from);
        this.#endBody(
          line.base + from - this.#cutLineEnd(this.#from, line.base + from),
        );
        this.#atMark(mark, line);
        return;
      }
    }
    const size = this.#lineBefore + to - from;
    const end = isEnd ? 2 : 0;
    if (size > MAX_LINE + end) this.#isLong = true;
  }

  /** Checks the body up to `to` in the chunk for bytes above 127. */
  #look(data: Uint8Array, to: number): void {
    if (to <= this.#lookedAt) return;
    this.#is8Bit ||= !this.#chunkIsAscii &&
      !isAsciiBytes(data.subarray(this.#lookedAt, to));
    this.#lookedAt = to;
  }

  /** Bytes of the line end before `at` that belong to the boundary after it. */
  #cutLineEnd(from: number, at: number): number {
    return Math.min(this.#endBefore, at - from);
  }

  /** The boundary of an enclosing multipart in a line, if it is one. The outermost multipart wins. */
  #findMark(line: Line): Mark | undefined {
    const { data, from, to } = line;
    if (this.#open.length === 0 || data[from] !== DASH) return undefined;
    if (data[from + 1] !== DASH) return undefined;
    let end = to;
    while (end > from && isWhite(data[end - 1]!)) end--;
    for (const entity of this.#open) {
      if (entity.isClosed) continue;
      const mark = entity.mark!;
      const size = end - from;
      const closes = size === mark.length + 2 && data[end - 1] === DASH &&
        data[end - 2] === DASH;
      if (size !== mark.length && !closes) continue;
      if (equals(data, from, mark)) return { entity, closes };
    }
    return undefined;
  }

  /** Takes a boundary: ends all entities inside its multipart, and begins the next part. */
  #atMark({ entity, closes }: Mark, line: Line): void {
    const { data, base, to } = line;
    this.#closeTo(entity);
    const at = base + to;
    this.#sections.push({ kind: "boundary", to: at });
    this.#look(data, to);
    this.#from = at;
    this.#is8Bit = false;
    this.#isLong = false;
    if (closes) {
      entity.isClosed = true;
      this.#entity = entity;
      this.#state = "body";
    } else {
      const inner = entity.kind === "multipart/digest"
        ? "message/rfc822"
        : "text/plain";
      this.#entity = this.#begin(entity, inner, at);
      this.#lookedAt = to;
    }
  }

  #endBody(to: number): void {
    this.#sections.push({
      kind: "body",
      entity: this.#entity,
      to,
      is8Bit: this.#is8Bit,
      isLong: this.#isLong,
    });
  }

  /** Ends the entities inside `outer`; all if it is `undefined`. */
  #closeTo(outer: OpenEntity | undefined): void {
    for (let entity = this.#entity; entity !== outer;) {
      this.#sections.push({ kind: "end", entity });
      if (this.#open.at(-1) === entity) this.#open.pop();
      if (entity.parent === undefined) return;
      entity = entity.parent;
    }
  }
}

/** A line, or a piece of one, within a chunk. */
interface Line {
  readonly data: Uint8Array;
  /** Where the chunk begins in the message. */
  readonly base: number;
  readonly from: number;
  readonly to: number;
  /** Whether it includes the end of the line. */
  readonly isEnd: boolean;
}

/** A boundary line. */
interface Mark {
  /** The multipart it belongs to. */
  readonly entity: OpenEntity;
  /** Whether it closes the multipart. */
  readonly closes: boolean;
}

function markOf(boundary: string | undefined): Uint8Array | undefined {
  const text = boundary?.replace(/[ \t]+$/, "") ?? "";
  if (text === "" || text.length > MAX_BOUNDARY) return undefined;
  // The field was read with one character per byte.
  const mark = new Uint8Array(text.length + 2);
  mark.fill(DASH, 0, 2);
  for (let at = 0; at < text.length; at++) mark[at + 2] = text.charCodeAt(at);
  return mark;
}

/**
 * The name of the field that begins at `from` if it is one of `INTEREST`, `""`
 * for another field, `undefined` if no field begins there.
 */
function fieldName(
  data: Uint8Array,
  from: number,
  to: number,
): string | undefined {
  let end = from;
  while (
    end < to && data[end]! > SPACE && data[end]! < 127 && data[end] !== COLON
  ) {
    end++;
  }
  let colon = end;
  while (colon < to && (data[colon] === SPACE || data[colon] === TAB)) colon++;
  if (end === from || data[colon] !== COLON) return undefined;
  const size = end - from;
  if (size !== 12 && size !== 25) return "";
  const name = byteText(data.subarray(from, end)).toLowerCase();
  return INTEREST.has(name) ? name : "";
}

const INTEREST: ReadonlySet<string> = new Set([
  "content-type",
  "mime-version",
  "content-transfer-encoding",
]);

/** One character per byte: the platform's "latin1" is windows-1252. */
function byteText(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 4096) {
    parts.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
  }
  return parts.join("");
}

function startsWithFrom(data: Uint8Array, from: number, to: number): boolean {
  const text = byteText(data.subarray(from, Math.min(to, from + 6)));
  return /^>?From /.test(text);
}

function isBlankLine(data: Uint8Array, from: number, to: number): boolean {
  return data[from] === LF ||
    (data[from] === CR && to - from === 2 && data[from + 1] === LF);
}

function isWhite(byte: number): boolean {
  return byte === SPACE || byte === TAB || byte === CR || byte === LF;
}

function equals(data: Uint8Array, from: number, other: Uint8Array): boolean {
  for (let at = 0; at < other.length; at++) {
    if (data[from + at] !== other[at]) return false;
  }
  return true;
}
