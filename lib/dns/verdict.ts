/**
 * The one thing that the platform's resolver keeps to itself: why an answer
 * had no records. `Deno.resolveDns` says "not found" alike for a name that
 * does not exist, for one without such records, and for a server that failed
 * or refused. Whoever returns mail on that word returns it whenever a name
 * server has a bad minute. So "not found" is asked once more in a datagram of
 * our own, of which little but the response code is read.
 *
 * Never trusts a datagram: what is not the answer to the question is ignored,
 * whatever its octets. Pure: bytes in, values out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-4.1 | RFC 1035 section 4.1},
 * {@link https://www.rfc-editor.org/rfc/rfc2308#section-2 | RFC 2308 section 2}
 */

import { hasAliasLoop } from "./alias_loop.ts";
import type { DnsRecordType } from "./outcome.ts";

/** A question: a checked name and a type of record. */
export interface DnsQuestion {
  /** The type of record. */
  readonly type: DnsRecordType;
  /** The name, as `normalizeName()` gives it. */
  readonly name: string;
}

/**
 * What an answer says of the records: none because there is no such name, none
 * at that name, there are some, or the server cannot tell.
 */
export type DnsVerdict =
  | { readonly kind: "no-such-name" | "no-such-record" | "records" }
  | { readonly kind: "server-failure"; readonly code: string };

const TYPE_NUMBERS: Readonly<Record<DnsRecordType, number>> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
};
const CLASS_IN = 1;
const RCODE_NAMES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP"];
const HEADER = 12;

/** The octets of a question. */
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
 * @param answer The octets that came
 * @param asked The octets of {@linkcode encodeQuestion}
 * @returns The verdict, or `undefined` if this is no answer to that question
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
    // A server that could not read the question may leave it out.
    const mute = answer[4] === 0 && answer[5] === 0;
    return echoed || mute ? serverFailure(rcode) : undefined;
  }
  if (!echoed) return undefined;
  if (rcode === 3) return { kind: "no-such-name" };
  return readRecords(answer, asked);
}

/** Whether the answer has the one question that was asked, in any letter case. */
function repeatsQuestion(answer: Uint8Array, asked: Uint8Array): boolean {
  if (answer.length < asked.length) return false;
  if (answer[4] !== 0 || answer[5] !== 1) return false;
  for (let at = HEADER; at < asked.length; at++) {
    if (lower(answer[at]!) !== lower(asked[at]!)) return false;
  }
  return true;
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet;
}

/** Reads an answer without error: records of the type, none, or no answer at all. */
function readRecords(answer: Uint8Array, asked: Uint8Array): DnsVerdict {
  const truncated = (answer[2]! & 2) !== 0;
  if (truncated || holdsType(answer, asked)) return { kind: "records" };
  const authoritative = (answer[2]! & 4) !== 0;
  const recursive = (answer[3]! & 0x80) !== 0;
  // A server that neither recurses nor owns the zone points elsewhere: that
  // says nothing of the records.
  if (!authoritative && !recursive) {
    return { kind: "server-failure", code: "a referral" };
  }
  if (hasAliasLoop(answer, asked.length)) {
    return { kind: "server-failure", code: "aliases in a circle" };
  }
  return { kind: "no-such-record" };
}

/** Whether the answer section has a record of the type asked for, or is too odd to tell. */
function holdsType(answer: Uint8Array, asked: Uint8Array): boolean {
  const type = asked[asked.length - 3]!;
  let left = (answer[6]! << 8) | answer[7]!;
  let at = asked.length;
  for (; left > 0; left--) {
    at = skipName(answer, at);
    const length = answer[at + 9];
    if (length === undefined) return true;
    if (answer[at] === 0 && answer[at + 1] === type) return true;
    at += 10 + ((answer[at + 8]! << 8) | length);
  }
  return false;
}

/** Where the octets after a name begin; past the end if the name is cut off. */
export function skipName(answer: Uint8Array, start: number): number {
  let at = start;
  while (at < answer.length) {
    const length = answer[at]!;
    if (length === 0) return at + 1;
    // A pointer ends the name and is never followed.
    if (length >= 0xc0) return at + 2;
    at += length + 1;
  }
  return at;
}

function serverFailure(rcode: number): DnsVerdict {
  const code = rcode === 5 ? "REFUSED" : RCODE_NAMES[rcode] ?? `code ${rcode}`;
  return { kind: "server-failure", code };
}
