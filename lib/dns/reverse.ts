/**
 * Forward-confirmed reverse DNS: the names that an address claims, and those
 * of them that lead back to it.
 *
 * Never believes a PTR record alone, and never follows more than ten: whoever
 * runs an address writes there what he likes, and as much as he likes.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-2.7.3 | RFC 8601 section 2.7.3},
 * {@link https://www.rfc-editor.org/rfc/rfc7208#section-4.6.4 | RFC 7208 section 4.6.4}
 */

import { formatIp, parseUnmapped } from "../net/ip.ts";
import type { DnsQuerier, DnsQueryOptions } from "./outcome.ts";

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
