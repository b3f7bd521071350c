/**
 * Domain names for DNS: labels, lengths and reverse names (RFC 1035 section
 * 2.3.4, RFC 3596 section 2.5).
 */

import { assertEquals } from "@std/assert";
import { normalizeName, pointerName } from "../../lib/dns/name.ts";
import { seeded } from "../support/random.ts";

const L63 = "a".repeat(63);

Deno.test("normalizeName() lets names through and nothing else", () => {
  const rows: [input: string, want: string | undefined][] = [
    ["example.com", "example.com"],
    ["Example.COM.", "example.com"],
    ["com", "com"],
    ["localhost", "localhost"],
    ["_dmarc.example.com", "_dmarc.example.com"],
    ["_25._tcp.mx.example.com", "_25._tcp.mx.example.com"],
    ["1.2.0.192.in-addr.arpa", "1.2.0.192.in-addr.arpa"],
    ["a--b.example", "a--b.example"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["BÜCHER.example", "xn--bcher-kva.example"],
    ["faß.de", "xn--fa-hia.de"],
    ["例え.テスト", "xn--r8jz45g.xn--zckzah"],
    ["a。example", "a.example"],
    ["", undefined],
    [".", undefined],
    ["..", undefined],
    ["a..example", undefined],
    [".example", undefined],
    ["example..", undefined],
    ["-a.example", undefined],
    ["a-.example", undefined],
    ["a b.example", undefined],
    ["a\tb.example", undefined],
    ["a\r\nb.example", undefined],
    ["a\0.example", undefined],
    ["a\\.example", undefined],
    ["a@b.example", undefined],
    ["a/b.example", undefined],
    ["a%2eb.example", undefined],
    ["ü b.example", undefined],
    ["ü/b.example", undefined],
    ["ü\nb.example", undefined],
    ["ü:25", undefined],
    ["[192.0.2.1]", undefined],
    ["192.0.2.1", undefined],
    ["2001:db8::1", undefined],
    ["１９２.0.2.1", undefined],
    ["\ud800.example", undefined],
    [`${L63}.example`, `${L63}.example`],
    [`a${L63}.example`, undefined],
    [`ü${L63}.example`, undefined],
    [
      `${L63}.${L63}.${L63}.${"a".repeat(61)}`,
      `${L63}.${L63}.${L63}.${"a".repeat(61)}`,
    ],
    [
      `${L63}.${L63}.${L63}.${"a".repeat(61)}.`,
      `${L63}.${L63}.${L63}.${"a".repeat(61)}`,
    ],
    [`${L63}.${L63}.${L63}.${"a".repeat(62)}`, undefined],
    ["a.".repeat(100_000), undefined],
  ];
  for (const [input, want] of rows) {
    assertEquals(
      normalizeName(input),
      want,
      JSON.stringify(input.slice(0, 80)),
    );
  }
});

Deno.test("normalizeName() never throws, and leaves its own results alone", () => {
  const random = seeded(5890);
  for (let round = 0; round < 10_000; round++) {
    let text = "";
    for (let at = random(20); at >= 0; at--) {
      const range = [0x80, 0x80, 0x250, 0x10000][random(4)]!;
      text += random(3)
        ? "ab-.1"[random(5)]
        : String.fromCharCode(random(range));
    }
    const name = normalizeName(text);
    if (name === undefined) continue;
    assertEquals(/^[a-z0-9_.-]{1,253}$/.test(name), true, name);
    assertEquals(normalizeName(name), name);
  }
});

Deno.test("pointerName() reverses addresses and takes names of the reverse zones", () => {
  const rows: [input: string, want: string | undefined][] = [
    ["192.0.2.1", "1.2.0.192.in-addr.arpa"],
    ["::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa"],
    ["::1", `1.${"0.".repeat(31)}ip6.arpa`],
    ["1.2.0.192.IN-ADDR.ARPA.", "1.2.0.192.in-addr.arpa"],
    ["1.ip6.arpa", "1.ip6.arpa"],
    ["in-addr.arpa", undefined],
    ["1.notin-addr.arpa", undefined],
    ["example.com", undefined],
    ["", undefined],
  ];
  for (const [input, want] of rows) {
    assertEquals(pointerName(input), want, input);
  }
});
