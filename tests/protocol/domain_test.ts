/**
 * The canonical form of domains (RFC 5890 section 2.3.2.1, RFC 5321 section
 * 2.4).
 */

import { assertEquals } from "@std/assert";
import { asciiDomain } from "../../lib/protocol/domain.ts";

/** A spelling and its canonical form. */
const SPELLINGS: [text: string, want: string][] = [
  ["", ""],
  ["example.com", "example.com"],
  ["Example.COM", "example.com"],
  ["example.com.", "example.com"],
  ["bücher.example", "xn--bcher-kva.example"],
  ["BÜCHER.Example", "xn--bcher-kva.example"],
  ["bu\u0308cher.example", "xn--bcher-kva.example"],
  ["bücher.example.", "xn--bcher-kva.example"],
  ["XN--Bcher-KVA.EXAMPLE", "xn--bcher-kva.example"],
  ["a_b.bücher.example", "a_b.xn--bcher-kva.example"],
  ["faß.example", "xn--fa-hia.example"],
  ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
  ["[192.0.2.1]", "[192.0.2.1]"],
  ["[IPv6:2001:DB8:0:0::1]", "[ipv6:2001:db8::1]"],
  ["[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]"],
  ["[X-Tag:Content]", "[x-tag:content]"],
  // Not domains: never equal to another domain, never an exception.
  ["bü/x", "bü/x"],
  ["bü@example.com", "bü@example.com"],
  ["Bü:25", "bü:25"],
  ["１９２.0.2.1", "１９２.0.2.1"],
  ["\uff4eear.test", "\uff4eear.test"],
  ["near.te\u017ft", "near.te\u017ft"],
  ["\u212aim.test", "\u212aim.test"],
  ["near\ufe0f.test", "near\ufe0f.test"],
  ["b\u00fccher\ufe0f.test", "b\u00fccher\ufe0f.test"],
  ["\uff42\u00fccher.test", "\uff42\u00fccher.test"],
  ["\u200d.X", "\u200d.x"],
];

for (const [text, want] of SPELLINGS) {
  Deno.test(`domains are compared in one spelling: ${JSON.stringify(text)}`, () => {
    assertEquals(asciiDomain(text), want);
    assertEquals(asciiDomain(want), want);
  });
}
