/**
 * What an operator sees of unix sockets in `status`, and the file in the error of
 * an option that names one.
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CliServer, runCli, runCliRows } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasUnixSockets, testWhere } from "../support/platform.ts";

testWhere(hasUnixSockets)(
  "status names a unix socket by its path",
  async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await CliServer.start([
      ...["--listen", "127.0.0.1:0", "--listen", "unix:l.sock/lmtp"],
      ...["--store", "discard", "--status", "status.sock", "--quiet"],
    ], { cwd, listeners: 2 });
    const ask = ["status", "--status", "status.sock"];
    const path = `${await Deno.realPath(cwd)}/l.sock`;
    const text = await runCli(ask, { cwd });
    assertStringIncludes(text.stdout, `listening    on unix:${path} (lmtp)\n`);
    const json = await runCli([...ask, "--json"], { cwd });
    assertEquals(JSON.parse(json.stdout).listeners, [
      { address: "127.0.0.1", port: server.ports[0], kind: "smtp" },
      { address: "unix", port: 0, path, kind: "lmtp" },
    ]);
  },
);

Deno.test("a file that is missing is named beside its option", async () => {
  await using folder = await TestFolder.create();
  const options = ["--aliases", "--local-recipients", "--users"];
  const rows = options.map((option) => ["--check", option, "none"]);
  const outcomes = await runCliRows(rows, { cwd: folder.path });
  outcomes.forEach(({ code, stderr }, at) => {
    assertEquals(code, 1);
    assertMatch(stderr, new RegExp(`^error: ${options[at]} none: `));
  });
});
