/**
 * The spool's journal file: lines in, durable in groups. Owns the open file
 * and the order of writes; knows nothing of what the lines say. Beside it lies
 * the reserve, room on the disk that is kept for the journal.
 *
 * Danger: a write or sync that failed may have left any part of its lines
 * behind, and the kernel may have thrown away what it could not write. So a
 * failed group is cut off and written again, whole, until the disk takes it;
 * nobody is told "durable" before, and nothing is written behind a torn line.
 */

import type { Clock } from "./clock.ts";
import type { SpoolFile, SpoolFiles } from "./files.ts";

/** Milliseconds until a disk that refused is tried again. */
const RETRY_MS = 1000;
/** Lines kept back at most that no caller waits for: each may be a file to be read at the next start. */
const MAX_NOTES = 64;
/** Milliseconds that the disk gets to answer when the journal is closed. */
const CLOSE_MS = 3000;
/** Bytes of a rewritten journal that go into one write. */
const SLICE = 256 * 1024;
/** Bytes of the reserve: the results of some hundred deliveries. */
const RESERVE = 131_072;
/** Bytes of the reserve that go into one write. */
const RESERVE_SLICE = 65_536;

/** What a {@linkcode Journal} is made of. */
export interface JournalInit {
  /** The file operations. */
  readonly files: SpoolFiles;
  /** The journal file. */
  readonly path: string;
  /** The folder it stands in. */
  readonly folder: string;
  /** For the pause before a refused write is tried again. */
  readonly clock: Clock;
  /** Bytes of the file that are good; what is behind them is cut off. */
  readonly size: number;
  /** Given up when the disk refuses a write, so that the journal finds room. */
  readonly reserve: SpoolReserve;
  /** Is told of each refusal of the disk. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
}

interface Pending {
  readonly text: string;
  readonly resolve: (() => void) | undefined;
  readonly reject: ((error: unknown) => void) | undefined;
}

/** Whether a caller waits for it. */
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
  /** How many pending lines a caller waits for. */
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

  /** Opens the journal, making the file if need be. */
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
   * Appends a line. Resolves when it is durable; together with all lines that
   * came while the one before was being written, it costs one sync.
   */
  append(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ text, resolve, reject });
      this.#urgent++;
      this.#start();
    });
  }

  /**
   * Appends a line that may be lost in a crash. It goes to the disk with the
   * next one that must not be, or when many have gathered.
   */
  note(text: string): void {
    this.#pending.push({ text, resolve: undefined, reject: undefined });
    if (this.#isDue) this.#start();
  }

  /**
   * Replaces the whole file by other lines, in one step: after a crash it is
   * the old one or the new one. Lines that come meanwhile go behind the new ones.
   *
   * @param lines Called when the file is about to be written
   * @returns When it is done, or the disk has refused it
   */
  async replace(lines: () => Iterable<string>): Promise<void> {
    this.#rewrite = lines;
    this.#start();
    await this.settled();
  }

  /** Resolves when nothing is left to write. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /**
   * Writes what is left, once more even on a disk that refuses, and closes the
   * file. Does not wait for a disk that gives no answer.
   *
   * @returns How many lines are not written
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

  /** Gives lines up, and tells the callers that wait for them. */
  #lose(lines: readonly Pending[], error: unknown): void {
    this.#lost += lines.length;
    for (const { reject } of lines) reject?.(error);
  }

  /** Whether there is something that must be written by now. */
  get #isDue(): boolean {
    const count = this.#pending.length;
    return this.#urgent > 0 || this.#rewrite !== undefined ||
      count >= MAX_NOTES || (this.#closing && count > 0);
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => this.#running = undefined);
  }

  /** Writes group after group. Never rejects. */
  async #run(): Promise<void> {
    // What comes in the same turn of the event loop goes into the same group.
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

  /** Makes the file end after the last good group, whatever went wrong before. */
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
    // It only saves space: a rewrite that fails waits for the next request.
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
    // Until the folder is synced a loss of power brings the old file back, and
    // what is written from here on would be gone with the new one.
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

/** Writes lines in slices of a size that neither the disk nor the event loop minds. */
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
 * The reserve: a file that is there to be removed. A full disk gets room only
 * when messages leave it, and a message leaves it only when the journal says
 * so: without a reserve, a spool that fills its own disk would wait for itself
 * for ever.
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
   * Makes the file unless it is there. No message may be accepted before.
   *
   * @throws {Error} If the disk has not so much room
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
        // Zeros could take no room at all on a disk that compresses.
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
