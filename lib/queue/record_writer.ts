/**
 * Puts the record of one message into a spool folder: written beside, synced,
 * renamed into place, folder synced. Never touches a record that is in place,
 * except to take back one that it could not make durable.
 */

import { encodeRecordHead, type RecordHead } from "./record.ts";
import type { SpoolFile, SpoolFiles } from "./spool_files.ts";
import type { SpoolPaths } from "./spool_folder.ts";

/** A small message goes to the disk in one write, head and all. */
const JOIN_LIMIT = 256 * 1024;

/** Options of {@linkcode RecordWriter}. */
export interface RecordWriterOptions {
  /** Is told of a file that could not be cleared away. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
}

/** What a {@linkcode RecordWriter} has written. */
export interface WrittenRecord {
  /** Octets of the record. */
  readonly size: number;
  /** The content, where it was small enough to go to the disk in one write. */
  readonly content: Uint8Array<ArrayBuffer> | undefined;
}

/** Writes records. Many at a time share the syncs of their folder. */
export class RecordWriter {
  readonly #files: SpoolFiles;
  readonly #paths: SpoolPaths;
  readonly #onTrouble: (error: unknown) => void;
  readonly #folder: FolderSync;

  /**
   * Makes a writer for one spool.
   *
   * @param files The file operations
   * @param paths Where the spool is
   */
  constructor(
    files: SpoolFiles,
    paths: SpoolPaths,
    options: RecordWriterOptions,
  ) {
    this.#files = files;
    this.#paths = paths;
    this.#onTrouble = options.onTrouble;
    this.#folder = new FolderSync(() => files.syncFolder(paths.messages));
  }

  /**
   * Writes a record; it is safe when this resolves.
   *
   * @returns Octets of the record, and the content where it is small
   * @throws {Error} As the file system says; then the record is not there
   */
  async write(
    head: RecordHead,
    content: AsyncIterable<Uint8Array>,
  ): Promise<WrittenRecord> {
    const { id, size } = head.envelope;
    const temporary = `${this.#paths.incoming}/${id}`;
    const path = `${this.#paths.messages}/${id}`;
    const start = encodeRecordHead(head);
    let written: Uint8Array<ArrayBuffer> | undefined;
    try {
      const file = await this.#files.create(temporary);
      try {
        written = await writeContent(file, start, { content, size });
        await file.sync();
      } finally {
        file.close();
      }
      await this.#files.rename(temporary, path);
    } catch (error) {
      await this.#files.remove(temporary).catch(this.#onTrouble);
      throw error;
    }
    try {
      await this.#folder.sync();
    } catch (error) {
      // The client is told to come back, so a record that stayed would be a
      // second copy.
      await this.#files.remove(path).catch(this.#onTrouble);
      throw error;
    }
    return {
      size: start.length + size,
      content: written?.subarray(start.length),
    };
  }
}

/** Writes head and content, small pieces together; gives back what went in one write. */
async function writeContent(
  file: SpoolFile,
  head: Uint8Array,
  body: { readonly content: AsyncIterable<Uint8Array>; readonly size: number },
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { content, size } = body;
  const joined = new Uint8Array(
    Math.min(JOIN_LIMIT, head.length + size),
  );
  let used = 0;
  let written = -head.length;
  const take = async (chunk: Uint8Array): Promise<void> => {
    written += chunk.length;
    // Checked before writing: what is longer than announced must not fill the disk.
    if (written > size) throw wrongSize(written, size);
    if (used + chunk.length > joined.length) {
      await file.write(joined.subarray(0, used));
      used = 0;
    }
    if (chunk.length > joined.length) {
      await file.write(chunk);
      return;
    }
    joined.set(chunk, used);
    used += chunk.length;
  };
  await take(head);
  for await (const chunk of content) await take(chunk);
  if (written !== size) throw wrongSize(written, size);
  await file.write(joined.subarray(0, used));
  return used === head.length + size ? joined : undefined;
}

function wrongSize(found: number, want: number): RangeError {
  return new RangeError(
    `Cannot write content of ${found} octets: want the ${want} of the envelope`,
  );
}

/**
 * One sync for all who ask while the one before is under way: a sync covers
 * only what was renamed before it began, so nobody may join one that is running.
 */
class FolderSync {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #waiting: Promise<void> | undefined;

  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** Resolves when a sync that began after this call has ended. */
  sync(): Promise<void> {
    if (this.#running === undefined) return this.#begin();
    this.#waiting ??= this.#running.catch(() => {}).then(() => {
      this.#waiting = undefined;
      return this.#begin();
    });
    return this.#waiting;
  }

  #begin(): Promise<void> {
    const running = this.#sync().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
