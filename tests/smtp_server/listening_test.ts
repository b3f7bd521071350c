/**
 * The adapter for programs of smtp-server: every form of `listen()`, `address()`,
 * closing, the log.
 */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { join } from "node:path";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import { SMTPServer } from "../../lib/smtp_server/mod.ts";
import { TestFolder } from "../support/folder.ts";
import { hasUnixSockets, testWhere } from "../support/platform.ts";
import { run as runProcess } from "../support/process.ts";
import { failure, OPEN, run } from "../support/smtp_server.ts";
import { within } from "../support/wait.ts";

type Listen = (server: SMTPServer, done: () => void) => unknown;

const ADAPTER = new URL("../../lib/smtp_server/mod.ts", import.meta.url);

const QUIET = { ...OPEN, disableReverseLookup: true };

async function close(server: SMTPServer): Promise<void> {
  server.options.closeTimeout = 1;
  await within(new Promise<void>((done) => server.close(done)), "the end");
}

Deno.test("listen() takes its arguments as node's does", async () => {
  const forms: readonly Listen[] = [
    (server, done) => server.listen(done),
    (server, done) => server.listen(0, done),
    (server, done) => server.listen("0", done),
    (server, done) => server.listen(0, "127.0.0.1", done),
    (server, done) => server.listen(0, "127.0.0.1", 511, done),
    (server, done) => server.listen(0, 511, done),
    (server, done) => server.listen(0, undefined, undefined, done),
    (server, done) => server.listen({ port: 0 }, done),
    (server, done) => server.listen({ port: "0", host: "127.0.0.1" }, done),
    (server, done) => server.listen(0, "127.0.0.1").once("listening", done),
    (server, done) => {
      server.server.on("listening", done);
      server.listen();
    },
  ];
  for (const listen of forms) {
    const server = new SMTPServer(QUIET);
    assertEquals([server.server.listening, server.server.address()], [
      ...[false, null],
    ]);
    await within(
      new Promise<void>((done) => void listen(server, done)),
      `${listen}`,
    );
    assertEquals(server.server.listening, true);
    const bound = server.server.address() as {
      address: string;
      port: number;
      family: string;
    };
    assertMatch(bound.family, /^IPv[46]$/);
    await using client = await ScriptedClient.connect({
      address: "127.0.0.1",
      port: bound.port,
    });
    await client.expect(220);
    await client.expect(221, "QUIT");
    await close(server);
    assertEquals([server.server.listening, server.server.address()], [
      ...[false, null],
    ]);
  }
});

testWhere(hasUnixSockets)(
  "listen() on the path of a unix socket, which address() tells",
  async () => {
    await using folder = await TestFolder.create();
    const path = join(folder.path, "smtp.sock");
    const forms: readonly Listen[] = [
      (server, done) => server.listen(path, done),
      (server, done) => server.listen(path, 511, done),
      (server, done) => server.listen({ path }, done),
    ];
    for (const listen of forms) {
      const server = new SMTPServer({ ...QUIET, lmtp: true });
      await within(
        new Promise<void>((done) => void listen(server, done)),
        `${listen}`,
      );
      assertEquals(server.server.address(), path);
      using conn = await Deno.connect({ transport: "unix", path });
      const greeting = new Uint8Array(512);
      const length = await conn.read(greeting);
      assertMatch(
        new TextDecoder().decode(greeting.subarray(0, length!)),
        /^220 /,
      );
      assertEquals(
        [...server.connections].map(({ remoteAddress }) => remoteAddress),
        ["unix"],
      );
      await close(server);
      assertEquals(await Array.fromAsync(Deno.readDir(folder.path)), []);
    }
  },
);

Deno.test("what listen() cannot use is an error, and it can be called again", async () => {
  await using running = await run(OPEN);
  const server = new SMTPServer(QUIET);
  const failed = Promise.withResolvers<Error>();
  server.once("error", failed.resolve);
  server.listen(running.port, "127.0.0.1");
  const error = await within(failed.promise, "the event");
  assert(error instanceof Deno.errors.AddrInUse, String(error));
  for (const place of [{ fd: 3 }, { _handle: {} }, {}]) {
    assertThrows(() => server.listen(place), TypeError, "want a port");
  }
  const beyond = Promise.withResolvers<Error>();
  server.once("error", beyond.resolve);
  server.listen(70_000);
  const { message } = await within(beyond.promise, "the event");
  assertMatch(message, /port/);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  assertThrows(() => server.listen(0), TypeError, "listens already");
  await close(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  await close(server);
});

Deno.test("close() while listen() is under way, without a listener, and twice", async () => {
  const events: string[] = [];
  const server = new SMTPServer({ ...QUIET, hideSTARTTLS: false });
  server.on("close", () => events.push("close"));
  server.listen(0, "127.0.0.1", () => events.push("listening"));
  await close(server);
  assertEquals(server.server.listening, false);
  await close(server);
  server.close();
  server.close(null);
  assertEquals(events, ["listening", "close"]);
});

Deno.test("close() lets a transaction end within closeTimeout", async () => {
  const running = await run({
    ...{ ...OPEN, closeTimeout: 60_000 },
    onData(stream, _session, callback) {
      stream.resume().on("end", () => callback(failure(550, "Not now")));
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.script(`
    S: 220
    C: EHLO c.example
    S: 250
    C: MAIL FROM:<a@b.example>
    S: 250
    C: RCPT TO:<c@d.example>
    S: 250
    C: DATA
    S: 354
  `);
  const closed = new Promise<void>((done) => running.server.close(done));
  await client.send("Subject: x\r\n\r\n.");
  assertEquals(String(await client.read()), "550 Not now");
  assertEquals((await client.read()).code, 421);
  await within(closed, "the end");
});

Deno.test("logger: true writes lines of the log to standard error", async () => {
  const program = (options: string) => `
    import { SMTPServer } from ${JSON.stringify(`${ADAPTER}`)};
    const server = new SMTPServer({
      authOptional: true, disableReverseLookup: true, ${options},
    });
    server.listen(0, "127.0.0.1", async () => {
      const conn = await Deno.connect(server.server.address());
      await conn.read(new Uint8Array(512));
      conn.close();
      server.close();
    });
  `;
  const texts: string[] = [];
  for (
    const options of [
      "logger: true",
      'logger: true, component: "mx"',
      'logger: true, ignoredHosts: ["127.0.0.1"]',
      "logger: false",
    ]
  ) {
    const { stderr } = await runProcess(Deno.execPath(), [
      ...["eval", "--no-config", "--no-check", "--ext=ts", program(options)],
    ]);
    texts.push(stderr);
  }
  assertMatch(texts[0]!, /T\d\d:.* info listening .*\n/);
  assertMatch(texts[0]!, / debug connect .*address=127\.0\.0\.1/);
  assertMatch(texts[1]!, / debug connect .*component=mx/);
  assertMatch(texts[2]!, / info listening /);
  assertEquals(/ connect /.test(texts[2]!), false);
  assertEquals(texts[3], "");
});
