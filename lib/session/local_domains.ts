/**
 * Decides which recipients are local: the test behind the `domains` option. Mail
 * for all others is refused unless relaying allows it.
 */

import { printable } from "../log.ts";
import { parseAddressLiteral, parseUnmapped } from "../protocol/ip.ts";
import type { Address } from "../protocol/address.ts";
import { asciiDomain } from "../protocol/domain.ts";

/**
 * Whether an address is local.
 *
 * @param ownIp The IP address that the client connected to, if there is a client
 */
export type LocalTest = (address: Address, ownIp?: string) => boolean;

/** A domain: labels between dots; the last one may be empty. No pattern and no list. */
const NAME = /^[\p{L}\p{M}\p{N}_-]+(?:\.[\p{L}\p{M}\p{N}_-]+)*\.?$/u;

/**
 * Makes the test from a list of domains. Always local: `postmaster` without a
 * domain (RFC 5321 section 4.5.1), and the address literal of the IP address
 * that the client connected to (RFC 1123 section 5.2.17). Tricks in the local
 * part (`%`, `!`, quoted `@`) do not matter: only the domain counts.
 *
 * @throws {TypeError} If an entry is not a domain
 */
export function localDomains(domains: readonly string[]): LocalTest {
  const names = new Set<string>();
  for (const domain of domains) {
    if (!NAME.test(domain) && !domain.startsWith("[")) {
      throw new TypeError(
        `Cannot use "${
          printable(domain)
        }" as a local domain: want a name, as "example.com"`,
      );
    }
    names.add(asciiDomain(domain));
  }
  return (address, ownIp) => {
    const { domain } = address;
    // Most domains are lower-case ASCII already.
    if (domain === "" || names.has(domain)) return true;
    return names.has(address.asciiDomain) ||
      (address.isLiteral && isLiteralOf(domain, ownIp));
  };
}

/** Whether an address literal stands for an IP address; an IPv4-mapped one equals its IPv4 address. */
function isLiteralOf(domain: string, ip: string | undefined): boolean {
  const literal = parseAddressLiteral(domain);
  if (literal === undefined || ip === undefined) return false;
  const bytes = parseUnmapped(literal);
  return bytes !== undefined &&
    bytes.join() === parseUnmapped(ip)?.join();
}
