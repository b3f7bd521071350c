/** The end by a signal: messages under way may finish. */

import { assert, assertEquals } from "@std/assert";
import type { ScriptedClient } from "@smtp/server/testing";
import { CliServer } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasSignals } from "../support/platform.ts";

const ignore = !hasSignals;

/** Leaves a session in the middle of its message. */
async function beginMessage(client: ScriptedClient): Promise<void> {
  await client.script(`
    S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<me@client.example>
    S: 250
    C: RCPT TO:<you@example.com>
    S: 250
    C: DATA
    S: 354
    C: Subject: hello
    C:
  `);
}

/** Waits until the server has received the signal: it accepts no new connection. */
async function refused(server: CliServer): Promise<void> {
  for (;;) {
    try {
      await using client = await server.connect();
      await client.expect(220);
    } catch {
      return;
    }
  }
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test({
    name: `cli stops on ${signal} when the message under way is kept`,
    ignore,
    async fn() {
      await using folder = await TestFolder.create();
      await using server = await CliServer.start(["--store", "file:inbox"], {
        cwd: folder.path,
      });
      await using client = await server.connect();
      await beginMessage(client);
      server.signal(signal);
      await refused(server);
      await client.script(`
        C: It works.
        C: .
        S: 250 2.0.0 ...
        S: 421 4.3.2 ...
        S: <closed>
      `);
      assertEquals((await server.end()).code, 0);
      const [file, ...more] = await folder.files();
      assertEquals(more, []);
      const text = await folder.read(file!);
      assert(text.endsWith("\r\n\r\nIt works.\r\n"), text);
    },
  });
}

Deno.test({
  name: "cli stops at once on a signal when nobody is connected",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    await using server = await CliServer.start(["--log", "json"], {
      cwd: folder.path,
    });
    assertEquals((await server.end("SIGTERM")).code, 0);
    assertEquals(await folder.files(), []);
  },
});

Deno.test({
  name: "cli ends the sessions with 421 on a second signal",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    await using server = await CliServer.start([], { cwd: folder.path });
    await using idle = await server.connect();
    await idle.expect(220);
    await using busy = await server.connect();
    await beginMessage(busy);
    server.signal("SIGTERM");
    await refused(server);
    await idle.script("S: 421 4.3.2 ...\nS: <closed>");
    server.signal("SIGINT");
    await busy.script("S: 421 4.3.2 ...\nS: <closed>");
    assertEquals((await server.end()).code, 0);
    assertEquals(await folder.files(), []);
  },
});
