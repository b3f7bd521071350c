/**
 * Addresses of name servers: the forms of an option, and those of the system.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  formatNameServer,
  parseNameServer,
  systemNameServers,
} from "../../lib/dns/name_server.ts";

Deno.test("parseNameServer() takes an address with or without a port", () => {
  const rows: [text: string, want: string][] = [
    ["192.0.2.53", "192.0.2.53:53"],
    ["192.0.2.53:5353", "192.0.2.53:5353"],
    ["2001:DB8::53", "[2001:db8::53]:53"],
    ["[2001:db8::53]", "[2001:db8::53]:53"],
    ["[2001:db8::53]:5353", "[2001:db8::53]:5353"],
    ["[::1]:65535", "[::1]:65535"],
  ];
  for (const [text, want] of rows) {
    const server = parseNameServer(text);
    assertEquals(formatNameServer(server), want);
    assertEquals(parseNameServer(formatNameServer(server)), server);
  }
});

Deno.test("parseNameServer() refuses everything else", () => {
  const rows = [
    "",
    "dns.example",
    "dns.example:53",
    "192.0.2.53:",
    "192.0.2.53:0",
    "192.0.2.53:053",
    "192.0.2.53:65536",
    "192.0.2.53:-1",
    "192.0.2.53:53:53",
    "[192.0.2.53]:53",
    "[::1",
    "::1]",
    "[::1]53",
    "[]:53",
    " 192.0.2.53",
  ];
  for (const text of rows) {
    assertThrows(
      () => parseNameServer(text),
      SyntaxError,
      `Cannot parse name server "${text}": want "IP", "IP:PORT" or "[IPv6]:PORT"`,
    );
  }
});

Deno.test("systemNameServers() knows at least one, and none twice", () => {
  const texts = systemNameServers().map(formatNameServer);
  assert(texts.length > 0);
  assertEquals(new Set(texts).size, texts.length);
});
