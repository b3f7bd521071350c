/**
 * The file `users` of a spool folder: text about the users of a server that
 * survives a restart. It is written whole, under another name, and renamed, so
 * that a reader finds the old text or the new one. Knows not what is in the text.
 * Stands alone because this room alone touches files in the spool folder.
 */

import { DENO_FILES, type SpoolFiles } from "./files.ts";

/** Bytes that are written at once. */
const CHUNK = 65_536;
/** Most bytes that are read: 131,072 users with a count in every hour. */
const MOST_BYTES = 256 * 1024 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The file of one spool folder. */
export class UserCountsFile {
  /** The path of the file. */
  readonly path: string;
  readonly #folder: string;
  readonly #files: SpoolFiles;

  /** @param folder The spool folder, which is open */
  constructor(folder: string, files: SpoolFiles = DENO_FILES) {
    this.path = `${folder}/users`;
    this.#folder = folder;
    this.#files = files;
  }

  /**
   * The text; `undefined` if there is no file.
   *
   * @throws {Error} If another user may have made it, it cannot be read, or it is no text
   */
  async read(): Promise<string | undefined> {
    const files = this.#files;
    await files.requireOurs(this.path, "file", this.#folder);
    const size = await files.size(this.path);
    if (size === undefined) return undefined;
    if (size > MOST_BYTES) {
      throw new RangeError(`It has ${size} bytes, more than ${MOST_BYTES}`);
    }
    const chunks: Uint8Array<ArrayBuffer>[] = [];
    const options = { offset: 0, chunkSize: CHUNK };
    for await (const chunk of files.read(this.path, options)) {
      chunks.push(chunk);
    }
    return decoder.decode(await new Blob(chunks).bytes());
  }

  /**
   * Replaces the text. Other work goes on between two pieces of it.
   *
   * @throws {Error} If the disk refuses it; then the old text is still there
   */
  async write(lines: Iterable<string>): Promise<void> {
    const files = this.#files;
    const next = `${this.path}.next`;
    // The last process may have ended within a write.
    await files.remove(next);
    const file = await files.create(next);
    try {
      let text = "";
      for (const line of lines) {
        text += line;
        if (text.length < CHUNK) continue;
        await file.write(encoder.encode(text));
        text = "";
      }
      await file.write(encoder.encode(text));
      await file.sync();
    } catch (error) {
      await files.remove(next).catch(() => {});
      throw error;
    } finally {
      file.close();
    }
    await files.rename(next, this.path);
  }
}
