/** Connections of the client by TCP and unix sockets: abort, and errors of the platform. */

import { assertEquals, assertRejects } from "@std/assert";
import { connectTcp, connectUnix } from "../../lib/net/deno_transport.ts";

import { TestFolder } from "../support/folder.ts";
import { hasUnixSockets } from "../support/platform.ts";

/** A listener that accepts and closes. */
function listen(): { port: number; stop: () => Promise<void> } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = (async () => {
    for await (const conn of listener) conn.close();
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    async stop() {
      listener.close();
      await accepting;
    },
  };
}

Deno.test("connectTcp() closes a connection that comes when it is no longer wanted", async () => {
  const { port, stop } = listen();
  const controller = new AbortController();
  const { connect } = Deno;
  // The platform does this if both happen in one turn of the event loop.
  Deno.connect = (async ({ signal, ...where }: Deno.ConnectOptions) => {
    const conn = await connect(where);
    controller.abort(new Error("Enough"));
    signal!.throwIfAborted();
    return conn;
  }) as typeof Deno.connect;
  try {
    const { signal } = controller;
    const where = { host: "127.0.0.1", port, timeoutMs: 60_000 };
    await assertRejects(
      () => connectTcp({ ...where, signal }),
      Error,
      "Enough",
    );
  } finally {
    Deno.connect = connect;
    await stop();
  }
});

Deno.test("connectTcp() rejects with the reason of a signal that was aborted before", async () => {
  await assertRejects(
    () =>
      connectTcp({
        host: "127.0.0.1",
        port: 1,
        timeoutMs: 60_000,
        signal: AbortSignal.abort(new Error("Too late")),
      }),
    Error,
    "Too late",
  );
});

Deno.test("connectTcp() tells why the platform cannot connect", async () => {
  const { port, stop } = listen();
  await stop();
  await assertRejects(
    () => connectTcp({ host: "127.0.0.1", port, timeoutMs: 60_000 }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test({
  name: "connectUnix() connects to a socket, and has no address there",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const where = { path: `${folder.path}/socket`, timeoutMs: 60_000 };
    await assertRejects(() => connectUnix(where), Deno.errors.NotFound);
    using listener = Deno.listen({ transport: "unix", path: where.path });
    const transport = await connectUnix(where);
    using peer = await listener.accept();
    assertEquals(transport.remote, { address: "unix", port: 0 });
    assertEquals(transport.local, { address: "unix", port: 0 });
    await transport.write(new TextEncoder().encode("hello"));
    const buffer = new Uint8Array(9);
    assertEquals(await peer.read(buffer), 5);
    transport.close();
    const late = { ...where, signal: AbortSignal.abort(new Error("Too late")) };
    await assertRejects(() => connectUnix(late), Error, "Too late");
  },
});
