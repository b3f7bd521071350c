/**
 * The header of a complete message while a handler may edit it: finds the block
 * in the content, counts the edits, and writes a content with an edited block in
 * front. Stands alone: it changes bytes of a body, and knows no message.
 *
 * Never writes a content whose header no handler has edited.
 */

import {
  encodeBlock,
  findHeaderEnd,
  MessageHeaders,
} from "../protocol/headers.ts";
import type { MailParameters } from "../protocol/parameters.ts";
import { concat } from "../protocol/bytes.ts";
import { type BodyOptions, MessageBody } from "./body.ts";

/** Most bytes that are read from a file to find the end of a header: 256 KiB. */
const HEADER_LIMIT = 262_144;

/** A header block to stand in the place of another. */
export interface HeaderBlock {
  /** Its bytes, with the empty line. */
  readonly bytes: Uint8Array;
  /** Length of the block in the content that it replaces. */
  readonly end: number;
  /** The number of edits that it has. */
  readonly edits: number;
}

/** The header of one content, open for edits. */
export class HeaderEditing {
  readonly #body: MessageBody;
  readonly #parameters: MailParameters;
  /** The beginning of the content, if it had to be read from a file. */
  #read: Uint8Array | undefined;
  #headers: MessageHeaders | undefined;
  /** Length of the header block in the content. */
  #end = 0;
  /** Whether the block ends with its empty line. */
  #isWhole = true;
  /** The edits that the content has already. */
  #written = 0;
  #isClosed = false;
  #last: HeaderBlock | undefined;

  constructor(body: MessageBody, parameters: MailParameters) {
    this.#body = body;
    this.#parameters = parameters;
  }

  /** Reads the header block; a promise only if it is not in memory as a whole. */
  load(): void | Promise<void> {
    const { memory, head } = this.#body;
    if (memory !== undefined || findHeaderEnd(head, 0) >= 0) return;
    return this.#load();
  }

  async #load(): Promise<void> {
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.#body.chunks()) {
      pieces.push(chunk);
      size += chunk.length;
      const bytes = concat(pieces);
      pieces.splice(0, pieces.length, bytes);
      if (findHeaderEnd(bytes, 0) >= 0 || size >= HEADER_LIMIT) break;
    }
    this.#read = concat(pieces);
  }

  /** The fields; edits are refused once it is closed, or if the block is too large to be found. */
  get headers(): MessageHeaders {
    return this.#headers ??= this.#parse();
  }

  #parse(): MessageHeaders {
    const block = this.#read ?? this.#body.head;
    const end = findHeaderEnd(block, 0);
    this.#isWhole = end >= 0;
    this.#end = this.#isWhole ? end : block.length;
    const headers = MessageHeaders.parse(block, {
      utf8: this.#parameters.smtpUtf8 === true,
    });
    // Without its end the block is all of the content, or it is not known.
    const isKnown = this.#isWhole || block.length === this.#body.size;
    if (this.#isClosed || !isKnown) headers.freeze();
    return headers;
  }

  /** The block with all edits; `undefined` if the content has them already. */
  get edited(): HeaderBlock | undefined {
    const headers = this.#headers;
    if (headers === undefined || headers.edits === this.#written) {
      return undefined;
    }
    if (this.#last?.edits !== headers.edits || this.#last.end !== this.#end) {
      this.#last = {
        bytes: encodeBlock(headers, this.#isWhole),
        end: this.#end,
        edits: headers.edits,
      };
    }
    return this.#last;
  }

  /** The content has this block now. */
  settled(block: HeaderBlock): void {
    this.#end = block.bytes.length;
    this.#written = block.edits;
  }

  /** Refuses all further edits; returns the block if there were any that the content lacks. */
  close(): HeaderBlock | undefined {
    this.#isClosed = true;
    this.#headers?.freeze();
    return this.edited;
  }
}

/** A content with another header block in front; the old one stays as it is. */
export async function withHeader(
  old: MessageBody,
  block: HeaderBlock,
  options: BodyOptions,
): Promise<MessageBody> {
  const body = new MessageBody(options);
  try {
    await body.write(block.bytes);
    let skip = block.end;
    for await (const chunk of old.chunks()) {
      if (skip < chunk.length) await body.write(chunk.subarray(skip));
      skip = Math.max(0, skip - chunk.length);
    }
    return body;
  } catch (error) {
    await body.discard();
    throw error;
  }
}
