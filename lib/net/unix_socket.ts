/**
 * A unix socket to listen on, as a file: takes its path, sets its mode and owner,
 * and removes it at the end. Knows nothing of connections and of SMTP. It stands
 * alone because the rules for the file are not those of a listener of TCP.
 *
 * Never touches a file that is no socket, nor a socket that a server answers on:
 * a path with a typing error must not cost a file, and a second server must not
 * take the clients of the first. The platform unlinks the path when a listener
 * closes, whatever is there by then: {@linkcode UnixSocketFile.release} keeps
 * what another server has put there.
 */

import { lchownSync } from "node:fs";
import { resolve } from "node:path";
import { errorMessage } from "../log.ts";

/** Mode of a socket without the option `mode`: its owner and its group may connect. */
const DEFAULT_MODE = 0o660;

/** Longest path of a unix socket in bytes, by the size of the platform's `sun_path`. */
export const MOST_PATH_BYTES: number =
  Deno.build.os === "linux" || Deno.build.os === "android" ? 107 : 103;

/** The file of a unix socket. */
export interface UnixSocketOptions {
  /** Its path. */
  readonly path: string;
  /** Its permissions, 0o660 by default. */
  readonly mode?: number | undefined;
  /** The number of the user that owns it. */
  readonly owner?: number | undefined;
  /** The number of its group. */
  readonly group?: number | undefined;
}

/** A unix socket that listens, and its file. */
export interface BoundSocket {
  readonly file: UnixSocketFile;
  readonly listener: Deno.UnixListener;
}

/** The file of a listening unix socket, from its binding to its end. */
export class UnixSocketFile {
  /** The path, absolute: a program may change its folder meanwhile. */
  readonly path: string;
  readonly #device: number;
  readonly #inode: number | null;
  /** Where the file of another server is for a moment. */
  #aside: string | undefined;

  /** Made by {@linkcode UnixSocketFile.bind}. */
  constructor(path: string, { dev, ino }: Deno.FileInfo) {
    this.path = path;
    this.#device = dev;
    this.#inode = ino;
  }

  /**
   * Listens on a path. Removes a socket there that no server answers on. Until its
   * mode is set, at once after it is made, the umask of the process decides.
   *
   * @throws {Deno.errors.AddrInUse} If a server answers there
   * @throws {Deno.errors.AlreadyExists} If a file of another kind is there
   * @throws {Deno.errors.PermissionDenied} If the folder, owner or group is forbidden
   */
  static async bind(
    options: UnixSocketOptions,
  ): Promise<BoundSocket> {
    const path = resolve(options.path);
    await removeStale(path);
    return listenAt(path, options);
  }

  /**
   * Closes the listener, and the platform removes the file. One that another
   * server has put in its place is set aside meanwhile: the platform unlinks the
   * path later, when an accept under way has ended. Then the caller must call
   * {@linkcode UnixSocketFile.restore}.
   */
  release(listener: Deno.UnixListener): void {
    if (!this.#isOwn()) this.#aside = setAside(this.path);
    listener.close();
  }

  /** Puts back what was set aside. */
  restore(): void {
    if (this.#aside === undefined) return;
    try {
      Deno.renameSync(this.#aside, this.path);
    } catch {
      // The folder was removed meanwhile.
    }
    this.#aside = undefined;
  }

  #isOwn(): boolean {
    const found = fileAt(this.path);
    return found === undefined ||
      (found.dev === this.#device && found.ino === this.#inode);
  }
}

/** The number that leaves an owner or a group as it is. */
const KEEP = 0xffffffff;

/** Makes the socket, with its owner and mode. In one go, so that no client comes in between. */
function listenAt(
  path: string,
  { owner, group, mode = DEFAULT_MODE }: UnixSocketOptions,
): BoundSocket {
  const listener = Deno.listen({ transport: "unix", path });
  try {
    const file = new UnixSocketFile(path, Deno.lstatSync(path));
    if (owner !== undefined || group !== undefined) {
      // No client of the old owner may connect before the new one has it.
      Deno.chmodSync(path, 0);
      lchownSync(path, owner ?? KEEP, group ?? KEEP);
    }
    Deno.chmodSync(path, mode);
    return { file, listener };
  } catch (error) {
    listener.close();
    throw error;
  }
}

/** Moves a file out of the way of an unlinking; returns where it is, or `undefined` if it cannot be moved. */
function setAside(path: string): string | undefined {
  const aside = `${path}.${crypto.randomUUID().slice(0, 8)}`;
  try {
    Deno.renameSync(path, aside);
    return aside;
  } catch {
    return undefined;
  }
}

/** What is at a path itself, not behind a link; `undefined` if nothing is there or it cannot be read. */
function fileAt(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch {
    return undefined;
  }
}

/** Removes a file if it is still the same. */
function removeSame(path: string, { dev, ino }: Deno.FileInfo): void {
  const now = fileAt(path);
  if (now?.ino === ino && now.dev === dev) Deno.removeSync(path);
}

/** Removes a socket that no server answers on, as one leaves it behind that was killed. */
async function removeStale(path: string): Promise<void> {
  const before = fileAt(path);
  if (before === undefined) return;
  if (!before.isSocket) {
    throw new Deno.errors.AlreadyExists(
      before.isDirectory
        ? "A folder is there, and a socket is a file"
        : "A file that is no socket is there",
    );
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    if (error instanceof Deno.errors.PermissionDenied) throw error;
    if (error instanceof Deno.errors.NotCapable) throw error;
    if (error instanceof Deno.errors.ConnectionRefused) {
      return removeSame(path, before);
    }
    // Its queue is full, or it is a socket of another type.
    throw new Deno.errors.AddrInUse(
      `A socket is there, and it cannot be told whether a server answers on it: ${
        errorMessage(error)
      }`,
      { cause: error },
    );
  }
  throw new Deno.errors.AddrInUse("A server answers there");
}
