/**
 * The known name that a mistyped one was meant to be: for errors of the command
 * line, of configuration files and of option objects, which otherwise share no
 * room. Pure.
 */

/** Longer names are not looked at: the work grows with the square. */
const MAX_LENGTH = 64;
/** From this length on, the beginning of a name is enough. */
const MIN_PREFIX = 3;

/**
 * Finds the known name that is nearest to one that is not known. Case, `-` and
 * `_` do not count, so that `max_size` finds `maxSize`.
 *
 * @param name What was written
 * @param known The names that there are
 * @returns One of `known`, as it is written there; `undefined` where none is
 * near: up to one slip in three characters, or its beginning
 */
export function nearest(
  name: string,
  known: Iterable<string>,
): string | undefined {
  if (name.length > MAX_LENGTH) return undefined;
  const wanted = plain(name);
  if (wanted === "") return undefined;
  let best: string | undefined;
  let least = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  const begun: string[] = [];
  for (const candidate of known) {
    const text = plain(candidate);
    if (wanted.length >= MIN_PREFIX && text.startsWith(wanted)) {
      begun.push(candidate);
    }
    if (Math.abs(text.length - wanted.length) >= least) continue;
    const slips = distance(wanted, text);
    // All characters of a short name replaced is another name, not a slip.
    if (slips >= least || slips >= text.length) continue;
    [best, least] = [candidate, slips];
  }
  return best ?? (begun.length === 1 ? begun[0] : undefined);
}

/** A name without what people confuse most. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, "");
}

/**
 * Slips between two texts: characters left out, added, replaced, or two
 * neighbours swapped (Damerau-Levenshtein, no part edited twice).
 */
function distance(from: string, to: string): number {
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let row = 1; row <= from.length; row++) {
    const line = [row];
    for (let at = 1; at <= to.length; at++) {
      const isSame = from[row - 1] === to[at - 1];
      let slips = Math.min(
        above[at]! + 1,
        line[at - 1]! + 1,
        above[at - 1]! + (isSame ? 0 : 1),
      );
      const isSwapped = row > 1 && at > 1 && from[row - 1] === to[at - 2] &&
        from[row - 2] === to[at - 1];
      if (isSwapped) slips = Math.min(slips, before[at - 2]! + 1);
      line.push(slips);
    }
    [before, above] = [above, line];
  }
  return above[to.length]!;
}
