/**
 * The content of the journal: encodes messages as lines, and reads the lines of
 * a journal file back into messages. Never writes.
 *
 * Danger: messages that share a file come in one line, so that a crash leaves
 * all of them known or none. A record of a file that the journal names, and no
 * message to it, is that of a message that has left.
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
import { isShared, type RecordPlace, type StoredMessage } from "./folder.ts";
import type { SpoolFiles } from "./files.ts";

/** Bytes of the journal read at once. */
const READ_CHUNK = 128 * 1024;
const LF = 10;
/** Limit of values in an {@linkcode Interner}: a large spool has few different ones. */
const INTERNED_MAX = 10_000;

/** The journal line for the messages of one file, whose records have just become durable. */
export function keptLine(messages: readonly StoredMessage[]): string {
  const first = messages[0]!;
  return isShared(first) ? sharedLine(messages) : ownLine(first);
}

/** The line for a message with a file of its own, with all of its progress. */
function ownLine(message: StoredMessage): string {
  return encodeJournalLine({ kind: "entry", ...packMessage(message) });
}

/** The line for the messages of a shared file. */
function sharedLine(messages: readonly StoredMessage[]): string {
  return encodeJournalLine({
    kind: "shared",
    file: messages[0]!.place.file,
    entries: messages.map((message) => ({
      offset: message.place.offset,
      ...packMessage(message),
    })),
  });
}

/** The line for a message that leaves, or for a file whose messages have all left. */
export function goneLine(id: string): string {
  return encodeJournalLine({ kind: "gone", id });
}

/** The lines of a rewritten journal. */
export function* journalLines(
  messages: Iterable<StoredMessage>,
  leaving: Iterable<string>,
): Generator<string> {
  for (const message of messages) {
    yield isShared(message) ? sharedLine([message]) : ownLine(message);
  }
  for (const id of leaving) yield goneLine(id);
}

function packMessage({ entry, place }: StoredMessage): JournalEntry {
  const packed = packProgress(entry.progress);
  return {
    envelope: entry.envelope,
    fileSize: place.size,
    ...(packed === undefined ? {} : { progress: packed }),
  };
}

/** The content of a journal. */
export interface JournalContent {
  /** The messages, in order of arrival. */
  readonly messages: Map<string, StoredMessage>;
  /** Messages and files that have left; their records must not be delivered again. */
  readonly gone: Set<string>;
  /** The shared files that the journal names. */
  readonly shared: Set<string>;
  /** Bytes up to the end of the last complete line. */
  readonly goodSize: number;
  /** Number of lines that do not decode, without a torn one at the end. */
  readonly badLines: number;
  /** Number of complete lines. */
  readonly lines: number;
}

/** Reads the journal; an absent file is an empty journal. */
export async function readJournal(
  files: SpoolFiles,
  path: string,
): Promise<JournalContent> {
  const into: Replay = {
    messages: new Map(),
    gone: new Set(),
    shared: new Set(),
    interner: new Interner(),
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
  const { messages, gone, shared } = into;
  return { messages, gone, shared, goodSize, badLines, lines };
}

interface Replay extends Pick<JournalContent, "messages" | "gone" | "shared"> {
  readonly interner: Interner;
}

function replay(line: JournalLine, into: Replay): void {
  switch (line.kind) {
    case "entry": {
      const place = {
        file: line.envelope.id,
        offset: 0,
        size: line.fileSize,
      };
      replayMessage(line, place, into);
      return;
    }
    case "shared": {
      const file = into.interner.text(line.file);
      into.shared.add(file);
      for (const one of line.entries) {
        const place = { file, offset: one.offset, size: one.fileSize };
        replayMessage(one, place, into);
      }
      return;
    }
    case "change": {
      const message = into.messages.get(line.id);
      if (message !== undefined) {
        const change = into.interner.change(line.change);
        applyChange(message.entry.progress, change);
      }
      return;
    }
    case "gone":
      into.messages.delete(line.id);
      into.gone.add(line.id);
      return;
  }
}

function replayMessage(
  line: JournalEntry,
  place: RecordPlace,
  into: Replay,
): void {
  const envelope = into.interner.envelope(line.envelope);
  const { id } = envelope;
  if (!isSpoolId(id)) return;
  const progress = unpackProgress(envelope, line.progress);
  into.messages.set(id, { entry: { envelope, progress }, place });
  into.gone.delete(id);
}

/** The complete lines of a file; a last line without line end is not one. */
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

/**
 * Replaces equal small values of many messages by one value: in a spool of
 * 100,000 messages they would take a third of the memory. A returned value
 * always equals the given one.
 */
class Interner {
  readonly #values = new Map<string, unknown>();

  /** The envelope, with interned parts. */
  envelope(envelope: StoredEnvelope): StoredEnvelope {
    return {
      ...envelope,
      from: this.text(envelope.from),
      parameters: this.#value(envelope.parameters),
      options: this.#value(envelope.options),
      recipients: envelope.recipients.map(({ address, parameters }) => ({
        address,
        parameters: this.#value(parameters),
      })),
    };
  }

  /** The change, with interned parts. */
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
    const status = this.text(answer.status);
    const text = this.text(answer.text);
    return remoteMta === undefined
      ? { at, text, isReply, status }
      : { at, text, isReply, status, remoteMta: this.text(remoteMta) };
  }

  text(text: string): string {
    return this.#intern(text, text);
  }

  #value<T>(value: T): T {
    return this.#intern(JSON.stringify(value), value);
  }

  #intern<T>(key: string, value: T): T {
    const known = this.#values.get(key);
    if (known !== undefined && typeof known === typeof value) return known as T;
    if (this.#values.size === INTERNED_MAX) this.#values.clear();
    this.#values.set(key, value);
    return value;
  }
}
