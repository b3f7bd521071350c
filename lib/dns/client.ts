/**
 * The DNS client of a mail server: mail exchangers of a domain, names of a
 * client's address, entries of a blocklist. Its cache holds a limited number of
 * outcomes, each for a limited time.
 *
 * Never throws because of a name server's answer or silence: outcomes are
 * values, because "no such record" and "not known" must not be confused. Never
 * waits without a limit, and leaves no timer or socket behind. The cache runs no
 * timer: it drops an expired entry when it finds it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5 | RFC 5321 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc7505 | RFC 7505}
 */

import {
  abortSignal,
  anyNumber,
  callable,
  checkOptions,
  flag,
  list,
  object,
  type Rule,
  type Rules,
  text,
  where,
} from "../options.ts";
import type { DnsQuestion } from "./dns_message.ts";
import { FailOver, type FailOverAskOptions } from "./exchange.ts";
import {
  type BlocklistOutcome,
  confirmReverse,
  lookupAddresses,
  lookupBlocklist,
  type ReverseOutcome,
} from "./lookups.ts";
import { anyName, normalizeName, pointerName } from "./name.ts";
import { parseNameServer } from "./name_server.ts";
import {
  type DnsOutcome,
  type DnsOutcomeOf,
  type DnsQueryOptions,
  type DnsRecordType,
  failed,
  type MxOutcome,
  type TlsaRecord,
} from "./outcome.ts";
import type { AnyOutcome } from "./records.ts";
import { seamsOf } from "./seams.ts";
import { Deadline, MAX_TIMEOUT_MS, SingleFlight } from "./single_flight.ts";

/**
 * Options of {@linkcode DnsClient}.
 *
 * @example Three questions about a client
 * ```ts
 * import {
 *   type BlocklistOutcome,
 *   DnsClient,
 *   type DnsClientOptions,
 *   type MxOutcome,
 *   type MxRecord,
 *   type NameServer,
 *   parseNameServer,
 *   type ReverseOutcome,
 * } from "@smtp/server/dns";
 * import { type DnsResolver, testDns } from "@smtp/server/testing";
 *
 * const { address, port }: NameServer = parseNameServer("192.0.2.53");
 * const options: DnsClientOptions = { nameServers: [`${address}:${port}`] };
 * // For this example every question is answered here, with "no such record".
 * const nothing: DnsResolver = () =>
 *   Promise.reject(new Deno.errors.NotFound("None"));
 * const dns = new DnsClient(testDns(nothing, options));
 *
 * const listed: BlocklistOutcome = await dns.lookupBlocklist(
 *   "192.0.2.1",
 *   "dnsbl.example",
 * );
 * const named: ReverseOutcome = await dns.confirmReverse("192.0.2.1");
 * const mail: MxOutcome = await dns.mx("client.example");
 * const hosts: readonly MxRecord[] = mail.status === "found" ? mail.records : [];
 * console.assert(listed.status === "unlisted" && named.status === "none");
 * console.assert(hosts.length === 0);
 * ```
 */
export interface DnsClientOptions {
  /**
   * The name servers, asked in this order, as `"192.0.2.53"`,
   * `"192.0.2.53:5353"` or `"[2001:db8::53]:5353"`. If one does not answer, the
   * client asks the next one, and asks that one first as long as it answers.
   * They must support recursion.
   *
   * @default {the system's}
   */
  nameServers?: readonly string[] | undefined;
  /**
   * Time limit of one question in milliseconds, over all servers and attempts.
   * Beyond it the outcome is `failed`.
   *
   * @default {5000}
   */
  timeoutMs?: number | undefined;
  /**
   * Number of times that a silent server is asked. The time of one question is
   * divided evenly by the number of servers or of attempts, whichever is
   * larger.
   *
   * @default {2}
   */
  attempts?: number | undefined;
  /**
   * Number of outcomes in the cache; 0 disables it. Failures are not cached.
   *
   * @default {1000}
   */
  cacheSize?: number | undefined;
  /**
   * Time that records stay in the cache, in milliseconds. The platform does not
   * report their TTL, so this should be short. Where the TTL is known (with
   * `secure`, for TLSA records and names with an underscore), records stay for
   * the shorter of both.
   *
   * @default {60000}
   */
  maxTtlMs?: number | undefined;
  /**
   * Time that the absence of records stays in the cache, in milliseconds.
   *
   * @default {30000}
   */
  negativeTtlMs?: number | undefined;
  /**
   * Whether to believe name servers on other machines that they have validated
   * an answer (DNSSEC, the AD bit). Name servers on the loopback are believed
   * without it. Set it only if no attacker can be on the way to them: nothing
   * protects that bit.
   *
   * @default {false}
   */
  trustAd?: boolean | undefined;
  /**
   * Gets a sentence when a name server turns out not to know EDNS, once for each
   * server; and one when a name server that is believed turns out not to validate
   * answers, after the first few questions with `secure`. Must not throw.
   *
   * @default {a warning in the log of the server whose option this is; else none}
   */
  onWarning?: ((message: string) => void) | undefined;
}

const RULES: Rules<DnsClientOptions> = {
  nameServers: list(text(), 'an array of addresses, as ["192.0.2.53"]'),
  timeoutMs: anyNumber,
  attempts: anyNumber,
  cacheSize: anyNumber,
  maxTtlMs: anyNumber,
  negativeTtlMs: anyNumber,
  trustAd: flag,
  onWarning: callable(),
};
const EXAMPLE = '{ nameServers: ["192.0.2.53"] }';

/** The rule for {@linkcode DnsClientOptions} in other options. */
export const DNS_RULE: Rule = object(RULES, EXAMPLE);

const QUERY_RULES: Rules<DnsQueryOptions> = {
  timeoutMs: anyNumber,
  signal: abortSignal,
  secure: flag,
  anyLabel: flag,
};
const ADDRESSES_RULES: Rules<DnsQueryOptions & { families: unknown }> = {
  ...QUERY_RULES,
  families: list(
    where("4 or 6", (value) => value === 4 || value === 6),
    "an array of 4 and 6",
  ),
};
/** Default of the options of a question; needs no check. */
const EMPTY_QUERY: DnsQueryOptions = Object.freeze({});

/**
 * Asks name servers. Requires `allow-net`, and `allow-sys=networkInterfaces`
 * to find the system's name servers if none are given. Needs no closing.
 *
 * @example The mail exchangers of a domain
 * ```ts
 * import { DnsClient } from "@smtp/server/dns";
 * import { testDns } from "@smtp/server/testing";
 *
 * const dns = new DnsClient(testDns(() =>
 *   Promise.resolve([{ preference: 10, exchange: "MX.Example.com." }])
 * ));
 * const outcome = await dns.mx("example.com");
 * console.assert(outcome.status === "found");
 * if (outcome.status === "found") {
 *   console.assert(outcome.records[0]?.exchange === "mx.example.com");
 * }
 * ```
 *
 * @example Other name servers than the system's
 * ```ts
 * import { DnsClient } from "@smtp/server/dns";
 *
 * const dns = new DnsClient({
 *   nameServers: ["127.0.0.1:5353", "[::1]"],
 *   timeoutMs: 10,
 * });
 * // Silence is an outcome, too: "failed".
 * const { status } = await dns.a("example.com");
 * console.assert(["found", "none", "failed"].includes(status));
 * ```
 */
export class DnsClient {
  readonly #timeoutMs: number;
  readonly #maxTtlMs: number;
  readonly #negativeTtlMs: number;
  readonly #now: () => number;
  readonly #servers: FailOver;
  readonly #cache: ExpiringCache<AnyOutcome>;
  readonly #asking = new SingleFlight<AnyOutcome>();

  /**
   * Makes a client; sends no question yet.
   *
   * @param options Name servers, time limits and the size of the cache
   * @throws {SyntaxError} If a name server's address is malformed
   * @throws {RangeError} If a number is out of range, or the list of name
   * servers is empty
   */
  constructor(options: DnsClientOptions = {}) {
    checkOptions("DnsClient", options, RULES, EXAMPLE);
    const given = options.nameServers?.map(parseNameServer);
    if (given?.length === 0) {
      throw new RangeError(
        "Cannot make a DNS client without name servers: want at least 1, or the option left out",
      );
    }
    this.#timeoutMs = checkTimeout(options.timeoutMs ?? 5_000);
    this.#maxTtlMs = checkNumber("maxTtlMs", options.maxTtlMs ?? 60_000);
    this.#negativeTtlMs = checkNumber(
      "negativeTtlMs",
      options.negativeTtlMs ?? 30_000,
    );
    const seams = seamsOf(options);
    this.#now = seams.now ?? (() => performance.now());
    this.#cache = new ExpiringCache(
      checkNumber("cacheSize", options.cacheSize ?? 1_000),
    );
    this.#servers = new FailOver({
      servers: given,
      attempts: checkNumber("attempts", options.attempts ?? 2, { least: 1 }),
      trustAd: options.trustAd ?? false,
      now: this.#now,
      onWarning: options.onWarning,
      seams,
    });
  }

  /**
   * Whether an outcome can be `secure`: a name server is on the loopback, or
   * `trustAd` is set. The server may still not validate.
   *
   * @throws {Deno.errors.NotCapable} If the permission to find the system's name
   * servers is missing
   */
  get canValidate(): boolean {
    return this.#servers.canValidate;
  }

  /**
   * Asks for the records of a type. For a text that is not a domain name the
   * outcome is "none", and no server is asked.
   *
   * @param type The type of record, in upper case
   * @param name A domain name, with U-labels or A-labels; for PTR an address too
   * @throws The signal's reason if `signal` fires
   * @throws {RangeError} If `timeoutMs` is out of range
   * @throws {Deno.errors.NotCapable} If the permission to ask is missing
   */
  async query<T extends DnsRecordType>(
    type: T,
    name: string,
    options: DnsQueryOptions = EMPTY_QUERY,
  ): Promise<DnsOutcomeOf<T>> {
    if (options !== EMPTY_QUERY) {
      checkOptions("DnsClient.query", options, QUERY_RULES);
    }
    const timeoutMs = checkTimeout(options.timeoutMs ?? this.#timeoutMs);
    options.signal?.throwIfAborted();
    const asked = type === "PTR"
      ? pointerName(name)
      : options.anyLabel
      ? anyName(name)
      : normalizeName(name);
    const outcome = asked === undefined
      ? notAName(options.secure)
      : await this.#recall({ type, name: asked }, { ...options, timeoutMs });
    // The reader for this type has made the records.
    return outcome as DnsOutcomeOf<T>;
  }

  /**
   * Asks for the mail exchangers of a domain. With "none", the domain's own
   * addresses are to be tried (RFC 5321 section 5.1), with "null-mx" they are
   * not.
   *
   * @returns The exchangers in order of preference
   */
  mx(name: string, options?: DnsQueryOptions): Promise<MxOutcome> {
    return this.query("MX", name, options);
  }

  /**
   * Asks for the certificate associations of a service (RFC 6698). For DANE they
   * count only with `secure: true` in the options and `secure` in the outcome.
   *
   * @param name The service and the host, as `"_25._tcp.mx.example"`
   */
  tlsa(
    name: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcome<TlsaRecord>> {
    return this.query("TLSA", name, options);
  }

  /** Asks for the IPv4 addresses of a host. */
  a(name: string, options?: DnsQueryOptions): Promise<DnsOutcome<string>> {
    return this.query("A", name, options);
  }

  /** Asks for the IPv6 addresses of a host. */
  aaaa(name: string, options?: DnsQueryOptions): Promise<DnsOutcome<string>> {
    return this.query("AAAA", name, options);
  }

  /**
   * Asks for the names of an address. Such a name is only a claim of the owner
   * of the address; {@linkcode DnsClient.confirmReverse} checks it.
   *
   * @param address An IP address, or its name below `in-addr.arpa` or `ip6.arpa`
   */
  ptr(
    address: string,
    options?: DnsQueryOptions,
  ): Promise<DnsOutcome<string>> {
    return this.query("PTR", address, options);
  }

  /** Asks for the texts at a name. */
  txt(name: string, options?: DnsQueryOptions): Promise<DnsOutcome<string>> {
    return this.query("TXT", name, options);
  }

  /**
   * Asks for the addresses of a host, IPv6 and IPv4 at once. For an IP address
   * the outcome is that address.
   *
   * @returns "found" if either family has an address; else "failed" if either
   * question failed; else "none"
   *
   * @example An IP address needs no question
   * ```ts
   * import { DnsClient } from "@smtp/server/dns";
   *
   * const outcome = await new DnsClient().addresses("192.0.2.1");
   * console.assert(outcome.status === "found");
   * ```
   */
  addresses(
    host: string,
    options?: DnsQueryOptions & {
      /**
       * The families to ask for, in the order of their addresses in the outcome.
       *
       * @default {[6, 4]}
       */
      families?: readonly (4 | 6)[] | undefined;
    },
  ): Promise<DnsOutcome<string>> {
    if (options !== undefined) {
      checkOptions("DnsClient.addresses", options, ADDRESSES_RULES);
    }
    return lookupAddresses(this, { ...options, host });
  }

  /**
   * Asks whether a blocklist lists an address (RFC 5782), and for the reason.
   *
   * @param address The client's IP address; any other text is unlisted
   * @param zone The blocklist's domain, as `"dnsbl.example"`
   * @throws {TypeError} If the zone is no domain name
   *
   * @example The test entry of RFC 5782
   * ```ts
   * import { DnsClient } from "@smtp/server/dns";
   * import { testDns } from "@smtp/server/testing";
   *
   * const listed = "2.0.0.127.dnsbl.example.";
   * const dns = new DnsClient(testDns(async (name, type) => {
   *   if (name === listed && type === "A") return await ["127.0.0.2"];
   *   throw new Deno.errors.NotFound("no records");
   * }));
   * const outcome = await dns.lookupBlocklist("127.0.0.2", "dnsbl.example");
   * console.assert(outcome.status === "listed");
   * ```
   */
  lookupBlocklist(
    address: string,
    zone: string,
    options?: DnsQueryOptions,
  ): Promise<BlocklistOutcome> {
    return lookupBlocklist(this, { ...options, address, zone });
  }

  /**
   * Asks for the names of an address, and confirms those whose addresses
   * include it (forward-confirmed reverse DNS, RFC 8601 section 2.7.3).
   *
   * @param address The client's IP address
   *
   * @example The confirmed name of a client
   * ```ts
   * import { DnsClient } from "@smtp/server/dns";
   * import { testDns } from "@smtp/server/testing";
   *
   * const dns = new DnsClient(testDns(async (_name, type) =>
   *   await (type === "PTR" ? ["mail.example.com."] : ["192.0.2.1"])
   * ));
   * const { status, confirmed } = await dns.confirmReverse("192.0.2.1");
   * console.assert(status === "confirmed");
   * console.assert(confirmed[0] === "mail.example.com");
   * ```
   */
  confirmReverse(
    address: string,
    options?: DnsQueryOptions,
  ): Promise<ReverseOutcome> {
    return confirmReverse(this, { ...options, address });
  }

  /** Answers from the cache, or asks a name server. */
  async #recall(
    question: DnsQuestion,
    options: DnsQueryOptions & { timeoutMs: number },
  ): Promise<AnyOutcome> {
    const { timeoutMs, signal } = options;
    const secure = options.secure ?? false;
    const key = keyOf(question, secure);
    const known = this.#cache.get(key, this.#now());
    if (known !== undefined) return known;
    using deadline = new Deadline(timeoutMs, signal);
    try {
      // Only callers with the same time limit share a question: the wait for
      // each server depends on it.
      return await this.#asking.run(`${key} ${timeoutMs}`, {
        start: (unwanted) =>
          this.#ask(question, { timeoutMs, secure, signal: unwanted }),
        signal: deadline.signal,
      });
    } catch (error) {
      if (!deadline.expired) throw error;
      const { type, name } = question;
      return failed(
        "timeout",
        `No answer to ${type} "${name}" within ${timeoutMs} ms`,
      );
    }
  }

  async #ask(
    question: DnsQuestion,
    options: FailOverAskOptions,
  ): Promise<AnyOutcome> {
    const { outcome, ttlMs } = await this.#servers.ask(question, options);
    if (outcome.status !== "failed") {
      const keptMs = outcome.status === "none"
        ? this.#negativeTtlMs
        : Math.min(this.#maxTtlMs, ttlMs ?? Infinity);
      this.#cache.set(keyOf(question, options.secure), {
        value: outcome,
        until: this.#now() + keptMs,
      });
    }
    return outcome;
  }
}

function notAName(secure: boolean | undefined): AnyOutcome {
  const none = { status: "none", why: "not-a-name" } as const;
  return secure ? { ...none, secure: false } : none;
}

/** An outcome that says whether it is validated is another than one that does not. The name is last: it may have spaces. */
function keyOf({ type, name }: DnsQuestion, secure: boolean): string {
  return secure ? `${type}+ ${name}` : `${type} ${name}`;
}

function checkTimeout(timeoutMs: number): number {
  if (timeoutMs >= 1 && timeoutMs <= MAX_TIMEOUT_MS) return timeoutMs;
  throw new RangeError(
    `Cannot wait ${timeoutMs} ms for an answer: want 1 to ${MAX_TIMEOUT_MS}`,
  );
}

function checkNumber(
  name: string,
  value: number,
  options: { least: number } = { least: 0 },
): number {
  if (Number.isInteger(value) && value >= options.least) return value;
  throw new RangeError(
    `Cannot make a DNS client with ${name} ${value}: want a whole number from ${options.least}`,
  );
}

interface Entry<V> {
  readonly value: V;
  /** Time of expiry, in milliseconds of the caller's clock. */
  readonly until: number;
}

/**
 * A cache with a limited number of entries and a time of expiry for each. A new
 * entry replaces the least recently used one. The caller passes the time.
 */
export class ExpiringCache<V> {
  readonly #capacity: number;
  readonly #entries = new Map<string, Entry<V>>();

  /**
   * Makes an empty cache.
   *
   * @param capacity Number of entries, at most; 0 disables the cache
   */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The number of entries, expired ones included. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * The value of a key, `undefined` if it is missing or expired.
   *
   * @param now The current time in milliseconds
   */
  get(key: string, now: number): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.until <= now) return undefined;
    // A Map keeps the order of insertion: inserting the entry again makes it the most recent.
    this.#entries.set(key, entry);
    return entry.value;
  }

  /**
   * Stores a value.
   *
   * @param entry The value and its time of expiry in milliseconds
   */
  set(key: string, entry: Entry<V>): void {
    if (this.#capacity === 0) return;
    this.#entries.delete(key);
    if (this.#entries.size >= this.#capacity) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    this.#entries.set(key, entry);
  }
}
