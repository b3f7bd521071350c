/**
 * Networks of IP addresses, as `10.0.0.0/8`: the entries of access lists.
 *
 * Never widens a network: one with bits set after its prefix is refused,
 * because it is a typing error and either reading may be wrong. Pure: no
 * platform calls.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4632#section-3.1 | RFC 4632 section 3.1},
 * {@link https://www.rfc-editor.org/rfc/rfc4291#section-2.3 | RFC 4291 section 2.3}
 */

import { printable } from "../log.ts";
import {
  formatIp,
  type IpBytes,
  parseIp,
  parseUnmapped,
} from "../protocol/ip.ts";

const PREFIX = /^(?:0|[1-9]\d{0,2})$/;

/**
 * A network of IP addresses. Immutable; made by {@linkcode parseCidr}.
 *
 * @example Check whether a network contains an address
 * ```ts
 * import { type Cidr, parseCidr } from "@smtp/server/dns";
 *
 * const office: Cidr = parseCidr("2001:db8::/32");
 * console.assert(office.contains("2001:db8::25"));
 * console.assert(!office.contains("192.0.2.1"));
 * ```
 */
export interface Cidr {
  /** The first address of the network, canonical. */
  readonly address: string;
  /** The prefix length in bits: 0 to 32 for IPv4, 0 to 128 for IPv6. */
  readonly prefix: number;
  /**
   * Whether the network contains an address. An IPv4-mapped IPv6 address counts
   * as its IPv4 address. No network contains a text that is not an address.
   */
  contains(address: string): boolean;
  /** The network as text, as `"10.0.0.0/8"`. */
  toString(): string;
}

/**
 * Parses a network in CIDR notation. An address without a prefix length is a
 * network of one address. An IPv4-mapped network with a prefix of 96 or more
 * becomes the IPv4 network that it maps.
 *
 * @param text As `"10.0.0.0/8"`, `"2001:db8::/32"` or `"192.0.2.1"`
 * @throws {SyntaxError} If the address or the prefix length is malformed, or
 * bits are set after the prefix
 *
 * @example A private network
 * ```ts
 * import { parseCidr } from "@smtp/server/dns";
 *
 * const network = parseCidr("10.0.0.0/8");
 * console.assert(network.contains("10.1.2.3"));
 * console.assert(network.contains("::ffff:10.1.2.3"));
 * console.assert(!network.contains("11.0.0.1"));
 * ```
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf("/");
  const written = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (written === undefined) throw badNetwork(text, `one like "10.0.0.0/8"`);
  const width = written.length * 8;
  const length = slash < 0 ? String(width) : text.slice(slash + 1);
  if (!PREFIX.test(length) || Number(length) > width) {
    throw badNetwork(text, `a prefix length of 0 to ${width}`);
  }
  const masked = mask(written, Number(length));
  if (formatIp(masked) !== formatIp(written)) {
    throw badNetwork(text, `"${formatIp(masked)}/${length}"`);
  }
  return network(masked, Number(length));
}

/** The peers of unix sockets, as an entry of an access list: the word `unix`. */
const UNIX_PEERS: Cidr = Object.freeze({
  address: "unix",
  prefix: 0,
  contains: (address: string): boolean => address === "unix",
  toString: (): string => "unix",
});

/**
 * Parses an entry of a list of clients: a network, or `unix` for the clients of
 * unix sockets.
 *
 * @throws {SyntaxError} As {@linkcode parseCidr}
 */
export function parsePeers(text: string): Cidr {
  return text === "unix" ? UNIX_PEERS : parseCidr(text);
}

function network(written: IpBytes, length: number): Cidr {
  const unmapped = parseUnmapped(formatIp(written)) ?? written;
  const mapped = unmapped.length < written.length && length >= 96;
  const base = mapped ? unmapped : written;
  const prefix = mapped ? length - 96 : length;
  const address = formatIp(base);
  return Object.freeze({
    address,
    prefix,
    contains(candidate: string): boolean {
      const bytes = parseUnmapped(candidate);
      return bytes?.length === base.length &&
        mask(bytes, prefix).every((byte, index) => byte === base[index]);
    },
    toString: (): string => `${address}/${prefix}`,
  });
}

/** The bytes with all bits after the first `prefix` bits cleared. */
function mask(bytes: IpBytes, prefix: number): number[] {
  return bytes.map((byte, index) => {
    const bits = Math.min(Math.max(prefix - index * 8, 0), 8);
    return byte & (0xff00 >> bits) & 0xff;
  });
}

function badNetwork(text: string, want: string): SyntaxError {
  return new SyntaxError(
    `Cannot parse network "${printable(text)}": want ${want}`,
  );
}
