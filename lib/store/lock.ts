/**
 * Locks on mailbox files that other mail programs use as well: the dot-lock, a
 * file `NAME.lock` beside the mailbox, and `flock(2)` on the mailbox itself.
 * Both try again until a deadline, never forever.
 *
 * Never breaks a lock whose owner may be alive.
 */

import process from "node:process";
import { isSameFile, writeAll } from "../files/durable.ts";
import { list, milliseconds, oneOf, type Rules } from "../options.ts";
import { hostName, uniqueName } from "./unique_name.ts";

/** Which locks to take, and how long to try. */
export interface LockOptions {
  /** The locks to take; the dot-lock is taken first. */
  readonly locks: readonly ("dotlock" | "flock")[];
  /** Longest wait for locks that other programs hold, in ms. */
  readonly lockTimeoutMs: number;
  /** Age from which a dot-lock of a dead owner is broken, in ms. */
  readonly staleLockMs: number;
}

/** The options of a store that concern its locks. */
export interface LockSettings {
  /**
   * Locks to take for appending. Programs that read the file must use one of
   * them. `"flock"` means `flock(2)`, not `fcntl(2)`.
   *
   * @default {["dotlock", "flock"]}
   */
  readonly locks?: readonly ("dotlock" | "flock")[] | undefined;
  /**
   * Longest wait for locks that other programs hold, in ms.
   *
   * @default {30000}
   */
  readonly lockTimeoutMs?: number | undefined;
  /**
   * Age from which a dot-lock of a dead owner is broken, in ms.
   *
   * @default {60000}
   */
  readonly staleLockMs?: number | undefined;
}

/** The rules for {@linkcode LockSettings}. */
export const LOCK_RULES: Rules<LockSettings> = {
  locks: list(
    oneOf("dotlock", "flock"),
    'an array of "dotlock" and "flock"',
  ),
  lockTimeoutMs: milliseconds,
  staleLockMs: milliseconds,
};

/** The settings with their defaults. */
export function lockOptions(settings: LockSettings): LockOptions {
  return {
    locks: settings.locks ?? ["dotlock", "flock"],
    lockTimeoutMs: settings.lockTimeoutMs ?? 30_000,
    staleLockMs: settings.staleLockMs ?? 60_000,
  };
}

const FIRST_WAIT_MS = 5;
const LONGEST_WAIT_MS = 200;
/** Content of a dot-lock by this program and some others: process id and host. */
const OWNER = /^(\d{1,10}):(\S+)\s*$/;

/** A dot-lock that is held; disposing of it releases the lock. */
class DotLock implements AsyncDisposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  /**
   * Represents a lock that has been taken.
   *
   * @param file The lock file, just made; open as long as the lock is held
   */
  constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /** Removes the lock, unless another program has broken it and made its own. Never throws. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (await isSameFile(this.#file, this.#path)) {
        await Deno.remove(this.#path);
      }
    } catch {
      // The mailbox is in order; the next program breaks the lock as stale.
    } finally {
      this.#file.close();
    }
  }
}

/**
 * Takes the dot-lock of the mailbox `path`.
 *
 * @param deadline When to give up, on the clock of `performance.now()`
 * @throws {Deno.errors.TimedOut} If another program holds it until the deadline
 */
export async function takeDotLock(
  path: string,
  options: { readonly deadline: number; readonly staleLockMs: number },
): Promise<DotLock> {
  const lockPath = `${path}.lock`;
  for (let wait = FIRST_WAIT_MS;; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    const lock = await makeDotLock(lockPath);
    if (lock !== undefined) return lock;
    if (await breakStale(lockPath, options.staleLockMs)) continue;
    await pause(wait, options.deadline, lockPath);
  }
}

/**
 * Takes an exclusive `flock(2)` on an open file.
 *
 * @param deadline When to give up, on the clock of `performance.now()`
 * @throws {Deno.errors.TimedOut} If another program holds it until the deadline
 */
export async function takeFileLock(
  file: Deno.FsFile,
  options: { readonly deadline: number; readonly path: string },
): Promise<void> {
  // A blocking call could not stop at the deadline.
  for (let wait = FIRST_WAIT_MS;; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    if (await file.tryLock(true)) return;
    await pause(wait, options.deadline, options.path);
  }
}

async function pause(
  wait: number,
  deadline: number,
  path: string,
): Promise<void> {
  const left = deadline - performance.now();
  if (left <= 0) {
    throw new Deno.errors.TimedOut(
      `Cannot lock "${path}" in time: another program holds it`,
    );
  }
  await new Promise((resolve) => setTimeout(resolve, Math.min(wait, left)));
}

async function makeDotLock(lockPath: string): Promise<DotLock | undefined> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(lockPath, {
      read: true,
      write: true,
      createNew: true,
      mode: 0o644,
    });
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return undefined;
    throw error;
  }
  const lock = new DotLock(lockPath, file);
  try {
    // Held as long as this lock is. It shows that the owner is alive where the
    // process id cannot: another thread, or the next process in the same
    // container, has the same id.
    await file.tryLock(true);
    const owner = new TextEncoder().encode(`${Deno.pid}:${hostName()}`);
    await writeAll(file, owner);
    return lock;
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Removes the dot-lock if its owner is dead. Returns whether to try again at once.
 *
 * Danger: two programs that judge the same lock stale; the slower one would
 * remove the lock that the faster one has made since. Rule: only a program that
 * holds `flock` on the stale file may remove it, after seeing that the name
 * still means that file; and it is renamed first, so that a replacement by other
 * means is noticed and put back.
 */
async function breakStale(lockPath: string, staleMs: number): Promise<boolean> {
  try {
    if (!(await Deno.lstat(lockPath)).isFile) return false;
    using file = await Deno.open(lockPath);
    if (!(await file.tryLock(true))) return false;
    if (!(await isStale(file, staleMs))) return false;
    if (!(await isSameFile(file, lockPath))) return true;
    const aside = `${lockPath}~${uniqueName()}`;
    await Deno.rename(lockPath, aside);
    const right = await isSameFile(file, aside);
    if (!right) await Deno.link(aside, lockPath).catch(() => {});
    await Deno.remove(aside);
    return right;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    // A lock that cannot be read belongs to another user: wait for its release.
    if (error instanceof Deno.errors.PermissionDenied) return false;
    throw error;
  }
}

async function isStale(file: Deno.FsFile, staleMs: number): Promise<boolean> {
  const { mtime, size } = await file.stat();
  if (mtime === null || Date.now() - mtime.getTime() < staleMs) return false;
  // Its owner was killed before it wrote its process id.
  if (size === 0) return true;
  const bytes = new Uint8Array(512);
  const count = await file.read(bytes) ?? 0;
  const text = new TextDecoder().decode(bytes.subarray(0, count));
  const [, pid, host] = OWNER.exec(text) ?? [];
  if (pid === undefined || host !== hostName()) return false;
  return Number(pid) === Deno.pid || !isAlive(Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Any other error, such as a missing permission, says nothing about the process.
    return !(error instanceof Error && "code" in error &&
      error.code === "ESRCH");
  }
}
