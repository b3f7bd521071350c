/** Clients that speak before the greeting, on every kind of connection: served or refused by the options. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DenoTransport } from "../../lib/net/deno_transport.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const REFUSAL = "554 5.5.1 Protocol error: command before the greeting\r\n";

/** A whole session in one write. */
const script = (hello: string) =>
  `${hello} x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n` +
  "Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n";

/** The replies to a client that sends all of it with the PROXY header: no byte can come later. */
async function behindProxy(
  server: SmtpServer,
  from: string,
  { index = 0, hello = "EHLO" }: { index?: number; hello?: string } = {},
): Promise<string> {
  using client = await TestClient.connect(server, index);
  const family = from.includes(":") ? "TCP6" : "TCP4";
  const to = from.includes(":") ? "2001:db8::1" : "198.51.100.2";
  await client.send(
    `PROXY ${family} ${from} ${to} 40000 25\r\n${script(hello)}`,
  );
  return await client.rest();
}

/** Whether all replies of a session are there, in order. */
function assertServed(replies: string): void {
  const codes = [...replies.matchAll(/^(\d{3}) /gm)].map(([, code]) => code);
  assertEquals(
    codes,
    ["220", "250", "250", "250", "354", "250", "221"],
    replies,
  );
}

for (const threads of [0, 2]) {
  const options: SmtpServerOptions = {
    threads,
    listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
    proxyProtocol: ["127.0.0.0/8"],
  };
  const place = threads === 0 ? "one thread" : "two threads";

  Deno.test(`A client that speaks before the greeting is refused, but not from an exempt network (${place})`, async () => {
    const store = new MemoryStore();
    await using server = await startServer({
      ...options,
      store,
      limits: { exempt: ["192.0.2.0/24", "2001:db8:7::/48"] },
    });
    for (const from of ["192.0.3.1", "127.0.0.1", "2001:db8:8::1"]) {
      assertEquals(await behindProxy(server, from), REFUSAL, from);
      const lmtp = await behindProxy(server, from, { index: 1, hello: "LHLO" });
      assertEquals(lmtp, REFUSAL, from);
    }
    assertEquals(store.messages.length, 0);
    for (const from of ["192.0.2.1", "2001:db8:7::1"]) {
      assertServed(await behindProxy(server, from));
      assertServed(
        await behindProxy(server, from, { index: 1, hello: "LHLO" }),
      );
    }
    assertEquals(store.messages.length, 4);
  });

  Deno.test(`earlyTalkers "allow" takes what came before the greeting, until it is reloaded (${place})`, async () => {
    await using server = await startServer({
      ...options,
      earlyTalkers: "allow",
    });
    assertServed(await behindProxy(server, "192.0.3.1"));
    assertServed(
      await behindProxy(server, "192.0.3.1", { index: 1, hello: "LHLO" }),
    );
    await server.reload({ earlyTalkers: "refuse" });
    assertEquals(await behindProxy(server, "192.0.3.1"), REFUSAL);
    await server.reload({ earlyTalkers: "allow" });
    assertServed(await behindProxy(server, "192.0.3.1"));
    await server.reload({ earlyTalkers: undefined });
    assertEquals(await behindProxy(server, "192.0.3.1"), REFUSAL);
  });
}

Deno.test("Loopback may speak before the greeting, unless no network is exempt", async () => {
  for (const exempt of [undefined, []]) {
    const gate = Promise.withResolvers<void>();
    await using server = await startServer({
      limits: { exempt },
      handlers: { onConnect: () => gate.promise },
    });
    using hasty = await TestClient.connect(server);
    await hasty.send(script("EHLO"));
    // The bytes have arrived before another connection is served.
    using _other = await TestClient.connect(server);
    await until(() => server.sessions.length === 2);
    gate.resolve();
    const replies = await hasty.rest();
    if (exempt === undefined) assertServed(replies);
    else assertEquals(replies, REFUSAL);
  }
});

Deno.test("A client that speaks after the handshake and before the greeting is judged the same with TLS from the first byte", async () => {
  const certificate = await Certificate.selfSigned({ names: ["localhost"] });
  for (const earlyTalkers of ["refuse", "allow"] as const) {
    const gate = Promise.withResolvers<void>();
    await using server = await startServer({
      certificate,
      earlyTalkers,
      limits: { exempt: [] },
      listen: ["127.0.0.1:0/smtps", "127.0.0.1:0"],
      handlers: { onConnect: () => gate.promise },
    });
    const { port } = server.addresses[0]!;
    const conn = await Deno.connectTls({
      hostname: "localhost",
      port,
      caCerts: [certificate.toPem()],
    });
    using hasty = new TestClient(new DenoTransport(conn));
    await hasty.send(script("EHLO"));
    using _other = await TestClient.connect(server, 1);
    await until(() => server.sessions.length === 2);
    gate.resolve();
    const replies = await hasty.rest();
    if (earlyTalkers === "allow") assertServed(replies);
    else assertEquals(replies, REFUSAL);
  }
});

Deno.test("A client that begins with TLS on a plain port gets a plain reply, exempt or allowed", async () => {
  await using server = await startServer({
    earlyTalkers: "allow",
    proxyProtocol: ["127.0.0.0/8"],
  });
  for (const from of ["127.0.0.1", "192.0.3.1"]) {
    using client = await TestClient.connect(server);
    await client.send(
      `PROXY TCP4 ${from} 198.51.100.2 40000 25\r\n\x16\x03\x01\x02\0\x01`,
    );
    assertStringIncludes(await client.rest(), "421 4.7.0 This port speaks");
  }
});

Deno.test("More than a read buffer of early commands is served whole and in order", async () => {
  await using server = await startServer({
    earlyTalkers: "allow",
    proxyProtocol: ["127.0.0.0/8"],
  });
  using client = await TestClient.connect(server);
  await client.send(
    `PROXY TCP4 192.0.3.1 198.51.100.2 40000 25\r\nEHLO x\r\n${
      "NOOP\r\n".repeat(3000)
    }QUIT\r\n`,
  );
  const replies = await client.rest();
  assert(replies.startsWith("220 "));
  assertEquals(replies.match(/^250 2\.0\.0/gm)?.length, 3000);
  assert(replies.endsWith("221 2.0.0 Bye\r\n"));
});
