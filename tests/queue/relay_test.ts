/**
 * `Relays` and `Relay`: what a program sees of a queued message, and the
 * changes it can make.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { RetrySchedule } from "../../lib/queue/schedule.ts";
import { SpoolError } from "../../lib/spool/spool.ts";
import {
  DAY,
  HOUR,
  makeMessage,
  MINUTE,
  SECOND,
  startQueue,
} from "../support/queue/fixtures.ts";

Deno.test("Relay.hold() stops tries, notices and expiry; release() goes on", async () => {
  const { clock, delivery, queue } = await startQueue();
  const relay = await queue.relays.add(
    await makeMessage({ to: ["a@one.org"] }),
    { idleWaitMs: MINUTE },
  );
  await relay.hold();
  await clock.advance(10 * DAY);
  assertEquals(delivery.seen.length, 0);
  assertEquals([relay.held, relay.isQueued], [true, true]);
  await relay.reroute({});
  await clock.advance(MINUTE);
  assertEquals(delivery.seen.length, 0);
  await relay.retry();
  await clock.advance(0);
  assertEquals(delivery.log[0], "one.org: a@one.org");
  await queue.stop();
});

Deno.test("Relay.release() lets a message go that was added held", async () => {
  const { clock, delivery, queue } = await startQueue();
  const relay = await queue.relays.add(
    await makeMessage({ to: ["a@one.org"] }),
    { held: true },
  );
  await clock.advance(HOUR);
  assertEquals(delivery.seen.length, 0);
  await relay.release();
  await clock.advance(0);
  assertEquals(delivery.log, ["one.org: a@one.org"]);
  await queue.stop();
});

Deno.test("Relay.retry() tries now, even a destination that counts as dead", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = () => ({ status: "deferred", reason: "No route" });
  delivery.destinationFailed = () => true;
  for (let n = 0; n < 20; n++) {
    await queue.relays.add(
      await makeMessage({ id: `m${n}`, to: ["a@one.org"] }),
    );
  }
  await clock.advance(10 * SECOND);
  const tries = delivery.seen.length;
  assert(tries < 20, `${tries} tries at a dead destination`);
  delivery.answer = () => ({ status: "delivered" });
  delivery.destinationFailed = () => false;
  await queue.relays.get("m19")!.retry();
  await clock.advance(0);
  // The pause is over, so all waiting messages go as well.
  assertEquals(queue.relays.get("m19"), undefined);
  await queue.stop();
});

Deno.test("Relay.remove() ends a delivery under way and tells nobody", async () => {
  const aborted: unknown[] = [];
  const { clock, queue } = await startQueue({
    deliver: (_job, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          aborted.push(signal.reason.name);
          reject(signal.reason);
        });
      }),
  });
  const relay = await queue.relays.add(
    await makeMessage({ to: ["a@one.org"] }),
  );
  await clock.advance(0);
  assertEquals(queue.active, 1);
  await relay.remove();
  await clock.advance(DAY);
  assertEquals(aborted, ["AbortError"]);
  assertEquals([queue.active, queue.relays.count], [0, 0]);
  assertEquals(relay.isQueued, false);
  await queue.stop();
});

Deno.test("Relay.reroute() sends what is pending another way", async () => {
  const { clock, delivery, queue } = await startQueue();
  const relay = await queue.relays.add(
    await makeMessage({ to: ["a@one.org", "b@two.org"] }),
    { held: true },
  );
  await relay.reroute({
    smarthost: { host: "Smart.example", port: 587 },
    security: "required",
  });
  await relay.release();
  await clock.advance(0);
  assertEquals(delivery.log, ["smart.example:587: a@one.org b@two.org"]);
  assertEquals(delivery.seen[0]!.job.route, {
    smarthost: { host: "Smart.example", port: 587 },
    security: "required",
  });
  await queue.stop();
});

Deno.test("Relays.add() hands smarthost, security and log-in to the delivery", async () => {
  const { clock, delivery, queue } = await startQueue();
  const login = { username: "u", password: "secret" };
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }), {
    smarthost: { host: "2001:db8::1" },
    security: "verified",
    login,
  });
  await clock.advance(0);
  const { job } = delivery.seen[0]!;
  assertEquals(job.destination, "[2001:db8::1]:25");
  assertEquals(job.login, login);
  assertEquals(job.route?.security, "verified");
  await queue.stop();
});

Deno.test("Relays.add() takes further smarthosts, which are tried in order", async () => {
  const { clock, delivery, queue } = await startQueue();
  const smarthosts = [{ host: "one.example" }, { host: "two.example" }];
  await queue.relays.add(
    await makeMessage({ to: ["a@one.org", "b@two.org"] }),
    {
      smarthosts,
    },
  );
  await clock.advance(0);
  assertEquals(delivery.log, ["one.example:25: a@one.org b@two.org"]);
  // The first one is where a server without this option looks for it.
  const [first, second] = smarthosts;
  assertEquals(delivery.seen[0]!.job.route, {
    smarthost: first!,
    smarthosts: [second!],
  });
  await queue.stop();
});

Deno.test("Relays.add() takes another sender, which gets the DSNs", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) => ({
    status: address.endsWith("@one.org") ? "failed" : "delivered",
    reason: "No",
  });
  for (
    const [from, want] of [
      ["owner@list.example", "owner@list.example"],
      [Address.parse("Owner@list.example"), "Owner@list.example"],
      [null, ""],
      ["", ""],
      [undefined, "sender@example.com"],
    ] as const
  ) {
    delivery.seen.length = 0;
    const relay = await queue.relays.add(
      await makeMessage({ to: ["a@one.org"] }),
      { from },
    );
    assertEquals(relay.from, want);
    await clock.advance(MINUTE);
    const [first, ...others] = delivery.seen.map(({ job }) => job);
    assertEquals(String(first!.from), want);
    assertEquals(
      others.map(({ from, recipients }) => [
        String(from),
        ...recipients.map(({ address }) => String(address)),
      ]),
      want === "" ? [] : [["", want]],
    );
  }
  for (const from of ["a b@c", "<a@b.example>", "postmaster", 5]) {
    await assertRejects(
      async () =>
        await queue.relays.add(await makeMessage({ to: ["a@one.org"] }), {
          from: from as string,
        }),
      TypeError,
      "Cannot use from",
    );
  }
  await queue.stop();
});

Deno.test("Relays.add() waits, and takes a schedule and an expiry of its own", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = (address) =>
    address.endsWith("one.org")
      ? { status: "deferred" }
      : { status: "delivered" };
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }), {
    idleWaitMs: 10 * SECOND,
    schedule: RetrySchedule.parse("1s"),
    expireAfterMs: 5 * SECOND,
  });
  await clock.advance(9 * SECOND);
  assertEquals(delivery.seen.length, 0);
  await clock.advance(3 * SECOND);
  assert(delivery.seen.length >= 2);
  await clock.advance(5 * SECOND);
  assertEquals(queue.relays.count, 0);
  assertEquals(delivery.notices.length, 1);
  await queue.stop();
});

Deno.test("Relays.add() takes some of the recipients, and the same message twice", async () => {
  const { clock, delivery, queue } = await startQueue();
  const message = await makeMessage({ to: ["a@one.org", "b@two.org"] });
  const relays = await Promise.all([
    queue.relays.add(message, { recipients: [message.recipients[0]!] }),
    queue.relays.add(message, { recipients: [message.recipients[1]!] }),
  ]);
  assertEquals(relays.map(({ id }) => id), ["m1", "m1-2"]);
  assertEquals([...queue.relays].map(({ id }) => id), ["m1", "m1-2"]);
  await clock.advance(0);
  assertEquals(delivery.log, ["one.org: a@one.org", "two.org: b@two.org"]);
  await assertRejects(
    () => queue.relays.add(message, { recipients: [] }),
    TypeError,
    "want one recipient",
  );
  await queue.stop();
});

Deno.test("Relays.add() takes recipients and a schedule as texts", async () => {
  const { clock, delivery, queue } = await startQueue();
  delivery.answer = () => ({ status: "deferred" });
  const message = await makeMessage({ to: ["a@one.org"] });
  const recipients = ["b@two.org", Address.parse("c@three.org")];
  const relay = await queue.relays.add(message, { recipients, schedule: "1s" });
  assertEquals(
    relay.recipients.map(({ address }) => address),
    ["b@two.org", "c@three.org"],
  );
  await clock.advance(3 * SECOND);
  assert(delivery.seen.length >= 4, `${delivery.seen.length} tries`);
  for (const options of [{ recipients: ["b"] }, { schedule: "soon" }]) {
    await assertRejects(() => queue.relays.add(message, options), TypeError);
  }
  assertEquals(queue.relays.count, 1);
  await queue.stop();
});

Deno.test("Relays.add() rejects with 452 4.3.1 when the spool is full, and recovers", async () => {
  const spool = new MemorySpool({ capacity: 100 });
  const { clock, queue } = await startQueue({ spool });
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }), {
    held: true,
  });
  const large = await makeMessage({
    id: "m2",
    to: ["a@one.org"],
    content: "x".repeat(90),
  });
  const error = await assertRejects(() => queue.relays.add(large), SpoolError);
  assertEquals([error.reply.code, error.reply.enhanced], [452, "4.3.1"]);
  await queue.relays.get("m1")!.remove();
  await clock.advance(0);
  const again = await makeMessage({
    id: "m3",
    to: ["a@one.org"],
    content: "x".repeat(50),
  });
  assertEquals((await queue.relays.add(again)).id, "m3");
  await queue.stop();
});

Deno.test("Relay.tag keeps JSON values only", async () => {
  const { queue } = await startQueue();
  const message = await makeMessage({ to: ["a@one.org"] });
  const relay = await queue.relays.add(message, {
    held: true,
    tag: { n: [1] },
  });
  assertEquals(relay.tag, { n: [1] });
  relay.tag = "other";
  assertEquals(relay.tag, "other");
  await assertRejects(
    () => queue.relays.add(message, { tag: () => {} }),
    TypeError,
    "want a JSON value",
  );
  await queue.stop();
});
