/**
 * The machine's clock jumps forwards and back: no session ends because of it, no
 * message waits more than an hour longer, and no message is lost.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.4.1 | RFC 5321 section 4.5.4.1},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2 | RFC 5321 section 4.5.3.2}
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { testDns } from "../../lib/testing/mod.ts";
import { DnsClient } from "../../lib/dns/client.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import { LoginGuard } from "../../lib/session/login_guard.ts";
import type { Clock } from "../../lib/spool/clock.ts";
import {
  DAY,
  FakeClock,
  FakeDelivery,
  HOUR,
  makeMessage,
  MINUTE,
  SECOND,
  startQueue,
} from "../support/queue/fixtures.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

/** A time of day that a test sets; its timers run by a clock that is right. */
class WallClock implements Clock {
  readonly #true: FakeClock = new FakeClock();
  /** Milliseconds that it is ahead. */
  ahead = 0;

  now(): number {
    return this.#true.now() + this.ahead;
  }

  monotonic(): number {
    return this.#true.now();
  }

  setTimer(ms: number, action: () => void): () => void {
    return this.#true.setTimer(ms, action);
  }

  async advance(ms: number): Promise<void> {
    await this.#true.advance(ms);
  }
}

/** Runs `action` with the time of day moved; nothing but `Date.now` shows it. */
async function withTimeOfDay<T>(
  ahead: number,
  action: () => Promise<T>,
): Promise<T> {
  const { now } = Date;
  Date.now = () => now() + ahead;
  try {
    return await action();
  } finally {
    Date.now = now;
  }
}

for (
  const [name, ahead] of [["forth", 10 * DAY], ["back", -10 * DAY]] as const
) {
  Deno.test(`sessions live on, and end in time, when the clock is set ${name}`, async () => {
    await using server = await startServer({ limits: { timeoutMs: 5000 } });
    using client = await TestClient.connect(server);
    await client.envelope();
    await withTimeOfDay(ahead, async () => {
      assertStringIncludes(await client.data("Subject: a\r\n\r\nb"), "250");
      using second = await TestClient.connect(server);
      await second.envelope();
      // Silent from here on: both get 421 when their time is over.
      assertStringIncludes(await second.rest(), "421 4.4.2");
      assertStringIncludes(await client.rest(), "421 4.4.2");
      await until(() => server.sessions.length === 0);
    });
  });

  Deno.test(`failed log-ins count on when the clock is set ${name}`, async () => {
    const guard = new LoginGuard();
    const attempt = { address: "192.0.2.1", account: "ann" };
    for (let failures = 0; failures < 10; failures++) {
      if (!await guard.enter(attempt)) break;
      void guard.fail(attempt);
      guard.leave(attempt);
    }
    assertEquals(await guard.enter(attempt), false);
    const allowed = await withTimeOfDay(ahead, () => guard.enter(attempt));
    assertEquals(allowed, false);
    guard.release();
  });

  Deno.test(`names are remembered no longer when the clock is set ${name}`, async () => {
    let asked = 0;
    const dns = new DnsClient(
      testDns(() => (asked++, Promise.resolve(["192.0.2.1"]))),
    );
    await dns.a("a.example");
    await withTimeOfDay(ahead, () => dns.a("a.example"));
    assertEquals(asked, 1);
  });
}

Deno.test("what waits goes out when the clock is set forth", async () => {
  const clock = new WallClock();
  const { delivery, queue } = await startQueue({ clock });
  delivery.answer = (_address, attempt) => ({
    status: attempt === 1 ? "deferred" : "delivered",
  });
  await queue.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(0);
  assertEquals(delivery.seen.length, 1);
  // Past its five days the message gets one more attempt before it is returned.
  clock.ahead = 10 * DAY;
  await clock.advance(MINUTE);
  assertEquals(delivery.log, ["one.org: a@one.org", "one.org: a@one.org"]);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("what waits is not put off by a clock that is set back", async () => {
  const clock = new WallClock();
  clock.ahead = 3 * 365 * DAY;
  const { delivery, queue } = await startQueue({ clock });
  delivery.answer = (_address, attempt) => ({
    status: attempt === 1 ? "deferred" : "delivered",
  });
  for (let number = 0; number < 3; number++) {
    await queue.relays.add(
      await makeMessage({ id: `m${number}`, to: [`a@h${number}.org`] }),
    );
  }
  await clock.advance(SECOND);
  assertEquals(delivery.seen.length, 3);
  clock.ahead = 0;
  await clock.advance(HOUR);
  assertEquals(delivery.seen.length, 6);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("a destination that rests is tried again when the clock is set back", async () => {
  const clock = new WallClock();
  clock.ahead = 365 * DAY;
  const { delivery, queue } = await startQueue({ clock });
  delivery.answer = () => ({ status: "deferred", reason: "No route" });
  delivery.destinationFailed = () => true;
  for (let number = 0; number < 20; number++) {
    await queue.relays.add(
      await makeMessage({ id: `m${number}`, to: ["a@one.org"] }),
    );
  }
  await clock.advance(10 * SECOND);
  clock.ahead = 0;
  delivery.answer = () => ({ status: "delivered" });
  delivery.destinationFailed = () => false;
  await clock.advance(2 * HOUR);
  assertEquals(queue.relays.count, 0);
  await queue.stop();
});

Deno.test("a spool that was written by a clock that was ahead is delivered after a restart", async () => {
  const spool = new MemorySpool();
  const clock = new WallClock();
  const late = new FakeDelivery();
  late.answer = () => ({ status: "deferred" });
  clock.ahead = 365 * DAY;
  const init = { spool, hostname: "mx.example.com" };
  const before = new RelayQueue({ ...init, deliver: late.deliver }, {
    clock,
  });
  await before.start();
  await before.relays.add(await makeMessage({ to: ["a@one.org"] }));
  await clock.advance(SECOND);
  assertEquals(late.seen.length, 1);
  await before.stop();
  clock.ahead = 0;
  const delivery = new FakeDelivery();
  const after = new RelayQueue({ ...init, deliver: delivery.deliver }, {
    clock,
  });
  await after.start();
  await clock.advance(HOUR);
  assertEquals(delivery.log, ["one.org: a@one.org"]);
  await after.stop();
});
