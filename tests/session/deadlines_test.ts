/**
 * Time limits of a session: command, content and writing (RFC 5321 section
 * 4.5.3.2.7).
 */

import { assert, assertEquals } from "@std/assert";
import { SessionDeadlines } from "../../lib/session/deadlines.ts";

const LIMITS = {
  timeoutMs: 300_000,
  mailTimeoutMs: 1_800_000,
  minBytesPerSecond: 500,
};

/** When the session of a client ends that sends `count` bytes every `everyMs`, in ms; `Infinity` if not within a day. */
function endOf(
  deadlines: SessionDeadlines,
  client: {
    readonly what: "command" | "content";
    readonly everyMs: number;
    readonly count: number;
  },
): number {
  const { what, everyMs, count } = client;
  for (let now = 0; now < 86_400_000; now += everyMs) {
    const deadline = deadlines[what](now);
    if (deadline < now + everyMs) return deadline;
    deadlines.received(now + everyMs, count);
  }
  return Infinity;
}

Deno.test("SessionDeadlines ends with one byte a minute, wherever it comes", () => {
  for (const what of ["command", "content"] as const) {
    const client = { what, everyMs: 60_000, count: 1 };
    const end = endOf(new SessionDeadlines(LIMITS), client);
    assert(end >= 300_000 && end < 301_000, `${what}: ${end}`);
  }
});

Deno.test("SessionDeadlines has time for a slow line that is fast enough", () => {
  const client = { what: "content", everyMs: 1000, count: 500 } as const;
  assertEquals(endOf(new SessionDeadlines(LIMITS), client), Infinity);
  const slower = endOf(new SessionDeadlines(LIMITS), { ...client, count: 400 });
  // Each second lacks a fifth: the credit of 300 seconds lasts five times as long.
  assert(slower > 1_400_000 && slower < 1_600_000, `${slower}`);
});

Deno.test("SessionDeadlines gives no credit for what came fast before", () => {
  const deadlines = new SessionDeadlines(LIMITS);
  deadlines.content(0);
  deadlines.received(1000, 50_000_000);
  assertEquals(deadlines.content(1000), 301_000);
});

Deno.test("SessionDeadlines gives each command its time, and all of them together theirs", () => {
  const deadlines = new SessionDeadlines(LIMITS);
  let now = 0;
  let deadline = deadlines.command(now);
  while (now < deadline) {
    now += 290_000;
    deadline = deadlines.command(now - 290_000);
    deadlines.commandDone();
  }
  assertEquals(deadline, 1_800_000);
  assertEquals(
    String(deadlines.reply(deadline)),
    "421 4.4.2 Timeout, closing: no message in 1800 seconds",
  );
  deadlines.mailDone();
  assertEquals(deadlines.command(now), now + 300_000);
  assertEquals(
    String(deadlines.reply(now + 300_000)),
    "421 4.4.2 Timeout, closing: no whole command in 300 seconds",
  );
});

Deno.test("SessionDeadlines counts the waits between chunks as content", () => {
  const deadlines = new SessionDeadlines(LIMITS);
  for (let now = 0; now < 300_000; now += 50_000) {
    assert(deadlines.content(now) <= 300_000 + 100);
    deadlines.received(now, 10);
    deadlines.commandDone();
    deadlines.writing(now);
  }
  assertEquals(
    String(deadlines.reply(300_100)),
    "421 4.4.2 Timeout, closing: less than 500 bytes a second for 300 seconds",
  );
});

Deno.test("SessionDeadlines does not charge the client for the server's own time", () => {
  const deadlines = new SessionDeadlines(LIMITS);
  assertEquals(deadlines.content(0), 300_000);
  deadlines.extend(1_000_000);
  assertEquals(deadlines.content(1_000_000), 1_300_000);
  deadlines.command(1_000_000);
  deadlines.extend(5_000_000);
  deadlines.commandDone();
  assertEquals(deadlines.command(7_000_000), 7_300_000);
});

Deno.test("SessionDeadlines with no slowest rate waits for each byte", () => {
  const deadlines = new SessionDeadlines({ ...LIMITS, minBytesPerSecond: 0 });
  const client = { what: "content", everyMs: 299_000, count: 1 } as const;
  assertEquals(endOf(deadlines, client), Infinity);
});

Deno.test("SessionDeadlines has a time for all of a message's content, however fast it comes", () => {
  const limits = { ...LIMITS, contentTimeoutMs: 3_600_000 };
  for (const minBytesPerSecond of [0, 500]) {
    const deadlines = new SessionDeadlines({ ...limits, minBytesPerSecond });
    const client = { what: "content", everyMs: 1000, count: 5000 } as const;
    assertEquals(endOf(deadlines, client), 3_600_000);
    assertEquals(
      deadlines.reply(3_600_000).toString(),
      "421 4.4.2 Timeout, closing: content for more than 3600 seconds",
    );
  }
});

Deno.test("SessionDeadlines begins a new time with the content of the next message", () => {
  const deadlines = new SessionDeadlines({
    ...LIMITS,
    contentTimeoutMs: 400_000,
  });
  deadlines.content(0);
  deadlines.extend(50_000);
  deadlines.received(390_000, 1_000_000);
  assertEquals(deadlines.content(390_000), 350_000 + 50_000 + 50_000);
  deadlines.command(400_000);
  assertEquals(deadlines.content(500_000), 800_000);
});
