/** XCLIENT in sessions and servers: the client of the session afterwards. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { memoryPair } from "../../lib/net/memory_transport.ts";
import { parseCidr } from "../../lib/net/cidr.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { DROP } from "../../lib/session/handlers.ts";
import type { SmtpSession } from "../../lib/session/session.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import {
  noting,
  openSession,
  startServer,
  TestClient,
} from "../support/server.ts";
import { until } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

/** The client's end of the pairs in memory is 192.0.2.1. */
const FRONT = [parseCidr("192.0.2.1")];

/** Addresses of a session, as text. */
function ends(session: SmtpSession): string {
  const { remoteAddress, remotePort, localAddress, localPort } = session;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function open(init: Parameters<typeof openSession>[0] = {}) {
  return openSession({
    xclients: FRONT,
    ...init,
    profile: { xclient: true, ...init.profile },
  });
}

Deno.test("XCLIENT makes the session that of another client", async () => {
  const calls: string[] = [];
  const store = new MemoryStore();
  await using test = open({
    store,
    addReceived: true,
    handlers: noting(calls, {
      onConnect: (session) => void calls.push(`connect ${ends(session)}`),
    }),
  });
  const { client, session } = test;
  await client.reply();
  await client.expect(["EHLO proxy.test", "250"]);
  session.tag = "kept";
  await client.expect([
    "XCLIENT NAME=spike.test ADDR=IPV6:2001:db8::7 PORT=4711 " +
    "DESTADDR=198.51.100.2 DESTPORT=2525 LOGIN=ann+2Bx PROTO=ESMTP HELO=x.test",
    "220 mx.test",
  ]);
  assertEquals(session.helo, "x.test");
  assertEquals(session.username, "ann+x");
  assertEquals(session.xclient, {
    name: "spike.test",
    addr: "2001:db8::7",
    port: 4711,
    destaddr: "198.51.100.2",
    destport: 2525,
    login: "ann+x",
    proto: "ESMTP",
    helo: "x.test",
  });
  await client.expect(["EHLO spike.test", "250"], [
    "MAIL FROM:<a@b.test>",
    "250",
  ], ["RCPT TO:<c@d.test>", "250"]);
  await client.data("Subject: x\r\n\r\nx");
  await client.expect(["QUIT", "221"]);
  await test.done;
  assertEquals(session.tag, "kept");
  assertEquals(calls, [
    "connect 192.0.2.1 40000 192.0.2.2 25",
    "connecting > ready",
    "ready > connecting",
    "connect 2001:db8::7 4711 198.51.100.2 2525",
    "connecting > ready",
    "ready > receiving",
    "receiving > ready",
    "ready > disconnected",
    "end quit",
  ]);
  assertStringIncludes(
    store.messages[0]!.text,
    "Received: from spike.test (spike.test [IPv6:2001:db8::7])\r\n\tby mx.test with ESMTPA",
  );
  const record = test.records.find(({ message }) => /XCLIENT/.test(message));
  assertEquals(
    record?.message,
    "Client is 2001:db8::7, as 192.0.2.1 says by XCLIENT",
  );
  assertEquals(record?.fields, {
    listener: "198.51.100.2:2525/smtp",
    address: "2001:db8::7",
    port: 4711,
    proxy: "192.0.2.1",
  });
});

Deno.test("XCLIENT is not for the client that it has named", async () => {
  await using test = open();
  await test.client.reply();
  assertMatch(await test.client.say("EHLO proxy.test"), /^250-XCLIENT NAME/m);
  await test.client.expect(["XCLIENT ADDR=198.51.100.7", "220"]);
  assertEquals(
    /XCLIENT/.test(await test.client.say("EHLO spike.test")),
    false,
  );
  await test.client.expect(["XCLIENT ADDR=192.0.2.1", "550 5.7.0"]);
});

Deno.test("XCLIENT may come in several commands", async () => {
  await using test = open();
  const { client, session } = test;
  await client.reply();
  await client.expect(
    ["XCLIENT DESTPORT=587 HELO=x.test LOGIN=ann", "220"],
    ["XCLIENT PORT=[UNAVAILABLE]", "220"],
  );
  // A login and a HELO belong to one conversation; XCLIENT starts another.
  assertEquals(session.username, undefined);
  assertEquals(session.helo, undefined);
  await client.expect(["XCLIENT ADDR=[UNAVAILABLE]", "220"]);
  assertEquals(ends(session), "unknown 0 192.0.2.2 587");
  await client.expect(["XCLIENT ADDR=192.0.2.1", "550"]);
});

Deno.test("XCLIENT asks onConnect about the new client", async () => {
  await using test = open({
    handlers: {
      onConnect: ({ remoteAddress }) => remoteAddress === "192.0.2.1",
    },
  });
  await test.client.reply();
  await test.client.expect(["XCLIENT ADDR=198.51.100.7", "554 5.7.1"]);
  assertEquals(await test.client.rest(), "");
});

Deno.test("XCLIENT may end in silence", async () => {
  await using test = open({
    handlers: {
      onConnect: async ({ xclient }) => {
        await Promise.resolve();
        return xclient === undefined ? undefined : DROP;
      },
    },
  });
  await test.client.reply();
  await test.client.send("XCLIENT ADDR=198.51.100.7\r\nEHLO x\r\n");
  assertEquals(await test.client.rest(), "");
});

Deno.test("XCLIENT may have the new client's commands behind it", async () => {
  await using test = open();
  await test.client.reply();
  await test.client.send("XCLIENT ADDR=198.51.100.7\r\nHELO x\r\nNOOP\r\n");
  assertMatch(await test.client.reply(), /^220 /);
  assertMatch(await test.client.reply(), /^250 mx.test/);
  assertMatch(await test.client.reply(), /^250 2.0.0/);
});

Deno.test("SmtpServer has XCLIENT for the networks of its options", async () => {
  await using server = await startServer({
    listen: [
      "127.0.0.1:0",
      { host: "127.0.0.1", port: 0, xclient: ["192.0.2.0/24"] },
      { host: "127.0.0.1", port: 0, xclient: [] },
    ],
    xclient: ["127.0.0.0/8"],
  });
  const replies: string[] = [];
  for (const index of [0, 1, 2]) {
    using client = await TestClient.connect(server, index);
    await client.reply();
    replies.push((await client.say("XCLIENT ADDR=192.0.2.7")).slice(0, 9));
  }
  assertEquals(replies, ["220 mx.te", "550 5.7.0", "500 5.5.2"]);
});

Deno.test("SmtpServer lets the named client relay, not the one in front", async () => {
  await using server = new SmtpServer({
    listen: [],
    hostname: "mx.test",
    domains: ["here.test"],
    relay: { from: ["192.0.2.1"] },
    xclient: ["192.0.2.1"],
    log: () => {},
  });
  await server.start();
  const [inner, outer] = memoryPair();
  const session = server.serve(inner);
  using client = new TestClient(outer);
  await client.envelope("c@elsewhere.test");
  await client.expect(["RSET", "250"], ["XCLIENT ADDR=198.51.100.7", "220"]);
  await client.expect(["HELO x", "250"], ["MAIL FROM:<a@b.test>", "250"], [
    "RCPT TO:<c@elsewhere.test>",
    String(replies.relayingDenied),
  ]);
  assertEquals(server.sessions.map(({ remoteAddress }) => remoteAddress), [
    "198.51.100.7",
  ]);
  client.close();
  await session;
  await until(() => server.sessions.length === 0);
});

Deno.test("onLimit gets to know of each client that XCLIENT names", async () => {
  const told: string[] = [];
  await using server = await startServer({
    xclient: ["127.0.0.1"],
    limits: { messagesPerMinute: 1, exempt: [] },
    handlers: {
      onLimit: ({ remoteAddress }, limit) =>
        void told.push(`${remoteAddress} ${limit}`),
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  const twice: [string, string][] = [
    ["EHLO proxy.test", "250"],
    ["MAIL FROM:<a@a.test>", "250"],
    ["RSET", "250"],
    ["MAIL FROM:<a@a.test>", "450"],
  ];
  await client.expect(...twice);
  await client.expect(["XCLIENT ADDR=192.0.2.7", "220"], ...twice);
  assertEquals(told, [
    "127.0.0.1 messagesPerMinute",
    "192.0.2.7 messagesPerMinute",
  ]);
});
