/**
 * The few file operations that the spool is built of, as an interface, so that
 * a test can stand in for a disk that is full or a machine that lost power.
 * Owns the fact that spool files are readable by their owner only. Decides
 * nothing.
 */

import { resolve } from "node:path";
import { FILE_MODE, makeFolderAgain, syncFolder } from "../files/durable.ts";
import { isWritableByOthers, lookAt, trustedOwners } from "../files/trust.ts";

/** A file open for writing. */
export interface SpoolFile {
  /** Writes all of `bytes` at the end. After a failure any part of them may be there. */
  write(bytes: Uint8Array): Promise<void>;
  /** Returns once the content survives a loss of power. */
  sync(): Promise<void>;
  /** Cuts the file to `size` bytes; what is written next goes behind them. */
  truncate(size: number): Promise<void>;
  /** Closes the file. Never throws. */
  close(): void;
}

/** File operations, each as atomic as the file system makes it. */
export interface SpoolFiles {
  /**
   * Makes a folder with mode 0700, and those above it; nothing if it is there.
   * Resolves when their names survive a loss of power.
   */
  makeFolder(path: string): Promise<void>;
  /**
   * Refuses what is at `path` if another user may have put it there, or may
   * change it; passes if there is nothing.
   *
   * @param folder The spool folder
   * @throws {Error} If it is a symbolic link, of another kind, another user's, or writable by others
   */
  requireOurs(
    path: string,
    kind: "folder" | "file",
    folder: string,
  ): Promise<void>;
  /** The names of the files in a folder. */
  list(path: string): Promise<string[]>;
  /** The size of a file in bytes; `undefined` if it is not there. */
  size(path: string): Promise<number | undefined>;
  /** Makes a new file with mode 0600; fails if it exists. */
  create(path: string): Promise<SpoolFile>;
  /** Opens a file to write behind what it has; makes it, with mode 0600, if need be. */
  append(path: string): Promise<SpoolFile>;
  /** The content from `offset` on, in pieces of up to `chunkSize` bytes that stay untouched. */
  read(
    path: string,
    options: { readonly offset: number; readonly chunkSize: number },
  ): AsyncGenerator<Uint8Array<ArrayBuffer>>;
  /** Gives a file another name, replacing what had it. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing if it is not there. */
  remove(path: string): Promise<void>;
  /** Returns once the folder's list of names survives a loss of power. */
  syncFolder(path: string): Promise<void>;
  /**
   * Takes a lock that ends with the process at the latest.
   *
   * @returns A function that gives it back, or `undefined` if another has it
   */
  lock(path: string): Promise<(() => void) | undefined>;
}

/** The real thing. */
export const DENO_FILES: SpoolFiles = {
  async makeFolder(path: string): Promise<void> {
    await makeFolderAgain(resolve(path), { sync: true });
  },
  async requireOurs(
    path: string,
    kind: "folder" | "file",
    folder: string,
  ): Promise<void> {
    // The folder itself may be reached by a link: whoever named it chose that.
    const info = path === folder
      ? await Deno.stat(path)
      : await lookAt(path, kind, `use "${path}"`);
    if (info === undefined || info.uid === null) return;
    const mode = (info.mode! & 0o7777).toString(8).padStart(4, "0");
    if (isWritableByOthers(info)) {
      throw new Deno.errors.PermissionDenied(
        `Cannot use "${path}": it is writable by others (mode ${mode}), want a mode such as 0700`,
      );
    }
    if (info.isFile && (info.nlink ?? 1) > 1) {
      throw new Deno.errors.PermissionDenied(
        `Cannot use "${path}": it has ${info.nlink} names (hard links), want one`,
      );
    }
    if ((await trustedOwners(folder)).has(info.uid)) return;
    throw new Deno.errors.PermissionDenied(
      `Cannot use "${path}": it belongs to user ${info.uid}, want this process's own`,
    );
  },
  async list(path: string): Promise<string[]> {
    const names: string[] = [];
    for await (const entry of Deno.readDir(path)) {
      if (entry.isFile) names.push(entry.name);
    }
    return names;
  },
  async size(path: string): Promise<number | undefined> {
    try {
      return (await Deno.stat(path)).size;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  },
  async create(path: string): Promise<SpoolFile> {
    return wrap(
      await Deno.open(path, { write: true, createNew: true, mode: FILE_MODE }),
    );
  },
  async append(path: string): Promise<SpoolFile> {
    return wrap(
      await Deno.open(path, { append: true, create: true, mode: FILE_MODE }),
    );
  },
  async *read(
    path: string,
    options: { readonly offset: number; readonly chunkSize: number },
  ): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    using file = await Deno.open(path);
    if (options.offset > 0) {
      await file.seek(options.offset, Deno.SeekMode.Start);
    }
    for (;;) {
      const chunk = new Uint8Array(options.chunkSize);
      const count = await file.read(chunk);
      if (count === null) return;
      yield chunk.subarray(0, count);
    }
  },
  async rename(from: string, to: string): Promise<void> {
    await Deno.rename(from, to);
  },
  async remove(path: string): Promise<void> {
    try {
      await Deno.remove(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  },
  async syncFolder(path: string): Promise<void> {
    await syncFolder(path);
  },
  async lock(path: string): Promise<(() => void) | undefined> {
    const file = await Deno.open(path, {
      write: true,
      create: true,
      mode: FILE_MODE,
    });
    // The lock belongs to the open file, not to its name or content: a file
    // left behind by a process that was killed locks nobody out.
    if (await file.tryLock(true)) return () => file.close();
    file.close();
    return undefined;
  },
};

function wrap(file: Deno.FsFile): SpoolFile {
  return {
    async write(bytes: Uint8Array): Promise<void> {
      for (let at = 0; at < bytes.length;) {
        at += await file.write(bytes.subarray(at));
      }
    },
    sync: () => file.syncData(),
    truncate: (size: number) => file.truncate(size),
    close(): void {
      try {
        file.close();
      } catch {
        // Closed already; nothing is held open, and that is all that counts.
      }
    },
  };
}

/** Bytes that are copied at once. */
const COPY_CHUNK = 256 * 1024;

/** Copies a file, replacing one that has the name. */
export async function copyFile(
  files: SpoolFiles,
  from: string,
  to: string,
): Promise<void> {
  await files.remove(to);
  const copy = await files.create(to);
  try {
    const chunks = files.read(from, { offset: 0, chunkSize: COPY_CHUNK });
    for await (const chunk of chunks) await copy.write(chunk);
  } finally {
    copy.close();
  }
}
