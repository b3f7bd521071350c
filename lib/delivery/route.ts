/**
 * Turns DNS answers into the ordered list of hosts, or into an immediate failure.
 * Pure: callers pass the answers and the random numbers in.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1},
 * {@link https://www.rfc-editor.org/rfc/rfc7505 | RFC 7505}
 */

import type { DnsOutcome, MxOutcome, MxRecord } from "../dns/outcome.ts";
import { parseIp } from "../protocol/ip.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { SmtpReply } from "../protocol/reply.ts";

/** Hosts tried for one message and destination. */
const MAX_HOSTS = 10;
/** Addresses tried for one host. */
const MAX_ADDRESSES = 6;

/** The hosts to send to, or the reason why there is no host. */
export type Route =
  | {
    /** Host names in the order to try them, at least one. */
    readonly hosts: readonly string[];
    /** Whether they come from MX records; otherwise the domain itself is the host. */
    readonly fromMx: boolean;
  }
  | {
    /** The reason: 4xx to try again later, 5xx to give up. */
    readonly reply: SmtpReply;
  };

/** The input of {@linkcode routeDomain}. */
export interface RouteFacts {
  /** The answer to the MX query. */
  readonly mx: MxOutcome;
  /** The names of this server: mail must not loop back to it. */
  readonly ownNames: readonly string[];
  /** A random number from 0 to below 1. */
  readonly random: () => number;
}

/** The IP address in an address literal; `undefined` for a domain name. */
export function literalAddress(domain: string): string | undefined {
  const match = /^\[(?:IPv6:)?([0-9a-fA-F:.]+)\]$/i.exec(domain);
  const address = match?.[1];
  // A name may consist of hexadecimal digits, too.
  return address && parseIp(address) && address;
}

/**
 * The hosts of a domain, best first. Hosts of equal preference come in random
 * order, to spread the load. If this server is among them, only hosts of better
 * preference are left: the others would send the message back.
 */
export function routeDomain(domain: string, facts: RouteFacts): Route {
  const { mx } = facts;
  const own = new Set(facts.ownNames.map(asciiDomain));
  switch (mx.status) {
    case "null-mx":
      return refuse(556, "5.1.10", `Domain "${domain}" takes no mail`);
    case "failed":
      // The records are invalid; trying again will not help.
      if (mx.code === "malformed") {
        return refuse(
          550,
          "5.1.2",
          `Domain "${domain}" has no usable host: ${mx.reason}`,
        );
      }
      return refuse(
        451,
        "4.4.3",
        `Cannot find the hosts of "${domain}": ${mx.reason}`,
      );
    case "none":
      if (mx.why === "no-such-name" || mx.why === "not-a-name") {
        return refuse(550, "5.1.2", `There is no domain "${domain}"`);
      }
      return own.has(asciiDomain(domain))
        ? loop(domain)
        : { hosts: [asciiDomain(domain)], fromMx: false };
    case "found": {
      const records = cutLoop(mx.records, own);
      if (records.length === 0) return loop(domain);
      const names = order(records, facts.random).map(({ exchange }) =>
        asciiDomain(exchange)
      );
      const hosts = [...new Set(names)].slice(0, MAX_HOSTS);
      return { hosts, fromMx: true };
    }
  }
}

/**
 * The addresses to try for a host, or the reason why there is no address. IPv6
 * and IPv4 alternate: a network without one of them costs one attempt.
 */
export function orderAddresses(
  host: string,
  addresses: DnsOutcome<string>,
): readonly string[] | SmtpReply {
  switch (addresses.status) {
    case "found": {
      const v6 = addresses.records.filter((address) => address.includes(":"));
      const v4 = addresses.records.filter((address) => !address.includes(":"));
      const ordered: string[] = [];
      for (let at = 0; at < Math.max(v6.length, v4.length); at++) {
        ordered.push(...v6.slice(at, at + 1), ...v4.slice(at, at + 1));
      }
      return ordered.slice(0, MAX_ADDRESSES);
    }
    case "none":
      return new SmtpReply(550, `Host "${host}" has no address`, {
        enhanced: "5.1.2",
      });
    case "failed":
      return new SmtpReply(
        451,
        `Cannot find the address of "${host}": ${addresses.reason}`,
        { enhanced: "4.4.3" },
      );
  }
}

/** The reply for mail that would come back to this server. */
export function loopReply(domain: string): SmtpReply {
  return new SmtpReply(
    554,
    `Mail for "${domain}" loops: this server is its best host`,
    { enhanced: "5.4.6" },
  );
}

function loop(domain: string): Route {
  return { reply: loopReply(domain) };
}

function refuse(code: number, enhanced: string, text: string): Route {
  return { reply: new SmtpReply(code, text, { enhanced }) };
}

/** The records of better preference than this server's own; all if it has none. */
function cutLoop(
  records: readonly MxRecord[],
  own: ReadonlySet<string>,
): MxRecord[] {
  const mine = records.filter(({ exchange }) => own.has(asciiDomain(exchange)));
  const limit = Math.min(...mine.map(({ preference }) => preference));
  return records.filter(({ preference }) => preference < limit);
}

/** Sorts by preference; records of equal preference are shuffled each time. */
function order(records: readonly MxRecord[], random: () => number): MxRecord[] {
  const shuffled = [...records];
  for (let at = shuffled.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    const kept = shuffled[at]!;
    shuffled[at] = shuffled[other]!;
    shuffled[other] = kept;
  }
  return shuffled.sort((a, b) => a.preference - b.preference);
}
