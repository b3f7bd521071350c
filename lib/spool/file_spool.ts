/**
 * The spool on files. A message is accepted by one rename: its record is
 * written beside, synced, renamed into place, and the folder is synced; records
 * of messages that come together are one file. It is never written again;
 * progress goes to a journal shared by all messages, where many results cost
 * one sync. Owns the spool folder while it is open.
 *
 * Danger: the journal is an index of the records as well, and may be behind
 * them after a crash. The records decide which messages exist, the journal how
 * far they have come; a message that the journal calls gone stays gone even if
 * its record is back after a loss of power.
 */

import type { Login } from "../client/next_hop.ts";
import {
  callable,
  checkOptions,
  having,
  path,
  type Rules,
} from "../options.ts";
import { type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { applyChange, type SpoolChange, type SpoolEntry } from "./envelope.ts";
import { FreshContent, RecordReader } from "./record_reader.ts";
import { Journal } from "./journal.ts";
import { goneLine, journalLines, keptLines } from "./journal_content.ts";
import { encodeJournalLine, isSpoolId } from "./record.ts";
import { type KeptRecord, RecordWriter } from "./record_writer.ts";
import {
  firstProgress,
  type Spool,
  type SpoolAddition,
  SpoolError,
  type SpoolProblem,
  type SpoolRequest,
} from "./spool.ts";
import { copyFile, DENO_FILES, type SpoolFiles } from "./files.ts";
import {
  recordFile,
  type SpoolPaths,
  spoolPaths,
  type StoredEntry,
  takeRequests,
} from "./folder.ts";
import { readSpool, type SpoolContent } from "./recovery.ts";
import { SpoolReserve } from "./reserve.ts";

/** A journal smaller than this is not worth rewriting. */
const JOURNAL_MIN = 4 * 1024 * 1024;
/** A journal is rewritten when it has grown by this factor. */
const JOURNAL_GROWTH = 3;

/** Options of {@linkcode FileSpool}. */
export interface FileSpoolOptions {
  /**
   * Is told when the disk refuses a write; the spool goes on trying.
   *
   * @default {nobody}
   */
  readonly onTrouble?: (error: unknown) => void;
  /**
   * Time, for the pause before a refused write is tried again.
   *
   * @default {the machine's clock}
   */
  readonly clock?: Clock;
  /**
   * The file operations.
   *
   * @default {the machine's files}
   */
  readonly files?: SpoolFiles;
}

const RULES: Rules<FileSpoolOptions> = {
  onTrouble: callable(),
  clock: having("a Clock", "now", "setTimer"),
  files: having("file operations"),
};

/**
 * A spool in a folder. Survives a crash or a loss of power at any moment: what
 * was accepted is delivered at least once, at worst twice. All files have mode
 * 0600. Requires `allow-read` and `allow-write` for the folder.
 *
 * @example Open a spool, see what is in it
 * ```ts
 * import { FileSpool } from "@smtp/server";
 *
 * const folder = await Deno.makeTempDir();
 * await using spool = new FileSpool(folder);
 * const problems = await spool.open();
 * console.assert(problems.length === 0 && spool.entries.size === 0);
 * ```
 */
export class FileSpool implements Spool {
  /** What it is, for logs. */
  readonly kind: string = "file";
  readonly #paths: SpoolPaths;
  readonly #files: SpoolFiles;
  readonly #clock: Clock;
  readonly #onTrouble: (error: unknown) => void;
  #entries = new Map<string, StoredEntry>();
  /** Names in use by messages that are not accepted yet. */
  readonly #adding = new Set<string>();
  /**
   * Record files of messages called gone that a loss of power could bring
   * back; the value tells whether the file has been removed by now.
   */
  readonly #leaving = new Map<string, boolean>();
  readonly #writer: RecordWriter;
  readonly #reader: RecordReader;
  readonly #reserve: SpoolReserve;
  readonly #fresh = new FreshContent();
  #journal: Journal | undefined;
  /** The size at which the journal is rewritten; `Infinity` while it is. */
  #journalLimit = Infinity;
  #unlock: (() => void) | undefined;

  /**
   * Makes a spool that is not open yet.
   *
   * @param folder The spool folder; made when it is not there
   */
  constructor(folder: string, options: FileSpoolOptions = {}) {
    path.check(folder, { path: "folder", of: "FileSpool", secret: false });
    checkOptions("FileSpool", options, RULES);
    this.#paths = spoolPaths(folder);
    this.#files = options.files ?? DENO_FILES;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#onTrouble = options.onTrouble ?? (() => {});
    this.#reader = new RecordReader(this.#files, this.#paths.messages);
    this.#reserve = new SpoolReserve(this.#files, this.#paths.reserve);
    this.#writer = new RecordWriter(this.#files, this.#paths, {
      onTrouble: this.#onTrouble,
      onKept: (kept) => this.#keep(kept),
    });
  }

  /** All messages, oldest first as far as the journal knows. */
  get entries(): ReadonlyMap<string, SpoolEntry> {
    return this.#entries;
  }

  /**
   * Locks the folder, reads it, sets aside what is not whole.
   *
   * @throws {SpoolError} If another process has the spool, or it cannot be read
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
      // Looked at first: a link that leads nowhere must not be followed.
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
    this.#entries = content.entries;
    problems.push(...await this.#openJournal(content));
    return problems;
  }

  async #openJournal(content: SpoolContent): Promise<readonly SpoolProblem[]> {
    const { journal, damaged, leftovers, unknown, missing } = content;
    this.#journal = await Journal.open({
      files: this.#files,
      path: this.#paths.journal,
      folder: this.#paths.root,
      clock: this.#clock,
      size: journal.goodSize,
      onTrouble: (error) => {
        this.#reserve.release().catch(this.#onTrouble);
        this.#onTrouble(error);
      },
    });
    const repairs = journal.badLines + damaged.size + leftovers.length +
      unknown + missing.length;
    const { size } = this.#entries;
    if (repairs > 0 || journal.lines - size > size / 2) {
      await this.#rewrite();
    } else this.#setJournalLimit();
    if (journal.badLines === 0) return [];
    const reason = `${journal.badLines} of ${journal.lines} lines damaged; ` +
      "messages whose progress they told are delivered again";
    return [{ name: "journal", reason }];
  }

  async #setAside(path: string, name: string): Promise<void> {
    await this.#files.rename(path, `${this.#paths.damaged}/${name}`);
  }

  /**
   * Takes a message: safe on disk when it resolves.
   *
   * @throws {SpoolError} If it could not be written; then there is no trace of it
   * @throws {TypeError} If its name is not one, or is taken
   */
  async add(message: SpoolAddition): Promise<SpoolEntry> {
    const { envelope } = message;
    const { id } = envelope;
    this.#open();
    if (!isSpoolId(id) || this.#entries.has(id) || this.#adding.has(id)) {
      throw new TypeError(
        `Cannot add message "${id}": want a name of letters, digits and "-" that is not taken`,
      );
    }
    const progress = firstProgress(message);
    this.#adding.add(id);
    try {
      const { login, content } = message;
      await this.#reserve.take();
      return await this.#writer.write({ envelope, login, progress, content });
    } catch (cause) {
      throw new SpoolError(`Cannot keep message "${id}"`, { cause });
    } finally {
      this.#adding.delete(id);
    }
  }

  /** Messages are safe: from here on they are in the spool, all of a file at once. */
  #keep(kept: readonly KeptRecord[]): void {
    for (const { entry, content } of kept) {
      this.#fresh.keep(entry.envelope.id, content);
      this.#entries.set(entry.envelope.id, entry);
    }
    this.#journal?.note(keptLines(kept.map(({ entry }) => entry)));
    this.#rewriteIfLarge();
  }

  /** Takes a step of progress: at once in memory, durable when it resolves. */
  async change(id: string, change: SpoolChange): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    applyChange(entry.progress, change);
    // It has been tried: the next try is a while away.
    if (change.kind === "result") this.#fresh.drop(id);
    await this.#append(id, encodeJournalLine({ kind: "change", id, change }));
    this.#rewriteIfLarge();
  }

  /** Forgets a message. No crash brings it back once it resolves. */
  async remove(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#fresh.drop(id);
    const shared = entry.place?.file;
    const isLast = shared === undefined || --shared.left === 0;
    const file = recordFile(entry);
    if (isLast) this.#leaving.set(file, false);
    await this.#append(id, goneLine(id));
    // What the journal says is in order: the others in the file are gone, too.
    if (isLast) await this.#removeFile(file);
    this.#rewriteIfLarge();
  }

  async #removeFile(name: string): Promise<void> {
    try {
      await this.#files.remove(`${this.#paths.messages}/${name}`);
      this.#leaving.set(name, true);
    } catch (error) {
      // The journal says that it is gone; the next start takes it away.
      this.#onTrouble(error);
    }
  }

  async #append(id: string, line: string): Promise<void> {
    try {
      await this.#open().append(line);
    } catch (cause) {
      throw new SpoolError(`Cannot write progress of message "${id}"`, {
        cause,
      });
    }
  }

  /** The log-in that came with the message. */
  async login(id: string): Promise<Login | undefined> {
    return (await this.#reader.head(this.#entry(id))).login;
  }

  /**
   * The content, from the beginning.
   *
   * @throws {SpoolError} If the record cannot be read, or is no longer whole
   */
  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const fresh = this.#fresh.get(id);
    if (fresh !== undefined) {
      yield fresh;
      return;
    }
    yield* this.#reader.content(this.#entry(id));
  }

  #entry(id: string): StoredEntry {
    const entry = this.#entries.get(id);
    if (entry === undefined) {
      throw new SpoolError(`Cannot read message "${id}": it is not there`);
    }
    return entry;
  }

  /** What was asked from outside, through files in the spool. */
  requests(): Promise<readonly SpoolRequest[]> {
    return takeRequests(this.#files, this.#paths.control);
  }

  /**
   * Writes down what is left and gives the folder free. Idempotent.
   *
   * @throws {SpoolError} If the disk did not take all of it; the folder is free nevertheless
   */
  async close(): Promise<void> {
    const journal = this.#journal;
    this.#journal = undefined;
    const lost = await journal?.close() ?? 0;
    this.#unlock?.();
    this.#unlock = undefined;
    if (lost === 0) return;
    throw new SpoolError(
      `Cannot write the last ${lost} steps of progress to spool "${this.#paths.root}": messages they tell of may be sent again`,
    );
  }

  /** As {@linkcode FileSpool.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #open(): Journal {
    if (this.#journal === undefined) {
      throw new SpoolError(
        `Cannot use spool "${this.#paths.root}": it is not open`,
      );
    }
    return this.#journal;
  }

  #rewriteIfLarge(): void {
    if (this.#journal === undefined) return;
    if (this.#journal.size <= this.#journalLimit) return;
    this.#rewrite().catch(this.#onTrouble);
  }

  /** Writes the journal anew, without what is no longer of interest. */
  async #rewrite(): Promise<void> {
    this.#journalLimit = Infinity;
    try {
      // Danger: a record that was removed comes back with a loss of power, and
      // would be delivered again were the line dropped that calls it gone. The
      // line may go only after a sync of the folder that began after the removal.
      const removed = [...this.#leaving].filter(([, isRemoved]) => isRemoved);
      await this.#files.syncFolder(this.#paths.messages);
      for (const [id] of removed) this.#leaving.delete(id);
      await this.#journal?.replace(() =>
        journalLines(this.#entries.values(), this.#leaving.keys())
      );
    } finally {
      this.#setJournalLimit();
    }
  }

  #setJournalLimit(): void {
    const size = this.#journal?.size ?? 0;
    this.#journalLimit = JOURNAL_GROWTH * Math.max(JOURNAL_MIN, size);
  }
}
