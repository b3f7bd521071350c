/** Messages that share a file: written together, removed one by one. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { sharedCount, sharedName } from "../../lib/spool/record.ts";
import { SpoolError } from "../../lib/spool/spool.ts";
import { SimulatedDisk } from "../support/queue/disk.ts";
import { addition } from "../support/queue/fixtures.ts";
import { readText } from "../support/bytes.ts";

const FOLDER = "/spool/messages/";
const THREE = ["a", "b", "c"];

/** A spool on a simulated disk with some messages that came together. */
async function spoolWith(
  ids: readonly string[],
): Promise<{ disk: SimulatedDisk; spool: FileSpool; file: string }> {
  const disk = new SimulatedDisk();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  await Promise.all(ids.map((id) => spool.add(addition(id))));
  return { disk, spool, file: recordFiles(disk)[0]! };
}

function recordFiles(disk: SimulatedDisk): string[] {
  return disk.paths.filter((path) => path.startsWith(FOLDER));
}

/** Opens the spool again: its messages and its problems. */
async function reopen(disk: SimulatedDisk): Promise<{
  texts: Record<string, string>;
  problems: readonly string[];
}> {
  const spool = new FileSpool("/spool", {}, { files: disk });
  const problems = await spool.open();
  const texts: Record<string, string> = {};
  for (const id of spool.entries.keys()) {
    texts[id] = await readText(spool.content(id));
  }
  await spool.close();
  return { texts, problems: problems.map(({ name }) => name) };
}

const textsOf = (...ids: string[]) =>
  Object.fromEntries(ids.map((id) => [id, `Text of ${id}\r\n`]));

Deno.test("FileSpool writes messages that come together to one file", async () => {
  const { disk, spool, file } = await spoolWith(THREE);
  assertEquals(recordFiles(disk), [file]);
  assertEquals(sharedCount(file.slice(FOLDER.length)), 3);
  await spool.close();
  assertEquals(await reopen(disk), {
    texts: textsOf("a", "b", "c"),
    problems: [],
  });
});

Deno.test("FileSpool keeps the log-in of each message of a shared file", async () => {
  const disk = new SimulatedDisk();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  const logins = THREE.map((id) => ({ username: id, password: `of ${id}` }));
  await Promise.all(
    THREE.map((id, at) => spool.add({ ...addition(id), login: logins[at] })),
  );
  assertEquals(recordFiles(disk).length, 1);
  await spool.close();
  const next = new FileSpool("/spool", {}, { files: disk });
  await next.open();
  for (const [at, id] of THREE.entries()) {
    assertEquals(await next.login(id), logins[at]);
  }
  assert(!disk.text("/spool/journal")!.includes("of a"));
  await next.close();
});

Deno.test("FileSpool reads from a shared file what belongs to the message", async () => {
  const { spool } = await spoolWith(THREE);
  for (const id of THREE) {
    // After a try the content is read from the disk.
    await spool.change(id, { kind: "result", results: [] });
    assertEquals(await readText(spool.content(id)), `Text of ${id}\r\n`);
  }
  await spool.close();
});

Deno.test("FileSpool removes a shared file with the last of its messages", async () => {
  const { disk, spool } = await spoolWith(THREE);
  await spool.remove("a");
  await spool.remove("c");
  assertEquals(recordFiles(disk).length, 1);
  await spool.close();
  const next = new FileSpool("/spool", {}, { files: disk });
  assertEquals(await next.open(), []);
  assertEquals([...next.entries.keys()], ["b"]);
  await next.remove("b");
  assertEquals(recordFiles(disk), []);
  await next.close();
  assertEquals((await reopen(disk)).texts, {});
});

Deno.test("FileSpool finds the messages of a shared file whose journal is gone", async () => {
  const { disk, spool } = await spoolWith(THREE);
  await spool.close();
  await disk.remove("/spool/journal");
  const want = { texts: textsOf("a", "b", "c"), problems: [] };
  assertEquals(await reopen(disk), want);
  // The journal knows them again.
  assertEquals(await reopen(disk), want);
});

Deno.test("FileSpool brings nobody back who left before the journal was written anew", async () => {
  const { disk, spool } = await spoolWith(["a", "b", "c", "d"]);
  for (const id of ["a", "c", "d"]) await spool.remove(id);
  await spool.close();
  for (let start = 0; start < 3; start++) {
    assertEquals((await reopen(disk)).texts, textsOf("b"));
  }
  assert(!disk.text("/spool/journal")!.includes('"gone"'));
});

Deno.test("FileSpool rather brings messages back than lose one whose line is damaged", async () => {
  const { disk, spool } = await spoolWith(THREE);
  await spool.remove("a");
  await spool.close();
  await reopen(disk);
  const lines = disk.text("/spool/journal")!.split("\n");
  const at = lines.findIndex((line) => line.includes('"id":"b"'));
  lines[at] = lines[at]!.replace("b@example.org", "x@example.org");
  disk.put("/spool/journal", lines.join("\n"));
  const { texts, problems } = await reopen(disk);
  assertEquals(problems, ["journal"]);
  assertEquals(texts["b"], "Text of b\r\n");
  assertEquals(texts["c"], "Text of c\r\n");
});

Deno.test("FileSpool keeps the whole records of a shared file that is cut short", async () => {
  for (const isKnown of [true, false]) {
    const { disk, spool, file } = await spoolWith(THREE);
    await spool.close();
    if (!isKnown) await disk.remove("/spool/journal");
    const whole = disk.bytes(file);
    disk.put(file, whole.slice(0, whole.length - 3));
    const name = file.slice(FOLDER.length);
    const want = textsOf("a", "b");
    assertEquals(await reopen(disk), { texts: want, problems: [name] });
    const aside = disk.bytes(`/spool/damaged/${name}`);
    assertEquals(aside.length, whole.length - 3);
    assertEquals(await reopen(disk), { texts: want, problems: [] });
  }
});

Deno.test("FileSpool sets a shared file aside of which nothing is whole", async () => {
  for (const isKnown of [true, false]) {
    const { disk, spool, file } = await spoolWith(THREE);
    await spool.close();
    if (!isKnown) await disk.remove("/spool/journal");
    disk.put(file, disk.bytes(file).slice(0, 40));
    const name = file.slice(FOLDER.length);
    assertEquals(await reopen(disk), { texts: {}, problems: [name] });
    assertEquals(recordFiles(disk), []);
    assertEquals(disk.bytes(`/spool/damaged/${name}`).length, 40);
  }
});

Deno.test("FileSpool refuses all messages of a file that the disk does not take", async () => {
  const { disk, spool, file } = await spoolWith(["a"]);
  disk.isFull = true;
  const group = ["b", "c"];
  await Promise.all(group.map(async (id) => {
    const error = await assertRejects(() => spool.add(addition(id)));
    assert(error instanceof SpoolError && error.reply.code === 452);
  }));
  disk.isFull = false;
  assertEquals(recordFiles(disk), [file]);
  await Promise.all(group.map((id) => spool.add(addition(id))));
  assertEquals([...spool.entries.keys()], THREE);
  await spool.close();
});

Deno.test("FileSpool refuses a content of the wrong size without those that came with it", async () => {
  const { spool } = await spoolWith([]);
  const { envelope } = addition("b");
  const wrong = { envelope: { ...envelope, size: 3 } };
  const [a, b, c] = await Promise.allSettled([
    spool.add(addition("a")),
    spool.add({ ...addition("b"), ...wrong }),
    spool.add(addition("c")),
  ]);
  assertEquals([a.status, b.status, c.status], [
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  await spool.close();
});

Deno.test("FileSpool gives a large message a file of its own", async () => {
  const disk = new SimulatedDisk();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  const text = "x".repeat(70_000);
  await Promise.all([
    spool.add(addition("a")),
    spool.add(addition("large", { text })),
    spool.add(addition("c")),
  ]);
  const names = recordFiles(disk).map((path) => path.slice(FOLDER.length));
  assertEquals(names.length, 2);
  assert(names.includes("large"));
  await spool.close();
  assertEquals((await reopen(disk)).texts["large"], text);
});

Deno.test("sharedName() never makes the name of a message, nor the same one twice", () => {
  assertEquals(sharedCount(sharedName("a-1", 12)), 12);
  assert(sharedName("a", 2) !== sharedName("a", 2));
  for (const name of ["a", "a.2", "a.2.x", "a.2.12345678.", ".2.12345678"]) {
    assertEquals(sharedCount(name), undefined);
  }
});

Deno.test("FileSpool brings nobody back whose file was still there when the journal was written anew", async () => {
  const disk = new SlowRemoval();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  await Promise.all(["a", "b"].map((id) => spool.add(addition(id))));
  await spool.add(addition("c"));
  const removals = ["a", "b"].map((id) => spool.remove(id));
  await disk.reached;
  // More bytes than a journal may have before it is rewritten.
  await spool.change("c", { kind: "tag", tag: "x".repeat(13 * 1024 * 1024) });
  await spool.change("c", { kind: "tag", tag: 1 });
  await spool.close();
  assert(disk.text("/spool/journal")!.length < 10_000);
  assertEquals((await reopen(disk.afterPowerLoss())).texts, textsOf("c"));
  disk.goOn();
  await Promise.all(removals);
});

/** A disk that is slow to remove the first record file. */
class SlowRemoval extends SimulatedDisk {
  readonly #reached = Promise.withResolvers<void>();
  readonly #going = Promise.withResolvers<void>();

  /** Resolves when a record file is about to be removed. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  goOn(): void {
    this.#going.resolve();
  }

  override async remove(path: string): Promise<void> {
    if (path.startsWith(FOLDER)) {
      this.#reached.resolve();
      await this.#going.promise;
    }
    await super.remove(path);
  }
}
