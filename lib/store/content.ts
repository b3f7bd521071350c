/**
 * What a store writes for a message: the mbox separator line and Return-Path
 * where wanted, then the trace fields and the content, with the line ends that
 * the mailbox is to have.
 *
 * Owns no file. Never holds more of a message than one chunk, except of those
 * whose content is in memory anyway: these become one array, for one write.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.4 | RFC 5321 section 4.4},
 * {@link https://www.rfc-editor.org/rfc/rfc4155 | RFC 4155}
 */

import { oneOf, type Rule } from "../options.ts";
import type { Message } from "../message/message.ts";
import {
  FieldFilter,
  type FieldNames,
  fieldNames,
} from "../protocol/content_edits.ts";
import type { Address } from "../protocol/address.ts";
import { formatReturnPath } from "../protocol/trace.ts";
import { FromQuoter, join, LineFeedEncoder } from "./line_encoding.ts";

/** Line ends in a mailbox: `"lf"` as Unix programs want them, `"crlf"` as received. */
export type Newline = "lf" | "crlf";

/** What a {@linkcode Newline} must be, inside other options. */
export const NEWLINE_RULE: Rule = oneOf("lf", "crlf");

/** What a message is written as. */
export interface ContentOptions {
  /** Whether a Return-Path field comes first. */
  readonly returnPath: boolean;
  /** `"lf"` turns CRLF into LF, except for BODY=BINARYMIME; `"crlf"` changes nothing. */
  readonly newline: Newline;
  /** Whether the message is one of an mbox: separator line, quoting, blank line behind. */
  readonly mbox: boolean;
}

/** How large the content became. */
export interface ContentSize {
  /** Bytes written. */
  readonly size: number;
  /** Bytes if every LF had a CR in front; `undefined` where nobody counted. */
  readonly virtualSize: number | undefined;
}

/** Takes bytes; they stay untouched until it resolves. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/** What can write itself to a file. */
export interface Writable {
  /** Gives everything to `sink`, in order. */
  writeTo(sink: Sink): Promise<ContentSize>;
}

/** The field that final delivery writes itself (RFC 5321 section 4.4). */
const RETURN_PATH = fieldNames("Return-Path");
/**
 * The fields in which readers of an mbox keep the length and the state of a
 * message. From a stranger they would hide the next message, or mark this one.
 */
const MBOX_FIELDS = fieldNames(
  ...["Content-Length", "Status", "X-IMAP", "X-IMAPbase"],
  ...["X-Keywords", "X-Status", "X-UID"],
);

/** The fields of strangers that are left out. */
function droppedFields({ returnPath, mbox }: ContentOptions): FieldNames {
  return [...(returnPath ? RETURN_PATH : []), ...(mbox ? MBOX_FIELDS : [])];
}

/** Bytes of a file that are read at once. */
const READ_SIZE = 65536;
const encoder = new TextEncoder();
const LF = 10;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
// deno-fmt-ignore
const MONTHS = [
  "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/** A message as its store writes it, as often as the store wants it. */
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

  /** Gives everything to `sink`: at once where the content is in memory, else chunk by chunk. */
  async writeTo(sink: Sink): Promise<ContentSize> {
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

/** The passes over one message: used once, from begin to end. */
class Encoding {
  readonly #message: Message;
  readonly #options: ContentOptions;
  readonly #lineFeeds: LineFeedEncoder | undefined;
  readonly #quoter: FromQuoter | undefined;
  readonly #strangers: FieldFilter;
  #size = 0;
  /** Bytes given out behind the line end encoder. */
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
    this.#strangers = new FieldFilter(droppedFields(options));
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
      : new Uint8Array(0);
    this.#size += first.length;
    const fields = this.#options.returnPath
      ? join(encoder.encode(formatReturnPath(from)), trace)
      : trace;
    // Copied: the line end encoder gives out the buffer that it reuses.
    return join(first, this.#write(fields));
  }

  encode(chunk: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    return this.#write(this.#strangers.take(chunk));
  }

  #write(chunk: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const lines = this.#lineFeeds?.encode(chunk) ?? chunk;
    return this.#count(this.#quoter?.quote(lines) ?? lines);
  }

  end(): Uint8Array<ArrayBuffer> {
    // The beginning of a last line, which has no line end to encode.
    const held = this.#strangers.end();
    this.#behind = held.length;
    const rest = join(held, this.#lineFeeds?.end() ?? new Uint8Array(0));
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

/** The line that begins a message in an mbox, in UTC, without a line end. */
export function fromLine(from: Address, date: Date): string {
  // Readers take the date to begin after the first space, and a line end in the
  // sender would forge a message.
  const sender = from.toString().replace(/[\s\p{Cc}]/gu, "_");
  return `From ${sender === "" ? "MAILER-DAEMON" : sender} ${asctime(date)}`;
}

/** The form of C's `asctime`, in UTC: `Sun Nov 23 20:01:02 2025`, the day padded with a space. */
function asctime(date: Date): string {
  const day = String(date.getUTCDate()).padStart(2);
  const time = date.toISOString().slice(11, 19);
  return `${DAYS[date.getUTCDay()]} ${
    MONTHS[date.getUTCMonth()]
  } ${day} ${time} ${date.getUTCFullYear()}`;
}
