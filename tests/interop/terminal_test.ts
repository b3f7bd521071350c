/**
 * The command line at a terminal that script(1) makes: what is shown there only,
 * and that nothing from a message reaches it unfiltered.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { ProgressBar } from "../../lib/cli/progress.ts";
import { cliArgs } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";

const EVIL =
  "Subject: \x1b[31m\u202egnp.exe\r\n\r\n\x1b]0;mine\x07\u009b2J\r\n";

/** What a command line shows on a terminal of 80 columns. */
async function shown(cwd: string, ...args: string[]): Promise<string> {
  const line = [Deno.execPath(), ...cliArgs(args)]
    .map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const { stdout } = await run("script", [
    ...["-qec", `stty cols 80; ${line}`, "/dev/null"],
  ], { cwd, env: { NO_COLOR: "1", TERM: "xterm" } });
  return stdout;
}

Deno.test("queue shows a hostile message at a terminal without its escapes, in 80 columns", async () => {
  await using folder = await TestFolder.create();
  {
    await using spool = new FileSpool(`${folder.path}/spool`);
    await spool.open();
    const content = new TextEncoder().encode(EVIL);
    await spool.add({
      envelope: {
        ...{ id: "m1", from: `${"x".repeat(90)}\x1b[2J@a.test`, options: {} },
        ...{ parameters: {}, size: content.length, acceptedAt: Date.now() },
        recipients: [{ address: "bob\x07@b.test", parameters: {} }],
      },
      content: ReadableStream.from([content]),
    });
  }
  const content = await shown(folder.path, "queue", "show", "m1", "--content");
  assertEquals(content, "Subject:  [31m gnp.exe\r\n\r\n ]0;mine 2J\r\n");
  const list = await shown(folder.path, "queue");
  assertMatch(list, /^AGE/);
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]/.test(list));
  assert(list.split("\r\n").every((line) => line.length <= 80), list);
});

Deno.test("ProgressBar shows long tasks soon, short ones late, and removes itself", () => {
  let now = 1000;
  const real = performance.now;
  performance.now = () => now;
  try {
    const draw = (isLong: boolean, steps: readonly number[]) => {
      const written: string[] = [];
      now = 1000;
      const bar = new ProgressBar({
        ...{ total: 100, shown: "1.0 MiB", isLong },
        write: (text) => written.push(text),
      });
      for (const ms of steps) {
        now += ms;
        bar.add(10);
      }
      bar.end();
      return written;
    };
    assertEquals(draw(true, [100, 300]), []);
    const soon = draw(true, [600, 50, 100]);
    assertEquals(soon.length, 3);
    assertMatch(soon[1]!, /^\r█+░+ 30 % of 1\.0 MiB$/);
    assertEquals(soon[2], "\r\x1b[K");
    assertEquals(draw(false, [600, 600]), []);
    assertEquals(draw(false, [1900, 200]).length, 2);
    const none = new ProgressBar({
      ...{ total: 0, shown: "0 B", isLong: true, write: undefined },
    });
    now += 9999;
    none.add(5);
    none.end();
  } finally {
    performance.now = real;
  }
});
