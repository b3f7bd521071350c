/**
 * Arrays of bytes put together. It stands alone because the rooms that receive,
 * send and write notices all need it.
 */

/** The arrays one behind the other, in a new one. */
export function concat(
  parts: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(
    parts.reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
