/** The client on real sockets, with real TLS and a real login. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { upgradeServer } from "../../lib/net/tls_upgrade.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { SmtpClient } from "../../lib/client/client.ts";
import { SmtpClientError } from "../../lib/client/error.ts";
import type { SmtpClientOptions } from "../../lib/client/options.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { FakeServer } from "../support/client/fake_server.ts";
import { connTransport } from "../support/tls.ts";
import { bytesOf, textOf } from "../support/bytes.ts";

const certificate = await Certificate.selfSigned({
  names: ["localhost", "127.0.0.1"],
});

/** Serves one connection; with STARTTLS the same server goes on under TLS. */
async function serve(
  listener: Deno.TcpListener,
  server: FakeServer,
): Promise<void> {
  let transport: Transport = connTransport(await listener.accept());
  const buffer = new Uint8Array(65536);
  try {
    await transport.write(bytesOf(server.greet()));
    for (;;) {
      const count = await transport.read(buffer);
      if (count === null) return;
      const answer = server.receive(textOf(buffer.subarray(0, count)));
      if (answer !== "") await transport.write(bytesOf(answer));
      if (server.closed) return;
      if (server.lines.at(-1) !== "STARTTLS") continue;
      transport = await upgradeServer(transport, {
        certificates: certificate,
        handshakeTimeoutMs: 60_000,
      });
    }
  } catch {
    // The client may break the connection: the test checks its error, not this one.
  } finally {
    transport.close();
  }
}

async function withServer(
  use: (port: number, server: FakeServer) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = new FakeServer({
    capabilities: ["STARTTLS", "PIPELINING", "8BITMIME", "AUTH PLAIN"],
  });
  const served = serve(listener, server);
  await use(listener.addr.port, server);
  await served;
}

const LOGIN = { username: "ann", password: "secret" };

Deno.test("SmtpClient sends over STARTTLS to a server it verified", async () => {
  await withServer(async (port, server) => {
    const client = await SmtpClient.connect({
      host: "localhost",
      address: "127.0.0.1",
      port,
      login: LOGIN,
      trusted: [certificate],
    });
    assert(client.tls?.authorized);
    const data = "Subject: x\n\n" + "0123456789\n".repeat(50_000);
    const { accepted } = await client.send({
      from: "a@me.example",
      to: ["b@fake.example"],
      data,
    });
    assert(accepted);
    await client.quit();
    assertEquals(
      server.messages[0]?.content,
      data.replaceAll("\n", "\r\n"),
    );
    assert(server.lines.includes(`AUTH PLAIN ${btoa("\0ann\0secret")}`));
  });
});

Deno.test("SmtpClient sends no credentials to a server that it cannot verify", async () => {
  const rows: Partial<SmtpClientOptions>[] = [
    { host: "localhost" },
    { host: "other.example", trusted: [certificate] },
  ];
  for (const options of rows) {
    await withServer(async (port, server) => {
      const error = await assertRejects(() =>
        SmtpClient.connect({
          host: "localhost",
          address: "127.0.0.1",
          port,
          login: LOGIN,
          ...options,
        }), SmtpClientError);
      assertEquals(error.reply.enhanced, "4.7.5");
      assert(!server.lines.some((line) => line.startsWith("AUTH")));
    });
  }
});

Deno.test("SmtpClient takes any certificate with opportunistic TLS, and shows it", async () => {
  await withServer(async (port) => {
    const seen: (string | undefined)[] = [];
    await using client = await SmtpClient.connect({
      host: "127.0.0.1",
      port,
      onCertificate: (peer) => {
        seen.push(peer.certificate.fingerprint, peer.error);
      },
    });
    assertEquals(client.tls?.authorized, false);
    assertEquals(seen[0], certificate.fingerprint);
    assert(seen[1] !== undefined);
  });
});
