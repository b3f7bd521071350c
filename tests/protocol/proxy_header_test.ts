/** PROXY protocol headers: each whole, byte by byte and in pieces. */

import { assertEquals } from "@std/assert";
import {
  crc32c,
  type ProxyHeader,
  ProxyHeaderReader,
} from "../../lib/protocol/proxy_header.ts";
import { proxyBlock, tlv, withChecksum } from "../support/proxy.ts";
import { seeded, waysToCut } from "../support/random.ts";
import { bytesOf, concat, utf8 } from "../support/bytes.ts";

const TAIL = bytesOf("EHLO client.test\r\n");

const V1 = { version: 1, command: "PROXY", tlvs: [] } as const;
const V2 = {
  version: 2,
  command: "PROXY",
  authority: undefined,
  tls: undefined,
  tlvs: [],
} as const;
const UNSPEC_1: ProxyHeader = { ...V1, family: "unspec" };
const UNSPEC_2: ProxyHeader = { ...V2, family: "unspec" };
const LOCAL: ProxyHeader = {
  version: 2,
  command: "LOCAL",
  family: "unspec",
  tlvs: [],
};

/** 192.0.2.1:40000 to 198.51.100.2:25. */
const INET = bytesOf("\xc0\0\x02\x01\xc6\x33\x64\x02\x9c\x40\0\x19");
const INET_ENDS = {
  family: "inet",
  source: { address: "192.0.2.1", port: 40000 },
  destination: { address: "198.51.100.2", port: 25 },
} as const;
/** [2001:db8::1]:65535 to [::ffff:192.0.2.2]:0. */
const INET6 = concat([
  bytesOf("\x20\x01\x0d\xb8" + "\0".repeat(11) + "\x01"),
  bytesOf("\0".repeat(10) + "\xff\xff\xc0\0\x02\x02"),
  bytesOf("\xff\xff\0\0"),
]);
const PATHS = bytesOf(
  "/run/client.sock".padEnd(108, "\0") + "\0hidden".padEnd(108, "\0"),
);

const GOOD: [name: string, header: Uint8Array, want: ProxyHeader][] = [
  [
    "IPv4 as text",
    bytesOf("PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n"),
    { ...V1, ...INET_ENDS },
  ],
  [
    "the longest addresses as text",
    bytesOf(
      `PROXY TCP6 ${"ffff:".repeat(8).slice(0, -1)} ${
        "FFFF:".repeat(8).slice(0, -1)
      } 65535 65535\r\n`,
    ),
    {
      ...V1,
      family: "inet6",
      source: { address: "ffff:".repeat(8).slice(0, -1), port: 65535 },
      destination: { address: "ffff:".repeat(8).slice(0, -1), port: 65535 },
    },
  ],
  [
    "IPv4 mapped into IPv6 as text",
    bytesOf("PROXY TCP6 ::ffff:192.0.2.1 2001:DB8:0:0::2 0 1\r\n"),
    {
      ...V1,
      family: "inet6",
      source: { address: "192.0.2.1", port: 0 },
      destination: { address: "2001:db8::2", port: 1 },
    },
  ],
  ["unknown, short", bytesOf("PROXY UNKNOWN\r\n"), UNSPEC_1],
  [
    "unknown, with what nobody looks at",
    bytesOf("PROXY UNKNOWN ".padEnd(105, "\xff") + "\r\n"),
    UNSPEC_1,
  ],
  ["IPv4", proxyBlock({ bytes: INET }), { ...V2, ...INET_ENDS }],
  [
    "IPv6",
    proxyBlock({ protocol: 0x21, bytes: INET6 }),
    {
      ...V2,
      family: "inet6",
      source: { address: "2001:db8::1", port: 65535 },
      destination: { address: "192.0.2.2", port: 0 },
    },
  ],
  [
    "UNIX sockets",
    proxyBlock({ protocol: 0x31, bytes: PATHS }),
    {
      ...V2,
      family: "unix",
      source: { address: "/run/client.sock", port: 0 },
      destination: { address: "@hidden", port: 0 },
    },
  ],
  [
    "datagrams, which tell no client",
    proxyBlock({ protocol: 0x12, bytes: INET }),
    { ...V2, family: "inet" },
  ],
  ["nothing told", proxyBlock({ protocol: 0 }), UNSPEC_2],
  [
    "addresses of an unknown kind",
    proxyBlock({ protocol: 0x01, bytes: bytesOf("\x01\xff\xff\x01") }),
    UNSPEC_2,
  ],
  [
    "vectors without addresses",
    proxyBlock({ protocol: 0, bytes: tlv(0x05, "id 1") }),
    { ...UNSPEC_2, tlvs: [{ type: 0x05, value: bytesOf("id 1") }] },
  ],
  ["a connection of the proxy's own", proxyBlock({ command: 0x20 }), LOCAL],
  [
    "a connection of the proxy's own, with what is not to be used",
    proxyBlock({ command: 0x20, protocol: 0x11, bytes: bytesOf("\x03\xff") }),
    LOCAL,
  ],
  [
    "vectors, padding left out",
    proxyBlock({
      bytes: concat([INET, tlv(0x04, "\0\0"), tlv(0xe0, ""), tlv(0xe0, "x")]),
    }),
    {
      ...V2,
      ...INET_ENDS,
      tlvs: [
        { type: 0xe0, value: bytesOf("") },
        { type: 0xe0, value: bytesOf("x") },
      ],
    },
  ],
  [
    "a vector as long as there is room for",
    proxyBlock({ bytes: concat([INET, tlv(0xe1, "x".repeat(65520))]) }),
    {
      ...V2,
      ...INET_ENDS,
      tlvs: [{ type: 0xe1, value: bytesOf("x".repeat(65520)) }],
    },
  ],
];

for (const [name, header, want] of GOOD) {
  Deno.test(`ProxyHeaderReader reads ${name}`, () => {
    for (const [way, cut] of waysToCut(concat([header, TAIL]))) {
      const reader = new ProxyHeaderReader();
      let seen = 0;
      for (const piece of cut) {
        const status = reader.read(piece);
        seen += reader.position;
        assertEquals(status === "header", seen === header.length, way);
        if (status === "header") break;
        assertEquals(status, "more", way);
      }
      assertEquals(seen, header.length, way);
      assertEquals(reader.header, want, way);
    }
  });
}

Deno.test("ProxyHeaderReader tells the name and the TLS that the proxy saw", () => {
  const verified = concat([
    bytesOf("\x07\0\0\0\0"),
    tlv(0x21, "TLSv1.3"),
    tlv(0x22, "Jos\xc3\xa9"),
    tlv(0x23, "TLS_AES_256_GCM_SHA384"),
  ]);
  const reader = new ProxyHeaderReader();
  reader.read(proxyBlock({
    bytes: concat([INET, tlv(0x02, "mx.example"), tlv(0x20, verified)]),
  }));
  const { authority, tls, tlvs } = reader.header!;
  assertEquals(authority, "mx.example");
  assertEquals(tls, {
    protocol: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
    commonName: "José",
    verified: true,
  });
  assertEquals(tlvs.map(({ type }) => type), [0x02, 0x20]);
});

const TLS: [name: string, value: string, want: unknown][] = [
  ["a certificate that is not trusted", "\x03\0\0\0\x12", false],
  ["no certificate", "\x01\0\0\0\0", false],
  ["a certificate of an earlier connection", "\x05\0\0\0\0", true],
  ["vectors that are cut off", "\x01\0\0\0\0\x21\0", false],
  ["no TLS", "\x06\0\0\0\0", undefined],
  ["too few bytes", "\x01\0\0\0", undefined],
];

for (const [name, value, want] of TLS) {
  Deno.test(`ProxyHeaderReader believes the proxy about ${name}`, () => {
    const reader = new ProxyHeaderReader();
    reader.read(proxyBlock({ bytes: concat([INET, tlv(0x20, value)]) }));
    assertEquals(reader.header?.tls?.verified, want);
  });
}

Deno.test("ProxyHeaderReader leaves out what is no text", () => {
  const reader = new ProxyHeaderReader();
  reader.read(proxyBlock({ bytes: concat([INET, tlv(0x02, "\xff")]) }));
  assertEquals(reader.header?.authority, undefined);
  assertEquals(reader.header?.tlvs, [{ type: 2, value: bytesOf("\xff") }]);
});

Deno.test("ProxyHeaderReader checks the checksum", () => {
  const header = withChecksum(
    proxyBlock({
      bytes: concat([INET, tlv(0x05, "id"), tlv(0x03, "\0\0\0\0")]),
    }),
  );
  assertEquals(new ProxyHeaderReader().read(header), "header");
  for (const at of [16, 27, header.length - 1]) {
    const wrong = header.slice();
    wrong[at]! ^= 1;
    assertEquals(new ProxyHeaderReader().read(wrong), "malformed");
  }
});

Deno.test("crc32c() gives the sums that RFC 3720 tells", () => {
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(255)), 0x62a8ab43);
  assertEquals(
    crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)),
    0x46dd794e,
  );
});

const V2_START = "\r\n\r\n\0\r\nQUIT\n";
const BAD: [name: string, bytes: string][] = [
  ["a command", "E"],
  ["an HTTP request", "G"],
  ["a TLS handshake", "\x16"],
  ["another word", "PROXI"],
  ["lower case", "p"],
  ["a word too long", "PROXYS"],
  ["an unknown family", "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n"],
  ["a family in lower case", "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n"],
  ["an address of another family", "PROXY TCP4 ::1 ::2 1 2\r\n"],
  ["two families", "PROXY TCP6 ::1 192.0.2.1 1 2\r\n"],
  ["a leading zero in an address", "PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n"],
  ["a number too large", "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n"],
  ["a leading zero in a port", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"],
  ["a port too large", "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"],
  ["a negative port", "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n"],
  ["a missing port", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"],
  ["two spaces", "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"],
  ["a space at the end", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"],
  ["a zone", "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n"],
  ["a bare line feed", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"],
  ["a bare carriage return", "PROXY UNKNOWN \rx\r\n"],
  ["two carriage returns", "PROXY UNKNOWN\r\r\n"],
  ["a word behind unknown", "PROXY UNKNOWNS\r\n"],
  ["no end in 107 bytes", "PROXY UNKNOWN".padEnd(107, " ")],
  ["an end too late", `${"PROXY UNKNOWN".padEnd(106, " ")}\r`],
  ["a damaged signature", "\r\n\r\n\0\r\nQUIX"],
  ["version 1 in a block", `${V2_START}\x11\x11\0\x0c`],
  ["version 3", `${V2_START}\x31\x11\0\x0c`],
  ["an unknown command", `${V2_START}\x22\x11\0\x0c`],
  ["an unknown kind of address", `${V2_START}\x21\x41\0\x0c`],
  ["an unknown transport", `${V2_START}\x21\x13\0\x0c`],
  ["an unknown command without addresses", `${V2_START}\x22\0\0\0`],
  ["addresses cut off", `${V2_START}\x21\x11\0\x0b${"x".repeat(11)}`],
  ["no addresses", `${V2_START}\x21\x11\0\0`],
  ["IPv4 addresses for IPv6", `${V2_START}\x21\x21\0\x0c${"x".repeat(12)}`],
  ["a vector's head cut off", `${V2_START}\x21\x11\0\x0e${"x".repeat(14)}`],
  ["a vector cut off", `${V2_START}\x21\x11\0\x0f${"x".repeat(12)}\xe0\0\x01`],
  [
    "a checksum of another size",
    `${V2_START}\x21\x11\0\x10${"x".repeat(12)}\x03\0\x01\0`,
  ],
];

for (const [name, text] of BAD) {
  Deno.test(`ProxyHeaderReader refuses ${name} at its last byte`, () => {
    for (const [way, cut] of waysToCut(bytesOf(text))) {
      const reader = new ProxyHeaderReader();
      const statuses = cut.map((piece) => reader.read(piece));
      assertEquals(statuses.pop(), "malformed", way);
      assertEquals(statuses.every((status) => status === "more"), true, way);
      assertEquals(reader.header, undefined, way);
    }
  });
}

Deno.test("ProxyHeaderReader survives random bytes", () => {
  const random = seeded(25);
  const starts = [...GOOD.map(([, header]) => header), utf8("PROXY TCP4 ")];
  for (let round = 0; round < 2000; round++) {
    const start = starts[random(starts.length)]!.slice(0, 300);
    const header = concat([start, bytesOf("\r\n")]);
    for (let faults = 1 + random(3); faults > 0; faults--) {
      header[random(header.length)] = random(256);
    }
    const whole = new ProxyHeaderReader();
    const want = whole.read(header);
    const single = new ProxyHeaderReader();
    let got = "more";
    for (let at = 0; at < header.length && got === "more"; at++) {
      got = single.read(header.subarray(at, at + 1));
    }
    assertEquals(got, want);
    assertEquals(single.header, whole.header);
  }
});
