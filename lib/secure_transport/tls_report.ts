/**
 * What became of the TLS of deliveries in one day of UTC: counters by domain and
 * policy, the text of them for a file, and the report that is made of them.
 *
 * Bounded: hosts of others decide how many policies and failures there are. What
 * has no room is counted in the sums, or left out if its domain has no room.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-4 | RFC 8460 section 4}
 */

import { normalizeName } from "../dns/name.ts";
import { printable } from "../log.ts";
import type { TlsPolicy, TlsResult } from "./tls_result.ts";

/** Milliseconds of a day. */
export const DAY_MS = 86_400_000;

/** Characters of all counters of a day. */
const MOST_SIZE = 16_777_216;
/** Policies of one domain. */
const MOST_POLICIES = 20;
/** Kinds of failures of one policy, by host and address. */
const MOST_FAILURES = 100;
/** Lines of a policy, and characters of each text. */
const MOST_LINES = 100;
const MOST_TEXT = 300;
/** Characters that an entry costs beside its texts. */
const ENTRY_SIZE = 200;

/** One kind of failure. */
interface FailureCount {
  readonly type: string;
  readonly local?: string | undefined;
  readonly address?: string | undefined;
  readonly host?: string | undefined;
  readonly reason?: string | undefined;
  count: number;
}

/** The results under one policy. */
interface PolicyCount {
  readonly type: string;
  readonly domain: string;
  readonly lines: readonly string[];
  readonly hosts: readonly string[];
  successes: number;
  failures: number;
  readonly details: Map<string, FailureCount>;
}

/** The results of one domain. */
interface DomainCount {
  readonly policies: Map<string, PolicyCount>;
  /** The places that have the report. */
  readonly sent: Set<string>;
}

/** The names in a report, beside what was counted. */
export interface TlsReportHead {
  readonly organization: string;
  readonly contact: string;
  /** The domain that reports. */
  readonly submitter: string;
}

/** The day of a time, as `"2026-12-01"`. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** The counters of one day. */
export class TlsDay {
  /** The day, as `"2026-12-01"`. */
  readonly day: string;
  /** Letters and digits that reports of other servers for the same day do not have. */
  readonly unique: string;
  /** Whether a result had no room. */
  isFull = false;
  readonly #domains = new Map<string, DomainCount>();
  #size = 0;

  /** @param unique Letters and digits, for the names of reports */
  constructor(day: string, unique: string) {
    this.day = day;
    this.unique = unique;
  }

  /** When the day begins and ends, in milliseconds since 1970. */
  get start(): number {
    return Date.parse(`${this.day}T00:00:00Z`);
  }
  get end(): number {
    return this.start + DAY_MS;
  }

  /** The domains that have results and no report yet. */
  get domains(): readonly string[] {
    return [...this.#domains.keys()];
  }

  /** Counts a result. */
  add(result: TlsResult): void {
    const name = normalizeName(result.destination);
    // An address literal has no name at which reports could be asked for.
    if (name === undefined) return;
    const domain = this.#domains.get(name) ?? this.#newDomain(name);
    const policy = domain && this.#policyOf(domain, result.policy);
    if (policy === undefined) return;
    if (result.outcome === "success") policy.successes++;
    else {
      policy.failures++;
      this.#addFailure(policy, result);
    }
  }

  /** The places that have the report of a domain. */
  sentTo(domain: string): ReadonlySet<string> {
    return this.#domains.get(domain)?.sent ?? new Set();
  }

  /** Notes that a place has the report of a domain. */
  markSent(domain: string, place: string): void {
    this.#domains.get(domain)?.sent.add(place);
  }

  /** Drops a domain: its report is done with. */
  drop(domain: string): void {
    this.#domains.delete(domain);
  }

  /** The name of a domain's report. */
  reportId(domain: string, { submitter }: TlsReportHead): string {
    return `${this.day}.${this.unique}.${domain}@${submitter}`;
  }

  /** The report of a domain (RFC 8460 section 4.4), to be written as JSON. */
  report(domain: string, head: TlsReportHead): unknown {
    const policies = this.#domains.get(domain)?.policies.values() ?? [];
    return {
      "organization-name": head.organization,
      "date-range": {
        "start-datetime": `${this.day}T00:00:00Z`,
        "end-datetime": `${this.day}T23:59:59Z`,
      },
      "contact-info": head.contact,
      "report-id": this.reportId(domain, head),
      "policies": [...policies].map(policyReport),
    };
  }

  #hasRoom(texts: readonly (string | undefined)[]): boolean {
    const size = texts.reduce(
      (sum, text) => sum + (text?.length ?? 0),
      ENTRY_SIZE,
    );
    if (this.#size + size > MOST_SIZE) {
      this.isFull = true;
      return false;
    }
    this.#size += size;
    return true;
  }

  #newDomain(name: string): DomainCount | undefined {
    if (!this.#hasRoom([name])) return undefined;
    const domain = { policies: new Map(), sent: new Set<string>() };
    this.#domains.set(name, domain);
    return domain;
  }

  #policyOf(
    { policies }: DomainCount,
    { type, domain, lines, hosts = [] }: TlsPolicy,
  ): PolicyCount | undefined {
    const few = lines.slice(0, MOST_LINES).map(short);
    const patterns = hosts.slice(0, MOST_LINES).map(short);
    const key = JSON.stringify([type, domain, few]);
    const known = policies.get(key);
    if (known !== undefined) return known;
    const isFull = policies.size >= MOST_POLICIES ||
      !this.#hasRoom([domain, ...few, ...patterns, key]);
    if (isFull) return undefined;
    const policy = {
      ...{ type, domain, lines: few, hosts: patterns },
      ...{ successes: 0, failures: 0, details: new Map() },
    };
    policies.set(key, policy);
    return policy;
  }

  #addFailure(
    { details }: PolicyCount,
    result: Omit<TlsResult, "destination" | "policy">,
    times = 1,
  ): void {
    const { outcome: type, host, address, localAddress: local } = result;
    const reason = result.reason === undefined
      ? undefined
      : short(result.reason);
    const key = JSON.stringify([type, host, address, local, reason]);
    const known = details.get(key);
    if (known !== undefined) known.count += times;
    else if (details.size < MOST_FAILURES && this.#hasRoom([key, key])) {
      details.set(key, { type, host, address, local, reason, count: times });
    }
  }

  // The text for a file.

  /** The counters as text. */
  toText(): string {
    const domains = [...this.#domains].map(([name, { policies, sent }]) => ({
      name,
      sent: [...sent],
      policies: [...policies.values()].map(({ details, ...rest }) => ({
        ...rest,
        details: [...details.values()],
      })),
    }));
    const { day, unique } = this;
    return JSON.stringify({ version: 1, day, unique, domains });
  }

  /**
   * Reads such a text.
   *
   * @throws {Error} If it has another form
   */
  static parse(text: string): TlsDay {
    const { version, day, unique, domains } = JSON.parse(text);
    if (version !== 1 || !/^\d{4}-\d\d-\d\d$/.test(day)) {
      throw new SyntaxError("Cannot read the counts: want version 1 and a day");
    }
    const read = new TlsDay(day, checked(unique, /^[a-z0-9]{1,40}$/));
    if (Number.isNaN(read.start)) {
      throw new SyntaxError(`Cannot read the counts: "${day}" is no day`);
    }
    for (const { name, sent, policies } of domains) {
      const domain = read.#newDomain(checked(name, /^[^\s!/]{1,255}$/));
      if (domain === undefined) continue;
      for (const place of sent) domain.sent.add(String(place));
      for (const { successes, failures, details, ...policy } of policies) {
        const counts = read.#policyOf(domain, policy);
        if (counts === undefined) continue;
        counts.successes += count(successes);
        counts.failures += count(failures);
        for (const { type, local, count: times, ...rest } of details) {
          const result = { ...rest, outcome: type, localAddress: local };
          read.#addFailure(counts, result, count(times));
        }
      }
    }
    return read;
  }
}

function policyReport(policy: PolicyCount): unknown {
  const { type, domain, lines, hosts, successes, failures, details } = policy;
  return {
    "policy": {
      "policy-type": type,
      ...(type === "no-policy-found" ? {} : { "policy-string": lines }),
      "policy-domain": domain,
      ...(hosts.length === 0 ? {} : { "mx-host": hosts }),
    },
    "summary": {
      "total-successful-session-count": successes,
      "total-failure-session-count": failures,
    },
    ...(details.size === 0 ? {} : {
      "failure-details": [...details.values()].map((one) => ({
        "result-type": one.type,
        "sending-mta-ip": one.local,
        "receiving-mx-hostname": one.host,
        "receiving-ip": one.address,
        "failed-session-count": one.count,
        "failure-reason-code": one.reason,
      })),
    }),
  };
}

function short(text: string): string {
  return printable(text).slice(0, MOST_TEXT);
}

function checked(value: unknown, form: RegExp): string {
  if (typeof value === "string" && form.test(value)) return value;
  throw new SyntaxError("Cannot read the counts: a name is malformed");
}

function count(value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) {
    return value as number;
  }
  throw new SyntaxError("Cannot read the counts: a number is malformed");
}
