/**
 * Examines the owner and the kind of a file or folder before anything is written
 * into it. If another user of the machine made it, or put a symbolic link in its
 * place, that user could read the mail or choose where it goes.
 *
 * Stands alone because stores and spool need the same rules. Changes no file.
 */

import { FILE_MODE } from "./durable.ts";

/** Permission to write for the group and for all others. */
const WRITABLE_BY_OTHERS = 0o022;

/**
 * The file or folder at `path`, if it is of the wanted kind; `undefined` if
 * there is nothing.
 *
 * @param path A symbolic link is not followed
 * @param purpose The attempt, for the error: `keep mail in "PATH"`
 * @throws {Deno.errors.NotADirectory} If a folder is wanted and something else is there
 * @throws {Deno.errors.IsADirectory} If a file is wanted and a folder is there
 * @throws {TypeError} If a file is wanted and something else is there
 */
export async function lookAt(
  path: string,
  kind: "folder" | "file",
  purpose: string,
): Promise<Deno.FileInfo | undefined> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  if (kind === "folder" ? info.isDirectory : info.isFile) return info;
  const found = info.isDirectory
    ? "a folder"
    : info.isSymlink
    ? "a symbolic link"
    : info.isFile
    ? "a file"
    : "a device";
  const text = `Cannot ${purpose}: want a ${kind}, found ${found}`;
  if (kind === "folder") throw new Deno.errors.NotADirectory(text);
  if (info.isDirectory) throw new Deno.errors.IsADirectory(text);
  throw new TypeError(text);
}

/**
 * Whether another user can change the content of a folder. Always `false` on a
 * system without modes.
 */
export function isWritableByOthers(info: Deno.FileInfo): boolean {
  return ((info.mode ?? 0) & WRITABLE_BY_OTHERS) !== 0;
}

/** User ids by folder: root, the folder's owner, and the owner of files that this process makes in it. */
const owners = new Map<string, Promise<ReadonlySet<number>>>();
/** Most folders whose owners are remembered. */
const MAX_OWNERS = 1000;

/**
 * The user ids whose files in `folder` are trusted: root, the folder's owner,
 * since they control all in it, and this process.
 *
 * The id of this process is that of a file made in the folder: some file systems
 * map ids, and the call that returns the id needs a permission of its own.
 */
export async function trustedOwners(
  folder: string,
): Promise<ReadonlySet<number>> {
  let found = owners.get(folder);
  if (found === undefined) {
    found = findOwners(folder);
    if (owners.size >= MAX_OWNERS) owners.clear();
    owners.set(folder, found);
    found.catch(() => owners.delete(folder));
  }
  return await found;
}

async function findOwners(folder: string): Promise<ReadonlySet<number>> {
  const found = new Set([0]);
  const { uid } = await Deno.stat(folder);
  if (uid !== null) found.add(uid);
  const own = await ownId(folder);
  if (own !== null) found.add(own);
  return found;
}

async function ownId(folder: string): Promise<number | null> {
  const name = crypto.randomUUID();
  const path = `${folder}/.${name}.tmp`;
  try {
    using file = await Deno.open(path, {
      write: true,
      createNew: true,
      mode: FILE_MODE,
    });
    return (await file.stat()).uid;
  } catch (error) {
    // Files in the folder may still be writable; only its owner's are trusted.
    if (error instanceof Deno.errors.PermissionDenied) return null;
    throw error;
  } finally {
    await Deno.remove(path).catch(() => {});
  }
}

/** The user ids whose mailboxes get mail; `"any"` for all. */
export type MailboxOwners = readonly number[] | "any";

/**
 * Rejects a mailbox of a user that is not trusted, and a file with several names
 * (hard links): it may be another user's file elsewhere.
 *
 * @param folder The store's folder, which contains the mailbox
 * @throws {Deno.errors.PermissionDenied} If the mailbox is another user's, or has several names
 */
export async function requireTrusted(
  path: string,
  info: Deno.FileInfo,
  options: {
    readonly folder: string;
    readonly owners: MailboxOwners | undefined;
  },
): Promise<void> {
  const { folder, owners: named = [] } = options;
  if (named === "any" || info.uid === null) return;
  if (info.isFile && (info.nlink ?? 1) > 1) {
    throw new Deno.errors.PermissionDenied(
      `Cannot keep mail in "${path}": it has ${info.nlink} names (hard links), want one`,
    );
  }
  if (named.includes(info.uid)) return;
  if ((await trustedOwners(folder)).has(info.uid)) return;
  throw new Deno.errors.PermissionDenied(
    `Cannot keep mail in "${path}": it belongs to user ${info.uid}, want one of "owners", root, the owner of the folder, or this process, where it may make files there`,
  );
}
