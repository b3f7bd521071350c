/** The limits of a whole server, over real sockets. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { memoryPair } from "../../lib/net/memory_transport.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

/** The refusals in a log. */
function refusals(records: readonly LogRecord[]): string[] {
  return records.filter(({ event }) => event === "refused")
    .map(({ message }) => message);
}

Deno.test("SmtpServer says 421 past maxConnectionsPerIp, and tells the log", async () => {
  const records: LogRecord[] = [];
  await using server = await startServer({
    limits: { maxConnectionsPerIp: 2, exempt: [] },
    log: (record) => records.push(record),
  });
  using first = await TestClient.connect(server);
  using second = await TestClient.connect(server);
  await first.reply();
  await second.reply();
  const words = "Too many connections from 127.0.0.1, at most 2";
  using third = await TestClient.connect(server);
  assertEquals(await third.rest(), `421 4.7.0 ${words}\r\n`);
  assertEquals(refusals(records), [words]);
  await first.expect(["QUIT", "221"]);
  await until(() => server.sessions.length === 1);
  using fourth = await TestClient.connect(server);
  assertEquals((await fourth.reply()).slice(0, 3), "220");
});

Deno.test("SmtpServer says 421 past connectionsPerMinute, without enhanced codes where they are off", async () => {
  await using server = await startServer({
    limits: { connectionsPerMinute: 3, exempt: ["10.0.0.0/8"] },
    disabledExtensions: ["ENHANCEDSTATUSCODES"],
  });
  for (let round = 0; round < 3; round++) {
    using client = await TestClient.connect(server);
    assertEquals((await client.reply()).slice(0, 3), "220");
    await client.expect(["QUIT", "221"]);
  }
  using late = await TestClient.connect(server);
  assertEquals(
    await late.rest(),
    "421 Too many new connections from 127.0.0.1, at most 3 a minute\r\n",
  );
});

Deno.test("SmtpServer limits the clients behind a proxy, each for itself", async () => {
  await using server = await startServer({
    listen: [],
    limits: { maxConnectionsPerIp: 1 },
    proxyProtocol: ["192.0.2.1"],
  });
  const connect = async (address: string) => {
    const [inner, outer] = memoryPair();
    void server.serve(inner);
    const client = new TestClient(outer);
    await client.send(`PROXY TCP4 ${address} 198.51.100.2 40000 25\r\n`);
    return client;
  };
  using first = await connect("203.0.113.1");
  assertEquals((await first.reply()).slice(0, 3), "220");
  using other = await connect("203.0.113.2");
  assertEquals((await other.reply()).slice(0, 3), "220");
  using second = await connect("203.0.113.1");
  assertEquals(
    await second.rest(),
    "421 4.7.0 Too many connections from 203.0.113.1, at most 1\r\n",
  );
});

Deno.test("SmtpServer admits the client that XCLIENT names as any other", async () => {
  const records: LogRecord[] = [];
  await using server = await startServer({
    limits: { maxConnectionsPerIp: 1 },
    xclient: ["127.0.0.0/8"],
    log: (record) => records.push(record),
  });
  const front = async (address: string, want: string) => {
    const client = await TestClient.connect(server);
    await client.reply();
    await client.expect(["EHLO x", "250"], [`XCLIENT ADDR=${address}`, want]);
    return client;
  };
  const words = "421 4.7.0 Too many connections from 203.0.113.1, at most 1";
  const first = await front("203.0.113.1", "220");
  using _other = await front("203.0.113.2", "220");
  using second = await front("203.0.113.1", words);
  assertEquals(await second.rest(), "");
  assertEquals(refusals(records), [words.slice(10)]);
  // The end of a session frees its own place, not another client's.
  await first.expect(["QUIT", "221"]);
  first.close();
  await until(() => server.sessions.length === 1);
  using _third = await front("203.0.113.1", "220");
  using fourth = await front("203.0.113.2", "421 4.7.0 Too many");
  assertEquals(await fourth.rest(), "");
});

Deno.test("SmtpServer has no limits per address for loopback unless told so", async () => {
  await using server = await startServer({
    limits: { maxConnectionsPerIp: 1, messagesPerMinute: 1 },
  });
  using first = await TestClient.connect(server);
  using second = await TestClient.connect(server);
  for (const client of [first, second]) {
    await client.envelope();
    assertEquals((await client.data("x")).slice(0, 3), "250");
  }
});

Deno.test("SmtpServer.reload() puts other limits into force, or none of them", async () => {
  await using server = await startServer({ limits: { exempt: [] } });
  using first = await TestClient.connect(server);
  await first.reply();
  await server.reload({ limits: { maxConnectionsPerIp: 1, exempt: [] } });
  using second = await TestClient.connect(server);
  assertEquals((await second.rest()).slice(0, 4), "421 ");
  await assertRejects(
    () => server.reload({ limits: { maxConnections: 0 } }),
    RangeError,
  );
  await assertRejects(
    () => server.reload({ limits: { exempt: ["here"] } }),
    SyntaxError,
  );
  using third = await TestClient.connect(server);
  assertEquals((await third.rest()).slice(0, 4), "421 ");
  await first.expect(["NOOP", "250"]);
});

Deno.test("SmtpServer ends a session in every phase that a client stretches", async () => {
  await using server = await startServer({
    limits: { timeoutMs: 100, mailTimeoutMs: 10_000 },
    accounts: new AccountList({ ann: "secret" }),
    allowInsecureAuth: true,
  });
  const phases: (readonly string[])[] = [
    [],
    ["HELO x"],
    ["EHLO x", "AUTH PLAIN"],
    ["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"],
    ["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "BDAT 1\r\nx"],
  ];
  await Promise.all(phases.map(async (lines) => {
    using client = await TestClient.connect(server);
    await client.reply();
    await client.send(lines.map((line) => `${line}\r\n`).join(""));
    await client.send("N");
    const rest = await client.rest();
    assert(/(^|\r\n)421 4\.4\.2 Timeout, closing: .*\r\n$/.test(rest), rest);
  }));
  assertEquals(server.sessions, []);
});

Deno.test("SmtpServer.stop() ends the delay of a client that guesses recipients", async () => {
  const server = await startServer({
    domains: ["example.com"],
    limits: { exempt: [], tarpitMs: 60_000 },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.send("HELO x\r\nMAIL FROM:<a@b>\r\n");
  await client.send("RCPT TO:<a@example.org>\r\n".repeat(25));
  await until(() => server.sessions[0]?.helo === "x");
  await server.stop({ graceMs: 10 });
  assertEquals(server.sessions, []);
  assert((await client.rest()).startsWith("250 mx.test\r\n250 2.1.0"));
});

Deno.test("SmtpServer stays small under a flood of connections that it turns away", async () => {
  await using server = await startServer({
    limits: { maxConnectionsPerIp: 1, exempt: [] },
  });
  using first = await TestClient.connect(server);
  await first.reply();
  const answers = await Promise.all(
    Array.from({ length: 200 }, async () => {
      using client = await TestClient.connect(server);
      return await client.rest();
    }),
  );
  assert(answers.some((it) => it.startsWith("421 4.7.0 Too many connections")));
  assertEquals(server.sessions.length, 1);
  await first.expect(["NOOP", "250"]);
});
