/** Blocklists and forward-confirmed reverse DNS. */

import { assertEquals, assertRejects } from "@std/assert";
import type { DnsClient } from "../../lib/dns/client.ts";
import { type DnsTable, seamedClient, tableResolver } from "../support/dns.ts";

function makeClient(table: DnsTable): { dns: DnsClient; asked: string[] } {
  const { resolver, asked } = tableResolver(table);
  return {
    dns: seamedClient({ nameServers: ["192.0.2.53"], resolver }),
    asked,
  };
}

const V6 = `2.${"0.".repeat(23)}8.b.d.0.1.0.0.2`;

Deno.test("DnsClient.lookupBlocklist() lists for an answer in 127.0.0.0/8 only", async () => {
  const { dns } = makeClient({
    "A 2.0.0.127.bl.example": ["127.0.0.2", "127.0.0.10"],
    "TXT 2.0.0.127.bl.example": [["Listed, see\r\n", "250 bl.example"], [
      "Twice",
    ]],
    "A 3.2.0.192.bl.example": ["127.0.0.4"],
    [`A ${V6}.bl.example`]: ["127.0.0.2"],
    "A 4.2.0.192.bl.example": ["127.255.255.254"],
    "A 5.2.0.192.bl.example": ["203.0.113.80"],
    "A 6.2.0.192.bl.example": new Error("Broken pipe"),
    "A 7.2.0.192.bl.example": ["127.0.0.2", "127.255.255.255"],
    "A 8.2.0.192.bl.example": ["203.0.113.80", "127.0.0.9"],
  });
  const ask = (address: string) => dns.lookupBlocklist(address, "BL.example.");
  assertEquals(await ask("127.0.0.2"), {
    status: "listed",
    codes: ["127.0.0.2", "127.0.0.10"],
    reason: "Listed, see 250 bl.example; Twice",
  });
  const plain = {
    status: "listed",
    codes: ["127.0.0.4"],
    reason: undefined,
  } as const;
  assertEquals(await ask("192.0.2.3"), plain);
  assertEquals(await ask("::ffff:192.0.2.3"), plain);
  assertEquals((await ask("2001:db8::2")).status, "listed");
  assertEquals(await ask("192.0.2.8"), { ...plain, codes: ["127.0.0.9"] });
  assertEquals(await ask("192.0.2.9"), { status: "unlisted" });
  assertEquals(await ask("memory"), { status: "unlisted" });
  assertEquals(await ask("192.0.2.4"), {
    status: "failed",
    code: "server-failure",
    reason:
      'Blocklist "bl.example" answers with 127.255.255.254, which lists nothing',
  });
  for (const address of ["192.0.2.5", "192.0.2.6", "192.0.2.7"]) {
    assertEquals((await ask(address)).status, "failed", address);
  }
});

Deno.test("DnsClient.lookupBlocklist() refuses a zone that is no name", async () => {
  const { dns } = makeClient({});
  await assertRejects(
    () => dns.lookupBlocklist("192.0.2.1", "not a zone"),
    TypeError,
    'Cannot ask blocklist "not a zone": want a domain name',
  );
});

Deno.test("DnsClient.confirmReverse() keeps the names that lead back", async () => {
  const { dns } = makeClient({
    "PTR 1.2.0.192.in-addr.arpa": ["a.example.", "liar.example."],
    "A a.example": ["192.0.2.99", "192.0.2.1"],
    "A liar.example": ["192.0.2.2"],
    "PTR 2.2.0.192.in-addr.arpa": ["liar2.example."],
    "PTR 3.2.0.192.in-addr.arpa": ["torn.example."],
    "A torn.example": new Error("Broken pipe"),
    "PTR 4.2.0.192.in-addr.arpa": new Error("Broken pipe"),
    [`PTR ${V6}.ip6.arpa`]: ["six.example."],
    "AAAA six.example": ["2001:DB8:0::2"],
  });
  const first = {
    status: "confirmed",
    names: ["a.example", "liar.example"],
    confirmed: ["a.example"],
  } as const;
  assertEquals(await dns.confirmReverse("192.0.2.1"), first);
  assertEquals(await dns.confirmReverse("::ffff:192.0.2.1"), first);
  assertEquals(await dns.confirmReverse("192.0.2.2"), {
    status: "unconfirmed",
    names: ["liar2.example"],
    confirmed: [],
  });
  assertEquals(await dns.confirmReverse("2001:db8::2"), {
    status: "confirmed",
    names: ["six.example"],
    confirmed: ["six.example"],
  });
  const none = { status: "none", names: [], confirmed: [] } as const;
  assertEquals(await dns.confirmReverse("192.0.2.9"), none);
  assertEquals(await dns.confirmReverse("memory"), none);
  const torn = await dns.confirmReverse("192.0.2.3");
  assertEquals(torn.status, "failed");
  assertEquals(torn.names, ["torn.example"]);
  const lost = await dns.confirmReverse("192.0.2.4");
  assertEquals(lost.status, "failed");
  assertEquals(
    lost.reason,
    'Name server 192.0.2.53:53 cannot be asked for PTR "4.2.0.192.in-addr.arpa": Broken pipe',
  );
});

Deno.test("DnsClient.confirmReverse() follows at most ten names", async () => {
  const names = Array.from({ length: 50 }, (_, index) => `h${index}.example.`);
  const { dns, asked } = makeClient({ "PTR 1.2.0.192.in-addr.arpa": names });
  const outcome = await dns.confirmReverse("192.0.2.1");
  assertEquals(outcome.names.length, 10);
  assertEquals(asked.length, 11);
});
