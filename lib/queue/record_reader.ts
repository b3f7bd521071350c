/**
 * Reads the record of one message out of a spool folder, piece by piece. Never
 * passes off a part of a message as the whole.
 */

import type { DecodedHead } from "./record.ts";
import { SpoolError } from "./spool.ts";
import type { SpoolFiles } from "./spool_files.ts";
import { readRecordHead } from "./spool_folder.ts";

const READ_CHUNK = 65536;

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
  async head(id: string): Promise<DecodedHead> {
    const head = await readRecordHead(this.#files, `${this.#folder}/${id}`);
    if ("fault" in head) {
      throw new SpoolError(`Cannot read message "${id}": ${head.fault}`);
    }
    return head;
  }

  /**
   * The content, from the beginning.
   *
   * @throws {SpoolError} If the record cannot be read, or is no longer whole
   */
  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { length, envelope } = await this.head(id);
    let left = envelope.size;
    const chunks = this.#files.read(`${this.#folder}/${id}`, {
      offset: length,
      chunkSize: Math.max(1, Math.min(READ_CHUNK, left)),
    });
    for await (const chunk of chunks) {
      left -= chunk.length;
      yield chunk;
    }
    // A message cut short must fail, never go out as if it were whole.
    if (left !== 0) {
      throw new SpoolError(
        `Cannot read message "${id}": ${left} octets of ${envelope.size} missing`,
      );
    }
  }
}
