/**
 * IP addresses: text forms, address literals and reverse names (RFC 5952, RFC
 * 5321 section 4.1.3).
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  addressLiteral,
  canonicalIp,
  formatIp,
  isLoopback,
  parseAddressLiteral,
  parseIp,
  reverseLabels,
  reverseName,
} from "../../lib/protocol/ip.ts";
import { seeded } from "../support/random.ts";

const CANONICAL: [input: string, want: string | undefined][] = [
  ["0.0.0.0", "0.0.0.0"],
  ["255.255.255.255", "255.255.255.255"],
  ["192.0.2.1", "192.0.2.1"],
  ["192.0.2.256", undefined],
  ["192.0.2.01", undefined],
  ["192.0.2.1 ", undefined],
  ["192.0.2", undefined],
  ["192.0.2.1.", undefined],
  ["192.0.2.1.1", undefined],
  ["192.0.2.0x1", undefined],
  ["192.0..1", undefined],
  ["127.1", undefined],
  ["2130706433", undefined],
  ["+1.2.3.4", undefined],
  ["١.2.3.4", undefined],
  ["", undefined],
  ["::", "::"],
  ["::1", "::1"],
  ["1::", "1::"],
  ["2001:DB8::1", "2001:db8::1"],
  ["2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"],
  ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
  ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
  ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
  ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
  ["::FFFF:c000:201", "::ffff:192.0.2.1"],
  ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ["1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:c000:201"],
  ["0000:0000:0000:0000:0000:ffff:255.255.255.255", "::ffff:255.255.255.255"],
  ["1:2:3:4:5:6:7:192.0.2.1", undefined],
  ["192.0.2.1::", undefined],
  ["192.0.2.1:1::", undefined],
  ["::192.0.2.01", undefined],
  ["1:2:3:4:5:6:7:8:9", undefined],
  ["1:2:3:4:5:6:7:8::", undefined],
  ["1:2:3:4::5:6:7:8", undefined],
  ["1:2:3:4:5:6:7", undefined],
  ["1:2:3:4:5:6:7:", undefined],
  [":1:2:3:4:5:6:7", undefined],
  ["::1::", undefined],
  [":::", undefined],
  [":", undefined],
  ["1:::2", undefined],
  ["::12345", undefined],
  ["::g", undefined],
  ["::-1", undefined],
  ["fe80::1%eth0", undefined],
  ["[::1]", undefined],
  ["::1/128", undefined],
  ["::1\n", undefined],
];

Deno.test("canonicalIp() takes what is an address and nothing else", () => {
  for (const [input, want] of CANONICAL) {
    assertEquals(canonicalIp(input), want, input);
  }
});

Deno.test("formatIp() refuses what has neither 4 nor 16 bytes", () => {
  assertThrows(() => formatIp([1, 2, 3]), RangeError, "3 bytes");
});

Deno.test("reverseName() and reverseLabels() follow RFC 1035 and RFC 3596", () => {
  const rows: [input: string, want: string | undefined][] = [
    ["192.0.2.10", "10.2.0.192.in-addr.arpa"],
    ["1.1.1.1", "1.1.1.1.in-addr.arpa"],
    ["255.255.255.255", "255.255.255.255.in-addr.arpa"],
    ["::ffff:192.0.2.10", "10.2.0.192.in-addr.arpa"],
    [
      "4321:0:1:2:3:4:567:89ab",
      "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa",
    ],
    ["example.com", undefined],
  ];
  for (const [input, want] of rows) {
    assertEquals(reverseName(input), want, input);
    const labels = want?.replace(/\.(in-addr|ip6)\.arpa$/, "");
    assertEquals(reverseLabels(input), labels, input);
  }
});

Deno.test("isLoopback() knows both families and IPv4-mapped addresses", () => {
  const own = ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"];
  const others = [
    "128.0.0.1",
    "126.255.255.255",
    "::",
    "::2",
    "1::1",
    "::127.0.0.1",
    "localhost",
  ];
  for (const address of own) assert(isLoopback(address), address);
  for (const address of others) assert(!isLoopback(address), address);
});

Deno.test("addressLiteral() and parseAddressLiteral() are each other's inverse", () => {
  const rows: [address: string, literal: string][] = [
    ["192.0.2.1", "[192.0.2.1]"],
    ["::1", "[IPv6:::1]"],
    ["2001:db8::1", "[IPv6:2001:db8::1]"],
    ["::ffff:192.0.2.1", "[IPv6:::ffff:192.0.2.1]"],
  ];
  for (const [address, literal] of rows) {
    assertEquals(addressLiteral(address), literal);
    assertEquals(parseAddressLiteral(literal), address);
  }
  assertEquals(parseAddressLiteral("[ipv6:2001:DB8::1]"), "2001:db8::1");
  assertEquals(addressLiteral("example.com"), undefined);
  const bad = [
    "192.0.2.1",
    "[::1]",
    "[IPv6:192.0.2.1]",
    "[192.0.2.1",
    "192.0.2.1]",
    "[]",
    "[",
    "[IPv6:]",
    "[x400:1]",
  ];
  for (const literal of bad) {
    assertEquals(parseAddressLiteral(literal), undefined, literal);
  }
});

Deno.test("parseIp() never throws and formatIp() gives back what it reads", () => {
  const random = seeded(20);
  const alphabet = "0123456789abcdefF:::::....% [";
  for (let round = 0; round < 10_000; round++) {
    let text = "";
    for (let at = random(24); at >= 0; at--) {
      text += alphabet[random(alphabet.length)];
    }
    const bytes = parseIp(text);
    if (bytes !== undefined) assertEquals(parseIp(formatIp(bytes)), bytes);
  }
});
