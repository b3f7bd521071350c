/**
 * `RelayQueue`: tries, retries, expiry, DSNs and restarts (RFC 5321 section
 * 4.5.4).
 */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { SYSTEM_CLOCK } from "../../lib/spool/clock.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import type { RecipientReport } from "../../lib/queue/job.ts";
import { RetrySchedule } from "../../lib/queue/schedule.ts";
import { SpoolError } from "../../lib/spool/spool.ts";
import type { LogRecord } from "../../lib/log.ts";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import type { SpoolFile } from "../../lib/spool/files.ts";
import { SimulatedDisk } from "../support/queue/disk.ts";
import { readText } from "../support/bytes.ts";
import { until } from "../support/wait.ts";
import {
  addition,
  DAY,
  FakeClock,
  FakeDelivery,
  HOUR,
  makeMessage,
  MINUTE,
  SECOND,
  settle,
  startQueue,
} from "../support/queue/fixtures.ts";

Deno.test("RelayQueue delivers each destination's recipients together", async () => {
  const { clock, delivery, queue } = await startQueue();
  const relay = await queue.relays.add(
    await makeMessage({ to: ["a@one.org", "b@two.org", "c@ONE.org"] }),
  );
  assertEquals(relay.id, "m1");
  await clock.advance(0);
  assertEquals(delivery.log, [
    "one.org: a@one.org c@ONE.org",
    "two.org: b@two.org",
  ]);
  const text = "Received: from test\r\nSubject: Hello\r\n\r\nText\r\n";
  assertEquals(delivery.seen[0]!.content, text);
  assertEquals(delivery.seen[0]!.job.size, text.length);
  assertEquals(queue.relays.count, 0);
  assertEquals(relay.isQueued, false);
  assertEquals(relay.state, "done");
  await queue.stop();
});

Deno.test("RelayQueue delivers at once what is due by a clock that was set forwards", async () => {
  for (const silently of [false, true]) {
    const { clock, delivery, queue } = await startQueue({
      schedule: RetrySchedule.parse("1h"),
    });
    delivery.answer = () => ({ status: "deferred", reason: "Busy" });
    await queue.relays.add(await makeMessage({ id: "m1", to: ["a@one.org"] }));
    await clock.advance(0);
    assertEquals(delivery.seen.length, 1);
    delivery.answer = () => ({ status: "delivered" });
    await clock.set(2 * HOUR, { silently });
    // Without an event the queue notices at the next thing that happens.
    if (silently) {
      const message = await makeMessage({ id: "m2", to: ["b@two.org"] });
      await queue.relays.add(message);
    }
    await clock.advance(0);
    assertEquals(queue.relays.count, 0, `silently: ${silently}`);
    await queue.stop();
  }
});

Deno.test("Relay.retry() is heeded after the clock was set forwards, and new mail goes", async () => {
  for (const hours of [2, -2, 20, -20]) {
    const { clock, delivery, queue } = await startQueue({
      schedule: RetrySchedule.parse("30h"),
    });
    delivery.answer = () => ({ status: "deferred", reason: "Busy" });
    const first = await queue.relays.add(
      await makeMessage({ id: "m1", to: ["a@one.org"] }),
    );
    await clock.advance(0);
    delivery.answer = () => ({ status: "delivered" });
    await clock.set(hours * HOUR, { silently: true });
    await first.retry();
    await clock.advance(0);
    assertEquals(first.isQueued, false, `${hours} h: what is asked for`);
    await queue.relays.add(await makeMessage({ id: "m2", to: ["b@two.org"] }));
    await clock.advance(0);
    assertEquals(queue.relays.count, 0, `${hours} h: what is new`);
    await queue.stop();
  }
});

Deno.test("RelayQueue tries again in time what waits when the clock is set back", async () => {
  const { clock, delivery, queue } = await startQueue({
    schedule: RetrySchedule.parse("1h"),
  });
  delivery.answer = () => ({ status: "deferred", reason: "Busy" });
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(0);
  delivery.answer = () => ({ status: "delivered" });
  await clock.set(-48 * HOUR);
  await clock.advance(0);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("SYSTEM_CLOCK tells when the time of day is set, either way", async () => {
  const dateNow = Date.now;
  try {
    for (const ms of [7_200_000, -7_200_000]) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const end = SYSTEM_CLOCK.onJump!(resolve);
      const before = Date.now;
      Date.now = () => before() + ms;
      await promise;
      end();
    }
  } finally {
    Date.now = dateNow;
  }
});

Deno.test("RelayQueue goes on with good mail beside any number of silent hosts", async () => {
  let waiting = 0;
  const delivered: string[] = [];
  const { clock, queue } = await startQueue({
    deliver: async (job, signal) => {
      job.onState?.("connecting");
      if (job.destination.startsWith("dead")) {
        waiting++;
        await new Promise((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason))
        ).finally(() => waiting--);
      }
      job.onState?.("hello");
      delivered.push(job.destination);
      return {
        recipients: [{ status: "delivered" }],
        destinationFailed: false,
      };
    },
  });
  const add = async (id: string, from: string, to: string) =>
    await queue.relays.add(await makeMessage({ id, from, to: [to] }));
  for (let n = 0; n < 700; n++) {
    await add(`d${n}`, `s${n % 22}@a.org`, `a@dead${n}.org`);
  }
  await clock.advance(0);
  for (let n = 0; n < 50; n++) await add(`g${n}`, "s@b.org", `a@good${n}.org`);
  await clock.advance(2 * SECOND);
  assertEquals(delivered.length, 50, "good mail within two seconds");
  await clock.advance(MINUTE);
  assert(waiting <= 300, `${waiting} under way`);
  // Each was called and aborted as overdue, and is tried again later.
  const relays = [...queue.relays];
  assertEquals(relays.length, 700);
  const tried = relays.filter(({ recipients }) => recipients[0]!.attempts > 0);
  assert(tried.length >= 400, `${tried.length} tried`);
  assertStringIncludes(
    tried[0]!.recipients[0]!.answer!.text,
    "No host said a word in time",
  );
  const stopped = queue.stop({ graceMs: 0 });
  await clock.advance(0);
  await stopped;
});

Deno.test("RelayQueue takes the spellings of one domain for one destination", async () => {
  const { clock, delivery, queue } = await startQueue();
  await queue.relays.add(
    await makeMessage({
      to: ["a@bücher.test", "b@XN--Bcher-KVA.test", "c@BÜCHER.Test"],
    }),
  );
  await clock.advance(0);
  assertEquals(delivery.log, [
    "xn--bcher-kva.test: a@bücher.test b@XN--Bcher-KVA.test c@BÜCHER.Test",
  ]);
  await queue.stop();
});

Deno.test("RelayQueue tries a deferred delivery again by its schedule", async () => {
  const clock = new FakeClock();
  const delivery = new FakeDelivery();
  delivery.answer = () => ({ status: "deferred", reason: "Busy" });
  const start = clock.now();
  const times: number[] = [];
  const { queue } = await startQueue({
    clock,
    random: () => 0.5,
    deliver: (job, signal) => {
      times.push(clock.now() - start);
      return delivery.deliver(job, signal);
    },
  });
  const message = await makeMessage({ from: "", to: ["a@one.org"] });
  const relay = await queue.relays.add(message);
  await clock.advance(12 * HOUR);
  // Delays of 30 s, 2, 5, 15, 30 min, 1 h, 2 h, 4 h, one after the other.
  const minutes = [0, 0.5, 2.5, 7.5, 22.5, 52.5, 112.5, 232.5, 472.5, 712.5];
  assertEquals(times.map((time) => time / MINUTE), minutes);
  assertEquals(relay.recipients[0]!.attempts, 10);
  assertEquals(relay.state, "idle-waiting");
  await queue.stop();
});

Deno.test("RelayQueue tries only those again who were deferred", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address, attempt) =>
    address.startsWith("slow") && attempt === 1
      ? { status: "deferred", reason: "Greylisted" }
      : { status: "delivered" };
  await queue.relays.add(
    await makeMessage({ to: ["a@one.org", "slow@one.org", "b@one.org"] }),
  );
  await clock.advance(MINUTE);
  assertEquals(delivery.log, [
    "one.org: a@one.org slow@one.org b@one.org",
    "one.org: slow@one.org",
  ]);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue returns a failed message to its sender", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) =>
    address.endsWith("one.org")
      ? { status: "failed", reason: "No such user", enhanced: "5.1.1" }
      : { status: "delivered" };
  await queue.relays.add(await makeMessage({ to: ["a@one.org", "b@one.org"] }));
  await clock.advance(MINUTE);
  assertEquals(delivery.log, [
    "one.org: a@one.org b@one.org",
    "example.com: sender@example.com",
  ]);
  const [notice] = delivery.notices;
  assertStringIncludes(notice!, "Final-Recipient: rfc822; a@one.org\r\n");
  assertStringIncludes(notice!, "Final-Recipient: rfc822; b@one.org\r\n");
  assertStringIncludes(notice!, "Subject: Hello");
  assertEquals(delivery.seen[1]!.job.recipients[0]!.parameters, {
    notify: ["NEVER"],
  });
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue sends a notice that is refused for what is in it again with less", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) =>
    address === "sender@example.com"
      ? { status: "failed", reason: "Too large", enhanced: "5.3.4" }
      : { status: "failed", reason: "No such user", enhanced: "5.1.1" };
  await queue.relays.add(
    await makeMessage({ to: ["a@one.org"], parameters: { ret: "FULL" } }),
  );
  await clock.advance(DAY);
  const [whole, header, alone, ...others] = delivery.notices;
  assertStringIncludes(whole!, "message/rfc822\r\n");
  assertStringIncludes(whole!, "\r\n\r\nText\r\n");
  assertStringIncludes(header!, "text/rfc822-headers\r\n");
  assertStringIncludes(header!, "Subject: Hello\r\n");
  assert(!header!.includes("Text\r\n"));
  assert(!alone!.includes("rfc822-headers") && !alone!.includes("Hello"));
  for (const notice of [whole, header, alone]) {
    assertStringIncludes(notice!, "Final-Recipient: rfc822; a@one.org\r\n");
    assert(/\r\n--=_[^\r]*--\r\n$/.test(notice!), notice);
  }
  assertEquals(others, []);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue makes nothing smaller of what somebody else sent without a sender", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = () => ({
    status: "failed",
    reason: "x",
    enhanced: "5.3.4",
  });
  await queue.relays.add(await makeMessage({ from: "", to: ["a@one.org"] }));
  await clock.advance(DAY);
  assertEquals(delivery.log, ["one.org: a@one.org"]);
  await queue.stop();
});

Deno.test("RelayQueue never returns a notice", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = () => ({ status: "failed", reason: "No" });
  await queue.relays.add(await makeMessage({ from: "", to: ["a@one.org"] }));
  await queue.relays.add(await makeMessage({ id: "m2", to: ["a@one.org"] }));
  await clock.advance(DAY);
  // The DSN of m2 fails as well; no further DSN is sent for that.
  assertEquals(delivery.log, [
    "one.org: a@one.org",
    "one.org: a@one.org",
    "example.com: sender@example.com",
  ]);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue gives up after the expiry, with one last try", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) =>
    address.endsWith("one.org")
      ? { status: "deferred", reason: "Busy", enhanced: "4.2.1" }
      : { status: "delivered" };
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(5 * DAY - MINUTE);
  assertEquals(queue.relays.count, 1);
  const tries = delivery.seen.length;
  await clock.advance(2 * MINUTE);
  assertEquals(queue.relays.count, 0);
  assertEquals(delivery.seen.length > tries, true);
  // One delay DSN, one failure DSN.
  assertEquals(delivery.notices.length, 2);
  const [late, final] = delivery.notices;
  assertStringIncludes(late!, "Action: delayed\r\n");
  assertStringIncludes(
    late!,
    "Will-Retry-Until: Tue, 06 Jan 2026 00:00:00 +0000\r\n",
  );
  assertStringIncludes(final!, "Action: failed\r\n");
  assertStringIncludes(final!, "Status: 4.4.7\r\n");
  await queue.stop();
});

Deno.test("RelayQueue tells of delay once, after four hours", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) =>
    address.endsWith("one.org")
      ? { status: "deferred", reason: "Busy" }
      : { status: "delivered" };
  await queue.relays.add(
    await makeMessage({
      to: ["a@one.org", ["b@one.org", { notify: ["FAILURE"] }]],
    }),
  );
  await clock.advance(4 * HOUR - SECOND);
  assertEquals(delivery.notices.length, 0);
  await clock.advance(2 * SECOND);
  assertEquals(delivery.notices.length, 1);
  assertStringIncludes(delivery.notices[0]!, "rfc822; a@one.org");
  assert(!delivery.notices[0]!.includes("rfc822; b@one.org"));
  await clock.advance(DAY);
  assertEquals(delivery.notices.length, 1);
  await queue.stop();
});

const NOTIFY_ROWS = [
  {
    name: "no NOTIFY, failed",
    notify: undefined,
    status: "failed",
    want: "failed",
  },
  {
    name: "no NOTIFY, delivered",
    notify: undefined,
    status: "delivered",
    want: undefined,
  },
  {
    name: "NEVER, failed",
    notify: ["NEVER"],
    status: "failed",
    want: undefined,
  },
  {
    name: "SUCCESS, failed",
    notify: ["SUCCESS"],
    status: "failed",
    want: undefined,
  },
  {
    name: "SUCCESS, delivered",
    notify: ["SUCCESS"],
    status: "delivered",
    want: "relayed",
  },
  {
    name: "SUCCESS, in the mailbox",
    notify: ["SUCCESS"],
    status: "delivered",
    inMailbox: true,
    want: "delivered",
  },
  {
    name: "SUCCESS, passed on",
    notify: ["SUCCESS"],
    status: "delivered",
    dsnPassedOn: true,
    want: undefined,
  },
  {
    name: "FAILURE, failed",
    notify: ["FAILURE", "DELAY"],
    status: "failed",
    want: "failed",
  },
] as const;

for (const row of NOTIFY_ROWS) {
  Deno.test(`RelayQueue honours NOTIFY: ${row.name}`, async () => {
    const { clock, delivery, queue } = await startQueue();
    const { status, notify, want } = row;
    const inMailbox = "inMailbox" in row;
    const dsnPassedOn = "dsnPassedOn" in row;
    delivery.answer = (address) =>
      address.endsWith("one.org")
        ? { status, inMailbox, dsnPassedOn }
        : { status: "delivered" };
    const parameters = notify === undefined ? {} : { notify };
    await queue.relays.add(
      await makeMessage({ to: [["a@one.org", parameters]] }),
    );
    await clock.advance(MINUTE);
    const actions = delivery.notices.map((text) =>
      /Action: (\w+)/.exec(text)?.[1]
    );
    assertEquals(actions, want === undefined ? [] : [want]);
    assertEquals(queue.relays.count, 0);
    await queue.stop();
  });
}

Deno.test("RelayQueue gathers the failures of many destinations in one notice", async () => {
  const { clock, delivery, queue } = await startQueue({ maxConcurrent: 2 });
  delivery.answer = (address) =>
    address.startsWith("bad") ? { status: "failed" } : { status: "delivered" };
  const to = Array.from({ length: 20 }, (_, n) => `bad@host${n}.org`);
  await queue.relays.add(await makeMessage({ to }));
  await clock.advance(MINUTE);
  assertEquals(delivery.notices.length, 1);
  assertEquals(delivery.notices[0]!.match(/Final-Recipient/g)?.length, 20);
  await queue.stop();
});

Deno.test("RelayQueue does not let notices wait for a delivery that takes long", async () => {
  const hanging = Promise.withResolvers<void>();
  const delivery = new FakeDelivery();
  delivery.answer = (address) =>
    address.startsWith("bad") ? { status: "failed" } : { status: "delivered" };
  const { clock, queue } = await startQueue({
    deliver: async (job, signal) => {
      if (job.destination === "slow.org") await hanging.promise;
      return await delivery.deliver(job, signal);
    },
  });
  await queue.relays.add(
    await makeMessage({ to: ["a@slow.org", "bad@one.org"] }),
  );
  await clock.advance(SECOND);
  assertEquals(delivery.notices.length, 0);
  await clock.advance(MINUTE);
  assertEquals(delivery.notices.length, 1);
  hanging.resolve();
  await clock.advance(SECOND);
  assertEquals(queue.relays.count, 0);
  assertEquals(delivery.notices.length, 1);
  await queue.stop();
});

Deno.test("RelayQueue reports what fails while a notice is being made", async () => {
  const slow = Promise.withResolvers<void>();
  const hook = Promise.withResolvers<void>();
  const delivery = new FakeDelivery();
  delivery.answer = (address) =>
    address.startsWith("bad") ? { status: "failed" } : { status: "delivered" };
  const { clock, queue } = await startQueue({
    onRelayError: () => hook.promise,
    deliver: async (job, signal) => {
      if (job.destination === "slow.org") await slow.promise;
      return await delivery.deliver(job, signal);
    },
  });
  await queue.relays.add(
    await makeMessage({ to: ["bad@slow.org", "bad@one.org"] }),
  );
  await clock.advance(2 * MINUTE);
  slow.resolve();
  await clock.advance(SECOND);
  hook.resolve();
  await clock.advance(SECOND);
  assertEquals(delivery.notices.length, 2);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue hooks see the steps, the end and the failures", async () => {
  const seen: string[] = [];
  const { clock, delivery, queue } = await startQueue({
    onRelayStateChange: (relay, state, previous) => {
      seen.push(`${relay.id} ${previous} > ${state}`);
    },
    onRelayDone: (relay) => void seen.push(`${relay.id} is done`),
    onRelayError: (relay, failed) => {
      seen.push(`${relay.id} failed: ${failed.map(({ address }) => address)}`);
    },
  });
  delivery.answer = (address) =>
    address.startsWith("bad") ? { status: "failed" } : { status: "delivered" };
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(0);
  assertEquals(seen, [
    "m1 idle-waiting > connecting",
    "m1 connecting > sending-body",
    "m1 sending-body > done",
    "m1 is done",
  ]);
  seen.length = 0;
  await queue.relays.add(
    await makeMessage({ id: "m2", from: "", to: ["a@one.org", "bad@one.org"] }),
  );
  await clock.advance(0);
  assertEquals(seen.slice(2), [
    "m2 sending-body > done",
    "m2 failed: bad@one.org",
  ]);
  await queue.stop();
});

Deno.test("RelayQueue keeps failed recipients when the hook says hold", async () => {
  let verdict: "hold" | void = "hold";
  const { clock, delivery, queue } = await startQueue({
    onRelayError: () => Promise.resolve(verdict),
  });
  delivery.answer = () => ({ status: "failed", reason: "Bad route" });
  const relay = await queue.relays.add(
    await makeMessage({ to: ["a@one.org"] }),
  );
  await clock.advance(HOUR);
  assertEquals([relay.held, relay.isQueued], [true, true]);
  assertEquals(delivery.notices.length, 0);
  verdict = undefined;
  delivery.answer = () => ({ status: "delivered" });
  await relay.reroute({ smarthost: { host: "other.example" } });
  await relay.retry();
  await clock.advance(0);
  assertEquals(delivery.log.at(-1), "other.example:25: a@one.org");
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue survives hooks and deliveries that throw", async () => {
  const logged: string[] = [];
  const { clock, delivery, queue } = await startQueue({
    log: ({ level, message }) =>
      void (level === "error" && logged.push(message)),
    onRelayStateChange: () => {
      throw new Error("Hook");
    },
    onRelayDone: () => {
      throw new Error("Hook");
    },
  });
  delivery.answer = (_address, attempt) => {
    if (attempt === 1) throw new Error("Delivery");
    return { status: "delivered" };
  };
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(MINUTE);
  assertEquals(delivery.seen.length, 2);
  assertEquals(queue.relays.count, 0);
  assert(logged.includes("A delivery failed in an unforeseen way"));
  assert(logged.includes("A relay hook failed"));
  await queue.stop();
});

Deno.test("RelayQueue takes one report for all recipients", async () => {
  const statuses = ["deferred", "failed", "delivered"] as const;
  for (const status of statuses) {
    const { clock, queue } = await startQueue({
      schedule: "2m 1h",
      deliver: (job) =>
        Promise.resolve(
          job.attempt > 1 || job.from.isNull
            ? { status: "delivered" }
            : { status, reason: "As it is" },
        ),
      onRelayError: (_relay, failed) => {
        assertEquals(failed.map(({ answer }) => answer?.text), [
          ...["As it is", "As it is"],
        ]);
      },
    });
    const relay = await queue.relays.add(
      await makeMessage({ to: ["a@one.org", "b@one.org"] }),
    );
    await clock.advance(0);
    assertEquals(
      relay.recipients.map(({ status }) => status),
      Array(2).fill(
        { deferred: "pending", delivered: "relayed", failed: "failed" }[status],
      ),
    );
    await clock.advance(3 * MINUTE);
    assertEquals(queue.relays.count, 0);
    await queue.stop();
  }
});

Deno.test("RelayQueue defers with the message of what a delivery throws", async () => {
  const refused = new Deno.errors.ConnectionRefused("Connection refused");
  const url = "http://me:secret@127.0.0.1/hook?token=secret";
  const dead = new TypeError("fetch failed", {
    cause: new Error(`error sending request for url (${url}): reset`),
  });
  const rows: [unknown, string, "warn" | "error"][] = [
    [refused, "Connection refused", "warn"],
    [
      dead,
      "fetch failed: error sending request for url (http://127.0.0.1): reset",
      "warn",
    ],
    [new RangeError("No\nroom"), "No room", "error"],
    ["words", "words", "error"],
    [new Error(""), "Error", "error"],
    [
      new SpoolError("Cannot read /secret"),
      "Internal error; see the log",
      "error",
    ],
  ];
  for (const [thrown, reason, level] of rows) {
    const records: LogRecord[] = [];
    const { clock, queue } = await startQueue({
      log: (record) => void records.push(record),
      deliver: () => Promise.reject(thrown),
    });
    const relay = await queue.relays.add(
      await makeMessage({ to: ["a@one.org"] }),
    );
    await clock.advance(0);
    const [recipient] = relay.recipients;
    assertEquals(recipient!.status, "pending");
    assertEquals(recipient!.answer, {
      ...{ at: clock.now(), text: reason, status: "4.3.0", isReply: false },
    });
    const [record] = records.filter((one) => one.level !== "info");
    assertEquals(record!.level, level);
    assertEquals(record!.error !== undefined, level === "error");
    assertEquals(JSON.stringify(records).includes("token"), false);
    await queue.stop();
  }
});

Deno.test("RelayQueue says what a delivery may return", async () => {
  for (const wrong of [undefined, null, {}, { status: "done" }, "delivered"]) {
    const { clock, queue } = await startQueue({
      deliver: () => Promise.resolve(wrong as unknown as RecipientReport),
    });
    const relay = await queue.relays.add(
      await makeMessage({ to: ["a@one.org"] }),
    );
    await clock.advance(0);
    assertStringIncludes(
      relay.recipients[0]!.answer!.text,
      'want { status: "delivered" }',
    );
    await queue.stop();
  }
});

Deno.test("RelayQueue has this machine's name unless it gets another", async () => {
  const seen: string[] = [];
  await using queue = new RelayQueue({
    spool: new MemorySpool(),
    idleWaitMs: 0,
    deliver: async ({ from, content }) => {
      if (!from.isNull) return { status: "failed", reason: "No" };
      seen.push(await readText(content()));
      return { status: "delivered" };
    },
  });
  await queue.start();
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await until(() => seen.length > 0);
  assertStringIncludes(
    seen[0]!,
    `Reporting-MTA: dns; ${Deno.hostname()}`,
  );
  assertThrows(
    () =>
      new RelayQueue({
        spool: new MemorySpool(),
        schedule: "soon",
        deliver: () => Promise.resolve({ status: "delivered" }),
      }),
    SyntaxError,
    'Cannot read duration "soon"',
  );
});

Deno.test("RelayQueue.stop() ends what takes longer than the grace, and keeps it", async () => {
  const { clock, spool, queue } = await startQueue({
    deliver: (_job, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
      }),
  });
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(0);
  const stopped = queue.stop({ graceMs: SECOND });
  await clock.advance(2 * SECOND);
  await stopped;
  const recipient = spool.entries.get("m1")!.progress.recipients[0]!;
  assertEquals([recipient.status, recipient.attempts], ["pending", 0]);
  const late = await makeMessage({ id: "m2", to: ["a@one.org"] });
  await assertRejects(() => queue.relays.add(late), SpoolError, "not running");
});

Deno.test("RelayQueue goes on after a restart where it stood", async () => {
  const { clock, delivery, spool, queue } = await startQueue();
  delivery.answer = () => ({ status: "deferred", reason: "Busy" });
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await queue.relays.add(await makeMessage({ id: "m2", to: ["a@two.org"] }), {
    held: true,
    tag: 7,
  });
  await clock.advance(10 * MINUTE);
  await queue.stop();
  const second = new FakeDelivery();
  const next = new RelayQueue({
    spool,
    deliver: second.deliver,
    hostname: "mx.example.com",
  }, { clock });
  await next.start();
  assertEquals(next.relays.get("m1")!.recipients[0]!.attempts, 4);
  assertEquals([next.relays.get("m2")!.held, next.relays.get("m2")!.tag], [
    true,
    7,
  ]);
  await clock.advance(0);
  assertEquals(second.seen.length, 0);
  await clock.advance(20 * MINUTE);
  assertEquals(second.log, ["one.org: a@one.org"]);
  assertEquals(second.seen[0]!.job.attempt, 5);
  await next.stop();
  await settle();
});

Deno.test("RelayQueue starts again after a stop, with the same relays", async () => {
  const clock = new FakeClock();
  const delivery = new FakeDelivery();
  const queue = new RelayQueue({
    spool: new MemorySpool(),
    deliver: delivery.deliver,
    hostname: "mx.example.com",
  }, { clock });
  const { relays } = queue;
  const message = await makeMessage({ to: ["a@one.org"] });
  await assertRejects(() => relays.add(message), SpoolError, "not running");
  const starting = queue.start();
  const relay = await relays.add(message, { held: true });
  await starting;
  await assertRejects(() => queue.start(), SpoolError, "running");
  await queue.stop();
  assertEquals([queue.active, relays.count], [0, 0]);
  await assertRejects(() => relay.release(), SpoolError, "not running");
  await assertRejects(() => relays.add(message), SpoolError, "not running");

  await queue.start();
  assertEquals([queue.relays === relays, relays.count], [true, 1]);
  assert(relays.get(relay.id)!.held);
  await clock.advance(HOUR);
  assertEquals(delivery.seen.length, 0);
  // A handle from before the stop acts on the message that is there now.
  await relay.release();
  await clock.advance(0);
  await relays.add(await makeMessage({ id: "m2", to: ["b@two.org"] }));
  await clock.advance(0);
  assertEquals(delivery.log, ["one.org: a@one.org", "two.org: b@two.org"]);
  assertEquals(relays.count, 0);
  await queue.stop();
  await settle();
});

/** A disk whose journal cannot be synced from some moment on. */
class SickDisk extends SimulatedDisk {
  how: "well" | "refuses" | "silent" = "well";

  override async append(path: string): Promise<SpoolFile> {
    const file = await super.append(path);
    return {
      write: (bytes) => file.write(bytes),
      truncate: (size) => file.truncate(size),
      close: () => file.close(),
      sync: async () => {
        if (this.how === "silent") return await new Promise<never>(() => {});
        if (this.how === "refuses") throw new Error("Input/output error");
        await file.sync();
      },
    };
  }
}

Deno.test("RelayQueue.stop() ends in its time whatever the disk says, and tells what was not written", async () => {
  for (const how of ["refuses", "silent"] as const) {
    for (const isUrgent of [false, true]) {
      const clock = new FakeClock();
      const disk = new SickDisk();
      const records: LogRecord[] = [];
      const delivery = new FakeDelivery();
      delivery.answer = () => ({ status: "deferred", reason: "Busy" });
      const queue = new RelayQueue({
        spool: new FileSpool("/spool", {}, { files: disk, clock }),
        deliver: delivery.deliver,
        hostname: "mx.example.com",
        log: (record) => records.push(record),
      }, { clock });
      await queue.start();
      await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
      disk.how = how;
      await clock.advance(2 * SECOND);
      assertEquals(delivery.seen.length, 1);
      const stopped = assertRejects(
        () => queue.stop({ graceMs: isUrgent ? HOUR : 10 * SECOND }),
        SpoolError,
        "may be sent again",
      );
      await settle();
      if (isUrgent) queue.abort();
      await clock.advance(15 * SECOND);
      await stopped;
      const told = records.map(({ message }) => message).join("\n");
      assertStringIncludes(told, "The spool is not up to date", how);
      assertStringIncludes(told, "Cannot write down the result", how);
      // The folder is unlocked, and what was accepted is there.
      disk.how = "well";
      const next = new FileSpool("/spool", {}, { files: disk });
      await next.open();
      assertEquals([...next.entries.keys()], ["m1"]);
      await next.close();
    }
  }
});

Deno.test("RelayQueue tells every sender of delay whose mail waits for a destination that is dead", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) =>
    address.endsWith("@dead.org")
      ? { status: "deferred", reason: "Cannot connect" }
      : { status: "delivered" };
  delivery.destinationFailed = (destination) => destination === "dead.org";
  for (let n = 0; n < 25; n++) {
    const from = `s${n}@example.com`;
    await queue.relays.add(
      await makeMessage({ id: `m${n}`, from, to: ["a@dead.org"] }),
    );
  }
  await clock.advance(4 * HOUR + 20 * MINUTE);
  const told = delivery.seen.filter(({ job }) => job.from.isNull).flatMap((
    { job },
  ) => job.recipients.map(({ address }) => String(address)));
  assertEquals(told.length, 25);
  assertEquals(new Set(told).size, 25);
  const untried = [...queue.relays].filter(({ recipients }) =>
    recipients[0]!.attempts === 0
  );
  assert(untried.length > 0, "all were tried");
  const text = delivery.notices.join("");
  assertStringIncludes(text, "Not tried yet: its destination did not answer");
  await queue.stop();
});

Deno.test("RelayQueue tells nobody of delay that a restart makes up for", async () => {
  const clock = new FakeClock();
  const delivery = new FakeDelivery();
  const spool = new MemorySpool();
  await spool.open();
  const message = addition("m1");
  const acceptedAt = clock.now();
  await spool.add({
    ...message,
    envelope: { ...message.envelope, acceptedAt },
  });
  await clock.advance(5 * HOUR);
  const queue = new RelayQueue({
    spool,
    deliver: delivery.deliver,
    hostname: "mx.example.com",
  }, { clock });
  await queue.start();
  await clock.advance(MINUTE);
  assertEquals(delivery.log, ["example.org: m1@example.org"]);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("RelayQueue tells the sender of a message that was accepted and is lost on the disk", async () => {
  const rows: [string, (disk: SimulatedDisk) => unknown][] = [
    ["its content is cut short", (disk) => {
      const whole = disk.text("/spool/messages/m1")!;
      disk.put("/spool/messages/m1", whole.slice(0, -3));
    }],
    ["the same, and the journal is gone", async (disk) => {
      const whole = disk.text("/spool/messages/m1")!;
      disk.put("/spool/messages/m1", whole.slice(0, -3));
      await disk.remove("/spool/journal");
    }],
    ["its record is garbage", (disk) => {
      disk.put("/spool/messages/m1", "garbage");
    }],
    ["its record is not there", (disk) => disk.remove("/spool/messages/m1")],
  ];
  for (const [name, damage] of rows) {
    const clock = new FakeClock();
    const disk = new SimulatedDisk();
    const delivery = new FakeDelivery();
    const start = async () => {
      const queue = new RelayQueue({
        spool: new FileSpool("/spool", {}, { files: disk, clock }),
        deliver: delivery.deliver,
        hostname: "mx.example.com",
      }, { clock });
      await queue.start();
      return queue;
    };
    const first = await start();
    await first.relays.add(
      await makeMessage({
        from: "ann@example.com",
        to: ["a@one.org", ["b@two.org", { notify: ["NEVER"] }]],
        content: `Subject: x\r\n\r\n${"x".repeat(70_000)}\r\n`,
      }),
      { held: true },
    );
    await first.stop();
    await damage(disk);
    const second = await start();
    await clock.advance(MINUTE);
    assertEquals(delivery.log, ["example.com: ann@example.com"], name);
    const [notice] = delivery.notices;
    assertStringIncludes(notice!, "was damaged on the disk of this server");
    assertStringIncludes(notice!, "a@one.org");
    assertEquals(notice!.includes("b@two.org"), false);
    assertEquals(second.relays.count, 0);
    await second.stop();
    const third = await start();
    await clock.advance(MINUTE);
    assertEquals(delivery.log.length, 1, "told twice");
    await third.stop();
  }
});

Deno.test("RelayQueue tells the sender of a message whose record is found damaged by its delivery", async () => {
  for (const at of [0, 30, 60, 150]) {
    const clock = new FakeClock();
    const disk = new SimulatedDisk();
    const delivery = new FakeDelivery();
    const start = async () => {
      const queue = new RelayQueue({
        spool: new FileSpool("/spool", {}, { files: disk, clock }),
        deliver: delivery.deliver,
        hostname: "mx.example.com",
      }, { clock });
      await queue.start();
      return queue;
    };
    const first = await start();
    await first.relays.add(
      await makeMessage({ from: "ann@example.com", to: ["a@one.org"] }),
      { held: true },
    );
    await first.stop();
    const path = disk.paths.find((path) => path.includes("/messages/"))!;
    const bytes = disk.bytes(path)!.slice();
    bytes[at]! ^= 1;
    disk.put(path, bytes);
    const second = await start();
    for (const relay of second.relays) await relay.release();
    await clock.advance(MINUTE);
    assertEquals(delivery.log, ["example.com: ann@example.com"], `byte ${at}`);
    assertStringIncludes(delivery.notices[0]!, "was damaged on the disk");
    assertStringIncludes(delivery.notices[0]!, "a@one.org");
    assertEquals(second.relays.count, 0);
    await second.stop();
  }
});

Deno.test("RelayQueue tries at once after a restart what a stop has broken off", async () => {
  const spool = new MemorySpool();
  const clock = new FakeClock();
  const init = { spool, hostname: "mx.example.com" };
  const first = new RelayQueue({
    ...init,
    deliver: async (job, signal) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return {
        recipients: job.recipients.map((_one, at) =>
          at === 0 ? { status: "delivered" } : {
            status: "deferred",
            reason: "Delivery was stopped",
          }
        ),
        destinationFailed: false,
      };
    },
  }, { clock });
  await first.start();
  await first.relays.add(
    await makeMessage({ to: ["a@one.org", "b@one.org", "c@one.org"] }),
  );
  await clock.advance(0);
  const stopped = first.stop({ graceMs: 0 });
  await clock.advance(0);
  await stopped;
  const delivery = new FakeDelivery();
  const second = new RelayQueue({ ...init, deliver: delivery.deliver }, {
    clock,
  });
  await second.start();
  const [relay] = second.relays;
  assertEquals(relay!.recipients.map(({ attempts }) => attempts), [1, 0, 0]);
  await clock.advance(0);
  assertEquals(delivery.log, ["one.org: b@one.org c@one.org"]);
  await second.stop();
});
