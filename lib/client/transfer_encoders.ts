/**
 * The three encoders that convert content for a server: quoted-printable, base64,
 * and the rewriter of header blocks. Each takes its bytes chunk by chunk; the
 * result does not depend on the cuts. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6.7 | RFC 2045 sections 6.7 and 6.8},
 * {@link https://www.rfc-editor.org/rfc/rfc2047 | RFC 2047}
 */

import { concat } from "../protocol/bytes.ts";
import { foldLongLines } from "../protocol/folding.ts";
import { encodeField } from "../protocol/header_encoding.ts";
import { isAsciiBytes, MAX_LINE } from "./content_meter.ts";
import type { HeaderChange } from "./conversion_plan.ts";

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
const NOTHING = new Uint8Array(0);

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
export class HeaderRewriter implements TransferEncoder {
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
