/**
 * Postfix's smtp-source against two threads: no message is lost or mixed with
 * another, and both threads work.
 *
 * The promise of SECURITY.md: "250 means kept".
 */

import { assertEquals } from "@std/assert";
import { InteropServer, readMaildir } from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestFolder } from "../support/folder.ts";

const COUNT = 2_000;

async function send(port: number, count: number): Promise<void> {
  await run("smtp-source", [
    ...["-s", "20", "-m", String(count), "-l", "2000"],
    ...["-f", "sender@example.org", "-t", "user@example.com"],
    ...["-M", "client.example", `127.0.0.1:${port}`],
  ]);
}

/** The names of the messages, as they stand in the Received fields. */
function namesIn(texts: readonly string[]): (string | undefined)[] {
  return texts.map((text) => /\sid ([\w-]+)/.exec(text)?.[1]);
}

/** Asserts that every message is there once, and that both threads have had some. */
function assertWhole(texts: readonly string[], count: number): void {
  const names = new Set(namesIn(texts));
  assertEquals([texts.length, names.size], [count, count]);
  const threads = new Set([...names].map((name) => name?.split("-")[1]));
  assertEquals(threads.size, 2);
}

Deno.test("smtp-source sends 2,000 messages into the Maildirs of two threads", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(
    ["--quiet", "--threads", "2"],
    { cwd },
  );
  await send(server.port, COUNT);
  assertWhole(await readMaildir(`${cwd}/mail/user@example.com`), COUNT);
});

Deno.test("smtp-source sends 500 messages into one mailbox file of two threads", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(
    ["--quiet", "--threads", "2", "--store", "mbox:all.mbox"],
    { cwd },
  );
  await send(server.port, 500);
  const mailbox = await Deno.readTextFile(`${cwd}/all.mbox`);
  const messages = mailbox.split(/^(?=From sender@example\.org )/m);
  assertWhole(messages, 500);
  // They differ in their header only: nothing of one is within another.
  const bodies = messages.map((text) => text.split("\n\n").slice(1).join());
  assertEquals(new Set(bodies).size, 1);
});
