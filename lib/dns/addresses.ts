/**
 * The addresses of a host, both families at once: what a relay connects to.
 *
 * Never says "none" while one of the two answers is missing: a message would
 * be returned that could be delivered tomorrow.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.2 | RFC 5321 section 5.2}
 */

import { canonicalIp } from "../net/ip.ts";
import type { DnsOutcome, DnsQuerier, DnsQueryOptions } from "./outcome.ts";

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
