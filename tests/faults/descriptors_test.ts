/**
 * A process that runs out of file descriptors goes on, serves the sessions that
 * it has, answers the others with 421, and recovers.
 *
 * The promise of SECURITY.md: "No exception ends the process".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-3.8 | RFC 5321 section 3.8}
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { FdShortage, isOutOfDescriptors } from "../../lib/server/admission.ts";
import { CliServer, messageTo } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { openFiles } from "../support/memory.ts";
import { until } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

const MAX_FILES = 120;
const ignore = openFiles() === undefined;

/** Connects until the server has more clients than it can have files. */
async function crowd(server: CliServer): Promise<Deno.Conn[]> {
  const conns: Deno.Conn[] = [];
  for (let number = 0; number < 2 * MAX_FILES; number++) {
    conns.push(
      await Deno.connect({ hostname: "127.0.0.1", port: server.ports[0]! }),
    );
  }
  return conns;
}

/** The first text that the server sends to a client; empty where it only closes. */
async function firstWords(conn: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(1000);
  const count = await conn.read(buffer).catch(() => null);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

for (const kind of ["maildir:mail", "mbox:mail", "file:mail"]) {
  Deno.test({
    name: `--store ${kind} keeps serving when no descriptor is free`,
    ignore,
    async fn() {
      await using folder = await TestFolder.create();
      await using server = await CliServer.start(["--store", kind], {
        cwd: folder.path,
        maxFiles: MAX_FILES,
      });
      const usual = openFiles(server.pid)!;
      await using early = await server.connect();
      await early.script(`
        S: 220
        C: EHLO client.example
        S: 250
      `);
      const conns = await crowd(server);
      await server.logged(/Out of file descriptors with \d+ sessions/);
      for (let number = 0; number < 3; number++) {
        await early.script(`
          C: MAIL FROM:<me@client.example>
          S: 250
          C: RCPT TO:<you@example.com>
          S: 250
          C: DATA
          S: 354
          C: Subject: crowded
          C: .
          S: 250 2.0.0 ...
        `);
      }
      // The last ones get 421 when their turn comes.
      const words = await firstWords(conns.at(-1)!);
      assertStringIncludes(words, String(replies.tooManyConnections));
      for (const conn of conns) conn.close();
      await until(() => openFiles(server.pid)! <= usual + 2, {
        seen: () => openFiles(server.pid),
      });
      await using late = await server.connect();
      await late.script(messageTo(["you@example.com"]));
      early.close();
      const { code, stderr } = await server.end("SIGTERM");
      assertEquals(code, 0);
      let kept = 0;
      for (const file of await folder.files()) {
        kept += (await folder.read(file)).match(/^Subject: /gm)?.length ?? 0;
      }
      assertEquals(kept, 4);
      const lines = stderr.split("\n").filter((line) =>
        line.includes(" error ")
      );
      // One record for each shortage, not one for each connection.
      assert(lines.length < 12, lines.join("\n"));
    },
  });
}

Deno.test("FdShortage leaves room free, and lets all in again after a while", () => {
  const shortage = new FdShortage();
  assertEquals(shortage.room(0), Infinity);
  assertEquals(shortage.shrink(1000, 0), 875);
  assertEquals(shortage.room(59_999), 875);
  assertEquals(shortage.room(60_000), Infinity);
  assertEquals(shortage.shrink(1000, 70_000), 875);
  assertEquals(shortage.shrink(875, 71_000), 765);
  assertEquals(shortage.room(130_500), 765);
  assertEquals(shortage.shrink(3, 200_000), 1);
});

Deno.test("isOutOfDescriptors() knows the two errors of the system", () => {
  assert(isOutOfDescriptors(new Error("Too many open files (os error 24)")));
  assert(isOutOfDescriptors(new Error("File table overflow (os error 23)")));
  assert(
    !isOutOfDescriptors(new Error("No space left on device (os error 28)")),
  );
  assert(!isOutOfDescriptors(undefined));
});
