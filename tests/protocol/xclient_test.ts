/** The argument of XCLIENT. */

import { assertEquals, assertInstanceOf } from "@std/assert";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import {
  parseXclient,
  type XclientAttributes,
} from "../../lib/protocol/xclient.ts";
import { randomText, seeded } from "../support/random.ts";

const GOOD: [argument: string, want: XclientAttributes][] = [
  ["ADDR=192.0.2.1", { addr: "192.0.2.1" }],
  [
    "NAME=spike.porcupine.example ADDR=168.100.189.2",
    { name: "spike.porcupine.example", addr: "168.100.189.2" },
  ],
  ["addr=ipv6:2001:DB8:0::1", { addr: "2001:db8::1" }],
  ["ADDR=IPV6:::ffff:192.0.2.1", { addr: "192.0.2.1" }],
  ["Addr=[unavailable]", { addr: "[UNAVAILABLE]" }],
  ["NAME=[TempUnavail]", { name: "[TEMPUNAVAIL]" }],
  ["NAME=[UNAVAILABLE]  PORT=[UNAVAILABLE]", {
    name: "[UNAVAILABLE]",
    port: "[UNAVAILABLE]",
  }],
  ["NAME=" + "a.".repeat(127) + "a", { name: "a.".repeat(127) + "a" }],
  ["PORT=0 DESTPORT=65535", { port: 0, destport: 65535 }],
  ["PROTO=esmtp", { proto: "ESMTP" }],
  ["PROTO=SMTP", { proto: "SMTP" }],
  ["HELO=[192.0.2.1]", { helo: "[192.0.2.1]" }],
  ["HELO=a+2Db", { helo: "a-b" }],
  ["HELO=m+C3+BCnchen.example", { helo: "münchen.example" }],
  ["HELO=[UNAVAILABLE]", { helo: "[UNAVAILABLE]" }],
  ["LOGIN=ann+2Bx+3D+20y", { login: "ann+x= y" }],
  ["LOGIN=+5BUNAVAILABLE+5D", { login: "[UNAVAILABLE]" }],
  ["DESTADDR=IPV6:::1 DESTPORT=25", { destaddr: "::1", destport: 25 }],
];

for (const [argument, want] of GOOD) {
  Deno.test(`parseXclient() reads "${argument.slice(0, 60)}"`, () => {
    assertEquals(parseXclient(argument), want);
  });
}

const BAD: [argument: string, want: string][] = [
  ["", "Syntax: XCLIENT attribute=value..."],
  ["ADDR", "Syntax: XCLIENT attribute=value..."],
  ["ADDR=", "Syntax: XCLIENT attribute=value..."],
  ["=x", "Syntax: XCLIENT attribute=value..."],
  ["ADDR=192.0.2.1 x", "Syntax: XCLIENT attribute=value..."],
  ["FOO=bar", "Bad XCLIENT attribute name: FOO"],
  ["constructor=x", "Bad XCLIENT attribute name: constructor"],
  ["ADDR=192.0.2.1 addr=192.0.2.2", "ADDR given twice"],
  ["ADDR=[192.0.2.1]", "Bad ADDR syntax"],
  ["ADDR=2001:db8::1", "Bad ADDR syntax"],
  ["ADDR=IPV6:192.0.2.1", "Bad ADDR syntax"],
  ["ADDR=IPV6:fe80::1%eth0", "Bad ADDR syntax"],
  ["ADDR=192.0.2.01", "Bad ADDR syntax"],
  ["ADDR=[TEMPUNAVAIL]", "Bad ADDR syntax"],
  ["ADDR=192.0.2.1+", "Bad ADDR syntax"],
  ["NAME=a..b", "Bad NAME syntax"],
  ["NAME=[192.0.2.1]", "Bad NAME syntax"],
  ["NAME=a+20b", "Bad NAME syntax"],
  ["NAME=" + "a".repeat(64), "Bad NAME syntax"],
  ["NAME=" + "a.".repeat(128), "Bad NAME syntax"],
  ["PORT=65536", "Bad PORT syntax"],
  ["PORT=1e3", "Bad PORT syntax"],
  ["PORT=-1", "Bad PORT syntax"],
  ["PROTO=LMTP", "Bad PROTO syntax"],
  ["HELO=a+20b", "Bad HELO syntax"],
  ["HELO=a+0D+0Ab", "Bad HELO syntax"],
  ["HELO=" + "a".repeat(256), "Bad HELO syntax"],
  ["LOGIN=a+0Ab", "Bad LOGIN syntax"],
  ["LOGIN=a+00", "Bad LOGIN syntax"],
  ["LOGIN=a+FF", "Bad LOGIN syntax"],
  ["LOGIN=a+2b", "Bad LOGIN syntax"],
  ["DESTADDR=x", "Bad DESTADDR syntax"],
  ["DESTPORT=x", "Bad DESTPORT syntax"],
];

for (const [argument, want] of BAD) {
  Deno.test(`parseXclient() refuses "${argument.slice(0, 60)}"`, () => {
    const reply = parseXclient(argument);
    assertInstanceOf(reply, SmtpReply);
    assertEquals(reply.toString(), `501 5.5.4 ${want}`);
  });
}

Deno.test("parseXclient() gives attributes or 501 for random text", () => {
  const random = seeded(7);
  const pieces = [
    ...["ADDR=", "NAME=", "LOGIN=", "PORT=", " ", "+2B", "+", "=", "é"],
    ...["192.0.2.1", "IPV6:", "::1", "[UNAVAILABLE]", "a", ".", "65535"],
  ];
  for (let round = 0; round < 5000; round++) {
    const result = parseXclient(randomText(random, { pieces, length: 8 }));
    if (result instanceof SmtpReply) assertEquals(result.code, 501);
    else assertEquals(Object.keys(result).length > 0, true);
  }
});
