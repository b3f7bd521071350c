/**
 * Writes the records of messages: small ones in groups, a large one by itself
 * as its content comes. Owns the check that a content is as long as its
 * envelope says, before anything is promised.
 *
 * Puts a file among the records of a spool in one step: written beside, synced,
 * renamed into place, folder synced. Knows nothing of what is in it. Never
 * touches a file that is in place, except to take back one that it could not
 * make durable.
 *
 * Group commit: messages that come while others are being written share the
 * next file, its sync and its rename. One message that comes alone is written
 * at once, to a file of its own. Owns the waiting line and the bounds of a file.
 *
 * Danger: a file is refused or kept as a whole, and so are its messages. None
 * of them is known to anybody before all of them are safe.
 */

import type { Login } from "../client/next_hop.ts";
import {
  encodeRecordHead,
  packProgress,
  type RecordHead,
  sharedName,
} from "./record.ts";
import type { SpoolFile, SpoolFiles } from "./files.ts";
import type { SpoolPaths, StoredEntry } from "./folder.ts";
import type { Progress, StoredEnvelope } from "./envelope.ts";

/** Content up to this size goes to the disk together with others. */
const SMALL = 64 * 1024;
/** The pieces of larger content are gathered into writes of this size. */
const BUFFER = 256 * 1024;

/** Options of {@linkcode RecordWriter}. */
export interface RecordWriterOptions {
  /** Is told of a file that could not be cleared away. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
  /** Is shown the messages of a file once they are safe, before anybody else is. Must not throw. */
  readonly onKept: (kept: readonly KeptRecord[]) => void;
}

/** A message to be written. */
export interface RecordToWrite {
  /** The envelope. */
  readonly envelope: StoredEnvelope;
  /** The log-in for the next hop. */
  readonly login: Login | undefined;
  /** The progress that it begins with. */
  readonly progress: Progress;
  /** The content. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** Writes records. Many at a time share what they cost. */
export class RecordWriter {
  readonly #files: RecordFiles;
  readonly #groups: RecordGroups;
  readonly #onKept: (kept: readonly KeptRecord[]) => void;

  /**
   * Makes a writer for one spool.
   *
   * @param files The file operations
   * @param paths Where the spool is
   */
  constructor(
    files: SpoolFiles,
    paths: SpoolPaths,
    options: RecordWriterOptions,
  ) {
    this.#files = new RecordFiles(files, paths, options);
    this.#groups = new RecordGroups(this.#files, options);
    this.#onKept = options.onKept;
  }

  /**
   * Writes a record; it is safe when this resolves.
   *
   * @throws {Error} As the file system says; then the record is not there
   * @throws {RangeError} If the content is not of the size that the envelope says
   */
  async write(record: RecordToWrite): Promise<StoredEntry> {
    const { envelope, login, progress, content } = record;
    const { id, size } = envelope;
    const start: RecordHead = {
      envelope,
      login,
      progress: packProgress(progress),
    };
    const head = encodeRecordHead(start);
    const entry = { envelope, progress };
    if (size <= SMALL) {
      const bytes = await collect(content, size);
      return await this.#groups.add({ entry, head, content: bytes });
    }
    await this.#files.put(
      id,
      (file) => writeContent(file, head, { content, size }),
    );
    const fileSize = head.length + size;
    const kept: StoredEntry = { ...entry, fileSize, place: undefined };
    this.#onKept([{ entry: kept, content: undefined }]);
    return kept;
  }
}

/** A copy of the content: what it was given for is free again. */
async function collect(
  content: AsyncIterable<Uint8Array>,
  size: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(size);
  let used = 0;
  for await (const chunk of content) {
    const end = used + chunk.length;
    if (end > size) throw wrongSize(end, size);
    bytes.set(chunk, used);
    used = end;
  }
  if (used !== size) throw wrongSize(used, size);
  return bytes;
}

/** Writes head and content, small pieces together. */
async function writeContent(
  file: SpoolFile,
  head: Uint8Array,
  body: { readonly content: AsyncIterable<Uint8Array>; readonly size: number },
): Promise<void> {
  const { content, size } = body;
  const buffer = new Uint8Array(BUFFER);
  let used = 0;
  let written = -head.length;
  const take = async (chunk: Uint8Array): Promise<void> => {
    written += chunk.length;
    // Checked before writing: what is longer than announced must not fill the disk.
    if (written > size) throw wrongSize(written, size);
    if (used + chunk.length > buffer.length) {
      await file.write(buffer.subarray(0, used));
      used = 0;
    }
    if (chunk.length > buffer.length) {
      await file.write(chunk);
      return;
    }
    buffer.set(chunk, used);
    used += chunk.length;
  };
  await take(head);
  for await (const chunk of content) await take(chunk);
  if (written !== size) throw wrongSize(written, size);
  await file.write(buffer.subarray(0, used));
}

function wrongSize(found: number, want: number): RangeError {
  return new RangeError(
    `Cannot write content of ${found} octets: want the ${want} of the envelope`,
  );
}

/** Options of {@linkcode RecordFiles}. */
export interface RecordFilesOptions {
  /** Is told of a file that could not be cleared away. Must not throw. */
  readonly onTrouble: (error: unknown) => void;
}

/** The record files of one spool. Many at a time share the syncs of their folder. */
class RecordFiles {
  readonly #files: SpoolFiles;
  readonly #paths: SpoolPaths;
  readonly #onTrouble: (error: unknown) => void;
  readonly #folder: FolderSync;

  /**
   * Makes one for a spool; opens nothing.
   *
   * @param files The file operations
   * @param paths Where the spool is
   */
  constructor(
    files: SpoolFiles,
    paths: SpoolPaths,
    options: RecordFilesOptions,
  ) {
    this.#files = files;
    this.#paths = paths;
    this.#onTrouble = options.onTrouble;
    this.#folder = new FolderSync(() => files.syncFolder(paths.messages));
  }

  /**
   * Puts a file in place; it is safe when this resolves.
   *
   * @param name Its name, which no other has
   * @param fill Writes what is in it
   * @throws {Error} As the file system says, or as `fill` does; then the file is not there
   */
  async put(
    name: string,
    fill: (file: SpoolFile) => Promise<void>,
  ): Promise<void> {
    const temporary = `${this.#paths.incoming}/${name}`;
    const path = `${this.#paths.messages}/${name}`;
    try {
      const file = await this.#files.create(temporary);
      try {
        await fill(file);
        await file.sync();
      } finally {
        file.close();
      }
      await this.#files.rename(temporary, path);
    } catch (error) {
      await this.#files.remove(temporary).catch(this.#onTrouble);
      throw error;
    }
    try {
      await this.#folder.sync();
    } catch (error) {
      // The client is told to come back, so a record that stayed would be a
      // second copy.
      await this.#files.remove(path).catch(this.#onTrouble);
      throw error;
    }
  }
}

/**
 * One sync for all who ask while the one before is under way: a sync covers
 * only what was renamed before it began, so nobody may join one that is running.
 */
class FolderSync {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #waiting: Promise<void> | undefined;

  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** Resolves when a sync that began after this call has ended. */
  sync(): Promise<void> {
    if (this.#running === undefined) return this.#begin();
    this.#waiting ??= this.#running.catch(() => {}).then(() => {
      this.#waiting = undefined;
      return this.#begin();
    });
    return this.#waiting;
  }

  #begin(): Promise<void> {
    const running = this.#sync().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}

/** Records of one file: what fails together is bounded. */
const MAX_RECORDS = 32;
/** Bytes of a file with several records. */
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
class RecordGroups {
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
