/**
 * What DANE must know of a host before TLSA records are asked for: whether its
 * addresses are validated, and the names that may hold the records. Stands
 * alone: it is a rule of DANE, and knows nothing of messages and servers.
 *
 * Never takes a failure for an insecure answer: that would be a way to switch
 * DANE off from outside. Never names a place for TLSA records below a zone
 * without DNSSEC: many name servers of such zones fail at that question, and
 * their mail would wait for nothing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7672#section-2.2.2 | RFC 7672 section 2.2.2}
 */

import { canonicalIp } from "../protocol/ip.ts";
import { addressesOf } from "./lookups.ts";
import { normalizeName } from "./name.ts";
import type {
  DnsFound,
  DnsOutcome,
  DnsQuerier,
  DnsQueryOptions,
} from "./outcome.ts";

/** The outcome of {@linkcode lookupSecureHost}. */
export interface SecureHost {
  /**
   * The host's addresses, as from {@linkcode DnsClient.addresses}, IPv6 first;
   * "failed" too if it cannot be found out whether DANE is possible.
   */
  readonly addresses: DnsOutcome<string>;
  /**
   * The names below which to ask for TLSA records, in this order: the end of the
   * host's aliases if they are secure to the end, then the host. Empty if DANE
   * is not possible.
   */
  readonly bases: readonly string[];
}

/**
 * Asks for the addresses of a host, and finds out where its TLSA records may be.
 * One secure family is enough: the other may be insecure or fail. An alias that
 * is secure while its target is not still counts by its own name.
 *
 * @param dns Asks the questions, with `secure` set
 * @param host A host name; an IP address has no TLSA records
 * @param options Time limit and signal of each question
 * @throws The signal's reason if `signal` fires
 *
 * @example Where to ask for TLSA records
 * ```ts
 * import {
 *   DnsClient,
 *   type DnsQuerier,
 *   lookupSecureHost,
 *   type SecureHost,
 *   type TlsaRecord,
 * } from "@smtp/server/dns";
 *
 * async function tlsaOf(dns: DnsQuerier, host: SecureHost) {
 *   const none: readonly TlsaRecord[] = [];
 *   for (const base of host.bases) {
 *     const name = `_25._tcp.${base}`;
 *     const outcome = await dns.query("TLSA", name, { secure: true });
 *     if (outcome.status === "found" && outcome.secure) {
 *       return outcome.records;
 *     }
 *   }
 *   return none;
 * }
 *
 * const dns = new DnsClient({ nameServers: ["127.0.0.1:9"], timeoutMs: 100 });
 * const host = await lookupSecureHost(dns, "mx.example", {});
 * console.assert(host.addresses.status === "failed");
 * console.assert((await tlsaOf(dns, host)).length === 0);
 * ```
 */
export async function lookupSecureHost(
  dns: DnsQuerier,
  host: string,
  options: DnsQueryOptions,
): Promise<SecureHost> {
  const literal = canonicalIp(host);
  if (literal !== undefined) {
    return { addresses: { status: "found", records: [literal] }, bases: [] };
  }
  const asked = { ...options, secure: true };
  const answers = await Promise.all([
    dns.query("AAAA", host, asked),
    dns.query("A", host, asked),
  ]);
  const addresses = addressesOf(answers);
  const name = normalizeName(host);
  const found = answers.filter((answer) => answer.status === "found");
  if (name === undefined || found.length === 0) return { addresses, bases: [] };
  const secure = found.find((answer) => answer.secure === true);
  if (secure !== undefined) {
    const end = targetOf(secure, name);
    return { addresses, bases: end === name ? [name] : [end, name] };
  }
  if (found.every((answer) => targetOf(answer, name) === name)) {
    return { addresses, bases: [] };
  }
  const alias = await dns.query("CNAME", name, asked);
  if (alias.status === "failed") return { addresses: alias, bases: [] };
  const isSecure = alias.status === "found" && alias.secure === true;
  return { addresses, bases: isSecure ? [name] : [] };
}

function targetOf(answer: DnsFound<string>, name: string): string {
  return answer.canonicalName ?? name;
}
