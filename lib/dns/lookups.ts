/**
 * The lookups that take more than one question: the addresses of a host in
 * both families, the entry of an address in a blocklist, and the names of an
 * address that lead back to it (forward-confirmed reverse DNS).
 *
 * Never says "none" for a host while one of the two answers is missing: a
 * message would be returned that could be delivered tomorrow.
 *
 * Never calls an address listed for an answer that no blocklist gives: a zone
 * that was sold answers every question with the address of an advertisement,
 * a list that is asked too often answers with an error code, and both would
 * refuse all mail.
 *
 * Never believes a PTR record alone, and never follows more than ten: the
 * owner of an address can publish any names for it, and as many as they like.
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

/** Options of {@linkcode DnsClient.addresses}. */
export interface AddressesOptions extends DnsQueryOptions {
  /**
   * The families to ask for, in the order in which their addresses are wanted.
   *
   * @default {[6, 4]}
   */
  families?: readonly (4 | 6)[] | undefined;
}

/** Asks for a host's addresses: see {@linkcode DnsClient.addresses}. */
export async function lookupAddresses(
  dns: DnsQuerier,
  options: AddressesOptions & {
    /** A host name or an IP address. */
    host: string;
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
  const records = outcomes.flatMap((outcome) =>
    outcome.status === "found" ? outcome.records : []
  );
  if (records.length > 0) return { status: "found", records };
  return outcomes.find((outcome) => outcome.status === "failed") ??
    outcomes.find(noSuchRecord) ??
    outcomes[0] ?? { status: "none", why: "no-such-record" };
}

/** A name that exists for one family exists, whatever a careless server says for the other. */
function noSuchRecord(outcome: DnsOutcome<string>): boolean {
  return outcome.status === "none" && outcome.why === "no-such-record";
}

/** The address is on the list. */
export interface BlocklistListed {
  /** The outcome's kind. */
  readonly status: "listed";
  /** The list's codes, addresses in 127.0.0.0/8; each list has its own meanings. */
  readonly codes: readonly string[];
  /** What the list says of the address, without control characters, if it says anything. */
  readonly reason: string | undefined;
}

/** The address is not on the list. */
export interface BlocklistUnlisted {
  /** The outcome's kind. */
  readonly status: "unlisted";
}

/** What a blocklist says of an address; "failed" if it could or would not say. */
export type BlocklistOutcome = BlocklistListed | BlocklistUnlisted | DnsFailed;

/** Asks a blocklist: see {@linkcode DnsClient.lookupBlocklist}. */
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

/** Whether an address is one that a blocklist answers with (RFC 5782 section 2.1). */
function isCode(address: string): boolean {
  return parseIp(address)?.[0] === 127;
}

function notAList(domain: string, answer: string): DnsFailed {
  return failed(
    "server-failure",
    `Blocklist "${domain}" answers with ${answer}, which lists nothing`,
  );
}

/** The list's text on an entry; its absence or a failure takes nothing from the listing. */
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

const MAX_NAMES = 10;

/** What is known of an address's names. */
export interface ReverseOutcome {
  /**
   * "confirmed": at least one name leads back to the address. "unconfirmed":
   * there are names, none does. "none": there is no name. "failed": it could
   * not be told, asking later makes sense.
   */
  readonly status: "confirmed" | "unconfirmed" | "none" | "failed";
  /** The names that the address claims, at most ten. */
  readonly names: readonly string[];
  /** Those that lead back to the address. */
  readonly confirmed: readonly string[];
  /** With "failed", what went wrong. */
  readonly reason?: string | undefined;
}

const NO_NAME: ReverseOutcome = Object.freeze({
  status: "none",
  names: Object.freeze([]),
  confirmed: Object.freeze([]),
});

/** Confirms an address's names: see {@linkcode DnsClient.confirmReverse}. */
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
