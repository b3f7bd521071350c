/**
 * Bytes and texts for tests. Two readings: one character a byte (`bytesOf`,
 * `textOf`), where every byte must come back as it was, and UTF-8.
 */

/** Bytes of a text; characters below U+0100 stand for themselves as one byte. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0) & 255);
}

/** The text of bytes, one character a byte. */
export function textOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Bytes of a text in UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** The text of bytes in UTF-8; nothing for no bytes. */
export function utf8Text(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}

/** The whole of a stream of bytes in UTF-8 as text. */
export async function readText(
  chunks: AsyncIterable<Uint8Array>,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of chunks) {
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Joins bytes. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
