/**
 * Digests, keyed digests, key derivation, random bytes and comparison of
 * secrets for the SASL mechanisms. No other file of this folder calls the
 * platform's cryptography.
 *
 * Nothing here compares secrets with `===`. The time of a comparison reveals
 * neither where two secrets differ nor whether their lengths do.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1321 | RFC 1321},
 * {@link https://www.rfc-editor.org/rfc/rfc2104 | RFC 2104},
 * {@link https://www.rfc-editor.org/rfc/rfc8018#section-5.2 | RFC 8018 section 5.2}
 */

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { encodeUtf8 } from "./encoding.ts";

/** Key of the comparison digests, random, so that no peer can provoke a collision. */
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
  /** Number of rounds, at least 1. */
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
    encodeUtf8(password),
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
 * Cryptographically random bytes.
 *
 * @param length Number of bytes
 */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(length));
}

/**
 * Whether two secrets are equal, in a time that depends neither on the place of
 * a difference nor on whether the lengths differ.
 *
 * @param left One secret; a string stands for its UTF-8 bytes
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
  const data = typeof secret === "string" ? encodeUtf8(secret) : secret;
  return hmac("sha256", { key: comparisonKey, data });
}
