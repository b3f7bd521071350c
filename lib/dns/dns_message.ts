/**
 * DNS messages: writes a question, and reads an answer. The only reader of names
 * and records on the wire.
 *
 * A question asks for recursion, and sets the AD bit: a name server that
 * validates then says in the same bit of its answer whether the answer is
 * authentic (RFC 6840 section 5.7). With EDNS the answer may have 1232 bytes,
 * which pass every network in one piece.
 *
 * Never trusts an answer: anyone can send a datagram, and anyone can publish
 * anything in their own zone. What is not the answer to the question is
 * `undefined`. Reading ends for all bytes: a pointer leads backwards, and their
 * number is limited. A record counts only if its owner is the question's name or
 * the target of its aliases. A dot inside a label is escaped, so a name never has
 * more labels than on the wire. Pure: bytes in, values out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4.1 | RFC 1035 section 4.1},
 * {@link https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2 | RFC 1034 section 3.6.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2308#section-2 | RFC 2308 section 2},
 * {@link https://www.rfc-editor.org/rfc/rfc6698#section-2.1 | RFC 6698 section 2.1},
 * {@link https://www.rfc-editor.org/rfc/rfc6891 | RFC 6891} (EDNS)
 */

import {
  type DnsRecordType,
  type MxRecord,
  type TlsaRecord,
  TYPE_NUMBERS,
} from "./outcome.ts";

/** A question: a checked name and a type of record. */
export interface DnsQuestion {
  /** The type of record. */
  readonly type: DnsRecordType;
  /** The name, as `normalizeName()` or `anyName()` returns it. */
  readonly name: string;
}

/** An answer to a question. */
export interface DnsMessage {
  /** The response code, with its upper bits if the server knows EDNS. */
  readonly rcode: number;
  /** Whether the server says that it has validated the answer (the AD bit). */
  readonly authentic: boolean;
  /** Whether records are missing because they did not fit (the TC bit). */
  readonly truncated: boolean;
  /** Whether the server refers to other servers: it neither recurses nor knows the zone. */
  readonly referral: boolean;
  /** Whether the records of the answer do not end, or make no sense. */
  readonly malformed: boolean;
  /** Whether there are records of the question's type, but all of them at other names. */
  readonly stray: boolean;
  /** Whether the aliases lead back to a name that they have passed. */
  readonly circle: boolean;
  /**
   * The records of the question's type at its name and its aliases, in the form
   * of `Deno.resolveDns`; `undefined` for a malformed one.
   */
  readonly records: readonly unknown[];
  /** The lowest time to live of those records and their aliases, in seconds; 0 without any. */
  readonly ttl: number;
  /** The end of the aliases, in lower case without the final dot: the question's name without any. */
  readonly canonicalName: string;
}

/**
 * The meaning of an answer: the name does not exist, the name has no such
 * records, there are records, or the server failed.
 */
export type DnsVerdict =
  | { readonly kind: "no-such-name" | "no-such-record" | "records" }
  | { readonly kind: "server-failure"; readonly code: string };

/** Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9). */
export const RCODE = {
  formatError: 1,
  noSuchName: 3,
  notImplemented: 4,
  badVersion: 16,
} as const;
const RCODE_NAMES: Readonly<Record<number, string>> = {
  1: "FORMERR",
  2: "SERVFAIL",
  4: "NOTIMP",
  5: "REFUSED",
  16: "BADVERS",
};
const CLASS_IN = 1;
const TYPE_OPT = 41;
/** Bytes of the header before the question. */
const HEADER = 12;
/** Bytes of a record between its name and its data; the last two are the length of the data. */
const RECORD_HEAD = 10;
/** Recursion desired, and AD. */
const QUESTION_FLAGS = [0x01, 0x20];
/** The EDNS record of a question: the root, OPT, 1232 bytes, version 0, no flags. */
const EDNS = [0, 0, TYPE_OPT, 1232 >> 8, 1232 & 0xff, 0, 0, 0, 0, 0, 0];
/** Bytes of a name on the wire, and pointers in it, at most: a name has up to 127 labels. */
const MOST_NAME = 255;
const MOST_POINTERS = 127;

/** Encodes a question. */
export function encodeQuestion(
  question: DnsQuestion,
  options: {
    /** The number that the answer must repeat, 0 to 65535. */
    id: number;
    /** Whether to ask with EDNS. */
    edns: boolean;
  },
): Uint8Array {
  const { id, edns } = options;
  const bytes = [id >> 8, id & 0xff, ...QUESTION_FLAGS, 0, 1];
  bytes.push(0, 0, 0, 0, 0, edns ? 1 : 0);
  for (const label of question.name.split(".")) {
    bytes.push(label.length);
    for (let at = 0; at < label.length; at++) bytes.push(label.charCodeAt(at));
  }
  const type = TYPE_NUMBERS[question.type];
  bytes.push(0, type >> 8, type & 0xff, 0, CLASS_IN);
  if (edns) bytes.push(...EDNS);
  return new Uint8Array(bytes);
}

/**
 * Reads an answer.
 *
 * @param answer The received bytes
 * @param asked The bytes of {@linkcode encodeQuestion}
 * @returns The answer, or `undefined` if this is not the answer to that question
 */
export function readMessage(
  answer: Uint8Array,
  asked: Uint8Array,
): DnsMessage | undefined {
  if (answer.length < HEADER) return undefined;
  if (answer[0] !== asked[0] || answer[1] !== asked[1]) return undefined;
  const isAnswer = (answer[2]! & 0xf8) === 0x80;
  if (!isAnswer) return undefined;
  const end = skipName(asked, HEADER) + 4;
  const rcode = answer[3]! & 0x0f;
  const isError = rcode !== 0 && rcode !== RCODE.noSuchName;
  if (repeatsQuestion(answer, asked.subarray(0, end))) {
    return new Reader(answer, end).read();
  }
  // A server that could not read the question may omit it.
  const isMute = word(answer, 4) === 0;
  return isError && isMute ? new Reader(answer, HEADER).read() : undefined;
}

/** The meaning of an answer. */
export function verdictOf(message: DnsMessage): DnsVerdict {
  const { rcode } = message;
  if (rcode === RCODE.noSuchName) return { kind: "no-such-name" };
  if (rcode !== 0) return failure(RCODE_NAMES[rcode] ?? `code ${rcode}`);
  if (message.truncated) return { kind: "records" };
  if (message.malformed) return failure("a malformed message");
  if (message.records.length > 0) return { kind: "records" };
  // Such an answer says nothing about the records.
  if (message.referral) return failure("a referral");
  // A server that mixes up its answers knows nothing of this name.
  if (message.stray) return failure("the records of another name");
  // Aliases in a circle look like "no such record", but they are a mistake in a
  // zone, or an attack.
  if (message.circle) return failure("aliases in a circle");
  return { kind: "no-such-record" };
}

function failure(code: string): DnsVerdict {
  return { kind: "server-failure", code };
}

/** Whether the answer repeats the question, in any letter case. */
function repeatsQuestion(answer: Uint8Array, asked: Uint8Array): boolean {
  if (answer.length < asked.length || word(answer, 4) !== 1) return false;
  for (let at = HEADER; at < asked.length; at++) {
    if (lower(answer[at]!) !== lower(asked[at]!)) return false;
  }
  return true;
}

/** The head of a record, and the place of its data. */
interface RecordHead {
  readonly type: number;
  readonly class: number;
  /** Time to live in seconds; in an OPT record its first byte extends the response code. */
  readonly ttl: number;
  readonly start: number;
  readonly end: number;
}

/** A record of the answer section. */
interface AnswerRecord extends RecordHead {
  readonly owner: string;
}

/** Reads one message. */
class Reader {
  readonly #bytes: Uint8Array;
  /** The end of the question, the place of the first record. */
  readonly #start: number;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.#start = start;
  }

  read(): DnsMessage {
    const bytes = this.#bytes;
    const isEmpty = this.#start === HEADER;
    const name = isEmpty ? "" : readName(bytes, HEADER)?.name ?? "";
    const { answers, extended, malformed } = this.#records();
    const type = isEmpty ? 0 : word(bytes, this.#start - 4);
    const { passed, last, circle } = chainOf(bytes, { name, type, answers });
    const records: unknown[] = [];
    let ttl = Infinity;
    let stray = false;
    for (const answer of answers) {
      if (answer.class !== CLASS_IN) continue;
      if (!passed.has(answer.owner)) {
        stray ||= answer.type === type;
        continue;
      }
      if (answer.type === type) records.push(readData(bytes, answer));
      else if (answer.type !== TYPE_NUMBERS.CNAME) continue;
      ttl = Math.min(ttl, answer.ttl);
    }
    const authoritative = (bytes[2]! & 4) !== 0;
    const recursive = (bytes[3]! & 0x80) !== 0;
    return {
      rcode: (extended << 4) | (bytes[3]! & 0x0f),
      authentic: (bytes[3]! & 0x20) !== 0,
      truncated: (bytes[2]! & 2) !== 0,
      referral: !authoritative && !recursive,
      malformed,
      stray: stray && records.length === 0,
      circle,
      records,
      ttl: ttl === Infinity ? 0 : ttl,
      canonicalName: last,
    };
  }

  /** The records of the answer section, and the bits that OPT adds to the response code. */
  #records(): {
    readonly answers: readonly AnswerRecord[];
    readonly extended: number;
    readonly malformed: boolean;
  } {
    const bytes = this.#bytes;
    const answers: AnswerRecord[] = [];
    let extended = 0;
    let at = this.#start;
    const count = word(bytes, 6);
    const total = count + word(bytes, 8) + word(bytes, 10);
    for (let index = 0; index < total; index++) {
      const head = readHead(bytes, skipName(bytes, at));
      const owner = index < count ? readName(bytes, at)?.name : undefined;
      if (head === undefined || (index < count && owner === undefined)) {
        return { answers, extended, malformed: index < count };
      }
      if (owner !== undefined) {
        answers.push({ ...head, owner });
      } else if (head.type === TYPE_OPT) {
        extended = bytes[head.start - 6]!;
      }
      at = head.end;
    }
    return { answers, extended, malformed: false };
  }
}

/** The head of a record at the end of its name; `undefined` if the record is cut off. */
function readHead(bytes: Uint8Array, at: number): RecordHead | undefined {
  const start = at + RECORD_HEAD;
  if (start > bytes.length) return undefined;
  const end = start + word(bytes, start - 2);
  if (end > bytes.length) return undefined;
  // A time with its highest bit set counts as 0 (RFC 2181 section 8).
  const high = word(bytes, at + 4);
  const ttl = high > 0x7fff ? 0 : high * 0x1_0000 + word(bytes, at + 6);
  return {
    type: word(bytes, at),
    class: word(bytes, at + 2),
    ttl,
    start,
    end,
  };
}

/** Follows the aliases of a name. */
function chainOf(
  bytes: Uint8Array,
  from: {
    readonly name: string;
    readonly type: number;
    readonly answers: readonly AnswerRecord[];
  },
): { passed: Set<string>; last: string; circle: boolean } {
  const passed = new Set([from.name]);
  let last = from.name;
  // A question for the alias itself does not follow it.
  if (from.type === TYPE_NUMBERS.CNAME) return { passed, last, circle: false };
  const aliases = new Map<string, string>();
  for (const { type, class: net, owner, start, end } of from.answers) {
    if (type !== TYPE_NUMBERS.CNAME || net !== CLASS_IN) continue;
    const target = readName(bytes, start);
    if (target?.end === end && !aliases.has(owner)) {
      aliases.set(owner, target.name);
    }
  }
  for (;;) {
    const next = aliases.get(last);
    if (next === undefined) return { passed, last, circle: false };
    if (passed.has(next)) return { passed, last, circle: true };
    passed.add(next);
    last = next;
  }
}

/** The position of a record's data in the answer. */
interface Place {
  readonly start: number;
  readonly end: number;
}

type DataReader = (bytes: Uint8Array, place: Place) => unknown;

/** The reader of the data of each type; `undefined` for malformed data. */
const READERS: Readonly<Record<DnsRecordType, DataReader>> = {
  A: readIpv4,
  AAAA: readIpv6,
  CNAME: readTarget,
  MX: readMx,
  NS: readTarget,
  PTR: readTarget,
  TLSA: readTlsa,
  TXT: readTexts,
};
const READER_OF: ReadonlyMap<number, DataReader> = new Map(
  (Object.keys(READERS) as DnsRecordType[]).map((type) => [
    TYPE_NUMBERS[type],
    READERS[type],
  ]),
);

function readData(bytes: Uint8Array, record: RecordHead): unknown {
  return READER_OF.get(record.type)?.(bytes, record);
}

function readIpv4(bytes: Uint8Array, { start, end }: Place) {
  return end - start === 4 ? bytes.subarray(start, end).join(".") : undefined;
}

function readIpv6(bytes: Uint8Array, { start, end }: Place) {
  if (end - start !== 16) return undefined;
  return [0, 2, 4, 6, 8, 10, 12, 14]
    .map((at) => word(bytes, start + at).toString(16)).join(":");
}

function readTarget(bytes: Uint8Array, { start, end }: Place) {
  const read = readName(bytes, start);
  return read?.end === end ? read.name : undefined;
}

function readMx(bytes: Uint8Array, { start, end }: Place) {
  const exchange = readTarget(bytes, { start: start + 2, end });
  if (exchange === undefined) return undefined;
  const preference = word(bytes, start);
  // The root is the exchanger of a null MX (RFC 7505).
  return { preference, exchange: `${exchange}.` } satisfies MxRecord;
}

function readTlsa(bytes: Uint8Array, { start, end }: Place) {
  if (end - start < 4) return undefined;
  return {
    usage: bytes[start]!,
    selector: bytes[start + 1]!,
    matching: bytes[start + 2]!,
    data: bytes.slice(start + 3, end).toHex(),
  } satisfies TlsaRecord;
}

/** The strings of a text record; each character is a byte, as from the platform. */
function readTexts(bytes: Uint8Array, { start, end }: Place) {
  const texts: string[] = [];
  for (let at = start; at < end;) {
    const next = at + 1 + bytes[at]!;
    if (next > end) return undefined;
    texts.push(latin1(bytes.subarray(at + 1, next)));
    at = next;
  }
  return texts.length > 0 ? texts : undefined;
}

/** The position after a name; past the end if the name is cut off. */
function skipName(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length) {
    const length = bytes[at]!;
    if (length === 0) return at + 1;
    // A pointer ends the name; it is not followed.
    if (length >= 0xc0) return at + 2;
    at += length + 1;
  }
  return at;
}

/**
 * A name in lower case without its final dot, `""` for the root, and the
 * position after it; `undefined` if the name is malformed. Dots and backslashes
 * in labels are escaped by a backslash.
 */
function readName(
  bytes: Uint8Array,
  from: number,
): { readonly name: string; readonly end: number } | undefined {
  const labels: string[] = [];
  let at = from;
  // A pointer leads in front of the part that it ends.
  let before = from;
  let end: number | undefined;
  let size = 1;
  let pointers = 0;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return { name: labels.join("."), end: end ?? at + 1 };
    if (length >= 0xc0) {
      const target = word(bytes, at) & 0x3fff;
      const isCut = at + 1 >= bytes.length;
      if (isCut || target >= before || ++pointers > MOST_POINTERS) {
        return undefined;
      }
      end ??= at + 2;
      at = before = target;
      continue;
    }
    const next = at + 1 + length;
    size += length + 1;
    if (length > 63 || next > bytes.length || size > MOST_NAME) {
      return undefined;
    }
    labels.push(readLabel(bytes.subarray(at + 1, next)));
    at = next;
  }
}

function readLabel(bytes: Uint8Array): string {
  const text = latin1(bytes.map(lower));
  return /[.\\]/.test(text) ? text.replace(/[.\\]/g, "\\$&") : text;
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** The two bytes as a number; a byte past the end counts as 0. */
function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
