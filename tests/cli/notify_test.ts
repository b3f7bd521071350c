/**
 * Reports to a service manager, as sd_notify(3) has them: received on a socket
 * of the test's own, in a folder or not, with and without all permissions.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { CliServer, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { isLinux } from "../support/platform.ts";
import { Manager } from "../support/service_manager.ts";

/** systemd is on Linux only. */
const ignore = !isLinux;
const ARGS = ["--store", "discard", "--quiet"];

Deno.test({
  name: "serve reports that it is ready, lives, rereads and stops",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const config = await folder.write("c.json", '{"listen": ["127.0.0.1:0"]}');
    using manager = new Manager(`${folder.path}/notify`);
    await using server = await CliServer.start(["--config", config, ...ARGS], {
      env: { NOTIFY_SOCKET: manager.place, WATCHDOG_USEC: "20000" },
    });
    const ready = [
      "READY=1",
      `STATUS=Listening on 127.0.0.1:${server.ports[0]} (smtp)`,
    ];
    assertEquals(await manager.next(), ready);
    assertEquals(await manager.next(), ["WATCHDOG=1"]);
    assertEquals(await manager.next(), ["WATCHDOG=1"]);
    // Settings that cannot be used leave the server ready as well.
    for (const text of ['{"listen": ["127.0.0.1:0"]}', "{"]) {
      await Deno.writeTextFile(config, text);
      server.signal("SIGHUP");
      const [reloading, clock, status] = await manager.news();
      assertEquals(reloading, "RELOADING=1");
      assertMatch(clock!, /^MONOTONIC_USEC=[1-9]\d+$/);
      assertEquals(status, "STATUS=Rereading the settings");
      assertEquals(await manager.news(), ready);
    }
    server.signal("SIGTERM");
    assertEquals(await manager.news(), ["STOPPING=1", "STATUS=Stopping"]);
    assertEquals((await server.end()).code, 0);
  },
});

Deno.test({
  name: "serve reports to a socket that is in no folder",
  ignore,
  async fn() {
    using manager = new Manager(`@smtp-test-${crypto.randomUUID()}`);
    await using server = await CliServer.start(["--notify", ...ARGS], {
      env: { NOTIFY_SOCKET: manager.place },
    });
    assertEquals((await manager.next())[0], "READY=1");
    await server.end("SIGTERM");
  },
});

Deno.test({
  name: "serve reports no life to a watchdog of another process",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    using manager = new Manager(`${folder.path}/notify`);
    await using server = await CliServer.start(ARGS, {
      env: {
        NOTIFY_SOCKET: manager.place,
        ...{ WATCHDOG_USEC: "2000", WATCHDOG_PID: "1" },
      },
    });
    assertEquals((await manager.next())[0], "READY=1");
    await server.end("SIGTERM");
    assertEquals((await manager.next())[0], "STOPPING=1");
  },
});

Deno.test({
  name:
    "--notify wants a manager that can be reached, --notify=no asks for none",
  ignore,
  async fn() {
    const { code, stderr, stdout } = await runCli(
      ["--listen", "127.0.0.1:0", "--notify", ...ARGS],
      { env: { NOTIFY_SOCKET: "" } },
    );
    assertEquals([code, stdout], [1, ""]);
    assertMatch(
      stderr,
      /^error: --notify: the environment names no NOTIFY_SOCKET.*\n$/,
    );
    await using server = await CliServer.start(["--notify=no", ...ARGS], {
      env: { NOTIFY_SOCKET: "/nowhere/notify" },
    });
    assertEquals((await server.end("SIGTERM")).stderr, "");
  },
});

Deno.test({
  name: "a manager that has gone is one warning",
  ignore,
  async fn() {
    await using server = await CliServer.start(ARGS, {
      env: { NOTIFY_SOCKET: "/nowhere/notify", WATCHDOG_USEC: "2000" },
    });
    await server.logged(/Cannot report to the service manager/);
    await using client = await server.connect();
    await client.script("S: 220");
    const { code, stderr } = await server.end("SIGTERM");
    assertEquals(code, 0);
    assertEquals(stderr.split("\n").length, 2);
  },
});
