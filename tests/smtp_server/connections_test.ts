/**
 * The adapter for programs of smtp-server: connections. Their limits and times,
 * how they end, TLS, proxies, the client's name.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import type {
  SMTPServerConnectionInfo,
  SMTPServerOptions,
  SMTPServerSession,
} from "../../lib/smtp_server/mod.ts";
import {
  connectStartTls,
  connectTls,
  connTransport,
  secure,
} from "../support/tls.ts";
import { failure, OPEN, run } from "../support/smtp_server.ts";
import { within } from "../support/wait.ts";

Deno.test("socketTimeout ends a silent client, in the clear, by STARTTLS, by TLS", async () => {
  const times = { socketTimeout: 1 };
  {
    await using running = await run({ ...OPEN, ...times });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    assertEquals((await client.read()).code, 421);
    await client.expectClosed();
  }
  {
    await using running = await run({
      ...{ ...times, authOptional: true, secure: true },
    });
    using tls = await connectTls(running.bound);
    assertMatch(await tls.client.reply(), /^220 /);
    assertMatch(await tls.client.reply(), /^421 /);
  }
  // Long enough for the handshake, which the time also covers.
  await using running = await run({
    ...{ socketTimeout: 300, authOptional: true },
    hideENHANCEDSTATUSCODES: false,
  });
  using tls = await connectStartTls(running.bound);
  assertMatch(await tls.client.reply(), /^421 /);
});

Deno.test("a hundred connections are closed at once, a transaction after closeTimeout", async () => {
  const closed: string[] = [];
  const running = await run({
    ...{ ...OPEN, closeTimeout: 1 },
    onClose: ({ id }) => void closed.push(id),
  });
  await using clients = new AsyncDisposableStack();
  const all: ScriptedClient[] = [];
  for (let i = 0; i < 100; i++) {
    const client = await ScriptedClient.connect(running.place);
    all.push(clients.use(client));
    await client.expect(220);
  }
  const busy = all[0]!;
  await busy.expect(250, "EHLO c.example");
  await busy.expect(250, "MAIL FROM:<a@b.example>");
  assertEquals(running.server.connections.size, 100);
  await within(
    new Promise<void>((done) => running.server.close(done)),
    "the end",
  );
  for (const client of all) assertEquals((await client.read()).code, 421);
  assertEquals(new Set(closed).size, 100);
  assertEquals(running.server.connections.size, 0);
});

Deno.test("a member of connections has the facts of its client, and closes it", async () => {
  await using running = await run(OPEN);
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO C.example");
  const [connection] = running.server.connections;
  const { id, session } = connection!;
  assertEquals(id, session.id);
  const { remoteAddress, localAddress, localPort } = connection!;
  const { clientHostname, hostNameAppearsAs, secure } = connection!;
  assertEquals(
    [remoteAddress, localAddress, localPort, clientHostname],
    ["127.0.0.1", "127.0.0.1", running.port, "[127.0.0.1]"],
  );
  assertEquals([hostNameAppearsAs, secure], ["c.example", false]);
  assertEquals(connection!.remotePort, session.remotePort);
  connection!.close();
  await client.expectClosed();
});

Deno.test("unknown commands get 500, the eleventh 421", async () => {
  await using running = await run({ ...OPEN, disabledCommands: ["VRFY"] });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  for (let i = 0; i < 5; i++) {
    await client.expect(500, "ZOOP");
    // A disabled command counts as an unknown one.
    await client.expect(500, "VRFY ann");
  }
  await client.expect(421, "ZOOP");
  await client.expectClosed();
});

Deno.test("a line that is too long gets 500 at its end, an endless one 421", async () => {
  await using running = await run(OPEN);
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(500, "A".repeat(5000));
  await client.expect(250, "NOOP");
  await client.sendRaw("A".repeat(100_000));
  assertEquals((await client.read()).code, 421);
  await client.expectClosed();
});

Deno.test("an early talker gets 554 unless it is of this machine", async () => {
  let greeted = Promise.withResolvers<void>();
  await using running = await run({
    ...{ ...OPEN, useProxy: true },
    onConnect: (_session, callback) =>
      void greeted.promise.then(() => callback()),
  });
  for (const [address, code] of [["192.0.2.7", 554], ["127.0.0.1", 220]]) {
    greeted = Promise.withResolvers<void>();
    await using client = await ScriptedClient.connect(running.place);
    await client.sendRaw(
      `PROXY TCP4 ${address} 127.0.0.1 4711 25\r\nEHLO c.example\r\n`,
    );
    greeted.resolve();
    assertEquals((await client.read()).code, code);
  }
});

Deno.test("clients that leave anywhere leave no connection, and the server goes on", async () => {
  let left = Promise.withResolvers<void>();
  await using running = await run({
    ...OPEN,
    onClose: () => left.resolve(),
  });
  for (
    const said of [
      "",
      "EHLO c.ex",
      "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n",
      "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x",
    ]
  ) {
    for (const isHalf of [false, true]) {
      left = Promise.withResolvers<void>();
      using conn = await Deno.connect({
        hostname: "127.0.0.1",
        port: running.port,
      });
      await conn.read(new Uint8Array(512));
      await conn.write(new TextEncoder().encode(said));
      if (isHalf) await conn.closeWrite();
      else conn.close();
      await within(left.promise, "onClose");
      if (isHalf) continue;
      // Disposing it twice is an error.
      Object.assign(conn, { [Symbol.dispose]: () => {} });
    }
  }
  assertEquals(running.server.connections.size, 0);
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
});

// Names of clients.

Deno.test("a resolver that fails, throws, is silent or lies gives the address", async () => {
  const resolvers: readonly NonNullable<SMTPServerOptions["resolver"]>[] = [
    { reverse: (_address, callback) => callback(new Error("No name")) },
    {
      reverse() {
        throw new Error("A fault of the program");
      },
    },
    { reverse() {} },
    {
      reverse: (_address, callback) =>
        callback(null, ["c.example\r\n250 OK", "c.example"]),
    },
    { reverse: (_address, callback) => callback(null, ["a..b"]) },
  ];
  for (const resolver of resolvers) {
    await using running = await run({
      ...{ ...OPEN, disableReverseLookup: false, resolver },
      heloResponse: "%s greets %s",
    });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    const { lines } = await client.expect(250, "EHLO c.example");
    assert(lines[0]!.endsWith(" greets [127.0.0.1]"), lines[0]);
  }
});

// TLS.

Deno.test("onSecure is called once, at the first byte or after STARTTLS", async () => {
  for (const isImplicit of [true, false]) {
    const sessions: SMTPServerSession[] = [];
    await using running = await run({
      ...{ authOptional: true, secure: isImplicit },
      hideENHANCEDSTATUSCODES: false,
      onSecure(_socket, session, callback) {
        sessions.push(session);
        callback();
      },
    });
    const options = { serverName: "mx.example" };
    using tls = isImplicit
      ? await connectTls(running.bound, options)
      : await connectStartTls(running.bound, options);
    if (isImplicit) {
      assertMatch(await tls.client.reply(), /^220 /);
      assertEquals(sessions.length, 1);
    }
    for (let i = 0; i < 2; i++) {
      assertMatch(await tls.client.say("EHLO c.example"), /^250/);
    }
    assertEquals(sessions.map(({ servername }) => servername), ["mx.example"]);
    assertEquals(sessions[0]!.secure, true);
  }
});

Deno.test("with hideSTARTTLS there is no STARTTLS; disabledCommands does the same", async () => {
  for (
    const options of [{ hideSTARTTLS: true }, {
      disabledCommands: ["STARTTLS"],
    }]
  ) {
    await using running = await run({ ...options, authOptional: true });
    await using client = await ScriptedClient.connect(running.place);
    await client.expect(220);
    const { lines } = await client.expect(250, "EHLO c.example");
    assertEquals(lines.includes("STARTTLS"), false);
    assertMatch(lines.join(), /AUTH PLAIN LOGIN|AUTH LOGIN PLAIN/);
    await client.send("STARTTLS");
    assertEquals(Math.floor((await client.read()).code / 100), 5);
  }
});

Deno.test("secured: the session counts as encrypted, by the proxy in front", async () => {
  let session: SMTPServerSession | undefined;
  await using running = await run({
    ...{ secure: true, secured: true, authOptional: true },
    onMailFrom(_address, given, callback) {
      session = given;
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  await client.expect(250, "MAIL FROM:<a@b.example>");
  assertEquals([session?.secure, session?.tlsOptions], [true, false]);
  assertEquals(session?.transmissionType, "ESMTPS");
});

// Proxies.

Deno.test("a PROXY header comes before TLS from the first byte", async () => {
  const clients: string[] = [];
  await using running = await run({
    ...{ authOptional: true, secure: true, useProxy: true },
    onConnect(session, callback) {
      clients.push(`${session.remoteAddress}:${session.remotePort}`);
      callback(
        session.remoteAddress === "192.0.2.66"
          ? failure(421, "Not you")
          : undefined,
      );
    },
  });
  for (const [address, want] of [["192.0.2.7", "220"], ["192.0.2.66", "421"]]) {
    const conn = await Deno.connect({
      hostname: "127.0.0.1",
      port: running.port,
    });
    await conn.write(
      new TextEncoder().encode(`PROXY TCP4 ${address} 192.0.2.1 35646 80\r\n`),
    );
    using tls = await secure(connTransport(conn), { serverName: "x.example" });
    assertEquals((await tls.client.reply()).slice(0, 3), want);
  }
  assertEquals(clients, ["192.0.2.7:35646", "192.0.2.66:35646"]);
});

Deno.test("wrong, endless and missing PROXY headers end the connection before onConnect", async () => {
  let calls = 0;
  await using running = await run({
    ...{ ...OPEN, useProxy: ["*"] },
    onConnect(_session, callback) {
      calls++;
      callback();
    },
  });
  for (
    const header of [
      "NOTPROXY garbage line\r\n",
      "A".repeat(1500),
      `PROXY TCP4 ${"A".repeat(2048)}\r\n`,
      "PROXY TCP4 1.2.3.4",
    ]
  ) {
    using conn = await Deno.connect({
      hostname: "127.0.0.1",
      port: running.port,
    });
    await conn.write(new TextEncoder().encode(header));
    if (header === "PROXY TCP4 1.2.3.4") await conn.closeWrite();
    const left = await within(
      conn.read(new Uint8Array(512)).catch(() => null),
      "the end",
    );
    assertEquals(left, null);
  }
  assertEquals(calls, 0);
});

Deno.test("useProxy and useXClient by address leave other clients alone", async () => {
  await using running = await run({
    ...OPEN,
    useProxy: ["192.0.2.1"],
    useXClient: ["192.0.2.1"],
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  const { lines } = await client.expect(250, "EHLO c.example");
  assertEquals(lines.filter((line) => line.startsWith("XCLIENT")), []);
  await client.send("XCLIENT ADDR=192.0.2.9");
  assertEquals(Math.floor((await client.read()).code / 100), 5);
});

Deno.test("XCLIENT names the client: address, name, login; the event comes once", async () => {
  const events: SMTPServerConnectionInfo[] = [];
  const sessions: SMTPServerSession[] = [];
  await using running = await run({
    ...{ ...OPEN, useXClient: true },
    onMailFrom(_address, session, callback) {
      sessions.push({ ...session });
      callback();
    },
  });
  running.server.on("connect", (info) => events.push(info));
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  assertEquals(events, []);
  await client.expect(
    220,
    "XCLIENT ADDR=IPv6:2001:db8::9 NAME=far.example HELO=helo.example LOGIN=ann",
  );
  await client.expect(250, "EHLO c.example");
  await client.expect(250, "MAIL FROM:<a@b.example>");
  const [{ remoteAddress, clientHostname, user, xClient, ...session }] = [
    sessions[0]!,
  ];
  assertEquals([remoteAddress, clientHostname, user], [
    ...["2001:db8::9", "far.example", "ann"],
  ]);
  assertEquals(session.hostNameAppearsAs, "c.example");
  assertEquals([...xClient].sort(), [
    ["ADDR", "2001:db8::9"],
    ["ADDR:DEFAULT", "127.0.0.1"],
    ["HELO", "helo.example"],
    ["LOGIN", "ann"],
    ["NAME", "far.example"],
    ["NAME:DEFAULT", "[127.0.0.1]"],
  ]);
  assertEquals(events.length, 1);
  assertEquals(events[0]!.clientHostname, "far.example");
});

Deno.test("XCLIENT without a name, and a login that onAuth refuses", async () => {
  await using running = await run({
    ...{ ...OPEN, useXClient: true, heloResponse: "%s greets %s" },
    onAuth: (_auth, _session, callback) => callback(null, { message: "No" }),
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(
    220,
    "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.9 LOGIN=[UNAVAILABLE]",
  );
  const { lines } = await client.expect(250, "EHLO c.example");
  assert(lines[0]!.endsWith(" greets [192.0.2.9]"), lines[0]);
  await using other = await ScriptedClient.connect(running.place);
  await other.expect(220);
  await other.send("XCLIENT ADDR=192.0.2.9 LOGIN=eve");
  assertEquals(String(await other.read()), "535 No");
  await other.expectClosed();
});

Deno.test("session.disabledCommands replaces those of the options", async () => {
  await using running = await run({
    ...{ ...OPEN, disabledCommands: ["NOOP"] },
    onConnect(session, callback) {
      session.disabledCommands = ["vrfy", "RSET"];
      callback();
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "NOOP");
  await client.expect(500, "VRFY ann");
  await client.expect(500, "RSET");
});
