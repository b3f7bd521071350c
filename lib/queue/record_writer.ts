/**
 * Writes the records of messages: small ones in groups, a large one by itself
 * as its content comes. Owns the check that a content is as long as its
 * envelope says, before anything is promised.
 */

import { encodeRecordHead, packProgress, type RecordHead } from "./record.ts";
import { RecordFiles } from "./record_file.ts";
import { type KeptRecord, RecordGroups } from "./record_groups.ts";
import type { SpoolFile, SpoolFiles } from "./spool_files.ts";
import type { SpoolPaths, StoredEntry } from "./spool_folder.ts";
import type { Progress, RelayLogin } from "./stored_envelope.ts";
import type { StoredEnvelope } from "./stored_envelope.ts";

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
  readonly login: RelayLogin | undefined;
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
