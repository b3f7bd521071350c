/**
 * What a DNS question can come back with. A missing record and a missing
 * answer lead to opposite decisions about a message (return it, try again
 * later), so they are different values and never exceptions.
 *
 * Never holds a record that was not checked: names in records are host names
 * in lower case without the final dot, addresses are canonical.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-3.2.2 | RFC 1035 section 3.2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2308 | RFC 2308},
 * {@link https://www.rfc-editor.org/rfc/rfc7505 | RFC 7505}
 */

/** One mail exchanger of a domain. */
export interface MxRecord {
  /** The preference, 0 to 65535; the lowest is tried first. */
  readonly preference: number;
  /**
   * The host name, in lower case and without the final dot; its IP address
   * where the domain publishes that in place of a name.
   */
  readonly exchange: string;
}

/** The form that the records of each type come in. */
export interface DnsRecords {
  /** An IPv4 address. */
  A: string;
  /** An IPv6 address in its canonical form. */
  AAAA: string;
  /** The name that an alias stands for. */
  CNAME: string;
  /** A mail exchanger. */
  MX: MxRecord;
  /** The name of a name server. */
  NS: string;
  /** The name of an address. */
  PTR: string;
  /** A text, the character strings of one record joined without a space. */
  TXT: string;
}

/** A type of record that can be asked for. */
export type DnsRecordType = keyof DnsRecords;

/** The number of each type on the wire (RFC 1035 section 3.2.2, RFC 3596). */
export const TYPE_NUMBERS: Readonly<Record<DnsRecordType, number>> = {
  A: 1,
  AAAA: 28,
  CNAME: 5,
  MX: 15,
  NS: 2,
  PTR: 12,
  TXT: 16,
};

/**
 * The types of record that can be asked for, in upper case.
 *
 * @example Is it one
 * ```ts
 * import { DNS_RECORD_TYPES } from "@smtp/server/dns";
 *
 * const wanted = "mx".toUpperCase();
 * console.assert(DNS_RECORD_TYPES.some((type) => type === wanted));
 * ```
 */
export const DNS_RECORD_TYPES: readonly DnsRecordType[] = Object.freeze(
  Object.keys(TYPE_NUMBERS) as DnsRecordType[],
);

/** There are such records. */
export interface DnsFound<R> {
  /** The outcome's kind. */
  readonly status: "found";
  /** The records, at least one; MX records in order of preference. */
  readonly records: readonly R[];
}

/** A name server said that there is no such record. Asking again gives the same for a while. */
export interface DnsNone {
  /** The outcome's kind. */
  readonly status: "none";
  /**
   * Why there is none: the name does not exist at all (NXDOMAIN), it exists
   * without records of this type, the text is no domain name and nobody was
   * asked, or `"unknown"` where it could not be told.
   */
  readonly why: "no-such-name" | "no-such-record" | "not-a-name" | "unknown";
}

/** No usable answer came, so nothing is known. Asking later makes sense. */
export interface DnsFailed {
  /** The outcome's kind. */
  readonly status: "failed";
  /** What went wrong with which name server, one sentence for people without a final period. */
  readonly reason: string;
  /**
   * What went wrong, for programs: nobody answered in time, the server said
   * that it cannot tell (SERVFAIL, REFUSED), it could not be reached, or its
   * records were malformed.
   */
  readonly code: DnsFailureCode;
}

/** What went wrong with a question, for programs. */
export type DnsFailureCode =
  | "timeout"
  | "server-failure"
  | "unreachable"
  | "malformed";

/** The domain takes no mail at all (RFC 7505): its only MX record is `0 .`. */
export interface DnsNullMx {
  /** The outcome's kind. */
  readonly status: "null-mx";
}

/** The outcome of a question for records of the form `R`. */
export type DnsOutcome<R> = DnsFound<R> | DnsNone | DnsFailed;

/** The outcome of a question for mail exchangers. */
export type MxOutcome = DnsOutcome<MxRecord> | DnsNullMx;

/** The outcome of a question of type `T`. */
export type DnsOutcomeOf<T extends DnsRecordType> = T extends "MX" ? MxOutcome
  : DnsOutcome<DnsRecords[T]>;

/** Options of one question. */
export interface DnsQueryOptions {
  /**
   * How long to wait for the outcome in milliseconds, over all servers and
   * attempts.
   *
   * @default {the client's `timeoutMs`}
   */
  timeoutMs?: number | undefined;
  /** Ends the wait; the promise then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** What asks questions: a client, or a table in a test. */
export interface DnsQuerier {
  /** Asks for the records of a type at a name. */
  query<T extends DnsRecordType>(
    type: T,
    name: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcomeOf<T>>;
}

/** A failure as a value. */
export function failed(code: DnsFailureCode, reason: string): DnsFailed {
  return { status: "failed", reason, code };
}
