/**
 * The one source of chance in tests: seeded, so that a failure can be repeated
 * from its seed; and the one way to cut bytes into pieces.
 */

/** 32 bits at each call, the same for the same seed (mulberry32). */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** A source of whole numbers from 0 to below `limit`. */
export function seeded(seed: number): (limit: number) => number {
  const next = mulberry32(seed);
  return (limit) => next() % limit;
}

/** A source of numbers from 0 (included) to 1 (excluded), in place of `Math.random`. */
export function seededFraction(seed: number): () => number {
  const next = mulberry32(seed);
  return () => next() / 2 ** 32;
}

const FACTOR = Number(Deno.env.get("TEST_ROUNDS") ?? "1");

/**
 * Rounds of a test that tries things at random or in great number: `usual` of
 * them, and as many times more as `TEST_ROUNDS` says, which `deno task fuzz` sets.
 */
export function rounds(usual: number): number {
  return Math.ceil(usual * FACTOR);
}

/** A text of up to `length` pieces, taken at random from `pieces`. */
export function randomText(
  random: (limit: number) => number,
  options: { pieces: readonly string[]; length: number },
): string {
  let text = "";
  for (let left = random(options.length + 1); left > 0; left--) {
    text += options.pieces[random(options.pieces.length)]!;
  }
  return text;
}

/** Cuts bytes into single bytes. */
export function single(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (_, at) => bytes.slice(at, at + 1));
}

/**
 * Cuts bytes into pieces of 1 to `longest` bytes, by seed. Each piece is a
 * copy at an offset of its own in its buffer, as after a read.
 */
export function pieces(
  bytes: Uint8Array,
  options: { readonly seed: number; readonly longest: number },
): Uint8Array[] {
  const random = seeded(options.seed);
  const cut: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const part = bytes.subarray(at, at + 1 + random(options.longest));
    const shift = cut.length % 4;
    const piece = new Uint8Array(shift + part.length).subarray(shift);
    piece.set(part);
    cut.push(piece);
    at += part.length;
  }
  return cut;
}

/** The three ways to run every row of a table: whole, byte by byte, and split at random. */
export function* waysToCut(
  bytes: Uint8Array,
): Generator<[way: string, pieces: Uint8Array[]]> {
  yield ["whole", [bytes.slice()]];
  yield ["byte by byte", single(bytes)];
  for (let seed = 1; seed <= 5; seed++) {
    const longest = [2, 3, 5, 17, 200][seed - 1]!;
    yield [`pieces, seed ${seed}`, pieces(bytes, { seed, longest })];
  }
}
