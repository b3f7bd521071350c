/**
 * Finds the known name that a mistyped one was meant to be. Stands alone: errors
 * of the command line, of configuration files and of option objects use it. Pure.
 */

/** Longest name that is compared, in characters: the work grows with the square. */
const MAX_LENGTH = 64;
/** Least characters for which the beginning of a name is enough. */
const MIN_PREFIX = 3;

/**
 * Finds the known name that is nearest to an unknown one. Case, `-` and `_` do
 * not count, so `max_size` finds `maxSize`.
 *
 * @param name The name as written
 * @param known All known names
 * @returns A name of `known` with at most one slip in three characters, or one
 * that `name` is the beginning of; `undefined` if there is no such name
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
    // A short name with all characters replaced is another name, not a slip.
    if (slips >= least || slips >= text.length) continue;
    [best, least] = [candidate, slips];
  }
  return best ?? (begun.length === 1 ? begun[0] : undefined);
}

/** A name in lower case, without `-` and `_`. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, "");
}

/**
 * Number of slips between two texts: characters omitted, added, replaced, or two
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
