/**
 * The hashes of a body for all its signatures, in one pass. The body is made
 * canonical while it comes in; nothing of it is kept but a few bytes that are on
 * their way to the hash.
 *
 * Pending blanks are a flag and pending empty lines a number, so a body of 50 MiB
 * of empty lines is a counter. Every split of the input gives the same digest.
 * Only space and tab are blank; a CR without LF, and an LF without CR, are text.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.4.3 | RFC 6376 section 3.4.3},
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-3.5 | section 3.5} (`l=`)
 */

import { createHash, type Hash, hash } from "node:crypto";
import type { Canonicalization } from "./canonical_header.ts";

/** What is wanted of a body. */
export interface BodyHashWish {
  /** The canonical form. */
  readonly form: Canonicalization;
  /** Most bytes of the canonical body that are hashed, `l=`. Default: all. */
  readonly limit?: number | undefined;
}

/** One hash of a body; SHA-256, as no other is allowed (RFC 8301). */
export interface BodyDigest {
  /** The digest, once the body has ended. */
  readonly digest: Uint8Array;
  /** Bytes of the whole canonical body. */
  readonly size: number;
}

/** Hashes one body in as many ways as its signatures ask for. */
export class BodyHashes {
  readonly #forms = new Map<Canonicalization, CanonicalBody>();
  #ended = false;

  /** Whether no hash is wanted: the body then need not be written. */
  get isEmpty(): boolean {
    return this.#forms.size === 0;
  }

  /** Asks for a hash, before the first byte of the body. Equal wishes share one. */
  add({ form, limit = Infinity }: BodyHashWish): BodyDigest {
    let body = this.#forms.get(form);
    if (body === undefined) {
      body = new CanonicalBody(form);
      this.#forms.set(form, body);
    }
    return body.sink(limit);
  }

  /** Takes the next bytes of the body; they may be reused afterwards. */
  write(bytes: Uint8Array): void {
    for (const body of this.#forms.values()) body.write(bytes);
  }

  /** Ends the body; the digests are there then. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const body of this.#forms.values()) body.end();
  }
}

/** A hash that takes canonical bytes up to a limit. */
class Sink implements BodyDigest {
  readonly limit: number;
  /** Set once bytes have come: a short body is hashed at its end, which is faster. */
  #hash: Hash | undefined;
  #left: number;
  digest: Uint8Array = EMPTY;
  size = 0;

  constructor(limit: number) {
    this.limit = limit;
    this.#left = limit;
  }

  take(bytes: Uint8Array): void {
    const signed = this.#signed(bytes);
    if (signed.length === 0) return;
    this.#hash ??= createHash("sha256");
    this.#hash.update(signed);
  }

  /** Takes the last bytes. */
  end(bytes: Uint8Array): void {
    const signed = this.#signed(bytes);
    // Digits cost less than a buffer.
    const digits = this.#hash === undefined
      ? hash("sha256", signed, "hex")
      : this.#hash.update(signed).digest("hex");
    this.digest = Uint8Array.fromHex(digits);
  }

  /** Counts bytes, and returns those up to the limit. */
  #signed(bytes: Uint8Array): Uint8Array {
    this.size += bytes.length;
    const signed = bytes.length <= this.#left
      ? bytes
      : bytes.subarray(0, this.#left);
    this.#left -= signed.length;
    return signed;
  }
}

const EMPTY = new Uint8Array(0);
const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
/** Bytes that are collected before they go to the hashes; longer runs are not copied. */
const PIECE = 8192;
/** Pieces of bodies that have ended: to make a new one takes longer than to use it. */
const spare: Uint8Array[] = [];
const MOST_SPARE = 16;
/** Longer runs are copied at once, shorter ones byte by byte. */
const SHORT_RUN = 32;

/** One canonical form of a body, and the hashes that take it. */
class CanonicalBody {
  readonly #relaxed: boolean;
  readonly #sinks: Sink[] = [];
  readonly #piece = spare.pop() ?? new Uint8Array(PIECE);
  #used = 0;
  /** Whether a CR has come that may begin a line end. */
  #cr = false;
  /** Whether blanks have come that count only if text follows in their line. */
  #blank = false;
  /** Line ends that count only if text follows. */
  #lines = 0;
  #hasText = false;

  constructor(form: Canonicalization) {
    this.#relaxed = form === "relaxed";
  }

  /** The hash with that limit. */
  sink(limit: number): Sink {
    const known = this.#sinks.find((sink) => sink.limit === limit);
    if (known !== undefined) return known;
    const made = new Sink(limit);
    this.#sinks.push(made);
    return made;
  }

  write(bytes: Uint8Array): void {
    if (this.#relaxed) this.#writeRelaxed(bytes);
    else this.#writeSimple(bytes);
  }

  #writeRelaxed(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < bytes.length; at++) {
      // Nearly every byte is part of a run that is canonical as it is.
      if (!this.#cr && !this.#blank && this.#lines === 0) {
        const end = runEnd(bytes, view, at);
        this.#run(bytes, at, end);
        if (end === bytes.length) return;
        at = end;
      }
      const byte = bytes[at]!;
      if (!this.#lineEnd(byte)) {
        if (byte === SPACE || byte === TAB) this.#blank = true;
        else this.#text(byte);
      }
    }
  }

  /** Only the line ends at the end are not as they came. */
  #writeSimple(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && this.#lineEnd(bytes[at]!)) at++;
    if (at === bytes.length) return;
    this.#text(bytes[at++]!);
    let end = bytes.length;
    if (end > at && bytes[end - 1] === CR) end--;
    while (end - 1 > at && bytes[end - 1] === LF && bytes[end - 2] === CR) {
      end -= 2;
    }
    this.#run(bytes, at, end);
    for (; end < bytes.length; end++) this.#lineEnd(bytes[end]!);
  }

  /** Whether the byte is, or may be, part of a line end; a CR that was not becomes text. */
  #lineEnd(byte: number): boolean {
    if (byte === LF && this.#cr) {
      this.#cr = false;
      this.#blank = false;
      this.#lines++;
      return true;
    }
    if (this.#cr) {
      this.#cr = false;
      this.#text(CR);
    }
    if (byte !== CR) return false;
    this.#cr = true;
    return true;
  }

  end(): void {
    if (this.#cr) this.#text(CR);
    // The last line ends with CRLF, and no empty line follows it. A simple body
    // without text is one line end, a relaxed one nothing.
    if (this.#hasText || !this.#relaxed) {
      this.#lines = 0;
      this.#put(CR);
      this.#put(LF);
    }
    const rest = this.#piece.subarray(0, this.#used);
    for (const sink of this.#sinks) sink.end(rest);
    if (spare.length < MOST_SPARE) spare.push(this.#piece);
  }

  /** Puts a byte of text, after the line ends and the blank that wait for it. */
  #text(byte: number): void {
    for (; this.#lines > 0; this.#lines--) {
      this.#put(CR);
      this.#put(LF);
    }
    if (this.#blank) {
      this.#blank = false;
      this.#put(SPACE);
    }
    this.#hasText = true;
    this.#put(byte);
  }

  /** Puts bytes as they are, with nothing waiting before them. */
  #run(bytes: Uint8Array, from: number, to: number): void {
    const length = to - from;
    if (length === 0) return;
    this.#hasText = true;
    if (this.#used + length > PIECE) this.#used = this.#flush(this.#used);
    if (length > PIECE) {
      this.#give(bytes.subarray(from, to));
      return;
    }
    if (length > SHORT_RUN) {
      this.#piece.set(bytes.subarray(from, to), this.#used);
      this.#used += length;
      return;
    }
    for (let at = from; at < to; at++) this.#piece[this.#used++] = bytes[at]!;
  }

  #put(byte: number): void {
    if (this.#used === PIECE) this.#used = this.#flush(PIECE);
    this.#piece[this.#used++] = byte;
  }

  /** Gives the collected bytes to the hashes. */
  #flush(used: number): 0 {
    if (used > 0) this.#give(this.#piece.subarray(0, used));
    return 0;
  }

  #give(bytes: Uint8Array): void {
    for (const sink of this.#sinks) sink.take(bytes);
  }
}

/**
 * Where a run of bytes from `from` ends that a relaxed body has as they are: with
 * single spaces and line ends that text follows. It may end early.
 *
 * Four bytes are looked at at a time, and what is looked at next depends on none of
 * them: single spaces are everywhere, and a branch for each of them is slow.
 */
function runEnd(bytes: Uint8Array, view: DataView, from: number): number {
  const last = bytes.length - 4;
  let at = from;
  // Whether the byte before a word is up to space: its top bit, moved to the bottom.
  let before = 0;
  while (at <= last) {
    const word = view.getInt32(at, true);
    // The top bit of each byte up to space, and of the first tab.
    const blank = ~(((word & 0x7f7f7f7f) + 0x5f5f5f5f) | word) & TOP_BITS;
    const other = word ^ 0x09090909;
    const tab = (other - 0x01010101) & ~other & TOP_BITS;
    // A tab, or the second of two bytes up to space.
    const found = (blank & ((blank << 8) | before)) | tab;
    before = blank >>> 24;
    at += 4;
    if (found === 0) continue;
    at -= 4 - ((31 - Math.clz32(found & -found)) >> 3);
    if (at > from && bytes[at - 1]! <= SPACE) at--;
    const isInner = bytes[at] === CR && bytes[at + 1] === LF &&
      at + 2 < bytes.length && bytes[at + 2]! > SPACE;
    if (!isInner) return at;
    before = 0;
    from = at += 3;
  }
  return before === 0 ? at : at - 1;
}

/** The top bit of each of four bytes. */
const TOP_BITS = 0x80808080 | 0;
