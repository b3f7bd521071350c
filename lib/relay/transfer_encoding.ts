/**
 * The two encodings that make content 7-bit. Pure.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6.7 | RFC 2045 sections 6.7 and 6.8}
 */

const CR = 0x0d;
const LF = 0x0a;
const EQUALS = 0x3d;
const SPACE = 0x20;
const TAB = 0x09;
const DOT = 0x2e;
const CAPITAL_F = 0x46;
/** Characters of a line, without its line end. */
const MAX_LINE = 76;
const HEX = new TextEncoder().encode("0123456789ABCDEF");
/** Octets of one line of base64. */
const BASE64_OCTETS = 57;

/**
 * Quoted-printable of text. CRLF and bare LF are line ends and come out as
 * CRLF; a bare CR is encoded.
 */
export function toQuotedPrintable(text: Uint8Array): Uint8Array<ArrayBuffer> {
  // Three for an encoded octet, and a soft line break every 73 of those.
  const out = new Uint8Array(Math.ceil(text.length * 3 * 1.06) + 8);
  let to = 0;
  let column = 0;
  for (let at = 0; at < text.length; at++) {
    const octet = text[at]!;
    if (octet === LF || (octet === CR && text[at + 1] === LF)) {
      if (octet === CR) at++;
      out[to++] = CR;
      out[to++] = LF;
      column = 0;
      continue;
    }
    const plain = isPlain(text, { at, column });
    const width = plain ? 1 : 3;
    // The line must have room for the "=" of a soft break.
    if (column + width > MAX_LINE - 1) {
      out[to++] = EQUALS;
      out[to++] = CR;
      out[to++] = LF;
      column = 0;
    }
    if (plain) {
      out[to++] = octet;
    } else {
      out[to++] = EQUALS;
      out[to++] = HEX[octet >> 4]!;
      out[to++] = HEX[octet & 15]!;
    }
    column += width;
  }
  return out.slice(0, to);
}

/** Whether an octet may stand for itself where it is. */
function isPlain(
  text: Uint8Array,
  place: { at: number; column: number },
): boolean {
  const octet = text[place.at]!;
  if (octet === SPACE || octet === TAB) return !endsLine(text, place.at + 1);
  if (octet < 33 || octet > 126 || octet === EQUALS) return false;
  // A dot or "From " at the start of a line is changed by some systems on the way.
  return place.column > 0 || (octet !== DOT && octet !== CAPITAL_F);
}

function endsLine(text: Uint8Array, at: number): boolean {
  return at >= text.length || text[at] === LF || text[at] === CR;
}

/** Base64 in lines of 76 characters, each with its CRLF. */
export function toBase64Lines(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  let text = "";
  for (let at = 0; at < bytes.length; at += BASE64_OCTETS) {
    text += `${bytes.subarray(at, at + BASE64_OCTETS).toBase64()}\r\n`;
  }
  return new TextEncoder().encode(text);
}
