/** Log output without a reader: the server goes on. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { BackgroundWriter } from "../../lib/log.ts";
import { cliArgs } from "../support/cli.ts";
import { hasSignals, testWhere } from "../support/platform.ts";
import { within } from "../support/wait.ts";

testWhere(hasSignals)(
  "cli serve goes on without a reader of its log, and logs the number of dropped lines later",
  async () => {
    const child = new Deno.Command(Deno.execPath(), {
      args: cliArgs([
        ...["--listen", "127.0.0.1:0", "--log", "json", "--store", "discard"],
      ]),
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    try {
      const out = child.stdout.getReader();
      let said = "";
      while (!/listening on \S+:(\d+) /.test(said)) {
        const { value } = await within(out.read(), "the first line");
        said += new TextDecoder().decode(value);
      }
      const port = Number(/listening on \S+:(\d+) /.exec(said)![1]);
      out.releaseLock();
      for (let turn = 0; turn < 6000; turn++) {
        using conn = await within(
          Deno.connect({ hostname: "127.0.0.1", port }),
          "a connection",
        );
        const buffer = new Uint8Array(512);
        const count = await within(conn.read(buffer), "the greeting");
        assert(count !== null);
      }
      child.kill("SIGTERM");
      const [{ code }, text] = await within(
        Promise.all([child.status, new Response(child.stderr).text()]),
        "the end",
      );
      assertEquals(code, 0);
      assertStringIncludes(text, "log lines were dropped");
    } finally {
      try {
        child.kill("SIGKILL");
      } catch {
        // The process has ended.
      }
      await child.stdout.cancel();
    }
  },
);

Deno.test("BackgroundWriter keeps a bounded number of lines and counts the others", async () => {
  const written: string[] = [];
  const reading = Promise.withResolvers<void>();
  const writer = new BackgroundWriter({
    to: {
      async write(bytes) {
        await reading.promise;
        written.push(new TextDecoder().decode(bytes));
        return bytes.length;
      },
    },
    dropNote: (count) => `dropped ${count}\n`,
  });
  const line = `${"x".repeat(1023)}\n`;
  for (let count = 0; count < 2000; count++) writer.write(line);
  reading.resolve();
  await writer.drain(60_000);
  const text = written.join("");
  const kept = text.split(line).length - 1;
  assertEquals(kept, 1025);
  assertEquals(text.endsWith(`dropped ${2000 - kept}\n`), true);
  writer.write("again\n");
  await writer.drain(60_000);
  assertEquals(written.at(-1), "again\n");
});
