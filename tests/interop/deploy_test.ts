/**
 * The files of examples/deploy/: systemd reads the unit and finds it safe, and
 * the commands of unit and Dockerfile, with exactly the permissions that they
 * name, start a server that takes mail. Only folders, ports and the place of the
 * package are others.
 */

import { assert, assertEquals } from "@std/assert";
import { packageFlags, readMaildir } from "../support/interop/server.ts";
import { BackgroundProcess, run } from "../support/process.ts";
import { Manager } from "../support/service_manager.ts";
import { isLinux } from "../support/platform.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const DEPLOY = `${ROOT}examples/deploy/`;
/** The most that `systemd-analyze security` may find, in tenths. */
const MOST_EXPOSURE = 20;

/** A folder outside of /tmp, to which the permissions give access. */
async function makeFolder(): Promise<string> {
  return await Deno.makeTempDir({ dir: "/var/tmp", prefix: "smtp-test-" });
}

/** A port that was free a moment ago. */
function somePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** The lines of a file with those joined that end with a backslash. */
async function readLines(name: string): Promise<string[]> {
  const text = await Deno.readTextFile(DEPLOY + name);
  return text.replaceAll(/ *\\\n\s*/g, " ").split("\n");
}

/** Runs a command of the files; resolves when it listens. */
async function start(
  args: readonly string[],
  options: { cwd: string; env: Record<string, string> },
): Promise<BackgroundProcess> {
  const child = BackgroundProcess.start(Deno.execPath(), [...args], options);
  await child.waitFor((text) => text.includes("stop with") || undefined);
  return child;
}

/** Sends a message with curl. */
async function send(...place: string[]): Promise<void> {
  await run("curl", [
    ...["-sS", "--crlf", ...place, "--mail-from", "me@example.org"],
    ...["--mail-rcpt", "you@example.com", "-T", "-"],
  ], { input: "Subject: hello\n\nIt works.\n" });
}

Deno.test({
  name: "systemd takes the unit without complaint and finds it safe",
  ignore: !isLinux,
  async fn() {
    const folder = await makeFolder();
    try {
      const unit = await Deno.readTextFile(`${DEPLOY}smtp-server.service`);
      const path = `${folder}/smtp-server.service`;
      await Deno.writeTextFile(
        path,
        unit.replace("/usr/local/bin/deno", Deno.execPath()),
      );
      const { stdout, stderr } = await run("systemd-analyze", ["verify", path]);
      assertEquals(stdout + stderr, "");
      await run("systemd-analyze", [
        ...["security", "--offline=yes", `--threshold=${MOST_EXPOSURE}`, path],
      ]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "the unit's command takes mail with the permissions that it names",
  ignore: !isLinux,
  async fn() {
    const folder = await makeFolder();
    const lines = await readLines("smtp-server.service");
    const command = lines.find((line) => line.startsWith("ExecStart="))!;
    const here = (text: string) =>
      text
        .replaceAll("/etc/smtp-server", `${folder}/etc`)
        .replaceAll("/var/lib/smtp-server", `${folder}/lib`)
        .replaceAll("/run/smtp-server", `${folder}/run`)
        .replaceAll("/run/systemd/notify", `${folder}/notify`);
    for (const name of ["etc", "lib", "run"]) {
      await Deno.mkdir(`${folder}/${name}`);
    }
    const port = somePort();
    const config = await Deno.readTextFile(`${DEPLOY}config.json`);
    await Deno.writeTextFile(
      `${folder}/etc/config.json`,
      here(config).replace('":25"', `"127.0.0.1:${port}"`),
    );
    using manager = new Manager(`${folder}/notify`);
    const [program, ...args] = here(command.slice("ExecStart=".length))
      .replace("jsr:@smtp/server/cli", `${ROOT}cli.ts`).split(" ");
    assertEquals(program, "/usr/local/bin/deno");
    assertEquals(args.filter((flag) => /^-A$|allow-all/.test(flag)), []);
    args.splice(1, 0, ...packageFlags);
    try {
      await using server = await start(args, {
        cwd: `${folder}/lib`,
        env: {
          NOTIFY_SOCKET: manager.place,
          RUNTIME_DIRECTORY: `${folder}/run`,
          WATCHDOG_USEC: "30000000",
          TMPDIR: "/tmp",
        },
      });
      assertEquals((await manager.next())[0], "READY=1");
      await send("--url", `smtp://127.0.0.1:${port}`);
      const socket = await Deno.lstat(`${folder}/run/lmtp.sock`);
      assertEquals(socket.mode! & 0o777, 0o660);
      const mail = await readMaildir(`${folder}/lib/mail/you@example.com`);
      assertEquals(mail.length, 1);
      assertEquals(await server.stop(), 0);
      assert(!/NotCapable|"level":"(warn|error)"/.test(server.stderr));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "the container's command takes mail, and its health check sees that",
  ignore: !isLinux,
  async fn() {
    const folder = await makeFolder();
    const lines = await readLines("Dockerfile");
    const port = somePort();
    const here = (text: string) =>
      text.replaceAll("/data", folder).replaceAll("2525", String(port));
    const compile = lines.find((line) => line.includes("deno compile"))!;
    const permissions = here(compile).split(" ").filter((word) =>
      /^--(allow|no-prompt|unstable)/.test(word)
    );
    const words = (instruction: RegExp): string[] => {
      const line = lines.find((line) => instruction.test(line))!;
      return JSON.parse(here(line).slice(here(line).indexOf("[")));
    };
    const check = async () => {
      const [program, ...args] = words(/^HEALTHCHECK/);
      const { code } = await run(program!, args, { anyCode: true });
      return code;
    };
    try {
      assertEquals(await check(), 1);
      await using server = await start([
        ...["run", ...permissions, ...packageFlags, `${ROOT}cli.ts`],
        ...words(/^CMD/),
      ], { cwd: folder, env: { TMPDIR: "/tmp" } });
      assertEquals(await check(), 0);
      await send("--url", `smtp://127.0.0.1:${port}`);
      const mail = await readMaildir(`${folder}/mail/you@example.com`);
      assertEquals(mail.length, 1);
      assertEquals(await server.stop(), 0);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
