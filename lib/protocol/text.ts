/**
 * What characters are, in the few classes that the grammars of mail go by.
 */

/** Whether the character code is that of a space or tab. */
export function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Whether the text is ASCII throughout. */
export function isAscii(text: string): boolean {
  // deno-lint-ignore no-control-regex
  return !/[^\x00-\x7f]/.test(text);
}
