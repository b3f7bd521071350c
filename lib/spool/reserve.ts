/**
 * Room on the disk that is kept free for the journal. A full disk gets room
 * only when messages leave it, and a message leaves it only when the journal
 * says so: without a reserve, a spool that fills its own disk would wait for
 * itself for ever.
 */

import type { SpoolFiles } from "./files.ts";

/** Bytes kept free: the results of some hundred deliveries. */
const SIZE = 131_072;
const SLICE = 65_536;

/** A file that is there to be removed. */
export class SpoolReserve {
  readonly #files: SpoolFiles;
  readonly #path: string;
  #isHeld = false;
  #taking: Promise<void> | undefined;

  /**
   * Makes one that holds nothing yet.
   *
   * @param files The file operations
   * @param path The file
   */
  constructor(files: SpoolFiles, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /**
   * Sees to it that the room is held. Nothing new may be accepted before.
   *
   * @throws {Error} If there is not so much room
   */
  take(): void | Promise<void> {
    if (this.#isHeld) return;
    return this.#taking ??= this.#take().finally(() => {
      this.#taking = undefined;
    });
  }

  async #take(): Promise<void> {
    if (await this.#files.size(this.#path) === SIZE) {
      this.#isHeld = true;
      return;
    }
    await this.#files.remove(this.#path);
    const file = await this.#files.create(this.#path);
    try {
      for (let size = 0; size < SIZE; size += SLICE) {
        // Zeros could take no room at all on a disk that compresses.
        await file.write(crypto.getRandomValues(new Uint8Array(SLICE)));
      }
    } catch (error) {
      await this.#files.remove(this.#path).catch(() => {});
      throw error;
    } finally {
      file.close();
    }
    this.#isHeld = true;
  }

  /** Gives the room away. */
  async release(): Promise<void> {
    this.#isHeld = false;
    await this.#taking?.catch(() => {});
    this.#isHeld = false;
    await this.#files.remove(this.#path);
  }
}
