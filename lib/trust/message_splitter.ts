/**
 * Splits a message that comes in pieces into its header block and its body. Stands
 * alone because signing needs the same as verifying. Lines may end with LF, as in
 * files: where the first line does, all are taken as lines that end with CRLF, as
 * they do on the wire.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5.3 | RFC 6376 section 5.3}
 */

/** Most bytes of a header block; no server takes as many. */
const MOST_HEADER = 1_048_576;
/** Bytes of a message that are taken at a time. */
const PIECE = 65_536;
const CR = 0x0d;
const LF = 0x0a;
const NOTHING = new Uint8Array(0);

/** Reads one message. */
export class MessageSplitter {
  #header = NOTHING;
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
    const isFirst = this.#size === 0;
    if (!isFirst) this.#hold(bytes);
    const block = isFirst ? bytes : this.#header.subarray(0, this.#size);
    const found = blockEnd(block, Math.max(0, block.length - bytes.length - 3));
    if (found > MOST_HEADER || (found === 0 && block.length > MOST_HEADER)) {
      this.#state = "too-long";
      this.#header = NOTHING;
      return NOTHING;
    }
    if (found === 0) {
      if (isFirst) this.#hold(bytes);
      return NOTHING;
    }
    this.#state = "body";
    // The caller may use the bytes of the piece again.
    if (isFirst) this.#header = new Uint8Array(bytes.subarray(0, found));
    this.#size = found;
    return block.subarray(found);
  }

  #hold(bytes: Uint8Array): void {
    const size = this.#size + bytes.length;
    if (size > this.#header.length) {
      const more = new Uint8Array(Math.max(2 * this.#header.length, size));
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

/** The place after the empty line of a block, which is not before `from`; 0 without one. */
function blockEnd(block: Uint8Array, from: number): number {
  // A message may begin with its empty line.
  if (block[0] === CR && block[1] === LF) return 2;
  for (let at = from; at < block.length; at++) {
    const isEnd = block[at] === LF && block[at + 1] === CR &&
      block[at + 2] === LF && block[at - 1] === CR;
    if (isEnd) return at + 3;
  }
  return 0;
}

/** The message in pieces of moderate size. */
export function piecesOf(
  message: Uint8Array | AsyncIterable<Uint8Array>,
): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  return message instanceof Uint8Array ? cut(message) : cutAll(message);
}

function* cut(bytes: Uint8Array): Generator<Uint8Array, void, void> {
  for (let at = 0; at < bytes.length; at += PIECE) {
    yield bytes.subarray(at, at + PIECE);
  }
}

async function* cutAll(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const chunk of chunks) yield* cut(chunk);
}
