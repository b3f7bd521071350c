/**
 * The socket of the command `status`: it takes no path from a server that is
 * busy, and removes no socket that another server has put in its place.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { StatusSocket } from "../../lib/cli/status_socket.ts";
import { TestFolder } from "../support/folder.ts";
import { hasUnixSockets, isLinux } from "../support/platform.ts";
import { startServer } from "../support/server.ts";

const version = "9.9.9";

Deno.test({
  name: "A busy server keeps its socket",
  // The length of a queue of connections is exact on Linux.
  ignore: !isLinux,
  async fn() {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/status.sock`;
    await using server = await startServer();
    using busy = Deno.listen({ transport: "unix", path });
    const waiting: Deno.UnixConn[] = [];
    try {
      // It accepts none, until its queue is full.
      for (;;) {
        waiting.push(await Deno.connect({ transport: "unix", path }));
      }
    } catch (error) {
      assert(error instanceof Error && waiting.length > 0);
    }
    await assertRejects(
      () => new StatusSocket().open(path, { server, version }),
      Error,
      "no socket for the command status",
    );
    assert((await Deno.lstat(path)).isSocket);
    for (const one of waiting) one.close();
    busy.close();
  },
});

Deno.test({
  name: "The socket of another server stays at the end",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/status.sock`;
    await using server = await startServer();
    const socket = new StatusSocket();
    await socket.open(path, { server, version });
    await Deno.remove(path);
    using other = Deno.listen({ transport: "unix", path });
    await socket.close();
    const accepted = other.accept();
    (await Deno.connect({ transport: "unix", path })).close();
    (await accepted).close();
    assertEquals(await folder.files(), ["status.sock"]);
  },
});
