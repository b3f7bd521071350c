/**
 * The last lines of a log: a program that stops its server, ends itself or fails
 * loses none, and a standard error that is closed or has no reader harms nothing.
 */

import { assert, assertEquals } from "@std/assert";
import { logLines, type LogRecord, SmtpServer } from "../../mod.ts";
import { cliArgs, CliServer } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { isLinux } from "../support/platform.ts";
import { type Outcome, run } from "../support/process.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;

/** Runs a program with `server`, whose log are lines of JSON, and `log`. */
async function program(
  code: string,
  redirect = "",
  anyCode = false,
): Promise<Outcome> {
  await using folder = await TestFolder.create();
  await folder.write(
    "main.ts",
    `import { logLines, SmtpServer } from "${MOD}";
    const log = logLines("json");
    const server = new SmtpServer({ listen: "127.0.0.1:0", log });
    const say = (message: string) =>
      log({ level: "info", event: "warning", message });
    ${code}`,
  );
  return await run("sh", [
    ...["-c", `exec "$0" run -A main.ts ${redirect}`, Deno.execPath()],
  ], { cwd: folder.path, anyCode });
}

/** The sentences of the JSON lines among these. */
function sentences(lines: string): string[] {
  return lines.split("\n").filter((line) => line.startsWith("{"))
    .map((line) => (JSON.parse(line) as LogRecord).message);
}

const ENDS: readonly (readonly [name: string, code: string])[] = [
  ["stop() and Deno.exit()", "await server.stop(); Deno.exit(3);"],
  ["Deno.exit()", "Deno.exit(3);"],
  [
    "an exception in a timer",
    'setTimeout(() => { say("x"); throw new Error("y"); });',
  ],
  ["a rejection that nothing catches", 'Promise.reject(new Error("y"));'],
  ["an exception of the module", 'throw new Error("y");'],
];

for (const [name, code] of ENDS) {
  Deno.test({
    name: `No line is lost at ${name}`,
    ignore: !isLinux,
    async fn() {
      const { stderr } = await program(
        `await server.start(); say("the last"); ${code}`,
        "",
        true,
      );
      const said = sentences(stderr);
      assert(said.includes("the last"), stderr);
      assertEquals(new Set(said).size, said.length);
      if (code.includes("stop()")) {
        assert(said.some((one) => one.startsWith("Stopping")), stderr);
      }
    },
  });
}

Deno.test({
  name: "A standard error that is closed or full ends no program",
  ignore: !isLinux,
  async fn() {
    const work = `await server.start(); say("x"); await server.stop();
      say("y"); console.log("done"); Deno.exit(0);`;
    for (const redirect of ["2>&-", "2>/dev/full"]) {
      const { code, stdout } = await program(work, redirect);
      assertEquals([code, stdout], [0, "done\n"], redirect);
    }
    const outcome = await run("sh", [
      ...["-c", 'exec "$0" "$@" 2>&-', Deno.execPath()],
      ...cliArgs(["--listen", "127.0.0.1:0", "--log", "json", "--check"]),
    ]);
    assertEquals(outcome.code, 0);
  },
});

Deno.test({
  name: "serve writes the lines before a handler ends the process",
  ignore: !isLinux,
  async fn() {
    await using folder = await TestFolder.create();
    await folder.write(
      "handlers.ts",
      "export default { onHelo() { Deno.exit(5); } };",
    );
    await using server = await CliServer.start([
      ...["--log", "json", "--handlers", "./handlers.ts"],
    ], { cwd: folder.path });
    await using client = await server.connect();
    await client.expect(220);
    await client.send("HELO client.example");
    const { code, stderr } = await server.end();
    assertEquals(code, 5);
    assert(stderr.includes('"event":"connect"'), stderr);
  },
});

Deno.test({
  name: "A trace is on standard error without the option log",
  ignore: !isLinux,
  async fn() {
    const { stderr } = await program(
      `const traced = new SmtpServer({
        listen: "127.0.0.1:0",
        trace: ["127.0.0.1"],
      });
      await traced.start();
      const conn = await Deno.connect({ port: traced.addresses[0]!.port });
      await conn.read(new Uint8Array(512));
      conn.close();
      await traced.stop();`,
    );
    assert(/^debug: \S+: The server sends: 220 /m.test(stderr), stderr);
  },
});

Deno.test("stop() waits for the flush of the log, whose failure is no failure", async () => {
  const lines: string[] = [];
  const log = logLines("text", { write: (text) => void lines.push(text) });
  const server = new SmtpServer({ listen: "127.0.0.1:0", log });
  await server.start();
  await server.stop();
  assert(lines.join("").includes(" info stopping "), lines.join(""));
  const { code, stderr } = await program(
    `log.flush = () => Promise.reject(new Error("The disk is full"));
    await server.start();
    await server.stop();`,
  );
  assertEquals(code, 0);
  assert(stderr.includes("Cannot flush the log: Error: The disk is full"));
});
