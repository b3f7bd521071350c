/**
 * The spool's journal file: takes lines and makes them durable in groups. Owns
 * the open file and the order of writes; does not know the meaning of the lines.
 * Also holds the reserve, room on the disk for the journal.
 *
 * Danger: a write or sync that failed may have left any part of its lines
 * behind, and the kernel may have thrown away what it could not write. So a
 * failed group is cut off and written again, whole, until the disk takes it;
 * no caller gets "durable" before, and nothing is written behind a torn line.
 */

import type { Clock } from "./clock.ts";
import type { SpoolFile, SpoolFiles } from "./files.ts";

/** Milliseconds until a refused write is tried again. */
const RETRY_MS = 1000;
/** Limit of pending lines without a waiting caller: each may cost the next start the reading of a file. */
const MAX_LAZY = 64;
/** Milliseconds that a close waits for the disk. */
const CLOSE_MS = 3000;
/** Bytes of each write of a rewritten journal. */
const SLICE = 256 * 1024;
/** Bytes of the reserve: room for the results of some hundred deliveries. */
const RESERVE = 131_072;
/** Bytes of each write of the reserve. */
const RESERVE_SLICE = 65_536;

/** The parts of a {@linkcode Journal}. */
export interface JournalInit {
  /** The file operations. */
  readonly files: SpoolFiles;
  /** Path of the journal file. */
  readonly path: string;
  /** Path of its folder. */
  readonly folder: string;
  /** Times the pause before a refused write is tried again. */
  readonly clock: Clock;
  /** Bytes of the file that are valid; the rest is cut off. */
  readonly size: number;
  /** Removed when the disk refuses a write, so that the journal gets room. */
  readonly reserve: SpoolReserve;
  /** Called with each refusal of the disk. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
}

interface Pending {
  readonly text: string;
  readonly resolve: (() => void) | undefined;
  readonly reject: ((error: unknown) => void) | undefined;
}

/** Whether a caller waits for the line. */
function isUrgent({ resolve }: Pending): boolean {
  return resolve !== undefined;
}

/** An append-only file with group commit. */
export class Journal {
  readonly #init: JournalInit;
  readonly #encoder = new TextEncoder();
  #file: SpoolFile;
  #size: number;
  #pending: Pending[] = [];
  /** The lines being written. */
  #group: Pending[] = [];
  /** Number of pending lines with a waiting caller. */
  #urgent = 0;
  #rewrite: (() => Iterable<string>) | undefined;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #closing = false;
  #lost = 0;
  #troubled = false;
  #renamed = false;

  /**
   * Takes over an open file; {@linkcode Journal.open} opens one.
   *
   * @param file The open journal file
   */
  constructor(init: JournalInit, file: SpoolFile) {
    this.#init = init;
    this.#file = file;
    this.#size = init.size;
  }

  /** Opens the journal; makes the file if it does not exist. */
  static async open(init: JournalInit): Promise<Journal> {
    const file = await init.files.append(init.path);
    try {
      await file.truncate(init.size);
      await init.files.syncFolder(init.folder);
    } catch (error) {
      file.close();
      throw error;
    }
    return new Journal(init, file);
  }

  /** Bytes of the file. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends a line. Resolves when it is durable. Lines that come while the group
   * before is being written share one sync.
   */
  append(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ text, resolve, reject });
      this.#urgent++;
      this.#start();
    });
  }

  /**
   * Appends a line that a crash may lose. It is written together with the next
   * line of {@linkcode Journal.append}, or when many such lines are pending.
   */
  appendLazily(text: string): void {
    this.#pending.push({ text, resolve: undefined, reject: undefined });
    if (this.#isDue) this.#start();
  }

  /**
   * Replaces the content of the file in one step: after a crash it is the old or
   * the new one. Lines that come meanwhile go behind the new ones.
   *
   * @param lines Called when the file is about to be written
   * @returns Resolves when it is done, or the disk has refused it
   */
  async replace(lines: () => Iterable<string>): Promise<void> {
    this.#rewrite = lines;
    this.#start();
    await this.settled();
  }

  /** Resolves when no line is left to write. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /**
   * Writes the pending lines, with one more try if the disk refuses, and closes
   * the file. Does not wait for a disk that does not answer.
   *
   * @returns The number of lines not written
   */
  async close(): Promise<number> {
    this.#closing = true;
    this.#wake?.();
    this.#start();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#init.clock.setTimer(CLOSE_MS, resolve);
    await Promise.race([this.settled(), late]);
    cancel();
    if (this.#running === undefined) this.#file.close();
    else {
      this.#running.finally(() => this.#file.close());
      this.#rewrite = undefined;
      const left = [...this.#group, ...this.#pending];
      this.#group = [];
      this.#pending = [];
      this.#urgent = 0;
      this.#lose(left, new Error(`No answer from the disk in ${CLOSE_MS} ms`));
    }
    return this.#lost;
  }

  /** Drops lines and rejects the promises of their callers. */
  #lose(lines: readonly Pending[], error: unknown): void {
    this.#lost += lines.length;
    for (const { reject } of lines) reject?.(error);
  }

  /** Whether something must be written now. */
  get #isDue(): boolean {
    const count = this.#pending.length;
    return this.#urgent > 0 || this.#rewrite !== undefined ||
      count >= MAX_LAZY || (this.#closing && count > 0);
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => this.#running = undefined);
  }

  /** Writes group after group. Never rejects. */
  async #run(): Promise<void> {
    // Lines that come in the same turn of the event loop go into the same group.
    await Promise.resolve();
    while (this.#isDue) {
      const group = this.#pending;
      this.#group = group;
      this.#pending = [];
      this.#urgent = 0;
      try {
        if (this.#troubled) await this.#recover();
        if (group.length > 0) await this.#write(group);
        for (const { resolve } of group) resolve?.();
        this.#group = [];
        await this.#replaceNow();
      } catch (error) {
        this.#troubled = true;
        this.#init.reserve.release().catch(this.#init.onTrouble);
        this.#init.onTrouble(error);
        const left = this.#group;
        this.#group = [];
        if (this.#closing) this.#lose(left, error);
        else {
          this.#pending = [...left, ...this.#pending];
          this.#urgent = this.#pending.filter(isUrgent).length;
          await this.#pause();
        }
      }
    }
  }

  async #write(group: readonly Pending[]): Promise<void> {
    const bytes = this.#encoder.encode(group.map(({ text }) => text).join(""));
    await this.#file.write(bytes);
    if (group.some(isUrgent)) await this.#file.sync();
    this.#size += bytes.length;
  }

  /** Cuts the file after the last good group, whatever failed before. */
  async #recover(): Promise<void> {
    const { files, path, folder } = this.#init;
    this.#file.close();
    this.#file = await files.append(path);
    await this.#file.truncate(this.#size);
    if (this.#renamed) await files.syncFolder(folder);
    this.#renamed = false;
    this.#troubled = false;
  }

  async #replaceNow(): Promise<void> {
    const lines = this.#rewrite;
    if (lines === undefined) return;
    // A rewrite only saves space: after a failure it waits for the next request.
    this.#rewrite = undefined;
    const { files, path, folder } = this.#init;
    const temporary = `${path}.new`;
    await files.remove(temporary);
    const file = await files.create(temporary);
    let size: number;
    try {
      size = await writeSlices(file, lines());
      await file.sync();
      file.close();
      await files.rename(temporary, path);
    } catch (error) {
      file.close();
      await files.remove(temporary).catch(() => {});
      throw error;
    }
    // Until the folder is synced, a loss of power brings the old file back, and
    // would lose lines written to the new file from here on.
    this.#renamed = true;
    this.#size = size;
    this.#file.close();
    this.#file = await files.append(path);
    await files.syncFolder(folder);
    this.#renamed = false;
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#init.clock.setTimer(RETRY_MS, resolve);
    this.#wake = resolve;
    await promise;
    cancel();
    this.#wake = undefined;
  }
}

/** Writes lines in slices small enough for the disk and the event loop. */
async function writeSlices(
  file: SpoolFile,
  lines: Iterable<string>,
): Promise<number> {
  const encoder = new TextEncoder();
  let size = 0;
  let slice = "";
  for (const line of lines) {
    slice += line;
    if (slice.length < SLICE) continue;
    const bytes = encoder.encode(slice);
    await file.write(bytes);
    size += bytes.length;
    slice = "";
  }
  const bytes = encoder.encode(slice);
  await file.write(bytes);
  return size + bytes.length;
}

/**
 * The reserve: a file that exists to be removed. A full disk gets room only
 * when messages leave it, and a message leaves only when the journal says so.
 * Without a reserve, a spool that fills its own disk would wait for itself for
 * ever.
 */
export class SpoolReserve {
  readonly #files: SpoolFiles;
  readonly #path: string;
  #isHeld = false;
  #taking: Promise<void> | undefined;

  constructor(files: SpoolFiles, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /**
   * Makes the file unless it exists. No message may be accepted before.
   *
   * @throws {Error} If the disk does not have the room
   */
  take(): void | Promise<void> {
    if (this.#isHeld) return;
    return this.#taking ??= this.#take().finally(() => {
      this.#taking = undefined;
    });
  }

  async #take(): Promise<void> {
    if (await this.#files.size(this.#path) === RESERVE) {
      this.#isHeld = true;
      return;
    }
    await this.#files.remove(this.#path);
    const file = await this.#files.create(this.#path);
    try {
      for (let size = 0; size < RESERVE; size += RESERVE_SLICE) {
        // A compressing disk might give zeros no room at all.
        await file.write(crypto.getRandomValues(new Uint8Array(RESERVE_SLICE)));
      }
    } catch (error) {
      await this.#files.remove(this.#path).catch(() => {});
      throw error;
    } finally {
      file.close();
    }
    this.#isHeld = true;
  }

  /** Removes the file. */
  async release(): Promise<void> {
    this.#isHeld = false;
    await this.#taking?.catch(() => {});
    this.#isHeld = false;
    await this.#files.remove(this.#path);
  }
}
