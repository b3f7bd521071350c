/**
 * SASLprep: the form in which both sides compare user names and passwords.
 *
 * Works in time linear in the text. Accepts unassigned characters (the RFC's
 * rule for queries): the RFC's tables end with Unicode 3.2, but passwords
 * contain newer letters and emoji. NFKC is the platform's, which agrees for all
 * characters of Unicode 3.2 except a few corrected ones.
 *
 * The rules come first; the character tables, which RFC 3454 fixes for Unicode
 * 3.2, fill the rest of the file.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4013 | RFC 4013},
 * {@link https://www.rfc-editor.org/rfc/rfc3454#section-6 | RFC 3454 section 6},
 * {@link https://www.rfc-editor.org/rfc/rfc3454#appendix-B.1 | RFC 3454 appendices B.1, C and D}
 */

const PRINTABLE_ASCII = /^[ -~]*$/;

/**
 * Prepares a user name or password for comparison.
 *
 * @param text The text
 * @returns The prepared text (which can be empty), or `undefined` if it has a
 * prohibited character or mixes writing directions
 *
 * @example Prepare user names
 * ```ts
 * import { saslPrep } from "@smtp/server/sasl";
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
  // Every character of table D.1 is in plane 0: one code unit.
  const last = text.slice(-1);
  return LEFT_TO_RIGHT.test(text) || !RIGHT_TO_LEFT.test(first) ||
    !RIGHT_TO_LEFT.test(last);
}

/** Table C.1.2: spaces that map to U+0020. */
const NON_ASCII_SPACE: RegExp =
  /[\u{a0}\u{1680}\u{2000}-\u{200b}\u{202f}\u{205f}\u{3000}]/gu;

/** Table B.1: characters that map to nothing. */
const MAPPED_TO_NOTHING: RegExp =
  /[\u{ad}\u{34f}\u{1806}\u{180b}-\u{180d}\u{200b}-\u{200d}\u{2060}\u{fe00}-\u{fe0f}\u{feff}]/gu;

/** Tables C.1.2 and C.2.1 to C.9: characters prohibited in a prepared string. */
const PROHIBITED: RegExp = new RegExp(
  "[" + [
    NON_ASCII_SPACE.source.slice(1, -1),
    // C.2.1, C.2.2: control characters.
    String.raw`\u{0}-\u{1f}\u{7f}-\u{9f}\u{6dd}\u{70f}\u{180e}\u{200c}\u{200d}`,
    String.raw`\u{2028}\u{2029}\u{2060}-\u{2063}\u{206a}-\u{206f}\u{feff}`,
    String.raw`\u{fff9}-\u{fffc}\u{1d173}-\u{1d17a}`,
    // C.3, C.5: private use, surrogates.
    String.raw`\p{Co}\p{Cs}`,
    // C.4: non-characters.
    String.raw`\p{Noncharacter_Code_Point}`,
    // C.6, C.7: unfit for plain text, for canonical representation.
    String.raw`\u{fff9}-\u{fffd}\u{2ff0}-\u{2ffb}`,
    // C.8: change display or are deprecated.
    String.raw`\u{340}\u{341}\u{200e}\u{200f}\u{202a}-\u{202e}`,
    // C.9: tags.
    String.raw`\u{e0001}\u{e0020}-\u{e007f}`,
  ].join("") + "]",
  "u",
);

/** Table D.1: characters written from right to left. */
const RIGHT_TO_LEFT: RegExp = new RegExp(
  "[" + [
    String
      .raw`\u{5be}\u{5c0}\u{5c3}\u{5d0}-\u{5ea}\u{5f0}-\u{5f4}\u{61b}\u{61f}`,
    String
      .raw`\u{621}-\u{63a}\u{640}-\u{64a}\u{66d}-\u{66f}\u{671}-\u{6d5}\u{6dd}`,
    String
      .raw`\u{6e5}\u{6e6}\u{6fa}-\u{6fe}\u{700}-\u{70d}\u{710}\u{712}-\u{72c}`,
    String.raw`\u{780}-\u{7a5}\u{7b1}\u{200f}\u{fb1d}\u{fb1f}-\u{fb28}`,
    String.raw`\u{fb2a}-\u{fb36}\u{fb38}-\u{fb3c}\u{fb3e}\u{fb40}\u{fb41}`,
    String
      .raw`\u{fb43}\u{fb44}\u{fb46}-\u{fbb1}\u{fbd3}-\u{fd3d}\u{fd50}-\u{fd8f}`,
    String
      .raw`\u{fd92}-\u{fdc7}\u{fdf0}-\u{fdfc}\u{fe70}-\u{fe74}\u{fe76}-\u{fefc}`,
  ].join("") + "]",
  "u",
);

/**
 * Table D.2, ranges in ascending order, in base 36: `gap.extra`. `gap` is the
 * distance from the end of the range before, `extra` the number of characters
 * after the first one.
 */
const LEFT_TO_RIGHT_RANGES =
  "1t.p 7.p 1c b 5 6.m 2.u 2.88 2.h t.2l 3.8 3.6 f.1 f.4 a 3w c 2.2 2 2.j " +
  "2.17 2.11 b.3m 8.1w 2.11 3.1 7.f y.11 3.6 2.12 2 oq 2.1g 4.3 9.3 4 8.9 " +
  "3.c i.1 2.7 3.1 3.l 2.6 2 4.3 5.2 7.1 3.1 b 5.1 2.2 5.b 3.6 b.5 5.1 " +
  "3.l 2.6 2.1 2.1 2.1 5.2 p.3 2 8.9 3.2 f 2.6 2 2.2 2.l 2.6 2.1 2.4 4.3 " +
  "9 2.1 4 g 6.9 j.1 2.7 3.1 3.l 2.6 2.1 3.3 4.1 2 7.1 3.1 b 5.1 2.2 5.a " +
  "j 2.5 4.2 2.3 4.1 2 2.1 4.1 4.2 4.7 2.2 5.1 2.1 4.2 2.2 b g.b f.2 2.7 " +
  "2.2 2.m 2.9 2.4 8.3 s.1 5.9 j.1 2.7 2.2 2.m 2.9 2.4 5 2.4 3.1 2.1 a.1 " +
  "8 2.1 5.9 j.1 2.7 2.2 2.m 2.f 5.2 6.2 2.2 b 9.1 5.9 j.1 2.h 4.n 2.8 2 " +
  "3.6 9.2 7.7 j.2 d.1b 2.1 d.6 9.c 12.1 2 3.1 2 3 7.3 2.6 2.2 2 2 3.1 " +
  "2.3 2.1 a 3.4 2 a.9 3.1 z.n 3.q 2 2 6.9 2.x l 6 3.3 1f.7 2.5 3 1d.x " +
  "2.4 2.1 2 5 7 8.n 21.11 b.14 3 5.2h 6.1v 6.29 7.6 2.1q 2 2.3 3.6 2 2.3 " +
  "3.12 2 2.3 3.u 2 2.3 3.6 2 2.3 3.6 2.6 2.m 2.u 2 2.3 3.6 2.12 2.i 7.r " +
  "10.2c d.hh b.p 6.28 g.c 2.3 f.h 4.1 a.h f.c 2.2 g.1i 8.7 2.1 c.6 2 4.9 " +
  "13.9 7.2f 9.14 120.4b 5.2h 7.l 3.5 3.11 3.5 3.7 2 2 2 2.u 3.1g 2.6 2 " +
  "4.2 2.6 4.3 3.5 5.c 6.2 2.6 i 2r e 3n 5 3.9 2 4.4 7 2 2 2.3 2.2 2.6 " +
  "4.2 6.4 n.z c3.1w r 7b.25 270.2 q.8 8.4 3.4 5.2d 7.2 2.2h 2.3 6.13 " +
  "5.2l 2.13 1l.18 4.z t.r 4.1d g.b 5.1a 2.3a 5.2q 3.u 2.52t 23.g4l 2j.wc " +
  "1h0.8mb 2l.6r1 3.1m 46.6 d.4 sq.p 7.p c.2g 4.5 3.5 3.5 3.2 mc.u 2.3 " +
  "d.q 52.11 3.11 148j.6t b.12 4.1o 4.8 h.1 8.t 5.1b f7.2c 2.1y 2.1 3 3.1 " +
  "3.3 2.b 2 2.3 2.1 2.1s 2.3 3.7 2.6 2.r 2.3 2.4 2 4.6 2.9d 5.81 7xz.wye " +
  "g16.f1 gvz7.1ekd 3.1ekd";

/** Table D.2: characters written from left to right. */
const LEFT_TO_RIGHT: RegExp = new RegExp(
  `[${expandRanges(LEFT_TO_RIGHT_RANGES)}]`,
  "u",
);

/** Unpacks ranges into the body of a character class. */
function expandRanges(packed: string): string {
  let at = 0;
  let body = "";
  for (const range of packed.split(" ")) {
    const [gap = "", extra = "0"] = range.split(".");
    const first = at + parseInt(gap, 36);
    at = first + parseInt(extra, 36);
    body += `\\u{${first.toString(16)}}-\\u{${at.toString(16)}}`;
  }
  return body;
}
