/** Settings that SIGHUP rereads, settings that need a restart, and faults in them. */

import { assert, assertEquals } from "@std/assert";
import { CliServer, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasSignals } from "../support/platform.ts";

const ignore = !hasSignals;

/** A server with the settings of `smtp.json`; `change` replaces the file. */
async function start(
  folder: TestFolder,
  config: Readonly<Record<string, unknown>>,
  args: readonly string[] = [],
): Promise<
  { server: CliServer; change(config: Record<string, unknown>): Promise<void> }
> {
  const write = (settings: Readonly<Record<string, unknown>>) =>
    folder.write("smtp.json", JSON.stringify(settings, null, 2));
  await write(config);
  const server = await CliServer.start(["--config", "smtp.json", ...args], {
    cwd: folder.path,
  });
  return {
    server,
    async change(config) {
      await write(config);
      server.signal("SIGHUP");
    },
  };
}

/** The reply codes to RCPT of each address, and the greeting's capabilities. */
async function ask(
  server: CliServer,
  ...recipients: string[]
): Promise<{ codes: number[]; lines: readonly string[] }> {
  await using client = await server.connect();
  await client.expect(220);
  const { lines } = await client.expect(250, "EHLO client.example");
  await client.expect(250, "MAIL FROM:<>");
  const codes: number[] = [];
  for (const recipient of recipients) {
    await client.send(`RCPT TO:<${recipient}>`);
    codes.push((await client.read()).code);
  }
  await client.expect(221, "QUIT");
  return { codes, lines };
}

const REREAD = /Reread certificates and accounts, domains and limits/;

for (const threads of [0, 1]) {
  Deno.test({
    name: `cli rereads domains, limits and accounts on SIGHUP, ${
      threads === 0 ? "on one thread" : "with threads"
    }`,
    ignore,
    async fn() {
      await using folder = await TestFolder.create();
      const base = { listen: "127.0.0.1:0", store: "discard", threads };
      const { server, change } = await start(folder, {
        ...base,
        ...{ domain: "a.example", maxSize: "1k" },
      });
      await using _ = server;
      const before = await ask(server, "you@a.example", "you@b.example");
      assertEquals(before.codes, [250, 550]);
      assert(before.lines.includes("SIZE 1024"), before.lines.join());
      assert(!before.lines.some((line) => line.startsWith("AUTH")));
      await change({
        ...base,
        ...{ domain: ["b.example"], maxSize: "2k", user: "ann:secret" },
        ...{ allowInsecureAuth: true, earlyTalkers: "allow" },
      });
      await server.logged(REREAD);
      const after = await ask(server, "you@a.example", "you@b.example");
      assertEquals(after.codes, [550, 250]);
      assert(after.lines.includes("SIZE 2048"), after.lines.join());
      assert(after.lines.some((line) => line.startsWith("AUTH")));
      // A setting that is removed has its default again.
      await change({ ...base, xclient: "127.0.0.0/8" });
      await server.logged(/(?:Reread[^]+){2}/);
      const last = await ask(server, "you@a.example", "you@b.example");
      assertEquals(last.codes, [250, 250]);
      assert(last.lines.includes("SIZE 52428800"), last.lines.join());
      assert(!last.lines.some((line) => line.startsWith("AUTH")));
      assert(last.lines.some((line) => line.startsWith("XCLIENT")));
      assertEquals(server.stderr.includes("restart"), false);
      await server.end("SIGTERM");
    },
  });
}

Deno.test({
  name: "cli keeps what it has when SIGHUP finds settings that it cannot use",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const base = { listen: "127.0.0.1:0", store: "discard" };
    const { server, change } = await start(folder, {
      ...base,
      domain: "a.example",
    });
    await using _ = server;
    await change({ ...base, domain: "b.example", maxSize: "many" });
    await server.logged(
      /error error msg="Cannot reread: smtp\.json:5: maxSize many: want a whole number/,
    );
    assertEquals((await ask(server, "you@a.example")).codes, [250]);
    await folder.write("smtp.json", "{");
    server.signal("SIGHUP");
    await server.logged(/Cannot reread: smtp\.json:1: it is not JSON/);
    // Required authentication without accounts.
    await change({ ...base, domain: "b.example", auth: "required" });
    await server.logged(/Cannot reread: Cannot require authentication/);
    assertEquals((await ask(server, "you@a.example")).codes, [250]);
    await change({ ...base, domain: "b.example" });
    await server.logged(REREAD);
    assertEquals((await ask(server, "you@b.example")).codes, [250]);
  },
});

Deno.test({
  name: "cli tells on SIGHUP what is not in force before a restart",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const base = { listen: "127.0.0.1:0", store: "discard" };
    const { server, change } = await start(
      folder,
      { ...base, domain: "a.example", relayFrom: "10.0.0.0/8" },
      ["--hostname", "mx.example"],
    );
    await using _ = server;
    await change({
      ...{ listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"], store: "file:box" },
      ...{ domain: "b.example", hostname: "other.example" },
    });
    // The command line overrides the file again.
    await server.logged(
      /warn warning msg="Not in force before a restart: --listen, --store, --relay-from"\n/,
    );
    assertEquals((await ask(server, "you@b.example")).codes, [250]);
    await change({ ...base, domain: "b.example", relayFrom: "10.0.0.0/8" });
    await server.logged(/Reread[^]+Reread/);
    assertEquals(server.stderr.match(/restart/g)?.length, 1);
  },
});

Deno.test({
  name: "cli serves the certificate that the settings name after SIGHUP",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    for (const name of ["a", "b"]) {
      const made = await runCli([
        ...["certificate", "create", "--name", `${name}.example`],
        ...["--cert", `${name}.pem`, "--key", `${name}.key`],
      ], { cwd: folder.path });
      assertEquals(made.code, 0, made.stderr);
    }
    const base = { listen: "127.0.0.1:0", store: "discard" };
    const { server, change } = await start(folder, {
      ...base,
      ...{ cert: "a.pem", key: "a.key" },
    });
    await using _ = server;
    await change({ ...base, cert: "b.pem", key: "b.key" });
    await server.logged(REREAD);
    const shown = await new Deno.Command("openssl", {
      args: [
        ...["s_client", "-starttls", "smtp", "-connect"],
        `127.0.0.1:${server.ports[0]}`,
      ],
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(shown.stdout);
    assert(/b\.example/.test(text), text);
    assertEquals(/a\.example/.test(text), false);
    // The server watches the files of the new settings from now on.
    await Deno.writeTextFile(`${folder.path}/b.key`, "garbage");
    await server.logged(
      /Cannot reread: --key: Cannot load the private key \\"b\.key\\": not PEM/,
    );
    await server.end("SIGTERM");
  },
});
