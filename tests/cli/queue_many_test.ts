/**
 * `queue` on a spool of 20,000 messages, with and without a server: what it shows,
 * what it changes, and that hostile senders and contents change neither.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseArguments } from "../../lib/cli/arguments.ts";
import { optionsOf } from "../../lib/cli/options.ts";
import { queue } from "../../lib/cli/queue.ts";
import { safeLines } from "../../lib/cli/queue_text.ts";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { inspectSpool, spoolContent } from "../../lib/spool/control.ts";
import { CliServer, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";

const COUNT = 20_000;
/** Messages added in parallel: they share files and syncs. */
const AT_ONCE = 2000;
const HOUR = 3_600_000;
const encoder = new TextEncoder();
const EVIL = "Subject: \x1b[31m\u202egnp.exe\r\n\r\n\x1b]0;mine\x07\x9b2J\r\n";

/** Fills a spool: message `mN` to domain `dN%10`, the higher N the younger. */
async function fill(folder: string, count: number): Promise<void> {
  await using spool = new FileSpool(folder);
  await spool.open();
  const now = Date.now();
  const add = (at: number) => {
    const content = encoder.encode(at === 7 ? EVIL : `Subject: ${at}\r\n\r\n`);
    const address = `bob${at}@d${at % 10}.test`;
    return spool.add({
      envelope: {
        ...{ id: `m${at}`, parameters: {}, size: content.length },
        from: at % 2 === 0 ? "ann@a.test" : "ev\x1b[31mil+(.*)@b.test",
        recipients: [{ address, parameters: {} }],
        acceptedAt: now - (at < 2000 ? 48 : 1) * HOUR - count + at,
        options: { idleWaitMs: 100 * HOUR, expireAfterMs: 1000 * HOUR },
      },
      held: at % 4 === 0,
      content: ReadableStream.from([content]),
    });
  };
  for (let at = 0; at < count; at += AT_ONCE) {
    const some = Array.from({ length: AT_ONCE }, (_, step) => at + step);
    await Promise.all(some.filter((one) => one < count).map(add));
  }
}

Deno.test("queue chooses among 20,000 messages without a server", async (t) => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await fill(`${cwd}/spool`, COUNT);
  // In this process, which saves most of the time.
  const run = async (...args: string[]) => {
    const { words, given } = parseArguments(args, optionsOf("queue"));
    let stdout = "";
    const output = {
      out: (text: string | Uint8Array) => void (stdout += text),
      err() {},
    };
    const raw = new Map([...given, ["spool", [`${cwd}/spool`]]]);
    assertEquals(await queue(words, raw, output), 0);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/.test(stdout));
    return stdout;
  };
  await t.step("list is sorted, and counts what it does not show", async () => {
    const lines = (await run("--limit", "3")).split("\n");
    assertEquals(lines.length, 9);
    assertMatch(lines[1]!, / m0 <ann@a\.test>$/);
    assertMatch(lines[3]!, / m1 <ev \[31mil\+\(\.\*\)@b\.test>$/);
    assertMatch(lines[7]!, /^3 of 20000 messages, /);
    const all = await run("--json");
    assertEquals(all.split("\n").length, COUNT + 1);
    const ids = all.trimEnd().split("\n").map((line) => JSON.parse(line).id);
    assertEquals(ids, Array.from({ length: COUNT }, (_, at) => `m${at}`));
    const next = await run("list", "--sort", "next", "--json", "--limit", "1");
    assertEquals(JSON.parse(next).id, "m1");
    const size = await run("list", "--sort", "size", "--json", "--limit", "1");
    assertEquals(JSON.parse(size).id, "m7");
  });
  await t.step("filters choose, and their signs mean nothing", async () => {
    const count = async (...args: string[]) =>
      (await run("list", ...args)).trimEnd().split("\n").at(-1)!.split(",")[0];
    assertEquals(await count("--domain", "d3.test"), "2000 messages");
    assertEquals(await count("--held"), "5000 messages");
    assertEquals(await count("--held=no"), "15000 messages");
    assertEquals(await count("--from", "ev*il+(.*)@b.test"), "10000 messages");
    assertEquals(await count("--from", ".*"), "No message fits");
    assertEquals(await count("--to", "bob1999?@*"), "10 messages");
    assertEquals(await count("--older", "24h"), "2000 messages");
    assertEquals(
      await count("--to", "bob7@*", "--to", "bob8@*", "--held=no"),
      "1 message",
    );
  });
  await t.step("content comes unchanged", async () => {
    const { stdout } = await runCli(["queue", "show", "m7", "--content"], {
      cwd,
    });
    assertEquals(stdout, new TextDecoder().decode(encoder.encode(EVIL)));
    const unknown = await runCli(["queue", "show", "m7x", "--content"], {
      cwd,
    });
    assertEquals(unknown, {
      code: 1,
      stdout: "",
      stderr: 'error: There is no message "m7x" in spool "./spool"\n',
    });
  });
  await t.step("actions say how many they changed", async () => {
    assertEquals(
      await run("remove", "all", "--domain", "d3.test", "--older", "1s"),
      "remove all: done, 2000 messages\n",
    );
    assertEquals(
      await run("remove", "all", "--domain", "d3.test"),
      "remove all: no message fits\n",
    );
    assertEquals(
      JSON.parse(await run("hold", "all", "--from", "ann@*", "--json")),
      { action: "hold", id: "all", outcome: "done", count: 10_000 },
    );
    // A retry of all that fits is no release.
    assertEquals(
      await run("retry", "all", "--to", "bob10@*"),
      "retry all: no message fits\n",
    );
    assertEquals(await run("hold", "m1", "m5", "m1"), "hold m1 m5: done\n");
    const missing = await runCli(["queue", "remove", "m1", "nope"], { cwd });
    assertEquals([missing.code, missing.stdout], [1, ""]);
    const entries = await inspectSpool(`${cwd}/spool`);
    assertEquals(entries.size, 18_000);
    assertEquals(entries.get("m5")?.progress.held, true);
    assert(entries.has("m1"));
  });
});

Deno.test("queue asks a running server for each of 3,000 messages that fit", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await fill(`${cwd}/spool`, 6000);
  await using _ = await CliServer.start([
    ...["--listen", "127.0.0.1:0", "--relay-from", "127.0.0.0/8", "--quiet"],
  ], { cwd });
  const asked = await runCli(
    ["queue", "remove", "all", "--from", "ann@*"],
    { cwd },
  );
  assertEquals(
    asked.stdout,
    "remove all: asked of the running server, 3000 messages\n",
  );
  await until(
    async () => (await inspectSpool(`${cwd}/spool`)).size === 3000,
    { what: "the server has removed them" },
  );
  const after = await inspectSpool(`${cwd}/spool`);
  assert(
    [...after.values()].every(({ envelope }) =>
      envelope.from.endsWith("@b.test")
    ),
  );
  const shown = await runCli(["queue", "show", "m7", "--content"], { cwd });
  assertEquals(shown.code, 0);
  assertMatch(shown.stdout, /^Subject: /);
});

Deno.test("safeLines() keeps lines, and nothing that a terminal obeys", async () => {
  const read = async (...chunks: (string | Uint8Array)[]) => {
    const bytes = chunks.map((chunk) =>
      typeof chunk === "string" ? encoder.encode(chunk) : chunk
    );
    const lines = await Array.fromAsync(safeLines(ReadableStream.from(bytes)));
    return lines.join("");
  };
  assertEquals(await read("a\r\nb\tc\r\n\r\nd"), "a\nb c\n\nd\n");
  assertEquals(await read("x\x1b[31", "m\x07y\n"), "x [31m y\n");
  // A character in two chunks, and bytes that are no text.
  assertEquals(
    await read(
      new Uint8Array([0xc3]),
      new Uint8Array([0xa4, 10, 0xff, 0x9b, 10]),
    ),
    "\u00e4\n\ufffd\ufffd\n",
  );
  const long = "x".repeat(100_000);
  assert(await read(long, long) === `${long}${long}\n`);
  assertEquals(await read(), "");
});

Deno.test("spoolContent() refuses a message that is not there", async () => {
  await using folder = await TestFolder.create();
  await fill(`${folder.path}/spool`, 1);
  let message = "";
  try {
    await Array.fromAsync(spoolContent(`${folder.path}/spool`, "m2"));
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(message, 'Cannot read message "m2": there is no such message');
});
