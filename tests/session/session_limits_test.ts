/** The limits as a client sees them, in a session with a clock that the test moves. */

import { assertEquals } from "@std/assert";
import { memoryPair } from "../../lib/net/memory_transport.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import {
  type LimitOptions,
  limitsOf,
} from "../../lib/session/limit_options.ts";
import { AddressLimiter } from "../../lib/session/limits.ts";
import {
  openSession,
  TestClient,
  type TestSession,
} from "../support/server.ts";
import { until, within } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

/** The texts of log records of refusals, and the limits that they name. */
function refusals(it: TestSession): [message: string, limit: unknown][] {
  return it.records.filter(({ event }) => event === "refused")
    .map(({ message, fields }) => [message, fields?.limit]);
}

/** A clock that the test moves, and counts that use it. */
function counted(limits: LimitOptions) {
  const clock = { ms: 0 };
  const now = () => clock.ms;
  const counts = new AddressLimiter(limitsOf(limits), { now });
  return { clock, init: { now, counts, limits } };
}

Deno.test("MAIL gets 450 past messagesPerMinute, and is taken in the next minute", async () => {
  const { clock, init } = counted({ messagesPerMinute: 2 });
  await using it = openSession(init);
  const { client } = it;
  await client.envelope();
  assertEquals((await client.data("x")).slice(0, 3), "250");
  await client.expect(["MAIL FROM:<a@b>", "250"], ["RSET", "250"]);
  const words = "Too many messages from 192.0.2.1, at most 2 a minute";
  await client.expect(
    ["MAIL FROM:<a@b>", `450 4.7.1 ${words}`],
    ["RCPT TO:<c@d>", "503"],
  );
  assertEquals(refusals(it), [
    [words, "messagesPerMinute"],
    ["Refused RCPT TO:<c@d>: 503 5.5.1 Need MAIL first", undefined],
  ]);
  clock.ms = 60_000;
  await client.expect(["MAIL FROM:<a@b>", "250"]);
});

Deno.test("RCPT gets 450 past recipientsPerMinute, and those before it get the message", async () => {
  const { init } = counted({ recipientsPerMinute: 2 });
  await using it = openSession(init);
  const { client } = it;
  await client.envelope("c@d", "e@f");
  await client.expect([
    "RCPT TO:<g@h>",
    "450 4.7.1 Too many recipients from 192.0.2.1, at most 2 a minute",
  ]);
  assertEquals((await client.data("x")).slice(0, 3), "250");
});

Deno.test("MAIL gets 450 past bytesPerMinute, whatever the bytes were", async () => {
  const { clock, init } = counted({ bytesPerMinute: 1000 });
  await using it = openSession(init);
  const { client } = it;
  await client.envelope();
  assertEquals((await client.data("x".repeat(950))).slice(0, 3), "250");
  const words =
    "450 4.7.1 Too many bytes from 192.0.2.1, at most 1000 a minute";
  await client.expect(["MAIL FROM:<a@b>", words]);
  clock.ms = 60_000;
  await client.expect(["MAIL FROM:<a@b>", "250"]);
});

Deno.test("A limit of an IPv6 customer names the network", async () => {
  const { init } = counted({ messagesPerMinute: 1 });
  const [transport, far] = memoryPair({
    client: { address: "2001:db8:1:2::9", port: 40000 },
  });
  await using it = openSession({ ...init, transport });
  using client = new TestClient(far);
  await client.envelope();
  await client.expect(["RSET", "250"], [
    "MAIL FROM:<a@b>",
    "450 4.7.1 Too many messages from 2001:db8:1:2::/64, at most 1 a minute",
  ]);
  client.close();
  await within(it.done, "the end");
});

/** Delays that end when the test says so. */
function heldDelays(): {
  readonly asked: number[];
  readonly end: () => void;
  wait(ms: number): Promise<void>;
} {
  const asked: number[] = [];
  const waiting: (() => void)[] = [];
  return {
    asked,
    end: () => waiting.splice(0).forEach((finish) => finish()),
    wait(ms) {
      asked.push(ms);
      return new Promise((resolve) => waiting.push(resolve));
    },
  };
}

Deno.test("A client that guesses recipients waits for the replies, and no other does", async () => {
  const delays = heldDelays();
  const { init } = counted({});
  const shared = {
    ...init,
    delays,
    isLocal: ({ localPart }: { readonly localPart: string }) =>
      localPart === "ann",
  };
  await using guesser = openSession(shared);
  await using honest = openSession({ ...shared, address: "192.0.2.2" });
  await guesser.client.envelope("ann@d");
  await honest.client.envelope("ann@d");
  for (let guess = 0; guess < 5; guess++) {
    await guesser.client.expect([`RCPT TO:<a${guess}@d>`, "550 5.7.1"]);
  }
  assertEquals(delays.asked, []);
  await guesser.client.send("RCPT TO:<a6@d>\r\nRCPT TO:<a7@d>\r\nQUIT\r\n");
  await honest.client.expect(["RCPT TO:<bob@d>", "550 5.7.1"]);
  await honest.client.expect(["RCPT TO:<ann@d>", "250"]);
  assertEquals(delays.asked, [250]);
  delays.end();
  await until(() => delays.asked.length === 2);
  assertEquals(delays.asked, [250, 500]);
  delays.end();
  for (let guess = 0; guess < 2; guess++) {
    assertEquals(await guesser.client.reply(), String(replies.relayingDenied));
  }
  assertEquals(await guesser.client.reply(), String(replies.goodbye));
});

Deno.test("Recipients that are put off, and those of exempt networks, cost no delay", async () => {
  const delays = heldDelays();
  const later = new SmtpReply(450, "Later", { enhanced: "4.2.0" });
  const rows = [
    { address: "192.0.2.1", verdict: later, want: "450" },
    { address: "127.0.0.1", verdict: false, want: "550" },
  ];
  for (const { address, verdict, want } of rows) {
    await using it = openSession({
      ...counted({}).init,
      address,
      delays,
      handlers: { onRcptTo: () => Promise.resolve(verdict) },
    });
    await it.client.reply();
    await it.client.expect(["HELO x", "250"], ["MAIL FROM:<a@b>", "250"]);
    for (let guess = 0; guess < 20; guess++) {
      await it.client.expect(["RCPT TO:<c@d>", want]);
    }
  }
  assertEquals(delays.asked, []);
});

/** The points at which a client may stop, and the lines that lead there. */
const STANDSTILLS: [name: string, lines: [string, string][]][] = [
  ["in a command", [["HELO x", "250"]]],
  ["in DATA", [
    ["HELO x", "250"],
    ["MAIL FROM:<a@b>", "250"],
    ["RCPT TO:<c@d>", "250"],
    ["DATA", "354"],
  ]],
  ["between chunks", [
    ["HELO x", "250"],
    ["MAIL FROM:<a@b>", "250"],
    ["RCPT TO:<c@d>", "250"],
    ["BDAT 2\r\n", "250"],
  ]],
];

for (const [name, lines] of STANDSTILLS) {
  Deno.test(`The session ends of a client that sends a byte a minute ${name}`, async () => {
    const { clock, init } = counted({ timeoutMs: 300_000 });
    await using it = openSession(init);
    await it.client.reply();
    await it.client.expect(...lines);
    let minutes = 0;
    for (; it.connection.deadline > clock.ms && minutes < 60; minutes++) {
      clock.ms += 60_000;
      await it.client.send("B");
      await until(() => true);
    }
    assertEquals(minutes, name === "in a command" ? 5 : 6);
    it.connection.timeOut();
    assertEquals(
      (await it.client.rest()).slice(0, 27),
      "421 4.4.2 Timeout, closing:",
    );
    await within(it.done, "the end");
    assertEquals(refusals(it).map(([message]) => message.slice(0, 26)), [
      "Ended the session: Timeout",
    ]);
  });
}

Deno.test("A session without a message is over after mailTimeoutMs", async () => {
  const { clock, init } = counted({
    timeoutMs: 300_000,
    mailTimeoutMs: 500_000,
  });
  await using it = openSession(init);
  await it.client.reply();
  clock.ms = 200_000;
  await it.client.expect(["NOOP", "250"]);
  clock.ms = 400_000;
  await it.client.expect(["NOOP", "250"]);
  assertEquals(it.connection.deadline, 500_000);
  clock.ms = 500_001;
  it.connection.timeOut();
  assertEquals(
    await it.client.rest(),
    "421 4.4.2 Timeout, closing: no message in 500 seconds\r\n",
  );
});

Deno.test("The log tells why a session was ended", async () => {
  await using it = openSession({ profile: { maxErrors: 1 } });
  await it.client.reply();
  await it.client.send("FOO\r\nFOO\r\n");
  await it.client.rest();
  await within(it.done, "the end");
  assertEquals(refusals(it), [
    ["Refused a line: 500 5.5.2 Command not recognized", undefined],
    ["Ended the session: Too many errors, closing: at most 1", undefined],
  ]);
});
