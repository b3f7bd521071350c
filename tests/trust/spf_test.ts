/**
 * SPF beyond its suite: faults that other implementations had, the limits, and what
 * happens when the DNS is slow or says nothing.
 */

import { assert, assertEquals } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import { checkSpf, checkSpfHelo } from "../../lib/trust/spf.ts";
import { formatReceivedSpf } from "../../lib/trust/received_spf.ts";

/** Records by question, as `"TXT a.test"`; what is missing has no such name. */
type Zone = Readonly<Record<string, readonly unknown[] | "failed">>;

/** A DNS of a zone, and what it was asked. */
function zoneOf(zone: Zone): { dns: DnsQuerier; asked: string[] } {
  const asked: string[] = [];
  const answer = (question: string) => {
    asked.push(question);
    const found = zone[question];
    if (found === "failed") {
      return { status: "failed", code: "timeout", reason: "No answer" };
    }
    return found === undefined
      ? { status: "none", why: "no-such-name" }
      : { status: "found", records: found };
  };
  const dns: DnsQuerier = {
    query: (type, name) => Promise.resolve(answer(`${type} ${name}`) as never),
  };
  return { dns, asked };
}

const FACTS = {
  ip: "192.0.2.1",
  helo: "client.test",
  from: "ann@a.test",
  receiver: "mx.test",
};

async function check(zone: Zone, facts: Partial<typeof FACTS> = {}) {
  const { dns, asked } = zoneOf(zone);
  const found = await checkSpf({ ...FACTS, ...facts }, { dns });
  return { ...found, asked };
}

Deno.test("Lesson: %{d} is the domain that is evaluated, not that of the sender", async () => {
  const { result } = await check({
    "TXT a.test": ["v=spf1 include:b.test -all"],
    "TXT b.test": ["v=spf1 exists:%{d}.ok.test -all"],
    "A b.test.ok.test": ["127.0.0.2"],
  });
  assertEquals(result, "pass");
});

Deno.test("Lesson: void answers are counted once, across include and redirect", async () => {
  const zone = {
    "TXT a.test": ["v=spf1 a:v1.test include:b.test redirect=c.test"],
    "TXT b.test": ["v=spf1 a:v2.test -all"],
    "TXT c.test": ["v=spf1 ip4:192.0.2.1 -all"],
  };
  assertEquals((await check(zone)).result, "pass");
  const { result, reason } = await check({
    ...zone,
    "TXT c.test": ["v=spf1 a:v3.test ip4:192.0.2.1 -all"],
  });
  assertEquals([result, reason], ["permerror", "Over 2 answers are void"]);
});

Deno.test("Ten terms may ask, and no more", async () => {
  const record = (count: number) =>
    `v=spf1 ${"include:b.test ".repeat(count)}ip4:192.0.2.1 -all`;
  const zone = { "TXT b.test": ["v=spf1 -all"] };
  const ten = await check({ ...zone, "TXT a.test": [record(10)] });
  assertEquals([ten.result, ten.lookups], ["pass", 10]);
  const more = await check({ ...zone, "TXT a.test": [record(11)] });
  assertEquals([more.result, more.lookups], ["permerror", 10]);
});

Deno.test("A record that includes itself ends", async () => {
  const { result, asked } = await check({
    "TXT a.test": ["v=spf1 include:a.test -all"],
  });
  assertEquals(result, "permerror");
  assert(asked.length <= 11);
});

Deno.test("A domain with eleven exchangers is an error, and asks for none of them", async () => {
  const records = Array.from({ length: 11 }, (_, at) => ({
    preference: at,
    exchange: `mx${at}.test`,
  }));
  const { result, asked } = await check({
    "TXT a.test": ["v=spf1 mx -all"],
    "MX a.test": records,
  });
  assertEquals(result, "permerror");
  assertEquals(asked, ["TXT a.test", "MX a.test"]);
});

Deno.test("A failure of the DNS is temporary, and names no name server", async () => {
  for (
    const record of ["a", "mx", "include:b.test", "exists:b.test"]
  ) {
    const { result, reason } = await check({
      "TXT a.test": [`v=spf1 ${record} -all`],
      "A a.test": "failed",
      "MX a.test": "failed",
      "TXT b.test": "failed",
      "A b.test": "failed",
    });
    assertEquals([result, reason], ["temperror", "The DNS gave no answer"]);
  }
});

Deno.test("The signal ends a check with a temporary error", async () => {
  const stop = new AbortController();
  const dns: DnsQuerier = {
    query: (_type, _name, options) =>
      new Promise((_, reject) =>
        options!.signal!.addEventListener(
          "abort",
          () => reject(options!.signal!.reason),
        )
      ),
  };
  const checking = checkSpf(FACTS, { dns, signal: stop.signal });
  stop.abort();
  assertEquals((await checking).result, "temperror");
});

Deno.test("A null sender is that of HELO, and HELO has a check of its own", async () => {
  const zone = {
    "TXT client.test": ["v=spf1 ip4:192.0.2.1 -all"],
    "TXT a.test": ["v=spf1 -all"],
  };
  const bounce = await check(zone, { from: "" });
  assertEquals(
    [bounce.result, bounce.identity, bounce.domain],
    ["pass", "helo", "client.test"],
  );
  const { dns } = zoneOf(zone);
  const helo = await checkSpfHelo(FACTS, { dns });
  assertEquals([helo.result, helo.identity], ["pass", "helo"]);
  const mail = await check(zone);
  assertEquals([mail.result, mail.identity], ["fail", "mailfrom"]);
});

Deno.test("A mapped address is an IPv4 address, and one that is no address has no result", async () => {
  const zone = { "TXT a.test": ["v=spf1 ip4:192.0.2.1 -all"] };
  assertEquals((await check(zone, { ip: "::ffff:192.0.2.1" })).result, "pass");
  assertEquals((await check(zone, { ip: "unix" })).result, "none");
  assertEquals((await check(zone, { ip: "unknown" })).result, "none");
});

Deno.test("Received-SPF has no text of a client outside of its quotes", () => {
  const value = formatReceivedSpf({
    result: "fail",
    identity: "mailfrom",
    domain: "a.test",
    mechanism: '-all"; x=(y',
    reason: "bad)\r\nX-Evil: yes (",
    lookups: 0,
  }, { ...FACTS, helo: 'x";\r\nX-Evil: yes', from: "a b@a.test" });
  assert(!/[\r\n]/.test(value), value);
  assert(value.includes('envelope-from="a b@a.test"'), value);
  assert(value.includes('helo="x\\";??X-Evil: yes"'), value);
  assert(value.startsWith("fail (bad???X-Evil: yes ?) "), value);
});
