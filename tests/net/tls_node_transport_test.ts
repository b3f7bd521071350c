/**
 * `NodeTransport` and TLS over it: data, close_notify, errors (RFC 8446 section
 * 6.1).
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { createServer, type Socket } from "node:net";
import { NodeTransport } from "../../lib/net/node_transport.ts";
import { upgradeServer } from "../../lib/net/tls_upgrade.ts";
import { certificate } from "../support/tls.ts";
import { within } from "../support/wait.ts";

/** A transport on an accepted node socket, and the Deno connection at its other end. */
interface Pair extends AsyncDisposable {
  transport: NodeTransport;
  conn: Deno.TcpConn;
}

async function pair(): Promise<Pair> {
  const accepted = Promise.withResolvers<Socket>();
  const listening = Promise.withResolvers<void>();
  const server = createServer({ allowHalfOpen: true }, accepted.resolve);
  server.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  const { port } = server.address() as { port: number };
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const transport = new NodeTransport(await accepted.promise);
  return {
    transport,
    conn,
    async [Symbol.asyncDispose]() {
      transport.close();
      try {
        conn.close();
      } catch {
        // The test has closed it.
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const encoder = new TextEncoder();

Deno.test("NodeTransport reads, writes and knows both ends", async () => {
  await using ends = await pair();
  const { transport, conn } = ends;
  assertEquals(transport.remote, {
    address: "127.0.0.1",
    port: conn.localAddr.port,
  });
  assertEquals(transport.local, {
    address: "127.0.0.1",
    port: conn.remoteAddr.port,
  });
  assertEquals(transport.tls, undefined);
  await conn.write(encoder.encode("NOOP\r\n"));
  const buffer = new Uint8Array(4);
  let text = "";
  while (text.length < 6) {
    const count = await transport.read(buffer);
    text += new TextDecoder().decode(buffer.subarray(0, count ?? 0));
  }
  assertEquals(text, "NOOP\r\n");
  await transport.write(encoder.encode("250 OK\r\n"));
  const answer = new Uint8Array(100);
  assertEquals(await conn.read(answer), 8);
});

Deno.test("NodeTransport.read() gives what came before the end, then null", async () => {
  await using ends = await pair();
  const { transport, conn } = ends;
  await conn.write(encoder.encode("QUIT"));
  await conn.closeWrite();
  assertEquals(await transport.read(new Uint8Array(10)), 4);
  assertEquals(await transport.read(new Uint8Array(10)), null);
  assertEquals(await transport.read(new Uint8Array(10)), null);
  // The other direction is still open.
  await transport.write(encoder.encode("221 bye\r\n"));
  assertEquals(await conn.read(new Uint8Array(100)), 9);
});

Deno.test("NodeTransport.close() rejects what is under way and what comes after", async () => {
  await using ends = await pair();
  const { transport, conn } = ends;
  const pending = assertRejects(
    () => transport.read(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
  await assertRejects(
    () => transport.read(new Uint8Array(1)),
    TypeError,
    "Cannot read twice at once",
  );
  transport.close();
  transport.close();
  await pending;
  await assertRejects(
    () => transport.read(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
  await assertRejects(
    () => transport.write(new Uint8Array(1)),
    Deno.errors.BadResource,
  );
  assertEquals(await conn.read(new Uint8Array(1)), null);
});

Deno.test("NodeTransport slows a peer down that is faster than its reader", async () => {
  await using ends = await pair();
  const { transport, conn } = ends;
  const chunk = new Uint8Array(1 << 20);
  let taken = 0;
  const flood = assertRejects(async () => {
    for (;;) taken += await conn.write(chunk);
  });
  for (let before = -1; before !== taken;) {
    before = taken;
    for (let turn = 0; turn < 200; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert(taken < 64 * chunk.length, `${taken} bytes taken`);
  const buffer = new Uint8Array(1 << 20);
  let got = 0;
  while (got < 8 * chunk.length) got += await transport.read(buffer) ?? 0;
  transport.close();
  await flood;
});

Deno.test("NodeTransport.write() rejects when the peer does not read and the connection is closed", async () => {
  await using ends = await pair();
  const { transport } = ends;
  const outcome = assertRejects(async () => {
    for (;;) await transport.write(new Uint8Array(1 << 20));
  });
  for (let turn = 0; turn < 300; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  transport.close();
  await outcome;
});

for (const said of ["", "\x16\x03\x01", "\x16\x03\x01\x00\x10\x01"]) {
  Deno.test(`A handshake on a NodeTransport ends when the peer closes after ${said.length} bytes of it`, async () => {
    await using ends = await pair();
    const { transport, conn } = ends;
    const handshake = assertRejects(
      () =>
        upgradeServer(transport, {
          certificates: certificate,
          handshakeTimeoutMs: 600_000,
        }),
      Deno.errors.ConnectionAborted,
    );
    await conn.write(encoder.encode(said));
    conn.close();
    await within(handshake, "the end of the handshake");
  });
}

Deno.test("A handshake on a NodeTransport takes what came in before it", async () => {
  await using ends = await pair();
  const { transport, conn } = ends;
  await conn.write(encoder.encode("no TLS at all\r\n"));
  // One part is read, the rest is held.
  assertEquals(await transport.read(new Uint8Array(3)), 3);
  const handshake = assertRejects(
    () =>
      upgradeServer(transport, {
        certificates: certificate,
        handshakeTimeoutMs: 600_000,
      }),
    Deno.errors.ConnectionAborted,
  );
  await within(handshake, "the end of the handshake");
});
