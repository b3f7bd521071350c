/**
 * What the journal says: its lines into messages, and messages into lines.
 * Reads the one file; never writes.
 *
 * Danger: messages that share a file come in one line, so that a crash leaves
 * all of them known or none. A record of a file that the journal names, and no
 * message to it, is that of a message that has left.
 *
 * Equal values of many messages, kept once. Only saves memory: what it returns
 * equals what it was given.
 */

import {
  applyChange,
  type RecipientAnswer,
  type SpoolChange,
  type StoredEnvelope,
} from "./envelope.ts";
import {
  decodeJournalLine,
  encodeJournalLine,
  isSpoolId,
  type JournalEntry,
  type JournalLine,
  packProgress,
  unpackProgress,
} from "./record.ts";
import type { RecordPlace, SharedFile, StoredEntry } from "./folder.ts";
import type { SpoolFiles } from "./files.ts";

const READ_CHUNK = 128 * 1024;
const LF = 10;

/** The journal's line on a message, with all of its progress. */
function storedEntryLine(entry: StoredEntry): string {
  const { place } = entry;
  return place === undefined
    ? encodeJournalLine({ kind: "entry", ...packEntry(entry) })
    : sharedLine(place.file.name, [entry]);
}

/** The journal's line on all messages of a file. */
function sharedLine(
  file: string,
  entries: readonly StoredEntry[],
): string {
  return encodeJournalLine({
    kind: "shared",
    file,
    entries: entries.map((entry) => ({
      offset: entry.place!.offset,
      ...packEntry(entry),
    })),
  });
}

/** The journal's lines on messages that are new, all of one file or each of its own. */
export function keptLines(entries: readonly StoredEntry[]): string {
  const file = entries[0]?.place?.file.name;
  return file === undefined
    ? entries.map(storedEntryLine).join("")
    : sharedLine(file, entries);
}

/** The journal's line on a message that leaves, or on a file that all have left. */
export function goneLine(id: string): string {
  return encodeJournalLine({ kind: "gone", id });
}

/** The lines of a journal that is written anew. */
export function* journalLines(
  entries: Iterable<StoredEntry>,
  leaving: Iterable<string>,
): Generator<string> {
  for (const entry of entries) yield storedEntryLine(entry);
  for (const id of leaving) yield goneLine(id);
}

function packEntry(
  { envelope, fileSize, progress }: StoredEntry,
): JournalEntry {
  const packed = packProgress(progress);
  return {
    envelope,
    fileSize,
    ...(packed === undefined ? {} : { progress: packed }),
  };
}

/** What the journal says. */
export interface JournalContent {
  /** The messages, in the order in which they came. */
  readonly entries: Map<string, StoredEntry>;
  /** Messages and files that have left; a record of theirs must not come back to life. */
  readonly gone: Set<string>;
  /** The files of several records that the journal names. */
  readonly shared: Map<string, SharedFile>;
  /** Bytes up to the end of the last whole line. */
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
  const into: Replay = {
    entries: new Map(),
    gone: new Set(),
    shared: new Map(),
    sharer: new Sharer(),
  };
  let goodSize = 0;
  let badLines = 0;
  let lines = 0;
  if (await files.size(path) !== undefined) {
    for await (const { text, end } of readLines(files, path)) {
      goodSize = end;
      lines++;
      const line = decodeJournalLine(text);
      if (line === undefined) badLines++;
      else replay(line, into);
    }
  }
  const { entries, gone, shared } = into;
  return { entries, gone, shared, goodSize, badLines, lines };
}

interface Replay extends Pick<JournalContent, "entries" | "gone" | "shared"> {
  readonly sharer: Sharer;
}

function replay(line: JournalLine, into: Replay): void {
  switch (line.kind) {
    case "entry":
      replayEntry(line, into, undefined);
      return;
    case "shared": {
      const file = sharedFile(into.shared, line.file);
      for (const entry of line.entries) {
        replayEntry(entry, into, { file, offset: entry.offset });
      }
      return;
    }
    case "change": {
      const entry = into.entries.get(line.id);
      if (entry !== undefined) {
        applyChange(entry.progress, into.sharer.change(line.change));
      }
      return;
    }
    case "gone":
      into.entries.delete(line.id);
      into.gone.add(line.id);
      return;
  }
}

function replayEntry(
  line: JournalEntry,
  into: Replay,
  place: RecordPlace | undefined,
): void {
  const { fileSize } = line;
  const envelope = into.sharer.envelope(line.envelope);
  const { id } = envelope;
  if (!isSpoolId(id)) return;
  const progress = unpackProgress(envelope, line.progress);
  into.entries.set(id, { envelope, progress, fileSize, place });
  into.gone.delete(id);
}

/** The one object that stands for a file. */
export function sharedFile(
  shared: Map<string, SharedFile>,
  name: string,
): SharedFile {
  let file = shared.get(name);
  if (file === undefined) {
    file = { name, left: 0 };
    shared.set(name, file);
  }
  return file;
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

/** Values of which a large spool has few different ones. */
const SHARED_MAX = 10_000;

/**
 * Makes equal small values of many messages one value: in a spool of 100,000
 * messages they would take a third of the memory.
 */
class Sharer {
  readonly #values = new Map<string, unknown>();

  /** The envelope, with shared parts. */
  envelope(envelope: StoredEnvelope): StoredEnvelope {
    return {
      ...envelope,
      from: this.#text(envelope.from),
      parameters: this.#value(envelope.parameters),
      options: this.#value(envelope.options),
      recipients: envelope.recipients.map(({ address, parameters }) => ({
        address,
        parameters: this.#value(parameters),
      })),
    };
  }

  /** The step of progress, with shared parts. */
  change(change: SpoolChange): SpoolChange {
    if (change.kind !== "result") return change;
    return {
      kind: "result",
      results: change.results.map((result) =>
        result.answer === undefined
          ? result
          : { ...result, answer: this.#answer(result.answer) }
      ),
    };
  }

  #answer(answer: RecipientAnswer): RecipientAnswer {
    const { at, isReply, remoteMta } = answer;
    const status = this.#text(answer.status);
    const text = this.#text(answer.text);
    return remoteMta === undefined
      ? { at, text, isReply, status }
      : { at, text, isReply, status, remoteMta: this.#text(remoteMta) };
  }

  #text(text: string): string {
    return this.#share(text, text);
  }

  #value<T>(value: T): T {
    return this.#share(JSON.stringify(value), value);
  }

  #share<T>(key: string, value: T): T {
    const known = this.#values.get(key);
    if (known !== undefined && typeof known === typeof value) return known as T;
    if (this.#values.size === SHARED_MAX) this.#values.clear();
    this.#values.set(key, value);
    return value;
  }
}
