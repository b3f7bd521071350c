/**
 * Files and folders that outlive a crash: written, synced, renamed, and the
 * folder synced, in that order. Knows nothing of messages.
 *
 * Never leaves a partial file behind when it fails, nor a descriptor open.
 */

import { dirname } from "node:path";
import type { ContentSize, Writable } from "./content.ts";

/** Mail is its owner's: nobody else reads the files and folders made here. */
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Writes all of `octets`: one write may take less than it was given. */
export async function writeAll(
  file: Deno.FsFile,
  octets: Uint8Array,
): Promise<void> {
  let at = await file.write(octets);
  while (at < octets.length) at += await file.write(octets.subarray(at));
}

/**
 * Makes the file `path`, which must not exist, and resolves when its octets are
 * on the disk (`sync`) or handed to the system. Its folder is not synced.
 *
 * @throws {Deno.errors.AlreadyExists} If there is such a file
 */
export async function writeNewFile(
  path: string,
  content: Writable,
  options: { readonly sync: boolean },
): Promise<ContentSize> {
  using file = await Deno.open(path, {
    write: true,
    createNew: true,
    mode: FILE_MODE,
  });
  try {
    const size = await content.writeTo((octets) => writeAll(file, octets));
    if (options.sync) await file.syncData();
    return size;
  } catch (error) {
    await Deno.remove(path).catch(() => {});
    throw error;
  }
}

/** Opens `path` for appending under a lock: read, write, made if it is not there. */
export function openForUpdate(path: string): Promise<Deno.FsFile> {
  return Deno.open(path, {
    read: true,
    write: true,
    create: true,
    mode: FILE_MODE,
  });
}

interface FolderSync {
  readonly current: Promise<void>;
  next?: Promise<void>;
}

const folderSyncs = new Map<string, FolderSync>();

/**
 * Resolves when what was renamed into the folder before this call is there for
 * good. Calls for one folder at one time share the work.
 */
export function syncFolder(path: string): Promise<void> {
  // Windows cannot open a folder as a file; its file systems keep a log of names.
  if (Deno.build.os === "windows") return Promise.resolve();
  const under = folderSyncs.get(path);
  if (under === undefined) return startSync(path);
  // One that has begun may have missed the caller's rename: share the next.
  under.next ??= under.current.then(
    () => startSync(path),
    () => startSync(path),
  );
  return under.next;
}

function startSync(path: string): Promise<void> {
  const current = syncNow(path).finally(() => {
    if (folderSyncs.get(path) === entry && entry.next === undefined) {
      folderSyncs.delete(path);
    }
  });
  const entry: FolderSync = { current };
  folderSyncs.set(path, entry);
  return current;
}

async function syncNow(path: string): Promise<void> {
  using folder = await Deno.open(path);
  await folder.sync();
}

/** Makes the folder and those above it where they are missing, and syncs what it changed. */
export async function makeFolder(
  path: string,
  options: { readonly sync: boolean },
): Promise<void> {
  const parent = dirname(path);
  try {
    await Deno.mkdir(path, { mode: FOLDER_MODE });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    if (!(error instanceof Deno.errors.NotFound) || parent === path) {
      throw error;
    }
    await makeFolder(parent, options);
    await Deno.mkdir(path, { mode: FOLDER_MODE }).catch(unlessExists);
  }
  if (options.sync) await syncFolder(parent);
}

function unlessExists(error: unknown): void {
  if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
}

/**
 * Refuses a mailbox that is not what it should be: a symbolic link in its place
 * would let whoever made it choose where mail is written.
 *
 * @returns Whether there is anything at `path`
 * @throws {Deno.errors.NotADirectory} If a folder is wanted and it is something else
 * @throws {Deno.errors.IsADirectory} If a file is wanted and it is a folder
 * @throws {TypeError} If a file is wanted and it is something else
 */
export async function requireKind(
  path: string,
  kind: "folder" | "file",
): Promise<boolean> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  if (kind === "folder" ? info.isDirectory : info.isFile) return true;
  const found = info.isDirectory
    ? "a folder"
    : info.isSymlink
    ? "a symbolic link"
    : info.isFile
    ? "a file"
    : "a device";
  const text = `Cannot keep mail in "${path}": want a ${kind}, found ${found}`;
  if (kind === "folder") throw new Deno.errors.NotADirectory(text);
  if (info.isDirectory) throw new Deno.errors.IsADirectory(text);
  throw new TypeError(text);
}

/** Whether `path` still names the open file, and not another or a link to it. */
export async function isSameFile(
  file: Deno.FsFile,
  path: string,
): Promise<boolean> {
  const mine = await file.stat();
  try {
    const there = await Deno.lstat(path);
    return there.isFile && there.dev === mine.dev && there.ino === mine.ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
