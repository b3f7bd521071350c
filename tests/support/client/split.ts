/** Cuts bytes into pieces: whole, one by one, and at random by seed. */

/** A small repeatable generator of numbers in [0, 1) (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Cuts `bytes` at random; every piece is a copy at an offset of its own, as after a read. */
export function randomSplit(
  bytes: Uint8Array,
  random: () => number,
): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = 1 + Math.floor(random() * random() * 40);
    const shift = Math.floor(random() * 4);
    const piece = bytes.subarray(at, at + size);
    const buffer = new Uint8Array(piece.length + shift);
    buffer.set(piece, shift);
    pieces.push(buffer.subarray(shift));
    at += size;
  }
  return pieces;
}

/** The ways each row is run: whole, byte by byte, and three random splits. */
export function everySplit(bytes: Uint8Array, seed = 1): Uint8Array[][] {
  const random = seeded(seed);
  return [
    [bytes],
    Array.from(bytes, (octet) => new Uint8Array([octet])),
    randomSplit(bytes, random),
    randomSplit(bytes, random),
    randomSplit(bytes, random),
  ];
}

/** One array of all the pieces. */
export function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(
    pieces.reduce((sum, piece) => sum + piece.length, 0),
  );
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
