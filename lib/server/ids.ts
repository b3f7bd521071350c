/**
 * Names of sessions and messages, unique over restarts: they become file names
 * in stores and spools.
 */

/** The digits of base 36. */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/**
 * Makes a source of names whose prefix, time and chance, tells them from those
 * of any other source.
 *
 * @param thread What tells the source from those of the server's other
 * threads, which begin at the same time
 */
export function idSource(thread = ""): () => string {
  const chance = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const prefix = `${Date.now().toString(36)}${chance.toString(36)}-${thread}`
    .toUpperCase();
  let last = 0;
  return () => {
    // One name a message: `toString(36)` and `toUpperCase()` cost ten times this.
    let digits = "";
    for (let rest = ++last; rest > 0; rest = Math.floor(rest / 36)) {
      digits = DIGITS[rest % 36]! + digits;
    }
    return prefix + digits;
  };
}
