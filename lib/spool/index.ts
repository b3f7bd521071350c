/**
 * The messages of an open spool: in memory for the queue, in the journal for
 * the next start. Owns the journal, decides when to rewrite it, and keeps the
 * order in which a message leaves: journal first, record file second.
 * `file_spool.ts` explains that order.
 */

import type { Clock } from "./clock.ts";
import { applyChange, type SpoolChange, type SpoolEntry } from "./envelope.ts";
import type { SpoolFiles } from "./files.ts";
import {
  type KeptMessage,
  type RecordPlace,
  RecordPlaces,
  type SpoolPaths,
  type StoredMessage,
} from "./folder.ts";
import { Journal, SpoolReserve } from "./journal.ts";
import { goneLine, journalLines, keptLine } from "./journal_content.ts";
import { encodeJournalLine } from "./record.ts";
import { FreshContent } from "./record_reader.ts";
import type { SpoolContent } from "./recovery.ts";
import { SpoolError, type SpoolProblem } from "./spool.ts";

/** Bytes; a smaller journal is never rewritten. */
const JOURNAL_MIN = 4 * 1024 * 1024;
/** Growth factor at which the journal is rewritten. */
const JOURNAL_GROWTH = 3;

/** The parts of a {@linkcode SpoolIndex}. */
export interface SpoolIndexInit {
  readonly files: SpoolFiles;
  readonly paths: SpoolPaths;
  readonly clock: Clock;
  /** Called with each refusal of the disk. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
}

/** The messages of the spool, the places of their records, and the journal of both. */
export class SpoolIndex {
  readonly #init: SpoolIndexInit;
  readonly #reserve: SpoolReserve;
  readonly #fresh = new FreshContent();
  #entries = new Map<string, SpoolEntry>();
  #places = new RecordPlaces();
  /**
   * Record files of messages that have left, which a loss of power could bring
   * back. The value says whether the file has been removed already.
   */
  readonly #leaving = new Map<string, boolean>();
  #journal: Journal | undefined;
  /** Bytes at which the journal is rewritten; `Infinity` during a rewrite. */
  #journalLimit = Infinity;

  constructor(init: SpoolIndexInit) {
    this.#init = init;
    this.#reserve = new SpoolReserve(init.files, init.paths.reserve);
  }

  /** All messages, oldest first as far as the journal knows. */
  get entries(): ReadonlyMap<string, SpoolEntry> {
    return this.#entries;
  }

  /** Takes the content found at a start and opens the journal; returns its problems. */
  async open(content: SpoolContent): Promise<readonly SpoolProblem[]> {
    this.#entries = new Map();
    this.#places = new RecordPlaces();
    for (const message of content.messages.values()) this.#add(message);
    const { journal, damaged, leftovers, unknown, missing } = content;
    const { files, paths, clock, onTrouble } = this.#init;
    this.#journal = await Journal.open({
      files,
      path: paths.journal,
      folder: paths.root,
      clock,
      size: journal.goodSize,
      reserve: this.#reserve,
      onTrouble,
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

  /**
   * The reserve: room on the disk for the results of a new message.
   *
   * @throws {SpoolError} If the spool is not open
   */
  reserve(): SpoolReserve {
    this.#openJournal();
    return this.#reserve;
  }

  /** Adds the messages of one file, all at once: their records are durable. */
  keep(messages: readonly KeptMessage[]): void {
    for (const message of messages) {
      this.#fresh.keep(message.entry.envelope.id, message.content);
      this.#add(message);
    }
    this.#journal?.appendLazily(keptLine(messages));
    this.#rewriteIfLarge();
  }

  #add({ entry, place }: StoredMessage): void {
    this.#entries.set(entry.envelope.id, entry);
    this.#places.add({ entry, place });
  }

  /** Applies a change: in memory at once, durable when it resolves. */
  async change(id: string, change: SpoolChange): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    applyChange(entry.progress, change);
    // The message was tried: its next try is not soon.
    if (change.kind === "result") this.#fresh.drop(id);
    await this.#append(id, encodeJournalLine({ kind: "change", id, change }));
    this.#rewriteIfLarge();
  }

  /** Removes a message, and its file with the last message in it. */
  async remove(id: string): Promise<void> {
    if (!this.#entries.delete(id)) return;
    this.#fresh.drop(id);
    const file = this.#places.remove(id);
    if (file !== undefined) this.#leaving.set(file, false);
    await this.#append(id, goneLine(id));
    // The journal is written in order: the other messages of the file are gone, too.
    if (file !== undefined) await this.#removeFile(file);
    this.#rewriteIfLarge();
  }

  async #removeFile(name: string): Promise<void> {
    const { files, paths, onTrouble } = this.#init;
    try {
      await files.remove(`${paths.messages}/${name}`);
      this.#leaving.set(name, true);
    } catch (error) {
      // The journal says that it is gone; the next start removes the file.
      onTrouble(error);
    }
  }

  async #append(id: string, line: string): Promise<void> {
    try {
      await this.#openJournal().append(line);
    } catch (cause) {
      throw new SpoolError(`Cannot write progress of message "${id}"`, {
        cause,
      });
    }
  }

  /**
   * The place of the message's record.
   *
   * @throws {SpoolError} If there is no such message
   */
  place(id: string): RecordPlace {
    const place = this.#places.get(id);
    if (place === undefined) {
      throw new SpoolError(`Cannot read message "${id}": it is not there`);
    }
    return place;
  }

  /** The content of a message that was written recently, if it is still in memory. */
  freshContent(id: string): Uint8Array<ArrayBuffer> | undefined {
    return this.#fresh.get(id);
  }

  /** Writes pending lines and closes the journal; returns the number of lost lines. */
  async close(): Promise<number> {
    const journal = this.#journal;
    this.#journal = undefined;
    return await journal?.close() ?? 0;
  }

  #openJournal(): Journal {
    if (this.#journal === undefined) {
      const { root } = this.#init.paths;
      throw new SpoolError(`Cannot use spool "${root}": it is not open`);
    }
    return this.#journal;
  }

  #rewriteIfLarge(): void {
    if (this.#journal === undefined) return;
    if (this.#journal.size <= this.#journalLimit) return;
    this.#rewrite().catch(this.#init.onTrouble);
  }

  /** Rewrites the journal without the lines that no longer matter. */
  async #rewrite(): Promise<void> {
    const { files, paths } = this.#init;
    this.#journalLimit = Infinity;
    try {
      // Danger: a record that was removed comes back with a loss of power, and
      // would be delivered again were the line dropped that calls it gone. The
      // line may go only after a sync of the folder that began after the removal.
      const removed = [...this.#leaving].filter(([, isRemoved]) => isRemoved);
      await files.syncFolder(paths.messages);
      for (const [id] of removed) this.#leaving.delete(id);
      await this.#journal?.replace(() =>
        journalLines(this.#messages(), this.#leaving.keys())
      );
    } finally {
      this.#setJournalLimit();
    }
  }

  *#messages(): Generator<StoredMessage> {
    for (const [id, entry] of this.#entries) {
      yield { entry, place: this.#places.get(id)! };
    }
  }

  #setJournalLimit(): void {
    const size = this.#journal?.size ?? 0;
    this.#journalLimit = JOURNAL_GROWTH * Math.max(JOURNAL_MIN, size);
  }
}
