/**
 * Reads replies for a client: takes bytes, returns one {@linkcode SmtpReply} or
 * one fault at a time. Bounds the memory that a server can use up.
 *
 * Never throws on a server's bytes. Returns no more replies after a fault:
 * their position in the stream is unknown.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1 | RFC 5321 section 4.2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2034 | RFC 2034}
 */

import { SmtpReply } from "../reply.ts";

const LF = 0x0a;
const CR = 0x0d;
/** Longest reply line, in bytes. RFC 5321 section 4.5.3.1.5 allows 512; some servers exceed it. */
const MAX_LINE = 2000;
const MAX_LINES = 100;
const MAX_REPLY = 65536;
const LINE = /^([2-5]\d\d)(?:([ -])(.*))?$/s;
const ENHANCED = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/;

/** Result of {@linkcode ReplyReader.next}: a reply, or a fault. */
export type ReplyOrFault =
  | {
    /** The reply. */
    readonly reply: SmtpReply;
  }
  | {
    /** The fault as a phrase for people. Contains none of the server's bytes. */
    readonly fault: string;
  };

/** Collects a server's bytes and parses replies. */
export class ReplyReader {
  #buffer = new Uint8Array(512);
  #start = 0;
  #end = 0;
  #lines: string[] = [];
  #size = 0;
  #code = "";
  #fault: string | undefined;
  readonly #decoder = new TextDecoder();

  /** Whether there are no bytes left, not even part of a reply. */
  get isEmpty(): boolean {
    return this.#start === this.#end && this.#lines.length === 0;
  }

  /** Copies `bytes`. The caller may reuse them at once. */
  push(bytes: Uint8Array): void {
    if (this.#fault !== undefined) return;
    if (this.#end + bytes.length > this.#buffer.length) {
      const kept = this.#end - this.#start;
      const needed = kept + bytes.length;
      const target = needed > this.#buffer.length
        ? new Uint8Array(Math.max(needed, this.#buffer.length * 2))
        : this.#buffer;
      target.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = target;
      this.#start = 0;
      this.#end = kept;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** Takes the next reply; `undefined` if it is not complete yet. */
  next(): ReplyOrFault | undefined {
    while (this.#fault === undefined) {
      const end = this.#buffer.subarray(0, this.#end).indexOf(LF, this.#start);
      const length = (end < 0 ? this.#end : end) - this.#start;
      if (length > MAX_LINE) return this.#fail("A reply line is too long");
      if (end < 0) return undefined;
      const done = this.#takeLine(this.#start, end);
      this.#start = end + 1;
      if (done) return done;
    }
    return { fault: this.#fault };
  }

  #takeLine(from: number, end: number): ReplyOrFault | undefined {
    const last = end > from && this.#buffer[end - 1] === CR ? end - 1 : end;
    const line = this.#decoder.decode(this.#buffer.subarray(from, last));
    const match = LINE.exec(line);
    if (match === null) return this.#fail("A line is not a reply");
    const [, code = "", separator, text = ""] = match;
    if (this.#lines.length > 0 && code !== this.#code) {
      return this.#fail("The lines of a reply have different codes");
    }
    this.#code = code;
    this.#size += end - from;
    this.#lines.push(text);
    if (this.#lines.length > MAX_LINES || this.#size > MAX_REPLY) {
      return this.#fail("A reply is too long");
    }
    if (separator === "-") return undefined;
    const reply = makeReply(Number(code), this.#lines);
    this.#lines = [];
    this.#size = 0;
    return { reply };
  }

  #fail(fault: string): ReplyOrFault {
    this.#fault = fault;
    this.#buffer = new Uint8Array(0);
    this.#start = this.#end = 0;
    this.#lines = [];
    return { fault };
  }
}

/** Makes a reply; splits off an enhanced status code that fits its code. */
function makeReply(code: number, lines: readonly string[]): SmtpReply {
  const enhanced = ENHANCED.exec(lines[0] ?? "")?.[1];
  if (enhanced === undefined || enhanced[0] !== String(code)[0]) {
    return new SmtpReply(code, lines);
  }
  const text = lines.map((line) =>
    ENHANCED.exec(line)?.[1] === enhanced
      ? line.slice(enhanced.length + 1)
      : line
  );
  return new SmtpReply(code, text, { enhanced });
}
