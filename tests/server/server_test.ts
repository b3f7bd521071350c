/**
 * `SmtpServer`: start, listeners, limits, sessions, stop (RFC 5321 section 3.8
 * for the 421 of a stop).
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import type { LimitOptions } from "../../lib/session/limit_options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer, TestClient } from "../support/server.ts";
import { certificate } from "../support/tls.ts";
import { until, within } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

Deno.test("SmtpServer takes a message and keeps it", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store });
  using client = await TestClient.connect(server);
  assertEquals(await client.reply(), "220 mx.test ESMTP ready");
  await client.expect(
    ["EHLO client.test", "250-mx.test\n250-PIPELINING\n250-SIZE 52428800"],
    ["MAIL FROM:<a@b.test>", "250 2.1.0"],
    ["RCPT TO:<c@d.test>", "250 2.1.5"],
    ["DATA", "354"],
    ["Subject: x\r\n\r\n..dot\r\n.", "250 2.0.0 Message accepted as "],
    ["QUIT", "221 2.0.0"],
  );
  assertEquals(await client.rest(), "");
  const message = await within(store.next(), "the message");
  assert(message.text.startsWith("Received: from client.test"));
  assert(message.text.endsWith("Subject: x\r\n\r\n.dot\r\n"));
});

Deno.test("SmtpServer listens on several addresses, each of its kind", async () => {
  await using server = await startServer({
    listen: [
      "127.0.0.1:0",
      { host: "127.0.0.1", port: 0, kind: "lmtp" },
      "127.0.0.1:0/submission",
    ],
    accounts: new AccountList({ ann: "secret" }),
  });
  assertEquals(server.active, true);
  assertEquals(server.addresses.map((it) => it.kind), [
    "smtp",
    "lmtp",
    "submission",
  ]);
  assertEquals(new Set(server.addresses.map((it) => it.port)).size, 3);
  using lmtp = await TestClient.connect(server, 1);
  assertEquals(await lmtp.reply(), "220 mx.test LMTP ready");
  await lmtp.expect(["EHLO x", "500 5.5.1"], ["LHLO x", "250-mx.test"]);
  assertEquals(server.sessions.map((it) => it.kind), ["lmtp"]);
});

Deno.test("SmtpServer refuses who speaks before the greeting, and greets all others", async () => {
  await using server = await startServer();
  for (let round = 0; round < 20; round++) {
    using patient = await TestClient.connect(server);
    assertEquals(await patient.reply(), "220 mx.test ESMTP ready");
  }
  const gate = Promise.withResolvers<void>();
  await using slow = await startServer({
    limits: { exempt: [] },
    handlers: { onConnect: () => gate.promise },
  });
  using hasty = await TestClient.connect(slow);
  await hasty.send("EHLO x\r\n");
  // The bytes have arrived before another connection is served.
  using other = await TestClient.connect(slow);
  await until(() => slow.sessions.length === 2);
  gate.resolve();
  assertEquals(
    await hasty.rest(),
    "554 5.5.1 Protocol error: command before the greeting\r\n",
  );
  assertEquals(await other.reply(), "220 mx.test ESMTP ready");
});

Deno.test("SmtpServer refuses recipients outside its domains", async () => {
  await using server = await startServer({ domains: ["Example.com"] });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["HELO x", "250"],
    ["MAIL FROM:<a@b>", "250"],
    ["RCPT TO:<a@example.COM>", "250 2.1.5"],
    ["RCPT TO:<postmaster>", "250 2.1.5"],
    ["RCPT TO:<a@example.org>", "550 5.7.1"],
    ["RCPT TO:<a@sub.example.com>", "550 5.7.1"],
    ["RCPT TO:<a%example.org@example.com>", "250 2.1.5"],
    ['RCPT TO:<"a@example.org"@example.com>', "250 2.1.5"],
  );
});

Deno.test("SmtpServer survives a reset at any point of a session", async () => {
  const records: LogRecord[] = [];
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    log: (record) => records.push(record),
  });
  using witness = await TestClient.connect(server);
  await witness.envelope();
  const script = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" +
    "BDAT 5\r\nhelloBDAT 3 LAST\r\nabcMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" +
    "DATA\r\nx\r\n.\r\nRSET\r\n";
  for (let at = 0; at <= script.length; at += 3) {
    const client = await TestClient.connect(server);
    // With the greeting unread, a close is a reset.
    await client.send(script.slice(0, at));
    client.close();
  }
  await until(() => server.sessions.length === 1);
  assert((await witness.data("still here")).startsWith("250 2.0.0"));
  assertEquals(records.filter((it) => it.level === "error"), []);
});

Deno.test("SmtpServer delays nobody else for a slow handler", async () => {
  const gate = Promise.withResolvers<void>();
  await using server = await startServer({
    handlers: {
      onMailFrom: (_session, address) =>
        address.domain === "slow.test" ? gate.promise : undefined,
    },
  });
  using slow = await TestClient.connect(server);
  using quick = await TestClient.connect(server);
  await slow.reply();
  await slow.expect(["HELO x", "250"]);
  await slow.send("MAIL FROM:<a@slow.test>\r\n");
  await quick.envelope();
  assert((await quick.data("x")).startsWith("250 2.0.0"));
  gate.resolve();
  assertEquals(await slow.reply(), String(replies.senderOk));
});

Deno.test("SmtpServer goes on when every handler throws", async () => {
  const records: LogRecord[] = [];
  const fail = () => {
    throw new Error("x");
  };
  await using server = await startServer({
    log: (record) => records.push(record),
    handlers: { onMailFrom: fail, onReset: fail, onDisconnect: fail },
  });
  for (let round = 0; round < 3; round++) {
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(
      ["HELO x", "250"],
      ["MAIL FROM:<a@b>", "451 4.3.0"],
      ["QUIT", "221"],
    );
    await client.rest();
  }
  await until(() => server.sessions.length === 0);
  assertEquals(records.filter((it) => it.level === "error").length, 6);
});

Deno.test("SmtpServer hangs up on HTTP and on junk", async () => {
  await using server = await startServer({ limits: { maxErrors: 3 } });
  using web = await TestClient.connect(server);
  await web.reply();
  await web.send("GET / HTTP/1.1\r\nHost: mx.test\r\n\r\n");
  assertEquals(
    await web.rest(),
    "421 4.7.0 This is SMTP, not HTTP, closing\r\n",
  );
  using junk = await TestClient.connect(server);
  await junk.reply();
  for (let round = 0; round < 3; round++) {
    await junk.expect(["FOO", "500 5.5.2"]);
  }
  await junk.send("FOO\r\n");
  assertEquals(
    await junk.rest(),
    "421 4.7.0 Too many errors, closing: at most 3\r\n",
  );
});

Deno.test("SmtpServer says 421 past maxConnections, and serves the next again", async () => {
  await using server = await startServer({ limits: { maxConnections: 2 } });
  using first = await TestClient.connect(server);
  using second = await TestClient.connect(server);
  await first.reply();
  await second.reply();
  using third = await TestClient.connect(server);
  assertEquals(
    await third.rest(),
    "421 4.7.0 Too many connections, at most 2\r\n",
  );
  await first.expect(["QUIT", "221"]);
  await until(() => server.sessions.length === 1);
  using fourth = await TestClient.connect(server);
  assertEquals(await fourth.reply(), "220 mx.test ESMTP ready");
});

Deno.test("SmtpServer says 421 4.4.2 to a client that has gone silent", async () => {
  const reasons: string[] = [];
  await using server = await startServer({
    limits: { timeoutMs: 40 },
    handlers: { onDisconnect: (_session, reason) => void reasons.push(reason) },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  assertEquals(
    await client.rest(),
    "421 4.4.2 Timeout, closing: no whole command in 0.04 seconds\r\n",
  );
  await until(() => reasons.length > 0);
  assertEquals(reasons, ["timeout"]);
});

Deno.test("SmtpServer.stop() lets a session finish within the grace", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store });
  using client = await TestClient.connect(server);
  await client.envelope();
  const stopped = server.stop({ graceMs: 600_000 });
  assertEquals(server.active, false);
  await assertRejects(() => TestClient.connect(server));
  assert((await client.data("x")).startsWith("250 2.0.0"));
  assertEquals(
    await client.rest(),
    "421 4.3.2 Service shutting down, closing\r\n",
  );
  await within(stopped, "the stop");
  assertEquals(store.messages.length, 1);
});

Deno.test("SmtpServer.stop() says 421 at once to sessions without a transaction", async () => {
  await using server = await startServer();
  using greeted = await TestClient.connect(server);
  await greeted.reply();
  using ready = await TestClient.connect(server);
  await ready.envelope();
  await ready.expect(["RSET", "250"]);
  using inside = await TestClient.connect(server);
  await inside.envelope();
  const stopped = server.stop({ graceMs: 600_000 });
  for (const client of [greeted, ready]) {
    assertEquals(
      await client.rest(),
      "421 4.3.2 Service shutting down, closing\r\n",
    );
  }
  await inside.expect(["RCPT TO:<e@f.test>", "250"], ["RSET", "250"]);
  assertEquals((await inside.rest()).slice(0, 9), "421 4.3.2");
  await within(stopped, "the stop");
});

Deno.test("SmtpServer.stop() waits for no TLS handshake", async () => {
  await using server = await startServer({
    certificate,
    listen: ["127.0.0.1:0", "127.0.0.1:0/smtps"],
  });
  using _silent = await TestClient.connect(server, 1);
  using begun = await TestClient.connect(server);
  await begun.reply();
  await begun.expect(["EHLO x", "250"], ["STARTTLS", "220"]);
  await until(() => server.sessions.length === 2);
  await within(server.stop({ graceMs: 600_000 }), "the stop");
  assertEquals(await begun.rest(), "");
});

Deno.test("SmtpServer.stop() leaves a store behind that never closes", async () => {
  const records: LogRecord[] = [];
  const server = await startServer({
    store: {
      kind: "stuck",
      save: () => Promise.resolve(),
      close: () => new Promise(() => {}),
    },
    log: (record) => records.push(record),
  });
  await within(server.stop({ graceMs: 0 }), "the stop");
  assertEquals(
    records.filter(({ level }) => level === "error").map((one) => one.message),
    ["The store is still busy: stopping without it"],
  );
});

Deno.test("SmtpServer.stop() says 421 after the grace", async () => {
  const reasons: string[] = [];
  await using server = await startServer({
    handlers: { onDisconnect: (_session, reason) => void reasons.push(reason) },
  });
  using client = await TestClient.connect(server);
  await client.envelope();
  await within(server.stop({ graceMs: 10 }), "the stop");
  assertEquals(
    await client.rest(),
    "421 4.3.2 Service shutting down, closing\r\n",
  );
  assertEquals(reasons, ["shutdown"]);
  assertEquals(server.sessions, []);
});

Deno.test("SmtpServer.abort() ends the grace of a stop", async () => {
  const server = await startServer();
  using client = await TestClient.connect(server);
  await client.envelope();
  const stopped = server.stop({ graceMs: 60_000 });
  await until(() => !server.active);
  await until(() => {
    server.abort();
    return server.sessions.length === 0;
  });
  await within(stopped, "the stop");
  assertEquals((await client.rest()).slice(0, 9), "421 4.3.2");
});

Deno.test("SmtpServer may be started again, on the same port", async () => {
  const server = await startServer();
  const { port } = server.addresses[0]!;
  await assertRejects(() => server.start(), TypeError, "it is active");
  await server.stop();
  await server.stop();
  assertEquals(server.active, false);
  const again = new SmtpServer({
    listen: `127.0.0.1:${port}`,
    hostname: "mx.test",
    store: new MemoryStore(),
  });
  await again.start();
  await assertRejects(
    () => startServer({ listen: ["127.0.0.1:0", `127.0.0.1:${port}`] }),
    Deno.errors.AddrInUse,
    `Cannot listen on 127.0.0.1:${port}`,
  );
  await again.stop();
  await again.start();
  using client = await TestClient.connect(again);
  assertEquals(await client.reply(), "220 mx.test ESMTP ready");
  client.close();
  await again.stop();
});

Deno.test("SmtpServer warns when mail would go nowhere", async () => {
  const cases: [SmtpServerOptions, number][] = [
    [{}, 1],
    [{ handlers: { onMessage: () => {} } }, 0],
    [{ store: new MemoryStore() }, 0],
  ];
  for (const [options, want] of cases) {
    const records: LogRecord[] = [];
    await using server = new SmtpServer({
      listen: "127.0.0.1:0",
      log: (record) => records.push(record),
      ...options,
    });
    await server.start();
    assertEquals(records.filter((it) => it.level === "warn").length, want);
  }
});

const WRONG: [name: keyof LimitOptions, value: number][] = [
  ["maxSize", -1],
  ["maxRecipients", 0],
  ["maxConnections", 0],
  ["maxErrors", 1.5],
  ["timeoutMs", NaN],
  ["maxConnectionsPerIp", -1],
  ["mailTimeoutMs", 0],
];

Deno.test("SmtpServer refuses memoryLimit Infinity and tarpitMs of an hour", () => {
  assertThrows(
    () => new SmtpServer({ memoryLimit: Infinity }),
    RangeError,
    'Cannot use memoryLimit "Infinity": want a whole number from 0',
  );
  assertThrows(
    () => new SmtpServer({ limits: { tarpitMs: 3_600_000 } }),
    RangeError,
    'Cannot use limits.tarpitMs "3600000": want 60000 at most',
  );
});

for (const [name, value] of WRONG) {
  Deno.test(`SmtpServer refuses ${name} ${value}`, () => {
    assertThrows(
      () => new SmtpServer({ limits: { [name]: value } }),
      RangeError,
      `Cannot use limits.${name} "${value}": want a whole number from`,
    );
  });
}

Deno.test("SmtpServer takes many messages at once, each whole", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store, memoryLimit: 10_000 });
  await Promise.all(Array.from({ length: 12 }, async (_, index) => {
    using client = await TestClient.connect(server);
    await client.envelope();
    const line = `${index}.`.repeat(20);
    const content = `S: ${index}\r\n\r\n${`${line}\r\n`.repeat(1000)}`;
    assert((await client.data(content)).startsWith("250 2.0.0"));
  }));
  const bodies = store.messages.map((it) =>
    it.text.slice(it.text.indexOf("\r\n\r\n") + 4)
  );
  assertEquals(bodies.length, 12);
  for (const body of bodies) {
    assertEquals(new Set(body.trimEnd().split("\r\n")).size, 1);
  }
});
