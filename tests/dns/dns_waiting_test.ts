/** Time limits, fail-over, cache and shared questions of `DnsClient`. */

import { assertEquals, assertRejects } from "@std/assert";
import type { DnsClient, DnsClientOptions } from "../../lib/dns/client.ts";
import type { DnsResolver, DnsSeams } from "../../lib/dns/seams.ts";
import { SingleFlight } from "../../lib/dns/single_flight.ts";
import {
  type DnsConfirm,
  seamedClient,
  tableResolver,
} from "../support/dns.ts";

const SERVERS = ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"];
const TABLE = { "A a.example": ["192.0.2.10"] };
const FOUND = { status: "found", records: ["192.0.2.10"] } as const;

/** A resolver whose answers the test gives. */
function heldResolver(): {
  resolver: DnsResolver;
  signals: AbortSignal[];
  answer: (records: readonly unknown[]) => void;
} {
  const signals: AbortSignal[] = [];
  const { promise, resolve } = Promise.withResolvers<readonly unknown[]>();
  return {
    signals,
    answer: resolve,
    resolver: (_name, _type, { signal }) => {
      signals.push(signal!);
      return new Promise((resolve, reject) => {
        promise.then(resolve);
        signal!.addEventListener("abort", () => reject(signal!.reason));
      });
    },
  };
}

function failOver(
  silent: readonly string[],
  options: DnsClientOptions & DnsSeams & {
    broken?: string[];
    confirm?: DnsConfirm;
  } = {},
): { dns: DnsClient; asked: string[] } {
  const { broken = [], ...rest } = options;
  const { resolver, asked } = tableResolver(TABLE, { silent, broken });
  const dns = seamedClient({
    nameServers: SERVERS,
    timeoutMs: 60,
    cacheSize: 0,
    resolver,
    ...rest,
  });
  return { dns, asked };
}

Deno.test("DnsClient asks the next server when one keeps silent", async () => {
  const { dns, asked } = failOver(SERVERS.slice(0, 2), { timeoutMs: 1800 });
  assertEquals(await dns.a("a.example"), FOUND);
  const order = SERVERS.map((server) => `A a.example. @${server}`);
  assertEquals(asked, order);
  assertEquals(await dns.a("a.example"), FOUND);
  assertEquals(asked.slice(3), [order[2]], "begins with the one that answered");
});

Deno.test("DnsClient asks the next server when one cannot be asked", async () => {
  const { dns, asked } = failOver([], {
    broken: [SERVERS[0]!],
    timeoutMs: 60_000,
  });
  assertEquals(await dns.a("a.example"), FOUND);
  assertEquals(asked.length, 2);
});

Deno.test("DnsClient asks the next server when one fails", async () => {
  const { dns } = failOver([], {
    timeoutMs: 60_000,
    confirm: (_question, { server }) =>
      Promise.resolve(
        server.address === "192.0.2.3"
          ? { kind: "no-such-name" }
          : { kind: "server-failure", code: "SERVFAIL" },
      ),
  });
  assertEquals(await dns.a("b.example"), {
    status: "none",
    why: "no-such-name",
  });
});

Deno.test("DnsClient believes the first server that says there is none", async () => {
  const { dns, asked } = failOver([], {
    confirm: () => Promise.resolve({ kind: "no-such-name" }),
  });
  assertEquals((await dns.a("b.example")).status, "none");
  assertEquals(asked.length, 1);
});

Deno.test("DnsClient asks a silent server again, one that failed not", async () => {
  const one = [SERVERS[0]!];
  const silent = failOver(one, { nameServers: one, attempts: 3 });
  const outcome = await silent.dns.a("a.example");
  assertEquals(outcome.status === "failed" && outcome.code, "timeout");
  const broken = failOver([], { nameServers: one, broken: one, attempts: 3 });
  const other = await broken.dns.a("a.example");
  assertEquals(other.status === "failed" && other.code, "unreachable");
  assertEquals(broken.asked.length, 1);
});

Deno.test("DnsClient fails when all servers keep silent", async () => {
  const { dns } = failOver(SERVERS);
  const outcome = await dns.a("a.example");
  assertEquals(outcome.status === "failed" && outcome.code, "timeout");
});

Deno.test("DnsClient.query() keeps to a time limit of its own", async () => {
  const { dns } = failOver(SERVERS, { timeoutMs: 60_000 });
  const outcome = await dns.query("A", "a.example", { timeoutMs: 20 });
  assertEquals(outcome.status === "failed" && outcome.code, "timeout");
});

Deno.test("DnsClient.query() rejects with the reason of its signal", async () => {
  const { dns, asked } = failOver(SERVERS, { timeoutMs: 60_000 });
  const controller = new AbortController();
  const { signal } = controller;
  const outcome = dns.query("A", "a.example", { signal });
  controller.abort(new TypeError("Enough"));
  await assertRejects(() => outcome, TypeError, "Enough");
  assertEquals(asked.length, 1);
  await assertRejects(() => dns.a("a.example", { signal }), TypeError);
  assertEquals(asked.length, 1);
});

Deno.test("DnsClient remembers records, and that there are none, for their times", async () => {
  let now = 0;
  const { resolver, asked } = tableResolver(TABLE);
  const dns = seamedClient({
    nameServers: ["192.0.2.53"],
    resolver,
    maxTtlMs: 100,
    negativeTtlMs: 50,
    now: () => now,
  });
  const ask = async () => {
    await dns.a("a.example");
    await dns.a("A.example.");
    await dns.a("b.example");
    return asked.splice(0).length;
  };
  assertEquals(await ask(), 2);
  now = 49;
  assertEquals(await ask(), 0);
  now = 50;
  assertEquals(await ask(), 1, "only what was not found");
  now = 100;
  assertEquals(await ask(), 2);
});

Deno.test("DnsClient does not remember failures", async () => {
  const table = { "A a.example": new Error("Broken pipe") };
  const { resolver, asked } = tableResolver(table);
  const dns = seamedClient({ nameServers: ["192.0.2.53"], resolver });
  await dns.a("a.example");
  await dns.a("a.example");
  assertEquals(asked.length, 2);
});

Deno.test("DnsClient asks equal questions under way once", async () => {
  const { resolver, signals, answer } = heldResolver();
  const dns = seamedClient({ nameServers: ["192.0.2.53"], resolver });
  const outcomes = [
    dns.a("a.example"),
    dns.a("A.EXAMPLE."),
    dns.a("a.example"),
  ];
  answer(["192.0.2.10"]);
  assertEquals(await Promise.all(outcomes), [FOUND, FOUND, FOUND]);
  assertEquals(signals.length, 1);
});

Deno.test("DnsClient goes on for the others when one caller gives up", async () => {
  const { resolver, signals, answer } = heldResolver();
  const dns = seamedClient({ nameServers: ["192.0.2.53"], resolver });
  const controller = new AbortController();
  const impatient = dns.a("a.example", { signal: controller.signal });
  const patient = dns.a("a.example");
  controller.abort();
  await assertRejects(() => impatient, DOMException);
  assertEquals(signals[0]?.aborted, false);
  answer(["192.0.2.10"]);
  assertEquals(await patient, FOUND);
});

Deno.test("DnsClient gives a question up when the last caller has gone", async () => {
  const { resolver, signals } = heldResolver();
  const dns = seamedClient({ nameServers: ["192.0.2.53"], resolver });
  const controller = new AbortController();
  const { signal } = controller;
  const outcomes = [
    dns.a("a.example", { signal }),
    dns.a("a.example", { signal }),
  ];
  controller.abort();
  const settled = await Promise.allSettled(outcomes);
  assertEquals(settled.map(({ status }) => status), ["rejected", "rejected"]);
  assertEquals(signals[0]?.aborted, true);
});

Deno.test("SingleFlight.run() starts anew after the work has ended or failed", async () => {
  const flight = new SingleFlight<number>();
  const { signal } = new AbortController();
  let starts = 0;
  const start = () => Promise.resolve(++starts);
  assertEquals(await flight.run("a", { start, signal }), 1);
  assertEquals(await flight.run("a", { start, signal }), 2);
  const fail = () => Promise.reject(new RangeError("No"));
  await assertRejects(
    () => flight.run("a", { start: fail, signal }),
    RangeError,
  );
  assertEquals(await flight.run("a", { start, signal }), 3);
  assertEquals(flight.size, 0);
});
