/**
 * Base64 as SASL uses it on the wire: the standard alphabet, padded, canonical.
 *
 * Never forgives: a text that two programs could read differently (white
 * space, missing padding, left-over bits) is no base64 here.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4648#section-4 | RFC 4648 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 */

/**
 * Encodes octets as padded base64 without line ends.
 *
 * @param bytes The octets
 * @returns The text; `""` for no octets
 *
 * @example Encode a SASL response
 * ```ts
 * import { encodeBase64 } from "@smtp/server";
 *
 * console.assert(encodeBase64(new Uint8Array([0, 97])) === "AGE=");
 * ```
 */
export function encodeBase64(bytes: Uint8Array): string {
  return bytes.toBase64();
}

/**
 * Decodes canonical base64; a peer's wrong text is `undefined`, not an error.
 *
 * @param text The text, without line end
 * @returns The octets, or `undefined` for white space, a foreign character, wrong padding or left-over bits
 *
 * @example Tell right from wrong
 * ```ts
 * import { decodeBase64Strict } from "@smtp/server";
 *
 * console.assert(decodeBase64Strict("AGE=")?.length === 2);
 * console.assert(decodeBase64Strict("AGE") === undefined);
 * ```
 */
export function decodeBase64Strict(
  text: string,
): Uint8Array<ArrayBuffer> | undefined {
  // The built-in decoder skips white space wherever it stands.
  if (/[\t\n\f\r ]/.test(text)) return undefined;
  try {
    return Uint8Array.fromBase64(text, { lastChunkHandling: "strict" });
  } catch {
    return undefined;
  }
}
