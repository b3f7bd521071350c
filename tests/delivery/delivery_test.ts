/**
 * `Delivery`: MX order, fail-over, null MX, loops and the result of each
 * recipient (RFC 5321 sections 5 and 6.3, RFC 7505).
 */

import {
  type FakeHost,
  FakeNetwork,
  makeDelivery,
} from "../support/client/fake_server.ts";
import { assert, assertEquals } from "@std/assert";
import type { DnsOutcome, MxOutcome } from "../../lib/dns/outcome.ts";
import { Address } from "../../lib/protocol/address.ts";
import type {
  DeliveryMachine,
  DeliveryOptions,
  RelayDns,
} from "../../lib/delivery/options.ts";
import type { DeliveryJob, DeliveryReport } from "../../lib/queue/job.ts";

const NONE = { status: "none", why: "no-such-record" } as const;
const FAILED = {
  status: "failed",
  reason: "No answer",
  code: "timeout",
} as const;

/** DNS from tables; MX records get their preference by the given order. */
function dns(
  mx: Record<string, MxOutcome | string[]>,
  addresses: Record<string, DnsOutcome<string> | string[]>,
): RelayDns {
  return {
    mx: (name) => {
      const found = mx[name] ?? NONE;
      if (!Array.isArray(found)) return Promise.resolve(found);
      const records = found.map((exchange, preference) => ({
        exchange,
        preference,
      }));
      return Promise.resolve({ status: "found", records });
    },
    addresses: (host) => {
      const found = addresses[host] ?? NONE;
      return Promise.resolve(
        Array.isArray(found) ? { status: "found", records: found } : found,
      );
    },
  };
}

const TWO = dns({ "d.example": ["m1", "m2"] }, {
  m1: ["10.0.0.1"],
  m2: ["10.0.0.2"],
});

function job(content: string, change: Partial<DeliveryJob> = {}): DeliveryJob {
  const bytes = new TextEncoder().encode(content);
  return {
    id: "m1",
    from: Address.parse("a@me.example"),
    parameters: {},
    recipients: ["b@d.example", "c@d.example"].map((text) => ({
      address: Address.parse(text),
      parameters: {},
    })),
    destination: "d.example",
    size: bytes.length,
    acceptedAt: 0,
    attempt: 1,
    content: () => ReadableStream.from([bytes]),
    ...change,
  };
}

const CONTENT = "Subject: x\r\n\r\nx\r\n";

function short({ recipients }: DeliveryReport): string {
  return recipients.map(({ status, reply, remoteMta }) =>
    status === "delivered"
      ? `ok@${remoteMta}`
      : `${status} ${reply?.enhanced ?? reply?.code}@${remoteMta ?? "-"}`
  ).join(", ");
}

async function deliver(
  hosts: Record<string, FakeHost>,
  options: Partial<DeliveryOptions & DeliveryMachine> = {},
  change: Partial<DeliveryJob> = {},
): Promise<[string, FakeNetwork, DeliveryReport]> {
  const network = new FakeNetwork(hosts);
  const delivery = makeDelivery({
    hostname: "me.example",
    dns: TWO,
    connect: network.connect,
    random: () => 0,
    ...options,
  });
  const report = await delivery.deliver(job(CONTENT, change));
  await delivery.close();
  assertEquals(network.open, 0, "a connection was left open");
  return [short(report), network, report];
}

Deno.test("Delivery.deliver() walks the hosts", async () => {
  const no = (code: string) => ({ faults: { MAIL: code } });
  const rows: [string, Record<string, FakeHost>, string, boolean][] = [
    ["first host", { "10.0.0.1": {} }, "ok@m1, ok@m1", false],
    ["next when refused", { "10.0.0.2": {} }, "ok@m2, ok@m2", false],
    ["no host", {}, "deferred 4.4.1@-, deferred 4.4.1@-", true],
    [
      "next at 5xx greeting",
      { "10.0.0.1": { faults: { greeting: "554 x" } }, "10.0.0.2": {} },
      "ok@m2, ok@m2",
      false,
    ],
    [
      "defer at the last 5xx greeting",
      {
        "10.0.0.1": { faults: { greeting: "554 5.7.1 x" } },
        "10.0.0.2": { faults: { greeting: "554 5.7.1 y" } },
      },
      "deferred 5.7.1@m2, deferred 5.7.1@m2",
      true,
    ],
    [
      "next at 4xx",
      { "10.0.0.1": no("451 x"), "10.0.0.2": {} },
      "ok@m2, ok@m2",
      false,
    ],
    [
      "bounce at 5xx",
      { "10.0.0.1": no("550 5.7.1 x"), "10.0.0.2": {} },
      "failed 5.7.1@m1, failed 5.7.1@m1",
      false,
    ],
    [
      "recipients apart",
      {
        "10.0.0.1": { faults: { "RCPT 1": "550 5.1.1 x", "RCPT 2": "450 x" } },
        "10.0.0.2": {},
      },
      "failed 5.1.1@m1, ok@m2",
      false,
    ],
    [
      "drop, then next",
      { "10.0.0.1": no("drop"), "10.0.0.2": {} },
      "ok@m2, ok@m2",
      false,
    ],
    [
      "no second delivery after the end of the content",
      { "10.0.0.1": { faults: { end: "drop" } }, "10.0.0.2": {} },
      "deferred 4.4.2@m1, deferred 4.4.2@m1",
      true,
    ],
    [
      "4xx everywhere",
      { "10.0.0.1": no("451 4.3.0 x"), "10.0.0.2": no("452 4.3.1 x") },
      "deferred 4.3.1@m2, deferred 4.3.1@m2",
      false,
    ],
    [
      "odd host, then next",
      { "10.0.0.1": no("what?"), "10.0.0.2": {} },
      "ok@m2, ok@m2",
      false,
    ],
  ];
  for (const [name, hosts, want, destinationFailed] of rows) {
    const [got, , report] = await deliver(hosts);
    assertEquals(got, want, name);
    assertEquals(report.destinationFailed, destinationFailed, name);
  }
});

Deno.test("Delivery.deliver() decides by DNS before it connects", async () => {
  const rows: [string, RelayDns, string][] = [
    [
      "null MX",
      dns({ "d.example": { status: "null-mx" } }, {}),
      "failed 5.1.10@-, failed 5.1.10@-",
    ],
    [
      "no domain",
      dns({ "d.example": { status: "none", why: "no-such-name" } }, {}),
      "failed 5.1.2@-, failed 5.1.2@-",
    ],
    ["no MX and no address", dns({}, {}), "failed 5.1.2@-, failed 5.1.2@-"],
    [
      "no answer",
      dns({ "d.example": FAILED }, {}),
      "deferred 4.4.3@-, deferred 4.4.3@-",
    ],
    [
      "no answer for one host",
      dns({ "d.example": ["m1", "m2"] }, { m1: FAILED }),
      "deferred 4.4.3@-, deferred 4.4.3@-",
    ],
    [
      "loop",
      dns({ "d.example": ["me.example"] }, {}),
      "failed 5.4.6@-, failed 5.4.6@-",
    ],
    [
      "domain as host",
      dns({}, { "d.example": ["10.0.0.1"] }),
      "ok@d.example, ok@d.example",
    ],
    [
      "second address",
      dns({}, { "d.example": ["10.9.9.9", "10.0.0.1"] }),
      "ok@d.example, ok@d.example",
    ],
  ];
  for (const [name, answers, want] of rows) {
    const [got] = await deliver({ "10.0.0.1": {} }, { dns: answers });
    assertEquals(got, want, name);
  }
});

Deno.test("Delivery.deliver() connects to literals as they are", async () => {
  const [got] = await deliver({ "10.0.0.7": {} }, { dns: dns({}, {}) }, {
    destination: "[10.0.0.7]",
  });
  assertEquals(got, "ok@10.0.0.7, ok@10.0.0.7");
});

Deno.test("Delivery.deliver() uses smarthosts in order, and logs in there only", async () => {
  const hosts: Record<string, FakeHost> = {
    "10.0.0.2": { capabilities: ["AUTH PLAIN"] },
    "10.0.0.1": { capabilities: ["AUTH PLAIN"] },
  };
  const login = { username: "ann", password: "secret" };
  const options = { login, allowInsecureAuth: true, security: "none" } as const;
  const smarthosts = [{ host: "10.9.9.9" }, { host: "m2" }];
  const [got, network] = await deliver(hosts, { ...options, smarthosts });
  assertEquals(got, "ok@m2, ok@m2");
  assert(network.servers[0]!.lines.some((line) => line.startsWith("AUTH")));
  const [, direct] = await deliver(hosts, options);
  assert(!direct.servers[0]!.lines.some((line) => line.startsWith("AUTH")));
  const [lost] = await deliver({}, { smarthosts: [{ host: "typo" }] });
  assertEquals(lost, "deferred 4.4.3@-, deferred 4.4.3@-");
});

Deno.test("Delivery.deliver() sends the rest at once when there were too many recipients", async () => {
  const recipients = Array.from({ length: 5 }, (_, at) => ({
    address: Address.parse(`r${at}@d.example`),
    parameters: {},
  }));
  const faults = Object.fromEntries(
    [3, 4, 5].map((at) => [`RCPT ${at}`, "452 4.5.3 Too many"]),
  );
  for (const capabilities of [[], ["PIPELINING"]]) {
    const [got, network] = await deliver(
      { "10.0.0.1": { faults, capabilities } },
      {},
      { recipients },
    );
    assertEquals(got, Array(5).fill("ok@m1").join(", "));
    assertEquals(network.connects.length, 1);
    assertEquals(network.messages.map(({ rcpt }) => rcpt.length), [2, 2, 1]);
  }
});

Deno.test("Delivery.deliver() returns what has been through too many hosts", async () => {
  const network = new FakeNetwork({ "10.0.0.1": {} });
  await using delivery = makeDelivery({
    dns: TWO,
    connect: network.connect,
    hopLimit: 3,
  });
  const hops = (count: number) => "Received: x\r\n".repeat(count) + CONTENT;
  assertEquals(
    short(await delivery.deliver(job(hops(4)))),
    "failed 5.4.6@-, failed 5.4.6@-",
  );
  assertEquals(
    short(await delivery.deliver(job(hops(3)))),
    "ok@m1, ok@m1",
  );
});

Deno.test("Delivery uses idle sessions again, and a new one where that was closed", async () => {
  const network = new FakeNetwork({ "10.0.0.1": {} });
  const delivery = makeDelivery({ dns: TWO, connect: network.connect });
  for (let round = 0; round < 3; round++) {
    assertEquals(short(await delivery.deliver(job(CONTENT))), "ok@m1, ok@m1");
  }
  assertEquals([network.connects.length, delivery.pool.size], [1, 1]);
  network.servers[0]!.closed = true;
  assertEquals(short(await delivery.deliver(job(CONTENT))), "ok@m1, ok@m1");
  assertEquals(network.connects.length, 2);
  const login = { username: "ann", password: "x" };
  const route = { smarthost: { host: "m1" }, security: "none" } as const;
  await delivery.deliver(job(CONTENT, { route, login }));
  assertEquals(network.connects.length, 3, "credentials must not be shared");
  await delivery.close();
  assertEquals([network.open, delivery.pool.size], [0, 0]);
});

Deno.test("Delivery never uses an odd session again", async () => {
  const network = new FakeNetwork({
    "10.0.0.1": { faults: { end: "250 x\r\n250 y" } },
  });
  await using delivery = makeDelivery({ dns: TWO, connect: network.connect });
  assertEquals(short(await delivery.deliver(job(CONTENT))), "ok@m1, ok@m1");
  assertEquals(delivery.pool.size, 0);
});

Deno.test("Delivery remembers hosts whose TLS is broken", async () => {
  const network = new FakeNetwork({
    "10.0.0.1": { capabilities: ["STARTTLS"] },
  });
  let now = 0;
  const delivery = makeDelivery({
    dns: TWO,
    connect: network.connect,
    upgrade: () => Promise.reject(new Error("Bad handshake")),
    now: () => now,
    pool: { maxIdlePerKey: 0 },
  });
  for (const [time, connects] of [[0, 2], [1, 3], [21_600_000, 5]] as const) {
    now = time;
    assertEquals(short(await delivery.deliver(job(CONTENT))), "ok@m1, ok@m1");
    assertEquals(network.connects.length, connects);
  }
  await delivery.close();
});

Deno.test("Delivery.deliver() opens a large message again for each host", async () => {
  const content = CONTENT + "0123456789abcde\r\n".repeat(30000);
  let opened = 0;
  let released = 0;
  const open = async function* () {
    opened++;
    try {
      const bytes = new TextEncoder().encode(content);
      for (let at = 0; at < bytes.length; at += 10000) {
        yield bytes.slice(at, at + 10000);
        await Promise.resolve();
      }
    } finally {
      released++;
    }
  };
  const [got, network] = await deliver(
    {
      "10.0.0.1": { capabilities: ["8BITMIME"], faults: { end: "451 x" } },
      "10.0.0.2": { capabilities: ["8BITMIME"] },
    },
    {},
    { content: open, size: content.length },
  );
  assertEquals(got, "ok@m2, ok@m2");
  assertEquals(network.messages[0]?.content, content);
  assertEquals([opened, released], [2, 2]);
});

Deno.test("Delivery.deliver() stops at an abort, and reports each step before", async () => {
  const network = new FakeNetwork({ "10.0.0.1": "silent" });
  const controller = new AbortController();
  const steps: string[] = [];
  const reason = new Error("Enough");
  await using delivery = makeDelivery({ dns: TWO, connect: network.connect });
  const report = await delivery.deliver(
    job(CONTENT, {
      onState: (step) => {
        steps.push(step);
        if (step === "connected") {
          queueMicrotask(() => controller.abort(reason));
        }
      },
    }),
    controller.signal,
  );
  assertEquals(short(report), "deferred 4.3.2@-, deferred 4.3.2@-");
  assertEquals(report.destinationFailed, false);
  assertEquals(network.open, 0);
  assertEquals(steps, [
    "resolving-mx",
    "resolving-a",
    "connecting",
    "connected",
  ]);
});

Deno.test("Delivery.deliver() keeps what is delivered when it is stopped or cannot go on", async () => {
  const hosts: Record<string, FakeHost> = {
    "10.0.0.1": { faults: { "RCPT 2": "450 x" } },
    "10.0.0.2": "silent",
  };
  const network = new FakeNetwork(hosts);
  const delivery = makeDelivery({ dns: TWO, connect: network.connect });
  const controller = new AbortController();
  let connected = 0;
  const onState = (step: string) => {
    if (step === "connected" && ++connected === 2) {
      queueMicrotask(() => controller.abort());
    }
  };
  const stopped = await delivery.deliver(
    job(CONTENT, { onState }),
    controller.signal,
  );
  assertEquals(short(stopped), "ok@m1, deferred 4.3.2@-");

  hosts["10.0.0.2"] = {};
  let opened = 0;
  const large = new TextEncoder().encode(CONTENT + "x\r\n".repeat(100_000));
  const open = () => {
    // The content is read for its header and for the first host: the third
    // reading is that of the second host.
    if (++opened === 3) throw new Deno.errors.NotFound("Gone");
    return ReadableStream.from([large]);
  };
  const lost = await delivery.deliver(
    job(CONTENT, { content: open, parameters: { body: "7BIT" } }),
  );
  assertEquals(short(lost), "ok@m1, deferred 4.3.0@-");
  assert(lost.error instanceof Deno.errors.NotFound);
  await delivery.close();
  assertEquals(network.open, 0);
});

Deno.test("Delivery pauses an address that did not answer, for all domains that lead there", async () => {
  const network = new FakeNetwork({ "10.0.0.1": "silent", "10.0.0.2": {} });
  let time = 0;
  await using delivery = makeDelivery({
    hostname: "me.example",
    dns: dns({ "d.example": ["m1", "m2"], "e.example": ["m3", "m2"] }, {
      m1: ["10.0.0.1"],
      m2: ["10.0.0.2"],
      m3: ["10.0.0.1"],
    }),
    connect: network.connect,
    random: () => 0,
    timeouts: { greeting: 5 },
    now: () => time += 1000,
    pool: { maxUses: 1 },
  });
  const calls = async (change: Partial<DeliveryJob> = {}) => {
    network.connects.length = 0;
    const report = await delivery.deliver(job(CONTENT, change));
    assertEquals(short(report), "ok@m2, ok@m2");
    return network.connects;
  };
  assertEquals(await calls(), ["10.0.0.1", "10.0.0.2"]);
  assertEquals(await calls({ destination: "e.example" }), ["10.0.0.2"]);
  assertEquals(await calls({ isUrged: true }), ["10.0.0.1", "10.0.0.2"]);
  time += 60_000;
  assertEquals(await calls(), ["10.0.0.1", "10.0.0.2"], "after its pause");
  time += 61_000;
  assertEquals(await calls(), ["10.0.0.2"], "the next pause is longer");
});

Deno.test("Delivery reports a failed destination when the queue ends a job without an answer", async () => {
  const network = new FakeNetwork({ "10.0.0.1": "silent", "10.0.0.2": {} });
  const abort = new AbortController();
  const connects: string[] = [];
  let time = 0;
  await using delivery = makeDelivery({
    hostname: "me.example",
    dns: TWO,
    connect: network.connect,
    random: () => 0,
    now: () => time += 1000,
  });
  const report = await delivery.deliver(
    job(CONTENT, {
      onHost: (address) => void connects.push(address),
      onState: (step) => {
        if (step !== "connected") return;
        queueMicrotask(() =>
          abort.abort(new DOMException("No word", "TimeoutError"))
        );
      },
    }),
    abort.signal,
  );
  assertEquals(short(report), "deferred 4.4.1@-, deferred 4.4.1@-");
  assertEquals(report.destinationFailed, true);
  // The next attempt goes to the host after it.
  assertEquals(short(await delivery.deliver(job(CONTENT))), "ok@m2, ok@m2");
  assertEquals(connects, ["10.0.0.1"]);
  assertEquals(network.connects, ["10.0.0.1", "10.0.0.2"]);
});
