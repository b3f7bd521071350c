/**
 * Names in a certificate, host names and IP addresses: their canonical form,
 * their bytes, and whether a name covers a host.
 *
 * Never uses the common name: only subjectAltName counts.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc9525#section-6.3 | RFC 9525 section 6.3},
 * {@link https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6 | RFC 5280 section 4.2.1.6}
 */

import { isIP } from "node:net";
import { aLabels } from "../protocol/domain.ts";
import { parseIp } from "../protocol/ip.ts";

const HOST_NAME =
  /^(?=.{1,253}$)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

/**
 * The canonical form, in which names are compared: lower case, A-labels, no
 * final dot; IP addresses without brackets, IPv6 shortened (RFC 5952).
 *
 * @returns The name, `undefined` if it is neither a host name (its first label may be `*`) nor an IP address
 */
export function canonicalHost(name: string): string | undefined {
  const bare = name.startsWith("[") && name.endsWith("]")
    ? name.slice(1, -1)
    : name;
  const kind = isIP(bare);
  if (kind === 4) return bare;
  if (kind === 6) return bare.includes("%") ? undefined : shortIpv6(bare);
  const dotless = name.endsWith(".") ? name.slice(0, -1) : name;
  const ascii = aLabels(dotless);
  return HOST_NAME.test(ascii) ? ascii : undefined;
}

/** Whether a canonical name is an IP address. */
export function isAddress(name: string): boolean {
  return isIP(name) !== 0;
}

/** The 4 or 16 bytes of a canonical IP address. */
export function addressBytes(address: string): Uint8Array {
  return Uint8Array.from(parseIp(address) ?? []);
}

/** The text of the 4 or 16 bytes of an IP address, `undefined` for another number of bytes. */
export function addressText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return undefined;
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) {
    groups.push((bytes[at]! * 256 + bytes[at + 1]!).toString(16));
  }
  return shortIpv6(groups.join(":"));
}

/**
 * Whether a certificate's name covers `host`. A `*` matches exactly one label,
 * the first, and only before at least two labels: `*.example.com`, never
 * `*.com` nor `w*.example.com`. IP addresses must be equal.
 */
export function nameCovers(name: string, host: string): boolean {
  const want = canonicalHost(host);
  const have = canonicalHost(name);
  if (want === undefined || have === undefined) return false;
  if (want === have) return !want.startsWith("*");
  if (!have.startsWith("*.") || isAddress(want)) return false;
  const dot = want.indexOf(".");
  const parent = have.slice(2);
  return dot > 0 && parent.includes(".") && want.slice(dot + 1) === parent &&
    want[0] !== "*";
}

function shortIpv6(address: string): string {
  return new URL(`http://[${address}]/`).hostname.slice(1, -1);
}
