/**
 * xtext: an encoding of any bytes that fits in one parameter of a command. Text
 * is encoded as UTF-8 before and decoded after.
 *
 * Never guesses: malformed xtext has no value.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-4 | RFC 3461 section 4}
 */

const PLAIN = /^[!-*,-<>-~]*$/;
const XTEXT = /^(?:[!-*,-<>-~]|\+[\dA-F]{2})*$/;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Encodes text as xtext.
 *
 * @example
 * ```ts ignore
 * encodeXtext("a+b@example.com"); // "a+2Bb@example.com"
 * ```
 */
export function encodeXtext(text: string): string {
  if (PLAIN.test(text)) return text;
  let encoded = "";
  for (const byte of encoder.encode(text)) {
    const char = String.fromCharCode(byte);
    encoded += PLAIN.test(char)
      ? char
      : `+${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/**
 * Decodes xtext; `undefined` if it is malformed, or if its bytes are not UTF-8.
 * The result may contain control characters: check it before printing.
 *
 * @example
 * ```ts ignore
 * decodeXtext("a+2Bb@example.com"); // "a+b@example.com"
 * decodeXtext("a=b"); // undefined
 * ```
 */
export function decodeXtext(encoded: string): string | undefined {
  if (PLAIN.test(encoded)) return encoded;
  if (!XTEXT.test(encoded)) return undefined;
  const bytes = new Uint8Array(encoded.length);
  let length = 0;
  for (let at = 0; at < encoded.length; at++) {
    const plus = encoded.charCodeAt(at) === 0x2b;
    bytes[length++] = plus
      ? parseInt(encoded.slice(at + 1, at + 3), 16)
      : encoded.charCodeAt(at);
    if (plus) at += 2;
  }
  try {
    return decoder.decode(bytes.subarray(0, length));
  } catch {
    return undefined;
  }
}
