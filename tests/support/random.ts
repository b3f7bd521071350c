/**
 * Seeded random bytes and splits for the tests of the receiving side, so that
 * a failure can be repeated from its seed.
 */

import { seeded } from "./tables.ts";

const encoder = new TextEncoder();

/** Bytes of a text; characters below U+0100 stand for themselves as one byte. */
export function octets(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0) & 255);
}

/** Bytes of a text in UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** The text of bytes, one character a byte. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const octet of bytes) text += String.fromCharCode(octet);
  return text;
}

/** Cuts bytes into single bytes. */
export function single(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (_, at) => bytes.slice(at, at + 1));
}

/** Cuts bytes into pieces of 1 to `longest` bytes, by seed. Each piece is a copy. */
export function pieces(
  bytes: Uint8Array,
  options: { readonly seed: number; readonly longest: number },
): Uint8Array[] {
  const random = seeded(options.seed);
  const cut: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = 1 + random(options.longest);
    cut.push(bytes.slice(at, at + length));
    at += length;
  }
  return cut;
}

/** The three ways in which every row of a table is run: whole, byte by byte, and split at random. */
export function* waysToCut(
  bytes: Uint8Array,
): Generator<[way: string, pieces: Uint8Array[]]> {
  yield ["whole", [bytes.slice()]];
  yield ["octet by octet", single(bytes)];
  for (let seed = 1; seed <= 5; seed++) {
    const longest = [2, 3, 5, 17, 200][seed - 1]!;
    yield [`pieces, seed ${seed}`, pieces(bytes, { seed, longest })];
  }
}
