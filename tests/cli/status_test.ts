/**
 * `status`: what a running server says of itself over the socket in its spool, to
 * people, programs and health checks, and that nothing but its owner gets an
 * answer.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { RateCounter } from "../../lib/cli/status_facts.ts";
import { StatusSocket } from "../../lib/cli/status_socket.ts";
import { statusLines } from "../../lib/cli/status.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import type { SpoolAddition } from "../../lib/spool/spool.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasUnixSockets } from "../support/platform.ts";
import { startServer } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

/** The options of a server that takes mail for others, which no host accepts. */
const RELAYING = [
  ...["--relay-from", "127.0.0.0/8", "--smarthost", "127.0.0.1:9/none"],
];

for (const threads of [0, 2]) {
  Deno.test({
    name:
      `status shows sessions, rates and queue of a server with ${threads} threads`,
    ignore: !hasUnixSockets,
    async fn() {
      await using folder = await TestFolder.create();
      const cwd = folder.path;
      await using server = await CliServer.start([
        ...["--listen", "127.0.0.1:0", "--threads", String(threads)],
        ...["--quiet", "--user", "ann:sesame", "--allow-insecure-auth"],
        ...RELAYING,
      ], { cwd });
      const ask = async (...args: string[]) =>
        await runCli(["status", "--json", ...args], { cwd });
      await using client = await server.connect();
      await client.script(
        messageTo(["bob@b\u00fccher.test", "eve@dest.test"])
          .replace("MAIL FROM:<me@client.example>", "$& SMTPUTF8")
          .replace(/C: QUIT[^]*/, "C: NOOP\nS: 250"),
      );
      await client.expect(235, `AUTH PLAIN ${btoa("\0ann\0sesame")}`);
      await client.expect(501, "MAIL FROM:nonsense");
      let facts: ReturnType<typeof JSON.parse>;
      await until(async () => {
        const { code, stdout, stderr } = await ask();
        assertEquals([code, stderr], [0, ""]);
        facts = JSON.parse(stdout);
        return facts.queue.deferred === 1 && facts.sessions.loggedIn === 1;
      }, { what: "the message is deferred" });
      assertEquals(facts.active, true);
      assertMatch(facts.version, /^\d+\./);
      assert(Date.parse(facts.upSince) <= Date.now());
      assertEquals(facts.listeners, [
        { address: "127.0.0.1", port: server.ports[0], kind: "smtp" },
      ]);
      assertEquals(facts.sessions, {
        ...{ total: 1, states: { ready: 1 }, tls: 0, loggedIn: 1 },
      });
      const { accepted, refused } = facts.rates;
      assertEquals([accepted, refused], [
        { minute: 1, hour: 1 },
        { minute: 1, hour: 1 },
      ]);
      assert(facts.rates.deferred.minute >= 2);
      assertEquals(
        facts.queue.destinations.map((
          { destination, messages }: Record<string, unknown>,
        ) => [destination, messages]),
        [["dest.test", 1], ["xn--bcher-kva.test", 1]],
      );
      assertMatch(facts.queue.destinations[0].answer, /refused/);
      const text = await runCli(["status"], { cwd });
      assertEquals([text.code, text.stderr], [0, ""]);
      assertMatch(text.stdout, /^server {7}running, version/);
      assertMatch(text.stdout, /1 ready; 0 with TLS, 1 logged in/);
      assertMatch(text.stdout, /1 message, .* 1 deferred, 0 waiting, 0 held/);
      assertMatch(text.stdout, / dest\.test: /);
      const info = await Deno.stat(`${cwd}/spool/status.sock`);
      assertEquals(info.mode! & 0o777, 0o600);
      await server.end("SIGTERM");
      const after = await ask();
      assertEquals([after.code, after.stdout], [1, ""]);
      assertEquals(
        after.stderr,
        'error: Cannot ask the server at "./spool/status.sock": no server runs there, or one without a spool: want --spool DIR as it has it, or --status PATH for both\n',
      );
    },
  });
}

Deno.test({
  name: "A server that was killed leaves a socket that the next one replaces",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    const args = ["--listen", "127.0.0.1:0", ...RELAYING];
    const first = await CliServer.start(args, { cwd });
    await first.end("SIGKILL");
    assert((await Deno.lstat(`${cwd}/spool/status.sock`)).isSocket);
    assertEquals((await runCli(["status"], { cwd })).code, 1);
    await using second = await CliServer.start(args, { cwd });
    const { code, stdout } = await runCli(["status", "--json"], { cwd });
    assertEquals([code, JSON.parse(stdout).pid], [0, second.pid]);
  },
});

Deno.test({
  name: "serve goes on without a socket that it cannot have, and says so",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await folder.write("mine", "kept");
    const start = (path: string) =>
      CliServer.start(["--status", path, "--store", "discard"], { cwd });
    {
      await using server = await start("mine");
      await server.logged(
        /warn \w+ msg="--status mine: .*A file that is no socket is there/,
      );
    }
    assertEquals(await folder.read("mine"), "kept");
    {
      await using server = await start(`${"x".repeat(120)}`);
      await server.logged(
        /warn \w+ msg="--status x+: no socket for the command status/,
      );
    }
    {
      await using server = await start("here.sock");
      await using other = await start("here.sock");
      await other.logged(/warn .*A server answers there/);
      const asked = ["status", "--status", "here.sock", "--json"];
      const { stdout } = await runCli(asked, { cwd });
      assertEquals(JSON.parse(stdout).pid, server.pid);
    }
    const check = ["serve", "--check", "--status", "mine"];
    const { code, stderr } = await runCli(check, { cwd });
    assertEquals(code, 0);
    assertEquals(
      stderr,
      "warning: --status mine: no socket for the command status: another file is in its place\n",
    );
    // Without relaying there is no spool, and nothing is made for it.
    await using plain = await CliServer.start(["--store", "discard"], { cwd });
    assertEquals(await folder.files(), ["here.sock", "mine"]);
    assertEquals(plain.stderr, "");
  },
});

Deno.test({
  name:
    "status tells a program that is no server from one that does not answer",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/odd.sock`;
    for (
      const [answer, want] of [
        ["", "it gave no status"],
        ["220 mail\r\n", "it gave no status"],
        ["null", "it gave no status"],
        ['{"queue":{},"sessions":{}}', "it gave no status"],
      ] as const
    ) {
      const listener = Deno.listen({ transport: "unix", path });
      const served = (async () => {
        using connection = await listener.accept();
        await connection.write(new TextEncoder().encode(answer));
      })();
      const outcome = await runCli(["status", "--status", path], {
        cwd: folder.path,
      });
      await served;
      listener.close();
      assertEquals([outcome.code, outcome.stdout], [1, ""]);
      assertEquals(
        outcome.stderr,
        `error: Cannot ask the server at "${path}": ${want}\n`,
      );
    }
  },
});

/** A spool of many messages, some of them held, for many domains. */
async function largeSpool(count: number): Promise<MemorySpool> {
  const spool = new MemorySpool();
  await spool.open();
  for (let at = 0; at < count; at++) {
    const envelope = {
      ...{ id: `m${at}`, from: "ann@a.test", parameters: {}, size: 0 },
      recipients: [{
        address: `bob@${at % 50 === 0 ? "evil\u202e" : `d${at % 50}`}.test`,
        parameters: {},
      }],
      acceptedAt: Date.now(),
      options: { idleWaitMs: 3_600_000 },
    };
    const message: SpoolAddition = {
      envelope,
      held: at % 3 === 0,
      content: ReadableStream.from<Uint8Array>([]),
    };
    await spool.add(message);
  }
  return spool;
}

Deno.test({
  name:
    "A queue of 20,000 messages is counted, and clients that stay are closed",
  ignore: !hasUnixSockets,
  async fn() {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/status.sock`;
    const spool = await largeSpool(20_000);
    await using server = await startServer({ relay: { spool } });
    const socket = new StatusSocket();
    await socket.open(path, { server, version: "9.9.9" });
    try {
      const connections = await Promise.all(
        Array.from(
          { length: 12 },
          () => Deno.connect({ transport: "unix", path }),
        ),
      );
      const texts = await within(
        Promise.all(
          connections.map(({ readable }) => new Response(readable).text()),
        ),
        "the answers",
      );
      const answers = texts.filter((text) => text !== "");
      // Eight are answered at a time, by one look at the queue.
      assert(answers.length >= 8 && new Set(answers).size <= answers.length);
      const facts = JSON.parse(answers[0]!);
      const { total, waiting, held, moreDestinations } = facts.queue;
      assertEquals([total, waiting + held, moreDestinations], [
        ...[20_000, 20_000, 30],
      ]);
      assertEquals(facts.queue.destinations.length, 20);
      const text = [...statusLines(facts, { now: Date.now(), width: 80 })];
      assert(text.every((line) => line.length <= 81));
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x09\x0b-\x1f\u202e]/.test(text.join("")));
    } finally {
      await socket.close();
    }
    assertEquals(await folder.files(), []);
  },
});

Deno.test("RateCounter counts the last minute and hour, by the records of the log", () => {
  const rates = new RateCounter();
  const record = (
    event: string,
    fields: Record<string, string | number> = {},
  ) =>
    ({ level: "info", event, message: "", fields }) as unknown as Parameters<
      RateCounter["count"]
    >[0];
  rates.count(record("message"), 1000);
  rates.count(record("refused"), 2000);
  for (const result of ["delivered", "deferred", "relayed", "delivered"]) {
    rates.count(record("delivery", { result }), 3000);
  }
  rates.count(record("connect"), 4000);
  // A proxy that only looks whether the port is open: in a log of everything only.
  rates.count({ ...record("refused"), level: "debug" }, 4000);
  rates.count(record("message"), 70_000);
  const seen = rates.rates(70_000);
  assertEquals(seen.accepted, { minute: 1, hour: 2 });
  assertEquals(seen.refused, { minute: 0, hour: 1 });
  assertEquals(seen.delivered, { minute: 0, hour: 3 });
  assertEquals(seen.deferred.hour, 1);
  const later = rates.rates(3_700_000 + 70_000);
  assertEquals(later.accepted, { minute: 0, hour: 0 });
});
