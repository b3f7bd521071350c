/**
 * Converts content for a server that does not take it as it is: makes it 7-bit
 * for a server without 8BITMIME, or encodes its long lines. Text becomes
 * quoted-printable, everything else base64, part by part.
 *
 * Reads content twice, once to plan and once to convert, and never holds it:
 * memory does not grow with its size. Works in small pieces, so that sessions get
 * the event loop in between.
 *
 * Changes signed or encrypted parts only if told to, and fragments never: the
 * change would break them, and in practice servers that do not offer 8BITMIME
 * pass 8-bit bytes on. A part that cannot be parsed counts as text, or stays as it
 * is. So no message is returned for its form.
 *
 * Its three encoders (quoted-printable, base64, header blocks) take bytes chunk by
 * chunk; the result does not depend on the cuts.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6152#section-3 | RFC 6152 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6 | RFC 2045 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc1847 | RFC 1847},
 * {@link https://www.rfc-editor.org/rfc/rfc1428 | RFC 1428},
 * {@link https://www.rfc-editor.org/rfc/rfc2047 | RFC 2047}
 */

import { setImmediate } from "node:timers";
import { concat } from "../protocol/bytes.ts";
import {
  type ConversionOptions,
  ConversionPlan,
  type HeaderChange,
  type Place,
} from "./conversion_plan.ts";
import { foldLongLines, MAX_LINE } from "../protocol/folding.ts";
import { encodeField } from "../protocol/header_encoding.ts";
import { isAsciiBytes } from "./content_meter.ts";

/** Bytes of one piece of work. */
const PIECE = 8192;
/** Milliseconds of each turn of the event loop for all pieces together. */
const SHARE_MS = 5;
const NOTHING = new Uint8Array(0);

/** Opens the same content, from its beginning, at each call. */
export type Reopen = () => AsyncIterable<Uint8Array>;

/**
 * Plans the conversion of a message. Resolves with a function that opens the
 * converted content.
 *
 * @param open Opens the whole content, header first; called once for the plan
 * and once for each reading of the converted content
 * @param options The conversion
 *
 * @example
 * ```ts ignore
 * const message = new TextEncoder().encode(
 *   "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
 *     "Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n",
 * );
 * const converted = await convertContent(() => ReadableStream.from([message]), {
 *   to7Bit: true,
 *   shortLines: false,
 *   touchesSigned: false,
 * });
 * ```
 */
export async function convertContent(
  open: Reopen,
  options: ConversionOptions,
): Promise<Reopen> {
  const plan = new ConversionPlan(options);
  for await (const piece of inPieces(open())) {
    await loopShare.run(() => plan.push(piece));
  }
  const places = await loopShare.run(() => plan.end());
  return () => changed(open(), places);
}

/** Cuts content into pieces of `PIECE` bytes at most. */
async function* inPieces(
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      yield chunk.subarray(at, at + PIECE);
    }
  }
}

async function* changed(
  content: AsyncIterable<Uint8Array>,
  places: readonly Place[],
): AsyncGenerator<Uint8Array> {
  const walk = new PlaceWalk(places);
  for await (const piece of inPieces(content)) {
    const bytes = await loopShare.run(() => walk.take(piece));
    if (bytes.length > 0) yield bytes;
  }
  const rest = walk.end();
  if (rest.length > 0) yield rest;
}

/** Converts content chunk by chunk, place by place. */
class PlaceWalk {
  readonly #places: readonly Place[];
  #index = 0;
  #at = 0;
  #encoder: TransferEncoder | undefined;

  constructor(places: readonly Place[]) {
    this.#places = places;
  }

  /** Converts the next piece. */
  take(piece: Uint8Array): Uint8Array {
    const out: Uint8Array[] = [];
    for (let at = 0; at < piece.length;) {
      this.#skipEmpty(out);
      const place = this.#places[this.#index];
      // The content is longer than at the first reading: drop the rest.
      if (place === undefined) break;
      const size = Math.min(piece.length - at, place.to - this.#at);
      out.push(this.#change(place, piece.subarray(at, at + size)));
      at += size;
      this.#at += size;
      if (this.#at === place.to) this.#leave(out);
    }
    return joined(out);
  }

  end(): Uint8Array {
    const out: Uint8Array[] = [];
    this.#skipEmpty(out);
    return joined(out);
  }

  /** Passes over empty places. The header of a message without one consists of the added fields. */
  #skipEmpty(out: Uint8Array[]): void {
    for (;;) {
      const place = this.#places[this.#index];
      if (place === undefined || place.to > this.#at) return;
      this.#encoder = encoderOf(place);
      this.#leave(out);
    }
  }

  #change(place: Place, bytes: Uint8Array): Uint8Array {
    switch (place.kind) {
      case "copy":
        return bytes;
      case "mask":
        return bytes.map((byte) => byte > 127 ? 0x3f : byte);
      case "escape":
        return escaped(bytes);
      default:
        this.#encoder ??= encoderOf(place)!;
        return this.#encoder.encode(bytes);
    }
  }

  #leave(out: Uint8Array[]): void {
    if (this.#encoder !== undefined) out.push(this.#encoder.finish());
    this.#encoder = undefined;
    this.#index++;
  }
}

function encoderOf({ kind, change }: Place): TransferEncoder | undefined {
  switch (kind) {
    case "header":
      return new HeaderRewriter(change!);
    case "quoted-printable":
      return new QuotedPrintableEncoder();
    case "base64":
      return new Base64Encoder();
    default:
      return undefined;
  }
}

/** Encodes the bytes above 127 of a quoted-printable text. */
function escaped(bytes: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (const byte of bytes) {
    if (byte < 128) out.push(byte);
    else {
      const hex = byte.toString(16).toUpperCase();
      out.push(0x3d, hex.charCodeAt(0), hex.charCodeAt(1));
    }
  }
  return Uint8Array.from(out);
}

/** All pieces as one array; a single piece is not copied. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 0) return NOTHING;
  if (pieces.length === 1) return pieces[0]!;
  return concat(pieces);
}

/**
 * Runs long computations in small pieces. All of them together get `SHARE_MS` of
 * each turn of the event loop, and sessions get the rest. All computations of a
 * thread use the same share.
 */
class LoopShare {
  #spentMs = 0;
  #isTurning = false;
  readonly #waiting: (() => void)[] = [];

  /**
   * Runs a piece of work: at once if the share of this turn has time left, else
   * in a later turn, in the order of the calls. A piece should take a millisecond
   * or two.
   */
  async run<T>(work: () => T): Promise<T> {
    if (this.#waiting.length > 0 || this.#spentMs >= SHARE_MS) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    const start = performance.now();
    try {
      return work();
    } finally {
      this.#spentMs += performance.now() - start;
      // The next piece gets the rest of the share.
      if (this.#spentMs < SHARE_MS) this.#waiting.shift()?.();
      this.#turn();
    }
  }

  #turn(): void {
    if (this.#isTurning) return;
    this.#isTurning = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isTurning = false;
    this.#spentMs = 0;
    // Only the first: `run()` starts the next one if any of the share is left.
    const next = this.#waiting.shift();
    if (next === undefined) return;
    next();
    if (this.#waiting.length > 0) this.#turn();
  }
}

/** The share of this thread's event loop. */
export const loopShare: Pick<LoopShare, "run"> = new LoopShare();

const CR = 0x0d;
const LF = 0x0a;
const EQUALS = 0x3d;
const SPACE = 0x20;
const TAB = 0x09;
const DOT = 0x2e;
const CAPITAL_F = 0x46;
/** Characters of an encoded line, without its line end. */
const LINE_WIDTH = 76;
const encoder = new TextEncoder();
const HEX = encoder.encode("0123456789ABCDEF");
/** Bytes encoded in one line of base64. */
const BASE64_BYTES = 57;
/** Bytes of a field that is changed; a longer one is copied. */
const MAX_FIELD = 32_768;

/** An encoder of one body. */
export interface TransferEncoder {
  /** Encodes the next chunk. The result is not changed afterwards. */
  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer>;
  /** Returns the rest. No chunks may follow. */
  finish(): Uint8Array<ArrayBuffer>;
}

/**
 * Quoted-printable of text. CRLF and bare LF are line ends and become CRLF; a
 * bare CR is encoded.
 */
export class QuotedPrintableEncoder implements TransferEncoder {
  #column = 0;
  /** A blank or CR whose encoding depends on the next byte; -1 for none. */
  #held = -1;

  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    // Three bytes for an encoded byte, and a soft line break every 73 bytes.
    const out = new Uint8Array(Math.ceil((chunk.length + 1) * 3 * 1.06) + 8);
    let to = 0;
    for (const byte of chunk) to = this.#take(byte, out, to);
    return out.slice(0, to);
  }

  finish(): Uint8Array<ArrayBuffer> {
    const held = this.#held;
    this.#held = -1;
    if (held < 0) return NOTHING;
    const out = new Uint8Array(8);
    return out.slice(0, this.#put(held, false, out, 0));
  }

  // Positional arguments: an object for each byte would cost more than its
  // encoding.
  #take(byte: number, out: Uint8Array, at: number): number {
    let to = at;
    const held = this.#held;
    const ends = byte === LF || byte === CR;
    if (held >= 0) {
      this.#held = -1;
      // The CR of a line end.
      if (held !== CR || byte !== LF) {
        to = this.#put(held, held !== CR && !ends, out, to);
      }
    }
    if (byte === LF) {
      out[to++] = CR;
      out[to++] = LF;
      this.#column = 0;
    } else if (byte === CR || byte === SPACE || byte === TAB) {
      this.#held = byte;
    } else {
      const plain = byte > 32 && byte < 127 && byte !== EQUALS &&
        // Some systems on the way change a dot or "From " at the start of a line.
        (this.#column > 0 || (byte !== DOT && byte !== CAPITAL_F));
      to = this.#put(byte, plain, out, to);
    }
    return to;
  }

  #put(
    byte: number,
    plain: boolean,
    out: Uint8Array,
    at: number,
  ): number {
    let to = at;
    const width = plain ? 1 : 3;
    // The line needs room for the "=" of a soft break.
    if (this.#column + width > LINE_WIDTH - 1) {
      out[to++] = EQUALS;
      out[to++] = CR;
      out[to++] = LF;
      this.#column = 0;
    }
    if (plain) {
      out[to++] = byte;
    } else {
      out[to++] = EQUALS;
      out[to++] = HEX[byte >> 4]!;
      out[to++] = HEX[byte & 15]!;
    }
    this.#column += width;
    return to;
  }
}

/** Base64 in lines of 76 characters, each with its CRLF. */
export class Base64Encoder implements TransferEncoder {
  #held: Uint8Array = NOTHING;

  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#held.length + chunk.length);
    bytes.set(this.#held);
    bytes.set(chunk, this.#held.length);
    const whole = bytes.length - bytes.length % BASE64_BYTES;
    this.#held = bytes.slice(whole);
    return lines(bytes.subarray(0, whole));
  }

  finish(): Uint8Array<ArrayBuffer> {
    const held = this.#held;
    this.#held = NOTHING;
    return lines(held);
  }
}

function lines(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let text = "";
  for (let at = 0; at < bytes.length; at += BASE64_BYTES) {
    text += `${bytes.subarray(at, at + BASE64_BYTES).toBase64()}\r\n`;
  }
  return encoder.encode(text);
}

/**
 * Rewrites one header block: replaces fields that are wrong after the conversion
 * of the body, encodes bytes above 127, and folds long lines. All other fields
 * stay byte for byte.
 */
class HeaderRewriter implements TransferEncoder {
  readonly #change: HeaderChange;
  /** The lines of the current field. */
  #field: Uint8Array[] = [];
  /** Bytes of the current field. */
  #size = 0;
  /** What happens to the rest of a field that is too long to be held. */
  #long: "copy" | "drop" | undefined;
  /** The bytes of an incomplete line. */
  #carry: Uint8Array = NOTHING;
  /** The blank line at the end. */
  #blank: Uint8Array = NOTHING;
  /** Whether the current line began in an earlier chunk. */
  #isInLine = false;

  constructor(change: HeaderChange) {
    this.#change = change;
  }

  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    const data = this.#carry.length === 0
      ? chunk
      : concat([this.#carry, chunk]);
    const out: Uint8Array[] = [];
    const mayPass = !this.#change.folds && isAsciiBytes(data);
    let at = 0;
    /** Where the fields begin that pass unchanged. */
    let passed = 0;
    for (;;) {
      const feed = data.indexOf(LF, at);
      if (feed < 0) break;
      const next = feed + 1;
      if (!mayPass || !this.#passes(data, at, next)) {
        if (passed < at) out.push(data.slice(passed, at));
        this.#line(data.subarray(at, next), out);
        passed = next;
      } else if (passed === at) {
        this.#flush(out);
      }
      at = next;
    }
    if (passed < at) out.push(data.slice(passed, at));
    this.#carry = data.slice(at);
    if (this.#carry.length > MAX_FIELD) {
      this.#line(this.#carry, out);
      this.#carry = NOTHING;
      this.#isInLine = true;
    }
    return concat(out);
  }

  /** Returns the last field, the added fields, and the blank line. */
  finish(): Uint8Array<ArrayBuffer> {
    const out: Uint8Array[] = [];
    if (this.#carry.length > 0) this.#line(this.#carry, out);
    this.#flush(out);
    const { encoding, retype, needsVersion, needsBlank } = this.#change;
    let text = "";
    if (needsVersion && encoding !== undefined) text += "MIME-Version: 1.0\r\n";
    if (retype) text += "Content-Type: text/plain; charset=unknown-8bit\r\n";
    if (encoding !== undefined) {
      text += `Content-Transfer-Encoding: ${encoding}\r\n`;
    }
    if (needsBlank && text !== "") text += "\r\n";
    out.push(encoder.encode(text), this.#blank);
    return concat(out);
  }

  /** Whether a line of ASCII is a whole field that stays as it is. */
  #passes(data: Uint8Array, from: number, next: number): boolean {
    const first = data[from]!;
    // A name has no byte below 33. The next line must be known: it may continue
    // this one. Fields that are replaced begin with "c".
    return !this.#isInLine && first > SPACE && (first | 0x20) !== 0x63 &&
      next < data.length && data[next] !== SPACE && data[next] !== TAB;
  }

  #line(line: Uint8Array, out: Uint8Array[]): void {
    const first = line[0];
    const continues = this.#isInLine || first === SPACE || first === TAB;
    this.#isInLine = false;
    if (!continues) {
      this.#flush(out);
      if (first === LF || (line.length === 2 && first === 13)) {
        this.#blank = line.slice();
        return;
      }
    }
    if (this.#long !== undefined) {
      if (this.#long === "copy") out.push(line);
      return;
    }
    this.#field.push(line.slice());
    this.#size += line.length;
    if (this.#size <= MAX_FIELD) return;
    const isDropped = this.#isDropped(this.#field[0]!);
    if (!isDropped) out.push(...this.#field);
    this.#long = isDropped ? "drop" : "copy";
    this.#field = [];
  }

  #flush(out: Uint8Array[]): void {
    this.#long = undefined;
    this.#size = 0;
    if (this.#field.length === 0) return;
    const field = this.#field.length === 1
      ? this.#field[0]!
      : concat(this.#field);
    this.#field = [];
    if (this.#isDropped(field)) return;
    const encoded = this.#change.encodesFields && !isAsciiBytes(field)
      ? encodeField(field)
      : field;
    const folds = this.#change.folds && encoded.length > MAX_LINE + 2;
    out.push(folds ? foldLongLines(encoded, MAX_LINE) : encoded);
  }

  /** Whether the field is replaced. */
  #isDropped(field: Uint8Array): boolean {
    const first = field[0]! | 0x20;
    if (first !== 0x63) return false;
    const { encoding, retype } = this.#change;
    const start = new TextDecoder().decode(field.subarray(0, 40));
    return (encoding !== undefined &&
      /^content-transfer-encoding[ \t]*:/i.test(start)) ||
      (retype && /^content-type[ \t]*:/i.test(start));
  }
}
