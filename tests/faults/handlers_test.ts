/**
 * Handlers and stores that never answer: the session ends after
 * `handlerTimeoutMs`, the server can still be stopped, and no other session is
 * disturbed.
 *
 * The promise of SECURITY.md: "Every wait has an end".
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const never = () => new Promise<never>(() => {});
const MESSAGE = "Subject: hello\r\n\r\nText\r\n.\r\n";
const ENVELOPE = ["EHLO c.test", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>"];

/** A handler that never answers, the client's lines up to it, and the reply that follows. */
interface Row {
  readonly name: keyof SmtpHandlers | "store";
  readonly lines: readonly string[];
  readonly want: string;
}

const GIVEN_UP = "421 4.3.0 Local error in processing, closing\r\n";
const ROWS: readonly Row[] = [
  { name: "onConnect", lines: [], want: GIVEN_UP },
  { name: "onCommand", lines: ["EHLO c.test"], want: GIVEN_UP },
  { name: "onHelo", lines: ["EHLO c.test"], want: GIVEN_UP },
  {
    name: "onAuthenticate",
    lines: ["EHLO c.test", "AUTH PLAIN AGFubgBzZWNyZXQ="],
    want: GIVEN_UP,
  },
  { name: "onVerify", lines: ["EHLO c.test", "VRFY ann"], want: GIVEN_UP },
  { name: "onExpand", lines: ["EHLO c.test", "EXPN all"], want: GIVEN_UP },
  { name: "onMailFrom", lines: ENVELOPE.slice(0, 2), want: GIVEN_UP },
  { name: "onRcptTo", lines: ENVELOPE, want: GIVEN_UP },
  { name: "onMessageStart", lines: [...ENVELOPE, "DATA"], want: GIVEN_UP },
  { name: "onHeaders", lines: [...ENVELOPE, "DATA", MESSAGE], want: GIVEN_UP },
  { name: "onMessage", lines: [...ENVELOPE, "DATA", MESSAGE], want: GIVEN_UP },
  { name: "store", lines: [...ENVELOPE, "DATA", MESSAGE], want: GIVEN_UP },
  {
    name: "onReset",
    lines: [...ENVELOPE, "RSET"],
    want: `250 2.0.0 Reset OK\r\n${GIVEN_UP}`,
  },
  {
    name: "onDisconnect",
    lines: ["EHLO c.test", "QUIT"],
    want: "221 2.0.0 Bye\r\n",
  },
];

function optionsOf({ name }: Row, records: LogRecord[]): SmtpServerOptions {
  return {
    allowInsecureAuth: true,
    log: (record) => records.push(record),
    logLevel: "info",
    ...(name === "store"
      ? { store: { kind: "stuck", save: never } }
      : { handlers: { [name]: never } }),
  };
}

/** Sends all lines, and expects only the replies that do not wait for the handler. */
async function saySome(client: TestClient, row: Row): Promise<string> {
  if (row.name !== "onConnect") await client.reply();
  for (const [at, line] of row.lines.entries()) {
    if (at === row.lines.length - 1) {
      await client.send(line.endsWith("\r\n") ? line : `${line}\r\n`);
    } else {
      const reply = await client.say(line);
      assert(/^[23]/.test(reply), reply);
    }
  }
  return await client.rest();
}

for (const row of ROWS) {
  Deno.test(`a session ends when ${row.name} never answers`, async () => {
    const records: LogRecord[] = [];
    await using server = await startServer({
      ...optionsOf(row, records),
      limits: { handlerTimeoutMs: 40 },
    });
    using client = await TestClient.connect(server);
    assertEquals(await saySome(client, row), row.want);
    await until(() => server.sessions.length === 0);
    const errors = records.filter(({ level }) => level === "error");
    assert(errors.length > 0);
    assertEquals(
      errors[0]!.message,
      "A handler or a store has not answered in time",
    );
  });

  Deno.test(`SmtpServer.stop() ends though ${row.name} never answers`, async () => {
    const asked = Promise.withResolvers<void>();
    const records: LogRecord[] = [];
    const options = optionsOf(row, records);
    const stuck = () => (asked.resolve(), never());
    const server = await startServer({
      ...options,
      ...(row.name === "store"
        ? { store: { kind: "stuck", save: stuck } }
        : { handlers: { [row.name]: stuck } }),
    });
    using client = await TestClient.connect(server);
    const said = saySome(client, row);
    await within(asked.promise, "the handler to be asked");
    await within(server.stop({ graceMs: 0 }), "the stop");
    await said;
    assertEquals(server.sessions, []);
    await server.start();
    await server.stop({ graceMs: 0 });
  });
}

Deno.test("a store that answers when nobody waits any more does no harm", async () => {
  const records: LogRecord[] = [];
  const gate = Promise.withResolvers<void>();
  const kept = new MemoryStore();
  let saves = 0;
  await using server = await startServer({
    limits: { handlerTimeoutMs: 1500 },
    log: (record) => records.push(record),
    store: {
      kind: "slow",
      async save(message) {
        if (++saves === 1) await gate.promise;
        await kept.save(message);
      },
    },
  });
  using client = await TestClient.connect(server);
  await client.envelope();
  assertStringIncludes(await client.data("Subject: one\r\n\r\nText"), "421");
  gate.resolve();
  using again = await TestClient.connect(server);
  await again.envelope();
  assertStringIncludes(await again.data("Subject: two\r\n\r\nText"), "250");
  const subjects = kept.messages.map((message) =>
    message.headers.get("Subject")
  );
  assertEquals(subjects.includes("two"), true);
});

Deno.test("SmtpServer.stop() ends though onRelayDone never answers", async () => {
  await using far = await startServer({});
  const asked = Promise.withResolvers<void>();
  const near = await startServer({
    relay: {
      from: ["127.0.0.1"],
      smarthosts: [{ host: "127.0.0.1", port: far.addresses[0]!.port }],
    },
    handlers: { onRelayDone: () => (asked.resolve(), never()) },
  });
  using client = await TestClient.connect(near);
  await client.envelope();
  assertStringIncludes(await client.data("Subject: one\r\n\r\nText"), "250");
  await within(asked.promise, "the handler to be asked");
  await within(near.stop({ graceMs: 50 }), "the stop");
});
