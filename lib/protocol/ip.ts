/**
 * IP addresses as text and bytes: parsing, the canonical form, the block of one
 * customer, reverse names and the address literals of SMTP.
 *
 * Never guesses: a part with a leading zero (octal to some programs, decimal to
 * others), a short form like `127.1` or a zone index is not an address here,
 * because text that two programs read differently opens a hole in an access
 * list. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the form in which a
 * dual-stack socket shows an IPv4 client; customer blocks, reverse names and the
 * loopback test treat it as IPv4. Networks are in `net/cidr.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4291#section-2.2 | RFC 4291 section 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc5952 | RFC 5952},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.3 | RFC 5321 section 4.1.3},
 * {@link https://www.rfc-editor.org/rfc/rfc3596#section-2.5 | RFC 3596 section 2.5}
 */

const PART = /^(?:0|[1-9]\d{0,2})$/;
const GROUP = /^[0-9a-fA-F]{1,4}$/;
/** Longest text of an IPv6 address, in characters: eight groups, the last two in dotted form. */
const MAX_TEXT = 45;

/** The bytes of an IP address: four for IPv4, sixteen for IPv6. */
export type IpBytes = readonly number[];

/**
 * Parses the text of an IPv4 address (four decimal numbers without leading
 * zeros) or an IPv6 address (RFC 4291 section 2.2, without a zone index).
 *
 * @param text The text, without brackets
 * @returns The 4 or 16 bytes, or `undefined` if the text is not an address
 *
 * @example Four bytes or sixteen
 * ```ts
 * import { parseIp } from "@smtp/server/dns";
 *
 * console.assert(parseIp("192.0.2.1")?.length === 4);
 * console.assert(parseIp("2001:db8::1")?.length === 16);
 * console.assert(parseIp("127.1") === undefined);
 * ```
 */
export function parseIp(text: string): readonly number[] | undefined {
  if (text.length > MAX_TEXT) return undefined;
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes: number[] = [];
  for (const part of parts) {
    const value = PART.test(part) ? Number(part) : 256;
    if (value > 255) return undefined;
    bytes.push(value);
  }
  return bytes;
}

function parseIpv6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const compressed = halves.length === 2;
  const head = parseGroups(halves[0]!, !compressed);
  const tail = compressed ? parseGroups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  // "::" stands for at least one group; without it no group may be missing.
  if (compressed ? missing < 2 : missing !== 0) return undefined;
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

/** Parses `a:b:c`; if `last`, the final part may be in dotted form. */
function parseGroups(text: string, last: boolean): number[] | undefined {
  const bytes: number[] = [];
  if (text === "") return bytes;
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (GROUP.test(part)) {
      const value = parseInt(part, 16);
      bytes.push(value >> 8, value & 0xff);
      continue;
    }
    if (!last || index !== parts.length - 1) return undefined;
    const dotted = parseIpv4(part);
    if (dotted === undefined) return undefined;
    bytes.push(...dotted);
  }
  return bytes;
}

/**
 * Formats bytes as the canonical text of RFC 5952: lower case, no leading
 * zeros, the first longest run of zero groups shortened, IPv4-mapped addresses
 * in dotted form.
 *
 * @param bytes Four bytes, or sixteen
 * @returns The canonical text
 * @throws {RangeError} If there are neither 4 nor 16 bytes
 *
 * @example The canonical text of bytes
 * ```ts ignore
 * console.assert(formatIp([192, 0, 2, 1]) === "192.0.2.1");
 * ```
 */
export function formatIp(bytes: IpBytes): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) {
    throw new RangeError(
      `Cannot format an IP address of ${bytes.length} bytes: want 4 or 16`,
    );
  }
  if (isMapped(bytes)) return `::ffff:${bytes.slice(12).join(".")}`;
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) {
    groups.push(((bytes[at]! << 8) | bytes[at + 1]!).toString(16));
  }
  const { start, length } = longestZeroRun(groups);
  // A single zero group is written out (RFC 5952 section 4.2.2).
  if (length < 2) return groups.join(":");
  const head = groups.slice(0, start).join(":");
  return `${head}::${groups.slice(start + length).join(":")}`;
}

function longestZeroRun(
  groups: readonly string[],
): { start: number; length: number } {
  let start = 0;
  let length = 0;
  let run = 0;
  for (const [index, group] of groups.entries()) {
    run = group === "0" ? run + 1 : 0;
    if (run > length) [start, length] = [index - run + 1, run];
  }
  return { start, length };
}

/**
 * The canonical text of an address (RFC 5952): two spellings of one address
 * compare equal.
 *
 * @param text The text of an address, without brackets
 * @returns The canonical text, or `undefined` if the text is not an address
 *
 * @example One text for one address
 * ```ts
 * import { canonicalIp } from "@smtp/server/dns";
 *
 * console.assert(canonicalIp("2001:DB8:0:0:0:0:0:1") === "2001:db8::1");
 * ```
 */
export function canonicalIp(text: string): string | undefined {
  const bytes = parseIp(text);
  return bytes && formatIp(bytes);
}

/**
 * Whether an address is a loopback address: 127.0.0.0/8, its IPv4-mapped form,
 * or `::1`.
 *
 * @param address The text of an address; `false` for other text
 *
 * @example Loopback in both families
 * ```ts ignore
 * console.assert(isLoopback("127.0.0.1") && isLoopback("::1"));
 * console.assert(!isLoopback("192.0.2.1"));
 * ```
 */
export function isLoopback(address: string): boolean {
  const bytes = parseUnmapped(address);
  if (bytes === undefined) return false;
  if (bytes.length === 4) return bytes[0] === 127;
  return bytes[15] === 1 && bytes.slice(0, 15).every((byte) => byte === 0);
}

/** Whether an address belongs to no host on the network: a loopback or unspecified one. */
export function isLoopbackOrUnspecified(address: string): boolean {
  if (isLoopback(address)) return true;
  const bytes = parseUnmapped(address);
  return bytes !== undefined &&
    (bytes.length === 4 ? bytes[0] === 0 : bytes.every((byte) => byte === 0));
}

/**
 * The reversed labels of an address, to be followed by a zone: bytes for IPv4,
 * nibbles for IPv6 (RFC 3596 section 2.5, RFC 5782 section 2.4).
 *
 * @param address The text of an address
 * @returns The labels joined by dots, or `undefined` if the text is not an address
 *
 * @example A query to a blocklist
 * ```ts ignore
 * console.assert(reverseLabels("192.0.2.99") === "99.2.0.192");
 * ```
 */
export function reverseLabels(address: string): string | undefined {
  const bytes = parseUnmapped(address);
  if (bytes === undefined) return undefined;
  if (bytes.length === 4) return bytes.toReversed().join(".");
  const nibbles = bytes.flatMap((byte) => [byte >> 4, byte & 15]);
  return nibbles.reverse().map((nibble) => nibble.toString(16)).join(".");
}

/**
 * The name of an address's PTR record, without a final dot.
 *
 * @param address The text of an address
 * @returns The name, or `undefined` if the text is not an address
 *
 * @example The name of the PTR record
 * ```ts ignore
 * console.assert(reverseName("192.0.2.1") === "1.2.0.192.in-addr.arpa");
 * ```
 */
export function reverseName(address: string): string | undefined {
  const labels = reverseLabels(address);
  if (labels === undefined) return undefined;
  return labels.length > 15 ? `${labels}.ip6.arpa` : `${labels}.in-addr.arpa`;
}

/**
 * Formats an address as the address literal that SMTP uses for a domain (RFC
 * 5321 section 4.1.3).
 *
 * @param address The text of an address
 * @returns The literal with its brackets, or `undefined` if the text is not an address
 *
 * @example Both families
 * ```ts ignore
 * console.assert(addressLiteral("192.0.2.1") === "[192.0.2.1]");
 * console.assert(addressLiteral("::1") === "[IPv6:::1]");
 * ```
 */
export function addressLiteral(address: string): string | undefined {
  const text = canonicalIp(address);
  if (text === undefined) return undefined;
  return text.includes(":") ? `[IPv6:${text}]` : `[${text}]`;
}

/**
 * The address inside an SMTP address literal (RFC 5321 section 4.1.3).
 *
 * @param literal `[192.0.2.1]` or `[IPv6:2001:db8::1]`; the tag in any case
 * @returns The canonical text, or `undefined` if it is not a literal of an IP address
 *
 * @example The inverse of {@linkcode addressLiteral}
 * ```ts ignore
 * console.assert(parseAddressLiteral("[IPv6:2001:DB8::1]") === "2001:db8::1");
 * ```
 */
export function parseAddressLiteral(literal: string): string | undefined {
  if (!literal.startsWith("[") || !literal.endsWith("]")) return undefined;
  const inside = literal.slice(1, -1);
  const tagged = inside.slice(0, 5).toLowerCase() === "ipv6:";
  const bytes = parseIp(tagged ? inside.slice(5) : inside);
  // Only IPv6 has the tag.
  return bytes?.length === (tagged ? 16 : 4) ? formatIp(bytes) : undefined;
}

/** The bytes of an address; the four IPv4 bytes of an IPv4-mapped one. */
export function parseUnmapped(text: string): IpBytes | undefined {
  const bytes = parseIp(text);
  return bytes && isMapped(bytes) ? bytes.slice(12) : bytes;
}

/** The address block of one customer, as text: the address itself for IPv4, the /64 for IPv6. */
export function customerOf(address: string): string {
  const bytes = parseUnmapped(address);
  return bytes === undefined ? address : bytes.slice(0, 8).join(".");
}

/** Whether the bytes are an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2). */
function isMapped(bytes: IpBytes): boolean {
  return bytes.length === 16 && bytes[10] === 0xff && bytes[11] === 0xff &&
    bytes.slice(0, 10).every((byte) => byte === 0);
}
