/**
 * Reads the record of one message in chunks: from the disk, or from memory if it
 * was written recently. Never returns a part of a message as the whole, nor
 * another message in place of this one.
 */

import { type DecodedHead, decodeRecordHead } from "./record.ts";
import { SpoolError } from "./spool.ts";
import type { SpoolFiles } from "./files.ts";
import type { RecordPlace } from "./folder.ts";

/** Bytes of content read at once. */
const READ_CHUNK = 65536;
/** Bytes of a head read at once. */
const HEAD_CHUNK = 4096;
/** Limit of a head, in bytes. An envelope of 100,000 recipients has about 10 MiB; a larger claim is garbage. */
const HEAD_MAX = 64 * 1024 * 1024;
/** Largest content that {@linkcode FreshContent} holds, in bytes. */
const FRESH_ONE = 64 * 1024;
/** Bytes it holds in all; the oldest content is dropped first. */
const FRESH_ALL = 8 * 1024 * 1024;

/** Reads records. */
export class RecordReader {
  readonly #files: SpoolFiles;
  readonly #folder: string;

  /** @param folder The folder of the records */
  constructor(files: SpoolFiles, folder: string) {
    this.#files = files;
    this.#folder = folder;
  }

  /**
   * The head of a record.
   *
   * @throws {SpoolError} If it cannot be read
   */
  async head(id: string, place: RecordPlace): Promise<DecodedHead> {
    const path = `${this.#folder}/${place.file}`;
    const head = await readRecordHead(this.#files, path, place.offset);
    if ("fault" in head) {
      throw new SpoolError(`Cannot read message "${id}": ${head.fault}`, {
        isDamaged: true,
      });
    }
    if (head.envelope.id !== id) {
      throw new SpoolError(
        `Cannot read message "${id}": record is of message "${head.envelope.id}"`,
        { isDamaged: true },
      );
    }
    return head;
  }

  /**
   * The content, from the beginning.
   *
   * @throws {SpoolError} If the record cannot be read, or is damaged
   */
  async *content(
    id: string,
    place: RecordPlace,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { length, envelope } = await this.head(id, place);
    let left = envelope.size;
    if (left === 0) return;
    const chunks = this.#files.read(`${this.#folder}/${place.file}`, {
      offset: place.offset + length,
      chunkSize: Math.min(READ_CHUNK, left),
    });
    for await (const chunk of chunks) {
      // The bytes behind it may be another message's.
      const own = chunk.length > left ? chunk.subarray(0, left) : chunk;
      left -= own.length;
      yield own;
      if (left === 0) return;
    }
    // A truncated message must fail, never be sent as if it were complete.
    throw new SpoolError(
      `Cannot read message "${envelope.id}": ${left} bytes of ${envelope.size} missing`,
      { isDamaged: true },
    );
  }
}

/** Reads the head of the record at `offset` of a file; returns the reason if it is damaged. */
export async function readRecordHead(
  files: SpoolFiles,
  path: string,
  offset: number,
): Promise<DecodedHead | { readonly fault: string }> {
  let buffer = new Uint8Array(HEAD_CHUNK);
  let used = 0;
  let want = 1;
  for await (
    const chunk of files.read(path, { offset, chunkSize: HEAD_CHUNK })
  ) {
    if (used + chunk.length > buffer.length) {
      const grown = new Uint8Array(2 * buffer.length + chunk.length);
      grown.set(buffer.subarray(0, used));
      buffer = grown;
    }
    buffer.set(chunk, used);
    used += chunk.length;
    if (used < want) continue;
    const head = decodeRecordHead(buffer.subarray(0, used));
    if (!("want" in head)) return head;
    if (head.want > HEAD_MAX) break;
    want = head.want;
  }
  return { fault: "Record ends within its head" };
}

/**
 * The content of recently accepted messages, for the first delivery, which
 * usually follows at once. A bounded cache of content that is durable on the
 * disk already, never the only copy.
 */
export class FreshContent {
  readonly #content = new Map<string, Uint8Array<ArrayBuffer>>();
  #used = 0;

  /** Stores the content of a message, if it is small. */
  keep(id: string, content: Uint8Array<ArrayBuffer> | undefined): void {
    if (content === undefined || content.length > FRESH_ONE) return;
    this.#content.set(id, content);
    this.#used += content.length;
    for (const oldest of this.#content.keys()) {
      if (this.#used <= FRESH_ALL) return;
      this.drop(oldest);
    }
  }

  /** The content of a message, if it is stored. Must not be changed. */
  get(id: string): Uint8Array<ArrayBuffer> | undefined {
    return this.#content.get(id);
  }

  /** Drops the content of a message. */
  drop(id: string): void {
    const content = this.#content.get(id);
    if (content === undefined) return;
    this.#content.delete(id);
    this.#used -= content.length;
  }
}
