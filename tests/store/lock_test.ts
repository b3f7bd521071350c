/** Locks of mailboxes: dot-locks, stale locks, and two processes. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import process from "node:process";
import { lockOptions, takeDotLock } from "../../lib/store/lock.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { StoreError } from "../../lib/message/message.ts";
import { hostName } from "../../lib/store/unique_name.ts";
import { messageOf, namesIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";
import { DEADLINE_MS } from "../support/wait.ts";

const ALL = { partial: false };
const LONG_AGO = new Date(Date.UTC(2020, 0, 1));

/** A process identifier that no process has. */
async function deadPid(): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["--version"],
    stdout: "null",
  });
  const child = command.spawn();
  await child.status;
  return child.pid;
}

/** A lock that another program has left behind. */
async function leaveLock(path: string, text: string, time: Date) {
  await Deno.writeTextFile(`${path}.lock`, text);
  await Deno.utime(`${path}.lock`, time, time);
}

Deno.test("takeDotLock() makes a lock that names its owner, and removes it", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  {
    await using _lock = await takeDotLock(path, {
      deadline: 0,
      staleLockMs: 0,
    });
    assertEquals(
      await Deno.readTextFile(`${path}.lock`),
      `${Deno.pid}:${hostName()}`,
    );
    await assertRejects(
      () => takeDotLock(path, { deadline: 0, staleLockMs: 0 }),
      Deno.errors.TimedOut,
      "another program holds it",
    );
  }
  assertEquals(await namesIn(folder.path), []);
});

Deno.test("takeDotLock() does not remove the lock of another program", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  const lock = await takeDotLock(path, { deadline: 0, staleLockMs: 0 });
  await Deno.remove(`${path}.lock`);
  await Deno.writeTextFile(`${path}.lock`, "another");
  await lock[Symbol.asyncDispose]();
  assertEquals(await Deno.readTextFile(`${path}.lock`), "another");
});

Deno.test("takeDotLock() breaks a lock by age and death of its owner only", async (t) => {
  const dead = await deadPid();
  const host = hostName();
  const parent = process.ppid;
  const rows: readonly [
    name: string,
    text: string,
    time: Date,
    broken: boolean,
  ][] = [
    ["old, dead", `${dead}:${host}`, LONG_AGO, true],
    ["old, dead, line end", `${dead}:${host}\n`, LONG_AGO, true],
    ["new, dead", `${dead}:${host}`, new Date(), false],
    ["old, alive", `${parent}:${host}`, LONG_AGO, false],
    ["old, other host", `${dead}:other.example`, LONG_AGO, false],
    ["old, no host", `${dead}`, LONG_AGO, false],
    ["old, not understood", "locked", LONG_AGO, false],
    ["old, empty", "", LONG_AGO, true],
    ["new, empty", "", new Date(), false],
    // The process before had the same id, as happens in containers.
    ["old, own pid, not held", `${Deno.pid}:${host}`, LONG_AGO, true],
  ];
  for (const [name, text, time, broken] of rows) {
    await t.step(name, async () => {
      await using folder = await TestFolder.create();
      const path = `${folder.path}/box`;
      await leaveLock(path, text, time);
      const taking = takeDotLock(path, { deadline: 0, staleLockMs: 60_000 });
      if (broken) {
        await (await taking)[Symbol.asyncDispose]();
        assertEquals(await namesIn(folder.path), []);
      } else {
        await assertRejects(() => taking, Deno.errors.TimedOut);
        assertEquals(await Deno.readTextFile(`${path}.lock`), text);
      }
    });
  }
});

Deno.test("takeDotLock() never breaks a lock that is held, whatever its age", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  await using _lock = await takeDotLock(path, { deadline: 0, staleLockMs: 0 });
  await Deno.utime(`${path}.lock`, LONG_AGO, LONG_AGO);
  await assertRejects(
    () => takeDotLock(path, { deadline: 0, staleLockMs: 0 }),
    Deno.errors.TimedOut,
  );
});

Deno.test("takeDotLock() lets one of many breakers in at a time", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  await leaveLock(path, `${await deadPid()}:${hostName()}`, LONG_AGO);
  let holders = 0;
  const deadline = performance.now() + DEADLINE_MS;
  await Promise.all(Array.from({ length: 12 }, async () => {
    await using _lock = await takeDotLock(path, {
      deadline,
      staleLockMs: 60_000,
    });
    assertEquals(++holders, 1);
    await Deno.lstat(folder.path);
    holders--;
  }));
  assertEquals(await namesIn(folder.path), []);
});

Deno.test("lockOptions() locks both ways by default", () => {
  assertEquals(lockOptions({}), {
    locks: ["dotlock", "flock"],
    lockTimeoutMs: 30_000,
    staleLockMs: 60_000,
  });
});

/** Starts a program that locks the file; resolves when the file is locked. */
async function lockElsewhere(
  path: string,
): Promise<{ release(): Promise<void> }> {
  const code = `
    const file = await Deno.open(Deno.args[0], { read: true, write: true });
    await file.lock(true);
    console.log("locked");
    await Deno.stdin.read(new Uint8Array(1));
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--ext=ts", code, path],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const said = await reader.read();
  assert(!said.done, "The other program did not start");
  return {
    async release() {
      await child.stdin.close();
      await child.status;
      await reader.cancel();
    },
  };
}

Deno.test("MboxStore waits for the flock of another process until its deadline", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  await Deno.writeTextFile(path, "x\n\n");
  const other = await lockElsewhere(path);
  const message = await messageOf();
  const hasty = new MboxStore({ path, sync: false, lockTimeoutMs: 1 });
  const patient = new MboxStore({ path, sync: false });
  const error = await assertRejects(
    () => hasty.save(message, ALL),
    StoreError,
    "Cannot lock",
  );
  assert(error.cause instanceof Deno.errors.TimedOut);
  assertEquals(await Deno.readTextFile(path), "x\n\n");
  assertEquals(await namesIn(folder.path), ["box"]);
  const kept = patient.save(message, ALL);
  await other.release();
  await kept;
  assert((await Deno.readTextFile(path)).startsWith("x\n\nFrom sender@"));
});

Deno.test("MboxStore appends to the file that has taken the place of the locked one", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  await Deno.writeTextFile(path, "old\n\n");
  const other = await lockElsewhere(path);
  const kept = new MboxStore({ path, sync: false }).save(
    await messageOf(),
    ALL,
  );
  await Deno.writeTextFile(`${folder.path}/fresh`, "new\n\n");
  await Deno.rename(`${folder.path}/fresh`, path);
  await other.release();
  await kept;
  assert((await Deno.readTextFile(path)).startsWith("new\n\nFrom sender@"));
});

Deno.test("MboxStore appends of several processes do not mix", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  const support = new URL("./append_program.ts", import.meta.url);
  const outputs = await Promise.all(
    [1, 2].map((name) =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-config", support.href, path, `${name}`],
      }).output()
    ),
  );
  assertEquals(outputs.map((output) => output.code), [0, 0]);
  const parts = (await Deno.readTextFile(path)).split(/^From .*\n/m).slice(1);
  assertEquals(parts.length, 20);
  for (const part of parts) {
    const [, line] = /^N: (.*)$/m.exec(part)!;
    assertEquals(part, `N: ${line}\n\n${`${line}\n`.repeat(5000)}\n`);
  }
  assertEquals(await namesIn(folder.path), ["box"]);
});
