/** Host names with an underscore, which the platform refuses to ask for. */

import { assertEquals } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import { startWireServer } from "../support/dns.ts";
import { run } from "../support/process.ts";
import { startZoneServer } from "../support/zone_server.ts";

/** An answer with records of the question's own type: `[type, ...data]` each. */
function records(
  question: Uint8Array,
  ...given: (readonly [number, ...number[]])[]
): Uint8Array {
  const bytes = new Uint8Array([
    ...question,
    ...given.flatMap(([type, ...data]) => [
      ...[0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length],
      ...data,
    ]),
  ]);
  bytes.set([0x81, 0x80, 0, 1, 0, given.length, 0, 0, 0, 0], 2);
  return bytes;
}

/** The type of a question. */
function typeOf(question: Uint8Array): number {
  return question[question.length - 3]!;
}

Deno.test("DnsClient finds the addresses of a host with an underscore", async () => {
  await using server = await startWireServer(() => (question) =>
    typeOf(question) === 1
      // An alias first: the address of its target counts.
      ? records(question, [5, 1, 0x61, 0], [1, 192, 0, 2, 7])
      : records(question, [28, 0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1])
  );
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  for (const host of ["mx_1.example.com", "MX_1.Example.com."]) {
    const found = await dns.addresses(host);
    assertEquals(
      found.status === "found" && [...found.records].sort(),
      ["192.0.2.7", "2001:db8::1"],
    );
  }
});

Deno.test("DnsClient finds the exchangers of a domain with an underscore", async () => {
  await using server = await startWireServer(() => (question) =>
    records(
      question,
      [15, 0, 20, 4, 0x6d, 0x78, 0x5f, 0x32, 0xc0, 12],
      [15, 0, 10, 4, 0x6d, 0x78, 0x5f, 0x31, 0xc0, 12],
      // A name that points to itself.
      [15, 0, 5, 0xc0, question.length + 63],
    )
  );
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const found = await dns.mx("my_shop.example.com");
  assertEquals(found.status === "found" && found.records.slice(-2), [
    { preference: 10, exchange: "mx_1.my_shop.example.com" },
    { preference: 20, exchange: "mx_2.my_shop.example.com" },
  ]);
});

Deno.test("DnsClient tells why a host with an underscore has no address", async () => {
  for (
    const [rcode, want] of [[3, "none"], [0, "none"], [2, "failed"]] as const
  ) {
    await using server = await startWireServer(() => ({ rcode }));
    const dns = new DnsClient({ nameServers: [server.nameServer] });
    assertEquals((await dns.query("A", "mx_1.example.com")).status, want);
  }
});

Deno.test("DnsClient asks by TCP what does not fit into a datagram", async () => {
  await using server = await startZoneServer({
    "A mx_1.example.com": { records: ["192.0.2.8"], truncated: true },
    "TXT s_1._domainkey.example.com": ["k".repeat(2000)],
  });
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const found = await dns.query("A", "mx_1.example.com");
  assertEquals(found.status === "found" && found.records, ["192.0.2.8"]);
  const key = await dns.txt("s_1._domainkey.example.com");
  assertEquals(key.status === "found" && key.records, ["k".repeat(2000)]);
  assertEquals(server.asked.map(({ over }) => over), [
    ...["udp", "tcp", "udp", "tcp"],
  ]);
});

Deno.test("DnsClient finds the texts at every name with an underscore", async () => {
  const names = [
    ...["_dmarc.example.com", "s1._domainkey.example.com"],
    ...["s_1._domainkey.example.com", "a._domainkey.my_shop.example.com"],
    ...["_mta-sts.example.com", "_smtp._tls.example.com", "_a_b.example.com"],
  ];
  await using server = await startZoneServer(
    Object.fromEntries(names.map((name) => [`TXT ${name}`, [name, ""]])),
  );
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  for (const name of names) {
    const found = await dns.txt(name);
    assertEquals(found.status === "found" && found.records, [name, ""], name);
  }
});

Deno.test("DnsClient reads a text byte for byte, from the platform and on the wire", async () => {
  const bytes = String.fromCharCode(
    ...Array.from({ length: 256 }, (_, byte) => byte),
  );
  const texts = [bytes, "v=spf1 -all", "v=spf1 -all", bytes.repeat(2)];
  await using server = await startZoneServer({
    "TXT example.com": texts,
    "TXT a_b.example.com": { records: texts, aliases: ["c.example.com"] },
  });
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  for (const name of ["example.com", "a_b.example.com"]) {
    const found = await dns.txt(name);
    assertEquals(
      found.status === "found" && [...found.records].sort(),
      [
        ...texts,
      ].sort(),
    );
  }
});

Deno.test("A program that may reach the name server only asks it over TCP, and goes on", async () => {
  await using zone = await startZoneServer({
    "TXT a_b._domainkey.example.com": ["v=DKIM1; p="],
  });
  const { href } = new URL("../../lib/dns/client.ts", import.meta.url);
  const { stdout } = await run(Deno.execPath(), [
    ...["run", "--no-config", "--no-prompt"],
    ...[`--allow-net=${zone.nameServer}`, "-"],
  ], {
    input: `import { DnsClient } from "${href}";
      const dns = new DnsClient({ nameServers: ["${zone.nameServer}"] });
      const names = ["a_b._domainkey.example.com", "no_b._domainkey.example.com"];
      for (const name of names) console.log((await dns.txt(name)).status);`,
  });
  assertEquals(stdout, "found\nnone\n");
  assertEquals(new Set(zone.asked.map(({ over }) => over)), new Set(["tcp"]));
});
