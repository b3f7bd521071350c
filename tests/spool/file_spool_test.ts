/** `FileSpool`: messages and progress over restarts, control requests, damaged files. */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import { SpoolError } from "../../lib/spool/spool.ts";
import { controlSpool, inspectSpool } from "../../lib/spool/control.ts";
import {
  addition,
  FakeClock,
  FakeDelivery,
  makeMessage,
} from "../support/queue/fixtures.ts";
import { SimulatedDisk } from "../support/queue/disk.ts";
import { TestFolder } from "../support/folder.ts";
import { readText } from "../support/bytes.ts";
import { DEADLINE_MS } from "../support/wait.ts";
import { hasFileModes } from "../support/platform.ts";

const FULL = "No space left on device";

async function withFolder(
  action: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "smtp-spool-" });
  try {
    await action(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("FileSpool keeps messages and progress over a restart", () =>
  withFolder(async (folder) => {
    const first = new FileSpool(folder);
    assertEquals(await first.open(), []);
    await first.add({
      ...addition("a", { to: ["x@one.org", "y@one.org"] }),
      tag: { n: 1 },
    });
    await first.add({ ...addition("b"), held: true });
    await first.change("a", {
      kind: "result",
      results: [{
        index: 1,
        status: "pending",
        attempts: 3,
        nextTryAt: 99,
        answer: {
          at: 5,
          text: "Größe",
          isReply: false,
          status: "4.0.0",
          remoteMta: "mx",
        },
      }],
    });
    await first.close();
    await using second = new FileSpool(folder);
    assertEquals(await second.open(), []);
    const { progress } = second.entries.get("a")!;
    assertEquals(progress.tag, { n: 1 });
    assertEquals(progress.recipients[0]!.attempts, 0);
    assertEquals(progress.recipients[1]!.answer?.text, "Größe");
    assertEquals(second.entries.get("b")!.progress.held, true);
    assertEquals(await readText(second.content("a")), "Text of a\r\n");
    assertEquals([...(await inspectSpool(folder)).keys()], ["a", "b"]);
  }));

Deno.test("FileSpool finds messages whose journal is gone", () =>
  withFolder(async (folder) => {
    const first = new FileSpool(folder);
    await first.open();
    await first.add({ ...addition("a"), held: true, tag: 1 });
    await first.close();
    await Deno.remove(`${folder}/journal`);
    await using second = new FileSpool(folder);
    assertEquals(await second.open(), []);
    const { progress } = second.entries.get("a")!;
    assertEquals([progress.held, progress.tag], [true, 1]);
  }));

Deno.test("FileSpool files are their owner's alone", {
  ignore: !hasFileModes,
}, () =>
  withFolder(async (folder) => {
    await using spool = new FileSpool(folder);
    await spool.open();
    await spool.add(addition("a"));
    await spool.change("a", { kind: "hold", held: true });
    for (const name of ["journal", "lock", "messages/a"]) {
      const { mode } = await Deno.stat(`${folder}/${name}`);
      assertEquals(mode! & 0o777, 0o600, name);
    }
  }));

Deno.test("FileSpool shows the secret of a log-in to nobody but the delivery", () =>
  withFolder(async (folder) => {
    const clock = new FakeClock();
    const delivery = new FakeDelivery();
    const queue = new RelayQueue({
      spool: new FileSpool(folder),
      deliver: delivery.deliver,
      hostname: "mx.example.com",
    }, { clock });
    await queue.start();
    const login = { username: "user", password: "pa55word" };
    const message = await makeMessage({ to: ["a@one.org"] });
    const relay = await queue.relays.add(message, { login, held: true });
    await relay.hold();
    await queue.stop();
    const journal = await Deno.readTextFile(`${folder}/journal`);
    assert(!journal.includes("pa55word") && !journal.includes('"user"'));
    const shown = JSON.stringify([...await inspectSpool(folder)]);
    assert(!shown.includes("pa55word"));
    await using spool = new FileSpool(folder);
    await spool.open();
    assertEquals(await spool.login("m1"), login);
  }));

Deno.test("FileSpool is one process's alone", () =>
  withFolder(async (folder) => {
    const first = new FileSpool(folder);
    await first.open();
    const second = new FileSpool(folder);
    await assertRejects(
      () => second.open(),
      SpoolError,
      "another process has it",
    );
    await assertRejects(() => first.open(), TypeError, "open already");
    await first.close();
    await second.open();
    await second.close();
  }));

Deno.test("FileSpool refuses names that are taken or could leave the folder", async () => {
  const spool = new FileSpool("/spool", {}, { files: new SimulatedDisk() });
  await spool.open();
  await spool.add(addition("a"));
  for (const id of ["a", "../a", "", "a/b", "a.b", "x".repeat(101)]) {
    await assertRejects(
      () => spool.add(addition(id)),
      TypeError,
      "want a name",
    );
  }
  await spool.close();
});

Deno.test("FileSpool.add() refuses content that is not of the size announced", async () => {
  const disk = new SimulatedDisk();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  const message = addition("a");
  for (const size of [1, 100]) {
    const envelope = { ...message.envelope, size };
    const { content } = addition("a");
    await assertRejects(() => spool.add({ envelope, content }), SpoolError);
  }
  assertEquals(disk.paths, ["/spool/journal", "/spool/reserve"]);
  await spool.close();
});

Deno.test("FileSpool sets aside what is not whole, and says so", async () => {
  const disk = new SimulatedDisk();
  const first = new FileSpool("/spool", {}, { files: disk });
  await first.open();
  for (const id of ["a", "b", "c", "d", "e"]) await first.add(addition(id));
  await first.close();
  const whole = disk.bytes("/spool/messages/a");
  disk.put("/spool/incoming/half", whole.slice(0, 20));
  disk.put("/spool/messages/b", whole.slice(0, whole.length - 1));
  disk.put(
    "/spool/messages/garbage",
    crypto.getRandomValues(new Uint8Array(5000)),
  );
  disk.put("/spool/messages/cut", whole.slice(0, 30));
  disk.put("/spool/messages/empty", "");
  disk.put("/spool/messages/other", whole);
  await disk.remove("/spool/messages/c");
  disk.put(
    "/spool/journal",
    disk.text("/spool/journal")! + "12345678 {half a li",
  );
  const second = new FileSpool("/spool", {}, { files: disk });
  const problems = await second.open();
  assertEquals([...second.entries.keys()], ["a", "d", "e"]);
  assertEquals(problems.map(({ name }) => name).sort(), [
    "b",
    "c",
    "cut",
    "empty",
    "garbage",
    "half",
    "other",
  ]);
  assertEquals(disk.paths.filter((path) => path.includes("damaged")), [
    "/spool/damaged/b",
    "/spool/damaged/cut",
    "/spool/damaged/empty",
    "/spool/damaged/garbage",
    "/spool/damaged/half.incoming",
    "/spool/damaged/other",
  ]);
  await second.add(addition("f"));
  await second.close();
  const third = new FileSpool("/spool", {}, { files: disk });
  assertEquals(await third.open(), []);
  assertEquals(third.entries.size, 4);
  await third.close();
});

Deno.test("FileSpool goes on with the good lines of a damaged journal", async () => {
  const disk = new SimulatedDisk();
  const first = new FileSpool("/spool", {}, { files: disk });
  await first.open();
  for (const id of ["a", "b", "c"]) await first.add(addition(id));
  await first.change("a", { kind: "hold", held: true });
  await first.change("c", { kind: "hold", held: true });
  await first.close();
  const lines = disk.text("/spool/journal")!.split("\n");
  const at = lines.findIndex((line) => line.includes('"change","id":"a"'));
  lines[at] = lines[at]!.replace("true", "tru3");
  disk.put("/spool/journal", lines.join("\n"));
  const second = new FileSpool("/spool", {}, { files: disk });
  const problems = await second.open();
  assertEquals(problems.map(({ name }) => name), ["journal"]);
  const held = [...second.entries].map((
    [id, { progress }],
  ) => [id, progress.held]);
  assertEquals(held, [["a", false], ["b", false], ["c", true]]);
  await second.close();
});

Deno.test("FileSpool.content() fails for a record cut short, never ends early", async () => {
  const disk = new SimulatedDisk();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  await spool.add(addition("a"));
  // After a try the content is read from the disk.
  await spool.change("a", { kind: "result", results: [] });
  const whole = disk.bytes("/spool/messages/a");
  disk.put("/spool/messages/a", whole.slice(0, whole.length - 3));
  await assertRejects(
    () => readText(spool.content("a")),
    SpoolError,
    "3 bytes of",
  );
  await spool.close();
});

Deno.test("FileSpool.add() leaves no trace on a full disk, and recovers", async () => {
  const disk = new SimulatedDisk();
  const spool = new FileSpool("/spool", {}, { files: disk });
  await spool.open();
  await spool.add(addition("a"));
  disk.isFull = true;
  const error = await assertRejects(() => spool.add(addition("b")), SpoolError);
  assertEquals(String(error.reply), "452 4.3.1 Insufficient system storage");
  assertEquals((error.cause as Error).message, FULL);
  assert(!disk.paths.some((path) => path.endsWith("/b")));
  disk.isFull = false;
  await spool.add(addition("b"));
  assertEquals([...spool.entries.keys()], ["a", "b"]);
  await spool.close();
});

Deno.test("FileSpool.change() waits for a full disk, and loses nothing", async () => {
  const disk = new SimulatedDisk();
  const clock = new FakeClock();
  const troubles: string[] = [];
  const spool = new FileSpool("/spool", {
    onTrouble: (error) => void troubles.push((error as Error).message),
  }, { files: disk, clock });
  await spool.open();
  await spool.add(addition("a"));
  await clock.advance(0);
  disk.isFull = true;
  let isDone = false;
  const change = spool.change("a", { kind: "hold", held: true })
    .then(() => isDone = true);
  await clock.advance(5000);
  assertEquals(isDone, false);
  assert(troubles.length >= 5 && troubles.every((text) => text === FULL));
  disk.isFull = false;
  await clock.advance(1000);
  await change;
  await spool.close();
  const next = new FileSpool("/spool", {}, { files: disk });
  assertEquals(await next.open(), []);
  assertEquals(next.entries.get("a")!.progress.held, true);
  await next.close();
});

Deno.test("FileSpool.close() does not wait for a disk that stays full", async () => {
  const disk = new SimulatedDisk();
  const machine = { files: disk, clock: new FakeClock() };
  const spool = new FileSpool("/spool", {}, machine);
  await spool.open();
  await spool.add(addition("a"));
  disk.isFull = true;
  const change = assertRejects(
    () => spool.change("a", { kind: "hold", held: true }),
    SpoolError,
    "Cannot write progress",
  );
  await assertRejects(() => spool.close(), SpoolError, "may be sent again");
  await change;
  // The folder is unlocked nevertheless.
  disk.isFull = false;
  const next = new FileSpool("/spool", {}, { files: disk });
  await next.open();
  await next.close();
});

Deno.test("FileSpool writes its journal anew when it has grown", async () => {
  const disk = new SimulatedDisk();
  const first = new FileSpool("/spool", {}, { files: disk });
  await first.open();
  await first.add(addition("a"));
  for (let round = 0; round < 50; round++) {
    await first.change("a", { kind: "tag", tag: "x".repeat(300 * 1024) });
  }
  await first.close();
  assert(disk.text("/spool/journal")!.length < 13 * 1024 * 1024);
  const second = new FileSpool("/spool", {}, { files: disk });
  await second.open();
  assert(disk.text("/spool/journal")!.length < 400 * 1024);
  assertEquals(
    (second.entries.get("a")!.progress.tag as string).length,
    300 * 1024,
  );
  await second.close();
});

Deno.test("controlSpool() acts at once on a spool that nobody has", () =>
  withFolder(async (folder) => {
    const spool = new FileSpool(folder);
    await spool.open();
    for (const id of ["a", "b"]) await spool.add(addition(id));
    await spool.close();
    const act = (action: "hold" | "release" | "retry" | "remove", id: string) =>
      controlSpool(folder, { action, id });
    const held = async () =>
      [...await inspectSpool(folder)].map(([, { progress }]) => progress.held);
    assertEquals(await act("hold", "all"), "done");
    assertEquals(await held(), [true, true]);
    assertEquals(await act("release", "a"), "done");
    assertEquals(await held(), [false, true]);
    assertEquals(await act("retry", "all"), "done");
    assertEquals(await held(), [false, true]);
    assertEquals(await act("retry", "b"), "done");
    assertEquals(await held(), [false, false]);
    assertEquals(await act("remove", "a"), "done");
    assertEquals(await act("remove", "a"), "unknown");
    assertEquals([...(await inspectSpool(folder)).keys()], ["b"]);
  }));

Deno.test("controlSpool() asks the server that has the spool", () =>
  withFolder(async (folder) => {
    const clock = new FakeClock();
    const delivery = new FakeDelivery();
    const queue = new RelayQueue({
      spool: new FileSpool(folder),
      deliver: delivery.deliver,
      hostname: "mx.example.com",
    }, { clock });
    await queue.start();
    const relay = await queue.relays.add(
      await makeMessage({ to: ["a@one.org"] }),
      { idleWaitMs: 1000 * 86_400_000 },
    );
    // The queue checks real files when its clock says so: the machine decides how
    // often the clock must be moved until the queue has seen them.
    const poll = async (isTrue: () => boolean) => {
      const deadline = performance.now() + DEADLINE_MS;
      while (!isTrue()) {
        assert(performance.now() < deadline, "The queue does not see requests");
        await clock.advance(500);
        await Deno.stat(folder);
      }
    };
    const act = (action: "hold" | "retry" | "remove") =>
      controlSpool(folder, { action, id: "m1" });
    assertEquals(await act("hold"), "asked");
    await poll(() => relay.held);
    assertEquals(await act("retry"), "asked");
    await poll(() => delivery.seen.length === 1);
    await queue.stop();
    assertEquals(await Array.fromAsync(Deno.readDir(`${folder}/control`)), []);
  }));

Deno.test("inspectSpool() of a folder that is none finds nothing", async () => {
  assertEquals((await inspectSpool("/nowhere/at/all")).size, 0);
});

Deno.test("FileSpool.open() says which folder it cannot use", () =>
  withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const spool = new FileSpool(`${folder}/file`);
    const error = await assertRejects(() => spool.open(), SpoolError);
    assertStringIncludes(error.message, "Cannot open spool");
  }));

Deno.test("FileSpool never gives out the content of another message, nor a part as if it were whole", async () => {
  await using folder = await TestFolder.create();
  await using spool = new FileSpool(folder.path);
  await spool.open();
  const size = 300_000;
  await spool.add(addition("a", { text: "a".repeat(size) }));
  await spool.add(addition("b", { text: "b".repeat(size) }));
  assertEquals(await readText(spool.content("a")), "a".repeat(size));
  const path = `${folder.path}/messages`;
  await Deno.copyFile(`${path}/b`, `${path}/a`);
  await assertRejects(
    () => readText(spool.content("a")),
    SpoolError,
    'record is of message "b"',
  );
  await Deno.truncate(`${path}/b`, size - 1);
  await assertRejects(
    () => readText(spool.content("b")),
    SpoolError,
    "missing",
  );
});
