/**
 * A small file that is read again when it has changed. It is looked at when its
 * content is used, at most once a second: no timer runs, and nothing must be
 * closed. A change that cannot be used leaves the old content in force.
 */

import { printable } from "../log.ts";
import { readSmallFile } from "./small_file.ts";

/** Least milliseconds between two looks at a file. */
const LOOK_MS = 1000;

/** The result of a look: whether there is new content, or why a change cannot be used. */
export type Look =
  | { readonly changed: boolean }
  | { readonly error: unknown };

/** A file with its parsed content. */
export class RereadFile<T> {
  /** The path, absolute or relative to the current folder. */
  readonly path: string;
  readonly #parse: (text: string) => T;
  #current: T;
  #stamp: string;
  #nextLook = performance.now() + LOOK_MS;
  #looking: Promise<Look> | undefined;

  /**
   * @param content The content so far, until the first look
   * @param stamp That of the content, if it was read from the file
   */
  constructor(
    path: string,
    parse: (text: string) => T,
    { content, stamp }: { readonly content: T; readonly stamp?: string },
  ) {
    this.path = path;
    this.#parse = parse;
    this.#current = content;
    this.#stamp = stamp ?? "";
  }

  /**
   * Reads a file for the first time.
   *
   * @param parse Parses its text; throws if it cannot be used
   * @throws {Deno.errors.NotFound} If it does not exist; and what `parse` throws
   */
  static async load<T>(
    path: string,
    parse: (text: string) => T,
  ): Promise<RereadFile<T>> {
    const stamp = await stampOf(path);
    const content = parse(await readSmallFile(path));
    return new RereadFile(path, parse, { content, stamp });
  }

  /** The content in force. */
  get current(): T {
    return this.#current;
  }

  /**
   * Looks whether the file has changed; `undefined` within a second of the last
   * look. Of several that wait for one look, the first gets to know what it found.
   *
   * @param isNow Looks whenever the last look was
   */
  look(isNow = false): Promise<Look> | undefined {
    if (this.#looking !== undefined) {
      // What has changed since the look began is not seen by it.
      return isNow
        ? this.#looking.then(() => this.look(true)!)
        : this.#looking.then(() => ({ changed: false }));
    }
    if (!isNow && performance.now() < this.#nextLook) return undefined;
    return this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
      this.#nextLook = performance.now() + LOOK_MS;
    });
  }

  async #look(): Promise<Look> {
    const stamp = await stampOf(this.path);
    if (stamp === this.#stamp) return { changed: false };
    // A file that cannot be used is reported once.
    this.#stamp = stamp;
    try {
      await requireFile(this.path);
      this.#current = this.#parse(await readSmallFile(this.path));
      return { changed: true };
    } catch (error) {
      return { error };
    }
  }

  /**
   * Reads the file now.
   *
   * @throws {Error} If it cannot be read or used; the old content stays in force
   */
  async reload(): Promise<void> {
    // A look under way may have read what was there before.
    await this.#looking;
    const stamp = await stampOf(this.path);
    this.#current = this.#parse(await readSmallFile(this.path));
    this.#stamp = stamp;
  }
}

/** Time, inode and size of a file, as one text: another after a change. */
export async function stampOf(path: string): Promise<string> {
  const info = await Deno.stat(path).catch(() => undefined);
  return `${info?.mtime?.getTime()} ${info?.ino} ${info?.size}`;
}

/** Danger: a named pipe without a writer would hold every reader of the content for ever. */
async function requireFile(path: string): Promise<void> {
  const { isFile } = await Deno.stat(path);
  if (!isFile) {
    throw new TypeError(`Cannot reread "${printable(path)}": it is no file`);
  }
}
