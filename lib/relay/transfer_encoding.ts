/**
 * The two encodings that make content 7-bit, chunk by chunk: what comes out is
 * the same however the content was cut. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6.7 | RFC 2045 sections 6.7 and 6.8}
 */

const CR = 0x0d;
const LF = 0x0a;
const EQUALS = 0x3d;
const SPACE = 0x20;
const TAB = 0x09;
const DOT = 0x2e;
const CAPITAL_F = 0x46;
/** Characters of a line, without its line end. */
const MAX_LINE = 76;
const HEX = new TextEncoder().encode("0123456789ABCDEF");
/** Bytes of one line of base64. */
const BASE64_BYTES = 57;
const NOTHING = new Uint8Array(0);

/** An encoder of one body. */
export interface TransferEncoder {
  /** Encodes the next chunk. What it returns is not changed afterwards. */
  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer>;
  /** The rest. No more chunks after this. */
  finish(): Uint8Array<ArrayBuffer>;
}

/**
 * Quoted-printable of text. CRLF and bare LF are line ends and come out as
 * CRLF; a bare CR is encoded.
 */
export class QuotedPrintableEncoder implements TransferEncoder {
  #column = 0;
  /** A blank or CR whose form the next byte decides; -1 for nothing. */
  #held = -1;

  /** As {@linkcode TransferEncoder.encode}. */
  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    // Three for an encoded byte, and a soft line break every 73 of those.
    const out = new Uint8Array(Math.ceil((chunk.length + 1) * 3 * 1.06) + 8);
    let to = 0;
    for (const byte of chunk) to = this.#take(byte, out, to);
    return out.slice(0, to);
  }

  /** As {@linkcode TransferEncoder.finish}. */
  finish(): Uint8Array<ArrayBuffer> {
    const held = this.#held;
    this.#held = -1;
    if (held < 0) return NOTHING;
    const out = new Uint8Array(8);
    return out.slice(0, this.#put(held, false, out, 0));
  }

  // Positional: an object for each byte would cost more than its encoding.
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
        // A dot or "From " at the start of a line is changed by some systems on the way.
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
    // The line must have room for the "=" of a soft break.
    if (this.#column + width > MAX_LINE - 1) {
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

  /** As {@linkcode TransferEncoder.encode}. */
  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#held.length + chunk.length);
    bytes.set(this.#held);
    bytes.set(chunk, this.#held.length);
    const whole = bytes.length - bytes.length % BASE64_BYTES;
    this.#held = bytes.slice(whole);
    return lines(bytes.subarray(0, whole));
  }

  /** As {@linkcode TransferEncoder.finish}. */
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
  return new TextEncoder().encode(text);
}
