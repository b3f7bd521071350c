/** `MboxStore`: the separator, quoting and locking (RFC 4155). */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { type Message, StoreError } from "../../lib/message/message.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { messageOf, namesIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes, isLinux } from "../support/platform.ts";

const ALL = { partial: false };
const SOME = { partial: true };
const SEPARATOR = "From sender@example.org Thu Jan  2 03:04:05 2025";

/** A message whose content fails after `content`. */
async function brokenMessage(content: string, to: string[]): Promise<Message> {
  const bytes = new TextEncoder().encode(content);
  return Object.defineProperty(await messageOf({ to }), "body", {
    value: {
      memory: undefined,
      async *chunks() {
        yield await Promise.resolve(bytes);
        throw new Error("Disk full");
      },
    },
  });
}

Deno.test("MboxStore writes the form that readers want", async (t) => {
  const rows: readonly {
    name: string;
    content: string;
    want: string;
    init?: Parameters<typeof messageOf>[0];
    newline?: "crlf";
  }[] = [
    {
      name: "ordinary",
      content: "Subject: x\r\n\r\nHi\r\n",
      want: `${SEPARATOR}\nSubject: x\n\nHi\n\n`,
    },
    {
      name: "quoting",
      content: "\r\nFrom a\r\n>From b\r\n> From c\r\nFrom: d\r\n",
      want: `${SEPARATOR}\n\n>From a\n>>From b\n> From c\nFrom: d\n\n`,
    },
    {
      name: "fields that only a reader of the mailbox may write",
      content: "Content-Length: 99999\r\n" +
        "X-IMAPbase: 1111 4294967294\r\nX-UID:\r\n 4294967294\r\nX-IMAP: 1\r\n" +
        "Subject: x\r\nstatus: RO\r\nX-Status: D\r\nX-Keywords: a\r\n\r\nStatus: O\r\n",
      init: { trace: "Received: y\r\n" },
      want: `${SEPARATOR}\nReceived: y\nSubject: x\n\nStatus: O\n\n`,
    },
    {
      name: "no final newline",
      content: "Subject: x\r\n\r\nHi",
      want: `${SEPARATOR}\nSubject: x\n\nHi\n\n`,
    },
    {
      name: "ends in From",
      content: "x\r\nFrom",
      want: `${SEPARATOR}\nx\nFrom\n\n`,
    },
    { name: "ends in CR", content: "x\r", want: `${SEPARATOR}\nx\r\n\n` },
    { name: "empty", content: "", want: `${SEPARATOR}\n\n` },
    {
      name: "null sender",
      content: "x\r\n",
      init: { from: "" },
      want: "From MAILER-DAEMON Thu Jan  2 03:04:05 2025\nx\n\n",
    },
    {
      name: "quoted sender",
      content: "x\r\n",
      init: { from: '"a b"@example.org' },
      want: 'From "a_b"@example.org Thu Jan  2 03:04:05 2025\nx\n\n',
    },
    {
      name: "two-digit day",
      content: "x\r\n",
      init: { receivedAt: new Date(Date.UTC(2024, 1, 29, 23, 59, 9)) },
      want: "From sender@example.org Thu Feb 29 23:59:09 2024\nx\n\n",
    },
    {
      name: "trace first",
      content: "x: y\r\n",
      init: { trace: "Received: z\r\n" },
      want: `${SEPARATOR}\nReceived: z\nx: y\n\n`,
    },
    {
      name: "crlf",
      content: "x\r\nFrom y",
      newline: "crlf",
      want: `${SEPARATOR}\r\nx\r\n>From y\r\n\r\n`,
    },
    {
      name: "binary",
      content: "x\r\n\0\r\nFrom y",
      init: { parameters: { body: "BINARYMIME" } },
      want: `${SEPARATOR}\nx\r\n\0\r\n>From y\n\n`,
    },
  ];
  await using folder = await TestFolder.create();
  for (const { name, content, want, init, newline } of rows) {
    for (const memoryLimit of [0, 1000]) {
      await t.step(`${name}, ${memoryLimit} bytes in memory`, async () => {
        const path = `${folder.path}/${name}-${memoryLimit}`;
        const store = new MboxStore({
          path,
          returnPath: false,
          sync: false,
          newline,
        });
        const message = await messageOf({ ...init, content, memoryLimit });
        await store.save(message, ALL);
        await store.save(message, ALL);
        await message.discard();
        assertEquals(await Deno.readTextFile(path), want + want);
      });
    }
  }
});

Deno.test("MboxStore makes folder and file, and releases its locks", async () => {
  await using folder = await TestFolder.create();
  const store = new MboxStore({ folder: `${folder.path}/a/b` });
  const to = ["one@example.com", "two@example.com"];
  await store.save(await messageOf({ to, content: "x: y\r\n" }), ALL);
  assertEquals(await namesIn(`${folder.path}/a/b`), to);
  assertEquals(
    await Deno.readTextFile(`${folder.path}/a/b/one@example.com`),
    `${SEPARATOR}\nReturn-Path: <sender@example.org>\nx: y\n\n`,
  );
});

Deno.test("MboxStore brings a file to a blank line before it appends", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  const store = new MboxStore({ path, returnPath: false, sync: false });
  const rows = [
    ["", ""],
    ["x", "x\n\n"],
    ["x\n", "x\n\n"],
    ["x\n\n", "x\n\n"],
    ["x\r\n\r\n", "x\r\n\r\n"],
    ["From half a mess", "From half a mess\n\n"],
  ];
  for (const [before, want] of rows) {
    await Deno.writeTextFile(path, before!);
    await store.save(await messageOf({ content: "x\r\n" }), ALL);
    assertEquals(
      await Deno.readTextFile(path),
      `${want}${SEPARATOR}\nx\n\n`,
    );
  }
});

Deno.test("MboxStore never mixes 50 appends of two stores", async () => {
  await using folder = await TestFolder.create();
  await Deno.mkdir(`${folder.path}/sub`);
  const paths = [`${folder.path}/box`, `${folder.path}/sub/../box`];
  const stores = paths.map((path) => new MboxStore({ path }));
  const body = "y".repeat(500) + "\r\n";
  const messages = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      messageOf({
        content: `N: ${index}\r\n\r\n${body.repeat(index)}`,
        memoryLimit: index % 3 === 0 ? 0 : 1 << 20,
      })),
  );
  await Promise.all(
    messages.map((message, index) => stores[index % 2]!.save(message, ALL)),
  );
  await Promise.all(messages.map((message) => message.discard()));
  const text = await Deno.readTextFile(paths[0]!);
  const found = new Set<number>();
  for (const part of text.split(`${SEPARATOR}\n`).slice(1)) {
    const number = Number(/^N: (\d+)$/m.exec(part)?.[1]);
    found.add(number);
    const lines = "y".repeat(500) + "\n";
    assertEquals(
      part,
      `Return-Path: <sender@example.org>\nN: ${number}\n\n${
        lines.repeat(number)
      }\n`,
    );
  }
  assertEquals(found.size, 50);
  assertEquals(await namesIn(folder.path), ["box", "sub"]);
});

Deno.test("MboxStore undoes a failed append and goes on with the others", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  const store = new MboxStore({ path, returnPath: false, sync: false });
  const good = await messageOf({ content: "good\r\n" });
  const bad = await brokenMessage("half a ", ["user@example.com"]);
  const results = await Promise.allSettled(
    [good, bad, good, bad, good].map((message) => store.save(message, ALL)),
  );
  assertEquals(
    results.map((result) => result.status),
    ["fulfilled", "rejected", "fulfilled", "rejected", "fulfilled"],
  );
  assertEquals(
    await Deno.readTextFile(path),
    `${SEPARATOR}\ngood\n\n`.repeat(3),
  );
});

Deno.test("MboxStore removes a file that it made for an append that failed", async () => {
  await using folder = await TestFolder.create();
  const store = new MboxStore({ path: `${folder.path}/box` });
  const bad = await brokenMessage("half", ["user@example.com"]);
  const error = await assertRejects(
    () => store.save(bad, ALL),
    StoreError,
    "Disk full",
  );
  assertEquals(error.failures.size, 1);
  assertEquals(await namesIn(folder.path), []);
});

Deno.test("MboxStore leaves no copy when a recipient's mailbox is no file", async () => {
  await using folder = await TestFolder.create();
  await Deno.mkdir(`${folder.path}/b@example.com`);
  const store = new MboxStore({ folder: folder.path, sync: false });
  const to = ["a@example.com", "b@example.com"];
  const message = await messageOf({ to });
  const error = await assertRejects(() => store.save(message, ALL), StoreError);
  assertEquals(error.failures.size, 2);
  assertStringIncludes(error.message, "want a file, found a folder");
  assertEquals(await namesIn(folder.path), ["b@example.com"]);
});

Deno.test("MboxStore takes copies back when a later recipient's fails", async () => {
  await using folder = await TestFolder.create();
  const lock = `${folder.path}/b@example.com.lock`;
  await Deno.writeTextFile(lock, "1:another.example");
  await Deno.writeTextFile(`${folder.path}/a@example.com`, "before\n\n");
  const store = new MboxStore({
    folder: folder.path,
    sync: false,
    lockTimeoutMs: 1,
  });
  const to = ["a@example.com", "b@example.com"];
  const message = await messageOf({ to });
  const error = await assertRejects(() => store.save(message, ALL), StoreError);
  assert(error.cause instanceof Deno.errors.TimedOut);
  assertEquals(
    await Deno.readTextFile(`${folder.path}/a@example.com`),
    "before\n\n",
  );
});

Deno.test("MboxStore delivers to the others when partial", async () => {
  await using folder = await TestFolder.create();
  await Deno.mkdir(`${folder.path}/b@example.com`);
  const store = new MboxStore({ folder: folder.path, sync: false });
  const to = ["a@example.com", "b@example.com"];
  const message = await messageOf({ to, content: "x\r\n" });
  const error = await assertRejects(
    () => store.save(message, SOME),
    StoreError,
  );
  assertEquals([...error.failures.keys()], [message.recipients[1]!]);
  assertStringIncludes(
    await Deno.readTextFile(`${folder.path}/a@example.com`),
    SEPARATOR,
  );
});

Deno.test({
  name: "MboxStore refuses a symbolic link in place of a mailbox",
  ignore: !hasFileModes,
  async fn() {
    await using folder = await TestFolder.create();
    await Deno.writeTextFile(`${folder.path}/target`, "mine");
    for (const target of ["target", "missing"]) {
      const path = `${folder.path}/box-${target}`;
      await Deno.symlink(`${folder.path}/${target}`, path);
      const store = new MboxStore({ path, sync: false });
      const message = await messageOf();
      await assertRejects(
        () => store.save(message, ALL),
        StoreError,
        "found a symbolic link",
      );
    }
    assertEquals(await Deno.readTextFile(`${folder.path}/target`), "mine");
    const names = await namesIn(folder.path);
    assertEquals(names, ["box-missing", "box-target", "target"]);
  },
});

Deno.test("MboxStore appends to the mailbox that has replaced the one it has opened", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/box`;
  await Deno.writeTextFile(path, "");
  const store = new MboxStore({ path, locks: ["flock"], sync: false });
  // A mail program holds the lock and replaces the mailbox.
  const opened = Promise.withResolvers<void>();
  const real = Deno.open;
  Deno.open = async (file, options) => {
    const result = await real(file, options);
    if (file === path) opened.resolve();
    return result;
  };
  let saving: Promise<unknown>;
  {
    using reader = await real(path, { read: true, write: true });
    await reader.lock(true);
    saving = store.save(await messageOf(), ALL);
    await opened.promise;
    Deno.open = real;
    await Deno.writeTextFile(`${path}.new`, "");
    await Deno.rename(`${path}.new`, path);
  }
  await saving;
  assertMatch(await Deno.readTextFile(path), /^From /);
});

Deno.test("MboxStore wants one of folder and path", () => {
  assertThrows(() => new MboxStore({}), TypeError);
  assertThrows(() => new MboxStore({ folder: "a", path: "b" }), TypeError);
});

/** Mounts a file system of 64 KiB, if that is allowed. */
async function mountSmall(path: string): Promise<boolean> {
  if (!isLinux) return false;
  try {
    const args = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", path];
    const command = new Deno.Command("mount", { args, stderr: "null" });
    return (await command.output()).success;
  } catch {
    return false;
  }
}

Deno.test("MboxStore leaves the file as it was when the disk is full", async (t) => {
  await using folder = await TestFolder.create();
  const disk = `${folder.path}/disk`;
  await Deno.mkdir(disk);
  const mounted = await mountSmall(disk);
  await t.step({
    name: "on a file system of 64 KiB",
    ignore: !mounted,
    async fn() {
      const path = `${disk}/box`;
      const store = new MboxStore({ path, returnPath: false });
      await store.save(await messageOf({ content: "first\r\n" }), ALL);
      const content = "z".repeat(200_000);
      for (const memoryLimit of [0, 1 << 20]) {
        const large = await messageOf({ content, memoryLimit });
        await assertRejects(() => store.save(large, ALL), StoreError);
        await large.discard();
      }
      await store.save(await messageOf({ content: "last\r\n" }), ALL);
      assertEquals(
        await Deno.readTextFile(path),
        `${SEPARATOR}\nfirst\n\n${SEPARATOR}\nlast\n\n`,
      );
      assertEquals(await namesIn(disk), ["box"]);
    },
  });
  if (mounted) await new Deno.Command("umount", { args: [disk] }).output();
});
