/**
 * Reads the record of one message out of a spool folder, piece by piece. Never
 * passes off a part of a message as the whole, nor another message as this one.
 *
 * The content of messages that have just been accepted, for the first delivery,
 * which usually follows at once: what was written need not be read. A bounded
 * memory of what is safe on disk already, never the only copy.
 */

import { type DecodedHead, decodeRecordHead } from "./record.ts";
import { SpoolError } from "./spool.ts";
import type { SpoolFiles } from "./files.ts";
import { recordFile, type StoredEntry } from "./folder.ts";

const READ_CHUNK = 65536;
const HEAD_CHUNK = 4096;
/** An envelope of 100,000 recipients has about 10 MiB; a record whose head claims more is garbage. */
const HEAD_MAX = 64 * 1024 * 1024;

/** Reads records. */
export class RecordReader {
  readonly #files: SpoolFiles;
  readonly #folder: string;

  /**
   * Makes a reader; opens nothing.
   *
   * @param files The file operations
   * @param folder Where the records are
   */
  constructor(files: SpoolFiles, folder: string) {
    this.#files = files;
    this.#folder = folder;
  }

  /**
   * What stands in front of the content.
   *
   * @throws {SpoolError} If it cannot be read
   */
  async head(entry: StoredEntry): Promise<DecodedHead> {
    const { id } = entry.envelope;
    const path = `${this.#folder}/${recordFile(entry)}`;
    const offset = entry.place?.offset ?? 0;
    const head = await readRecordHead(this.#files, path, offset);
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
   * @throws {SpoolError} If the record cannot be read, or is no longer whole
   */
  async *content(entry: StoredEntry): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { length, envelope } = await this.head(entry);
    let left = envelope.size;
    if (left === 0) return;
    const chunks = this.#files.read(`${this.#folder}/${recordFile(entry)}`, {
      offset: (entry.place?.offset ?? 0) + length,
      chunkSize: Math.min(READ_CHUNK, left),
    });
    for await (const chunk of chunks) {
      // What follows may be another message's.
      const own = chunk.length > left ? chunk.subarray(0, left) : chunk;
      left -= own.length;
      yield own;
      if (left === 0) return;
    }
    // A message cut short must fail, never go out as if it were whole.
    throw new SpoolError(
      `Cannot read message "${envelope.id}": ${left} octets of ${envelope.size} missing`,
      { isDamaged: true },
    );
  }
}

/** Reads the head of the record at `offset` of a file, or says what is wrong with it. */
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

/** Content larger than this is read from the disk. */
const MAX_ONE = 64 * 1024;
/** Bytes kept at most; the oldest go first. */
const MAX_ALL = 8 * 1024 * 1024;

/** Remembers content for a while. */
export class FreshContent {
  readonly #content = new Map<string, Uint8Array<ArrayBuffer>>();
  #used = 0;

  /** Remembers the content of a message, if it is small. */
  keep(id: string, content: Uint8Array<ArrayBuffer> | undefined): void {
    if (content === undefined || content.length > MAX_ONE) return;
    this.#content.set(id, content);
    this.#used += content.length;
    for (const oldest of this.#content.keys()) {
      if (this.#used <= MAX_ALL) return;
      this.drop(oldest);
    }
  }

  /** The content of a message, if it is remembered. Not to be changed. */
  get(id: string): Uint8Array<ArrayBuffer> | undefined {
    return this.#content.get(id);
  }

  /** Forgets the content of a message. */
  drop(id: string): void {
    const content = this.#content.get(id);
    if (content === undefined) return;
    this.#content.delete(id);
    this.#used -= content.length;
  }
}
