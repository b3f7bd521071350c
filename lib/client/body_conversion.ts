/**
 * Content changed for a server that does not take it as it is: made 7-bit for
 * one without 8BITMIME, or its long lines encoded. Text becomes
 * quoted-printable, everything else base64, part by part.
 *
 * Content is read twice, once to look and once to change, and is never held:
 * memory does not grow with its size. Both are done in pieces that leave the
 * event loop to the sessions in between.
 *
 * Never touches what is signed, encrypted or a fragment: its reader would have
 * no use for another form, and servers that say nothing of 8BITMIME pass 8-bit
 * bytes on. What cannot be read is text, or stays as it is. So nothing is
 * returned for how it is made.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6152#section-3 | RFC 6152 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6 | RFC 2045 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc1847 | RFC 1847},
 * {@link https://www.rfc-editor.org/rfc/rfc1428 | RFC 1428}
 *
 * The two encodings that make content 7-bit, chunk by chunk: what comes out is
 * the same however the content was cut. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6.7 | RFC 2045 sections 6.7 and 6.8}
 *
 * Long computation in small pieces: all of it together gets a share of each
 * turn of the event loop, and sessions get the rest. It stands alone because
 * the share is one for the whole process, whatever computes.
 */

import { concat } from "../protocol/bytes.ts";
import { HeaderRewriter } from "./header_rewriter.ts";
import { MimeScanner, type Place, type ScanOptions } from "./mime_scanner.ts";
import { setImmediate } from "node:timers";

/** Bytes that are worked on in one go. */
const PIECE = 8192;
const NOTHING = new Uint8Array(0);

/** Gives the same content, from its beginning, each time. */
export type Reopen = () => AsyncIterable<Uint8Array>;

/**
 * Looks at a message; resolves with what gives the changed content.
 *
 * @param open Gives the whole content, header first; called once for this and
 * once for each reading of what comes out
 * @param options What is to be changed
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
  options: ScanOptions,
): Promise<Reopen> {
  const scanner = new MimeScanner(options);
  for await (const piece of inPieces(open())) {
    await loopShare.run(() => scanner.push(piece));
  }
  const places = await loopShare.run(() => scanner.end());
  return () => changed(open(), places);
}

/** Pieces small enough to be worked on in one go. */
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

/** Walks through the places of a message as its content comes. */
class PlaceWalk {
  readonly #places: readonly Place[];
  #index = 0;
  #at = 0;
  #encoder: TransferEncoder | undefined;

  /** @param places All places of the message */
  constructor(places: readonly Place[]) {
    this.#places = places;
  }

  /** What a piece becomes. */
  take(piece: Uint8Array): Uint8Array {
    const out: Uint8Array[] = [];
    for (let at = 0; at < piece.length;) {
      this.#skipEmpty(out);
      const place = this.#places[this.#index];
      // Longer than when it was looked at: not the content of this message.
      if (place === undefined) break;
      const size = Math.min(piece.length - at, place.to - this.#at);
      out.push(this.#change(place, piece.subarray(at, at + size)));
      at += size;
      this.#at += size;
      if (this.#at === place.to) this.#leave(out);
    }
    return joined(out);
  }

  /** What is left. */
  end(): Uint8Array {
    const out: Uint8Array[] = [];
    this.#skipEmpty(out);
    return joined(out);
  }

  /** A header that was not there has only what is added to it. */
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

/** Quoted-printable that has bytes above 127 in it. */
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

/** One array of all the pieces; the piece itself where there is one. */
function joined(pieces: readonly Uint8Array[]): Uint8Array {
  if (pieces.length === 0) return NOTHING;
  if (pieces.length === 1) return pieces[0]!;
  return concat(pieces);
}

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

/** Milliseconds of each turn for all pieces together. */
const SHARE_MS = 5;

/** The share of a turn. */
class LoopShare {
  #spentMs = 0;
  #isTurning = false;
  readonly #waiting: (() => void)[] = [];

  /**
   * Does a piece of work: at once where the turn has time left, else in a later
   * turn, first come first served. A piece should take a millisecond or two.
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
      // What is left of the share is the next one's.
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
    // One, which lets the next one go if it leaves any of the share.
    const next = this.#waiting.shift();
    if (next === undefined) return;
    next();
    if (this.#waiting.length > 0) this.#turn();
  }
}

/** The share of this thread's event loop. */
export const loopShare: Pick<LoopShare, "run"> = new LoopShare();
