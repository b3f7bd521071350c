/**
 * Base64 as SASL uses it on the wire: the standard alphabet, padded, canonical.
 *
 * Never forgives: a text that two programs could read differently (white
 * space, missing padding, left-over bits) is no base64 here.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4648#section-4 | RFC 4648 section 4},
 * {@link https://www.rfc-editor.org/rfc/rfc4954#section-4 | RFC 4954 section 4}
 *
 * UTF-8 in and out for the SASL messages. Wrong UTF-8 from a peer is
 * `undefined`: never repaired, because two repaired names could be the same.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3629 | RFC 3629}
 *
 * What objects that hold secrets show of themselves to a console: a text of
 * the object's choosing, never its fields.
 *
 * The error of the client's side: the server does not keep to the mechanism,
 * or could not show that it knows the secret.
 */

/**
 * Encodes bytes as padded base64 without line ends.
 *
 * @param bytes The bytes
 * @returns The text; `""` for no bytes
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
 * @returns The bytes, or `undefined` for white space, a foreign character, wrong padding or left-over bits
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

const encoder = new TextEncoder();
// A byte order mark is part of a name or password like any other character.
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The UTF-8 bytes of a text.
 *
 * @param text The text
 */
export function encodeUtf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/**
 * The text of UTF-8 bytes, or `undefined` where they are none.
 *
 * @param bytes The bytes
 */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

const INSPECTIONS = [
  Symbol.for("Deno.customInspect"),
  Symbol.for("nodejs.util.inspect.custom"),
];

/**
 * Makes `Deno.inspect`, `console.log` and `node:util` show a text in place of
 * an object's fields. For constructors.
 *
 * @param target The object
 * @param describe Gives the text, without secrets
 */
export function redact(target: object, describe: () => string): void {
  for (const inspection of INSPECTIONS) {
    Object.defineProperty(target, inspection, { value: describe });
  }
}

/**
 * A login that the client breaks off. Who catches it cancels the exchange with
 * `*` and must not take the server for genuine.
 *
 * @example Tell a broken login from a broken connection
 * ```ts
 * import { createClientMechanism, SaslError } from "@smtp/server";
 *
 * const login = { username: "ann", password: "secret" };
 * const mechanism = createClientMechanism("SCRAM-SHA-256", login);
 * mechanism.start();
 * try {
 *   await mechanism.step(new TextEncoder().encode("nonsense"));
 * } catch (error) {
 *   console.assert(error instanceof SaslError);
 * }
 * ```
 */
export class SaslError extends Error {
  /** Its name in a stack. */
  override readonly name: string = "SaslError";
}
