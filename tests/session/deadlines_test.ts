import { assert, assertEquals } from "@std/assert";
import { Patience } from "../../lib/session/deadlines.ts";

const LIMITS = {
  timeoutMs: 300_000,
  mailTimeoutMs: 1_800_000,
  minBytesPerSecond: 500,
};

/** When a client is given up on that sends `count` bytes every `everyMs`, in ms; `Infinity` for not within a day. */
function endOf(
  patience: Patience,
  client: {
    readonly what: "command" | "content";
    readonly everyMs: number;
    readonly count: number;
  },
): number {
  const { what, everyMs, count } = client;
  for (let now = 0; now < 86_400_000; now += everyMs) {
    const deadline = patience.wait(now, what);
    if (deadline < now + everyMs) return deadline;
    patience.received(now + everyMs, count);
  }
  return Infinity;
}

Deno.test("Patience ends with one octet a minute, wherever it comes", () => {
  for (const what of ["command", "content"] as const) {
    const client = { what, everyMs: 60_000, count: 1 };
    const end = endOf(new Patience(LIMITS), client);
    assert(end >= 300_000 && end < 301_000, `${what}: ${end}`);
  }
});

Deno.test("Patience has time for a slow line that is fast enough", () => {
  const client = { what: "content", everyMs: 1000, count: 500 } as const;
  assertEquals(endOf(new Patience(LIMITS), client), Infinity);
  const slower = endOf(new Patience(LIMITS), { ...client, count: 400 });
  // A fifth of each second is missing: 300 seconds last for five times that.
  assert(slower > 1_400_000 && slower < 1_600_000, `${slower}`);
});

Deno.test("Patience gives no credit for what came fast before", () => {
  const patience = new Patience(LIMITS);
  patience.wait(0, "content");
  patience.received(1000, 50_000_000);
  assertEquals(patience.wait(1000, "content"), 301_000);
});

Deno.test("Patience gives each command its time, and all of them together theirs", () => {
  const patience = new Patience(LIMITS);
  let now = 0;
  let deadline = patience.wait(now, "command");
  while (now < deadline) {
    now += 290_000;
    deadline = patience.wait(now - 290_000, "command");
    patience.commandDone();
  }
  assertEquals(deadline, 1_800_000);
  assertEquals(
    String(patience.reply(deadline)),
    "421 4.4.2 Timeout, closing: no message in 1800 seconds",
  );
  patience.mailDone();
  assertEquals(patience.wait(now, "command"), now + 300_000);
  assertEquals(
    String(patience.reply(now + 300_000)),
    "421 4.4.2 Timeout, closing: no whole command in 300 seconds",
  );
});

Deno.test("Patience counts the waits between chunks as content", () => {
  const patience = new Patience(LIMITS);
  for (let now = 0; now < 300_000; now += 50_000) {
    assert(patience.wait(now, "content") <= 300_000 + 100);
    patience.received(now, 10);
    patience.commandDone();
    patience.write(now);
  }
  assertEquals(
    String(patience.reply(300_100)),
    "421 4.4.2 Timeout, closing: less than 500 bytes a second for 300 seconds",
  );
});

Deno.test("Patience does not charge the client for the server's own time", () => {
  const patience = new Patience(LIMITS);
  assertEquals(patience.wait(0, "content"), 300_000);
  patience.excuse(1_000_000);
  assertEquals(patience.wait(1_000_000, "content"), 1_300_000);
  patience.wait(1_000_000, "command");
  patience.excuse(5_000_000);
  patience.commandDone();
  assertEquals(patience.wait(7_000_000, "command"), 7_300_000);
});

Deno.test("Patience with no slowest rate waits for each octet", () => {
  const patience = new Patience({ ...LIMITS, minBytesPerSecond: 0 });
  const client = { what: "content", everyMs: 299_000, count: 1 } as const;
  assertEquals(endOf(patience, client), Infinity);
});

Deno.test("Patience has a time for all of a message's content, however fast it comes", () => {
  const limits = { ...LIMITS, contentTimeoutMs: 3_600_000 };
  for (const minBytesPerSecond of [0, 500]) {
    const patience = new Patience({ ...limits, minBytesPerSecond });
    const client = { what: "content", everyMs: 1000, count: 5000 } as const;
    assertEquals(endOf(patience, client), 3_600_000);
    assertEquals(
      patience.reply(3_600_000).toString(),
      "421 4.4.2 Timeout, closing: content for more than 3600 seconds",
    );
  }
});

Deno.test("Patience begins a new time with the content of the next message", () => {
  const patience = new Patience({ ...LIMITS, contentTimeoutMs: 400_000 });
  patience.wait(0, "content");
  patience.excuse(50_000);
  patience.received(390_000, 1_000_000);
  assertEquals(patience.wait(390_000, "content"), 350_000 + 50_000 + 50_000);
  patience.wait(400_000, "command");
  assertEquals(patience.wait(500_000, "content"), 800_000);
});
