/**
 * The formats of the spool: the record of one message (head line, envelope,
 * content) and the lines of the journal. Encodes and decodes; touches no file.
 * For data that does not decode it returns the reason, and never guesses.
 *
 * A record is
 *
 * ```text
 * smtp-spool-record 1 CRC LENGTH LF
 * LENGTH bytes of JSON: envelope, login and first progress, then LF
 * the content, exactly `envelope.size` bytes
 * ```
 *
 * A record file contains one record and has the message's name, or is *shared*:
 * it contains several records, one after the other, of messages that came
 * together. The name of a shared file is the name of its first message, the
 * number of records, and eight digits that no other such file has:
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

/** Whether `id` can be the name of a message; it becomes a file name. */
export function isSpoolId(id: string): boolean {
  return ID.test(id);
}

const SHARED_NAME = /^[A-Za-z0-9-]{1,100}\.(\d{1,4})\.[0-9a-f]{8}$/;

/** Makes a name for a shared file. */
export function sharedName(firstId: string, count: number): string {
  // A message's name may come again while an older shared file of that name
  // still holds other messages: replacing that file would lose them.
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return `${firstId}.${count}.${random!.toString(16).padStart(8, "0")}`;
}

/** Number of records in a shared file of this name; `undefined` for other names. */
export function sharedCount(name: string): number | undefined {
  const count = SHARED_NAME.exec(name)?.[1];
  return count === undefined ? undefined : Number(count);
}

/** The part of a record before the content. */
export interface RecordHead {
  /** The envelope. */
  readonly envelope: StoredEnvelope;
  /** The login at the next hop, if there is one. */
  readonly login?: Login | undefined;
  /** The initial progress, if it is not the default. */
  readonly progress?: PackedProgress | undefined;
}

/** A decoded head, with its length in bytes. */
export interface DecodedHead extends RecordHead {
  /** Bytes before the content. */
  readonly length: number;
}

/** Encodes the head of a record. */
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
 * Decodes the head of a record.
 *
 * @param bytes The beginning of the record
 * @returns The head; the number of bytes needed if `bytes` is too short; or the reason why it is invalid
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

/** The journal's data on a message in the spool. */
export interface JournalEntry {
  /** The envelope. */
  readonly envelope: StoredEnvelope;
  /** Bytes of its record. */
  readonly fileSize: number;
  /** Its progress at the time, if it is not the default. */
  readonly progress?: PackedProgress;
}

/** The journal's data on a message whose record is in a shared file. */
export interface SharedEntry extends JournalEntry {
  /** Offset of the record in the file. */
  readonly offset: number;
}

/** One line of the journal. */
export type JournalLine =
  /** A message in the spool. */
  | JournalEntry & { readonly kind: "entry" }
  /**
   * The messages of one shared file: all that have not left by then. No record of
   * that file is unknown from here on.
   */
  | {
    readonly kind: "shared";
    readonly file: string;
    readonly entries: readonly SharedEntry[];
  }
  /** A change of progress. */
  | {
    readonly kind: "change";
    readonly id: string;
    readonly change: SpoolChange;
  }
  /** A message that has left the spool, or a shared file whose messages all have. */
  | { readonly kind: "gone"; readonly id: string };

/** Progress as it is stored: default values are left out. */
export type PackedProgress =
  & Partial<Omit<Progress, "recipients">>
  & { readonly recipients?: Progress["recipients"] };

/** Leaves default values out; most messages of a large spool are new or alike. */
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

/** Restores the values that {@linkcode packProgress} left out. */
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

/** Encodes a journal line, with its line end. */
export function encodeJournalLine(line: JournalLine): string {
  const json = JSON.stringify(line);
  return `${checksum(json)} ${json}\n`;
}

/** Decodes a journal line without its line end; `undefined` if it is damaged. */
export function decodeJournalLine(text: string): JournalLine | undefined {
  const json = text.slice(9);
  if (text[8] !== " " || checksum(json) !== text.slice(0, 8)) return undefined;
  return JSON.parse(json) as JournalLine;
}

function checksum(data: string | Uint8Array): string {
  return crc32(data).toString(16).padStart(8, "0");
}
