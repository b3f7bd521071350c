/**
 * What a submission server does to a header beyond what others may: fields that
 * must not leave it, and fields and domains that a user's program left out. It
 * stands apart from `headers.ts`, which knows nothing of what fields mean.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6409#section-8 | RFC 6409 section 8},
 * {@link https://www.rfc-editor.org/rfc/rfc5322#section-3.6.3 | RFC 5322 section 3.6.3}
 */

import { type FieldNames, fieldNames } from "./content_edits.ts";
import type { MessageHeaders } from "./headers.ts";

/** The fields that name recipients whom the others are not to see. */
export const BLIND_FIELDS: FieldNames = fieldNames("Bcc", "Resent-Bcc");

/** What a header is completed with. */
export interface Completion {
  /** The Date field's value. */
  readonly date: string;
  /** The Message-ID field's value, with its angle brackets. */
  readonly messageId: string;
  /** The domain for addresses of the author that have none. */
  readonly domain: string;
}

/** Characters of an address list that is completed: a longer one would cost others' time. */
const MAX_LIST = 16_384;

/** Adds Date and Message-ID where they are missing or empty, and domains to the author's addresses. */
export function completeHeaders(
  headers: MessageHeaders,
  { date, messageId, domain }: Completion,
): void {
  if (!headers.get("Date")) headers.set("Date", date);
  if (!headers.get("Message-ID")) headers.set("Message-ID", messageId);
  for (const name of ["From", "Sender", "Reply-To"]) {
    const values = headers.getAll(name);
    if (values.length !== 1 || values[0]!.length > MAX_LIST) continue;
    // Bytes that are no UTF-8 would be lost.
    if (values[0]!.includes("\ufffd")) continue;
    const complete = completeAddresses(values[0]!, domain);
    if (complete !== values[0]) headers.set(name, complete);
  }
}

/** A piece of an address list: a quoted string, a comment, a separator, blanks or a word. */
const PIECE =
  /"(?:[^"\\]|\\[^])*"?|\((?:[^()\\]|\\[^])*\)?|[<>,;:]|[ \t\r\n]+|[^"(<>,;: \t\r\n]+/g;

/**
 * A list of addresses with `domain` behind each that has none, or ends in `@`.
 * What is no plain address, such as a name of several words, stays.
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
  /** Indexes of the words of the address under way. */
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
