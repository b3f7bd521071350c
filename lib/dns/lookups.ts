/**
 * The lookups that need several questions: the addresses of a host in both
 * families, the entry of an address in a blocklist, and the confirmed names of
 * an address (forward-confirmed reverse DNS).
 *
 * Never answers "none" for a host while one of the two answers is missing: that
 * would return a message that can be delivered later.
 *
 * Never calls an address listed because of an answer that is not a blocklist's.
 * A zone that was sold answers every question with the address of an
 * advertisement. A list that is asked too often answers with an error code.
 * Both would refuse all mail.
 *
 * Never trusts a PTR record alone, and never follows more than ten: the owner
 * of an address can publish any names for it, and any number of them.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.2 | RFC 5321 section 5.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5782 | RFC 5782},
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-4.6.4 | RFC 7208 section 4.6.4},
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-2.7.3 | RFC 8601 section 2.7.3}
 */

import {
  canonicalIp,
  formatIp,
  parseIp,
  parseUnmapped,
  reverseLabels,
} from "../protocol/ip.ts";
import { normalizeName } from "./name.ts";
import {
  type DnsFailed,
  type DnsOutcome,
  type DnsQuerier,
  type DnsQueryOptions,
  failed,
} from "./outcome.ts";

/** See {@linkcode DnsClient.addresses}. */
export async function lookupAddresses(
  dns: DnsQuerier,
  options: DnsQueryOptions & {
    /** A host name or an IP address. */
    host: string;
    families?: readonly (4 | 6)[] | undefined;
  },
): Promise<DnsOutcome<string>> {
  const { host, families = [6, 4], ...rest } = options;
  const literal = canonicalIp(host);
  if (literal !== undefined) return { status: "found", records: [literal] };
  const outcomes = await Promise.all(
    families.map((family) =>
      dns.query(family === 6 ? "AAAA" : "A", host, rest)
    ),
  );
  return addressesOf(outcomes);
}

/**
 * The addresses of a host in all families: found if one family is. Secure, where
 * it was asked for, if all that was found is.
 */
export function addressesOf(
  outcomes: readonly DnsOutcome<string>[],
): DnsOutcome<string> {
  const found = outcomes.filter((outcome) => outcome.status === "found");
  if (found.length > 0) {
    const records = found.flatMap((outcome) => outcome.records);
    const isAsked = found.some(({ secure }) => secure !== undefined);
    if (!isAsked) return { status: "found", records };
    const secure = found.every((outcome) => outcome.secure === true);
    return { status: "found", records, secure };
  }
  return outcomes.find((outcome) => outcome.status === "failed") ??
    outcomes.find(noSuchRecord) ??
    outcomes[0] ?? { status: "none", why: "no-such-record" };
}

/** Whether the name exists: one such answer counts, even if a faulty server denies the name for the other family. */
function noSuchRecord(outcome: DnsOutcome<string>): boolean {
  return outcome.status === "none" && outcome.why === "no-such-record";
}

/** The answer of a blocklist (RFC 5782); "failed" if it did not answer or refused to. */
export type BlocklistOutcome =
  | {
    /** The address is on the list. */
    readonly status: "listed";
    /** The list's codes, addresses in 127.0.0.0/8; each list defines their meanings. */
    readonly codes: readonly string[];
    /** The list's text on the address, without control characters, if any. */
    readonly reason: string | undefined;
  }
  | {
    /** The address is not on the list. */
    readonly status: "unlisted";
  }
  | DnsFailed;

/** See {@linkcode DnsClient.lookupBlocklist}. */
export async function lookupBlocklist(
  dns: DnsQuerier,
  options: DnsQueryOptions & {
    /** The client's IP address. */
    address: string;
    /** The blocklist's domain. */
    zone: string;
  },
): Promise<BlocklistOutcome> {
  const { address, zone, ...rest } = options;
  const domain = normalizeName(zone);
  if (domain === undefined) {
    throw new TypeError(
      `Cannot ask blocklist "${zone}": want a domain name`,
    );
  }
  const labels = reverseLabels(address);
  if (labels === undefined) return { status: "unlisted" };
  const name = `${labels}.${domain}`;
  const answer = await dns.query("A", name, rest);
  if (answer.status === "none") return { status: "unlisted" };
  if (answer.status === "failed") return answer;
  const codes = answer.records.filter(isCode);
  const refusal = codes.find((code) => code.startsWith("127.255.255."));
  if (refusal !== undefined || codes.length === 0) {
    return notAList(domain, refusal ?? answer.records.join(", "));
  }
  return { status: "listed", codes, reason: await why(dns, { ...rest, name }) };
}

/** Whether an address is a blocklist's code (RFC 5782 section 2.1). */
function isCode(address: string): boolean {
  return parseIp(address)?.[0] === 127;
}

function notAList(domain: string, answer: string): DnsFailed {
  return failed(
    "server-failure",
    `Blocklist "${domain}" answers with ${answer}, which lists nothing`,
  );
}

/** The list's text on an entry; `undefined` if it is missing or the question failed. */
async function why(
  dns: DnsQuerier,
  options: DnsQueryOptions & { name: string },
): Promise<string | undefined> {
  const { name, ...rest } = options;
  const texts = await dns.query("TXT", name, rest);
  if (texts.status !== "found") return undefined;
  // deno-lint-ignore no-control-regex
  return texts.records.join("; ").replace(/[\x00-\x1f\x7f]+/g, " ");
}

/** Names of an address that are followed, at most. */
const MAX_NAMES = 10;

/** The outcome of {@linkcode DnsClient.confirmReverse}. */
export interface ReverseOutcome {
  /**
   * "confirmed": at least one name resolves to the address. "unconfirmed":
   * there are names, but no name does. "none": the address has no name.
   * "failed": a question failed; a later one may succeed.
   */
  readonly status: "confirmed" | "unconfirmed" | "none" | "failed";
  /** The names that the address claims, at most ten. */
  readonly names: readonly string[];
  /** The names that resolve to the address. */
  readonly confirmed: readonly string[];
  /** With "failed", the reason. */
  readonly reason?: string | undefined;
}

const NO_NAME: ReverseOutcome = Object.freeze({
  status: "none",
  names: Object.freeze([]),
  confirmed: Object.freeze([]),
});

/** See {@linkcode DnsClient.confirmReverse}. */
export async function confirmReverse(
  dns: DnsQuerier,
  options: DnsQueryOptions & {
    /** The client's IP address. */
    address: string;
  },
): Promise<ReverseOutcome> {
  const { address, ...rest } = options;
  const bytes = parseUnmapped(address);
  if (bytes === undefined) return NO_NAME;
  const pointers = await dns.query("PTR", address, rest);
  if (pointers.status === "none") return NO_NAME;
  if (pointers.status === "failed") {
    return { ...NO_NAME, status: "failed", reason: pointers.reason };
  }
  const names = pointers.records.slice(0, MAX_NAMES);
  const type = bytes.length === 4 ? "A" : "AAAA";
  const answers = await Promise.all(
    names.map((name) => dns.query(type, name, rest)),
  );
  const wanted = formatIp(bytes);
  const confirmed = names.filter((_, index) => {
    const answer = answers[index];
    return answer?.status === "found" && answer.records.includes(wanted);
  });
  if (confirmed.length > 0) return { status: "confirmed", names, confirmed };
  const failure = answers.find((answer) => answer.status === "failed");
  return failure
    ? { status: "failed", names, confirmed, reason: failure.reason }
    : { status: "unconfirmed", names, confirmed };
}
