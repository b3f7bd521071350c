/**
 * The two encodings of SASL messages: base64 around a message on the wire, and
 * UTF-8 for the texts in it.
 *
 * Never lenient. A base64 text that two programs could read differently (white
 * space, missing padding, left-over bits) decodes to `undefined`, and so does
 * malformed UTF-8. It is never repaired, because two repaired names could
 * become equal.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4648#section-4 | RFC 4648 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc3629 | RFC 3629}
 */

/**
 * Encodes bytes as padded base64 without line ends.
 *
 * @param bytes The bytes
 * @returns The text; `""` for no bytes
 *
 * @example Encode a SASL response
 * ```ts
 * import { encodeBase64 } from "@smtp/server/sasl";
 *
 * console.assert(encodeBase64(new Uint8Array([0, 97])) === "AGE=");
 * ```
 */
export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/**
 * Decodes canonical base64; malformed text gives `undefined`, not an error.
 *
 * @param text The text, without line end
 * @returns The bytes, or `undefined` for white space, a foreign character, wrong padding or left-over bits
 *
 * @example Well-formed and malformed text
 * ```ts
 * import { decodeBase64Strict } from "@smtp/server/sasl";
 *
 * console.assert(decodeBase64Strict("AGE=")?.length === 2);
 * console.assert(decodeBase64Strict("AGE") === undefined);
 * ```
 */
export function decodeBase64Strict(
  text: string,
): Uint8Array<ArrayBuffer> | undefined {
  // The built-in decoder skips white space everywhere.
  if (/[\t\n\f\r ]/.test(text)) return undefined;
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}

const encoder = new TextEncoder();
// A byte order mark is a character of the name or password like any other.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** The text of UTF-8 bytes, or `undefined` if they are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
