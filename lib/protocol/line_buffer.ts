/**
 * Splits received bytes into lines. Stores only the beginning of a line whose
 * end has not arrived; reads whole lines in place.
 *
 * Only CRLF ends a line. A bare carriage return is part of the line and makes
 * it unusable. A bare line feed is reported at once, because a client that ends
 * lines so waits for a reply. The bytes after it up to the next CRLF are
 * unusable as well: as a line of its own here and text elsewhere, they would be
 * commands to one side and data to the other. The limit bounds the memory,
 * however long the line is: bytes beyond it are counted and dropped.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1 | RFC 5321 section 4.5.3.1}
 */

const CR = 13;
const LF = 10;

/** Bytes of one line that are dropped before the buffer gives up on the peer. */
const MAX_SWALLOWED = 65536;

/** Bytes kept of an unusable line: enough for a verb. */
const HEAD = 4;

/** Storage for the beginning of a line that is kept between lines, in bytes. */
const KEPT_STORAGE = 1024;

/**
 * Result of {@linkcode LineBuffer.next}: the end of the input, a line in
 * `text`, or an unusable line. A line that ends with a bare line feed is
 * unusable, and so are the bytes after it up to the next CRLF.
 */
export type LineStatus =
  | "more"
  | "line"
  | "too-long"
  | "endless"
  | "bare-newline"
  | "not-utf8";

/** Splits bytes into CRLF lines, in constant memory. */
export class LineBuffer {
  /** The line without its CRLF, after the status `"line"`. */
  text = "";
  /** Length of that line in bytes; in UTF-8 more than its characters. */
  byteLength = 0;
  /** The first four bytes of an unusable line, after any other status but `"more"`. */
  head = "";
  /** Index of the next unread byte of the input, after every call. */
  position = 0;
  readonly #limit: number;
  #partial: Uint8Array<ArrayBuffer> | undefined;
  #used = 0;
  #swallowed = 0;
  #lastByte = 0;
  /** Bytes of lines that ended with a bare line feed, since the last CRLF. */
  #behindFeed = 0;

  /** @param limit Longest line accepted, in bytes without CRLF */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether the next byte begins a line. */
  get isAtLineStart(): boolean {
    return this.#used === 0 && this.#swallowed === 0 &&
      this.#behindFeed === 0;
  }

  /** Drops the line begun. */
  reset(): void {
    this.#forgetLine();
    this.#behindFeed = 0;
  }

  #forgetLine(): void {
    this.#used = this.#swallowed = this.#lastByte = 0;
    this.#partial = undefined;
  }

  /**
   * Continues in `input` from `start` to `end`. Leaves
   * {@linkcode LineBuffer.position} after the line, or at `end` for `"more"`.
   * The input may be reused afterwards.
   */
  next(input: Uint8Array, start: number, end: number): LineStatus {
    const feed = indexOfLineFeed(input, start, end);
    if (feed < 0) {
      this.#keep(input, start, end);
      this.position = end;
      return this.#isEndless(0) ? "endless" : "more";
    }
    this.position = feed + 1;
    return this.#finish(input, start, feed);
  }

  /**
   * Whether the line exceeds the limit once `more` bytes are added; a CR may be
   * the last of them.
   */
  #isEndless(more: number): boolean {
    return this.#used + this.#swallowed + more > MAX_SWALLOWED + 1;
  }

  /** Ends the line whose line feed is at `feed`. */
  #finish(input: Uint8Array, start: number, feed: number): LineStatus {
    const before = feed > start ? input[feed - 1] : this.#lastByte;
    const isWhole = before === CR;
    const bare = !isWhole || this.#behindFeed > 0;
    this.#behindFeed = isWhole
      ? 0
      : this.#behindFeed + this.#used + this.#swallowed + feed - start + 1;
    const ending = isWhole ? 1 : 0;
    let from = start;
    let to = feed - ending;
    let bytes = input;
    if (this.#swallowed > 0 || this.#used + (to - start) > this.#limit) {
      const endless = this.#isEndless(feed - start) ||
        this.#behindFeed > MAX_SWALLOWED;
      this.#tellHead(input, start, to);
      this.#forgetLine();
      return endless ? "endless" : "too-long";
    }
    if (this.#used > 0) {
      this.#keep(input, start, feed);
      bytes = this.#partial!;
      from = 0;
      to = this.#used - ending;
    }
    if (to > KEPT_STORAGE) this.#partial = undefined;
    this.#used = this.#lastByte = 0;
    this.byteLength = to - from;
    const status = this.#behindFeed > MAX_SWALLOWED
      ? "endless"
      : bare
      ? "bare-newline"
      : this.#decode(bytes, from, to);
    if (status !== "line") this.#tellHead(bytes, from, to);
    return status;
  }

  /**
   * Sets {@linkcode LineBuffer.head} of an unusable line, from the stored
   * beginning or from `input`.
   */
  #tellHead(input: Uint8Array, start: number, end: number): void {
    const kept = this.#partial?.subarray(0, Math.min(this.#used, HEAD)) ?? [];
    const left = this.#swallowed > 0 ? 0 : HEAD - kept.length;
    const rest = input.subarray(start, Math.min(end, start + left));
    this.head = String.fromCharCode(...kept, ...rest);
  }

  #decode(bytes: Uint8Array, from: number, to: number): LineStatus {
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      if (byte === CR) return "bare-newline";
      if (byte > 127) return this.#decodeUtf8(bytes.subarray(from, to));
    }
    this.text = asciiText(bytes, from, to);
    return "line";
  }

  #decodeUtf8(bytes: Uint8Array): LineStatus {
    if (bytes.includes(CR)) return "bare-newline";
    try {
      this.text = utf8.decode(bytes);
      return "line";
    } catch {
      return "not-utf8";
    }
  }

  /** Stores the beginning of a line up to the limit, and counts the rest. */
  #keep(input: Uint8Array, start: number, end: number): void {
    if (end === start) return;
    this.#lastByte = input[end - 1]!;
    const used = this.#used + (end - start);
    // One byte more than the limit: the CR of a line that just fits.
    if (this.#swallowed > 0 || used > this.#limit + 1) {
      if (this.#swallowed === 0) this.#keepHead(input, start);
      this.#swallowed += used - this.#used;
      return;
    }
    if (this.#partial === undefined || this.#partial.length < used) {
      // Doubles the storage: a line that arrives byte by byte is not copied for
      // each.
      const grown = new Uint8Array(Math.max(used, 2 * this.#used, 128));
      if (this.#used > 0) grown.set(this.#partial!.subarray(0, this.#used));
      this.#partial = grown;
    }
    this.#partial.set(input.subarray(start, end), this.#used);
    this.#used = used;
  }

  /** Stores the head of the line before the rest is dropped. */
  #keepHead(input: Uint8Array, start: number): void {
    if (this.#used >= HEAD) return;
    const head = new Uint8Array(HEAD);
    if (this.#used > 0) head.set(this.#partial!.subarray(0, this.#used));
    head.set(input.subarray(start, start + HEAD - this.#used), this.#used);
    this.#partial = head;
    this.#used = HEAD;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Index of the next line feed, -1 if `end` comes first. Lines are
 * short, so a loop is faster than a call.
 */
function indexOfLineFeed(
  input: Uint8Array,
  from: number,
  end: number,
): number {
  for (let at = from; at < end; at++) {
    if (input[at] === LF) return at;
  }
  return -1;
}

/** Decodes ASCII bytes, eight at a time, without a view, a copy or a decoder. */
function asciiText(bytes: Uint8Array, from: number, to: number): string {
  let text = "";
  let at = from;
  for (; at + 8 <= to; at += 8) {
    text += String.fromCharCode(
      bytes[at]!,
      bytes[at + 1]!,
      bytes[at + 2]!,
      bytes[at + 3]!,
      bytes[at + 4]!,
      bytes[at + 5]!,
      bytes[at + 6]!,
      bytes[at + 7]!,
    );
  }
  for (; at < to; at++) text += String.fromCharCode(bytes[at]!);
  return text;
}
