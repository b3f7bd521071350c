/**
 * Policies from a real HTTPS server: which are taken, which are not, and how long
 * they hold.
 */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import {
  type StsOutcome,
  StsStore,
  type StsStoreOptions,
} from "../../lib/secure_transport/sts_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { TestFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";

const HOST = "mta-sts.dest.test";
const right = await Certificate.selfSigned({ names: [HOST] });
const wrong = await Certificate.selfSigned({ names: ["www.dest.test"] });
const POLICY =
  "version: STSv1\nmode: enforce\nmx: *.dest.test\nmax_age: 1000\n";
const DAY = 86_400_000;

/** A web server, a DNS and a clock, all of which the test changes. */
interface World extends AsyncDisposable {
  answer: () => Response | Promise<Response>;
  texts: readonly string[] | "failed";
  now: number;
  readonly requests: string[];
  store(options?: Partial<StsStoreOptions>): StsStore;
}

function start(certificate: Certificate = right): World {
  const requests: string[] = [];
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    cert: certificate.toPem(),
    key: certificate.keyPem(),
    onListen: () => {},
  }, (request) => {
    requests.push(new URL(request.url).pathname);
    return world.answer();
  });
  const dns: DnsQuerier = {
    query(type, name) {
      const outcome = type === "A" && name === HOST
        ? { status: "found", records: ["127.0.0.1"] }
        : type !== "TXT" || name !== "_mta-sts.dest.test"
        ? { status: "none", why: "no-such-name" }
        : world.texts === "failed"
        ? { status: "failed", code: "timeout", reason: "No answer" }
        : { status: "found", records: world.texts };
      return Promise.resolve(outcome as never);
    },
  };
  const world: World = {
    answer: () => new Response(POLICY),
    texts: ["v=STSv1; id=a1"],
    now: Date.UTC(2026, 10, 30),
    requests,
    store: (options) =>
      new StsStore({
        dns,
        log: () => {},
        port: (server.addr as Deno.NetAddr).port,
        trusted: [certificate],
        allowLoopback: true,
        now: () => world.now,
        random: () => 0,
        ...options,
      }),
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
  return world;
}

/** The mode of a policy, or what became of it. */
function words(outcome: StsOutcome): string {
  if (outcome.status === "found") return outcome.policy.mode;
  return outcome.status === "none" ? "none" : outcome.type;
}

async function mode(store: StsStore): Promise<string> {
  return words(await store.policyFor("Dest.Test"));
}

Deno.test("A policy is fetched once, and holds for its time", async () => {
  await using world = start();
  const store = world.store();
  assertEquals(await mode(store), "enforce");
  assertEquals(await mode(store), "enforce");
  assertEquals(world.requests, ["/.well-known/mta-sts.txt"]);
  world.texts = [];
  assertEquals(await mode(store), "enforce");
  world.texts = "failed";
  assertEquals(await mode(store), "enforce");
  world.now += 1_000_000;
  assertEquals(await mode(store), "none");
});

/** A DNS in which every domain of `test` has a record, and some have a web server that never answers. */
function crowd(slow: (name: string) => boolean): DnsQuerier & {
  /** The web servers that were asked for, in order. */
  readonly asked: string[];
  /** The signals of those that never answer. */
  readonly held: AbortSignal[];
} {
  const asked: string[] = [];
  const held: AbortSignal[] = [];
  return {
    ...{ asked, held },
    query(type, name, { signal } = {}) {
      if (type === "TXT") {
        const records = ["v=STSv1; id=a1"];
        return Promise.resolve({ status: "found", records } as never);
      }
      if (type === "AAAA") {
        return Promise.resolve(
          { status: "none", why: "no-such-record" } as never,
        );
      }
      asked.push(name);
      if (!slow(name)) {
        return Promise.resolve(
          { status: "found", records: ["127.0.0.1"] } as never,
        );
      }
      const { promise, reject } = Promise.withResolvers<never>();
      held.push(signal!);
      signal!.addEventListener("abort", () => reject(signal!.reason));
      return promise;
    },
  };
}

Deno.test("A fetch waits while ten others are under way, and ends with its delivery", async () => {
  await using world = start();
  const dns = crowd((name) => name !== HOST);
  const store = world.store({ dns });
  const stop = new AbortController();
  const { signal } = stop;
  const slow = Array.from(
    { length: 12 },
    (_, at) => store.policyFor(`slow${at}.test`, { signal }),
  );
  const ended = Promise.allSettled(slow);
  await until(() => dns.asked.length === 10);
  // The next two wait, and this one behind them.
  const waiting = mode(store);
  // It does not wait for those that have left the line, but for one that has left
  // its fetch.
  stop.abort(new Error("Stopped"));
  assertEquals(await waiting, "enforce");
  assertEquals(dns.asked.length, 11);
  assertEquals(dns.held.map(({ aborted }) => aborted), Array(10).fill(true));
  for (const { status } of await ended) assertEquals(status, "rejected");
  // A fetch that was broken off is no failure of its domain, and leaves its place.
  const again = new AbortController();
  const second = Array.from({ length: 10 }, async (_, at) => {
    const name = `slow${at}.test`;
    await store.policyFor(name, { signal: again.signal });
  });
  const over = Promise.allSettled(second);
  await until(() => dns.asked.length === 21);
  again.abort(new Error("Stopped"));
  for (const { status } of await over) assertEquals(status, "rejected");
});

Deno.test("A fetch of two deliveries goes on if one of them ends", async () => {
  await using world = start();
  const store = world.store();
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  world.answer = async () => {
    begun.resolve();
    await go.promise;
    return new Response(POLICY);
  };
  const stop = new AbortController();
  const first = store.policyFor("dest.test", { signal: stop.signal });
  const second = mode(store);
  await begun.promise;
  stop.abort(new Error("Stopped"));
  await assertRejects(() => first, Error, "Stopped");
  go.resolve();
  assertEquals(await second, "enforce");
  assertEquals(world.requests.length, 1);
});

Deno.test("A fetch whose turn does not come fails in its time, and the next one is tried at once", async () => {
  await using world = start();
  const dns = crowd(() => true);
  const store = world.store({ dns, timeoutMs: 50 });
  const names = Array.from({ length: 100 }, (_, at) => `slow${at}.test`);
  const outcomes = await Promise.all(names.map((one) => store.policyFor(one)));
  const late = outcomes.findIndex((one) =>
    one.status === "failed" &&
    one.reason.endsWith("too many others are fetched")
  );
  assertEquals(words(outcomes[late]!), "sts-policy-fetch-error");
  const host = `mta-sts.${names[late]}`;
  assert(!dns.asked.includes(host));
  await store.policyFor(names[late]!);
  assert(dns.asked.includes(host));
});

Deno.test("A policy that cannot be refreshed is logged, once an hour", async () => {
  await using world = start();
  const messages: string[] = [];
  const store = world.store({
    log: ({ level, message }) => void messages.push(`${level}: ${message}`),
  });
  const long = POLICY.replace("max_age: 1000", "max_age: 86400");
  world.answer = () => new Response(long);
  assertEquals(await mode(store), "enforce");
  world.answer = () => new Response("gone", { status: 503 });
  world.texts = ["v=STSv1; id=a2"];
  for (const wait of [0, 300_000, 3_299_999, 300_000]) {
    world.now += wait;
    assertEquals(await mode(store), "enforce");
  }
  assertEquals(world.requests.length, 5);
  assertEquals(messages.length, 2);
  assertEquals(
    messages[0],
    'warn: The MTA-STS policy of "dest.test" holds until 2026-12-01T00:00:00.000Z and cannot be refreshed: The policy of "dest.test" has status 503, want 200',
  );
});

Deno.test("Nothing is logged of a domain whose policy is not in force", async () => {
  await using world = start();
  const messages: string[] = [];
  const log: StsStoreOptions["log"] = ({ message }) =>
    void messages.push(message);
  const store = world.store({ log });
  world.answer = () => new Response("gone", { status: 503 });
  assertEquals(await mode(store), "sts-policy-fetch-error");
  world.now += 300_000;
  world.answer = () =>
    new Response("version: STSv1\nmode: none\nmax_age: 86400\n");
  assertEquals(await mode(store), "none");
  world.texts = ["v=STSv1; id=a2"];
  world.answer = () => new Response("gone", { status: 503 });
  assertEquals(await mode(store), "none");
  assertEquals(world.requests.length, 3);
  assertEquals(messages, []);
});

Deno.test("Without a record no policy is asked for", async () => {
  await using world = start();
  const store = world.store();
  for (const texts of [[], ["v=STSv1; id="], "failed"] as const) {
    world.texts = texts;
    assertEquals(await mode(store), "none");
  }
  assertEquals(words(await store.policyFor("[192.0.2.1]")), "none");
  assertEquals(world.requests, []);
});

Deno.test("A new id fetches the new policy, and a failure keeps the old one", async () => {
  await using world = start();
  const store = world.store();
  assertEquals(await mode(store), "enforce");
  world.texts = ["v=STSv1; id=a2"];
  world.answer = () => new Response("gone", { status: 503 });
  assertEquals(await mode(store), "enforce");
  // It is not tried again at once.
  assertEquals(await mode(store), "enforce");
  assertEquals(world.requests.length, 2);
  world.answer = () => new Response(POLICY.replace("enforce", "testing"));
  world.now += 300_000;
  assertEquals(await mode(store), "testing");
  world.texts = ["v=STSv1; id=a3"];
  world.answer = () =>
    new Response("version: STSv1\nmode: none\nmax_age: 1000\n");
  assertEquals(await mode(store), "none");
});

Deno.test("A policy is refreshed in the second half of its life, while it holds", async () => {
  await using world = start();
  const store = world.store();
  assertEquals(await mode(store), "enforce");
  world.now += 499_999;
  assertEquals(await mode(store), "enforce");
  assertEquals(world.requests.length, 1);
  world.now += 1;
  const fetched = Promise.withResolvers<void>();
  world.answer = () => {
    fetched.resolve();
    return new Response(POLICY);
  };
  assertEquals(await mode(store), "enforce");
  await fetched.promise;
  assertEquals(world.requests.length, 2);
});

const BAD: readonly [string, () => Response, string][] = [
  ["a redirect", () =>
    new Response(null, {
      status: 301,
      headers: { location: "https://www.dest.test/policy" },
    }), "sts-policy-fetch-error"],
  [
    "status 404",
    () => new Response("no", { status: 404 }),
    "sts-policy-fetch-error",
  ],
  [
    "HTML",
    () => new Response(POLICY, { headers: { "content-type": "text/html" } }),
    "sts-policy-fetch-error",
  ],
  ["an endless body", () =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(10_000)),
      }),
      { headers: { "content-type": "text/plain" } },
    ), "sts-policy-fetch-error"],
  [
    "a large body",
    () => new Response("x".repeat(70_000)),
    "sts-policy-fetch-error",
  ],
  ["no policy", () => new Response("Hello"), "sts-policy-invalid"],
];

for (const [what, answer, want] of BAD) {
  Deno.test(`A web server with ${what} gives no policy`, async () => {
    await using world = start();
    world.answer = answer;
    assertEquals(await mode(world.store()), want);
  });
}

Deno.test("A policy in chunks, with a media type that has parameters, is taken", async () => {
  await using world = start();
  world.answer = () =>
    new Response(
      ReadableStream.from([POLICY.slice(0, 9), POLICY.slice(9)])
        .pipeThrough(new TextEncoderStream()),
      { headers: { "content-type": "Text/Plain; charset=utf-8" } },
    );
  assertEquals(await mode(world.store()), "enforce");
});

Deno.test("A certificate for another name, or of nobody known, gives no policy", async () => {
  await using other = start(wrong);
  assertEquals(await mode(other.store()), "sts-webpki-invalid");
  await using stranger = start();
  assertEquals(
    await mode(stranger.store({ trusted: [wrong] })),
    "sts-webpki-invalid",
  );
});

Deno.test("A web server on this machine is not asked unless that is allowed", async () => {
  await using world = start();
  assertEquals(
    await mode(world.store({ allowLoopback: false })),
    "sts-policy-fetch-error",
  );
  assertEquals(world.requests, []);
});

Deno.test("A policy survives a restart and an outage, and a broken file does no harm", async () => {
  await using world = start();
  await using folder = await TestFolder.create();
  const place = { folder: `${folder.path}/sts` };
  assertEquals(await mode(world.store(place)), "enforce");
  world.texts = "failed";
  assertEquals(await mode(world.store(place)), "enforce");
  const path = `${place.folder}/dest.test.json`;
  const text = await Deno.readTextFile(path);
  const later = JSON.parse(text);
  // The clock was set back.
  later.fetchedAt += 10 * DAY;
  await Deno.writeTextFile(path, JSON.stringify(later));
  const store = world.store(place);
  assertEquals(await mode(store), "enforce");
  world.now += 1_000_000;
  assertEquals(await mode(store), "none");
  await Deno.writeTextFile(path, text.slice(0, 20));
  const messages: string[] = [];
  const log: StsStoreOptions["log"] = ({ message }) =>
    void messages.push(message);
  assertEquals(await mode(world.store({ ...place, log })), "none");
  assertMatch(messages[0]!, /^Cannot use the kept MTA-STS policy/);
  assert(messages.length === 1);
});

Deno.test("Policies that are older than any may be are removed from the folder", async () => {
  await using world = start();
  await using folder = await TestFolder.create();
  const old = await folder.write("old.test.json", "{}");
  const past = new Date(world.now - 400 * DAY);
  await Deno.utime(old, past, past);
  await folder.write("young.test.json", "{}");
  assertEquals(await mode(world.store({ folder: folder.path })), "enforce");
  assertEquals(await folder.files(), ["dest.test.json", "young.test.json"]);
});
