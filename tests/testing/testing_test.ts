/**
 * The "./testing" entry point: test servers, sessions in memory, the scripted
 * client and its dialogues.
 */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Message, SmtpReply, SmtpServer } from "@smtp/server";
import {
  connectInMemory,
  memoryPair,
  ScriptedClient,
  startTestServer,
} from "@smtp/server/testing";
import { AssertionError } from "node:assert";
import { parseScript, replyFault } from "../../lib/testing/scripted_client.ts";

const GREETED = `
  S: 220 test.example ESMTP ready
  C: EHLO client.example
  S: 250
`;

const MESSAGE = `
  C: MAIL FROM:<me@client.example>
  S: 250 2.1.0 ...
  C: RCPT TO:<you@example.com>
  S: 250 2.1.5 ...
  C: DATA
  S: 354 ...
  C: Subject: hello
  C:
  C: ..dots
  C: .
  S: 250 2.0.0 Message accepted as ...
`;

/** A client, and the server's end of its connection. */
function clientAlone(timeoutMs = 60_000) {
  const [server, outer] = memoryPair();
  const client = new ScriptedClient(outer, { timeoutMs });
  const say = (text: string) => server.write(new TextEncoder().encode(text));
  return { client, server, say };
}

Deno.test("startTestServer() listens on a free port of 127.0.0.1 and collects messages", async () => {
  await using server = await startTestServer();
  assertEquals(server.address, "127.0.0.1");
  assertEquals(server.port, server.server.addresses[0]?.port);
  await using client = await server.connect({ timeoutMs: 60_000 });
  await client.script(GREETED + MESSAGE + MESSAGE);
  assertEquals(server.messages.length, 2);
  const message = await server.nextMessage({ timeoutMs: 60_000 });
  assertEquals(message.from.toString(), "me@client.example");
  assertEquals(message.recipients[0]?.address.toString(), "you@example.com");
  assert(message.text.endsWith("Subject: hello\r\n\r\n.dots\r\n"));
  assertEquals(
    (await server.nextMessage({ timeoutMs: 60_000 })).id,
    server.messages[1]?.id,
  );
});

Deno.test("startTestServer() takes the options of SmtpServer", async () => {
  await using server = await startTestServer({
    listen: "127.0.0.1:0/lmtp",
    hostname: "mx.example",
    domains: ["example.com"],
  });
  await using client = await server.connect({ timeoutMs: 60_000 });
  await client.script(`
    S: 220 mx.example LMTP ready
    C: LHLO client.example
    S: 250...
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<you@elsewhere.example>
    S: 550 5.7.1 ...
  `);
});

Deno.test("startTestServer() keeps a message in the given store before it collects it", async () => {
  const kept: string[] = [];
  let closed = 0;
  const store = {
    kind: "list",
    save(message: Message) {
      kept.push(message.id);
      return kept.length === 1
        ? Promise.resolve()
        : Promise.reject(new Error("Cannot keep more than one"));
    },
    close() {
      closed++;
      return Promise.resolve();
    },
  };
  {
    await using server = await startTestServer({ store, log: () => {} });
    await using client = await server.connect({ timeoutMs: 60_000 });
    await client.script(GREETED + MESSAGE);
    await client.script(
      MESSAGE.replace(/S: 250 2\.0\.0.*/, "S: 451 4.3.0 ..."),
    );
    assertEquals(server.messages.map((it) => it.id), [kept[0]]);
  }
  assertEquals([kept.length, closed], [2, 1]);
});

Deno.test("nextMessage() waits for a message to arrive", async () => {
  await using session = await connectInMemory();
  const next = session.nextMessage({ timeoutMs: 60_000 });
  await session.client.script(GREETED + MESSAGE);
  assertEquals((await next).headers.get("Subject"), "hello");
});

Deno.test("nextMessage() rejects when its wait runs out", async () => {
  await using session = await connectInMemory();
  await assertRejects(
    () => session.nextMessage({ timeoutMs: 1 }),
    Deno.errors.TimedOut,
    "Cannot get a message: none arrived in 1 ms",
  );
});

Deno.test("clear() drops messages, also for nextMessage()", async () => {
  await using session = await connectInMemory();
  await session.client.script(GREETED + MESSAGE);
  session.clear();
  assertEquals(session.messages, []);
  await session.client.script(MESSAGE);
  assertEquals((await session.nextMessage()).id, session.messages[0]?.id);
});

Deno.test("connectInMemory() shows handlers the given client", async () => {
  const seen: unknown[] = [];
  const tls = { protocol: "TLSv1.3", cipher: "", authorized: false };
  {
    await using session = await connectInMemory({
      kind: "lmtp",
      clientAddress: { address: "203.0.113.9", port: 4711 },
      tls,
      handlers: {
        onConnect(session) {
          seen.push(session.remoteAddress, session.remotePort);
          seen.push(session.kind, session.tls);
        },
        onDisconnect: (_session, reason) => void seen.push(reason),
      },
    });
    await session.client.expect(220);
    assertEquals(session.server.sessions.length, 1);
    assertEquals(session.server.addresses, []);
    session.client.close();
    await session.ended;
    assertEquals(session.server.sessions.length, 0);
  }
  assertEquals(seen, ["203.0.113.9", 4711, "lmtp", tls, "disconnected"]);
});

Deno.test("connectInMemory() ends the session when it is disposed of", async () => {
  let reason: unknown;
  const session = await connectInMemory({
    handlers: { onDisconnect: (_session, why) => void (reason = why) },
  });
  await session.client.expect(220);
  await session[Symbol.asyncDispose]();
  assertEquals(reason, "disconnected");
  assertEquals(session.server.active, false);
});

Deno.test("SmtpServer.serve() wants an active server", async () => {
  const server = new SmtpServer({ listen: [], log: () => {} });
  const [inner] = memoryPair();
  await assertRejects(
    () => server.serve(inner),
    TypeError,
    "Cannot serve a connection: the server is not active",
  );
});

Deno.test("SmtpServer.serve() counts towards maxConnections", async () => {
  await using session = await connectInMemory({
    limits: { maxConnections: 1 },
  });
  await session.client.expect(220);
  const [inner, outer] = memoryPair();
  await session.server.serve(inner);
  await using second = new ScriptedClient(outer);
  await second.expect(421);
  await second.expectClosed();
});

Deno.test("SmtpServer.serve() gives up on a silent client", async () => {
  await using session = await connectInMemory({ limits: { timeoutMs: 20 } });
  await session.client.expect(220);
  await session.client.expect(421);
  await session.ended;
});

Deno.test("SmtpServer.stop() makes a second call wait as well", async () => {
  const session = await connectInMemory();
  await session.client.expect(220);
  await session.client.expect(250, "EHLO client.test");
  await session.client.expect(250, "MAIL FROM:<a@b.test>");
  const first = session.server.stop({ graceMs: 600_000 });
  assertEquals(session.server.active, false);
  await assertRejects(
    () => session.server.start(),
    TypeError,
    "Cannot start the server: it is still stopping",
  );
  let done = false;
  const second = session.server.stop().then(() => done = true);
  await session.client.expect(250, "NOOP");
  assertEquals(done, false);
  await session.client.expect(250, "RSET");
  await session.client.expect(421);
  await Promise.all([first, second]);
  await session.server.start();
  assert(session.server.active);
  await session[Symbol.asyncDispose]();
});

Deno.test("ScriptedClient.connect() takes an open connection", async () => {
  const [server, outer] = memoryPair();
  await using client = await ScriptedClient.connect(outer);
  await server.write(new TextEncoder().encode("220 hello\r\n"));
  assertEquals(String(await client.read()), "220 hello");
});

Deno.test("ScriptedClient.connect() rejects if no server listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await assertRejects(
    () => ScriptedClient.connect({ address: "127.0.0.1", port }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("ScriptedClient wants a wait of more than 0", () => {
  for (const timeoutMs of [0, -1, NaN]) {
    assertThrows(() => clientAlone(timeoutMs), RangeError, "want more than 0");
  }
});

Deno.test("ScriptedClient.send() and sendRaw() send the given bytes", async () => {
  const { client, server } = clientAlone();
  await client.send("NOOP é");
  await client.sendRaw("a");
  await client.sendRaw(new Uint8Array([0, 255]));
  client.close();
  const got: number[] = [];
  const buffer = new Uint8Array(64);
  for (;;) {
    const count = await server.read(buffer);
    if (count === null) break;
    got.push(...buffer.subarray(0, count));
  }
  const text = new TextEncoder().encode("NOOP é\r\na");
  assertEquals(got, [...text, 0, 255]);
  await assertRejects(() => client.send("NOOP"), Deno.errors.BadResource);
});

Deno.test("ScriptedClient.read() reads replies in any chunks", async () => {
  const { client, say } = clientAlone();
  for (const piece of ["250-a\r", "\n250 b", "\r\n251 5.1.1 c\r\n55"]) {
    await say(piece);
  }
  assertEquals((await client.read()).lines, ["a", "b"]);
  assertEquals(String(await client.read()), "251 5.1.1 c");
  await say("0 5.1.1 d\r\n");
  const refusal = await client.read();
  assertEquals([refusal.code, refusal.enhanced], [550, "5.1.1"]);
  client.close();
});

Deno.test("ScriptedClient.read() gives the reason for a missing reply", async (t) => {
  const rows = [
    {
      name: "end",
      said: "",
      type: Deno.errors.UnexpectedEof,
      want: "the server has closed the connection",
    },
    {
      name: "end in the middle",
      said: "250-a\r\n",
      type: Deno.errors.UnexpectedEof,
      want: "in the middle of it",
    },
    {
      name: "no reply",
      said: "hello\r\n",
      type: SyntaxError,
      want: "Cannot read a reply: ",
    },
  ];
  for (const { name, said, type, want } of rows) {
    await t.step(name, async () => {
      const { client, server, say } = clientAlone();
      await say(said);
      server.close();
      await assertRejects(() => client.read(), type, want);
    });
  }
});

Deno.test("ScriptedClient.read() closes the connection when its wait runs out", async () => {
  const { client, server } = clientAlone(5);
  await assertRejects(
    () => client.read(),
    Deno.errors.TimedOut,
    "Cannot read a reply: the server took longer than 5 ms",
  );
  assertEquals(await server.read(new Uint8Array(1)), null);
});

Deno.test("ScriptedClient.expect() shows the unexpected reply", async () => {
  await using session = await connectInMemory();
  assert(await session.client.expect(220) instanceof SmtpReply);
  const error = await assertRejects(
    () => session.client.expect(250, "MAIL FROM:<>"),
    AssertionError,
    'Cannot go on: want reply 250 to "MAIL FROM:<>", got "503 5.5.1 ',
  );
  assertEquals([error.actual, error.expected], [503, 250]);
});

Deno.test("ScriptedClient.expectClosed() wants the end and nothing else", async () => {
  await using session = await connectInMemory();
  await assertRejects(
    () => session.client.expectClosed(),
    AssertionError,
    'want the end of the connection, got "220 ',
  );
  await session.client.expect(221, "QUIT");
  await session.client.expectClosed();
});

Deno.test("ScriptedClient.script() sends client lines that follow each other at once", async () => {
  await using session = await connectInMemory();
  await session.client.script(`
    ${GREETED.trim()}
    # Pipelined, and the end with them.
    C: MAIL FROM:<>
    C: RCPT TO:<you@example.com>
    C: RSET

    C: QUIT
    S: 250 2.1.0 ...
    S: 250 2.1.5 ...
    S: 250
    S: 221...
    S: <closed>
  `);
});

Deno.test("ScriptedClient.script() shows the dialogue and the difference", async () => {
  await using session = await connectInMemory({
    replyTimeoutMs: 1000,
  });
  const { message } = await assertRejects(
    () =>
      session.client.script(`
        S: 220 test.example ESMTP ready
        C: HELO client.example
        S: 250-test.example
        S: 250 SIZE ...
      `),
    AssertionError,
  );
  assertEquals(
    message,
    `Cannot go on at line 4 of the script (- wanted, + got):

  S: 220 test.example ESMTP ready
  C: HELO client.example
- S: 250-test.example
- S: 250 SIZE ...
+ S: 250 test.example`,
  );
  const late = await assertRejects(
    () => session.client.script("S: 250"),
    AssertionError,
  );
  assertStringIncludes(late.message, "+ S: <Cannot read a reply: ");
  assert(late.cause instanceof Deno.errors.TimedOut);
});

Deno.test("ScriptedClient.script() reports an end that is early or missing", async () => {
  const ended = clientAlone();
  ended.server.close();
  const early = await assertRejects(
    () => ended.client.script("S: 250"),
    AssertionError,
  );
  assertStringIncludes(early.message, "- S: 250\n+ S: <closed>");
  const open = clientAlone();
  await open.say("250 OK\r\n");
  const late = await assertRejects(
    () => open.client.script("S: <closed>"),
    AssertionError,
  );
  assertStringIncludes(late.message, "- S: <closed>\n+ S: 250 OK");
});

Deno.test("parseScript() joins lines of one step", () => {
  assertEquals(
    parseScript(
      "S: 250-a\n S: 250 b\nS: 250\n# no\nC: x \nC:\n\nC:  y\nS: <closed>",
    ),
    [
      { side: "server", lines: ["250-a", "250 b"], line: 1 },
      { side: "server", lines: ["250"], line: 3 },
      { side: "client", lines: ["x ", "", " y"], line: 5 },
      { side: "server", lines: ["<closed>"], line: 9 },
    ],
  );
});

Deno.test("parseScript() refuses a text that is not a dialogue", () => {
  for (
    const text of [
      "hello",
      "C NOOP",
      "S:",
      "S: ok",
      "S: 2500",
      "S: 650 x",
      "c: x",
    ]
  ) {
    assertThrows(
      () => parseScript(`\n${text}`),
      SyntaxError,
      `Cannot read line 2 of the script, "${text}": want `,
    );
  }
});

Deno.test("replyFault() compares a reply with the wanted one", async (t) => {
  const one = new SmtpReply(250, "a (b) c", { enhanced: "2.1.0" });
  const two = new SmtpReply(250, ["x", "y z"]);
  const empty = new SmtpReply(354, "");
  const rows: [string, SmtpReply | undefined, boolean][] = [
    ["250", one, true],
    ["250...", two, true],
    ["251", one, false],
    ["250 2.1.0 a (b) c", one, true],
    ["250 2.1.0 a .b. c", one, false],
    ["250 ...", one, true],
    ["250 ... c", one, true],
    ["250 2.1.0...(b)...", one, true],
    ["250 2.1.0 a", one, false],
    ["250-...", one, false],
    ["250-x\n250 y z", two, true],
    ["250-x\n250 ...", two, true],
    ["250-...\n250-...\n250 ...", two, false],
    ["250 x", two, false],
    ["354", empty, true],
    ["<closed>", undefined, true],
    ["<closed>", one, false],
    ["250", undefined, false],
  ];
  for (const [wanted, reply, fits] of rows) {
    await t.step(`${JSON.stringify(wanted)} and ${reply ?? "the end"}`, () => {
      const step = {
        side: "server",
        lines: wanted.split("\n"),
        line: 1,
      } as const;
      assertEquals(replyFault(step, reply), !fits);
    });
  }
});
