/**
 * The permissions that SECURITY.md promises: each command there runs as it is
 * written, except for ports and package, and mail sent to it is kept.
 */

import { assert, assertEquals } from "@std/assert";
import { Certificate } from "../../lib/tls/certificate.ts";
import { startWireServer } from "../support/dns.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { BackgroundProcess } from "../support/process.ts";
import { startServer, TestClient } from "../support/server.ts";
import { packageFlags } from "../support/interop/server.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { within } from "../support/wait.ts";
import { hasSignals, sharesPorts } from "../support/platform.ts";

const ROOT = new URL("../../", import.meta.url);
const PACKAGE = "jsr:@smtp/server/cli";
const ignore = !hasSignals;

/** A mode of SECURITY.md: its headline, folders, permissions, further arguments and program. */
interface Mode {
  readonly name: string;
  readonly folders: readonly string[];
  readonly permissions: readonly string[];
  readonly args: readonly string[];
  readonly source: string | undefined;
}

/** The modes that SECURITY.md describes, by headline. */
async function readModes(): Promise<ReadonlyMap<string, Mode>> {
  const text = await Deno.readTextFile(new URL("SECURITY.md", ROOT));
  const modes = new Map<string, Mode>();
  for (const section of text.split(/^### /m).slice(1)) {
    const name = section.slice(0, section.indexOf("\n"));
    const script = /^```sh\n([^]*?)^```$/m.exec(section)?.[1];
    if (script === undefined) continue;
    const lines = script.replaceAll(/ \\\n\s*/g, " ").trim().split("\n");
    const run = lines.pop()!.split(" ");
    assertEquals(run.slice(0, 2), ["deno", "run"], name);
    const end = run.findIndex((word) =>
      !word.startsWith("-") && word !== "deno" && word !== "run"
    );
    modes.set(name, {
      name,
      folders: lines.flatMap((line) =>
        line.replace("mkdir -p ", "").split(" ")
      ),
      permissions: run.slice(2, end),
      args: run.slice(end),
      source: /^```ts\n([^]*?)^```$/m.exec(section)?.[1],
    });
  }
  return modes;
}

const modes = await readModes();

function modeOf(name: string): Mode {
  const mode = modes.get(name);
  assert(mode !== undefined, `SECURITY.md has no mode "${name}"`);
  return mode;
}

/** A port that was free a moment ago. */
function somePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Runs the command line of a mode, each port of the text exchanged for another. */
async function start(
  name: string,
  where: {
    readonly cwd: string;
    readonly ports?: Readonly<Record<string, number>>;
    readonly threads?: boolean;
  },
): Promise<CliServer> {
  const { folders, permissions, args } = where.threads
    ? withThreads(modeOf(name))
    : modeOf(name);
  const ports: Readonly<Record<string, number>> = {
    2525: somePort(),
    ...where.ports,
  };
  const free = (words: readonly string[]) =>
    words.map((word) =>
      word.replaceAll(/(?<=127\.0\.0\.1:)\d+/g, (port) => String(ports[port]))
    );
  assertEquals(args[0], PACKAGE);
  for (const folder of folders) {
    await Deno.mkdir(`${where.cwd}/${folder}`);
  }
  return await CliServer.start(free(args.slice(1)), {
    cwd: where.cwd,
    permissions: free(permissions),
    env: { TMPDIR: "/tmp" },
  });
}

/** The mode with what SECURITY.md says of threads, run from a folder. */
function withThreads(mode: Mode): Mode {
  const lib = new URL("lib", ROOT).pathname;
  const permissions = mode.permissions.map((flag) =>
    flag.startsWith("--allow-read=") ? `${flag},${lib}` : flag
  );
  return {
    ...mode,
    permissions: ["--unstable-net", ...permissions],
    args: [...mode.args, "--threads", "2"],
  };
}

/** Sends a small and a large message; the second waits in a temporary file. */
async function send(server: CliServer, to: string): Promise<void> {
  for (const lines of [1, 8000]) {
    await using client = await server.connect();
    await client.script(messageTo([to], {
      lines: ["Subject: hello", "", ...Array(lines).fill("x".repeat(70))],
    }));
  }
}

/** Ends the server, which must have logged no error. */
async function endQuietly(server: CliServer): Promise<void> {
  const { code, stderr } = await server.end("SIGTERM");
  assertEquals(code, 0);
  assertEquals(
    /^.*(?: error |NotCapable|panic).*$/m.exec(stderr)?.[0],
    undefined,
  );
}

Deno.test("SECURITY.md names each mode once, and no mode has more than it needs", () => {
  assertEquals([...modes.keys()], [
    "Receive into Maildir",
    "With certificate and accounts",
    "Relay through a smarthost",
    "Relay to everybody",
    "A program that keeps nothing",
  ]);
  for (const { permissions } of modes.values()) {
    assertEquals(permissions[0], "--no-prompt");
    for (const flag of permissions.slice(1)) {
      assert(
        /^--allow-(?:net|read=.+|write=.+|sys=.+)(?:=.+)?$/.test(flag),
        flag,
      );
    }
  }
});

for (const threads of [false, true]) {
  const how = threads ? " by two threads" : "";
  Deno.test({
    name: `Maildir is served${how} with the permissions of SECURITY.md`,
    ignore: ignore || (threads && !sharesPorts),
    async fn() {
      await using folder = await TestFolder.create();
      await using server = await start("Receive into Maildir", {
        cwd: folder.path,
        threads,
      });
      await send(server, "you@example.com");
      await endQuietly(server);
      const kept = (await folder.files()).filter((file) =>
        file.includes("/new/")
      );
      assertEquals(kept.length, 2);
    },
  });
}

Deno.test({
  name: "each permission of SECURITY.md is needed to serve Maildir",
  ignore,
  async fn() {
    const { permissions, args } = modeOf("Receive into Maildir");
    const cli = permissions.indexOf("--allow-write=mail,/tmp");
    assert(cli > 0);
    await using folder = await TestFolder.create();
    await Deno.mkdir(`${folder.path}/mail`);
    for (const without of ["--allow-read", "--allow-write"]) {
      const { code, stdout, stderr } = await runCli([
        ...["--listen", "127.0.0.1:0"],
        ...args.slice(args.indexOf("--store")),
      ], {
        cwd: folder.path,
        permissions: [
          ...permissions.filter((permission) =>
            !/net|sys/.test(permission) && !permission.startsWith(without)
          ),
          "--allow-net",
          "--allow-sys=hostname",
        ],
        env: { TMPDIR: "/tmp" },
      });
      assertEquals([code, stdout], [1, ""]);
      assert(
        /^error: --store maildir:mail: cannot write to it: .+\n$/.test(stderr),
        stderr,
      );
      assert(stderr.includes(without), stderr);
    }
    assertEquals(
      (await folder.files()).filter((file) => file.includes("/new/")),
      [],
    );
  },
});

Deno.test({
  name: "TLS and accounts are served with the permissions of SECURITY.md",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    await Deno.mkdir(`${folder.path}/tls`);
    const certificate = await Certificate.selfSigned({
      names: ["mx.example.com"],
    });
    await folder.write("tls/cert.pem", certificate.toPem());
    await folder.write("tls/key.pem", certificate.keyPem());
    await folder.write("tls/users", "ann:secret\n");
    await using server = await start("With certificate and accounts", {
      cwd: folder.path,
    });
    await send(server, "you@example.com");
    // A renewed certificate is found without a signal.
    await folder.write("tls/cert.pem", certificate.toPem());
    await server.logged(/Reread certificates and accounts/);
    await endQuietly(server);
    const kept = (await folder.files()).filter((file) =>
      file.includes("/new/")
    );
    assertEquals(kept.length, 2);
  },
});

Deno.test({
  name: "a smarthost is relayed to with the permissions of SECURITY.md",
  ignore,
  async fn() {
    const store = new MemoryStore();
    await using far = await startServer({ store });
    await using folder = await TestFolder.create();
    await using server = await start("Relay through a smarthost", {
      cwd: folder.path,
      ports: { 2526: far.addresses[0]!.port },
    });
    await send(server, "you@example.com");
    await send(server, "you@example.org");
    await within(store.next(), "the first message");
    await within(store.next(), "the second message");
    await endQuietly(server);
    const kept = (await folder.files()).filter((file) =>
      file.includes("/new/")
    );
    assertEquals(kept.length, 2);
  },
});

Deno.test({
  name: "mail exchangers are looked for with the permissions of SECURITY.md",
  ignore,
  async fn() {
    await using dns = await startWireServer(() => ({ rcode: 2 }));
    await using folder = await TestFolder.create();
    await using server = await start("Relay to everybody", {
      cwd: folder.path,
      ports: { 5353: Number(dns.nameServer.split(":")[1]) },
    });
    await send(server, "you@example.org");
    await server.logged(/result=deferred[^]*result=deferred/);
    assert(dns.asked.includes("example.org"));
    await endQuietly(server);
    const kept = (await folder.files()).filter((file) =>
      file.startsWith("spool/messages/")
    );
    assertEquals(kept.length, 2);
  },
});

Deno.test({
  name: "a program that keeps nothing runs with the permissions of SECURITY.md",
  ignore,
  async fn() {
    const { permissions, args, source } = modeOf(
      "A program that keeps nothing",
    );
    const port = somePort();
    const ours = (text: string) =>
      text.replaceAll("127.0.0.1:2525", `127.0.0.1:${port}`);
    await using folder = await TestFolder.create();
    await folder.write(
      args[0]!,
      ours(source!).replace("@smtp/server", new URL("mod.ts", ROOT).href),
    );
    await using child = BackgroundProcess.start(Deno.execPath(), [
      ...["run", ...permissions.map(ours), ...packageFlags, ...args],
    ], { cwd: folder.path });
    await child.waitFor((text) => /^ready$/m.exec(text) ?? undefined);
    using client = await TestClient.connect({
      addresses: [{ address: "127.0.0.1", port }],
    });
    await client.envelope();
    const reply = await client.data("Subject: hello\r\n\r\nIt works.");
    assertEquals(reply.slice(0, 9), "250 2.0.0");
  },
});
