/**
 * Edits to the header of a message. {@linkcode HeaderEdit} and
 * {@linkcode FieldFilter} work on the stream of chunks: they insert a missing
 * empty line before text, and remove fields by name. {@linkcode completeHeaders}
 * works on the whole header: it adds the fields that a submission server adds for
 * a user's program.
 *
 * The stream edits hold back at most the beginning of one line, and return a
 * chunk itself if nothing in it changes. Never touches the body, and never adds
 * anything after it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.2 | RFC 5322 sections 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.6.3 | 3.6.3} and
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-4.5 | 4.5},
 * {@link https://www.rfc-editor.org/rfc/rfc6409#section-8 | RFC 6409 section 8}
 */

import { concat, isBlank, NOTHING } from "./bytes.ts";
import type { MessageHeaders } from "./headers.ts";

const CR = 13;
const LF = 10;
const SPACE = 32;
const COLON = 58;
const GREATER = 62;
/** A field name must have its colon within this many bytes. */
const NAME_LIMIT = 8192;
const CRLF = new Uint8Array([CR, LF]);
const MAILBOX_LINE = new TextEncoder().encode("X-Mailbox-Line: ");
const FROM = new TextEncoder().encode("From ");

/**
 * Most consecutive separator lines that become fields. Any further ones are
 * text, not left by a program.
 */
const MAX_MAILBOX_LINES = 100;

/** The kind of a header line; `undefined` if more bytes are needed to decide. */
type Line = "field" | "separator" | "empty" | "text" | undefined;

/** Position of the reader in a header. */
type HeaderPlace = "opening" | "separator" | "line-start" | "line" | "body";

/**
 * Repairs a header. The text begins at the first line that is neither empty nor
 * part of a field; this class inserts an empty line before it. So the text does
 * not join the trace fields before the message or stand among the fields, and
 * every reader finds the same header. A separator line of an mbox before the
 * header, quoted or not, becomes the field `X-Mailbox-Line`.
 */
export class HeaderEdit {
  #place: HeaderPlace = "opening";
  #separators = 0;
  #held: Uint8Array = NOTHING;

  /** Takes the next chunk; returns the bytes to pass on. */
  take(chunk: Uint8Array): Uint8Array {
    return this.#place === "body" ? chunk : this.#take(chunk, false);
  }

  /** Ends the content; returns the bytes held back. */
  end(): Uint8Array {
    return this.#held.length === 0 ? NOTHING : this.#take(NOTHING, true);
  }

  #take(chunk: Uint8Array, isEnd: boolean): Uint8Array {
    const bytes = this.#held.length === 0 ? chunk : join([this.#held, chunk]);
    this.#held = NOTHING;
    const parts: Uint8Array[] = [];
    let from = 0; // index of the first byte that is not in `parts`
    let at = 0;
    while (at < bytes.length && this.#place !== "body") {
      if (this.#place === "line" || this.#place === "separator") {
        const end = bytes.indexOf(LF, at) + 1;
        if (end === 0) break;
        at = end;
        this.#place = this.#place === "line" ? "line-start" : "opening";
        continue;
      }
      let line = lineAt(bytes, at, this.#place) ??
        (isEnd ? "text" : undefined);
      if (line === undefined) {
        this.#held = bytes.slice(at);
        break;
      }
      if (line === "separator" && this.#separators++ >= MAX_MAILBOX_LINES) {
        line = "text";
      }
      if (line === "field") {
        this.#place = "line";
        continue;
      }
      this.#place = line === "separator" ? line : "body";
      if (line === "empty") continue;
      parts.push(
        bytes.subarray(from, at),
        line === "separator" ? MAILBOX_LINE : CRLF,
      );
      from = at;
    }
    const rest = bytes.subarray(from, bytes.length - this.#held.length);
    if (parts.length === 0) return rest;
    parts.push(rest);
    return join(parts);
  }
}

function lineAt(
  bytes: Uint8Array,
  start: number,
  place: "opening" | "line-start",
): Line {
  const first = bytes[start]!;
  if (first === LF) return "empty";
  if (first === CR) {
    if (start + 1 === bytes.length) return undefined;
    return bytes[start + 1] === LF ? "empty" : "text";
  }
  const isOpening = place === "opening";
  if (isBlank(first)) return isOpening ? "text" : "field";
  // Stops at NAME_LIMIT, so the result does not depend on how much has arrived.
  const end = Math.min(bytes.length, start + NAME_LIMIT);
  const isField = beginsField(bytes, start, end);
  if (isField) return "field";
  const isFrom = isOpening ? beginsMailbox(bytes, start, end) : false;
  if (isField === undefined || isFrom === undefined) {
    return end < bytes.length ? "text" : undefined;
  }
  return isFrom ? "separator" : "text";
}

/** Whether a line is `From ` after any number of `>`; `undefined` if more bytes are needed. */
function beginsMailbox(
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean | undefined {
  let at = start;
  while (at < end && bytes[at] === GREATER) at++;
  for (const byte of FROM) {
    if (at === end) return undefined;
    if (bytes[at++] !== byte) return false;
  }
  return true;
}

/**
 * Whether a field name and a colon, with optional blanks between them, begin at
 * `start`; `undefined` if bytes after `end` must decide.
 */
function beginsField(
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean | undefined {
  let at = start;
  while (at < end && isNameByte(bytes[at]!)) at++;
  const nameEnd = at;
  while (at < end && isBlank(bytes[at]!)) at++;
  if (at === end) return undefined;
  return bytes[at] === COLON && nameEnd > start;
}

function isNameByte(byte: number): boolean {
  return byte > SPACE && byte < 127 && byte !== COLON;
}

/** Field names in lower case, as bytes. */
export type FieldNames = readonly Uint8Array[];

/**
 * Makes the names for a {@linkcode FieldFilter}: letters and `-`, in any case.
 */
export function fieldNames(...names: readonly string[]): FieldNames {
  return names.map((name) => new TextEncoder().encode(name.toLowerCase()));
}

/** Position of the filter in a header. */
type Place = "line-start" | "kept-line" | "dropped-line" | "body";

/**
 * Removes fields from the header of a message, with all their lines. Reads up
 * to the first empty line, whatever lies before it: mailbox readers continue
 * after a line that is not a field.
 */
export class FieldFilter {
  readonly #names: FieldNames;
  #place: Place = "line-start";
  /** Whether the field of the last line is removed. */
  #dropping = false;
  #held: Uint8Array = NOTHING;

  /** @param names The fields to remove */
  constructor(names: FieldNames) {
    this.#names = names;
    if (names.length === 0) this.#place = "body";
  }

  /** Takes the next chunk; returns the bytes that stay. */
  take<T extends ArrayBufferLike>(chunk: Uint8Array<T>): Uint8Array<T> {
    if (this.#place === "body" && this.#held.length === 0) return chunk;
    const bytes = this.#held.length === 0
      ? chunk
      : join([this.#held, chunk]) as Uint8Array<T>;
    this.#held = NOTHING;
    const kept: Uint8Array[] = [];
    let from = 0; // index of the first byte of the run that stays
    let at = 0;
    while (at < bytes.length && this.#place !== "body") {
      if (this.#place === "line-start") {
        const place = this.#placeOf(bytes, at);
        if (place === undefined) {
          this.#held = bytes.slice(at);
          break;
        }
        this.#place = place;
        continue;
      }
      const end = bytes.indexOf(LF, at) + 1;
      const next = end === 0 ? bytes.length : end;
      if (this.#place === "dropped-line") {
        if (at > from) kept.push(bytes.subarray(from, at));
        from = next;
      }
      if (end !== 0) this.#place = "line-start";
      at = next;
    }
    const stop = bytes.length - this.#held.length;
    if (kept.length === 0) return bytes.subarray(from, stop);
    kept.push(bytes.subarray(from, stop));
    return join(kept) as Uint8Array<T>;
  }

  /** Ends the content; returns the bytes held back. */
  end(): Uint8Array {
    const held = this.#held;
    this.#held = NOTHING;
    this.#place = "body";
    return held;
  }

  /** The kind of the line at `at`; `undefined` if more bytes are needed to decide. */
  #placeOf(bytes: Uint8Array, at: number): Place | undefined {
    const first = bytes[at]!;
    if (first === LF) return "body";
    if (first === CR) {
      if (at + 1 === bytes.length) return undefined;
      if (bytes[at + 1] === LF) return "body";
    }
    if (!isBlank(first)) {
      const isNamed = this.#isNamed(bytes, at);
      if (isNamed === undefined) return undefined;
      this.#dropping = isNamed;
    }
    return this.#dropping ? "dropped-line" : "kept-line";
  }

  #isNamed(bytes: Uint8Array, start: number): boolean | undefined {
    let isOpen = false;
    for (const name of this.#names) {
      let at = 0;
      while (
        at < name.length && start + at < bytes.length &&
        (bytes[start + at]! | 0x20) === name[at]
      ) at++;
      if (start + at === bytes.length) isOpen = true;
      else if (at === name.length) {
        const next = bytes[start + at]!;
        if (next === COLON) return true;
        if (!isBlank(next)) continue;
        const end = Math.min(bytes.length, start + NAME_LIMIT);
        return beginsField(bytes, start, end) ??
          (end < bytes.length ? true : undefined);
      }
    }
    return isOpen ? undefined : false;
  }
}

/** Joins the arrays. Returns the only array itself if the others are empty. */
function join(parts: readonly Uint8Array[]): Uint8Array {
  const full = parts.filter((part) => part.length > 0);
  if (full.length < 2) return full[0] ?? NOTHING;
  return concat(full);
}

/** The fields that name recipients to be hidden from the others. */
export const BLIND_FIELDS: FieldNames = fieldNames("Bcc", "Resent-Bcc");

/** The values that complete a header. */
export interface Completion {
  /** The value of the Date field. */
  readonly date: string;
  /** The value of the Message-ID field, with its angle brackets. */
  readonly messageId: string;
  /** The domain for the author's addresses without one. */
  readonly domain: string;
}

/** Longest address list to complete, in characters: a longer one would delay other sessions. */
const MAX_LIST = 16_384;

/** Adds Date and Message-ID if they are missing or empty, and domains to the author's addresses. */
export function completeHeaders(
  headers: MessageHeaders,
  { date, messageId, domain }: Completion,
): void {
  if (!headers.get("Date")) headers.set("Date", date);
  if (!headers.get("Message-ID")) headers.set("Message-ID", messageId);
  for (const name of ["From", "Sender", "Reply-To"]) {
    const values = headers.getAll(name);
    if (values.length !== 1 || values[0]!.length > MAX_LIST) continue;
    // Setting the field would lose bytes that are not UTF-8.
    if (values[0]!.includes("\ufffd")) continue;
    const complete = completeAddresses(values[0]!, domain);
    if (complete !== values[0]) headers.set(name, complete);
  }
}

/** A piece of an address list: a quoted string, a comment, a separator, blanks or a word. */
const PIECE =
  /"(?:[^"\\]|\\[^])*"?|\((?:[^()\\]|\\[^])*\)?|[<>,;:]|[ \t\r\n]+|[^"(<>,;: \t\r\n]+/g;

/**
 * Returns a list of addresses, with `domain` added to each that has none or
 * ends in `@`. Keeps text that is not a plain address, such as a name of
 * several words.
 *
 * @example
 * ```ts ignore
 * completeAddresses('"Ann, A." <ann>, bob@', "b.example");
 * // '"Ann, A." <ann@b.example>, bob@b.example'
 * ```
 */
export function completeAddresses(list: string, domain: string): string {
  const pieces = list.match(PIECE) ?? [];
  if (pieces.join("") !== list) return list;
  const done: string[] = [];
  let inAngle = false;
  /** Indexes of the words of the current address. */
  let words: number[] = [];
  let hasAngle = false;
  const finish = () => {
    const address = words.map((at) => done[at]!).join("");
    const last = words.at(-1);
    const isOne = last !== undefined && last - words[0]! === words.length - 1;
    const bare = address.replace(/"(?:[^"\\]|\\[^])*"?/g, "");
    if (isOne && (!bare.includes("@") || /^.+@$/.test(address))) {
      done[last] += bare.endsWith("@") ? domain : `@${domain}`;
    }
    words = [];
  };
  for (const piece of pieces) {
    if (piece === "<") {
      words = [];
      inAngle = hasAngle = true;
    } else if (piece === ">") {
      if (inAngle) finish();
      inAngle = false;
    } else if (piece === ":" && !inAngle) {
      words = [];
    } else if (piece === "," || piece === ";") {
      if (!hasAngle && !inAngle) finish();
      words = [];
      hasAngle = inAngle = false;
    } else if (!/^[(\s]/.test(piece) && (inAngle || !hasAngle)) {
      words.push(done.length);
    }
    done.push(piece);
  }
  if (!hasAngle) finish();
  return done.join("");
}
