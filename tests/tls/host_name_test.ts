/** Host names and the names in certificates (RFC 9525 section 6.3). */

import { assertEquals } from "@std/assert";
import {
  addressBytes,
  addressText,
  canonicalHost,
  nameCovers,
} from "../../lib/tls/host_name.ts";

Deno.test("canonicalHost() gives names their one spelling", () => {
  const rows: [string, string | undefined][] = [
    ["Mail.Example", "mail.example"],
    ["mail.example.", "mail.example"],
    ["*.Example.org", "*.example.org"],
    ["localhost", "localhost"],
    ["exämple.test", "xn--exmple-cua.test"],
    ["192.0.2.1", "192.0.2.1"],
    ["[2001:DB8::1]", "2001:db8::1"],
    ["2001:db8:0:0:0:0:0:1", "2001:db8::1"],
    ["::", "::"],
    ["fe80::1%eth0", undefined],
    ["", undefined],
    [".", undefined],
    ["a..b", undefined],
    ["-a.example", undefined],
    ["a b.example", undefined],
    ["mx*.example", undefined],
    ["a.*.example", undefined],
    ["*", undefined],
    ["../../etc/passwd", undefined],
    ["a\0.example", undefined],
    [`${"a".repeat(64)}.example`, undefined],
    [`${"a.".repeat(130)}example`, undefined],
  ];
  for (const [name, want] of rows) assertEquals(canonicalHost(name), want);
});

Deno.test("addressBytes() and addressText() agree", () => {
  const rows = [
    ["192.0.2.255", "c00002ff"],
    ["::", "00000000000000000000000000000000"],
    ["::1", "00000000000000000000000000000001"],
    ["2001:db8::ff:1", "20010db8000000000000000000ff0001"],
    ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ["fe80::", "fe800000000000000000000000000000"],
  ] as const;
  for (const [text, want] of rows) {
    const bytes = addressBytes(text);
    assertEquals(bytes.toHex(), want);
    assertEquals(addressText(bytes), text);
  }
  assertEquals(addressText(new Uint8Array(5)), undefined);
});

Deno.test("nameCovers() follows RFC 9525", () => {
  const rows: [string, string, boolean][] = [
    ["mail.example", "MAIL.example.", true],
    ["mail.example", "www.mail.example", false],
    ["*.example.org", "mx.example.org", true],
    ["*.example.org", "MX.Example.Org", true],
    ["*.example.org", "example.org", false],
    ["*.example.org", "a.b.example.org", false],
    ["*.example.org", ".example.org", false],
    ["*.example.org", "*.example.org", false],
    ["*.org", "example.org", false],
    ["m*.example.org", "mx.example.org", false],
    ["*.exämple.test", "mx.xn--exmple-cua.test", true],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.10", false],
    ["*.0.2.1", "192.0.2.1", false],
    ["2001:db8::1", "[2001:DB8:0::1]", true],
    ["", "", false],
  ];
  for (const [name, host, want] of rows) {
    assertEquals(nameCovers(name, host), want, `"${name}" and "${host}"`);
  }
});
