/**
 * Cuts what a peer sends into lines. Owns the beginning of a line whose end has
 * not arrived yet, and nothing else: whole lines are read where they lie.
 *
 * Only CRLF ends a line. A carriage return alone is part of the line and makes
 * it wrong. A line feed alone is told at once, as a client whose lines end so
 * waits for an answer, and what follows it up to the next CRLF is wrong as well:
 * were it a line of its own here and text elsewhere, one side would see commands
 * where the other sees data. Memory is bounded by the limit, however long the
 * line: what is beyond is counted and dropped.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1 | RFC 5321 section 4.5.3.1}
 */

const CR = 13;
const LF = 10;

/** Bytes of one line that are swallowed before the peer is given up on. */
const MAX_SWALLOWED = 65536;

/** Bytes that are told of a line that cannot be used: enough for a verb. */
const HEAD = 4;

/** Storage for the beginning of a line that is kept between lines, in bytes. */
const KEPT_STORAGE = 1024;

/**
 * What {@linkcode LineBuffer.next} found: the end of the input, a line in
 * `text`, or a line that cannot be used: also what a line feed alone ends, and
 * what comes behind that up to the next CRLF.
 */
export type LineStatus =
  | "more"
  | "line"
  | "too-long"
  | "endless"
  | "bare-newline"
  | "not-utf8";

/** Cuts bytes into CRLF lines, in constant memory. */
export class LineBuffer {
  /** The line without its CRLF, after the status `"line"`. */
  text = "";
  /** Bytes of that line, which in UTF-8 are more than its characters. */
  octets = 0;
  /** The first four bytes of a line that cannot be used, after any other status but `"more"`. */
  head = "";
  /** Where in the input the next unread byte stands, after every call. */
  position = 0;
  /** Longest line that is taken, in bytes, without CRLF. May be changed between lines. */
  limit: number;
  #partial: Uint8Array<ArrayBuffer> | undefined;
  #used = 0;
  #swallowed = 0;
  #lastOctet = 0;
  /** Bytes of lines that ended with a line feed alone, since the last CRLF. */
  #behindFeed = 0;

  /** @param limit Longest line that is taken, in bytes, without CRLF */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Whether the next byte begins a line. */
  get isAtLineStart(): boolean {
    return this.#used === 0 && this.#swallowed === 0 &&
      this.#behindFeed === 0;
  }

  /** Forgets the line begun. */
  reset(): void {
    this.#forgetLine();
    this.#behindFeed = 0;
  }

  #forgetLine(): void {
    this.#used = this.#swallowed = this.#lastOctet = 0;
    this.#partial = undefined;
  }

  /**
   * Reads on in `input` from `start` to `end`; leaves {@linkcode LineBuffer.position}
   * behind the line, or at `end` for `"more"`. The input may be reused afterwards.
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

  /** Whether the line is past hope, with `more` bytes beside those taken in; a CR may come last. */
  #isEndless(more: number): boolean {
    return this.#used + this.#swallowed + more > MAX_SWALLOWED + 1;
  }

  /** Ends the line whose line feed stands at `feed`. */
  #finish(input: Uint8Array, start: number, feed: number): LineStatus {
    const before = feed > start ? input[feed - 1] : this.#lastOctet;
    const isWhole = before === CR;
    const bare = !isWhole || this.#behindFeed > 0;
    this.#behindFeed = isWhole
      ? 0
      : this.#behindFeed + this.#used + this.#swallowed + feed - start + 1;
    const ending = isWhole ? 1 : 0;
    let from = start;
    let to = feed - ending;
    let octets = input;
    if (this.#swallowed > 0 || this.#used + (to - start) > this.limit) {
      const endless = this.#isEndless(feed - start) ||
        this.#behindFeed > MAX_SWALLOWED;
      this.#tellHead(input, start, to);
      this.#forgetLine();
      return endless ? "endless" : "too-long";
    }
    if (this.#used > 0) {
      this.#keep(input, start, feed);
      octets = this.#partial!;
      from = 0;
      to = this.#used - ending;
    }
    if (to > KEPT_STORAGE) this.#partial = undefined;
    this.#used = this.#lastOctet = 0;
    this.octets = to - from;
    const status = this.#behindFeed > MAX_SWALLOWED
      ? "endless"
      : bare
      ? "bare-newline"
      : this.#decode(octets, from, to);
    if (status !== "line") this.#tellHead(octets, from, to);
    return status;
  }

  /** Tells how a bad line begins: with what is kept of it, or else in `input`. */
  #tellHead(input: Uint8Array, start: number, end: number): void {
    const kept = this.#partial?.subarray(0, Math.min(this.#used, HEAD)) ?? [];
    const left = this.#swallowed > 0 ? 0 : HEAD - kept.length;
    const rest = input.subarray(start, Math.min(end, start + left));
    this.head = String.fromCharCode(...kept, ...rest);
  }

  #decode(octets: Uint8Array, from: number, to: number): LineStatus {
    for (let at = from; at < to; at++) {
      const octet = octets[at]!;
      if (octet === CR) return "bare-newline";
      if (octet > 127) return this.#decodeUtf8(octets.subarray(from, to));
    }
    this.text = asciiText(octets, from, to);
    return "line";
  }

  #decodeUtf8(octets: Uint8Array): LineStatus {
    if (octets.includes(CR)) return "bare-newline";
    try {
      this.text = utf8.decode(octets);
      return "line";
    } catch {
      return "not-utf8";
    }
  }

  /** Keeps the beginning of a line, as far as the limit allows, and counts the rest. */
  #keep(input: Uint8Array, start: number, end: number): void {
    if (end === start) return;
    this.#lastOctet = input[end - 1]!;
    const used = this.#used + (end - start);
    // One more than the limit is room for the CR of a line that just fits.
    if (this.#swallowed > 0 || used > this.limit + 1) {
      if (this.#swallowed === 0) this.#keepHead(input, start);
      this.#swallowed += used - this.#used;
      return;
    }
    if (this.#partial === undefined || this.#partial.length < used) {
      // Doubled, or a line that comes byte by byte would be copied as often.
      const grown = new Uint8Array(Math.max(used, 2 * this.#used, 128));
      if (this.#used > 0) grown.set(this.#partial!.subarray(0, this.#used));
      this.#partial = grown;
    }
    this.#partial.set(input.subarray(start, end), this.#used);
    this.#used = used;
  }

  /** Keeps what the line begins with before the rest is swallowed. */
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

/** Where the next line feed stands, -1 for none before `end`. Lines are short: a loop beats a call. */
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

/** The text of ASCII bytes, eight at a call: no view, no copy, no decoder. */
function asciiText(octets: Uint8Array, from: number, to: number): string {
  let text = "";
  let at = from;
  for (; at + 8 <= to; at += 8) {
    text += String.fromCharCode(
      octets[at]!,
      octets[at + 1]!,
      octets[at + 2]!,
      octets[at + 3]!,
      octets[at + 4]!,
      octets[at + 5]!,
      octets[at + 6]!,
      octets[at + 7]!,
    );
  }
  for (; at < to; at++) text += String.fromCharCode(octets[at]!);
  return text;
}
