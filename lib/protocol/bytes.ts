/**
 * Bytes and characters: joins arrays of bytes, and tests or skips the few classes
 * of characters that the grammars of mail use. It stands alone because every room
 * that reads or writes mail needs it.
 */

/** No bytes. */
export const NOTHING: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** A new array with the bytes of all `parts`, in order. */
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

/** Whether the character code is a space or tab. */
export function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** The offset of the first character from `at` on that is not a space or tab. */
export function skipBlanks(text: string, at: number): number {
  let next = at;
  while (isBlank(text.charCodeAt(next))) next++;
  return next;
}

/** Whether the text is all ASCII. */
export function isAscii(text: string): boolean {
  // deno-lint-ignore no-control-regex
  return !/[^\x00-\x7f]/.test(text);
}
