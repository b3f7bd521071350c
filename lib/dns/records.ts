/**
 * Turns the resolver's answer into checked records. Stands alone: it is the
 * only check of data from other people's zones, and all records pass through it.
 *
 * Never passes on an unchecked record: anyone can publish anything in their own
 * zone. Malformed records are skipped; if none remains, the outcome is "failed"
 * and not "none".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc7505#section-3 | RFC 7505 section 3}
 */

import { canonicalIp, parseAddressLiteral } from "../protocol/ip.ts";
import { normalizeName } from "./name.ts";
import {
  type DnsOutcome,
  type DnsRecordType,
  failed,
  type MxOutcome,
  type MxRecord,
  type TlsaRecord,
} from "./outcome.ts";
import type { DnsQuestion } from "./dns_message.ts";

/** The outcome of any question. */
export type AnyOutcome = DnsOutcome<AnyRecord> | MxOutcome;

/** A record of any type. */
export type AnyRecord = string | MxRecord | TlsaRecord;

/**
 * The outcome of an answer.
 *
 * @param question The question
 * @param raw The records in the form of `Deno.resolveDns`
 */
export function readAnswer(
  question: DnsQuestion,
  raw: readonly unknown[],
): AnyOutcome {
  if (question.type === "MX") return readMx(question, raw);
  const read = READERS[question.type];
  const records: (string | TlsaRecord)[] = [];
  for (const value of raw) {
    const record = read(value);
    if (record !== undefined) records.push(record);
  }
  // Two texts may differ in the ends of their strings alone. They stay two:
  // where one is allowed, as for SPF, two are a mistake.
  const all = question.type === "TXT" ? records : [...new Set(records)];
  return found(question, all);
}

function readMx(question: DnsQuestion, raw: readonly unknown[]): AnyOutcome {
  const records: MxRecord[] = [];
  let rootOnly = raw.length > 0;
  for (const value of raw) {
    if (!isMx(value)) continue;
    const isRoot = value.exchange === "." || value.exchange === "";
    // With any exchanger but the root, the domain does accept mail.
    rootOnly &&= isRoot;
    const exchange = isRoot ? undefined : readExchange(value.exchange);
    if (exchange === undefined) continue;
    records.push({ preference: value.preference, exchange });
  }
  if (rootOnly) return { status: "null-mx" };
  records.sort((a, b) => a.preference - b.preference);
  return found(question, records);
}

/** A host name, or the IP address that some domains publish instead. */
function readExchange(text: string): string | undefined {
  const bare = text.replace(/\.$/, "");
  return normalizeName(text) ?? canonicalIp(bare) ?? parseAddressLiteral(bare);
}

function isMx(value: unknown): value is MxRecord {
  return typeof value === "object" && value !== null &&
    "preference" in value && isPreference(value.preference) &&
    "exchange" in value && typeof value.exchange === "string";
}

/** Whether a value is a 16-bit number: any other would break the order of the records. */
function isPreference(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 &&
    value <= 0xffff;
}

const READERS: Readonly<
  Record<
    Exclude<DnsRecordType, "MX">,
    (value: unknown) => string | TlsaRecord | undefined
  >
> = {
  A: readAddress,
  AAAA: readAddress,
  CNAME: readName,
  NS: readName,
  PTR: readName,
  TLSA: readTlsa,
  TXT: readText,
};

function readAddress(value: unknown): string | undefined {
  return typeof value === "string" ? canonicalIp(value) : undefined;
}

function readName(value: unknown): string | undefined {
  return typeof value === "string" ? normalizeName(value) : undefined;
}

/** Whether a value is what the wire of this package makes of a record: the platform has no such records. */
function readTlsa(value: unknown): TlsaRecord | undefined {
  return typeof value === "object" && value !== null && "usage" in value &&
      "selector" in value && "matching" in value && "data" in value
    ? value as TlsaRecord
    : undefined;
}

function readText(value: unknown): string | undefined {
  return Array.isArray(value) ? value.join("") : undefined;
}

function found<R extends AnyRecord>(
  question: DnsQuestion,
  records: readonly R[],
): DnsOutcome<R> {
  if (records.length > 0) {
    // Frozen because the cache returns the same outcome to all callers.
    return Object.freeze({ status: "found", records: Object.freeze(records) });
  }
  const { type, name } = question;
  return failed("malformed", `Every ${type} record of "${name}" is malformed`);
}
