/**
 * Splits a message that comes in pieces into its header block and its body. Stands
 * alone because signing needs the same as verifying. Lines may end with LF, as in
 * files: where the first line does, all are taken as lines that end with CRLF, as
 * they do on the wire.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5.3 | RFC 6376 section 5.3}
 */

import { Buffer } from "node:buffer";

/** Most bytes of a header block; no server takes as many. */
const MOST_HEADER = 1_048_576;
/** Bytes of a message that are taken at a time. */
const PIECE = 65_536;
const CR = 0x0d;
const LF = 0x0a;
const NOTHING = new Uint8Array(0);

/** Reads one message. */
export class MessageSplitter {
  #header = Buffer.alloc(0);
  #size = 0;
  #state: "header" | "body" | "too-long" = "header";
  #cr = false;
  /** Whether lines end with LF alone; `undefined` before the end of the first one. */
  #isFile: boolean | undefined;

  /** The header block with its empty line; `undefined` if it is too long. */
  get header(): Uint8Array | undefined {
    if (this.#state === "too-long") return undefined;
    return this.#header.subarray(0, this.#size);
  }

  /** Whether the header block is complete. */
  get inBody(): boolean {
    return this.#state !== "header";
  }

  /** Takes the next piece, and returns what it has of the body. */
  take(piece: Uint8Array): Uint8Array {
    const bytes = this.#withCrLf(piece);
    if (this.#state === "body") return bytes;
    if (this.#state === "too-long") return NOTHING;
    this.#hold(bytes);
    const block = this.#header.subarray(0, this.#size);
    const from = Math.max(0, this.#size - bytes.length - 3);
    const end = block.indexOf("\r\n\r\n", from, "latin1") + 4;
    // A message may begin with its empty line.
    const found = block[0] === CR && block[1] === LF ? 2 : end < 4 ? 0 : end;
    if (found > MOST_HEADER || (found === 0 && this.#size > MOST_HEADER)) {
      this.#state = "too-long";
      this.#header = Buffer.alloc(0);
      return NOTHING;
    }
    if (found === 0) return NOTHING;
    this.#state = "body";
    this.#size = found;
    return block.subarray(found);
  }

  #hold(bytes: Uint8Array): void {
    const size = this.#size + bytes.length;
    if (size > this.#header.length) {
      const more = Buffer.alloc(Math.max(2 * this.#header.length, size));
      more.set(this.#header.subarray(0, this.#size));
      this.#header = more;
    }
    this.#header.set(bytes, this.#size);
    this.#size = size;
  }

  /** The piece with a CR before each LF that has none. */
  #withCrLf(piece: Uint8Array): Uint8Array {
    if (this.#isFile === false) return piece;
    let before = this.#cr;
    if (this.#isFile === undefined) {
      const first = piece.indexOf(LF);
      if (first < 0) {
        if (piece.length > 0) this.#cr = piece[piece.length - 1] === CR;
        return piece;
      }
      this.#isFile = first === 0 ? !before : piece[first - 1] !== CR;
      if (!this.#isFile) return piece;
    }
    let bare = 0;
    let isAfterCr = before;
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at]!;
      if (byte === LF && !isAfterCr) bare++;
      isAfterCr = byte === CR;
    }
    this.#cr = isAfterCr;
    if (bare === 0) return piece;
    const bytes = new Uint8Array(piece.length + bare);
    let to = 0;
    for (const byte of piece) {
      if (byte === LF && !before) bytes[to++] = CR;
      bytes[to++] = byte;
      before = byte === CR;
    }
    return bytes;
  }
}

/** The message in pieces of moderate size. */
export async function* piecesOf(
  message: Uint8Array | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const chunks = message instanceof Uint8Array ? [message] : message;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += PIECE) {
      yield chunk.subarray(at, at + PIECE);
    }
  }
}
