/** Threads with and without the flag that lets `Deno.listen` share a port, and from the command line. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { type Outcome, run } from "../support/process.ts";
import { sharesPorts, testWhere } from "../support/platform.ts";

const test = testWhere(sharesPorts);

const MOD = new URL("../../mod.ts", import.meta.url);

/** A server with two threads that receives without TLS, by STARTTLS and by TLS; prints the threads that answered. */
const PROGRAM = `
import { Certificate, MemoryStore, SmtpServer } from ${
  JSON.stringify(MOD.href)
};
const store = new MemoryStore();
const certificate = await Certificate.parse(Deno.env.get("PEM"), {
  key: Deno.env.get("KEY"),
});
await using server = new SmtpServer({
  listen: ["127.0.0.1:0", "127.0.0.1:0/smtps"],
  threads: 2,
  store,
  certificate,
  log: () => {},
});
await server.start();
const [plain, tls] = server.addresses;
const prefixes = new Set();
for (let turn = 0; turn < 64 && prefixes.size < 2; turn++) {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: plain.port });
  const say = async (text) => {
    await conn.write(new TextEncoder().encode(text));
    const buffer = new Uint8Array(4096);
    const count = await conn.read(buffer);
    return new TextDecoder().decode(buffer.subarray(0, count));
  };
  await say("");
  await say("HELO x\\r\\n");
  await say("MAIL FROM:<a@b>\\r\\n");
  await say("RCPT TO:<c@d>\\r\\n");
  await say("DATA\\r\\n");
  const reply = await say("Subject: x\\r\\n\\r\\nx\\r\\n.\\r\\n");
  prefixes.add(/as [^-]*-([^-]*)-/.exec(reply)[1]);
  conn.close();
}
const secure = await Deno.connectTls({
  hostname: "127.0.0.1",
  port: tls.port,
  caCerts: [Deno.env.get("PEM")],
});
const buffer = new Uint8Array(4096);
const count = await secure.read(buffer);
secure.close();
console.log(JSON.stringify({
  threads: prefixes.size,
  stored: store.messages.length > 1,
  greeting: new TextDecoder().decode(buffer.subarray(0, 3)),
}));
`;

/** Runs the program with these flags. */
async function runProgram(flags: readonly string[]): Promise<Outcome> {
  await using folder = await TestFolder.create();
  await folder.write("program.js", PROGRAM);
  const certificate = await Certificate.selfSigned({ names: ["127.0.0.1"] });
  return await run(Deno.execPath(), [
    ...["run", "--no-config", "--no-check", "-A", ...flags, "program.js"],
  ], {
    cwd: folder.path,
    anyCode: true,
    env: { PEM: certificate.toPem(), KEY: certificate.keyPem() },
  });
}

test("Two threads share ports with the unstable flag", async () => {
  const { stdout } = await runProgram(["--unstable-net"]);
  assertEquals(JSON.parse(stdout), {
    threads: 2,
    stored: true,
    greeting: "220",
  });
});

test("Threads without the unstable flag do not start, and say what to add", async () => {
  const { code, stderr } = await runProgram([]);
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    "Cannot serve with 2 threads without --unstable-net",
  );
});

test("cli --threads serves and stops", async () => {
  await using folder = await TestFolder.create();
  await folder.write(
    "handlers.ts",
    "export default ({ thread }) => ({ onHelo: (_session, name) => name !== `no${thread}` });",
  );
  await using server = await CliServer.start([
    ...["--threads", "2", "--handlers", "./handlers.ts", "--quiet"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
  await using other = await server.connect();
  await other.script("S: 220\nC: HELO no0\nS: 250\nC: QUIT\nS: 221");
  const { code, stderr } = await server.end("SIGTERM");
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  const kept = await Array.fromAsync(
    Deno.readDir(`${folder.path}/mail/you@example.com/new`),
  );
  assertEquals(kept.length, 1);
});

test("cli refuses a number of threads that makes no sense", async () => {
  await using folder = await TestFolder.create();
  for (const threads of ["-1", "1.5", "two", "1000"]) {
    const { code, stdout, stderr } = await runCli([`--threads=${threads}`], {
      cwd: folder.path,
    });
    assertEquals([code, stdout], [2, ""]);
    assertStringIncludes(stderr, "threads");
    assert(stderr.includes(threads), stderr);
  }
});
