/**
 * Group commit: messages that come while others are being written share the
 * next file, its sync and its rename. One message that comes alone is written
 * at once, to a file of its own. Owns the waiting line and the bounds of a file.
 *
 * Danger: a file is refused or kept as a whole, and so are its messages. None
 * of them is known to anybody before all of them are safe.
 */

import { sharedName } from "./record.ts";
import type { RecordFiles } from "./record_file.ts";
import type { StoredEntry } from "./spool_folder.ts";

/** Records of one file: what fails together is bounded. */
const MAX_RECORDS = 32;
/** Octets of a file with several records. */
const MAX_OCTETS = 512 * 1024;
/** Files being written at a time. */
const MAX_FILES = 1;

/** A message that is to be written. */
export interface NewRecord {
  /** What is known of it; its place is still open. */
  readonly entry: Omit<StoredEntry, "place" | "fileSize">;
  /** The head of the record. */
  readonly head: Uint8Array;
  /** The content. */
  readonly content: Uint8Array<ArrayBuffer>;
}

/** A message that is safe. */
export interface KeptRecord {
  /** What is known of it. */
  readonly entry: StoredEntry;
  /** The content, where it is in memory. */
  readonly content: Uint8Array<ArrayBuffer> | undefined;
}

/** Options of {@linkcode RecordGroups}. */
export interface RecordGroupsOptions {
  /** Is shown the messages of a file once they are safe. Must not throw. */
  readonly onKept: (kept: readonly KeptRecord[]) => void;
}

interface Waiting {
  readonly record: NewRecord;
  readonly resolve: (entry: StoredEntry) => void;
  readonly reject: (error: unknown) => void;
}

/** Writes small records, those that come together in one file. */
export class RecordGroups {
  readonly #files: RecordFiles;
  readonly #onKept: (kept: readonly KeptRecord[]) => void;
  #waiting: Waiting[] = [];
  #writing = 0;

  /**
   * Makes one with nothing to write.
   *
   * @param files Where records go
   */
  constructor(files: RecordFiles, options: RecordGroupsOptions) {
    this.#files = files;
    this.#onKept = options.onKept;
  }

  /**
   * Writes a record; it is safe when this resolves.
   *
   * @throws {Error} As the file system says; then the record is not there
   */
  add(record: NewRecord): Promise<StoredEntry> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ record, resolve, reject });
      if (this.#writing < MAX_FILES) void this.#run();
    });
  }

  /** Writes file after file until nobody waits. Never rejects. */
  async #run(): Promise<void> {
    this.#writing++;
    // What comes in the same turn of the event loop goes into the same file.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#take();
      try {
        const kept = await this.#write(group.map(({ record }) => record));
        this.#onKept(kept);
        for (const [at, { resolve }] of group.entries()) {
          resolve(kept[at]!.entry);
        }
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#writing--;
  }

  /** The first of those that wait, as many as go into one file. */
  #take(): Waiting[] {
    let octets = 0;
    let count = 0;
    for (const { record } of this.#waiting) {
      octets += record.head.length + record.content.length;
      if (count > 0 && (count === MAX_RECORDS || octets > MAX_OCTETS)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #write(records: readonly NewRecord[]): Promise<KeptRecord[]> {
    const { id } = records[0]!.entry.envelope;
    const name = records.length === 1 ? id : sharedName(id, records.length);
    const bytes = joined(records);
    await this.#files.put(name, (file) => file.write(bytes));
    const file = { name, left: records.length };
    let offset = 0;
    return records.map(({ entry, head, content }) => {
      const place = records.length === 1 ? undefined : { file, offset };
      const fileSize = head.length + content.length;
      offset += fileSize;
      const { envelope, progress } = entry;
      return { entry: { envelope, progress, fileSize, place }, content };
    });
  }
}

/** All records, one behind the other. */
function joined(records: readonly NewRecord[]): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const { head, content } of records) size += head.length + content.length;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const { head, content } of records) {
    bytes.set(head, at);
    bytes.set(content, at + head.length);
    at += head.length + content.length;
  }
  return bytes;
}
