/**
 * What happens once is one record, and counts once in `status`: a delivery, a
 * refusal by a limit of a user, a reload. Listeners on unix sockets are logged and
 * shown with their path.
 */

import { assert, assertEquals } from "@std/assert";
import { CliServer, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasSignals, hasUnixSockets } from "../support/platform.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

/** The records of a log in JSON. */
function recordsOf(log: string): Record<string, unknown>[] {
  return log.trimEnd().split("\n").map((line) => JSON.parse(line));
}

for (const level of ["debug", "error"]) {
  Deno.test({
    name:
      `A delivery and a refusal by a user's limit count once, with --log-level ${level}`,
    ignore: !hasUnixSockets,
    async fn() {
      await using folder = await TestFolder.create();
      const cwd = folder.path;
      await using far = await startServer({});
      await using server = await CliServer.start([
        ...["--log", "json", "--log-level", level, "--user", "ann:sesame"],
        ...["--allow-insecure-auth", "--relay", "--smarthost"],
        `127.0.0.1:${far.addresses[0]!.port}/none`,
        ...["--user-messages-per-minute", "1"],
      ], { cwd });
      using client = await TestClient.connect({
        addresses: [{ address: "127.0.0.1", port: server.ports[0]! }],
      });
      await client.reply();
      await client.expect(
        ["EHLO client.example", "250"],
        [`AUTH PLAIN ${btoa("\0ann\0sesame")}`, "235"],
        ["MAIL FROM:<ann@near.test>", "250"],
        ["RCPT TO:<you@dest.test>", "250"],
        ["RCPT TO:<two@dest.test>", "250"],
      );
      await client.data("Subject: x\r\n\r\nText");
      for (let turn = 0; turn < 3; turn++) {
        await client.expect(["MAIL FROM:<ann@near.test>", "450"]);
      }
      let rates: Record<string, { minute: number }> = {};
      await until(async () => {
        const { stdout } = await runCli(["status", "--json"], { cwd });
        ({ rates } = JSON.parse(stdout));
        return rates["delivered"]!.minute >= 2;
      });
      const counts = Object.entries(rates).map(([name, { minute }]) =>
        [name, minute] as const
      );
      assertEquals(Object.fromEntries(counts), {
        ...{ accepted: 1, refused: 3, delivered: 2, deferred: 0, failed: 0 },
        bounces: 0,
      });
      client.close();
      const { stderr } = await server.end("SIGTERM");
      if (level === "error") return assertEquals(stderr, "");
      const limited = recordsOf(stderr).filter((record) => record["limit"]);
      assertEquals(limited.map(({ level, event }) => `${level} ${event}`), [
        ...["warn warning", "info refused", "info refused", "info refused"],
      ]);
      for (const { limit, user } of limited) {
        assertEquals([limit, user], ["perUser.messagesPerMinute", "ann"]);
      }
    },
  });
}

Deno.test({
  name: "A reload is one record with the names of what was reread",
  ignore: !hasSignals,
  async fn() {
    await using folder = await TestFolder.create();
    await folder.write("smtp.json", '{ "domain": ["a.example"] }');
    for (const form of ["json", "text", "postfix"]) {
      await using server = await CliServer.start([
        ...["--listen", "127.0.0.1:0", "--log", form],
        ...["--config", "smtp.json", "--store", "discard"],
      ], { cwd: folder.path });
      server.signal("SIGHUP");
      await server.logged(/Reread/);
      const { stderr } = await server.end("SIGTERM");
      const lines = stderr.split("\n").filter((line) =>
        /reload|Reread|New settings/.test(line)
      );
      assertEquals(lines.length, 1, stderr);
      assertEquals(stderr.split("Stopping").length, 2, stderr);
      const isListed = stderr.includes("Listening on");
      assertEquals(isListed, form !== "text", stderr);
      if (form !== "json") continue;
      const { options } = JSON.parse(lines[0]!);
      assert(options.includes("domains"), lines[0]);
    }
  },
});

Deno.test({
  name: "The path of a unix socket is in the log and in status",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    const path = `${cwd}/lmtp.sock`;
    await using server = await CliServer.start([
      ...["--listen", "127.0.0.1:0", "--listen", `unix:${path}/lmtp`],
      ...["--log", "json", "--store", "discard"],
      ...["--status", `${cwd}/status.sock`],
    ], { cwd, listeners: 2 });
    const { stdout } = await runCli([
      ...["status", "--json", "--status", `${cwd}/status.sock`],
    ]);
    const [tcp, unix] = JSON.parse(stdout).listeners;
    assertEquals(Object.keys(tcp), ["address", "port", "kind"]);
    assertEquals([unix.path, unix.kind], [path, "lmtp"]);
    const shown = await runCli(["status", "--status", `${cwd}/status.sock`]);
    assert(shown.stdout.includes(`unix:${path} (lmtp)`), shown.stdout);
    const { stderr } = await server.end("SIGTERM");
    const [, listening] = recordsOf(stderr)
      .filter(({ event }) => event === "listening");
    assertEquals([listening!["path"], listening!["kind"]], [path, "lmtp"]);
    assertEquals(listening!["address"], undefined);
  },
});
