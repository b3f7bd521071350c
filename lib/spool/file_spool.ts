/**
 * The spool in a folder. Owns the folder while the spool is open: its lock, what
 * a start finds in it, and which messages get in. This header describes the
 * whole format:
 *
 * ```text
 * lock         locked by the process that owns the spool
 * journal      one line for each new record file, change and message that left
 * journal.new  the journal while it is rewritten
 * reserve      128 KiB of random bytes: room for the journal
 * messages/    the records, one or several in a file; written once
 * incoming/    records being written; not accepted yet
 * control/     requests from outside, one empty file each
 * damaged/     files that were not whole, and copies of those still in use
 * ```
 *
 * A record is the head and content of one message (`record.ts`). The state after
 * a crash or a loss of power depends on the last complete step:
 *
 * **A message comes** (`record_writer.ts`)
 *
 * 1. `reserve` is made unless it exists. A disk too full for it takes no message.
 * 2. `incoming/NAME` is written and synced. After a crash up to here the next
 *    start sets the file aside. The client has no reply and sends again.
 * 3. It is renamed to `messages/NAME`. After a crash here the message is in the
 *    spool or not. The client has no reply and sends again: two copies at worst.
 * 4. `messages/` is synced. Now the message is accepted: every start finds it.
 * 5. The journal gets one line on all messages of the file. The client's reply
 *    does not wait for it: it only saves the next start the reading of the file.
 *
 * **A change of progress** (`journal.ts`)
 *
 * 1. It is applied in memory.
 * 2. Its line is appended to `journal`, which is synced; lines that come together
 *    share a sync. After a crash before the sync the change is lost, and the
 *    delivery is tried again: two copies at worst. If the disk refuses the write,
 *    `reserve` is removed, and the write is cut off and repeated until it succeeds
 *    or the spool is closed.
 *
 * **A message leaves** (`index.ts`)
 *
 * 1. A line that calls it gone is appended and synced. After a crash before the
 *    sync the message is in the spool, with its former progress.
 * 2. Its file is removed, with the last message in it. After a crash before
 *    that, or a loss of power that brings the file back, the next start removes
 *    the file because the journal calls it gone.
 *
 * **The journal is rewritten** when it has grown large, and at a start that found
 * damage, files that it did not expect, or many lines that no longer matter
 *
 * 1. `messages/` is synced: the files of messages that have left stay removed,
 *    and their lines may be dropped.
 * 2. `journal.new` is written, synced and renamed to `journal`; the folder is
 *    synced. After a crash the journal is the old one or the new one.
 *
 * **A start** (`recovery.ts`) sets aside the files in `incoming/`, reads the
 * journal and lists `messages/`. It removes a file that the journal calls gone,
 * compares the size of a file that the journal knows, and reads any other file.
 * It sets aside and reports incomplete files (copies one that also has whole
 * messages), and reports undelivered messages without a file. Last, it cuts a torn
 * line off the journal.
 *
 * Danger: the journal is an index of the records as well, and may be behind
 * them after a crash. The records decide which messages exist, the journal how
 * far they have come; a message that the journal calls gone stays gone even if
 * its record is back after a loss of power.
 */

import type { Login } from "../client/next_hop.ts";
import { callable, checkOptions, path, type Rules } from "../options.ts";
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import type { SpoolChange, SpoolEntry } from "./envelope.ts";
import { copyFile, DENO_FILES, type SpoolFiles } from "./files.ts";
import { readRequests, type SpoolPaths, spoolPaths } from "./folder.ts";
import { SpoolIndex } from "./index.ts";
import { isSpoolId } from "./record.ts";
import { RecordReader } from "./record_reader.ts";
import { RecordWriter } from "./record_writer.ts";
import { readSpool } from "./recovery.ts";
import {
  firstProgress,
  type Spool,
  type SpoolAddition,
  SpoolError,
  type SpoolProblem,
  type SpoolRequest,
} from "./spool.ts";

/** Options of {@linkcode FileSpool}. */
export interface FileSpoolOptions {
  /**
   * Called when the disk refuses a write; the spool tries again until it succeeds.
   *
   * @default {no callback}
   */
  readonly onTrouble?: (error: unknown) => void;
}

const RULES: Rules<FileSpoolOptions> = { onTrouble: callable() };

/** The parts of the machine that a {@linkcode FileSpool} uses; for tests. */
export interface SpoolMachine {
  readonly files?: SpoolFiles | undefined;
  /** Times the pause before a refused write is tried again. */
  readonly clock?: Clock | undefined;
}

/**
 * A spool in a folder. Survives a crash or a loss of power at any moment: an
 * accepted message is delivered at least once, at worst twice. All files have
 * mode 0600. Requires `allow-read` and `allow-write` for the folder.
 *
 * @example Open a spool and list its messages
 * ```ts
 * import { FileSpool } from "@smtp/server/queue";
 *
 * const folder = await Deno.makeTempDir();
 * await using spool = new FileSpool(folder);
 * const problems = await spool.open();
 * console.assert(problems.length === 0 && spool.entries.size === 0);
 * ```
 */
export class FileSpool implements Spool {
  /** The kind of spool, for logs. */
  readonly kind: string = "file";
  readonly #paths: SpoolPaths;
  readonly #files: SpoolFiles;
  readonly #onTrouble: (error: unknown) => void;
  readonly #index: SpoolIndex;
  readonly #writer: RecordWriter;
  readonly #reader: RecordReader;
  /** Names reserved for messages that are not accepted yet. */
  readonly #adding = new Set<string>();
  #unlock: (() => void) | undefined;

  /**
   * Makes a spool that is not open yet.
   *
   * @param folder The spool folder; made if it does not exist
   */
  constructor(folder: string, options?: FileSpoolOptions);
  /** @internal */
  constructor(
    folder: string,
    options: FileSpoolOptions,
    machine: SpoolMachine,
  );
  constructor(
    folder: string,
    options: FileSpoolOptions = {},
    machine: SpoolMachine = {},
  ) {
    path.check(folder, { path: "folder", of: "FileSpool", secret: false });
    checkOptions("FileSpool", options, RULES);
    const paths = this.#paths = spoolPaths(folder);
    const files = this.#files = machine.files ?? DENO_FILES;
    const onTrouble = this.#onTrouble = options.onTrouble ?? (() => {});
    const clock = machine.clock ?? SYSTEM_CLOCK;
    const index = new SpoolIndex({ files, paths, clock, onTrouble });
    this.#index = index;
    this.#reader = new RecordReader(files, paths.messages);
    this.#writer = new RecordWriter(files, paths, { index, onTrouble });
  }

  /** All messages, oldest first as far as the journal knows. */
  get entries(): ReadonlyMap<string, SpoolEntry> {
    return this.#index.entries;
  }

  /**
   * Locks the folder, reads it, and sets incomplete files aside.
   *
   * @throws {SpoolError} If another process owns the spool, or it cannot be read
   */
  async open(): Promise<readonly SpoolProblem[]> {
    const { root } = this.#paths;
    if (this.#unlock !== undefined) {
      throw new TypeError(`Cannot open spool "${root}": it is open already`);
    }
    try {
      await this.#makeFolders();
      this.#unlock = await this.#files.lock(this.#paths.lock);
    } catch (cause) {
      throw new SpoolError(`Cannot open spool "${root}"`, { cause });
    }
    if (this.#unlock === undefined) {
      throw new SpoolError(
        `Cannot open spool "${root}": another process has it`,
        { isInUse: true },
      );
    }
    try {
      return await this.#recover();
    } catch (cause) {
      await this.close().catch(this.#onTrouble);
      throw new SpoolError(`Cannot read spool "${root}"`, { cause });
    }
  }

  async #makeFolders(): Promise<void> {
    const files = this.#files;
    const { root, messages, incoming, control, damaged } = this.#paths;
    const { lock, journal, reserve } = this.#paths;
    await files.makeFolder(root);
    await files.requireOurs(root, "folder", root);
    for (const folder of [messages, incoming, control, damaged]) {
      // Checked first: a link to a missing target must not be followed.
      await files.requireOurs(folder, "folder", root);
      await files.makeFolder(folder);
      await files.requireOurs(folder, "folder", root);
    }
    for (const file of [lock, journal, reserve]) {
      await files.requireOurs(file, "file", root);
    }
    await files.syncFolder(root);
  }

  async #recover(): Promise<readonly SpoolProblem[]> {
    const files = this.#files;
    const paths = this.#paths;
    const problems: SpoolProblem[] = [];
    for (const name of await files.list(paths.incoming)) {
      await this.#setAside(`${paths.incoming}/${name}`, `${name}.incoming`);
      const reason = 'Half written, never accepted; now in "damaged"';
      problems.push({ name, reason });
    }
    const content = await readSpool(files, paths);
    for (const [name, { reason, isInUse, lost }] of content.damaged) {
      const path = `${paths.messages}/${name}`;
      if (isInUse) await copyFile(files, path, `${paths.damaged}/${name}`);
      else await this.#setAside(path, name);
      problems.push({ name, reason: `${reason}; now in "damaged"`, lost });
    }
    for (const name of content.leftovers) {
      await files.remove(`${paths.messages}/${name}`);
    }
    problems.push(...content.missing);
    problems.push(...await this.#index.open(content));
    return problems;
  }

  async #setAside(path: string, name: string): Promise<void> {
    await this.#files.rename(path, `${this.#paths.damaged}/${name}`);
  }

  /**
   * Adds a message: durable when it resolves.
   *
   * @throws {SpoolError} If it could not be written; no trace of it remains then
   * @throws {TypeError} If its name is invalid or taken
   */
  async add(message: SpoolAddition): Promise<SpoolEntry> {
    const { envelope } = message;
    const { id } = envelope;
    const reserve = this.#index.reserve();
    if (!isSpoolId(id) || this.entries.has(id) || this.#adding.has(id)) {
      throw new TypeError(
        `Cannot add message "${id}": want a name of letters, digits and "-" that is not taken`,
      );
    }
    const progress = firstProgress(message);
    this.#adding.add(id);
    try {
      const { login, content } = message;
      await reserve.take();
      return await this.#writer.write({ envelope, login, progress, content });
    } catch (cause) {
      throw new SpoolError(`Cannot keep message "${id}"`, { cause });
    } finally {
      this.#adding.delete(id);
    }
  }

  /** Applies a change: in memory at once, durable when it resolves. */
  change(id: string, change: SpoolChange): Promise<void> {
    return this.#index.change(id, change);
  }

  /** Removes a message. No crash brings it back once this resolves. */
  remove(id: string): Promise<void> {
    return this.#index.remove(id);
  }

  /** The login that came with the message. */
  async login(id: string): Promise<Login | undefined> {
    return (await this.#reader.head(id, this.#index.place(id))).login;
  }

  /**
   * The content, from the beginning.
   *
   * @throws {SpoolError} If the record cannot be read, or is damaged
   */
  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const fresh = this.#index.freshContent(id);
    if (fresh !== undefined) {
      yield fresh;
      return;
    }
    yield* this.#reader.content(id, this.#index.place(id));
  }

  /** The requests from outside the process, read from files in the spool. */
  requests(): Promise<readonly SpoolRequest[]> {
    return readRequests(this.#files, this.#paths.control);
  }

  /**
   * Writes pending lines of the journal and unlocks the folder. Idempotent.
   *
   * @throws {SpoolError} If the disk refused some of it; the folder is unlocked nevertheless
   */
  async close(): Promise<void> {
    const lost = await this.#index.close();
    this.#unlock?.();
    this.#unlock = undefined;
    if (lost === 0) return;
    throw new SpoolError(
      `Cannot write the last ${lost} steps of progress to spool "${this.#paths.root}": messages they tell of may be sent again`,
    );
  }

  /** Same as {@linkcode FileSpool.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
