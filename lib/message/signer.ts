/**
 * What signs mail on its way into the queue, as the queue and the deliveries see
 * it: fields for the top of a content. Knows no key. Pure but for the signer.
 */

import { concat } from "../protocol/bytes.ts";
import type { Message } from "./message.ts";

/** Signs mail with the server's keys. */
export interface MailSigner {
  /** Whether there are keys: without them nothing is signed. */
  readonly isActive: boolean;
  /**
   * Makes the fields for the top of a content; `""` if no key fits its author or it
   * cannot be signed, which the log says then.
   *
   * @param content The content from its beginning
   * @param options `isBinary`: whether its line ends are sent as they are
   * @throws {unknown} The error of the content, and no other
   */
  sign(
    content: AsyncIterable<Uint8Array>,
    options: { readonly isBinary: boolean },
  ): Promise<string>;
}

const encoder = new TextEncoder();

/** The fields for the top of a message; `undefined` for none. */
export async function signatureOf(
  message: Message,
  signer: MailSigner,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const isBinary = message.parameters.body === "BINARYMIME";
  const fields = await signer.sign(message.chunks(), { isBinary });
  return fields === "" ? undefined : encoder.encode(fields);
}

/** A content in memory with its signatures on top, and their bytes. */
export async function signedBytes(
  bytes: Uint8Array<ArrayBuffer>,
  signer: MailSigner | undefined,
): Promise<
  { readonly bytes: Uint8Array<ArrayBuffer>; readonly signed: number }
> {
  if (signer?.isActive !== true) return { bytes, signed: 0 };
  const content = ReadableStream.from([bytes]);
  const top = encoder.encode(await signer.sign(content, { isBinary: false }));
  return { bytes: concat([top, bytes]), signed: top.length };
}

/** A content with bytes on top of it. */
export async function* withTop<T extends Uint8Array>(
  top: T,
  content: AsyncIterable<T>,
): AsyncGenerator<T> {
  yield top;
  yield* content;
}

/** A content without its first bytes. */
export async function* withoutTop<T extends Uint8Array>(
  content: AsyncIterable<T>,
  size: number,
): AsyncGenerator<T> {
  let left = size;
  for await (const chunk of content) {
    if (left >= chunk.length) {
      left -= chunk.length;
      continue;
    }
    yield left === 0 ? chunk : chunk.subarray(left) as T;
    left = 0;
  }
}
