/**
 * Two passes over the bytes of a message on their way into a mailbox: CRLF to
 * LF, and the quoting of lines that look like an mbox separator. Both take a
 * message in chunks cut anywhere, and neither allocates for a line.
 *
 * Never changes anything else: a bare CR and a bare LF stay what they are.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4155 | RFC 4155} for mbox; the
 * quoting is that of "mboxrd", which can be undone.
 */

const CR = 13;
const LF = 10;
const GREATER = 62;
const EMPTY = new Uint8Array(0);
const FROM = new TextEncoder().encode("From ");

/**
 * Turns CRLF into LF, one chunk at a time.
 *
 * What {@linkcode LineFeedEncoder.encode} returns is overwritten by its next call.
 */
export class LineFeedEncoder {
  #buffer: Uint8Array<ArrayBuffer> = EMPTY;
  #heldCr = false;
  #last = 0;
  #size = 0;
  #bareLineFeeds = 0;

  /** Bytes given out so far. */
  get size(): number {
    return this.#size;
  }

  /** Bytes given out so far, if every LF among them had a CR in front. */
  get virtualSize(): number {
    return this.#size + this.#bareLineFeeds;
  }

  /** The chunk with LF for CRLF; a CR at its end waits for the next call. */
  encode(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
    if (chunk.length === 0) return EMPTY;
    if (this.#buffer.length <= chunk.length) {
      this.#buffer = new Uint8Array(chunk.length + 1);
    }
    const buffer = this.#buffer;
    let count = this.#compact(chunk, buffer);
    this.#heldCr = count > 0 && buffer[count - 1] === CR;
    if (this.#heldCr) count--;
    if (count > 0) this.#last = buffer[count - 1]!;
    this.#size += count;
    return buffer.subarray(0, count);
  }

  /** The CR that waited for an LF, if the message ends in one. */
  end(): Uint8Array<ArrayBuffer> {
    if (!this.#heldCr) return EMPTY;
    this.#heldCr = false;
    this.#size++;
    return new Uint8Array([CR]);
  }

  /**
   * Copies the held CR and the chunk without each CR in front of an LF; returns
   * how many bytes that makes. A loop over bytes costs the same for every
   * text; jumps from line to line gain nothing on ordinary lines, and on short
   * ones take many times as long.
   */
  #compact(chunk: Uint8Array, buffer: Uint8Array): number {
    let count = 0;
    if (this.#heldCr) buffer[count++] = CR;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === LF) {
        if (count > 0 && buffer[count - 1] === CR) count--;
        const before = count > 0 ? buffer[count - 1] : this.#last;
        if (before !== CR) this.#bareLineFeeds++;
      }
      buffer[count++] = byte;
    }
    return count;
  }
}

/** Puts one `>` in front of every line that is `From ` behind any number of `>`. */
export class FromQuoter {
  /** Whether nothing but `>` has come since the line began. */
  #atStart = true;
  /** Bytes of `From ` at the end of the last chunk, not given out yet. */
  #held = 0;

  /** The chunk with its separator-like lines quoted: the chunk itself where it has none. */
  quote(chunk: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (chunk.length === 0) return chunk;
    const bytes = this.#held === 0
      ? chunk
      : join(FROM.subarray(0, this.#held), chunk);
    const found = this.#find(bytes);
    const given = bytes.subarray(0, bytes.length - this.#held);
    return found === undefined ? given : insertQuotes(given, found);
  }

  /** What was held back, if the message ends in the beginning of `From `. */
  end(): Uint8Array<ArrayBuffer> {
    const held = FROM.slice(0, this.#held);
    this.#held = 0;
    return held;
  }

  /** Where a `>` is wanted: one anywhere in the run of `>` does, so right before the `F`. */
  #find(bytes: Uint8Array): number[] | undefined {
    let found: number[] | undefined;
    this.#held = 0;
    let at = this.#atStart ? 0 : bytes.indexOf(LF) + 1;
    if (at === 0 && !this.#atStart) return undefined;
    while (at < bytes.length) {
      while (bytes[at] === GREATER) at++;
      let matched = 0;
      while (matched < 5 && bytes[at + matched] === FROM[matched]) matched++;
      if (matched === 5) {
        (found ??= []).push(at);
      } else if (at + matched === bytes.length) {
        this.#held = matched;
        break;
      }
      const end = bytes.indexOf(LF, at + matched);
      if (end === -1) {
        this.#atStart = false;
        return found;
      }
      at = end + 1;
    }
    this.#atStart = true;
    return found;
  }
}

/** The two arrays in a new one. */
export function join(
  first: Uint8Array,
  second: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}

function insertQuotes(
  bytes: Uint8Array,
  places: readonly number[],
): Uint8Array<ArrayBuffer> {
  const quoted = new Uint8Array(bytes.length + places.length);
  let from = 0;
  let to = 0;
  for (const place of places) {
    quoted.set(bytes.subarray(from, place), to);
    to += place - from;
    quoted[to++] = GREATER;
    from = place;
  }
  quoted.set(bytes.subarray(from), to);
  return quoted;
}
