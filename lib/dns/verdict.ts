/**
 * Finds out why an answer had no records: the platform's resolver does not
 * report it. `Deno.resolveDns` throws "not found" for a name that does not
 * exist, for a name without such records, and for a server that failed or
 * refused. A relay that returned mail on "not found" would return it whenever a
 * name server has a temporary failure. So after "not found" this package sends
 * the question again itself, and reads little but the response code.
 *
 * A loop of aliases is a failure, too: the answer has no records and no error,
 * so it looks like "no such record", but it is a mistake in a zone, or an
 * attack.
 *
 * Never trusts a datagram: anything but the answer to the question is ignored.
 * Reading follows a limited number of pointers, and an unreadable answer is not
 * a loop. Pure: bytes in, values out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2 | RFC 1034 section 3.6.2},
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4.1 | RFC 1035 section 4.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2308#section-2 | RFC 2308 section 2}
 */

import { type DnsRecordType, TYPE_NUMBERS } from "./outcome.ts";

/** A question: a checked name and a type of record. */
export interface DnsQuestion {
  /** The type of record. */
  readonly type: DnsRecordType;
  /** The name, as `normalizeName()` returns it. */
  readonly name: string;
}

/**
 * The meaning of an answer: the name does not exist, the name has no such
 * records, there are records, or the server failed.
 */
export type DnsVerdict =
  | { readonly kind: "no-such-name" | "no-such-record" | "records" }
  | { readonly kind: "server-failure"; readonly code: string };

/** Class of a record: the Internet. */
export const CLASS_IN = 1;
const RCODE_NAMES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP"];
/** Bytes of the header before the question. */
const HEADER = 12;
/** Bytes of a record between its name and its data; the last two are the length of the data. */
export const RECORD_HEAD = 10;
/** The bit of the header's third byte that marks a truncated answer. */
export const TRUNCATED = 2;
/** Labels and pointers of a name that are read, at most: more than a name can have. */
const MOST_STEPS = 140;

/** Encodes a question. */
export function encodeQuestion(
  question: DnsQuestion,
  options: {
    /** The number that the answer must repeat, 0 to 65535. */
    id: number;
  },
): Uint8Array {
  const { id } = options;
  // Recursion desired, one question, nothing else.
  const bytes = [id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  for (const label of question.name.split(".")) {
    bytes.push(label.length);
    for (let at = 0; at < label.length; at++) bytes.push(label.charCodeAt(at));
  }
  bytes.push(0, 0, TYPE_NUMBERS[question.type], 0, CLASS_IN);
  return new Uint8Array(bytes);
}

/**
 * Reads an answer.
 *
 * @param answer The received bytes
 * @param asked The bytes of {@linkcode encodeQuestion}
 * @returns The verdict, or `undefined` if this is not the answer to that question
 */
export function readVerdict(
  answer: Uint8Array,
  asked: Uint8Array,
): DnsVerdict | undefined {
  if (answer.length < HEADER) return undefined;
  if (answer[0] !== asked[0] || answer[1] !== asked[1]) return undefined;
  const isAnswer = (answer[2]! & 0xf8) === 0x80;
  if (!isAnswer) return undefined;
  const rcode = answer[3]! & 0x0f;
  const echoed = repeatsQuestion(answer, asked);
  if (rcode !== 0 && rcode !== 3) {
    // A server that could not read the question may omit it.
    const mute = answer[4] === 0 && answer[5] === 0;
    return echoed || mute ? serverFailure(rcode) : undefined;
  }
  if (!echoed) return undefined;
  if (rcode === 3) return { kind: "no-such-name" };
  return readRecords(answer, asked);
}

/** Whether the answer repeats the question, in any letter case. */
function repeatsQuestion(answer: Uint8Array, asked: Uint8Array): boolean {
  if (answer.length < asked.length) return false;
  if (answer[4] !== 0 || answer[5] !== 1) return false;
  for (let at = HEADER; at < asked.length; at++) {
    if (lower(answer[at]!) !== lower(asked[at]!)) return false;
  }
  return true;
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** Reads an answer without an error code: records, no such record, or a failure. */
function readRecords(answer: Uint8Array, asked: Uint8Array): DnsVerdict {
  const truncated = (answer[2]! & TRUNCATED) !== 0;
  if (truncated || holdsType(answer, asked)) return { kind: "records" };
  const authoritative = (answer[2]! & 4) !== 0;
  const recursive = (answer[3]! & 0x80) !== 0;
  // A server that neither recurses nor is authoritative refers to another
  // server: its answer says nothing about the records.
  if (!authoritative && !recursive) {
    return { kind: "server-failure", code: "a referral" };
  }
  if (hasAliasLoop(answer, asked.length)) {
    return { kind: "server-failure", code: "aliases in a circle" };
  }
  return { kind: "no-such-record" };
}

/** Whether the answer section has a record of the question's type, or is malformed. */
function holdsType(answer: Uint8Array, asked: Uint8Array): boolean {
  const type = asked[asked.length - 3]!;
  let left = (answer[6]! << 8) | answer[7]!;
  let at = asked.length;
  for (; left > 0; left--) {
    at = skipName(answer, at);
    const length = answer[at + 9];
    if (length === undefined) return true;
    if (answer[at] === 0 && answer[at + 1] === type) return true;
    at += RECORD_HEAD + ((answer[at + 8]! << 8) | length);
  }
  return false;
}

/** The position after a name; past the end if the name is cut off. */
export function skipName(answer: Uint8Array, start: number): number {
  let at = start;
  while (at < answer.length) {
    const length = answer[at]!;
    if (length === 0) return at + 1;
    // A pointer ends the name; it is not followed.
    if (length >= 0xc0) return at + 2;
    at += length + 1;
  }
  return at;
}

function serverFailure(rcode: number): DnsVerdict {
  const code = rcode === 5 ? "REFUSED" : RCODE_NAMES[rcode] ?? `code ${rcode}`;
  return { kind: "server-failure", code };
}

/**
 * Whether the chain of aliases that begins at the question's name returns to a
 * name that it has passed.
 *
 * @param answer A whole answer, its question included
 * @param start The position of its first record
 */
function hasAliasLoop(answer: Uint8Array, start: number): boolean {
  const aliases = readAliases(answer, start);
  const passed = new Set<string>();
  let name = readName(answer, HEADER)?.name;
  while (name !== undefined && !passed.has(name)) {
    passed.add(name);
    name = aliases.get(name);
  }
  return name !== undefined;
}

/** The aliases of the answer section: the target of each name. */
function readAliases(answer: Uint8Array, start: number): Map<string, string> {
  const aliases = new Map<string, string>();
  let left = (answer[6]! << 8) | answer[7]!;
  for (let at = start; left > 0; left--) {
    const owner = readName(answer, at);
    if (owner === undefined || owner.end + RECORD_HEAD > answer.length) break;
    const head = answer.subarray(owner.end, owner.end + RECORD_HEAD);
    const data = owner.end + RECORD_HEAD;
    if (head[0] === 0 && head[1] === TYPE_NUMBERS.CNAME) {
      const target = readName(answer, data);
      if (target === undefined) break;
      aliases.set(owner.name, target.name);
    }
    at = data + ((head[8]! << 8) | head[9]!);
  }
  return aliases;
}

/** A name in lower case, and the position after it; `undefined` if the name is malformed. */
function readName(
  bytes: Uint8Array,
  start: number,
): { readonly name: string; readonly end: number } | undefined {
  let name = "";
  let at = start;
  let end = 0;
  for (let step = 0; step < MOST_STEPS; step++) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return { name, end: end || at + 1 };
    if (length >= 0xc0) {
      end ||= at + 2;
      at = ((length & 0x3f) << 8) | (bytes[at + 1] ?? 0);
      continue;
    }
    const label = bytes.subarray(at + 1, at + 1 + length);
    name += `${String.fromCharCode(...label).toLowerCase()}.`;
    at += length + 1;
  }
  return undefined;
}
