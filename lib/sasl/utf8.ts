/**
 * UTF-8 in and out for the SASL messages. Wrong UTF-8 from a peer is
 * `undefined`: never repaired, because two repaired names could be the same.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3629 | RFC 3629}
 */

const encoder = new TextEncoder();
// A byte order mark is part of a name or password like any other character.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The UTF-8 octets of a text.
 *
 * @param text The text
 */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/**
 * The text of UTF-8 octets, or `undefined` where they are none.
 *
 * @param bytes The octets
 */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
