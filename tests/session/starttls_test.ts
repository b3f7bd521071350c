/** STARTTLS in a session: RFC 3207 sections 4 and 4.2. */

import { assert, assertEquals } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import {
  givenHandlers,
  type SmtpServerOptions,
} from "../../lib/server/options.ts";
import { startServer, TestClient } from "../support/server.ts";
import {
  certificate,
  connectStartTls,
  connectTls,
  dial,
  plainResponse,
  secure,
} from "../support/tls.ts";
import { until } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

const accounts = new AccountList({ ann: "secret" });
const LOGIN = `AUTH PLAIN ${plainResponse("ann", "secret")}`;

/** A server with STARTTLS that records the commands it runs. */
async function startTlsServer(
  options: SmtpServerOptions = {},
): Promise<{ server: SmtpServer; commands: string[] }> {
  const commands: string[] = [];
  const server = await startServer({
    certificate,
    handlers: {
      onCommand: (_session, line) => void commands.push(line),
      ...givenHandlers(options),
    },
    ...options,
  });
  return { server, commands };
}

/** Bytes that an attacker adds behind STARTTLS in the same packet. */
const INJECTED: Readonly<Record<string, string>> = {
  "a command": "NOOP\r\n",
  "a greeting and an envelope":
    "EHLO evil.test\r\nMAIL FROM:<a@evil.test>\r\nRCPT TO:<b@evil.test>\r\n",
  "half a command": "MAIL FR",
  "half a line end": "NOOP\r",
  "a second STARTTLS": "STARTTLS\r\n",
  "a second STARTTLS and a command": "STARTTLS\r\nQUIT\r\n",
  "a login": `${LOGIN}\r\n`,
  "half a long line": "x".repeat(1000),
  "bytes that are no text": "\xff\x00\r\n\x16\x03\x01",
};

for (const [name, injected] of Object.entries(INJECTED)) {
  Deno.test(`STARTTLS drops ${name} in its packet`, async () => {
    const { server, commands } = await startTlsServer({
      accounts,
      allowInsecureAuth: true,
    });
    await using _stop = server;
    const transport = await dial(server);
    const plain = new TestClient(transport);
    await plain.reply();
    await plain.expect(["EHLO client.test", "250"]);
    await plain.send(`STARTTLS\r\n${injected}`);
    assertEquals(await plain.reply(), String(replies.startTls));
    using secured = await secure(transport);
    const { client } = secured;
    // The first reply is to the first command within TLS.
    await client.expect(
      ["HELP me", "214"],
      // No HELO and no envelope was kept.
      ["MAIL FROM:<a@b.test>", "503 5.5.1 Say EHLO"],
      // No partial line was kept.
      ["OM:<a@b.test>", "500 5.5."],
      ["EHLO client.test", "250"],
      ["RCPT TO:<c@d.test>", "503 5.5.1 Need MAIL"],
    );
    assertEquals(server.sessions[0]!.username, undefined);
    assertEquals(commands, [
      ...["EHLO client.test", "STARTTLS", "HELP me", "MAIL FROM:<a@b.test>"],
      ...["OM:<a@b.test>", "EHLO client.test", "RCPT TO:<c@d.test>"],
    ]);
  });
}

Deno.test("STARTTLS forgets HELO and the login", async () => {
  const { server } = await startTlsServer({
    accounts,
    allowInsecureAuth: true,
    authentication: "required",
  });
  await using _stop = server;
  const transport = await dial(server);
  const plain = new TestClient(transport);
  await plain.reply();
  await plain.expect(
    ["EHLO client.test", "250"],
    [LOGIN, "235"],
    ["MAIL FROM:<a@b.test>", "250"],
    ["STARTTLS", "503 5.5.1"],
    ["RSET", "250"],
  );
  const [session] = server.sessions;
  assertEquals([session!.username, session!.helo], ["ann", "client.test"]);
  assertEquals(session!.tls, undefined);
  await plain.expect(["STARTTLS", "220"]);
  using secured = await secure(transport);
  const { client } = secured;
  await client.expect([LOGIN, "503 5.5.1 Say EHLO"]);
  assertEquals([session!.username, session!.helo], [undefined, undefined]);
  assertEquals(session!.extended, false);
  assertEquals(session!.tls?.protocol, "TLSv1.3");
  assertEquals(session!.tls?.serverName, "mx.test");
  assertEquals(session!.tls?.ownCertificate, certificate.der);
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@b.test>", "530 5.7.0"],
    [LOGIN, "235"],
    ["MAIL FROM:<a@b.test>", "250"],
  );
});

Deno.test("STARTTLS is offered before TLS and not in it", async () => {
  await using server = await startServer({
    certificate,
    listen: ["127.0.0.1:0", "127.0.0.1:0/smtps", {
      host: "127.0.0.1",
      port: 0,
      security: "none",
    }],
  });
  const offers = async (client: TestClient) =>
    (await client.say("EHLO x")).split("\n").some((line) =>
      line.slice(4) === "STARTTLS"
    );
  using plain = await TestClient.connect(server);
  await plain.reply();
  assertEquals(await offers(plain), true);
  await plain.expect(["STARTTLS now", "501 5.5.4"]);
  assertEquals(await offers(plain), true);
  using started = await connectStartTls(server);
  assertEquals(await offers(started.client), false);
  await started.client.expect(["STARTTLS", "503 5.5.1"], ["NOOP", "250"]);
  using implicit = await connectTls(server, { index: 1 });
  await implicit.client.reply();
  assertEquals(await offers(implicit.client), false);
  await implicit.client.expect(["STARTTLS", "503 5.5.1"]);
  using none = await TestClient.connect(server, 2);
  await none.reply();
  assertEquals(await offers(none), false);
  await none.expect(["STARTTLS", "502 5.5.1"]);
});

Deno.test("STARTTLS may be required", async () => {
  const { server } = await startTlsServer({
    security: "required",
    accounts,
    allowInsecureAuth: true,
    handlers: { onVerify: () => "Ann <a@b.test>", onExpand: () => ["a", "b"] },
  });
  await using _stop = server;
  using client = await TestClient.connect(server);
  await client.reply();
  const hello = await client.say("EHLO x");
  assert(hello.includes("STARTTLS") && !hello.includes("AUTH"), hello);
  await client.expect(
    ["MAIL FROM:<a@b.test>", "530 5.7.0 Must issue a STARTTLS"],
    [LOGIN, "530 5.7.0"],
    ["AUTH NONE", "530 5.7.0"],
    ["RCPT TO:<a@b.test>", "530"],
    ["VRFY ann", "530 5.7.0 Must issue a STARTTLS"],
    ["EXPN list", "530"],
    ["HELP", "530"],
    ["RSET", "530"],
    ["NOOP", "250"],
  );
  using secured = await connectStartTls(server);
  await secured.client.expect(
    ["EHLO x", "250"],
    [LOGIN, "235"],
    ["MAIL FROM:<a@b.test>", "250"],
  );
});

Deno.test("STARTTLS cannot be required without a certificate", async () => {
  let message = "";
  try {
    await using _server = await startServer({ security: "required" });
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(
    message,
    'Cannot listen with security "required": no certificate is set',
  );
});

/** Actions of a client after 220 instead of a handshake. */
const BROKEN: Readonly<Record<string, string | undefined>> = {
  "goes on in the clear": "EHLO client.test\r\nMAIL FROM:<a@b.test>\r\n",
  "sends half a ClientHello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "sends a record of the wrong kind": "\x17\x03\x03\x00\x05hello",
  "speaks SSL 2": "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
  "says nothing": "",
  "goes away": undefined,
};

for (const [name, text] of Object.entries(BROKEN)) {
  Deno.test(`STARTTLS ends the session of a client that ${name}`, async () => {
    const records: LogRecord[] = [];
    const ends: string[] = [];
    await using server = await startServer({
      certificate,
      limits: { handshakeTimeoutMs: 100 },
      log: (record) => records.push(record),
      handlers: { onDisconnect: (_session, reason) => void ends.push(reason) },
    });
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(["EHLO x", "250"], ["STARTTLS", "220"]);
    if (text === undefined) client.close();
    else {
      if (text !== "") await client.send(text);
      // The server may send a TLS alert but no reply.
      assertEquals(/\d{3}[ -]/.exec(await client.rest()), null);
    }
    await until(() => server.sessions.length === 0);
    assertEquals(ends, ["tls"]);
    assertEquals(records.filter((record) => record.level === "error"), []);
    const [failure] = records.filter((record) => record.event === "refused");
    assert(failure?.message.startsWith("TLS handshake failed: Cannot"));
    assertEquals(failure?.fields, {
      address: "127.0.0.1",
      helo: "x",
      reason: "tls",
    });
  });
}

/** A server with a hundred clients that begin TLS and never complete it. */
async function withDeadHandshakes(handshakeTimeoutMs: number): Promise<
  AsyncDisposable & {
    readonly server: SmtpServer;
    readonly records: LogRecord[];
    readonly dead: readonly TestClient[];
  }
> {
  const records: LogRecord[] = [];
  const server = await startServer({
    certificate,
    listen: ["127.0.0.1:0", "127.0.0.1:0/smtps"],
    limits: { handshakeTimeoutMs },
    log: (record) => records.push(record),
  });
  const dead = await Promise.all(
    Array.from({ length: 100 }, async (_, at) => {
      const client = new TestClient(await dial(server, at % 2));
      if (at % 2 === 0) {
        await client.reply();
        await client.expect(["STARTTLS", "220"]);
      }
      // Some send nothing, some stop in the middle.
      if (at % 4 > 1) await client.send("\x16\x03\x01\x02\x00");
      return client;
    }),
  );
  return {
    ...{ server, records, dead },
    async [Symbol.asyncDispose]() {
      for (const client of dead) client.close();
      await server.stop({ graceMs: 0 });
    },
  };
}

Deno.test("A hundred dead handshakes delay no other client", async () => {
  await using it = await withDeadHandshakes(600_000);
  const { server } = it;
  for (const index of [0, 1]) {
    using secured = index === 0
      ? await connectStartTls(server)
      : await connectTls(server, { index });
    if (index === 1) await secured.client.reply();
    await secured.client.expect(
      ["EHLO x", "250"],
      ["MAIL FROM:<a@b.test>", "250"],
      ["RCPT TO:<c@d.test>", "250"],
      ["DATA", "354"],
      [".", "250"],
      ["QUIT", "221"],
    );
  }
  assert(server.sessions.length >= 100);
});

Deno.test("A hundred dead handshakes end at their deadline", async () => {
  await using it = await withDeadHandshakes(300);
  // With the platform's TLS the session ends, but the socket waits for its client.
  await Promise.all(
    it.dead.filter((_, at) => at % 2 === 0).map((client) => client.rest()),
  );
  await until(() => it.server.sessions.length === 0);
  const late = it.records.filter(({ message }) =>
    message.endsWith("not done within 300 ms")
  );
  assertEquals(late.length, 100);
});
