/**
 * Edits of the header of a message while it goes by in chunks: the opening put
 * right where its first line is no field, and fields left out by name.
 *
 * Holds no more than the beginning of one line, and gives a chunk back as it is
 * where nothing in it changes. Never touches the body, and never adds anything
 * behind it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-2.2 | RFC 5322 section 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-4.5 | section 4.5}
 */

const CR = 13;
const LF = 10;
const TAB = 9;
const SPACE = 32;
const COLON = 58;
const GREATER = 62;
/** Longest line (RFC 5322 section 2.1.1): a name without its colon by then is none. */
const LINE_LIMIT = 998;
const NOTHING = new Uint8Array(0);
const CRLF = new Uint8Array([CR, LF]);
const MAILBOX_LINE = new TextEncoder().encode("X-Mailbox-Line: ");
const FROM = new TextEncoder().encode("From ");

/** Separator lines in a row that become fields: more are text, not what a program left in front. */
const MAX_MAILBOX_LINES = 100;

/** What a message begins with; `undefined` where more bytes must tell. */
type Opening = "fine" | "text" | "mailbox-line" | undefined;

/**
 * Puts the opening of a message right. A first line that is neither empty nor a
 * field would join the trace fields in front of it, or stand among them: an empty
 * line comes first. The separator line of an mbox, quoted or not, becomes the
 * field `X-Mailbox-Line`.
 */
export class OpeningEdit {
  /** Whether the opening is behind. */
  #done = false;
  /** Whether the rest of a separator line is going by. */
  #inLine = false;
  #mailboxLines = 0;
  #held: Uint8Array = NOTHING;

  /** Takes the next chunk; gives what goes on. */
  take(chunk: Uint8Array): Uint8Array {
    return this.#done ? chunk : this.#take(chunk, false);
  }

  /** The content is complete: what was held. */
  end(): Uint8Array {
    return this.#done || this.#held.length === 0
      ? NOTHING
      : this.#take(NOTHING, true);
  }

  #take(chunk: Uint8Array, isEnd: boolean): Uint8Array {
    let rest = join([this.#held, chunk]);
    this.#held = NOTHING;
    const parts: Uint8Array[] = [];
    while (rest.length > 0) {
      if (this.#inLine) {
        const end = rest.indexOf(LF) + 1;
        parts.push(end === 0 ? rest : rest.subarray(0, end));
        if (end === 0) break;
        rest = rest.subarray(end);
        this.#inLine = false;
        continue;
      }
      let opening = openingOf(rest) ?? (isEnd ? "text" : undefined);
      if (opening === undefined) {
        this.#held = rest.slice();
        break;
      }
      if (
        opening === "mailbox-line" && this.#mailboxLines++ >= MAX_MAILBOX_LINES
      ) opening = "text";
      if (opening === "mailbox-line") {
        parts.push(MAILBOX_LINE);
        this.#inLine = true;
        continue;
      }
      this.#done = true;
      if (opening === "text") parts.push(CRLF);
      parts.push(rest);
      break;
    }
    return join(parts);
  }
}

function openingOf(bytes: Uint8Array): Opening {
  if (bytes[0] === LF) return "fine";
  if (bytes[0] === CR) {
    if (bytes.length === 1) return undefined;
    return bytes[1] === LF ? "fine" : "text";
  }
  // The same however much has come: what stands further behind is not looked at.
  const line = bytes.subarray(0, LINE_LIMIT + 1);
  const isField = beginsField(line, 0);
  if (isField) return "fine";
  const isFrom = beginsMailbox(line);
  if (isField === undefined || isFrom === undefined) {
    // No name is as long; it joins no field, for it does not begin with a blank.
    return line.length > LINE_LIMIT ? "fine" : undefined;
  }
  return isFrom ? "mailbox-line" : "text";
}

/** Whether a line is `From ` behind any number of `>`; `undefined` where more bytes must tell. */
function beginsMailbox(bytes: Uint8Array): boolean | undefined {
  let at = 0;
  while (bytes[at] === GREATER) at++;
  for (const octet of FROM) {
    if (at === bytes.length) return undefined;
    if (bytes[at++] !== octet) return false;
  }
  return true;
}

/** Whether a name and a colon, maybe behind blanks, are at `start`; `undefined` where more bytes must tell. */
function beginsField(bytes: Uint8Array, start: number): boolean | undefined {
  let at = start;
  while (at < bytes.length && isNameByte(bytes[at]!)) at++;
  const end = at;
  while (at < bytes.length && isBlank(bytes[at]!)) at++;
  if (at === bytes.length) return undefined;
  return bytes[at] === COLON && end > start;
}

function isNameByte(octet: number): boolean {
  return octet > SPACE && octet < 127 && octet !== COLON;
}

function isBlank(octet: number): boolean {
  return octet === SPACE || octet === TAB;
}

/** Names of fields, in lower case, as bytes. */
export type FieldNames = readonly Uint8Array[];

/** Names of fields for a {@linkcode FieldFilter}: letters and `-`, in any case. */
export function fieldNames(...names: readonly string[]): FieldNames {
  return names.map((name) => new TextEncoder().encode(name.toLowerCase()));
}

/** Where the reader of a header is. */
type Place = "line-start" | "kept-line" | "dropped-line" | "body";

/**
 * Leaves fields out of the header of a message, with all their lines. Looks up
 * to the first empty line, whatever stands in between: readers of mailboxes go
 * on behind a line that is no field.
 */
export class FieldFilter {
  readonly #names: FieldNames;
  #place: Place = "line-start";
  /** Whether the field that the last line belongs to is left out. */
  #dropping = false;
  #held: Uint8Array = NOTHING;

  /** @param names The fields that are left out */
  constructor(names: FieldNames) {
    this.#names = names;
    if (names.length === 0) this.#place = "body";
  }

  /** Takes the next chunk; gives what stays of it. */
  take<T extends ArrayBufferLike>(chunk: Uint8Array<T>): Uint8Array<T> {
    if (this.#place === "body" && this.#held.length === 0) return chunk;
    const bytes = this.#held.length === 0
      ? chunk
      : join([this.#held, chunk]) as Uint8Array<T>;
    this.#held = NOTHING;
    const kept: Uint8Array[] = [];
    let from = 0; // first byte of the run that stays
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

  /** The content is complete: what was held. */
  end(): Uint8Array {
    const held = this.#held;
    this.#held = NOTHING;
    this.#place = "body";
    return held;
  }

  /** What the line at `at` is; `undefined` where more bytes must tell. */
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
        // Blanks without end: the line is longer than any field's.
        const line = bytes.subarray(start, start + LINE_LIMIT + 1);
        return beginsField(line, 0) ??
          (line.length > LINE_LIMIT ? true : undefined);
      }
    }
    return isOpen ? undefined : false;
  }
}

/** The arrays in one: the only one itself where the others are empty. */
function join(parts: readonly Uint8Array[]): Uint8Array {
  const full = parts.filter((part) => part.length > 0);
  if (full.length < 2) return full[0] ?? NOTHING;
  const all = new Uint8Array(full.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of full) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
