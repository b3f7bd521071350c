/**
 * Where things lie in a spool folder, and how one is read without owning it.
 *
 * ```text
 * lock        held by the process that owns the spool
 * journal     one line a message and a step of progress
 * messages/   one record a message, named after it
 * incoming/   records being written; not accepted yet
 * control/    requests from outside, one empty file each
 * damaged/    what was not whole, set aside
 * ```
 *
 * Never writes.
 */

import {
  applyChange,
  type SpoolEntry,
  type StoredEnvelope,
} from "./stored_envelope.ts";
import {
  type DecodedHead,
  decodeJournalLine,
  decodeRecordHead,
  encodeJournalLine,
  isSpoolId,
  type JournalLine,
  packProgress,
  unpackProgress,
} from "./record.ts";
import { Sharer } from "./sharer.ts";
import type { SpoolFiles } from "./spool_files.ts";
import type { SpoolProblem } from "./spool.ts";

const HEAD_CHUNK = 4096;
/** An envelope of 100,000 recipients has about 10 MiB; a record whose head claims more is garbage. */
const HEAD_MAX = 64 * 1024 * 1024;
const READ_CHUNK = 128 * 1024;
/** Files looked at together. */
const BATCH = 64;
const LF = 10;

/** The paths of one spool. */
export interface SpoolPaths {
  /** The spool folder itself. */
  readonly root: string;
  /** The lock file. */
  readonly lock: string;
  /** The journal. */
  readonly journal: string;
  /** Folder of the records. */
  readonly messages: string;
  /** Folder of the records being written. */
  readonly incoming: string;
  /** Folder of the requests. */
  readonly control: string;
  /** Folder of what was set aside. */
  readonly damaged: string;
}

/** The paths of the spool in `root`. */
export function spoolPaths(root: string): SpoolPaths {
  return {
    root,
    lock: `${root}/lock`,
    journal: `${root}/journal`,
    messages: `${root}/messages`,
    incoming: `${root}/incoming`,
    control: `${root}/control`,
    damaged: `${root}/damaged`,
  };
}

/** One message as the journal and its record file say. */
export interface StoredEntry extends SpoolEntry {
  /** Octets of the record file. */
  readonly fileSize: number;
}

/** The journal's line on a message, with all of its progress. */
export function storedEntryLine(entry: StoredEntry): string {
  const { envelope, fileSize } = entry;
  const progress = packProgress(entry.progress);
  return encodeJournalLine({
    kind: "entry",
    envelope,
    fileSize,
    ...(progress === undefined ? {} : { progress }),
  });
}

/** What the journal says. */
export interface JournalContent {
  /** The messages, in the order in which they came. */
  readonly entries: Map<string, StoredEntry>;
  /** Messages that have left; a record of theirs must not come back to life. */
  readonly gone: Set<string>;
  /** Octets up to the end of the last whole line. */
  readonly goodSize: number;
  /** Lines that do not decode, a torn one at the end not counted. */
  readonly badLines: number;
  /** Whole lines. */
  readonly lines: number;
}

/** Reads the journal; an absent one is an empty one. */
export async function readJournal(
  files: SpoolFiles,
  path: string,
): Promise<JournalContent> {
  const entries = new Map<string, StoredEntry>();
  const gone = new Set<string>();
  const sharer = new Sharer();
  let goodSize = 0;
  let badLines = 0;
  let lines = 0;
  if (await files.size(path) === undefined) {
    return { entries, gone, goodSize, badLines, lines };
  }
  for await (const { text, end } of readLines(files, path)) {
    goodSize = end;
    lines++;
    const line = decodeJournalLine(text);
    if (line === undefined) badLines++;
    else replay(line, { entries, gone, sharer });
  }
  return { entries, gone, goodSize, badLines, lines };
}

function replay(
  line: JournalLine,
  into: Pick<JournalContent, "entries" | "gone"> & { readonly sharer: Sharer },
): void {
  const { entries, gone, sharer } = into;
  switch (line.kind) {
    case "entry": {
      const { fileSize } = line;
      const envelope = sharer.envelope(line.envelope);
      if (!isSpoolId(envelope.id)) return;
      const progress = unpackProgress(envelope, line.progress);
      entries.set(envelope.id, { envelope, progress, fileSize });
      gone.delete(envelope.id);
      return;
    }
    case "change": {
      const entry = entries.get(line.id);
      if (entry !== undefined) {
        applyChange(entry.progress, sharer.change(line.change));
      }
      return;
    }
    case "gone":
      entries.delete(line.id);
      gone.add(line.id);
      return;
  }
}

/** The whole lines of a file; a last one without line end is not one. */
async function* readLines(
  files: SpoolFiles,
  path: string,
): AsyncGenerator<{ readonly text: string; readonly end: number }> {
  const decoder = new TextDecoder();
  let rest = new Uint8Array(0);
  let end = 0;
  for await (
    const piece of files.read(path, { offset: 0, chunkSize: READ_CHUNK })
  ) {
    let chunk: Uint8Array = piece;
    if (rest.length > 0) {
      chunk = new Uint8Array(rest.length + piece.length);
      chunk.set(rest);
      chunk.set(piece, rest.length);
    }
    let start = 0;
    for (;;) {
      const at = chunk.indexOf(LF, start);
      if (at === -1) break;
      end += at + 1 - start;
      yield { text: decoder.decode(chunk.subarray(start, at)), end };
      start = at + 1;
    }
    rest = chunk.slice(start);
  }
}

/** The head of a record file, or what is wrong with it. */
export async function readRecordHead(
  files: SpoolFiles,
  path: string,
): Promise<DecodedHead | { readonly fault: string }> {
  let bytes = new Uint8Array(0);
  for await (
    const chunk of files.read(path, { offset: 0, chunkSize: HEAD_CHUNK })
  ) {
    const grown = new Uint8Array(bytes.length + chunk.length);
    grown.set(bytes);
    grown.set(chunk, bytes.length);
    bytes = grown;
    const head = decodeRecordHead(bytes);
    if (!("want" in head)) return head;
    if (head.want > HEAD_MAX) break;
  }
  return { fault: "Record ends within its head" };
}

/** Reads a record file that the journal does not know, and checks that it is whole. */
async function readUnknown(
  files: SpoolFiles,
  paths: SpoolPaths,
  id: string,
): Promise<StoredEntry | string> {
  if (!isSpoolId(id)) return "Not a name of a message";
  const path = `${paths.messages}/${id}`;
  const head = await readRecordHead(files, path);
  if ("fault" in head) return head.fault;
  const envelope: StoredEnvelope = head.envelope;
  if (envelope.id !== id) return `Record is of message "${envelope.id}"`;
  const fileSize = head.length + envelope.size;
  const size = await files.size(path);
  if (size !== fileSize) {
    return `Record has ${size} octets, want ${fileSize}`;
  }
  const progress = unpackProgress(envelope, head.progress);
  return { envelope, progress, fileSize };
}

/** The messages of a spool, and what is wrong with it. */
export interface SpoolContent {
  /** The messages whose record is whole, oldest first as far as the journal knows. */
  readonly entries: Map<string, StoredEntry>;
  /** What the journal says by itself. */
  readonly journal: JournalContent;
  /** Record files that are no whole record, and why. */
  readonly damaged: ReadonlyMap<string, string>;
  /** Record files of messages that have left. */
  readonly leftovers: readonly string[];
  /** Messages that the journal did not know. */
  readonly unknown: number;
  /** Messages to be delivered whose record file is not there. */
  readonly missing: readonly SpoolProblem[];
}

/**
 * Reads the spool without changing it, so it may be in use by another process.
 * 100,000 messages cost one journal, one folder list and a size each; only
 * records that the journal does not know are opened.
 *
 * @param options `trustSizes` leaves out the look at the size of each record
 */
export async function readSpool(
  files: SpoolFiles,
  paths: SpoolPaths,
  options: { readonly trustSizes?: boolean } = {},
): Promise<SpoolContent> {
  const journal = await readJournal(files, paths.journal);
  const names = new Set(await files.list(paths.messages));
  const { entries } = journal;
  const damaged = new Map<string, string>();
  const leftovers: string[] = [];
  let unknown = 0;
  await inBatches(names, async (name) => {
    const known = entries.get(name);
    if (known === undefined) {
      if (journal.gone.has(name)) {
        leftovers.push(name);
        return;
      }
      const found = await readUnknown(files, paths, name);
      if (typeof found === "string") damaged.set(name, found);
      else {
        entries.set(name, found);
        unknown++;
      }
      return;
    }
    if (options.trustSizes) return;
    const size = await files.size(`${paths.messages}/${name}`);
    if (size === known.fileSize) return;
    damaged.set(name, `Record has ${size} octets, want ${known.fileSize}`);
    entries.delete(name);
  });
  const missing: SpoolProblem[] = [];
  for (const [id, { progress }] of entries) {
    if (names.has(id)) continue;
    entries.delete(id);
    if (progress.recipients.some(({ status }) => status === "pending")) {
      missing.push({ name: id, reason: "Record file is not there" });
    }
  }
  return { entries, journal, damaged, leftovers, unknown, missing };
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
