/**
 * The file operations that the spool uses, as an interface, so that a test can
 * simulate a disk that is full or a machine that loses power. Owns the rule that
 * only the owner can read spool files. Decides nothing.
 */

import { resolve } from "node:path";
import { FILE_MODE, makeFolderAgain, syncFolder } from "../files/durable.ts";
import { isWritableByOthers, lookAt, trustedOwners } from "../files/trust.ts";

/** A file open for writing. */
export interface SpoolFile {
  /** Appends all of `bytes`. After a failure any part of them may be in the file. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the content survives a loss of power. */
  sync(): Promise<void>;
  /** Cuts the file to `size` bytes; the next write goes behind them. */
  truncate(size: number): Promise<void>;
  /** Closes the file. Never throws. */
  close(): void;
}

/** File operations, each as atomic as the file system makes it. */
export interface SpoolFiles {
  /**
   * Makes a folder with mode 0700, and its parents; does nothing if it exists.
   * Resolves when their names survive a loss of power.
   */
  makeFolder(path: string): Promise<void>;
  /**
   * Rejects a path that another user may have made or may change; accepts a path
   * that does not exist.
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
  /** The size of a file in bytes; `undefined` if it does not exist. */
  size(path: string): Promise<number | undefined>;
  /** Makes a new file with mode 0600; fails if it exists. */
  create(path: string): Promise<SpoolFile>;
  /** Opens a file for appending; makes it, with mode 0600, if it does not exist. */
  append(path: string): Promise<SpoolFile>;
  /** The content from `offset` on, in chunks of up to `chunkSize` bytes that are not reused. */
  read(
    path: string,
    options: { readonly offset: number; readonly chunkSize: number },
  ): AsyncGenerator<Uint8Array<ArrayBuffer>>;
  /** Renames a file, replacing one of the new name. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; does nothing if it does not exist. */
  remove(path: string): Promise<void>;
  /** Resolves when the folder's list of names survives a loss of power. */
  syncFolder(path: string): Promise<void>;
  /**
   * Takes a lock that ends with the process at the latest.
   *
   * @returns A function that releases it, or `undefined` if another process has it
   */
  lock(path: string): Promise<(() => void) | undefined>;
}

/** The operations of the real file system. */
export const DENO_FILES: SpoolFiles = {
  async makeFolder(path: string): Promise<void> {
    await makeFolderAgain(resolve(path), { sync: true });
  },
  async requireOurs(
    path: string,
    kind: "folder" | "file",
    folder: string,
  ): Promise<void> {
    // The spool folder itself may be a link: the operator chose it.
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
    // left behind by a killed process locks no other process out.
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
        // Closed already: the file is not open, which is what matters.
      }
    },
  };
}

/** Bytes copied at once. */
const COPY_CHUNK = 256 * 1024;

/** Copies a file, replacing one of the new name. */
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
