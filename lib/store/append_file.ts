/**
 * Appending to a mailbox file as one transaction: locks taken, octets written,
 * synced, locks given back; or the file is as long as it was before.
 *
 * Within this thread the appends to one file wait for each other in order, and
 * those that wait together share the locks and the sync (group commit). Never
 * appends to a file without holding its locks, and never through a symbolic
 * link.
 */

import { basename, dirname, join } from "node:path";
import type { Writable } from "./content.ts";
import {
  isSameFile,
  makeFolder,
  openForUpdate,
  requireKind,
  syncFolder,
  writeAll,
} from "./durable.ts";
import { type LockOptions, takeDotLock, takeFileLock } from "./lock.ts";

/** How to append. */
export interface AppendOptions extends LockOptions {
  /** Whether to wait until the octets are on the disk. */
  readonly sync: boolean;
  /** Line end, wherever the file must be brought to a blank line first; `undefined` for no such care. */
  readonly separator: string | undefined;
}

/** Where an append went: enough to take it back while nothing has changed since. */
export interface AppendReceipt {
  /** Length of the file before. */
  readonly start: number;
  /** Length of the file after. */
  readonly end: number;
  /** When the file was last changed, as the system tells. */
  readonly mtime: number | undefined;
}

/** One change of a file that is open and locked. Leaves the file as it was if it throws. */
type Change = (file: Deno.FsFile, end: number) => Promise<number>;

interface Job {
  readonly options: AppendOptions;
  readonly change: Change;
  readonly kind: "append" | "undo";
  readonly resolve: (receipt: AppendReceipt) => void;
  readonly reject: (reason: unknown) => void;
}

/** Jobs that share locks and sync: bounded, so that other programs get their turn. */
const MAX_BATCH = 64;
/** By canonical path: those that wait. A path is here only while there is work. */
const waiting = new Map<string, Job[]>();

/**
 * Appends `content` to the file `path`, made with its folder where missing.
 *
 * @throws {Deno.errors.TimedOut} If a lock cannot be had in time
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
    const { size } = await content.writeTo((octets) => writeAll(file, octets));
    return end + opening.length + size;
  });
}

/**
 * Takes an append back if nobody has touched the file since.
 *
 * @returns Whether it did
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

/** One name for one file, however its folder was named. */
async function canonicalPath(path: string, sync: boolean): Promise<string> {
  const folder = dirname(path);
  try {
    return join(await Deno.realPath(folder), basename(path));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await makeFolder(folder, { sync });
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
    workOff(path);
  });
}

/** Works off the jobs of one file. Never rejects: every failure goes to its jobs. */
async function workOff(path: string): Promise<void> {
  const jobs = waiting.get(path)!;
  while (jobs.length > 0) {
    const batch = jobs.splice(0, batchLength(jobs));
    try {
      await commit(path, batch);
    } catch (error) {
      for (const job of batch) job.reject(error);
    }
  }
  waiting.delete(path);
}

/** How many of the first jobs may go together: alike in everything that a batch decides once. */
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
  const { locks, lockTimeoutMs, staleLockMs, sync } = options;
  return `${locks} ${lockTimeoutMs} ${staleLockMs} ${sync}`;
}

/** Settles the jobs, or throws where what happened concerns all that are left. */
async function commit(path: string, batch: readonly Job[]): Promise<void> {
  const { options } = batch[0]!;
  const deadline = performance.now() + options.lockTimeoutMs;
  await using _lock = options.locks.includes("dotlock")
    ? await takeDotLock(path, { deadline, staleLockMs: options.staleLockMs })
    : undefined;
  const { file, made } = await openLocked(path, options, deadline);
  using _file = file;
  const start = await file.seek(0, Deno.SeekMode.End);
  let done: readonly [Job, number, number][];
  let mtime: number | undefined;
  try {
    done = await changeAll(file, batch, start);
    if (options.sync && done.length > 0) await file.syncData();
    mtime = (await file.stat()).mtime?.getTime();
    if (made && done.length === 0) await Deno.remove(path);
    else if (made && options.sync) await syncFolder(dirname(path));
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
  for (const [job, from, to] of done) {
    job.resolve({ start: from, end: to, mtime });
  }
}

/** Makes the changes in order; one that fails is undone and rejected, and the others go on. */
async function changeAll(
  file: Deno.FsFile,
  batch: readonly Job[],
  start: number,
): Promise<readonly [Job, number, number][]> {
  const done: [Job, number, number][] = [];
  let end = start;
  for (const job of batch) {
    try {
      const from = end;
      end = await job.change(file, from);
      done.push([job, from, end]);
    } catch (error) {
      await shorten(file, end);
      job.reject(error);
    }
  }
  return done;
}

/** Takes back what was written beyond `length`. */
async function shorten(file: Deno.FsFile, length: number): Promise<void> {
  const { size } = await file.stat();
  if (size > length) await file.truncate(length);
}

/**
 * Opens the file and locks it.
 *
 * Danger: between open and lock another program may have renamed a new mailbox
 * over the file; what is appended to the old one is lost. Rule: look at the
 * name again once the lock is held, and begin anew if it means another file.
 */
async function openLocked(
  path: string,
  options: AppendOptions,
  deadline: number,
): Promise<{ file: Deno.FsFile; made: boolean }> {
  for (;;) {
    // Before opening: a named pipe would block, and a link would be followed.
    const made = !(await requireKind(path, "file"));
    const file = await openForUpdate(path);
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
    if (performance.now() > deadline) {
      throw new Deno.errors.TimedOut(
        `Cannot lock "${path}" in time: another program keeps replacing it`,
      );
    }
  }
}

/** What is missing for the file to end in a blank line, as it must before a separator line. */
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
