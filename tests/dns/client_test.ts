/**
 * `DnsClient`: questions for MX, addresses, PTR and TXT, and their meaning for
 * mail (RFC 5321 section 5.1, RFC 7505).
 */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { DnsSeams } from "../../lib/dns/seams.ts";
import { DnsClient, type DnsClientOptions } from "../../lib/dns/client.ts";
import type { DnsVerdict } from "../../lib/dns/dns_message.ts";
import {
  type DnsConfirm,
  type DnsTable,
  seamedClient,
  silence,
  tableResolver,
} from "../support/dns.ts";

const ONE = "192.0.2.53";

/** A client with one name server, answers from a table, and the list of its questions. */
function makeClient(
  table: DnsTable,
  options: DnsClientOptions & DnsSeams & { confirm?: DnsConfirm } = {},
): { dns: DnsClient; asked: string[] } {
  const { resolver, asked } = tableResolver(table);
  return {
    dns: seamedClient({ nameServers: [ONE], resolver, ...options }),
    asked,
  };
}

function mx(preference: number, exchange: string): unknown {
  return { preference, exchange };
}

Deno.test("DnsClient.mx() sorts by preference and tidies the names", async () => {
  const { dns, asked } = makeClient({
    "MX example.com": [
      mx(20, "b.example.com."),
      mx(10, "A.Example.COM."),
      mx(20, "c.example.com"),
    ],
  });
  assertEquals(await dns.mx("Example.com."), {
    status: "found",
    records: [
      { preference: 10, exchange: "a.example.com" },
      { preference: 20, exchange: "b.example.com" },
      { preference: 20, exchange: "c.example.com" },
    ],
  });
  assertEquals(asked, ["MX example.com. @192.0.2.53:53"]);
});

Deno.test("DnsClient.mx() tells a null MX from everything else", async () => {
  const { dns } = makeClient({
    "MX null.example": [mx(0, ".")],
    "MX empty.example": [mx(0, "")],
    "MX both.example": [mx(0, "."), mx(10, "mx.both.example.")],
    "MX odd.example": [mx(0, "."), mx(10, "two words.")],
    "MX nothing.example": [],
  });
  assertEquals(await dns.mx("null.example"), { status: "null-mx" });
  assertEquals(await dns.mx("empty.example"), { status: "null-mx" });
  assertEquals(await dns.mx("both.example"), {
    status: "found",
    records: [{ preference: 10, exchange: "mx.both.example" }],
  });
  const odd = await dns.mx("odd.example");
  assertEquals(odd.status === "failed" && odd.code, "malformed");
  const nothing = await dns.mx("nothing.example");
  assertEquals(nothing.status === "failed" && nothing.code, "malformed");
});

Deno.test("DnsClient leaves malformed records out, and takes an address in place of an exchanger's name", async () => {
  const { dns } = makeClient({
    "MX a.example": [
      mx(10, "192.0.2.1."),
      mx(20, "mx\n.a.example"),
      mx(30, "mx.a.example."),
      mx(40, "[IPv6:2001:DB8::2]."),
      mx(50, "[192.0.2.300]"),
      1,
      null,
    ],
    "A a.example": ["192.0.2.1", "192.0.2.1", "evil", 7],
    "AAAA a.example": ["2001:DB8:0::1"],
    "TXT a.example": [["v=spf1 ", "-all"], ["two"], "three"],
    "PTR 1.2.0.192.in-addr.arpa": ["Host.A.example.", "<script>", "a b."],
    "NS a.example": ["NS.a.example."],
    "CNAME a.example": ["b.example."],
    "A bad.example": ["evil"],
  });
  const records = async (
    outcome: Promise<{ status: string; records?: unknown }>,
  ) => (await outcome).records;
  assertEquals(await records(dns.mx("a.example")), [
    mx(10, "192.0.2.1"),
    mx(30, "mx.a.example"),
    mx(40, "2001:db8::2"),
  ]);
  assertEquals(await records(dns.a("a.example")), ["192.0.2.1"]);
  assertEquals(await records(dns.aaaa("a.example")), ["2001:db8::1"]);
  assertEquals(await records(dns.txt("a.example")), ["v=spf1 -all", "two"]);
  assertEquals(await records(dns.ptr("192.0.2.1")), ["host.a.example"]);
  assertEquals(await records(dns.query("NS", "a.example")), ["ns.a.example"]);
  assertEquals(await records(dns.query("CNAME", "a.example")), ["b.example"]);
  assertEquals(await dns.a("bad.example"), {
    status: "failed",
    code: "malformed",
    reason: 'Every A record of "bad.example" is malformed',
  });
});

Deno.test("DnsClient asks nobody for what is no name", async () => {
  const { dns, asked } = makeClient({});
  const none = { status: "none", why: "not-a-name" } as const;
  assertEquals(await dns.mx("a b.example"), none);
  assertEquals(await dns.a("192.0.2.1"), none);
  assertEquals(await dns.ptr("host.example"), none);
  assertEquals(await dns.txt(""), none);
  assertEquals(asked, []);
});

Deno.test("DnsClient.ptr() takes an address or a reverse name", async () => {
  const { dns, asked } = makeClient({
    "PTR 1.2.0.192.in-addr.arpa": ["a.example."],
  });
  const found = { status: "found", records: ["a.example"] } as const;
  assertEquals(await dns.ptr("192.0.2.1"), found);
  assertEquals(await dns.ptr("1.2.0.192.in-addr.arpa."), found);
  assertEquals(asked.length, 1);
});

Deno.test("DnsClient confirms that there is no record", async () => {
  const rows: [verdict: DnsVerdict, want: unknown][] = [
    [{ kind: "no-such-name" }, { status: "none", why: "no-such-name" }],
    [{ kind: "no-such-record" }, { status: "none", why: "no-such-record" }],
    [{ kind: "server-failure", code: "SERVFAIL" }, {
      status: "failed",
      code: "server-failure",
      reason:
        'Name server 192.0.2.53:53 answers with SERVFAIL to A "a.example"',
    }],
  ];
  for (const [verdict, want] of rows) {
    const { dns } = makeClient({}, { confirm: () => Promise.resolve(verdict) });
    assertEquals<unknown>(await dns.a("a.example"), want);
  }
});

Deno.test("DnsClient gives a failure for an answer that cannot be confirmed", async () => {
  const confirm: DnsConfirm = () => Promise.reject(new Error("No route"));
  const { dns } = makeClient({}, { confirm });
  assertEquals(await dns.a("a.example"), {
    status: "failed",
    code: "unreachable",
    reason:
      'Name server 192.0.2.53:53 cannot be asked for A "a.example": No route',
  });
  const mute: DnsConfirm = (_question, { signal }) => silence(signal);
  const other = makeClient({}, { confirm: mute, timeoutMs: 20 });
  const outcome = await other.dns.a("a.example");
  assertEquals(outcome.status === "failed" && outcome.code, "timeout");
});

Deno.test("DnsClient turns errors of the resolver into failures", async () => {
  const { dns } = makeClient({
    "A broken.example": new Error("Broken pipe"),
    "A slow.example": new Deno.errors.TimedOut("request timed out"),
    "A closed.example": new Deno.errors.NotCapable("Requires net access"),
  });
  assertEquals(await dns.a("broken.example"), {
    status: "failed",
    code: "unreachable",
    reason:
      'Name server 192.0.2.53:53 cannot be asked for A "broken.example": Broken pipe',
  });
  assertEquals(await dns.a("slow.example"), {
    status: "failed",
    code: "timeout",
    reason: 'Name server 192.0.2.53:53 does not answer to A "slow.example"',
  });
  await assertRejects(() => dns.a("closed.example"), Deno.errors.NotCapable);
});

Deno.test("DnsClient refuses options out of range", () => {
  const rows: [options: DnsClientOptions, want: string][] = [
    [{ nameServers: [] }, "without name servers"],
    [{ timeoutMs: 0 }, "Cannot wait 0 ms"],
    [{ timeoutMs: NaN }, "Cannot wait NaN ms"],
    [{ timeoutMs: 2 ** 31 }, "Cannot wait 2147483648 ms"],
    [{ attempts: 0 }, "attempts 0: want a whole number from 1"],
    [{ cacheSize: -1 }, "cacheSize -1: want a whole number from 0"],
    [{ maxTtlMs: 0.5 }, "maxTtlMs 0.5"],
    [{ negativeTtlMs: -1 }, "negativeTtlMs -1"],
  ];
  for (const [options, want] of rows) {
    assertThrows(() => new DnsClient(options), RangeError, want);
  }
  assertThrows(
    () => new DnsClient({ nameServers: ["dns.example"] }),
    SyntaxError,
  );
});

Deno.test("DnsClient.query() refuses a time out of range", async () => {
  const { dns } = makeClient({});
  await assertRejects(
    () => dns.query("A", "a.example", { timeoutMs: 0 }),
    RangeError,
  );
});

Deno.test("DnsClient.addresses() gives both families, and an address itself", async () => {
  const { dns, asked } = makeClient({
    "A both.example": ["192.0.2.1"],
    "AAAA both.example": ["2001:db8::1"],
    "A four.example": ["192.0.2.4"],
    "A half.example": ["192.0.2.5"],
    "AAAA half.example": new Error("Broken pipe"),
    "AAAA torn.example": new Error("Broken pipe"),
  });
  const found = (
    ...records: string[]
  ) => ({ status: "found", records } as const);
  assertEquals(
    await dns.addresses("both.example"),
    found("2001:db8::1", "192.0.2.1"),
  );
  assertEquals(
    await dns.addresses("both.example", { families: [4, 6] }),
    found("192.0.2.1", "2001:db8::1"),
  );
  assertEquals(
    await dns.addresses("both.example", { families: [4] }),
    found("192.0.2.1"),
  );
  assertEquals(await dns.addresses("four.example"), found("192.0.2.4"));
  assertEquals(await dns.addresses("half.example"), found("192.0.2.5"));
  assertEquals((await dns.addresses("torn.example")).status, "failed");
  assertEquals((await dns.addresses("none.example")).status, "none");
  const before = asked.length;
  assertEquals(await dns.addresses("2001:DB8::1"), found("2001:db8::1"));
  assertEquals(await dns.addresses("192.0.2.1"), found("192.0.2.1"));
  assertEquals(asked.length, before);
});

Deno.test("DnsClient.addresses() calls a name known that one family knows", async () => {
  const { dns } = makeClient({}, {
    confirm: ({ type }) =>
      Promise.resolve({
        kind: type === "A" ? "no-such-record" : "no-such-name",
      }),
  });
  assertEquals(await dns.addresses("a.example"), {
    status: "none",
    why: "no-such-record",
  });
});

Deno.test("DnsClient hands out outcomes that cannot be changed", async () => {
  const { dns } = makeClient({ "A a.example": ["192.0.2.1"] });
  const outcome = await dns.a("a.example");
  const records = outcome.status === "found" ? outcome.records : [];
  assertThrows(() => (records as string[]).push("192.0.2.2"), TypeError);
  assertEquals(await dns.a("a.example"), outcome);
});
