/**
 * The guarantees of the file spool when its methods resolve, on a real disk: no
 * loss of power can take what is durable. `file_spool_crash_test.ts` tests a
 * crash at every moment in between.
 */

import { assertEquals } from "@std/assert";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { DiskWatch } from "../support/disk_watch.ts";
import { addition } from "../support/queue/fixtures.ts";
import { namesIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";

/** A spool three folders deep, none of which exists yet. */
const SPOOL = "a/b/spool";

async function recordLosses(watch: DiskWatch, root: string): Promise<string[]> {
  const losses: string[] = [];
  for (const name of await namesIn(`${root}/${SPOOL}/messages`)) {
    losses.push(...await watch.losses(`${SPOOL}/messages/${name}`));
  }
  return losses;
}

for (
  const [name, size] of [["small", 100], ["large", 300_000]] as const
) {
  Deno.test(`FileSpool.add() resolves when the record and every folder above it are on the disk: a ${name} message`, async () => {
    await using folder = await TestFolder.create();
    using watch = new DiskWatch(folder.path);
    await using spool = new FileSpool(`${folder.path}/${SPOOL}`);
    await spool.open();
    await spool.add(addition("a", { text: "x".repeat(size) }));
    assertEquals(await namesIn(`${folder.path}/${SPOOL}/incoming`), []);
    assertEquals((await namesIn(`${folder.path}/${SPOOL}/messages`)).length, 1);
    assertEquals(await recordLosses(watch, folder.path), []);
  });
}

Deno.test("FileSpool.open() waits for folders that another has just made", async () => {
  await using folder = await TestFolder.create();
  using watch = new DiskWatch(folder.path);
  for (const path of ["a", "a/b", SPOOL, `${SPOOL}/messages`]) {
    await Deno.mkdir(`${folder.path}/${path}`, { mode: 0o700 });
  }
  await using spool = new FileSpool(`${folder.path}/${SPOOL}`);
  await spool.open();
  await spool.add(addition("a"));
  assertEquals(await recordLosses(watch, folder.path), []);
});

Deno.test("FileSpool.change() and remove() resolve when the journal is on the disk", async () => {
  await using folder = await TestFolder.create();
  using watch = new DiskWatch(folder.path);
  await using spool = new FileSpool(`${folder.path}/${SPOOL}`);
  await spool.open();
  await spool.add(addition("a"));
  const journal = `${SPOOL}/journal`;
  await spool.change("a", { kind: "hold", held: true });
  assertEquals(await watch.losses(journal), []);
  await spool.remove("a");
  assertEquals(await watch.losses(journal), []);
});

Deno.test("FileSpool puts a rewritten journal in place with its name on the disk", async () => {
  await using folder = await TestFolder.create();
  using watch = new DiskWatch(folder.path);
  const path = `${folder.path}/${SPOOL}`;
  await using first = new FileSpool(path);
  await first.open();
  for (const id of ["a", "b", "c"]) await first.add(addition(id));
  for (const id of ["a", "b"]) await first.remove(id);
  await first.close();
  watch.steps.length = 0;
  await using second = new FileSpool(path);
  await second.open();
  assertEquals(
    watch.steps.includes(`rename ${SPOOL}/journal.new ${SPOOL}/journal`),
    true,
  );
  assertEquals(await watch.losses(`${SPOOL}/journal`), []);
  // Removed records stay removed before the journal forgets them.
  const sync = watch.steps.indexOf(`sync ${SPOOL}/messages`);
  const rename = watch.steps.indexOf(
    `rename ${SPOOL}/journal.new ${SPOOL}/journal`,
  );
  assertEquals(sync >= 0 && sync < rename, true);
});

Deno.test("FileSpool.remove() takes the record off the disk", async () => {
  await using folder = await TestFolder.create();
  await using spool = new FileSpool(`${folder.path}/${SPOOL}`);
  await spool.open();
  await spool.add(addition("a"));
  await spool.add(addition("b", { text: "x".repeat(300_000) }));
  await spool.remove("a");
  await spool.remove("b");
  assertEquals(await namesIn(`${folder.path}/${SPOOL}/messages`), []);
});

Deno.test("What the spool makes is its user's alone to read, whatever the umask", async () => {
  const old = Deno.umask(0);
  try {
    await using folder = await TestFolder.create();
    const root = `${folder.path}/a`;
    await using spool = new FileSpool(`${folder.path}/${SPOOL}`);
    await spool.open();
    await spool.add(addition("a"));
    await spool.add(addition("b", { text: "x".repeat(300_000) }));
    await spool.change("a", { kind: "hold", held: true });
    const found = new Map<string, string>();
    const look = async (path: string): Promise<void> => {
      const { mode, isDirectory } = await Deno.stat(path);
      const want = isDirectory ? 0o700 : 0o600;
      if ((mode! & 0o7777) !== want) found.set(path, mode!.toString(8));
      if (!isDirectory) return;
      for (const name of await namesIn(path)) await look(`${path}/${name}`);
    };
    await look(root);
    assertEquals([...found], []);
  } finally {
    Deno.umask(old);
  }
});
