/** Next hops as text, and hops without a name: the client, the queue and their errors. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { SmtpServer } from "@smtp/server";
import { SmtpClient } from "@smtp/server/client";
import { Delivery, MemorySpool, RelayQueue } from "@smtp/server/queue";
import { startTestServer } from "@smtp/server/testing";
import { hopOf, parseHop } from "../../lib/client/next_hop.ts";
import { TestFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";

const MAIL = {
  from: "me@example.com",
  to: ["you@example.org"],
  data: "Subject: hello\r\n\r\nx\r\n",
};

Deno.test("parseHop() reads a host with or without a port", () => {
  assertEquals(parseHop("mx.example"), { host: "mx.example" });
  assertEquals(parseHop("192.0.2.1:25"), { host: "192.0.2.1", port: 25 });
  assertEquals(parseHop("[2001:db8::1]:25"), { host: "2001:db8::1", port: 25 });
  assertEquals(parseHop("[::1]"), { host: "::1" });
  const hop = { host: "mx.example", implicitTls: true };
  assertEquals(hopOf(hop), hop);
});

Deno.test("parseHop() refuses what is no host, and shows no login", () => {
  const rows = ["", ":25", "a:0", "a:65536", "a:b", "::1", "a/smtps", "a b:25"];
  for (const text of [...rows, "u:secret@mx.example:25"]) {
    const error = assertThrows(() => parseHop(text), SyntaxError);
    assertEquals(error.message.includes("secret"), false);
    const caught = assertThrows(
      () => new SmtpServer({ relay: { smarthosts: [text] } }),
      TypeError,
      "want a host, as",
    );
    assertEquals(caught.message.includes("secret"), false);
  }
});

Deno.test("SmtpClient.connect() and each smarthost take a text", async () => {
  await using peer = await startTestServer();
  const provider = `${peer.address}:${peer.port}`;
  await using client = await SmtpClient.connect(provider);
  assertEquals((await client.send(MAIL)).accepted, true);
  await assertRejects(() => SmtpClient.connect("a:b"), SyntaxError, '"a:b"');

  await using server = new SmtpServer({
    ...{ listen: [], log: () => {} },
    relay: { smarthosts: [provider] },
  });
  await server.start();
  await server.relays.add(MAIL);
  await using delivery = new Delivery({
    dns: server.dns,
    smarthosts: [provider],
  });
  await using queue = new RelayQueue({
    spool: new MemorySpool(),
    deliver: (job, signal) => delivery.deliver(job, signal),
  });
  await queue.start();
  await queue.relays.add(MAIL);
  // Of the message's own, and by a change of its route.
  await server.relays.add(MAIL, { smarthost: provider });
  await server.relays.add(MAIL, { smarthosts: ["127.0.0.1:1", provider] });
  const held = await server.relays.add(MAIL, { held: true });
  await held.reroute({ smarthost: provider });
  await held.release();
  await until(() => peer.messages.length === 6);
});

Deno.test("SmtpClient.connect() needs no host with a path", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/smtp.sock`;
  await using server = new SmtpServer({ listen: { path }, log: () => {} });
  await server.start();
  await using client = await SmtpClient.connect({ path });
  assertEquals((await client.send(MAIL)).accepted, true);
  await assertRejects(
    () => SmtpClient.connect({ port: 25 }),
    TypeError,
    'Cannot use host undefined of SmtpClient.connect: want a host, as "mail.example.com", or a path',
  );
});
