/**
 * Address ranges in CIDR notation (RFC 4632 section 3.1, RFC 4291 section 2.3).
 */

import { assertEquals, assertThrows } from "@std/assert";
import { parseCidr } from "../../lib/net/cidr.ts";

Deno.test("Cidr.contains() tells inside from outside", () => {
  const rows: [network: string, address: string, want: boolean][] = [
    ["10.0.0.0/8", "10.0.0.0", true],
    ["10.0.0.0/8", "10.255.255.255", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.0.0.0/8", "9.255.255.255", false],
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["10.0.0.0/8", "::10.1.2.3", false],
    ["10.0.0.0/8", "a00::", false],
    ["10.0.0.0/8", "ten", false],
    ["192.0.2.128/25", "192.0.2.128", true],
    ["192.0.2.128/25", "192.0.2.127", false],
    ["192.0.2.4/31", "192.0.2.5", true],
    ["192.0.2.4/31", "192.0.2.6", false],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["0.0.0.0/0", "::1", false],
    ["::/0", "2001:db8::1", true],
    ["::/0", "10.0.0.1", false],
    ["2001:db8::/32", "2001:DB8:ffff::1", true],
    ["2001:db8::/32", "2001:db9::", false],
    ["2001:db8:8000::/33", "2001:db8:8000::1", true],
    ["2001:db8:8000::/33", "2001:db8:7fff::1", false],
    ["::1", "::1", true],
    ["::1/128", "0:0:0:0:0:0:0:1", true],
    ["::ffff:10.0.0.0/104", "10.200.0.1", true],
    ["::ffff:10.0.0.0/104", "::ffff:11.0.0.1", false],
    ["::ffff:0:0/96", "203.0.113.9", true],
  ];
  for (const [network, address, want] of rows) {
    const label = `${network} contains ${address}`;
    assertEquals(parseCidr(network).contains(address), want, label);
  }
});

Deno.test("parseCidr() gives the network back as text", () => {
  const rows: [text: string, want: string][] = [
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["192.0.2.1", "192.0.2.1/32"],
    ["2001:DB8:0::/32", "2001:db8::/32"],
    ["::1", "::1/128"],
    ["::ffff:10.0.0.0/104", "10.0.0.0/8"],
  ];
  for (const [text, want] of rows) assertEquals(String(parseCidr(text)), want);
});

Deno.test("parseCidr() refuses what is no network and says what it wanted", () => {
  const rows: [text: string, want: string][] = [
    ["", 'Cannot parse network "": want one like "10.0.0.0/8"'],
    ["ten/8", 'want one like "10.0.0.0/8"'],
    ["10.0.0/8", 'want one like "10.0.0.0/8"'],
    ["10.0.0.0/", "want a prefix length of 0 to 32"],
    ["10.0.0.0/33", "want a prefix length of 0 to 32"],
    ["10.0.0.0/08", "want a prefix length of 0 to 32"],
    ["10.0.0.0/-1", "want a prefix length of 0 to 32"],
    ["10.0.0.0/8/8", "want a prefix length of 0 to 32"],
    ["10.0.0.0/255.0.0.0", "want a prefix length of 0 to 32"],
    ["::/129", "want a prefix length of 0 to 128"],
    ["10.0.0.1/8", 'want "10.0.0.0/8"'],
    ["2001:db8::1/64", 'want "2001:db8::/64"'],
  ];
  for (const [text, want] of rows) {
    assertThrows(() => parseCidr(text), SyntaxError, want);
  }
});
