/**
 * Digests, keyed digests, key derivation, random bytes and comparison for the
 * SASL mechanisms: the only file of this folder that knows where they come from.
 *
 * Nothing here compares secrets with `===` or tells by its time where two
 * secrets differ, or by how much in length.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1321 | RFC 1321},
 * {@link https://www.rfc-editor.org/rfc/rfc2104 | RFC 2104},
 * {@link https://www.rfc-editor.org/rfc/rfc8018#section-5.2 | RFC 8018 section 5.2}
 */

import { createHash, createHmac, timingSafeEqual } from "node:crypto";

const encoder = new TextEncoder();
/** Key of the comparison digests: nobody outside can steer them into a collision. */
const comparisonKey = crypto.getRandomValues(new Uint8Array(32));

/** The digest functions that the mechanisms need. */
export type DigestName = "md5" | "sha256" | "sha384" | "sha512";

/**
 * The digest of `data`.
 *
 * @param name The digest function
 * @param data The bytes
 */
export function digest(
  name: DigestName,
  data: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash(name).update(data).digest());
}

/** Key and message of {@linkcode hmac}. */
export interface HmacInput {
  /** The key, of any length. */
  readonly key: Uint8Array;
  /** The message. */
  readonly data: Uint8Array;
}

/**
 * The keyed digest of a message (RFC 2104).
 *
 * @param name The digest function
 * @param input Key and message
 */
export function hmac(
  name: DigestName,
  input: HmacInput,
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(
    createHmac(name, input.key).update(input.data).digest(),
  );
}

/** Salt and cost of {@linkcode pbkdf2}. */
export interface Pbkdf2Parameters {
  /** The salt. */
  readonly salt: Uint8Array;
  /** How many rounds, at least 1. */
  readonly iterations: number;
}

/**
 * PBKDF2 with HMAC-SHA-256, 32 bytes, computed off the calling thread.
 *
 * @param password The password, prepared by the caller
 * @param parameters Salt and number of rounds
 */
export async function pbkdf2(
  password: string,
  parameters: Pbkdf2Parameters,
): Promise<Uint8Array<ArrayBuffer>> {
  const { iterations } = parameters;
  const salt = new Uint8Array(parameters.salt);
  const key = await crypto.subtle.importKey(
    "raw",
    encoder.encode(password),
    "PBKDF2",
    false,
    ["deriveBits"],
  );
  const bits = await crypto.subtle.deriveBits(
    { name: "PBKDF2", hash: "SHA-256", salt, iterations },
    key,
    256,
  );
  return new Uint8Array(bits);
}

/**
 * `length` bytes that nobody can foretell.
 *
 * @param length How many
 */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

/**
 * Whether two secrets are the same, in a time that depends on neither where
 * they differ nor whether their lengths do.
 *
 * @param left One of them; a string stands for its UTF-8 bytes
 * @param right The other
 */
export function equalSecrets(
  left: string | Uint8Array,
  right: string | Uint8Array,
): boolean {
  return timingSafeEqual(comparable(left), comparable(right));
}

/** A fixed-size stand-in for a secret. */
function comparable(secret: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const data = typeof secret === "string" ? encoder.encode(secret) : secret;
  return hmac("sha256", { key: comparisonKey, data });
}
