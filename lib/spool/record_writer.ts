/**
 * Writes the records of messages into `messages/`: several small ones into one
 * shared file, a large one into a file of its own while its content arrives.
 * Checks that the content has the length in its envelope. Never changes a file
 * that is in place, except to remove one that it could not make durable.
 *
 * Group commit: messages that come while others are being written share the
 * next file, its sync and its rename. A message that comes alone is written at
 * once, to a file of its own.
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
import type { KeptMessage, SpoolPaths } from "./folder.ts";
import type { Progress, SpoolEntry, StoredEnvelope } from "./envelope.ts";
import type { SpoolIndex } from "./index.ts";

/** Bytes of content up to which a record may share a file. */
const SMALL = 64 * 1024;
/** Bytes of larger content that are gathered for one write. */
const BUFFER = 256 * 1024;
/** Limit of records in one file: it bounds the number of messages that fail together. */
const MAX_RECORDS = 32;
/** Limit of a shared file, in bytes. */
const MAX_BYTES = 512 * 1024;
/** Limit of files with small records that are written at a time. */
const MAX_FILES = 1;

/** A message to be written. */
export interface RecordToWrite {
  readonly envelope: StoredEnvelope;
  /** The login at the next hop. */
  readonly login: Login | undefined;
  /** The initial progress of the message. */
  readonly progress: Progress;
  readonly content: AsyncIterable<Uint8Array>;
}

/** A small record in memory, without a place yet. */
interface SmallRecord {
  readonly entry: SpoolEntry;
  readonly head: Uint8Array;
  readonly content: Uint8Array<ArrayBuffer>;
}

interface Waiting {
  readonly record: SmallRecord;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Writes records, and adds them to the index once they are durable. */
export class RecordWriter {
  readonly #files: RecordFiles;
  readonly #index: SpoolIndex;
  #waiting: Waiting[] = [];
  /** Number of files with small records being written. */
  #writing = 0;

  /**
   * @param index Gets the messages of a file, all at once, before any caller's promise resolves
   * @param onTrouble Called for a file that could not be removed. Must not throw
   */
  constructor(
    files: SpoolFiles,
    paths: SpoolPaths,
    { index, onTrouble }: {
      readonly index: SpoolIndex;
      readonly onTrouble: (error: unknown) => void;
    },
  ) {
    this.#files = new RecordFiles(files, paths, onTrouble);
    this.#index = index;
  }

  /**
   * Writes a record. The message is durable and in the index when this resolves.
   *
   * @throws {Error} If the file system fails; the record does not exist then
   * @throws {RangeError} If the content does not have the size in the envelope
   */
  async write(record: RecordToWrite): Promise<SpoolEntry> {
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
      await this.#writeSmall({ entry, head, content: bytes });
      return entry;
    }
    await this.#files.put(
      id,
      (file) => writeContent(file, head, { content, size }),
    );
    const place = { file: id, offset: 0, size: head.length + size };
    this.#index.keep([{ entry, place, content: undefined }]);
    return entry;
  }

  #writeSmall(record: SmallRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ record, resolve, reject });
      if (this.#writing < MAX_FILES) void this.#run();
    });
  }

  /** Writes file after file until no record waits. Never rejects. */
  async #run(): Promise<void> {
    this.#writing++;
    // Records that come in the same turn of the event loop go into the same file.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const group = this.#nextGroup();
      try {
        this.#index.keep(
          await this.#writeGroup(group.map(({ record }) => record)),
        );
        for (const { resolve } of group) resolve();
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#writing--;
  }

  /** Takes as many of the waiting records as fit into one file. */
  #nextGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { record } of this.#waiting) {
      bytes += record.head.length + record.content.length;
      if (count > 0 && (count === MAX_RECORDS || bytes > MAX_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #writeGroup(records: readonly SmallRecord[]): Promise<KeptMessage[]> {
    const { id } = records[0]!.entry.envelope;
    const file = records.length === 1 ? id : sharedName(id, records.length);
    const bytes = joined(records);
    await this.#files.put(file, (open) => open.write(bytes));
    let end = 0;
    return records.map(({ entry, head, content }) => {
      const offset = end;
      const size = head.length + content.length;
      end += size;
      return { entry, place: { file, offset, size }, content };
    });
  }
}

/** Copies the content, so that the caller may reuse its buffers. */
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

/** Writes head and content, gathering small chunks. */
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
    // Checked before the write: excess content must not fill the disk.
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

/** All records, concatenated. */
function joined(records: readonly SmallRecord[]): Uint8Array<ArrayBuffer> {
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

function wrongSize(found: number, want: number): RangeError {
  return new RangeError(
    `Cannot write content of ${found} bytes: want the ${want} of the envelope`,
  );
}

/**
 * Adds a file to the records in one step: writes it in `incoming/`, syncs it,
 * renames it into `messages/`, and syncs that folder. Files written in parallel
 * share the syncs of the folder.
 */
class RecordFiles {
  readonly #files: SpoolFiles;
  readonly #paths: SpoolPaths;
  readonly #onTrouble: (error: unknown) => void;
  readonly #folder: FolderSync;

  constructor(
    files: SpoolFiles,
    paths: SpoolPaths,
    onTrouble: (error: unknown) => void,
  ) {
    this.#files = files;
    this.#paths = paths;
    this.#onTrouble = onTrouble;
    this.#folder = new FolderSync(files, paths.messages);
  }

  /**
   * Puts a file in place; it is durable when this resolves.
   *
   * @param name Its unique name
   * @param fill Writes its content
   * @throws {Error} If the file system or `fill` fails; the file does not exist then
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
      // The client gets a 4xx reply and sends again: a record that stayed would
      // be a second copy.
      await this.#files.remove(path).catch(this.#onTrouble);
      throw error;
    }
  }
}

/**
 * Shares a sync among callers. A sync covers only renames from before it began,
 * so callers that come during a sync share the next one.
 */
class FolderSync {
  readonly #files: SpoolFiles;
  readonly #path: string;
  #running: Promise<void> | undefined;
  #waiting: Promise<void> | undefined;

  constructor(files: SpoolFiles, path: string) {
    this.#files = files;
    this.#path = path;
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
    const running = this.#files.syncFolder(this.#path).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
