/**
 * Puts a file among the records of a spool in one step: written beside, synced,
 * renamed into place, folder synced. Knows nothing of what is in it. Never
 * touches a file that is in place, except to take back one that it could not
 * make durable.
 */

import type { SpoolFile, SpoolFiles } from "./spool_files.ts";
import type { SpoolPaths } from "./spool_folder.ts";

/** Options of {@linkcode RecordFiles}. */
export interface RecordFilesOptions {
  /** Is told of a file that could not be cleared away. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
}

/** The record files of one spool. Many at a time share the syncs of their folder. */
export class RecordFiles {
  readonly #files: SpoolFiles;
  readonly #paths: SpoolPaths;
  readonly #onTrouble: (error: unknown) => void;
  readonly #folder: FolderSync;

  /**
   * Makes one for a spool; opens nothing.
   *
   * @param files The file operations
   * @param paths Where the spool is
   */
  constructor(
    files: SpoolFiles,
    paths: SpoolPaths,
    options: RecordFilesOptions,
  ) {
    this.#files = files;
    this.#paths = paths;
    this.#onTrouble = options.onTrouble;
    this.#folder = new FolderSync(() => files.syncFolder(paths.messages));
  }

  /**
   * Puts a file in place; it is safe when this resolves.
   *
   * @param name Its name, which no other has
   * @param fill Writes what is in it
   * @throws {Error} As the file system says, or as `fill` does; then the file is not there
   */
  async put(
    name: string,
    fill: (file: SpoolFile) => Promise<void>,
  ): Promise<void> {
    const temporary = `${this.#paths.incoming}/${name}`;
    const path = `${this.#paths.messages}/${name}`;
    try {
      const file = await this.#files.create(temporary);
      try {
        await fill(file);
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
  }
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
