/**
 * What a store writes for a message: the mbox separator line and Return-Path
 * where the options ask for them, then the trace fields and the content, with
 * the line ends that the mailbox is to have.
 *
 * Owns no file. Passes a message on in chunks cut anywhere, and never holds more
 * of it than one chunk, except where the content is in memory already: then all
 * of it becomes one array, for one write. The passes over the bytes allocate
 * nothing for a line, and change nothing but CRLF (to LF), the fields that only
 * the mailbox may set, and lines that look like an mbox separator. A bare CR and
 * a bare LF stay what they are.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.4 | RFC 5321 section 4.4};
 * {@link https://www.rfc-editor.org/rfc/rfc4155 | RFC 4155} for mbox. The quoting
 * is that of "mboxrd", which can be undone.
 */

import { oneOf, type Rule } from "../options.ts";
import { type Message, settleHeaders } from "../message/message.ts";
import {
  FieldFilter,
  type FieldNames,
  fieldNames,
} from "../protocol/content_edits.ts";
import type { Address } from "../protocol/address.ts";
import { formatReturnPath } from "../protocol/trace.ts";

/** Line ends in a mailbox: `"lf"` as Unix programs want them, `"crlf"` as received. */
export type Newline = "lf" | "crlf";

/** The rule for a {@linkcode Newline} inside other options. */
export const NEWLINE_RULE: Rule = oneOf("lf", "crlf");

/** The form in which a message is written. */
export interface ContentOptions {
  /** Whether a Return-Path field comes first. */
  readonly returnPath: boolean;
  /** `"lf"` turns CRLF into LF, except for BODY=BINARYMIME; `"crlf"` changes nothing. */
  readonly newline: Newline;
  /** Whether the message is part of an mbox: separator line, quoting, blank line after it. */
  readonly mbox: boolean;
}

/** Size of what was written. */
export interface ContentSize {
  /** Bytes written. */
  readonly size: number;
  /** Bytes if every LF had a CR before it; `undefined` where this was not counted. */
  readonly virtualSize: number | undefined;
}

/** Takes bytes. The caller does not change them until the promise resolves. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/** Content that can write itself to a file. */
export interface Writable {
  /** Passes all bytes to `sink`, in order. */
  writeTo(sink: Sink): Promise<ContentSize>;
}

/** The field that final delivery writes itself (RFC 5321 section 4.4). */
const RETURN_PATH = fieldNames("Return-Path");
/**
 * Fields in which readers of an mbox keep the length and the state of a
 * message. A client that sent them could hide the next message or mark this one.
 */
const MBOX_FIELDS = fieldNames(
  ...["Content-Length", "Status", "X-IMAP", "X-IMAPbase"],
  ...["X-Keywords", "X-Status", "X-UID"],
);

/** The fields that are removed from the client's content. */
function droppedFields({ returnPath, mbox }: ContentOptions): FieldNames {
  return [...(returnPath ? RETURN_PATH : []), ...(mbox ? MBOX_FIELDS : [])];
}

/** Bytes read from a file at once. */
const READ_SIZE = 65536;
const LF = 10;
const CR = 13;
const GREATER = 62;
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
/** Beginning of an mbox separator line. */
const FROM = encoder.encode("From ");

/** A message as its store writes it. Can be written any number of times. */
export class MessageContent implements Writable {
  readonly #message: Message;
  readonly #options: ContentOptions;
  #whole: { bytes: Uint8Array<ArrayBuffer>; size: ContentSize } | undefined;

  /**
   * Reads nothing yet.
   *
   * @param message The message, whose content is complete
   */
  constructor(message: Message, options: ContentOptions) {
    this.#message = message;
    this.#options = options;
  }

  /** Passes all bytes to `sink`: in one call where the content is in memory, else chunk by chunk. */
  async writeTo(sink: Sink): Promise<ContentSize> {
    const edits = settleHeaders(this.#message);
    if (edits !== undefined) await edits;
    const body = this.#message.body.memory;
    if (body !== undefined) {
      const whole = this.#whole ??= this.#render(body);
      await sink(whole.bytes);
      return whole.size;
    }
    const encoding = new Encoding(this.#message, this.#options);
    const opening = encoding.begin();
    if (opening.length > 0) await sink(opening);
    const buffer = new Uint8Array(READ_SIZE);
    for await (const chunk of this.#message.body.chunks(buffer)) {
      const encoded = encoding.encode(chunk);
      if (encoded.length > 0) await sink(encoded);
    }
    const closing = encoding.end();
    if (closing.length > 0) await sink(closing);
    return encoding.size;
  }

  #render(
    body: Uint8Array<ArrayBuffer>,
  ): { bytes: Uint8Array<ArrayBuffer>; size: ContentSize } {
    const encoding = new Encoding(this.#message, this.#options);
    const opening = encoding.begin();
    const encoded = encoding.encode(body);
    const closing = encoding.end();
    const bytes = new Uint8Array(
      opening.length + encoded.length + closing.length,
    );
    bytes.set(opening);
    bytes.set(encoded, opening.length);
    bytes.set(closing, opening.length + encoded.length);
    return { bytes, size: encoding.size };
  }
}

/** The passes over one message. Used once: `begin`, `encode` for each chunk, `end`. */
class Encoding {
  readonly #message: Message;
  readonly #options: ContentOptions;
  readonly #lineFeeds: LineFeedEncoder | undefined;
  readonly #quoter: FromQuoter | undefined;
  /** Removes the client's fields that only the mailbox may set. */
  readonly #filter: FieldFilter;
  #size = 0;
  /** Bytes returned without a pass through the line end encoder. */
  #behind = 0;
  #last = LF;

  constructor(message: Message, options: ContentOptions) {
    this.#message = message;
    this.#options = options;
    const binary = message.parameters.body === "BINARYMIME";
    if (options.newline === "lf" && !binary) {
      this.#lineFeeds = new LineFeedEncoder();
    }
    if (options.mbox) this.#quoter = new FromQuoter();
    this.#filter = new FieldFilter(droppedFields(options));
  }

  get size(): ContentSize {
    const { virtualSize } = this.#lineFeeds ?? {};
    return {
      size: this.#size,
      virtualSize: virtualSize && virtualSize + this.#behind,
    };
  }

  begin(): Uint8Array<ArrayBuffer> {
    const { from, receivedAt, trace } = this.#message;
    const first = this.#options.mbox
      ? encoder.encode(fromLine(from, receivedAt) + this.#newline)
      : EMPTY;
    this.#size += first.length;
    const fields = this.#options.returnPath
      ? join(encoder.encode(formatReturnPath(from)), trace)
      : trace;
    // Copied: the line end encoder returns a buffer that it reuses.
    return join(first, this.#write(fields));
  }

  encode(chunk: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    return this.#write(this.#filter.take(chunk));
  }

  #write(chunk: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const lines = this.#lineFeeds?.encode(chunk) ?? chunk;
    return this.#count(this.#quoter?.quote(lines) ?? lines);
  }

  end(): Uint8Array<ArrayBuffer> {
    // The beginning of a last line; it has no line end to encode.
    const held = this.#filter.end();
    this.#behind = held.length;
    const rest = join(held, this.#lineFeeds?.end() ?? EMPTY);
    if (this.#quoter === undefined) return this.#count(rest);
    let all = this.#count(this.#quoter.quote(rest));
    all = join(all, this.#count(this.#quoter.end()));
    const blank = this.#last === LF ? this.#newline : this.#newline.repeat(2);
    return join(all, this.#count(encoder.encode(blank)));
  }

  get #newline(): string {
    return this.#options.newline === "lf" ? "\n" : "\r\n";
  }

  #count(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    this.#size += bytes.length;
    this.#last = bytes.at(-1) ?? this.#last;
    return bytes;
  }
}

/** The separator line of a message in an mbox, its date in UTC, without a line end. */
function fromLine(from: Address, date: Date): string {
  // For a reader the date begins after the first space, and a line end in the
  // sender would forge a message.
  const sender = from.toString().replace(/[\s\p{Cc}]/gu, "_");
  return `From ${sender === "" ? "MAILER-DAEMON" : sender} ${asctime(date)}`;
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
// deno-fmt-ignore
const MONTHS = [
  "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/** The date in the form of C's `asctime`, in UTC: `Sun Nov 23 20:01:02 2025`. A space pads the day. */
function asctime(date: Date): string {
  const day = String(date.getUTCDate()).padStart(2);
  const time = date.toISOString().slice(11, 19);
  return `${DAYS[date.getUTCDay()]} ${
    MONTHS[date.getUTCMonth()]
  } ${day} ${time} ${date.getUTCFullYear()}`;
}

/**
 * Turns CRLF into LF, one chunk at a time.
 *
 * The next call of {@linkcode LineFeedEncoder.encode} overwrites what the last
 * one returned.
 */
export class LineFeedEncoder {
  #buffer: Uint8Array<ArrayBuffer> = EMPTY;
  #heldCr = false;
  #last = 0;
  #size = 0;
  #bareLineFeeds = 0;

  /** Bytes returned so far. */
  get size(): number {
    return this.#size;
  }

  /** Bytes returned so far, if every LF among them had a CR before it. */
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

  /** The CR that waits for an LF, if the message ends in one. */
  end(): Uint8Array<ArrayBuffer> {
    if (!this.#heldCr) return EMPTY;
    this.#heldCr = false;
    this.#size++;
    return new Uint8Array([CR]);
  }

  /**
   * Copies the held CR and the chunk without each CR before an LF; returns the
   * number of bytes. A loop over bytes costs the same for every text. A search
   * from line to line is no faster on ordinary lines, and many times slower on
   * short ones.
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

/** Puts one more `>` before every line that begins with `From `, any number of `>` before it. */
export class FromQuoter {
  /** Whether the line so far consists of `>` alone. */
  #atStart = true;
  /** Bytes of `From ` at the end of the last chunk, not returned yet. */
  #held = 0;

  /** The chunk with lines like a separator quoted; the chunk itself if it has none. */
  quote(chunk: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (chunk.length === 0) return chunk;
    const bytes = this.#held === 0
      ? chunk
      : join(FROM.subarray(0, this.#held), chunk);
    const found = this.#find(bytes);
    const ready = bytes.subarray(0, bytes.length - this.#held);
    return found === undefined ? ready : insertQuotes(ready, found);
  }

  /** The bytes held back, if the message ends in the beginning of `From `. */
  end(): Uint8Array<ArrayBuffer> {
    const held = FROM.slice(0, this.#held);
    this.#held = 0;
    return held;
  }

  /** Positions for a `>`: any place in the run of `>` will do, so right before the `F`. */
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

/** Both arrays in a new one. */
function join(
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
