/** `DnsClient` without replaced parts, over UDP, against a faulty name server. */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import { startWireServer } from "../support/dns.ts";

Deno.test("DnsClient tells a server's failure from a missing record", async () => {
  await using server = await startWireServer((name) => ({
    rcode: Number(name.slice(1, 2)),
  }));
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const rows: [name: string, want: string][] = [
    ["r0.example", "none: no-such-record"],
    ["r1.example", "failed: FORMERR"],
    ["r2.example", "failed: SERVFAIL"],
    ["r3.example", "none: no-such-name"],
    ["r4.example", "failed: NOTIMP"],
    ["r5.example", "failed: REFUSED"],
    ["r9.example", "failed: code 9"],
  ];
  for (const [name, want] of rows) {
    const outcome = await dns.mx(name);
    if (outcome.status === "none") {
      assertEquals(`none: ${outcome.why}`, want, name);
    } else if (outcome.status === "failed") {
      assertEquals(
        outcome.reason,
        `Name server ${server.nameServer} answers with ${
          want.slice(8)
        } to MX "${name}"`,
      );
    }
    assertEquals(outcome.status, want.split(":")[0], name);
  }
});

Deno.test("DnsClient finds records that a server had not fetched at first", async () => {
  await using server = await startWireServer((_name, before) =>
    before === 0 ? { rcode: 2 } : { address: [192, 0, 2, 1] }
  );
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  assertEquals(await dns.a("a.example"), {
    status: "found",
    records: ["192.0.2.1"],
  });
});

Deno.test("DnsClient goes from a silent server to one that answers", async () => {
  await using mute = await startWireServer(() => "silence");
  await using server = await startWireServer(() => ({
    address: [192, 0, 2, 1],
  }));
  const dns = new DnsClient({
    nameServers: [mute.nameServer, server.nameServer],
    timeoutMs: 6000,
  });
  assertEquals((await dns.a("a.example")).status, "found");
  assertEquals(mute.asked.length > 0, true);
});

Deno.test("DnsClient gives up a silent server, and leaves nothing running", async () => {
  await using mute = await startWireServer(() => "silence");
  const dns = new DnsClient({ nameServers: [mute.nameServer], timeoutMs: 50 });
  const outcome = await dns.a("a.example");
  assertEquals(outcome.status === "failed" && outcome.code, "timeout");
});

Deno.test("DnsClient believes no answer from another port", async () => {
  await using server = await startWireServer((_name, before) =>
    before === 0 ? { rcode: 3 } : { rcode: 3, from: "elsewhere" }
  );
  const dns = new DnsClient({
    nameServers: [server.nameServer],
    timeoutMs: 1000,
    attempts: 1,
  });
  const outcome = await dns.a("a.example");
  assertEquals(outcome.status === "failed" && outcome.code, "timeout");
});
