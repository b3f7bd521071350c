/**
 * Files and folders that survive a loss of power. The order of the steps is:
 * write, sync, rename, sync the folder. Knows nothing of messages.
 *
 * Never leaves a partial file behind when it fails, nor a descriptor open.
 */

import { dirname } from "node:path";

/** Mode of files. Mail belongs to one user: no other user may read it. */
export const FILE_MODE = 0o600;
/** Mode of folders. */
export const FOLDER_MODE = 0o700;
/** Most folders remembered as durable. */
const MAX_DURABLE = 10_000;
/** Error codes of file systems that cannot sync a folder or need not. */
const NO_FOLDER_SYNC: ReadonlySet<unknown> = new Set([
  "EINVAL",
  "ENOSYS",
  "ENOTSUP",
  "EROFS",
]);

/** Whether files and folders must be on the disk before they count as made. */
export interface SyncOptions {
  /** `false` skips every sync. */
  readonly sync: boolean;
}

/** Writes all of `bytes`: a single write may take fewer. */
export async function writeAll(
  file: Deno.FsFile,
  bytes: Uint8Array,
): Promise<void> {
  let at = await file.write(bytes);
  while (at < bytes.length) at += await file.write(bytes.subarray(at));
}

/**
 * Makes the file `path`, which must not exist, and resolves when its content is
 * on the disk (`sync`) or handed to the system. Its folder is not synced.
 *
 * @throws {Deno.errors.AlreadyExists} If there is such a file
 */
export async function writeNewFile<T>(
  path: string,
  write: (file: Deno.FsFile) => Promise<T>,
  options: SyncOptions,
): Promise<T> {
  using file = await Deno.open(path, {
    write: true,
    createNew: true,
    mode: FILE_MODE,
  });
  try {
    const result = await write(file);
    if (options.sync) await file.syncData();
    return result;
  } catch (error) {
    await Deno.remove(path).catch(() => {});
    throw error;
  }
}

/**
 * Opens `path` to read and to write, for an append under a lock.
 *
 * @param options `createNew`: make the file; it must not exist yet
 */
export function openForUpdate(
  path: string,
  options: { readonly createNew: boolean },
): Promise<Deno.FsFile> {
  const { createNew } = options;
  return Deno.open(path, {
    read: true,
    write: true,
    ...(createNew && { createNew, mode: FILE_MODE }),
  });
}

interface FolderSync {
  readonly current: Promise<void>;
  next?: Promise<void>;
}

const folderSyncs = new Map<string, FolderSync>();

/**
 * Resolves when all names that were in the folder before this call are on the
 * disk. Calls for one folder at the same time share the work.
 */
export function syncFolder(path: string): Promise<void> {
  // Windows cannot open a folder as a file; its file systems have a journal of names.
  if (Deno.build.os === "windows") return Promise.resolve();
  const under = folderSyncs.get(path);
  if (under === undefined) return startSync(path);
  // A sync that has begun may have missed the caller's rename: share the next one.
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

/** By path: settles when the names of the folder and of all above it are on the disk. */
const durableFolders = new Map<string, Promise<void>>();

/**
 * Makes the folder and those above it where they are missing, and resolves when
 * the names of all of them are on the disk.
 *
 * Danger: that a folder exists does not say that its name is on the disk; the
 * thread or program that made it may be waiting for that still. Rule: the first
 * use in this thread syncs the folders above, no matter which program made it.
 */
export async function makeFolder(
  path: string,
  options: SyncOptions,
): Promise<void> {
  if (!options.sync) {
    return await Deno.mkdir(path, { mode: FOLDER_MODE, recursive: true });
  }
  let durable = durableFolders.get(path);
  if (durable === undefined) {
    durable = makeDurable(path);
    if (durableFolders.size >= MAX_DURABLE) durableFolders.clear();
    durableFolders.set(path, durable);
    durable.catch(() => durableFolders.delete(path));
  }
  await durable;
}

/** {@linkcode makeFolder} for a folder that was made before and has been removed. */
export async function makeFolderAgain(
  path: string,
  options: SyncOptions,
): Promise<void> {
  for (let at = path; durableFolders.delete(at); at = dirname(at));
  await makeFolder(path, options);
}

async function makeDurable(path: string): Promise<void> {
  const parent = dirname(path);
  if (parent === path) return;
  await makeFolder(parent, { sync: true }).catch(unlessDenied);
  let isMade: boolean;
  try {
    isMade = await makeOne(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await makeFolderAgain(parent, { sync: true });
    isMade = await makeOne(path);
  }
  try {
    await syncNames(parent, { isMade });
  } catch (error) {
    // Removed: the next use would take the folder for one of another program.
    if (isMade) await Deno.remove(path).catch(() => {});
    throw error;
  }
}

/**
 * Makes one folder.
 *
 * @returns Whether it was missing
 */
export async function makeOne(path: string): Promise<boolean> {
  try {
    await Deno.mkdir(path, { mode: FOLDER_MODE });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return false;
    throw error;
  }
}

/** Syncs the names in a folder. If nothing was made in it, a folder that cannot be synced is no error. */
export async function syncNames(
  path: string,
  options: { readonly isMade: boolean },
): Promise<void> {
  try {
    await syncFolder(path);
  } catch (error) {
    if (options.isMade) throw error;
    const { code } = error as { code?: unknown };
    if (!NO_FOLDER_SYNC.has(code)) unlessDenied(error);
  }
}

/** Ignores the error of a folder that this program may not open: another program has made it. */
function unlessDenied(error: unknown): void {
  const isDenied = error instanceof Deno.errors.PermissionDenied ||
    error instanceof Deno.errors.NotCapable;
  if (!isDenied) throw error;
}

/**
 * Identifies a file or folder. Where the file system has a birth time, also
 * distinguishes it from a later file with the same inode number.
 */
export function identityOf(info: Deno.FileInfo): string {
  return `${info.dev}:${info.ino}:${info.birthtime?.getTime()}`;
}

/** Whether `path` still names the open file, and not another file or a symbolic link. */
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
