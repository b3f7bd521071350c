/**
 * SASLprep: the one form of a user name or password that both sides compare.
 *
 * Works in time linear in the text. Unassigned characters are let through (the
 * RFC's rule for queries): its tables end with Unicode 3.2, and people have
 * newer letters and emoji in their passwords. NFKC is the platform's, which is
 * the same for every character that Unicode 3.2 had, a few corrected ones apart.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4013 | RFC 4013},
 * {@link https://www.rfc-editor.org/rfc/rfc3454#section-6 | RFC 3454 section 6}
 */

import {
  LEFT_TO_RIGHT,
  MAPPED_TO_NOTHING,
  NON_ASCII_SPACE,
  PROHIBITED,
  RIGHT_TO_LEFT,
} from "./saslprep_tables.ts";

const PRINTABLE_ASCII = /^[ -~]*$/;

/**
 * Prepares a user name or password for comparison.
 *
 * @param text The text
 * @returns The prepared text (which can be empty), or `undefined` where it has
 * a character that may not stand there or mixes writing directions
 *
 * @example Prepare user names
 * ```ts
 * import { saslPrep } from "@smtp/server";
 *
 * console.assert(saslPrep("\u2168") === "IX");
 * console.assert(saslPrep("a\u0007") === undefined);
 * ```
 */
export function saslPrep(text: string): string | undefined {
  if (PRINTABLE_ASCII.test(text)) return text;
  const prepared = text
    .replace(NON_ASCII_SPACE, " ")
    .replace(MAPPED_TO_NOTHING, "")
    .normalize("NFKC");
  return PROHIBITED.test(prepared) || mixesDirections(prepared)
    ? undefined
    : prepared;
}

/** Whether the text breaks the rules for bidirectional strings (RFC 3454 section 6). */
function mixesDirections(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return false;
  const first = String.fromCodePoint(text.codePointAt(0) ?? 0);
  // Every character of table D.1 is in the first plane: one code unit.
  const last = text.slice(-1);
  return LEFT_TO_RIGHT.test(text) || !RIGHT_TO_LEFT.test(first) ||
    !RIGHT_TO_LEFT.test(last);
}
