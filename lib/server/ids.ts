/**
 * Names of sessions and messages, unique over restarts: they become file names
 * in stores and spools.
 */

/**
 * Makes a source of names whose prefix, time and chance, tells them from those
 * of any other source.
 */
export function idSource(): () => string {
  const chance = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const prefix = `${Date.now().toString(36)}${chance.toString(36)}-`;
  let last = 0;
  return () => (prefix + (++last).toString(36)).toUpperCase();
}
