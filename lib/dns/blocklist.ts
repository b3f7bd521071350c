/**
 * Blocklists in DNS: is an address listed, and why.
 *
 * Never calls an address listed for an answer that no blocklist gives: a zone
 * that was sold answers every question with the address of an advertisement,
 * a list that is asked too often answers with an error code, and both would
 * refuse all mail.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5782 | RFC 5782}
 */

import { parseIp, reverseLabels } from "../net/ip.ts";
import { normalizeName } from "./name.ts";
import {
  type DnsFailed,
  type DnsQuerier,
  type DnsQueryOptions,
  failed,
} from "./outcome.ts";

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
