/**
 * What the table tests share: a seeded source of random numbers and texts, so
 * that a failure can be repeated from its seed.
 */

/** A source of numbers from 0 to below `limit`, the same for the same seed. */
export function seeded(seed: number): (limit: number) => number {
  let state = seed | 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
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
