/**
 * Where the parts of a message begin and end, found while the message passes
 * once: header blocks with the few fields that say how a body is made, bodies,
 * boundaries. What is found comes out as sections in order, without a gap. Knows
 * nothing of what a section is wanted for. Pure.
 *
 * Takes time linear in the size of the message, and memory for the depth of its
 * nesting, not for its size: a message is what a stranger sends. What nests too
 * deep is not looked into. Refuses nothing: a body that cannot be read is text.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1 | RFC 2046 section 5.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-5.2 | RFC 2045 section 5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc6532#section-3.7 | RFC 6532 section 3.7}
 */

import { concat } from "../protocol/bytes.ts";
import {
  parseMimeField,
  parseTransferEncoding,
} from "../protocol/mime_field.ts";
import { isAsciiBytes, MAX_LINE } from "./content_meter.ts";

const CR = 0x0d;
const LF = 0x0a;
const DASH = 0x2d;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
/** Entities around an entity at most; deeper nesting is an attack, not mail. */
export const MAX_DEPTH = 30;
/** Bytes of a boundary; RFC 2046 allows 70. */
const MAX_BOUNDARY = 250;
/** Bytes of a line that are looked at in one piece: a longer one is no boundary. */
const MAX_PIECE = 8192;
/** Bytes of a field that is read. */
const MAX_FIELD = 65536;
const NOTHING = new Uint8Array(0);
const NO_SECTIONS: readonly Section[] = [];

/** A piece of the message that has been passed, or the end of an entity. */
export type Section =
  /** A header block is complete, and its entity's facts are known. */
  | {
    readonly kind: "header";
    readonly entity: Entity;
    readonly from: number;
    readonly to: number;
    /** What it ended at: a blank line, text without one, or the entity's end. */
    readonly end: HeaderEnd;
  }
  /** A body, or the text before, between and behind the parts of a multipart. */
  | {
    readonly kind: "body";
    readonly entity: Entity;
    readonly to: number;
    /** Whether it has bytes above 127. */
    readonly is8Bit: boolean;
    /** Whether it has a line of over 998 bytes; not known where lines were not wanted. */
    readonly isLong: boolean;
  }
  /** The line end before a boundary, and the boundary itself. */
  | { readonly kind: "boundary"; readonly to: number }
  /** An entity is complete, with all in it. */
  | { readonly kind: "end"; readonly entity: Entity };

type HeaderEnd = "blank" | "text" | "end";

/** How the body of an entity is made. */
type Shape =
  /** Nothing inside is looked at. */
  | "leaf"
  /** Parts between boundaries. */
  | "multipart"
  /** Another message. */
  | "message";

/** One entity, a message or a part. Its facts hold from its header section on. */
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
  /** Whether a boundary of it has been seen; multipart only. */
  readonly isOpened: boolean;
}

/** An entity while it is scanned. */
interface OpenEntity extends Entity {
  readonly parent: OpenEntity | undefined;
  /** The type it has without a Content-Type. */
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
  /** Whether the length of each line is wanted. */
  readonly #wantsLines: boolean;
  /** Found since the last {@linkcode MimeScanner.push}. */
  #sections: Section[] = [];
  /** Bytes seen, what is carried included. */
  #seen = 0;
  #carry: Uint8Array = new Uint8Array(0);
  /** Whether a part of the line under way has been looked at. */
  #inLine = false;
  #entity: OpenEntity;
  #state: "header" | "body" = "header";
  /** The multiparts around, outermost first. */
  #open: OpenEntity[] = [];
  /** The field of interest under way. */
  #field: { name: string; parts: Uint8Array[]; size: number } | undefined;
  #lines = 0;
  /** Where the body, or the text between parts, begins. */
  #from = 0;
  #is8Bit = false;
  #isLong = false;
  /** Bytes of the line under way that are behind. */
  #lineBefore = 0;
  /** Bytes of the line end before this line. */
  #endBefore = 0;
  /** Whether the chunk at hand is ASCII throughout. */
  #chunkIsAscii = false;
  /** Where the chunk at hand is in the message. */
  #base = 0;
  /** Bytes of the chunk at hand that have been looked at for bytes above 127. */
  #lookedAt = 0;

  /** @param options `wantsLines`: whether the length of lines in bodies matters */
  constructor(options: { readonly wantsLines: boolean }) {
    this.#wantsLines = options.wantsLines;
    this.#entity = this.#begin(undefined, "text/plain");
  }

  /** Bytes of the message so far. */
  get size(): number {
    return this.#seen;
  }

  /** Takes the next chunk, which is not kept; the sections that are complete by it. */
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
        // Nothing can end it: lines do not matter.
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
      // The last byte stays: it may be the CR of the line end.
      const to = data.length - 1;
      this.#line({ data, base, from: at, to, isEnd: false });
      at = to;
    }
    if (this.#state === "body") this.#look(data, at);
    this.#carry = at === data.length ? NOTHING : data.slice(at);
    return this.#taken();
  }

  /** The message is at its end; the last sections. */
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

  /** Whether no line of the body can matter. */
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

  /** Reads a field of interest that is complete. */
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

  /** The header block is complete: how its body is made. */
  #endHeader(at: number, end: HeaderEnd): void {
    this.#endField();
    const entity = this.#entity;
    const field = parseMimeField(entity.type ?? "");
    entity.isTyped = entity.type !== undefined;
    // A type that is no type is that of plain text (RFC 2045 section 5.2).
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

  /** Looks at the body up to `to` of the chunk for bytes above 127. */
  #look(data: Uint8Array, to: number): void {
    if (to <= this.#lookedAt) return;
    this.#is8Bit ||= !this.#chunkIsAscii &&
      !isAsciiBytes(data.subarray(this.#lookedAt, to));
    this.#lookedAt = to;
  }

  /** Bytes of the line end that belong to the boundary behind it. */
  #cutLineEnd(from: number, at: number): number {
    return Math.min(this.#endBefore, at - from);
  }

  /** Whether a line is the boundary of a multipart around. The outermost counts. */
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

  /** A boundary: all inside its multipart is over, and a part begins behind it. */
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

  /** Closes the entities inside `outer`, all where it is not given. */
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
  /** Where the chunk is in the message. */
  readonly base: number;
  readonly from: number;
  readonly to: number;
  /** Whether it goes to the end of the line. */
  readonly isEnd: boolean;
}

/** A boundary line. */
interface Mark {
  /** The multipart it belongs to. */
  readonly entity: OpenEntity;
  /** Whether it is the last one. */
  readonly closes: boolean;
}

function markOf(boundary: string | undefined): Uint8Array | undefined {
  const text = boundary?.replace(/[ \t]+$/, "") ?? "";
  if (text === "" || text.length > MAX_BOUNDARY) return undefined;
  // The field was read one character a byte.
  const mark = new Uint8Array(text.length + 2);
  mark.fill(DASH, 0, 2);
  for (let at = 0; at < text.length; at++) mark[at + 2] = text.charCodeAt(at);
  return mark;
}

/**
 * The name of the field that begins at `from` where that is one of interest,
 * `""` for another, `undefined` where no field begins there.
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

/** One character a byte: the platform's "latin1" is another character set. */
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
