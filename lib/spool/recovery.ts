/**
 * Reads a spool folder: its messages and its problems. Owns the meaning of a
 * record file that the journal does not know. Never writes, so another process
 * may be using the folder.
 */

import { isSpoolId, sharedCount, unpackProgress } from "./record.ts";
import { readRecordHead } from "./record_reader.ts";
import { type JournalContent, readJournal } from "./journal_content.ts";
import { isShared, type SpoolPaths, type StoredMessage } from "./folder.ts";
import type { SpoolEntry } from "./envelope.ts";
import type { SpoolFiles } from "./files.ts";
import type { SpoolProblem } from "./spool.ts";

/** Files examined in parallel. */
const BATCH = 64;

/** The damage of a record file. */
export interface FileDamage {
  /** A description of the damage. */
  readonly reason: string;
  /** Whether some of its records are whole and wait for delivery. */
  readonly isInUse: boolean;
  /** Damaged messages in it whose envelope is known. */
  readonly lost: readonly SpoolEntry[];
}

/** The messages and problems of a spool. */
export interface SpoolContent {
  /** The messages whose record is whole, oldest first as far as the journal knows. */
  readonly messages: ReadonlyMap<string, StoredMessage>;
  /** The content of the journal. */
  readonly journal: JournalContent;
  /** Damaged record files. */
  readonly damaged: ReadonlyMap<string, FileDamage>;
  /** Record files of messages that have left. */
  readonly leftovers: readonly string[];
  /** Number of messages that the journal did not know. */
  readonly unknown: number;
  /** Undelivered messages whose record file is missing. */
  readonly missing: readonly SpoolProblem[];
}

/**
 * Reads the spool without changing it. 100,000 messages cost one journal, one
 * folder list and the size of each file; only files that the journal does not
 * know are opened.
 *
 * @param options `trustSizes` skips the check of each file's size
 */
export async function readSpool(
  files: SpoolFiles,
  paths: SpoolPaths,
  options: { readonly trustSizes?: boolean } = {},
): Promise<SpoolContent> {
  const journal = await readJournal(files, paths.journal);
  const names = new Set(await files.list(paths.messages));
  const survey = new Survey(files, {
    folder: paths.messages,
    journal,
    trustSizes: options.trustSizes ?? false,
  });
  await inBatches(names, (name) => survey.look(name));
  const { messages } = journal;
  const { damaged, leftovers, unknown } = survey;
  const missing: SpoolProblem[] = [];
  for (const [id, { entry, place }] of messages) {
    if (names.has(place.file)) continue;
    messages.delete(id);
    if (entry.progress.recipients.some(({ status }) => status === "pending")) {
      const reason = "Record file is not there";
      // A damaged line may be the one that called the message gone.
      const lost = journal.badLines > 0 ? [] : [entry];
      missing.push({ name: id, reason, lost });
    }
  }
  return { messages, journal, damaged, leftovers, unknown, missing };
}

/** Examines each record file, using the journal. */
class Survey {
  readonly damaged = new Map<string, FileDamage>();
  readonly leftovers: string[] = [];
  unknown = 0;
  readonly #files: SpoolFiles;
  readonly #folder: string;
  readonly #journal: JournalContent;
  readonly #trustSizes: boolean;
  /** The messages in each shared file, by the journal. */
  readonly #living = new Map<string, StoredMessage[]>();

  constructor(
    files: SpoolFiles,
    options: {
      readonly folder: string;
      readonly journal: JournalContent;
      readonly trustSizes: boolean;
    },
  ) {
    this.#files = files;
    this.#folder = options.folder;
    this.#journal = options.journal;
    this.#trustSizes = options.trustSizes;
    for (const message of options.journal.messages.values()) {
      if (!isShared(message)) continue;
      const { file } = message.place;
      const known = this.#living.get(file);
      if (known === undefined) this.#living.set(file, [message]);
      else known.push(message);
    }
  }

  async look(name: string): Promise<void> {
    const { messages, gone, shared, badLines } = this.#journal;
    try {
      if (gone.has(name)) this.leftovers.push(name);
      else if (sharedCount(name) !== undefined) {
        // Danger: the line that is bad may be that of a message, whose record
        // would be taken for one that has left. Twice is better than never.
        const isKnown = badLines === 0 && shared.has(name);
        await (isKnown ? this.#check(name) : this.#readShared(name));
      } else if (!messages.has(name)) await this.#readSingle(name);
      else if (!isShared(messages.get(name)!)) await this.#check(name);
      else this.leftovers.push(name);
    } catch (error) {
      // Removed since the folder was listed: another process owns the spool.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  /** Examines a file that the journal knows: compares the sizes. */
  async #check(name: string): Promise<void> {
    const { messages } = this.#journal;
    const living = sharedCount(name) === undefined
      ? [messages.get(name)!]
      : this.#living.get(name) ?? [];
    if (living.length === 0) {
      this.leftovers.push(name);
      return;
    }
    if (this.#trustSizes) return;
    const size = await this.#files.size(`${this.#folder}/${name}`) ?? 0;
    const cut = living.filter((message) => {
      const { offset, size: recordSize } = message.place;
      return isShared(message)
        ? size < offset + recordSize
        : size !== recordSize;
    });
    if (cut.length === 0) return;
    const end = Math.max(
      ...cut.map(({ place }) => place.offset + place.size),
    );
    this.damaged.set(name, {
      reason: `Record has ${size} bytes, want ${end}`,
      isInUse: cut.length < living.length,
      lost: cut.map(({ entry }) => entry),
    });
    for (const { entry } of cut) messages.delete(entry.envelope.id);
  }

  /** Reads a file of one record that the journal does not know. */
  async #readSingle(name: string): Promise<void> {
    const found = isSpoolId(name)
      ? await this.#record(name, 0)
      : "Not a name of a message";
    const size = await this.#files.size(`${this.#folder}/${name}`);
    const fault = typeof found === "string"
      ? found
      : isShared(found)
      ? `Record is of message "${found.entry.envelope.id}"`
      : size !== found.place.size
      ? `Record has ${size} bytes, want ${found.place.size}`
      : undefined;
    if (fault !== undefined) {
      const isOwn = typeof found !== "string" && !isShared(found);
      const lost = isOwn ? [found.entry] : [];
      this.damaged.set(name, { reason: fault, isInUse: false, lost });
    } else this.#add(found as StoredMessage);
  }

  /** Reads a shared file that the journal does not know, or not for certain. */
  async #readShared(name: string): Promise<void> {
    const count = sharedCount(name)!;
    const size = await this.#files.size(`${this.#folder}/${name}`) ?? 0;
    let offset = 0;
    let fault: string | undefined;
    let living = 0;
    const lost: SpoolEntry[] = [];
    for (let number = 1; fault === undefined && number <= count; number++) {
      const found = await this.#record(name, offset);
      if (typeof found === "string") {
        fault = `Record ${number} of ${count}: ${found}`;
      } else if (offset + found.place.size > size) {
        fault = `Record ${number} of ${count} has ${size - offset} bytes, ` +
          `want ${found.place.size}`;
        const { entry } = found;
        if (!this.#journal.gone.has(entry.envelope.id)) lost.push(entry);
      } else {
        offset += found.place.size;
        if (this.#isLiving(found, name)) living++;
      }
    }
    if (fault === undefined && offset !== size) {
      fault = `File has ${size} bytes, want ${offset}`;
    }
    if (fault !== undefined) {
      const known = this.#dropFrom(name, offset);
      const names = new Set(known.map(({ envelope }) => envelope.id));
      const read = lost.filter(({ envelope }) => !names.has(envelope.id));
      this.damaged.set(name, {
        reason: fault,
        isInUse: living > 0,
        lost: [...known, ...read],
      });
    } else if (living === 0) this.leftovers.push(name);
  }

  /** Adds a record that the journal does not know; returns whether the record is to be delivered. */
  #isLiving(found: StoredMessage, name: string): boolean {
    const { id } = found.entry.envelope;
    const { messages, gone } = this.#journal;
    const known = messages.get(id);
    if (known !== undefined) return known.place.file === name;
    if (gone.has(id)) return false;
    this.#add(found);
    return true;
  }

  /** Drops what the journal says of the records from `offset` on in a file; returns their messages. */
  #dropFrom(name: string, offset: number): SpoolEntry[] {
    const dropped = (this.#living.get(name) ?? [])
      .filter(({ place }) => place.offset >= offset)
      .map(({ entry }) => entry);
    for (const { envelope } of dropped) {
      this.#journal.messages.delete(envelope.id);
    }
    return dropped;
  }

  /** Describes the record at `offset` of a file from its head, or returns the reason if it is damaged. */
  async #record(name: string, offset: number): Promise<StoredMessage | string> {
    const path = `${this.#folder}/${name}`;
    const head = await readRecordHead(this.#files, path, offset);
    if ("fault" in head) return head.fault;
    const { envelope, length } = head;
    if (!isSpoolId(envelope.id)) return "Not a name of a message";
    const progress = unpackProgress(envelope, head.progress);
    const place = { file: name, offset, size: length + envelope.size };
    return { entry: { envelope, progress }, place };
  }

  #add(message: StoredMessage): void {
    this.#journal.messages.set(message.entry.envelope.id, message);
    this.unknown++;
  }
}

async function inBatches<T>(
  items: Iterable<T>,
  action: (item: T) => Promise<void>,
): Promise<void> {
  let batch: Promise<void>[] = [];
  for (const item of items) {
    batch.push(action(item));
    if (batch.length < BATCH) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
}
