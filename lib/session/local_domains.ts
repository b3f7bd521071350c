/**
 * Which recipients are this server's own: the test behind the `domains` option.
 * Everything else is foreign, and refused unless relaying says otherwise.
 */

import type { Address } from "../protocol/address.ts";

/**
 * Makes the test from a list of domains. `postmaster` without a domain is
 * always local (RFC 5321 section 4.5.1). Tricks in the local part (`%`, `!`,
 * quoted `@`) do not matter: only the domain is looked at.
 *
 * @throws {TypeError} If an entry is not a domain
 */
export function localDomains(
  domains: readonly string[],
): (address: Address) => boolean {
  const names = new Set<string>();
  for (const domain of domains) {
    if (!/^[^\s@<>]+$/.test(domain)) {
      throw new TypeError(
        `Cannot use "${domain}" as a local domain: want a name, as "example.com"`,
      );
    }
    names.add(domain.toLowerCase());
  }
  return (address) => address.domain === "" || names.has(address.domain);
}
