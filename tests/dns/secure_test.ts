/**
 * Validated answers: which are believed (RFC 6698 appendix A.3), how long they
 * are kept, TLSA records, and where DANE finds those of a host (RFC 7672
 * section 2.2.2).
 */

import { assertEquals, assertThrows } from "@std/assert";
import { DnsClient, type DnsClientOptions } from "../../lib/dns/client.ts";
import type { DnsMessage, DnsQuestion } from "../../lib/dns/dns_message.ts";
import type {
  DnsOutcomeOf,
  DnsQuerier,
  DnsQueryOptions,
  DnsRecordType,
} from "../../lib/dns/outcome.ts";
import type { DnsAskOptions } from "../../lib/dns/seams.ts";
import { lookupSecureHost } from "../../lib/dns/secure.ts";
import { seamedClient, tableResolver } from "../support/dns.ts";
import { startZoneServer, type Zone } from "../support/zone_server.ts";

const SECURE = { secure: true } as const;
const DIGEST = "ab".repeat(32);

Deno.test("DnsClient says whether an answer is validated where it is asked to", async () => {
  const zone: Zone = {
    "MX signed.example": { records: ["10 mx.signed.example"], secure: true },
    "MX plain.example": ["10 mx.plain.example"],
    "MX null.example": { records: ["0 ."], secure: true },
    "MX nothing.example": { secure: true },
    "MX nowhere.example": { rcode: 3, secure: true },
    "MX spoilt.example": { rcode: 2 },
  };
  await using server = await startZoneServer(zone);
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const mx = async (name: string, options: DnsQueryOptions = SECURE) => {
    const outcome = await dns.mx(name, options);
    return outcome.status === "failed" ? outcome.code : outcome;
  };
  const records = [{ preference: 10, exchange: "mx.signed.example" }];
  assertEquals<unknown>(await mx("signed.example"), {
    status: "found",
    records,
    secure: true,
    canonicalName: "signed.example",
  });
  const asked = server.asked.length;
  assertEquals<unknown>(await mx("signed.example", {}), {
    status: "found",
    records,
  });
  assertEquals(server.asked.length, asked + 1, "asked apart");
  const plain = await dns.mx("plain.example", SECURE);
  assertEquals(plain.status === "found" && plain.secure, false);
  assertEquals<unknown>(await mx("null.example"), { status: "null-mx" });
  assertEquals<unknown>(await mx("nothing.example"), {
    status: "none",
    why: "no-such-record",
    secure: true,
  });
  assertEquals<unknown>(await mx("nowhere.example"), {
    status: "none",
    why: "no-such-name",
    secure: true,
  });
  assertEquals<unknown>(await mx("elsewhere.example"), {
    status: "none",
    why: "no-such-name",
    secure: false,
  });
  assertEquals<unknown>(await mx("no name"), {
    status: "none",
    why: "not-a-name",
    secure: false,
  });
  assertEquals(await mx("spoilt.example"), "server-failure");
});

/** An answer with one address and the AD bit. */
function signed({ name }: DnsQuestion): Promise<DnsMessage> {
  return Promise.resolve({
    ...{ rcode: 0, authentic: true, truncated: false, referral: false },
    ...{
      malformed: false,
      stray: false,
      circle: false,
      records: ["192.0.2.1"],
      ttl: 60,
    },
    canonicalName: name,
  });
}

Deno.test("DnsClient believes the AD bit of a loopback server, of others with trustAd", async () => {
  const rows: [DnsClientOptions, boolean][] = [
    [{ nameServers: ["127.0.0.53"] }, true],
    [{ nameServers: ["[::1]:53"] }, true],
    [{ nameServers: ["192.0.2.53"] }, false],
    [{ nameServers: ["192.0.2.53"], trustAd: true }, true],
    [{ nameServers: ["192.0.2.53"], trustAd: false }, false],
    [{ nameServers: ["10.0.0.1", "[2001:db8::53]:53"] }, false],
  ];
  for (const [options, want] of rows) {
    const dns = seamedClient({ ...options, ask: signed });
    const outcome = await dns.a("a.example", SECURE);
    const name = JSON.stringify(options);
    assertEquals(outcome.status === "found" && outcome.secure, want, name);
    assertEquals(dns.canValidate, want, name);
  }
  assertThrows(() => new DnsClient({ trustAd: 1 as never }), TypeError);
});

Deno.test("DnsClient does not let a server that is not believed stand in for one that is", async () => {
  const asked: string[] = [];
  const dns = seamedClient({
    nameServers: ["192.0.2.53", "127.0.0.1"],
    ask: async (question: DnsQuestion, { server }: DnsAskOptions) => {
      asked.push(server.address);
      const message = await signed(question);
      return { ...message, rcode: server.address === "127.0.0.1" ? 2 : 0 };
    },
  });
  const outcome = await dns.a("forged.example", SECURE);
  assertEquals(outcome.status === "failed" && outcome.code, "server-failure");
  assertEquals(asked, ["127.0.0.1"]);
});

Deno.test("DnsClient takes no answer of a test's resolver for validated", async () => {
  const { resolver } = tableResolver({ "A a.example": ["192.0.2.1"] });
  const dns = seamedClient({ nameServers: ["127.0.0.1"], resolver });
  const found = await dns.a("a.example", SECURE);
  assertEquals(found.status === "found" && found.secure, false);
  const none = await dns.a("b.example", SECURE);
  assertEquals(none.status === "none" && none.secure, false);
});

Deno.test("DnsClient keeps records for their TTL where it is known, at most for maxTtlMs", async () => {
  let now = 0;
  const ttls: Record<string, number> = { short: 2, long: 900, zero: 0 };
  const asked: string[] = [];
  const dns = seamedClient({
    nameServers: ["127.0.0.1"],
    maxTtlMs: 5_000,
    now: () => now,
    ask: async (question: DnsQuestion) => {
      asked.push(question.name);
      const message = await signed(question);
      return { ...message, ttl: ttls[question.name.split(".")[0]!]! };
    },
  });
  const ask = async () => {
    for (const name of ["short", "long", "zero"]) {
      await dns.a(`${name}.example`, SECURE);
    }
    return asked.splice(0).map((name) => name.split(".")[0]);
  };
  assertEquals(await ask(), ["short", "long", "zero"]);
  now = 1_999;
  assertEquals(await ask(), ["zero"]);
  now = 2_000;
  assertEquals(await ask(), ["short", "zero"]);
  now = 5_000;
  assertEquals(await ask(), ["short", "long", "zero"]);
});

Deno.test("DnsClient.tlsa() finds certificate associations, long ones by TCP", async () => {
  const whole = "0f".repeat(2048);
  await using server = await startZoneServer({
    "TLSA _25._tcp.mx.example": {
      records: [`3 1 1 ${DIGEST}`, `2 0 1 ${DIGEST}`],
      secure: true,
    },
    "TLSA _25._tcp.whole.example": { records: [`3 0 0 ${whole}`] },
    "TLSA _25._tcp.alias.example": {
      aliases: ["_25._tcp.mx.example"],
      records: [`3 1 1 ${DIGEST}`],
      secure: true,
    },
    "TLSA _25._tcp.short.example": [{ data: new Uint8Array([3, 1, 1]) }],
  });
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const three = { usage: 3, selector: 1, matching: 1, data: DIGEST };
  assertEquals(await dns.tlsa("_25._tcp.mx.example", SECURE), {
    status: "found",
    records: [three, { ...three, usage: 2, selector: 0 }],
    secure: true,
    canonicalName: "_25._tcp.mx.example",
  });
  const long = await dns.tlsa("_25._tcp.whole.example");
  assertEquals(long, {
    status: "found",
    records: [{ usage: 3, selector: 0, matching: 0, data: whole }],
  });
  assertEquals(server.asked.at(-1)?.over, "tcp");
  const alias = await dns.tlsa("_25._tcp.alias.example", SECURE);
  assertEquals(alias, {
    status: "found",
    records: [three],
    secure: true,
    canonicalName: "_25._tcp.mx.example",
  });
  const short = await dns.tlsa("_25._tcp.short.example");
  assertEquals(short.status === "failed" && short.code, "malformed");
  const none = await dns.tlsa("_25._tcp.nowhere.example");
  assertEquals(none, { status: "none", why: "no-such-name" });
});

/** A querier over a table; what it lacks is an insecure "no such record". */
function tableOf(
  table: Readonly<Record<string, unknown>>,
): { dns: DnsQuerier; asked: string[] } {
  const asked: string[] = [];
  const dns: DnsQuerier = {
    query<T extends DnsRecordType>(
      type: T,
      name: string,
      options?: DnsQueryOptions,
    ): Promise<DnsOutcomeOf<T>> {
      assertEquals(options?.secure, true);
      asked.push(`${type} ${name}`);
      const none = { status: "none", why: "no-such-record", secure: false };
      return Promise.resolve(
        (table[`${type} ${name}`] ?? none) as DnsOutcomeOf<T>,
      );
    },
  };
  return { dns, asked };
}

const FAILED = { status: "failed", code: "timeout", reason: "Silence" };

function found(record: string, secure: boolean, canonicalName = "mx.example") {
  return { status: "found", records: [record], secure, canonicalName };
}

Deno.test("lookupSecureHost() finds the names that may have TLSA records", async () => {
  const four = "192.0.2.1";
  const six = "2001:db8::1";
  const none = { status: "none", why: "no-such-record", secure: true };
  const end = "end.example";
  const rows: [
    name: string,
    table: Readonly<Record<string, unknown>>,
    addresses: string,
    bases: readonly string[],
    asked: number,
  ][] = [
    [
      "both families secure",
      {
        "A mx.example": found(four, true),
        "AAAA mx.example": found(six, true),
      },
      `${six} ${four}`,
      ["mx.example"],
      2,
    ],
    [
      "one secure, the other absent",
      {
        "A mx.example": found(four, true),
        "AAAA mx.example": none,
      },
      four,
      ["mx.example"],
      2,
    ],
    [
      "one secure, the other failed",
      {
        "A mx.example": found(four, true),
        "AAAA mx.example": FAILED,
      },
      four,
      ["mx.example"],
      2,
    ],
    [
      "one secure, the other insecure",
      {
        "A mx.example": found(four, false),
        "AAAA mx.example": found(six, true),
      },
      `${six} ${four}`,
      ["mx.example"],
      2,
    ],
    ["insecure", { "A mx.example": found(four, false) }, four, [], 2],
    [
      "alias, secure to its end",
      {
        "A mx.example": found(four, true, end),
      },
      four,
      [end, "mx.example"],
      2,
    ],
    [
      "alias secure, target insecure",
      {
        "A mx.example": found(four, false, end),
        "CNAME mx.example": found(end, true),
      },
      four,
      ["mx.example"],
      3,
    ],
    [
      "alias insecure",
      {
        "A mx.example": found(four, false, end),
        "CNAME mx.example": found(end, false),
      },
      four,
      [],
      3,
    ],
    [
      "alias that is gone",
      { "A mx.example": found(four, false, end) },
      four,
      [],
      3,
    ],
    [
      "alias failed",
      {
        "A mx.example": found(four, false, end),
        "CNAME mx.example": FAILED,
      },
      "failed",
      [],
      3,
    ],
    [
      "secure absence",
      {
        "A mx.example": none,
        "AAAA mx.example": none,
      },
      "none",
      [],
      2,
    ],
    ["failed", { "A mx.example": FAILED }, "failed", [], 2],
  ];
  for (const [name, table, addresses, bases, count] of rows) {
    const { dns, asked } = tableOf(table);
    const host = await lookupSecureHost(dns, "mx.example", {});
    const got = host.addresses.status === "found"
      ? host.addresses.records.join(" ")
      : host.addresses.status;
    assertEquals([got, host.bases], [addresses, bases], name);
    assertEquals(asked.length, count, name);
  }
});

Deno.test("lookupSecureHost() asks nothing of an address, and takes names in any form", async () => {
  const { dns, asked } = tableOf({});
  const literal = await lookupSecureHost(dns, "192.0.2.1", {});
  assertEquals(literal, {
    addresses: { status: "found", records: ["192.0.2.1"] },
    bases: [],
  });
  assertEquals(asked, []);
  await using server = await startZoneServer({
    "A mx.example": { records: ["192.0.2.1"], secure: true },
    "A alias.example": {
      aliases: ["Two.example", "mx.example"],
      records: ["192.0.2.1"],
      secure: true,
    },
  });
  const client = new DnsClient({ nameServers: [server.nameServer] });
  const host = await lookupSecureHost(client, "MX.Example.", {});
  assertEquals(host.bases, ["mx.example"]);
  assertEquals(host.addresses, {
    status: "found",
    records: ["192.0.2.1"],
    secure: true,
  });
  const alias = await lookupSecureHost(client, "alias.example", {});
  assertEquals(alias.bases, ["mx.example", "alias.example"]);
  const none = await lookupSecureHost(client, "no name", {});
  assertEquals([none.addresses.status, none.bases], ["none", []]);
});
