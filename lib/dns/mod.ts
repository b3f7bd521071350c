/**
 * DNS for mail: MX, A, AAAA, PTR, TXT and TLSA look-ups with time-outs, several
 * name servers and a cache; blocklists; names that lead back; whether an answer
 * is validated (DNSSEC).
 *
 * ```ts
 * import { DnsClient } from "@smtp/server/dns";
 *
 * const dns = new DnsClient({ nameServers: ["127.0.0.1:9"], timeoutMs: 100 });
 * const outcome = await dns.mx("example.com");
 * if (outcome.status === "found") {
 *   for (const { preference, exchange } of outcome.records) {
 *     console.log(preference, exchange);
 *   }
 * }
 * ```
 *
 * An outcome tells "no such record" from "no answer": a server that does not
 * answer is a reason to try again later, a name that does not exist is not.
 * `mx()`, `addresses()` and `query()` ask for records, `lookupBlocklist()` asks a
 * blocklist (RFC 5782), and `confirmReverse()` asks for the names of an address
 * that lead back to it (RFC 8601 section 2.7.3).
 * With `secure: true` an outcome says whether the name server has validated it,
 * and `lookupSecureHost()` finds out where the TLSA records of a host are
 * (RFC 7672).
 * `server.dns` is the client that a server uses itself; handlers may use it
 * too.
 *
 * @module
 */

export { DnsClient, type DnsClientOptions } from "./client.ts";
export type { BlocklistOutcome, ReverseOutcome } from "./lookups.ts";
export { type NameServer, parseNameServer } from "./name_server.ts";
export {
  DNS_RECORD_TYPES,
  type DnsFailed,
  type DnsFound,
  type DnsNone,
  type DnsOutcome,
  type DnsOutcomeOf,
  type DnsQuerier,
  type DnsQueryOptions,
  type DnsRecords,
  type DnsRecordType,
  type MxOutcome,
  type MxRecord,
  type TlsaRecord,
} from "./outcome.ts";
export { lookupSecureHost, type SecureHost } from "./secure.ts";
export { type Cidr, parseCidr } from "../net/cidr.ts";
export { canonicalIp, parseIp } from "../protocol/ip.ts";
