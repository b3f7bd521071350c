/**
 * A message looked at once, from its beginning to its end, for what has to
 * change before a server may get it: where its parts are, which of them are
 * 8-bit or have long lines. What comes out is a list of places with the change
 * of each, for a second reading. Pure.
 *
 * Takes time linear in the size of the message, and memory for the depth of its
 * nesting and for what changes, not for its size: a message is what a stranger
 * sends. What nests too deep, or has too many parts, is one text.
 *
 * Refuses nothing: what it cannot read is a text or goes as it is, and what is
 * signed, encrypted or a fragment goes as it is.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2046#section-5.1.1 | RFC 2046 section 5.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6.4 | RFC 2045 section 6.4},
 * {@link https://www.rfc-editor.org/rfc/rfc6532#section-3.7 | RFC 6532 section 3.7}
 */

import { concat } from "../protocol/bytes.ts";
import {
  parseMimeField,
  parseTransferEncoding,
} from "../protocol/mime_field.ts";

const CR = 0x0d;
const LF = 0x0a;
const DASH = 0x2d;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
/** Deeper nesting is an attack, not mail. */
const MAX_DEPTH = 30;
/** Places that change; more are an attack. */
const MAX_CHANGES = 20_000;
/** Bytes of a boundary; RFC 2046 allows 70. */
const MAX_BOUNDARY = 250;
/** Bytes of a line that are looked at in one piece: a longer one is no boundary. */
const MAX_PIECE = 8192;
/** Bytes of a field that is read. */
const MAX_FIELD = 65536;
/** Bytes of a line without its line end (RFC 5322 section 2.1.1). */
export const MAX_LINE = 998;

/** What is to be changed. */
export interface ScanOptions {
  /** Whether content must be 7-bit. */
  readonly to7Bit: boolean;
  /** Whether lines must have 998 bytes at most. */
  readonly shortLines: boolean;
  /** Whether what is signed or encrypted may be taken apart, too. */
  readonly touchesSigned: boolean;
}

/** A place of the message, from its beginning, and what becomes of it. */
export interface Place {
  /** Where it begins. */
  from: number;
  /** Where it ends. */
  to: number;
  /** What becomes of it; `header`: what its {@linkcode HeaderChange} says. */
  kind: "copy" | "mask" | "quoted-printable" | "escape" | "base64" | "header";
  /** For `header`. */
  change?: HeaderChange;
}

/** How a header block changes. */
export interface HeaderChange {
  /** The encoding it is to name; `undefined` to leave that. */
  encoding: "7bit" | "8bit" | "quoted-printable" | "base64" | undefined;
  /** Whether its Content-Type becomes text/plain in an unknown character set. */
  retype: boolean;
  /** Whether it lacks a MIME-Version that it must have. */
  needsVersion: boolean;
  /** Whether a blank line must be put behind it. */
  needsBlank: boolean;
  /** Whether fields with bytes above 127 are encoded. */
  encodesFields: boolean;
  /** Whether long lines are folded. */
  folds: boolean;
}

/** Whether all bytes are below 128. */
export function isAscii(bytes: Uint8Array): boolean {
  const end = bytes.length;
  let at = 0;
  // Eight bytes a step: this looks at every message that is relayed.
  for (; at + 8 <= end; at += 8) {
    const all = bytes[at]! | bytes[at + 1]! | bytes[at + 2]! | bytes[at + 3]! |
      bytes[at + 4]! | bytes[at + 5]! | bytes[at + 6]! | bytes[at + 7]!;
    if (all > 127) return false;
  }
  for (; at < end; at++) if (bytes[at]! > 127) return false;
  return true;
}

/** How the body of an entity is made. */
type Shape =
  /** Nothing inside is looked at. */
  | "leaf"
  /** Parts between boundaries. */
  | "multipart"
  /** Another message. */
  | "message";

/** One entity, a message or a part, while it is scanned. */
interface Entity {
  readonly parent: Entity | undefined;
  readonly depth: number;
  /** The type it has without a Content-Type. */
  readonly defaultType: string;
  readonly place: Place;
  type: string | undefined;
  encoding: string | undefined;
  hasVersion: boolean;
  headerIs8Bit: boolean;
  headerIsLong: boolean;
  kind: string;
  shape: Shape;
  /** The line before a part, `--` and the boundary; multipart only. */
  mark: Uint8Array | undefined;
  /** Whether the boundary has been seen; multipart only. */
  isOpened: boolean;
  /** Whether the last boundary has been seen; multipart only. */
  isClosed: boolean;
  bodyFrom: number;
  /** Whether anything in it changes or is 8-bit. */
  isTouched: boolean;
  /** Whether anything in it stays 8-bit. */
  isRaw: boolean;
}

/** Scans one message, chunk by chunk. */
export class MimeScanner {
  readonly #options: ScanOptions;
  readonly #places: Place[] = [];
  #changes = 0;
  /** Bytes seen, what is carried included. */
  #seen = 0;
  #carry: Uint8Array = new Uint8Array(0);
  /** Whether the line under way is longer than what is looked at. */
  #inLine = false;
  #entity: Entity;
  #state: "header" | "body" = "header";
  /** The multiparts around, outermost first. */
  #open: Entity[] = [];
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
  /** What the chunk at hand has up to here is looked at for bytes above 127. */
  #lookedAt = 0;

  /** @param options What is to be changed */
  constructor(options: ScanOptions) {
    this.#options = options;
    this.#entity = this.#begin(undefined, "text/plain");
  }

  /** Takes the next chunk. It is not kept. */
  push(chunk: Uint8Array): void {
    const data = this.#carry.length === 0
      ? chunk
      : concat([this.#carry, chunk]);
    const base = this.#base = this.#seen - this.#carry.length;
    this.#seen += chunk.length;
    let at = 0;
    this.#lookedAt = 0;
    this.#chunkIsAscii = isAscii(data);
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
  }

  /** The message is at its end: the places in order, without a gap. */
  end(): readonly Place[] {
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
    return this.#changes > MAX_CHANGES ? this.#asOneText() : this.#finished();
  }

  /** Whether no line of the body can matter. */
  get #isPlain(): boolean {
    return this.#open.length === 0 && !this.#options.shortLines;
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
          start - this.#cutLineEnd(entity.place.from, start),
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
      !isAscii(data.subarray(from, to))
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
    else entity.encoding ??= value;
  }

  #begin(parent: Entity | undefined, defaultType: string, at = 0): Entity {
    const place: Place = { from: at, to: at, kind: "header" };
    this.#places.push(place);
    this.#lines = 0;
    this.#field = undefined;
    this.#state = "header";
    return {
      parent,
      depth: parent === undefined ? 0 : parent.depth + 1,
      defaultType,
      place,
      type: undefined,
      encoding: undefined,
      hasVersion: false,
      headerIs8Bit: false,
      headerIsLong: false,
      kind: defaultType,
      shape: "leaf",
      mark: undefined,
      isOpened: false,
      isClosed: false,
      bodyFrom: at,
      isTouched: false,
      isRaw: false,
    };
  }

  /** The header block is complete; what follows from it. */
  #endHeader(at: number, how: "blank" | "text" | "end"): void {
    this.#endField();
    const entity = this.#entity;
    entity.place.to = at;
    entity.bodyFrom = at;
    const isSealed = this.#isSigned(entity.parent);
    // A signature covers its bytes as they are.
    if (isSealed && entity.headerIs8Bit) entity.isRaw = true;
    entity.place.change = {
      encoding: undefined,
      retype: false,
      needsVersion: entity.parent === undefined && !entity.hasVersion,
      needsBlank: how === "text",
      encodesFields: this.#options.to7Bit && entity.headerIs8Bit && !isSealed,
      folds: this.#options.shortLines && entity.headerIsLong && !isSealed,
    };
    const field = parseMimeField(entity.type ?? "");
    // A type that is no type is that of plain text (RFC 2045 section 5.2).
    entity.kind = /^[^/]+\/[^/]+$/.test(field.value)
      ? field.value
      : entity.type === undefined
      ? entity.defaultType
      : "text/plain";
    const encoding = entity.encoding = parseTransferEncoding(entity.encoding);
    const isEncoded = encoding === "base64" || encoding === "quoted-printable";
    const isDeep = entity.depth >= MAX_DEPTH;
    this.#state = "body";
    this.#from = at;
    this.#lookedAt = Math.max(0, at - this.#base);
    this.#is8Bit = false;
    this.#isLong = false;
    if (isDeep) return;
    if (entity.kind.startsWith("multipart/")) {
      entity.mark = markOf(field.parameters.get("boundary"));
      if (entity.mark === undefined) return;
      entity.shape = "multipart";
      this.#open.push(entity);
    } else if (
      entity.kind === "message/rfc822" && !isEncoded && how !== "end"
    ) {
      entity.shape = "message";
      this.#entity = this.#begin(entity, "text/plain", at);
    }
  }

  #isSigned(entity: Entity | undefined): boolean {
    if (this.#options.touchesSigned) return false;
    for (let one = entity; one !== undefined; one = one.parent) {
      if (isSealed(one.kind)) return true;
    }
    return false;
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
      !isAscii(data.subarray(this.#lookedAt, to));
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
    // The line end before the boundary, and the boundary itself.
    this.#put("copy", at);
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

  /** Closes the entities inside `outer`, all where it is not given. */
  #closeTo(outer: Entity | undefined): void {
    for (let entity = this.#entity; entity !== outer;) {
      this.#close(entity);
      if (this.#open.at(-1) === entity) this.#open.pop();
      if (entity.parent === undefined) return;
      entity = entity.parent;
    }
  }

  /** What becomes of a body, or of the text around parts, that ends at `to`. */
  #endBody(to: number): void {
    const entity = this.#entity;
    const is8Bit = this.#is8Bit && this.#options.to7Bit;
    const isLong = this.#isLong && this.#options.shortLines;
    if (entity.shape === "multipart") {
      if (!is8Bit) return this.#put("copy", to);
      if (this.#isSigned(entity)) return this.#leave(entity, true, to);
      if (!entity.isOpened) {
        // Its boundary never came: it is one text.
        entity.place.change!.retype = true;
        return this.#convert(entity, "quoted-printable", to);
      }
      entity.isTouched = true;
      return this.#put("mask", to);
    }
    const { encoding } = entity;
    const isBinary = encoding === "binary" && this.#options.to7Bit;
    if (!is8Bit && !isLong && !isBinary) return this.#put("copy", to);
    if (this.#isSigned(entity)) return this.#leave(entity, is8Bit, to);
    if (encoding === "quoted-printable") {
      return is8Bit ? this.#touch(entity, "escape", to) : this.#put("copy", to);
    }
    if (encoding === "base64") {
      return is8Bit ? this.#touch(entity, "mask", to) : this.#put("copy", to);
    }
    if (!["7bit", "8bit", "binary"].includes(encoding!)) {
      return this.#leave(entity, is8Bit, to);
    }
    if (/^(?:multipart|message)\/(?!global)/.test(entity.kind)) {
      if (entity.depth < MAX_DEPTH && entity.kind.startsWith("message/")) {
        // No encoding is allowed there (RFC 2046 section 5.2).
        return this.#leave(entity, is8Bit, to);
      }
      entity.place.change!.retype = true;
      return this.#convert(entity, "quoted-printable", to);
    }
    if (entity.type === undefined) entity.place.change!.retype = true;
    // Quoted-printable text cannot keep a bare CR or LF apart from a line end.
    const isText = /^(?:text\/|message\/global)/.test(entity.kind) &&
      encoding !== "binary";
    this.#convert(entity, isText ? "quoted-printable" : "base64", to);
  }

  #convert(
    entity: Entity,
    encoding: "quoted-printable" | "base64",
    to: number,
  ): void {
    entity.place.change!.encoding = encoding;
    this.#touch(entity, encoding, to);
  }

  #touch(entity: Entity, kind: Place["kind"], to: number): void {
    entity.isTouched = true;
    this.#put(kind, to);
  }

  #leave(entity: Entity, isRaw: boolean, to: number): void {
    entity.isRaw ||= isRaw;
    this.#put("copy", to);
  }

  /** Notes what becomes of all up to `to` that is not noted yet. */
  #put(kind: Place["kind"], to: number): void {
    const last = this.#places.at(-1)!;
    if (last.to >= to) return;
    if (kind === "copy" && last.kind === "copy") last.to = to;
    else this.#places.push({ from: last.to, to, kind });
    if (kind !== "copy") this.#countChange();
  }

  #countChange(): void {
    this.#changes++;
    // What is noted beyond is of no use.
    if (this.#changes > MAX_CHANGES) this.#places.splice(1);
  }

  /** An entity is complete: what its header has to say. */
  #close(entity: Entity): void {
    const { change } = entity.place;
    const { parent } = entity;
    if (change === undefined) return;
    const holds = entity.shape !== "leaf" && !this.#isSigned(entity);
    if (holds && change.encoding === undefined) {
      const isOff = this.#options.to7Bit && entity.encoding === "binary";
      if (entity.isRaw) change.encoding = "8bit";
      else if (entity.isTouched || isOff) change.encoding = "7bit";
    }
    if (parent !== undefined) {
      parent.isTouched ||= entity.isTouched ||
        (change.encodesFields && this.#options.to7Bit);
      parent.isRaw ||= entity.isRaw;
    }
    const changes = change.encoding !== undefined || change.retype ||
      change.encodesFields || change.folds;
    if (changes) return this.#countChange();
    entity.place.kind = "copy";
    this.#mergeLast(entity.place);
  }

  /** Joins a header that stays with what stays before and behind it. */
  #mergeLast(place: Place): void {
    const places = this.#places;
    const at = places.lastIndexOf(place);
    if (at < 0 || at < places.length - 2) return;
    if (at === places.length - 2) {
      if (places[at + 1]!.kind !== "copy") return;
      place.to = places.pop()!.to;
    }
    const before = places[at - 1];
    if (before?.kind !== "copy") return;
    before.to = places.pop()!.to;
  }

  /** The message as a header and one text. */
  #asOneText(): Place[] {
    const place = this.#places[0]!;
    const change = place.change!;
    change.retype = true;
    change.encoding = "quoted-printable";
    place.kind = "header";
    const { to } = place;
    return [place, { from: to, to: this.#seen, kind: "quoted-printable" }];
  }

  #finished(): Place[] {
    return this.#places.filter(({ from, to, change }) =>
      from < to || change?.encoding !== undefined
    );
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
  readonly entity: Entity;
  /** Whether it is the last one. */
  readonly closes: boolean;
}

const NOTHING = new Uint8Array(0);

function isSealed(kind: string): boolean {
  return kind === "multipart/signed" || kind === "multipart/encrypted";
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
