/**
 * Trace fields: Received, Return-Path and dates (RFC 5321 section 4.4, RFC 5322
 * section 3.3, RFC 3848).
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { KINDS } from "../../lib/protocol/listener_kind.ts";
import {
  countReceived,
  formatDate,
  formatReceived,
  formatReturnPath,
  type ProtocolInit,
  protocolName,
  type ReceivedInit,
} from "../../lib/protocol/trace.ts";
import { randomText, seeded } from "../support/random.ts";

const BASE: ReceivedInit = {
  helo: "client.example",
  remoteAddress: "192.0.2.1",
  hostname: "mx.example.com",
  protocol: "ESMTP",
  id: "m1",
  receivedAt: 0,
};
const EPOCH = "Thu, 01 Jan 1970 00:00:00 +0000";

const RECEIVED: [name: string, init: Partial<ReceivedInit>, want: string][] = [
  [
    "the least",
    {},
    "Received: from client.example ([192.0.2.1])\r\n" +
    `\tby mx.example.com with ESMTP id m1; ${EPOCH}\r\n`,
  ],
  [
    "everything",
    {
      remoteName: "host.client.example",
      protocol: "ESMTPSA",
      tls: { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" },
      recipient: Address.parse("info@example.com"),
      offsetMinutes: 60,
    },
    "Received: from client.example (host.client.example [192.0.2.1])\r\n" +
    "\tby mx.example.com with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384) id m1\r\n" +
    "\tfor <info@example.com>; Thu, 01 Jan 1970 01:00:00 +0100\r\n",
  ],
  [
    "domains of other letters",
    {
      hostname: "mx.bücher.example",
      recipient: Address.parse("u@Bücher.example"),
    },
    "Received: from client.example ([192.0.2.1])\r\n" +
    "\tby mx.xn--bcher-kva.example with ESMTP id m1 for <u@xn--bcher-kva.example>;\r\n" +
    `\t${EPOCH}\r\n`,
  ],
  [
    "IPv6",
    { helo: "[IPv6:2001:db8::1]", remoteAddress: "2001:db8::1" },
    "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n" +
    `\tby mx.example.com with ESMTP id m1; ${EPOCH}\r\n`,
  ],
  [
    "IPv4 on an IPv6 socket, and no HELO",
    { helo: "", remoteAddress: "::ffff:192.0.2.1" },
    "Received: from unknown ([192.0.2.1])\r\n" +
    `\tby mx.example.com with ESMTP id m1; ${EPOCH}\r\n`,
  ],
  [
    "a link-local address",
    { remoteAddress: "fe80::1%eth0" },
    "Received: from client.example ([IPv6:fe80::1])\r\n" +
    `\tby mx.example.com with ESMTP id m1; ${EPOCH}\r\n`,
  ],
  [
    "a HELO that would end the comment and the line",
    { helo: "x (y)\r\nBcc: z;\\é", remoteName: "a)\nb" },
    "Received: from x??y???Bcc:?z??? (a??b [192.0.2.1])\r\n" +
    `\tby mx.example.com with ESMTP id m1; ${EPOCH}\r\n`,
  ],
  [
    "a protocol and a cipher with parentheses",
    { tls: { protocol: "TLSv1.2)", cipher: "a(b)\\" } },
    "Received: from client.example ([192.0.2.1])\r\n" +
    "\tby mx.example.com with ESMTP (TLSv1.2? a?b??) id m1;\r\n" +
    `\t${EPOCH}\r\n`,
  ],
];

for (const [name, init, want] of RECEIVED) {
  Deno.test(`formatReceived() prints ${name}`, () => {
    assertEquals(formatReceived({ ...BASE, ...init }), want);
  });
}

Deno.test("formatReceived() makes one field of whatever the peer says", () => {
  const random = seeded(4);
  const pieces = [...'ab. ()\\;:[]<>"\r\n\0\té', "\r\nX: y", "a".repeat(300)];
  for (let round = 0; round < 2000; round++) {
    const text = () => randomText(random, { pieces, length: 6 });
    const field = formatReceived({
      ...BASE,
      helo: text(),
      remoteName: text(),
      tls: { protocol: text(), cipher: text() },
      id: text(),
    });
    const headers = MessageHeaders.parse(new TextEncoder().encode(field));
    assertEquals(headers.count, 1);
    assertEquals(headers.toString(), field);
    assertEquals(field.split("(").length, field.split(")").length);
    assert(field.split("\r\n").every((line) => line.length <= 998));
  }
});

const PROTOCOLS: [flags: string, want: string][] = [
  ["smtp", "SMTP"],
  ["smtp extended", "ESMTP"],
  ["smtp extended tls", "ESMTPS"],
  ["smtp extended authenticated", "ESMTPA"],
  ["smtp extended tls authenticated", "ESMTPSA"],
  ["smtp tls", "ESMTPS"],
  ["smtp extended utf8", "UTF8SMTP"],
  ["smtp extended tls utf8", "UTF8SMTPS"],
  ["smtp extended tls authenticated utf8", "UTF8SMTPSA"],
  ["lmtp extended", "LMTP"],
  ["lmtp extended tls", "LMTPS"],
  ["lmtp extended tls authenticated", "LMTPSA"],
  ["lmtp extended authenticated utf8", "UTF8LMTPA"],
];

Deno.test("protocolName() names every protocol", () => {
  for (const [flags, want] of PROTOCOLS) {
    const init: ProtocolInit = {
      names: KINDS[flags.startsWith("lmtp") ? "lmtp" : "smtp"].received,
      extended: flags.includes("extended"),
      tls: flags.includes("tls"),
      authenticated: flags.includes("authenticated"),
      utf8: flags.includes("utf8"),
    };
    assertEquals(protocolName(init), want);
  }
});

const DATES: [epochMs: number, offset: number, want: string][] = [
  [0, 0, EPOCH],
  [0, -300, "Wed, 31 Dec 1969 19:00:00 -0500"],
  [999, 330, "Thu, 01 Jan 1970 05:30:00 +0530"],
  [-1, 0, "Wed, 31 Dec 1969 23:59:59 +0000"],
  [951782400000, 0, "Tue, 29 Feb 2000 00:00:00 +0000"],
  [4107542399000, 0, "Sun, 28 Feb 2100 23:59:59 +0000"],
  [4107542400000, 0, "Mon, 01 Mar 2100 00:00:00 +0000"],
  [-2208988800000, 0, "Mon, 01 Jan 1900 00:00:00 +0000"],
  [253402300799999, 0, "Fri, 31 Dec 9999 23:59:59 +0000"],
];

Deno.test("formatDate() prints the date of the zone", () => {
  for (const [epochMs, offset, want] of DATES) {
    assertEquals(formatDate(epochMs, offset), want);
  }
});

Deno.test("formatDate() agrees with Date", () => {
  const random = seeded(5);
  for (let round = 0; round < 2000; round++) {
    const epochMs = random(4e9) * 1000 - 2e12 + random(4e9) * 100;
    const want = new Date(epochMs).toUTCString().replace("GMT", "+0000");
    if (new Date(epochMs).getUTCFullYear() < 1900) continue;
    assertEquals(formatDate(epochMs, 0), want);
  }
});

Deno.test("formatDate() refuses what the syntax has no room for", () => {
  for (
    const [epochMs, offset] of [
      [NaN, 0],
      [Infinity, 0],
      [-2208988800001, 0],
      [-2208988800000, -1],
      [253402300800000, 0],
      [0, 1440],
      [0, 0.5],
    ] as const
  ) assertThrows(() => formatDate(epochMs, offset), RangeError, "Cannot print");
});

Deno.test("formatReturnPath() prints the path", () => {
  assertEquals(formatReturnPath(Address.NULL), "Return-Path: <>\r\n");
  assertEquals(
    formatReturnPath(Address.parse('"a b"@C')),
    'Return-Path: <"a b"@C>\r\n',
  );
});

Deno.test("countReceived() counts in any case", () => {
  const block =
    "Received: a\r\nRECEIVED: b\r\nX-Received: c\r\n\r\nReceived: d\r\n";
  const headers = MessageHeaders.parse(new TextEncoder().encode(block));
  assertEquals(countReceived(headers), 2);
});
