/**
 * The forms in which the spool writes things down: the record of one message
 * (head line, envelope, content) and the lines of the journal. Encodes and
 * decodes, touches no file. What does not decode is a value that says why, and
 * is never guessed at.
 *
 * A record is
 *
 * ```text
 * smtp-spool-record 1 CRC LENGTH LF
 * LENGTH bytes of JSON: envelope, log-in and first progress, then LF
 * the content, exactly `envelope.size` bytes
 * ```
 *
 * A record file is one record and has the message's name, or is several records
 * one after the other, of messages that came together, and is named after the
 * first, their number, and eight digits that no other such file has:
 * `a1.3.9f3a01bc`.
 *
 * A journal line is eight hexadecimal digits of CRC-32, a blank, JSON, LF.
 */

import type { Login } from "../client/next_hop.ts";
import { crc32 } from "node:zlib";
import {
  initialProgress,
  type Progress,
  type SpoolChange,
  type StoredEnvelope,
} from "./envelope.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
const HEAD = /^smtp-spool-record 1 ([0-9a-f]{8}) (\d{1,9})\n$/;
const HEAD_LIMIT = 64;
const ID = /^[A-Za-z0-9-]{1,100}$/;
const LF = 10;

/** Whether `id` can name a message: it becomes a file name. */
export function isSpoolId(id: string): boolean {
  return ID.test(id);
}

const SHARED_NAME = /^[A-Za-z0-9-]{1,100}\.(\d{1,4})\.[0-9a-f]{8}$/;

/** A name for a file of several records. */
export function sharedName(firstId: string, count: number): string {
  // A message's name may come again while an older file of that name still
  // holds others: to replace that one would lose them.
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return `${firstId}.${count}.${random!.toString(16).padStart(8, "0")}`;
}

/** How many records a file of this name has; `undefined` where it is none of several. */
export function sharedCount(name: string): number | undefined {
  const count = SHARED_NAME.exec(name)?.[1];
  return count === undefined ? undefined : Number(count);
}

/** What stands before the content of a record. */
export interface RecordHead {
  /** The envelope. */
  readonly envelope: StoredEnvelope;
  /** The log-in for the next hop, if there is one. */
  readonly login?: Login | undefined;
  /** The progress that the message begins with, if it is not the usual one. */
  readonly progress?: PackedProgress | undefined;
}

/** A head that was read, with its length in bytes. */
export interface DecodedHead extends RecordHead {
  /** Bytes before the content. */
  readonly length: number;
}

/** Writes the head of a record. */
export function encodeRecordHead(head: RecordHead): Uint8Array<ArrayBuffer> {
  const json = encoder.encode(JSON.stringify(head));
  const line = encoder.encode(
    `smtp-spool-record 1 ${checksum(json)} ${json.length}\n`,
  );
  const bytes = new Uint8Array(line.length + json.length + 1);
  bytes.set(line);
  bytes.set(json, line.length);
  bytes[bytes.length - 1] = LF;
  return bytes;
}

/**
 * Reads the head of a record.
 *
 * @param bytes The beginning of the record
 * @returns The head; the number of bytes wanted where `bytes` is too short; or what is wrong
 */
export function decodeRecordHead(
  bytes: Uint8Array,
): DecodedHead | { readonly want: number } | { readonly fault: string } {
  const end = bytes.subarray(0, HEAD_LIMIT).indexOf(LF) + 1;
  if (end === 0) {
    return bytes.length < HEAD_LIMIT
      ? { want: HEAD_LIMIT }
      : { fault: "No record head line" };
  }
  const line = String.fromCharCode(...bytes.subarray(0, end));
  const match = HEAD.exec(line);
  if (match === null) return { fault: "No record head line" };
  const length = end + Number(match[2]) + 1;
  if (bytes.length < length) return { want: length };
  const json = bytes.subarray(end, length - 1);
  if (checksum(json) !== match[1]) {
    return { fault: "Envelope does not match its checksum" };
  }
  try {
    return { ...JSON.parse(decoder.decode(json)) as RecordHead, length };
  } catch {
    return { fault: "Envelope is not JSON" };
  }
}

/** What the journal says of a message that is in the spool. */
export interface JournalEntry {
  /** The envelope. */
  readonly envelope: StoredEnvelope;
  /** Bytes of its record. */
  readonly fileSize: number;
  /** Its progress at the time, if it is not the usual one. */
  readonly progress?: PackedProgress;
}

/** What the journal says of a message whose record is in a file with others. */
export interface SharedEntry extends JournalEntry {
  /** Where the record begins in the file. */
  readonly offset: number;
}

/** One line of the journal. */
export type JournalLine =
  /** A message that is in the spool. */
  | JournalEntry & { readonly kind: "entry" }
  /**
   * Messages whose records are in one file. Names all of those that have not
   * left by then: no record of that file is unknown from here on.
   */
  | {
    readonly kind: "shared";
    readonly file: string;
    readonly entries: readonly SharedEntry[];
  }
  /** A step of progress. */
  | {
    readonly kind: "change";
    readonly id: string;
    readonly change: SpoolChange;
  }
  /** A message that has left the spool, or a file of several that all have. */
  | { readonly kind: "gone"; readonly id: string };

/** Progress as it is written: what is as at the beginning is left out. */
export type PackedProgress =
  & Partial<Omit<Progress, "recipients">>
  & { readonly recipients?: Progress["recipients"] };

/** Leaves out what a message begins with; most of a large spool is new or alike. */
export function packProgress(progress: Progress): PackedProgress | undefined {
  const { held, delayReported, tag, route, recipients } = progress;
  const touched = recipients.some((one) =>
    one.attempts > 0 || one.status !== "pending" || one.answer !== undefined
  );
  const packed = {
    ...(held ? { held } : {}),
    ...(delayReported ? { delayReported } : {}),
    ...(tag !== undefined ? { tag } : {}),
    ...(route !== undefined ? { route } : {}),
    ...(touched ? { recipients } : {}),
  };
  return Object.keys(packed).length === 0 ? undefined : packed;
}

/** Puts back what {@linkcode packProgress} left out. */
export function unpackProgress(
  envelope: StoredEnvelope,
  packed: PackedProgress | undefined,
): Progress {
  const fresh = initialProgress(envelope);
  if (packed === undefined) return fresh;
  const recipients = packed.recipients?.map((one) => ({
    status: one.status,
    attempts: one.attempts,
    nextTryAt: one.nextTryAt,
    answer: one.answer,
    reported: one.reported,
  }));
  return {
    held: packed.held ?? false,
    delayReported: packed.delayReported ?? false,
    tag: packed.tag,
    route: packed.route,
    recipients: recipients?.length === fresh.recipients.length
      ? recipients
      : fresh.recipients,
  };
}

/** Writes a journal line, with its line end. */
export function encodeJournalLine(line: JournalLine): string {
  const json = JSON.stringify(line);
  return `${checksum(json)} ${json}\n`;
}

/** Reads a journal line without its line end; `undefined` where it is not whole. */
export function decodeJournalLine(text: string): JournalLine | undefined {
  const json = text.slice(9);
  if (text[8] !== " " || checksum(json) !== text.slice(0, 8)) return undefined;
  return JSON.parse(json) as JournalLine;
}

function checksum(data: string | Uint8Array): string {
  return crc32(data).toString(16).padStart(8, "0");
}
