/**
 * RSA signatures with SHA-256, checked with whole numbers. Stands alone because it
 * is the one piece of arithmetic here: several times faster than `node:crypto`
 * on this platform, and compared with it in the tests.
 *
 * The padded block that a right signature must give is built and compared whole;
 * nothing in it is ever parsed, so no byte of it is free for a forger. Only public
 * values are worked with, so the time tells nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8017#section-8.2.2 | RFC 8017 section 8.2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8017#section-9.2 | section 9.2} and
 * {@link https://www.rfc-editor.org/rfc/rfc8017#appendix-A.1.1 | appendix A.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc8301 | RFC 8301} (bits)
 */

import { hash } from "node:crypto";

/** Fewest bits of a key: a signature of a shorter key must not count (RFC 8301). */
export const LEAST_RSA_BITS = 1024;
/** Most bits of a key: the work grows with their square. */
const MOST_BITS = 8192;
const USUAL_EXPONENT = 65537n;
const MOST_EXPONENT = 2n ** 32n;

/** A public key. */
export interface RsaPublicKey {
  readonly modulus: bigint;
  readonly exponent: bigint;
  /** Bits of the modulus. */
  readonly bits: number;
  /** What a right signature gives, less the digest: EMSA-PKCS1-v1_5. */
  readonly padding: bigint;
}

/** A key that was read, or why it cannot be used. */
export type RsaKeyOutcome =
  | { readonly key: RsaPublicKey; readonly fault?: undefined }
  | { readonly key?: undefined; readonly fault: string };

/**
 * Reads a public key: SubjectPublicKeyInfo, or the bare RSAPublicKey that it
 * holds. Never throws.
 *
 * @param der The key in DER, without anything after it
 */
export function readRsaKey(der: Uint8Array): RsaKeyOutcome {
  const [first, second, ...more] = members(der) ?? [];
  if (first === undefined || second === undefined || more.length > 0) {
    return { fault: "The key is no RSA key" };
  }
  if (first.tag === INTEGER) return keyOf(first, second);
  const inner = isRsa(first) ? bitString(second) : undefined;
  const numbers = inner === undefined ? undefined : members(inner);
  if (numbers?.length !== 2) return { fault: "The key is no RSA key" };
  return keyOf(numbers[0]!, numbers[1]!);
}

/**
 * Whether a signature (RSASSA-PKCS1-v1_5 with SHA-256) is that of the key over the
 * data.
 *
 * @param data What was signed, not hashed
 */
export function verifyRsa(
  { modulus, exponent, bits, padding }: RsaPublicKey,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (signature.length !== Math.ceil(bits / 8)) return false;
  const value = wholeNumber(signature);
  if (value >= modulus) return false;
  const digest = BigInt(`0x${hash("sha256", data, "hex")}`);
  return power(value, exponent, modulus) === padding + digest;
}

/** The padded block with a digest of zeros. */
function paddingOf(bits: number): bigint {
  const end = DIGEST_INFO + "00".repeat(32);
  const filling = "ff".repeat(Math.ceil(bits / 8) - 3 - end.length / 2);
  return BigInt(`0x0001${filling}00${end}`);
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = base;
  if (exponent === USUAL_EXPONENT) {
    for (let left = 16; left > 0; left--) result = (result * result) % modulus;
    return (result * base) % modulus;
  }
  // The highest bit is the base itself.
  for (const bit of exponent.toString(2).slice(1)) {
    result = (result * result) % modulus;
    if (bit === "1") result = (result * base) % modulus;
  }
  return result;
}

function keyOf(modulusValue: DerValue, exponentValue: DerValue): RsaKeyOutcome {
  const modulus = positive(modulusValue);
  const exponent = positive(exponentValue);
  if (modulus === undefined || exponent === undefined) {
    return { fault: "The key is no RSA key" };
  }
  const bits = bitsOf(modulusValue.bytes);
  if (bits < LEAST_RSA_BITS) {
    return { fault: `The key has ${bits} bits, fewer than ${LEAST_RSA_BITS}` };
  }
  if (bits > MOST_BITS) {
    return { fault: `The key has ${bits} bits, more than ${MOST_BITS}` };
  }
  const isOdd = (modulus & 1n) === 1n && (exponent & 1n) === 1n;
  if (!isOdd || exponent < 3n || exponent > MOST_EXPONENT) {
    return { fault: "The key's numbers are out of range" };
  }
  return { key: { modulus, exponent, bits, padding: paddingOf(bits) } };
}

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
/** The object identifier of rsaEncryption, 1.2.840.113549.1.1.1. */
const RSA_ENCRYPTION = "2a864886f70d010101";
/** What stands before a SHA-256 digest in the padded block. */
const DIGEST_INFO = "3031300d060960864801650304020105000420";

/** One value of DER. */
interface DerValue {
  readonly tag: number;
  readonly bytes: Uint8Array;
}

/** The members of a sequence that is all of the bytes. */
function members(der: Uint8Array): DerValue[] | undefined {
  const outer = valueAt(der, 0);
  if (outer?.value.tag !== SEQUENCE || outer.end !== der.length) {
    return undefined;
  }
  return valuesOf(outer.value.bytes);
}

function valuesOf(bytes: Uint8Array): DerValue[] | undefined {
  const values: DerValue[] = [];
  // A key has two members; more of them are no key.
  for (let at = 0; at < bytes.length && values.length < 4;) {
    const next = valueAt(bytes, at);
    if (next === undefined) return undefined;
    values.push(next.value);
    at = next.end;
  }
  return values;
}

function valueAt(
  bytes: Uint8Array,
  at: number,
): { value: DerValue; end: number } | undefined {
  const tag = bytes[at];
  let length = bytes[at + 1];
  if (tag === undefined || length === undefined) return undefined;
  let start = at + 2;
  if (length >= 0x80) {
    const count = length - 0x80;
    // A key of the most bits has a length of two bytes.
    if (count < 1 || count > 2 || start + count > bytes.length) {
      return undefined;
    }
    length = 0;
    for (let left = count; left > 0; left--) {
      length = length * 256 + bytes[start++]!;
    }
  }
  const end = start + length;
  if (end > bytes.length) return undefined;
  return { value: { tag, bytes: bytes.subarray(start, end) }, end };
}

/** Whether a value is the AlgorithmIdentifier of RSA. */
function isRsa({ tag, bytes }: DerValue): boolean {
  const first = tag === SEQUENCE ? valuesOf(bytes)?.[0] : undefined;
  return first?.tag === OBJECT_IDENTIFIER &&
    first.bytes.toHex() === RSA_ENCRYPTION;
}

/** The bytes of a bit string without unused bits. */
function bitString({ tag, bytes }: DerValue): Uint8Array | undefined {
  return tag === BIT_STRING && bytes[0] === 0 ? bytes.subarray(1) : undefined;
}

/** A number above zero. */
function positive({ tag, bytes }: DerValue): bigint | undefined {
  // A first byte above 0x7f makes it negative. More than this is never used.
  const isUsable = tag === INTEGER && bytes.length > 0 && bytes[0]! < 0x80 &&
    bytes.length <= 2 * (MOST_BITS / 8);
  const value = isUsable ? wholeNumber(bytes) : 0n;
  return value > 0n ? value : undefined;
}

/** Bits of a number, from its first bit that is set. */
function bitsOf(bytes: Uint8Array): number {
  const first = bytes.findIndex((byte) => byte !== 0);
  return (bytes.length - first) * 8 - (Math.clz32(bytes[first]!) - 24);
}

function wholeNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${bytes.toHex()}`);
}
