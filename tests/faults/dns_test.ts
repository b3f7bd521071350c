/**
 * A name server that sends malformed or forged answers: none of them counts, no
 * question waits for ever, and mail is deferred, neither lost nor returned.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-5.1 | RFC 5321 section 5.1}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DnsClient } from "../../lib/dns/client.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startWireServer, type WireAnswer } from "../support/dns.ts";
import { heapInUse } from "../support/memory.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const FLAGS_ANSWER = 0x81;
const RECURSION = 0x80;
/** The name of the question, compressed; class IN; an hour. */
const RECORD_A = [0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 66];

/** An answer: the question with other flags, and records behind it. */
function answer(
  question: Uint8Array,
  { records, flags = FLAGS_ANSWER, count }: {
    readonly records: readonly number[];
    readonly flags?: number;
    readonly count: number;
  },
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array([...question, ...records]);
  bytes[2] = flags;
  bytes[3] = RECURSION;
  bytes.set([0, 1, count >> 8, count & 255, 0, 0, 0, 0], 4);
  return bytes;
}

const OTHER = [5, 111, 116, 104, 101, 114, 0];

/** A record that says that a name stands for another one. */
function aliasOf(
  owner: readonly number[],
  target: readonly number[],
): number[] {
  return [...owner, 0, 5, 0, 1, 0, 0, 14, 16, 0, target.length, ...target];
}

/** The false answers, by name. */
const LIES: Readonly<Record<string, WireAnswer>> = {
  "another id": (question) => {
    const bytes = answer(question, { records: RECORD_A, count: 1 });
    bytes[0]! ^= 0xff;
    return bytes;
  },
  "another name": (question) => {
    const bytes = answer(question, { records: RECORD_A, count: 1 });
    // The first letter of the question's name.
    bytes[13]! ^= 1;
    return bytes;
  },
  "another name's record": (question) =>
    answer(question, {
      records: [4, 101, 118, 105, 108, 0, ...RECORD_A.slice(2)],
      count: 1,
    }),
  "60,000 bytes": (question) =>
    answer(question, {
      records: Array.from(
        { length: 3700 },
        () => [0xc0, 12, 0, 16, ...RECORD_A.slice(4)],
      ).flat(),
      count: 3700,
    }),
  "a cut packet": (question) =>
    answer(question, { records: RECORD_A.slice(0, 9), count: 1 }),
  "a record beyond the packet": (question) =>
    answer(question, {
      records: [...RECORD_A.slice(0, 10), 255, 255, 1],
      count: 1,
    }),
  "more records than there are": (question) =>
    answer(question, { records: [], count: 9999 }),
  "a name that points at itself": (question) =>
    answer(question, {
      records: [0xc0, question.length, ...RECORD_A.slice(2)],
      count: 1,
    }),
  "truncated, and no TCP": (question) =>
    answer(question, { records: [], count: 0, flags: FLAGS_ANSWER | 2 }),
  "a CNAME loop": (question) =>
    answer(question, { records: aliasOf([0xc0, 12], [0xc0, 12]), count: 1 }),
  "a CNAME loop of two": (question) =>
    answer(question, {
      records: [...aliasOf([0xc0, 12], OTHER), ...aliasOf(OTHER, [0xc0, 12])],
      count: 2,
    }),
  "a question": (question) => question,
  "nothing but a header": (question) => question.slice(0, 12),
  "no bytes": () => new Uint8Array(0),
  "noise": () => crypto.getRandomValues(new Uint8Array(400)),
};

Deno.test("DnsClient takes an alias that leads nowhere for what it is", async () => {
  await using server = await startWireServer(() => (question) =>
    answer(question, { records: aliasOf([0xc0, 12], OTHER), count: 1 })
  );
  const dns = new DnsClient({ nameServers: [server.nameServer] });
  const outcome = await dns.mx("a.example");
  assertEquals(outcome.status === "none" && outcome.why, "no-such-record");
});

for (const [name, lie] of Object.entries(LIES)) {
  Deno.test(`DnsClient finds no address in ${name}`, async () => {
    await using server = await startWireServer(() => lie);
    const dns = new DnsClient({
      nameServers: [server.nameServer],
      timeoutMs: 200,
      attempts: 1,
    });
    const outcome = await within(dns.a("a.example"), "an outcome");
    assert(outcome.status !== "found", JSON.stringify(outcome));
    assert(server.asked.length > 0);
    assert(server.asked.length < 50, `${server.asked.length} questions`);
  });

  Deno.test(`mail waits while the name server answers with ${name}`, async () => {
    await using server = await startWireServer(() => lie);
    const store = new MemoryStore();
    await using near = await startServer({
      store,
      domains: ["near.test"],
      dns: { nameServers: [server.nameServer], timeoutMs: 200, attempts: 1 },
      relay: { from: ["127.0.0.1"], schedule: "1h" },
    });
    using client = await TestClient.connect(near);
    await client.envelope("you@a.example");
    assertStringIncludes(await client.data("Subject: a\r\n\r\nb"), "250");
    const [relay] = near.relays;
    await until(() => relay!.recipients[0]!.attempts > 0);
    assertEquals(relay!.recipients[0]!.status, "pending");
    assertEquals(store.messages.length, 0);
  });
}

Deno.test("DnsClient grows by no lie that it was told a thousand times", async () => {
  await using server = await startWireServer((name) => {
    const kinds = Object.values(LIES);
    return kinds[Number(name.slice(1, -".example".length)) % kinds.length]!;
  });
  const dns = new DnsClient({
    nameServers: [server.nameServer],
    timeoutMs: 60,
    attempts: 1,
  });
  const ask = async (from: number, count: number) => {
    const names = Array.from(
      { length: count },
      (_, at) => `n${from + at}.example`,
    );
    for (let at = 0; at < count; at += 100) {
      await Promise.all(names.slice(at, at + 100).map((name) => dns.a(name)));
    }
  };
  await ask(0, 200);
  const before = await heapInUse();
  await ask(200, 1000);
  const grown = await heapInUse() - before;
  assert(grown < 4_000_000, `${grown} bytes more`);
});
