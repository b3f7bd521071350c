/**
 * Appends to a mailbox file as one transaction: take the locks, write the
 * bytes, sync, release the locks. If a step fails, the file keeps the length it
 * had before.
 *
 * Within this thread the appends to one file run in order, and those that wait
 * together share the locks and the sync (group commit). Never appends to a file
 * without holding its locks, and never through a symbolic link.
 */

import { basename, dirname, join } from "node:path";
import {
  identityOf,
  isSameFile,
  makeFolder,
  makeFolderAgain,
  openForUpdate,
  syncNames,
  writeAll,
} from "../files/durable.ts";
import { lookAt, type MailboxOwners, requireTrusted } from "../files/trust.ts";
import type { Writable } from "./content.ts";
import { type LockOptions, takeDotLock, takeFileLock } from "./lock.ts";

/** How to append. */
export interface AppendOptions extends LockOptions {
  /** Whether to wait until the bytes are on the disk. */
  readonly sync: boolean;
  /** Line end, if the file must end in a blank line before the append; `undefined` if not. */
  readonly separator: string | undefined;
  /** User ids whose files are trusted, besides those that are always trusted. */
  readonly owners: MailboxOwners | undefined;
}

/** Place of an append. Enough to undo it as long as the file has not changed since. */
export interface AppendReceipt {
  /** Length of the file before, in bytes. */
  readonly start: number;
  /** Length of the file after, in bytes. */
  readonly end: number;
  /** Time of the file's last change, in ms since 1970. */
  readonly mtime: number | undefined;
}

/** One change of a file that is open and locked; returns the new length. */
type Change = (file: Deno.FsFile, end: number) => Promise<number>;

interface Job {
  readonly options: AppendOptions;
  readonly change: Change;
  readonly kind: "append" | "undo";
  readonly resolve: (receipt: AppendReceipt) => void;
  readonly reject: (reason: unknown) => void;
}

/** Most jobs that share locks and sync: a bound, so that other programs get their turn. */
const MAX_BATCH = 64;
/** Waiting jobs by canonical path. A path is here only while it has work. */
const waiting = new Map<string, Job[]>();

/**
 * Appends `content` to the file `path`. Makes the file and its folder where
 * they are missing.
 *
 * @throws {Deno.errors.TimedOut} If a lock is not free in time
 * @throws {TypeError} If `path` is not a regular file
 */
export async function appendToFile(
  path: string,
  content: Writable,
  options: AppendOptions,
): Promise<AppendReceipt> {
  const canonical = await canonicalPath(path, options.sync);
  return await enqueue(canonical, "append", options, async (file, end) => {
    const opening = await separation(file, end, options.separator);
    await file.seek(end, Deno.SeekMode.Start);
    if (opening.length > 0) await writeAll(file, opening);
    const { size } = await content.writeTo((bytes) => writeAll(file, bytes));
    return end + opening.length + size;
  });
}

/**
 * Undoes an append if the file has not changed since.
 *
 * @returns Whether the append was undone
 */
export async function undoAppend(
  path: string,
  receipt: AppendReceipt,
  options: AppendOptions,
): Promise<boolean> {
  const canonical = await canonicalPath(path, options.sync);
  let done = false;
  await enqueue(canonical, "undo", options, async (file, end) => {
    const { mtime } = await file.stat();
    if (end !== receipt.end || mtime?.getTime() !== receipt.mtime) return end;
    await file.truncate(receipt.start);
    done = true;
    return receipt.start;
  });
  return done;
}

/** One name for one file, whichever path leads to its folder. */
async function canonicalPath(path: string, sync: boolean): Promise<string> {
  const folder = dirname(path);
  await makeFolder(folder, { sync });
  try {
    return join(await Deno.realPath(folder), basename(path));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await makeFolderAgain(folder, { sync });
    return join(await Deno.realPath(folder), basename(path));
  }
}

function enqueue(
  path: string,
  kind: Job["kind"],
  options: AppendOptions,
  change: Change,
): Promise<AppendReceipt> {
  return new Promise((resolve, reject) => {
    const job: Job = { kind, options, change, resolve, reject };
    const jobs = waiting.get(path);
    if (jobs !== undefined) {
      jobs.push(job);
      return;
    }
    waiting.set(path, [job]);
    runJobs(path);
  });
}

/** Runs the jobs of one file. Never rejects: every failure goes to its jobs. */
async function runJobs(path: string): Promise<void> {
  const jobs = waiting.get(path)!;
  while (jobs.length > 0) {
    const batch = jobs.splice(0, batchLength(jobs));
    try {
      // Settled only after the locks are released: the caller may then remove
      // the folder, or lock the file itself.
      for (const settle of await commit(path, batch)) settle();
    } catch (error) {
      for (const job of batch) job.reject(error);
    }
  }
  waiting.delete(path);
}

/** Number of first jobs that fit into one batch: their options must agree in all that a batch does once. */
function batchLength(jobs: readonly Job[]): number {
  const first = jobs[0]!;
  if (first.kind === "undo") return 1;
  const wanted = terms(first.options);
  let length = 1;
  while (length < Math.min(jobs.length, MAX_BATCH)) {
    const job = jobs[length]!;
    if (job.kind !== "append" || terms(job.options) !== wanted) break;
    length++;
  }
  return length;
}

function terms(options: AppendOptions): string {
  const { locks, lockTimeoutMs, staleLockMs, sync, owners } = options;
  return `${locks} ${lockTimeoutMs} ${staleLockMs} ${sync} ${owners}`;
}

/** Runs the jobs; returns the functions that settle them, or throws the error that rejects them all. */
async function commit(
  path: string,
  batch: readonly Job[],
): Promise<readonly (() => void)[]> {
  const { options } = batch[0]!;
  const deadline = performance.now() + options.lockTimeoutMs;
  await using _lock = options.locks.includes("dotlock")
    ? await takeDotLock(path, { deadline, staleLockMs: options.staleLockMs })
    : undefined;
  const { file, made } = await openLocked(path, options, deadline);
  using _file = file;
  const start = await file.seek(0, Deno.SeekMode.End);
  try {
    const outcomes = await changeAll(file, batch, start);
    const changed = outcomes.some((outcome) => "end" in outcome);
    if (options.sync && changed) await file.syncData();
    const mtime = (await file.stat()).mtime?.getTime();
    if (made && !changed) await Deno.remove(path);
    else if (options.sync) await makeNameDurable(path, file, { made });
    return outcomes.map((outcome) => () =>
      "end" in outcome
        ? outcome.job.resolve({ start: outcome.start, end: outcome.end, mtime })
        : outcome.job.reject(outcome.reason)
    );
  } catch (error) {
    try {
      await shorten(file, start);
      if (made) await Deno.remove(path);
    } catch (second) {
      const text = `Cannot append to "${path}" nor take back what was written`;
      throw new AggregateError([error, second], text, { cause: error });
    }
    throw error;
  }
}

/** By path: identity of the file whose name is known to be on the disk. */
const durableNames = new Map<string, string>();
/** Most names remembered as durable. */
const MAX_DURABLE = 10_000;

/**
 * Syncs the folder, unless this thread knows that the file's name is on the
 * disk. Another thread or program may have made the file and not synced the
 * folder yet.
 */
async function makeNameDurable(
  path: string,
  file: Deno.FsFile,
  options: { readonly made: boolean },
): Promise<void> {
  const identity = identityOf(await file.stat());
  if (!options.made && durableNames.get(path) === identity) return;
  await syncNames(dirname(path), { isMade: options.made });
  if (durableNames.size >= MAX_DURABLE) durableNames.clear();
  durableNames.set(path, identity);
}

/** Outcome of a job: the place of its bytes, or the reason of its failure. */
type Outcome =
  | { readonly job: Job; readonly start: number; readonly end: number }
  | { readonly job: Job; readonly reason: unknown };

/** Makes the changes in order. Undoes one that fails, and goes on with the others. */
async function changeAll(
  file: Deno.FsFile,
  batch: readonly Job[],
  start: number,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = [];
  let end = start;
  for (const job of batch) {
    try {
      const from = end;
      end = await job.change(file, from);
      outcomes.push({ job, start: from, end });
    } catch (reason) {
      await shorten(file, end);
      outcomes.push({ job, reason });
    }
  }
  return outcomes;
}

/** Removes the bytes beyond `length`. */
async function shorten(file: Deno.FsFile, length: number): Promise<void> {
  const { size } = await file.stat();
  if (size > length) await file.truncate(length);
}

/**
 * Opens the file and locks it.
 *
 * Danger: between open and lock another program may have renamed a new mailbox
 * over the file; what is appended to the old one is lost. Rule: look at the
 * name again once the lock is held, and begin again if it means another file.
 */
async function openLocked(
  path: string,
  options: AppendOptions,
  deadline: number,
): Promise<{ file: Deno.FsFile; made: boolean }> {
  for (;;) {
    // Examined before it is opened: a named pipe would block, and a link would
    // be followed.
    const info = await lookAt(path, "file", `keep mail in "${path}"`);
    const made = info === undefined;
    if (info !== undefined) {
      const { owners } = options;
      await requireTrusted(path, info, { folder: dirname(path), owners });
    }
    const file = await openUnlessChanged(path, { createNew: made });
    if (file === undefined) {
      requireTime(path, deadline);
      continue;
    }
    try {
      if (options.locks.includes("flock")) {
        await takeFileLock(file, { deadline, path });
      }
      if (await isSameFile(file, path)) return { file, made };
    } catch (error) {
      file.close();
      throw error;
    }
    file.close();
    requireTime(path, deadline);
  }
}

/** Opens the file; `undefined` if it has appeared or gone since it was examined. */
async function openUnlessChanged(
  path: string,
  options: { readonly createNew: boolean },
): Promise<Deno.FsFile | undefined> {
  try {
    return await openForUpdate(path, options);
  } catch (error) {
    const changed = options.createNew
      ? Deno.errors.AlreadyExists
      : Deno.errors.NotFound;
    if (error instanceof changed) return undefined;
    throw error;
  }
}

function requireTime(path: string, deadline: number): void {
  if (performance.now() <= deadline) return;
  throw new Deno.errors.TimedOut(
    `Cannot lock "${path}" in time: another program keeps replacing it`,
  );
}

/** The line ends that the file lacks before a separator line: it must end in a blank line. */
async function separation(
  file: Deno.FsFile,
  end: number,
  newline: string | undefined,
): Promise<Uint8Array> {
  if (newline === undefined || end === 0) return new Uint8Array(0);
  const tail = new Uint8Array(Math.min(end, 4));
  await file.seek(end - tail.length, Deno.SeekMode.Start);
  let count = 0;
  while (count < tail.length) {
    const read = await file.read(tail.subarray(count));
    if (read === null) break;
    count += read;
  }
  const text = String.fromCharCode(...tail.subarray(0, count));
  const missing = /\n\r?\n$/.test(text) ? 0 : text.endsWith("\n") ? 1 : 2;
  return new TextEncoder().encode(newline.repeat(missing));
}
