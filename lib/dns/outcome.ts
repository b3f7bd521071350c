/**
 * The outcomes of a DNS question. A missing record and a missing answer lead to
 * opposite decisions about a message (return it, or try again later), so they
 * are different values and never exceptions.
 *
 * Never contains an unchecked record: names in records are host names in lower
 * case without the final dot, addresses are canonical.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-3.2.2 | RFC 1035 section 3.2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc2308 | RFC 2308},
 * {@link https://www.rfc-editor.org/rfc/rfc7505 | RFC 7505}
 */

/** One mail exchanger of a domain. */
export interface MxRecord {
  /** The preference, 0 to 65535; the lowest comes first. */
  readonly preference: number;
  /**
   * The host name, in lower case and without the final dot, or an IP address if
   * the domain publishes that instead of a name.
   */
  readonly exchange: string;
}

/** A certificate association of a service (RFC 6698 section 2.1). */
export interface TlsaRecord {
  /** The certificate usage; mail takes 2 (DANE-TA) and 3 (DANE-EE). */
  readonly usage: number;
  /** The selector: 0 for the whole certificate, 1 for its public key. */
  readonly selector: number;
  /** The matching type: 0 for the bytes themselves, 1 for SHA-256, 2 for SHA-512. */
  readonly matching: number;
  /** The certificate association data, as hexadecimal digits in lower case. */
  readonly data: string;
}

/** The form of the records of each type. */
export interface DnsRecords {
  /** An IPv4 address. */
  A: string;
  /** An IPv6 address in its canonical form. */
  AAAA: string;
  /** The target of an alias. */
  CNAME: string;
  /** A mail exchanger. */
  MX: MxRecord;
  /** The name of a name server. */
  NS: string;
  /** The name of an address. */
  PTR: string;
  /** A certificate association. */
  TLSA: TlsaRecord;
  /**
   * A text: the character strings of one record, joined without a space. Each
   * character is one byte, U+0000 to U+00FF.
   */
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
  TLSA: 52,
  TXT: 16,
};

/**
 * The types of record that can be asked for, in upper case.
 *
 * @example Check a type
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

/** The records were found. */
export interface DnsFound<R> {
  /** The outcome's kind. */
  readonly status: "found";
  /** The records, at least one; MX records in order of preference. */
  readonly records: readonly R[];
  /**
   * Whether the name server has validated the answer (DNSSEC) and may be
   * believed; unset if the question did not ask for it.
   */
  readonly secure?: boolean | undefined;
  /**
   * The name that holds the records, at the end of its aliases; set where
   * {@linkcode secure} is.
   */
  readonly canonicalName?: string | undefined;
}

/** A name server answered that there is no such record. The answer stays the same for a while. */
export interface DnsNone {
  /** The outcome's kind. */
  readonly status: "none";
  /**
   * The reason: the name does not exist (NXDOMAIN), the name has no records of
   * this type, the text is not a domain name and no server was asked, or
   * `"unknown"` if the server's answer was not confirmed.
   */
  readonly why: "no-such-name" | "no-such-record" | "not-a-name" | "unknown";
  /** As in {@linkcode DnsFound.secure}, of the absence. */
  readonly secure?: boolean | undefined;
}

/** No valid answer came, so nothing is known. A later question may succeed. */
export interface DnsFailed {
  /** The outcome's kind. */
  readonly status: "failed";
  /** The failure and the name server, as one sentence without a final period. */
  readonly reason: string;
  /**
   * The kind of failure: no server answered in time, the server reported a
   * failure (SERVFAIL, REFUSED), it could not be reached, or its records were
   * malformed.
   */
  readonly code: "timeout" | "server-failure" | "unreachable" | "malformed";
}

/**
 * The outcome of a question for records of the form `R`.
 *
 * @example An outcome in words
 * ```ts
 * import {
 *   DnsClient,
 *   type DnsFailed,
 *   type DnsFound,
 *   type DnsNone,
 *   type DnsOutcome,
 *   type DnsOutcomeOf,
 *   type DnsQueryOptions,
 *   type DnsRecords,
 *   type DnsRecordType,
 * } from "@smtp/server/dns";
 *
 * const found = ({ records }: DnsFound<unknown>) => `${records.length} found`;
 * const none = ({ why }: DnsNone) => why;
 * const failed = ({ code, reason }: DnsFailed) => `${code}: ${reason}`;
 * function words(outcome: DnsOutcome<unknown>): string {
 *   if (outcome.status === "found") return found(outcome);
 *   return outcome.status === "none" ? none(outcome) : failed(outcome);
 * }
 *
 * const dns = new DnsClient({ nameServers: ["127.0.0.1:9"] });
 * const quickly: DnsQueryOptions = { timeoutMs: 100 };
 * const type: DnsRecordType & keyof DnsRecords = "TXT";
 * const outcome: DnsOutcomeOf<"TXT"> = await dns.query(type, "example.", quickly);
 * console.assert(words(outcome).includes(": "));
 * ```
 */
export type DnsOutcome<R> = DnsFound<R> | DnsNone | DnsFailed;

/**
 * The outcome of a question for mail exchangers. `"null-mx"`: the domain accepts
 * no mail, its only MX record is `0 .` (RFC 7505).
 */
export type MxOutcome = DnsOutcome<MxRecord> | { readonly status: "null-mx" };

/** The outcome of a question of type `T`. */
export type DnsOutcomeOf<T extends DnsRecordType> = T extends "MX" ? MxOutcome
  : DnsOutcome<DnsRecords[T]>;

/** Options of one question. */
export interface DnsQueryOptions {
  /**
   * Time limit of the question in milliseconds, over all servers and attempts.
   *
   * @default {the client's `timeoutMs`}
   */
  timeoutMs?: number | undefined;
  /**
   * Ends the wait; the promise then rejects with the signal's reason. Default:
   * only the time limit ends it.
   */
  signal?: AbortSignal | undefined;
  /**
   * Whether to find out if the answer is validated (DNSSEC): the outcome then
   * has `secure`. If some name servers can be believed and others not
   * ({@linkcode DnsClientOptions.trustAd}), only the former are asked: what one
   * of them refuses as forged must not come from another.
   *
   * @default {false}
   */
  secure?: boolean | undefined;
  /**
   * Whether labels may have all printable ASCII, as in a name that an SPF macro
   * makes of a local part (RFC 7208 section 7). Other names than ASCII are no
   * names then. Without effect on PTR.
   *
   * @default {false}
   */
  anyLabel?: boolean | undefined;
}

/** The part of a client that asks questions; a test can implement it with a table. */
export interface DnsQuerier {
  /** Asks for the records of a type at a name. */
  query<T extends DnsRecordType>(
    type: T,
    name: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcomeOf<T>>;
}

export function failed(
  code: DnsFailed["code"],
  reason: string,
): DnsFailed {
  return { status: "failed", reason, code };
}
