/**
 * `DnsClient` against dnsmasq. Skipped where dnsmasq is missing.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc1035#section-3.2.2 | RFC 1035 section 3.2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc7505 | RFC 7505}
 */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import { hasDnsmasq, startDnsmasq } from "../support/interop/dnsmasq.ts";
import { startWireServer } from "../support/dns.ts";

const ZONE = [
  "--local=/test/",
  "--mx-host=mx.test,B.mx.test,20",
  "--mx-host=mx.test,a.mx.test,10",
  "--mx-host=mx.test,c.mx.test,30",
  "--mx-host=null.test,.,0",
  "--host-record=host.test,192.0.2.10,2001:db8::10",
  "--host-record=four.test,192.0.2.4",
  "--cname=alias.test,host.test",
  "--cname=dangling.test,nowhere.test",
  "--txt-record=host.test,v=spf1,-all",
  "--ptr-record=10.2.0.192.in-addr.arpa,host.test",
  "--ptr-record=10.2.0.192.in-addr.arpa,four.test",
  "--host-record=2.0.0.127.bl.test,127.0.0.2",
  "--txt-record=2.0.0.127.bl.test,Test entry",
  "--host-record=1.0.0.127.limit.test,127.255.255.254",
];

/** A test against one dnsmasq that holds ZONE. */
function test(
  name: string,
  body: (dns: DnsClient, nameServer: string) => Promise<void>,
): void {
  Deno.test({
    name: `dnsmasq: ${name}`,
    ignore: !hasDnsmasq(),
    async fn() {
      await using server = await startDnsmasq(ZONE);
      const { nameServer } = server;
      await body(new DnsClient({ nameServers: [nameServer] }), nameServer);
    },
  });
}

const NO_NAME = { status: "none", why: "no-such-name" } as const;
const NO_RECORD = { status: "none", why: "no-such-record" } as const;

test("MX records come in order, null MX on its own", async (dns) => {
  assertEquals(await dns.mx("mx.test"), {
    status: "found",
    records: [
      { preference: 10, exchange: "a.mx.test" },
      { preference: 20, exchange: "b.mx.test" },
      { preference: 30, exchange: "c.mx.test" },
    ],
  });
  assertEquals(await dns.mx("null.test"), { status: "null-mx" });
});

test("a missing name is told from a missing record", async (dns) => {
  assertEquals(await dns.mx("nowhere.test"), NO_NAME);
  assertEquals(await dns.mx("host.test"), NO_RECORD);
  assertEquals(await dns.aaaa("four.test"), NO_RECORD);
  assertEquals(await dns.mx("alias.test"), NO_RECORD);
  assertEquals(await dns.addresses("nowhere.test"), NO_NAME);
});

test("addresses come through an alias", async (dns) => {
  assertEquals(await dns.addresses("alias.test"), {
    status: "found",
    records: ["2001:db8::10", "192.0.2.10"],
  });
  assertEquals(await dns.query("CNAME", "alias.test"), {
    status: "found",
    records: ["host.test"],
  });
  assertEquals((await dns.a("dangling.test")).status, "none");
});

test("texts are joined", async (dns) => {
  assertEquals(await dns.txt("host.test"), {
    status: "found",
    records: ["v=spf1-all"],
  });
});

test("names of an address are confirmed", async (dns) => {
  const { status, names, confirmed } = await dns.confirmReverse("192.0.2.10");
  assertEquals(status, "confirmed");
  assertEquals([...names].sort(), ["four.test", "host.test"]);
  assertEquals(confirmed, ["host.test"]);
});

test("a blocklist lists, does not list, and refuses", async (dns) => {
  assertEquals(await dns.lookupBlocklist("127.0.0.2", "bl.test"), {
    status: "listed",
    codes: ["127.0.0.2"],
    reason: "Test entry",
  });
  const { status } = await dns.lookupBlocklist("127.0.0.1", "bl.test");
  assertEquals(status, "unlisted");
  const refused = await dns.lookupBlocklist("127.0.0.1", "limit.test");
  assertEquals(refused.status, "failed");
});

test("a zone that is not served is a failure, not a missing name", async (dns) => {
  const outcome = await dns.mx("foreign.example");
  assertEquals(outcome.status === "failed" && outcome.code, "server-failure");
});

test("questions are many at once", async (dns) => {
  const names = Array.from({ length: 200 }, (_, index) => `n${index}.test`);
  const outcomes = await Promise.all(names.map((name) => dns.a(name)));
  assertEquals(outcomes, names.map(() => NO_NAME));
});

test(
  "the next server is asked when the first keeps silent",
  async (_dns, nameServer) => {
    await using mute = await startWireServer(() => "silence");
    const dns = new DnsClient({
      nameServers: [mute.nameServer, nameServer],
      timeoutMs: 6000,
    });
    assertEquals((await dns.a("host.test")).status, "found");
  },
);

Deno.test({
  name: "dnsmasq: failures and silence of the server behind it are failures",
  ignore: !hasDnsmasq(),
  async fn() {
    await using upstream = await startWireServer((name) =>
      name.startsWith("mute.") ? "silence" : { rcode: 2 }
    );
    const behind = upstream.nameServer.replace(":", "#");
    await using server = await startDnsmasq([`--server=/test/${behind}`]);
    const dns = new DnsClient({ nameServers: [server.nameServer] });
    const broken = await dns.mx("broken.test");
    assertEquals(broken.status === "failed" && broken.code, "server-failure");
    const mute = await dns.query("MX", "mute.test", { timeoutMs: 200 });
    assertEquals(mute.status === "failed" && mute.code, "timeout");
  },
});
