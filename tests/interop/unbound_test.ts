/**
 * `DnsClient` against unbound, which validates zones that are signed, spoilt
 * after it, and not signed.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4035#section-3.2.3 | RFC 4035 section 3.2.3} (the AD bit),
 * {@link https://www.rfc-editor.org/rfc/rfc7672#section-2.2 | RFC 7672 section 2.2}
 */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import { lookupSecureHost } from "../../lib/dns/secure.ts";
import { startUnbound } from "../support/interop/unbound.ts";

const DIGEST = "0123456789abcdef".repeat(4);
const SPOILT = "1123456789abcdef".repeat(4);
const CERTIFICATE = "0f".repeat(2048);
const TEXTS = ["a", "b", "c", "d", "e", "f"].map((one) => one.repeat(240));
const SECURE = { secure: true } as const;

/** The records of each zone; names in them are relative. */
function records(zone: string): string[] {
  return [
    "@ IN MX 10 mx",
    ...["mx IN A 127.0.0.1", "mx IN AAAA ::1", "four IN A 127.0.0.2"],
    `_25._tcp.mx IN TLSA 3 1 1 ${DIGEST}`,
    `_25._tcp.mx IN TLSA 2 0 1 ${"f".repeat(64)}`,
    `_25._tcp.whole IN TLSA 3 0 0 ${CERTIFICATE}`,
    `alias IN CNAME mx.${zone}.`,
    "away IN CNAME mx.plain.test.",
    `_25._tcp.alias IN CNAME _25._tcp.mx.${zone}.`,
    ...TEXTS.map((text) => `big IN TXT "${text}"`),
    's_1._domainkey IN TXT "v=DKIM1; p=" "AAAA"',
  ];
}

/** The client and the zones of all tests here. */
async function start() {
  const unbound = await startUnbound([
    { name: "dane.test", signed: true, records: records("dane.test") },
    {
      name: "bogus.test",
      signed: true,
      records: records("bogus.test"),
      spoil: [DIGEST, SPOILT],
    },
    { name: "plain.test", signed: false, records: records("plain.test") },
  ]);
  const { nameServer } = unbound;
  return { unbound, dns: new DnsClient({ nameServers: [nameServer] }) };
}

const THREE = { usage: 3, selector: 1, matching: 1, data: DIGEST };

Deno.test("unbound: signed answers are secure, unsigned ones are not", async () => {
  const { unbound, dns } = await start();
  await using _unbound = unbound;
  assertEquals(await dns.mx("dane.test", SECURE), {
    status: "found",
    records: [{ preference: 10, exchange: "mx.dane.test" }],
    secure: true,
    canonicalName: "dane.test",
  });
  const tlsa = await dns.tlsa("_25._tcp.mx.dane.test", SECURE);
  assertEquals(tlsa.status === "found" && tlsa.secure, true);
  assertEquals(
    tlsa.status === "found" && tlsa.records.find(({ usage }) => usage === 3),
    THREE,
  );
  const plain = await dns.tlsa("_25._tcp.mx.plain.test", SECURE);
  assertEquals(plain.status === "found" && plain.secure, false);
  const alias = await dns.tlsa("_25._tcp.alias.dane.test", SECURE);
  assertEquals(
    alias.status === "found" && [alias.secure, alias.canonicalName],
    [true, "_25._tcp.mx.dane.test"],
  );
  // A question that does not ask for it gets the plain outcome.
  assertEquals(await dns.mx("plain.test"), {
    status: "found",
    records: [{ preference: 10, exchange: "mx.plain.test" }],
  });
});

Deno.test("unbound: an absence is secure where it is signed", async () => {
  const { unbound, dns } = await start();
  await using _unbound = unbound;
  const none = { status: "none", secure: true } as const;
  assertEquals(await dns.tlsa("_25._tcp.nowhere.dane.test", SECURE), {
    ...none,
    why: "no-such-name",
  });
  assertEquals(await dns.tlsa("mx.dane.test", SECURE), {
    ...none,
    why: "no-such-record",
  });
  assertEquals(await dns.tlsa("_25._tcp.nowhere.plain.test", SECURE), {
    status: "none",
    why: "no-such-name",
    secure: false,
  });
});

Deno.test("unbound: a spoilt zone fails, and its intact records are secure", async () => {
  const { unbound, dns } = await start();
  await using _unbound = unbound;
  for (const options of [SECURE, {}]) {
    const spoilt = await dns.tlsa("_25._tcp.mx.bogus.test", options);
    assertEquals(spoilt.status === "failed" && spoilt.code, "server-failure");
  }
  const intact = await dns.a("mx.bogus.test", SECURE);
  assertEquals(intact.status === "found" && intact.secure, true);
});

Deno.test("unbound: what does not fit into a datagram comes by TCP", async () => {
  const { unbound, dns } = await start();
  await using _unbound = unbound;
  for (const options of [SECURE, {}]) {
    const texts = await dns.query("TXT", "big.dane.test", options);
    assertEquals(
      texts.status === "found" && [...texts.records].sort(),
      TEXTS,
    );
  }
  const whole = await dns.tlsa("_25._tcp.whole.dane.test", SECURE);
  assertEquals(whole, {
    status: "found",
    records: [{ usage: 3, selector: 0, matching: 0, data: CERTIFICATE }],
    secure: true,
    canonicalName: "_25._tcp.whole.dane.test",
  });
  const key = await dns.txt("s_1._domainkey.dane.test");
  assertEquals(key.status === "found" && key.records, ["v=DKIM1; p=AAAA"]);
});

Deno.test("unbound: lookupSecureHost() follows aliases as far as they are signed", async () => {
  const { unbound, dns } = await start();
  await using _unbound = unbound;
  const rows: [host: string, bases: readonly string[]][] = [
    ["mx.dane.test", ["mx.dane.test"]],
    ["four.dane.test", ["four.dane.test"]],
    ["alias.dane.test", ["mx.dane.test", "alias.dane.test"]],
    ["away.dane.test", ["away.dane.test"]],
    ["mx.plain.test", []],
    ["alias.plain.test", []],
    ["nowhere.dane.test", []],
  ];
  for (const [host, bases] of rows) {
    const found = await lookupSecureHost(dns, host, {});
    assertEquals(found.bases, bases, host);
  }
});
