/**
 * Postfix's smtp-source: ten thousand messages, twenty sessions at once; every
 * message arrives unchanged.
 *
 * The promise of SECURITY.md: "250 means kept".
 */

import { assertEquals, assertMatch } from "@std/assert";
import { InteropServer, readMaildir } from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestFolder } from "../support/folder.ts";

const COUNT = 10_000;
const LENGTH = 2_000;

interface Load {
  readonly count: number;
  readonly flags?: readonly string[];
  readonly protocol: string;
}

/** Sends, and asserts that every message is there, whole. */
async function assertAllStored(
  server: InteropServer,
  folder: string,
  load: Load,
): Promise<void> {
  await run("smtp-source", [
    ...["-s", "20", "-m", String(load.count), "-l", String(LENGTH)],
    ...["-f", "sender@example.org", "-t", "user@example.com"],
    ...["-M", "client.example", ...load.flags ?? []],
    `127.0.0.1:${server.port}`,
  ]);
  const stored = await readMaildir(`${folder}/mail/user@example.com`);
  assertEquals(stored.length, load.count);
  // The messages differ in their numbers only: header fields and the trace.
  const bodies = new Set(
    stored.map((text) => text.split("\n\n").slice(1).join("\n\n")),
  );
  assertEquals(bodies.size, 1);
  // smtp-source puts a line end of its own after the payload.
  assertEquals([...bodies][0]?.replaceAll("\n", "\r\n").length, LENGTH + 2);
  const names = new Set(
    stored.map((text) => /^Message-Id: (.*)$/mi.exec(text)?.[1]),
  );
  assertEquals(names.size, load.count);
  for (const text of stored) {
    assertMatch(text, /^Return-Path: <sender@example\.org>\nReceived: from /);
    assertMatch(text, new RegExp(`with ${load.protocol}\\s`));
  }
}

Deno.test("smtp-source sends 10,000 messages, 20 at once", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--quiet"], { cwd });
  await assertAllStored(server, cwd, { count: COUNT, protocol: "SMTP" });
});

Deno.test("smtp-source sends over connections that it keeps", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--quiet"], { cwd });
  await assertAllStored(server, cwd, {
    count: 2_000,
    flags: ["-d"],
    protocol: "SMTP",
  });
});

Deno.test("smtp-source speaks LMTP", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--quiet"], {
    cwd,
    listeners: ["lmtp"],
  });
  await assertAllStored(server, cwd, {
    count: 500,
    flags: ["-L"],
    protocol: "LMTP",
  });
});
