/**
 * `FileStore`: one .eml file for each message, or one file that only whole
 * messages overwrite.
 */

import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { FileStore } from "../../lib/store/file_store.ts";
import { StoreError } from "../../lib/message/message.ts";
import { messageOf, namesIn, onlyFileIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";

const SEPARATOR = "From sender@example.org Thu Jan  2 03:04:05 2025";
const RETURN_PATH = "Return-Path: <sender@example.org>\r\n";

Deno.test("FileStore keeps one .eml file for each message in a folder it makes", async () => {
  await using folder = await TestFolder.create();
  const store = new FileStore({ folder: `${folder.path}/a/b` });
  const to = ["a@example.com", "b@example.com"];
  const message = await messageOf({ id: "m-1", to, content: "x\r\nFrom y" });
  await store.save(message);
  const names = await namesIn(`${folder.path}/a/b`);
  assertEquals(names.length, 1);
  assertMatch(names[0]!, /^20250102T030405\.000Z\.m-1\.[0-9a-f]{8}\.eml$/);
  assertEquals(
    await onlyFileIn(`${folder.path}/a/b`),
    `${RETURN_PATH}x\r\nFrom y`,
  );
  await store.save(message);
  assertEquals((await namesIn(`${folder.path}/a/b`)).length, 2);
});

Deno.test("FileStore makes its folder again when that has vanished", async () => {
  await using folder = await TestFolder.create();
  const store = new FileStore({ folder: `${folder.path}/a`, sync: false });
  await store.save(await messageOf());
  await Deno.remove(`${folder.path}/a`, { recursive: true });
  await store.save(await messageOf());
  await onlyFileIn(`${folder.path}/a`);
});

Deno.test("FileStore writes its one file in the form of its options", async (t) => {
  const content = "x\r\nFrom y\r\n";
  const rows: readonly {
    name: string;
    options: Omit<ConstructorParameters<typeof FileStore>[0], "path">;
    want: string;
  }[] = [
    { name: "overwritten", options: {}, want: `${RETURN_PATH}${content}` },
    {
      name: "overwritten, LF, no Return-Path",
      options: { newline: "lf", returnPath: false },
      want: "x\nFrom y\n",
    },
    {
      name: "overwritten, From line",
      options: { fromLine: true, returnPath: false },
      want: `${SEPARATOR}\r\nx\r\n>From y\r\n\r\n`,
    },
    {
      name: "appended",
      options: { append: true, returnPath: false },
      want: `${SEPARATOR}\r\nx\r\n>From y\r\n\r\n`.repeat(2),
    },
    {
      name: "appended, no From line",
      options: { append: true, fromLine: false, returnPath: false },
      want: content.repeat(2),
    },
  ];
  await using folder = await TestFolder.create();
  for (const { name, options, want } of rows) {
    await t.step(name, async () => {
      const path = `${folder.path}/${name}/file`;
      const store = new FileStore({ sync: false, ...options, path });
      await store.save(await messageOf({ content }));
      const streamed = await messageOf({ content, memoryLimit: 0 });
      await store.save(streamed);
      await streamed.discard();
      assertEquals(await Deno.readTextFile(path), want);
      assertEquals(await namesIn(`${folder.path}/${name}`), ["file"]);
    });
  }
});

Deno.test("FileStore overwrites with whole messages only", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/file`;
  const store = new FileStore({ path, returnPath: false });
  const contents = ["a", "b", "c", "d"].map((text) => text.repeat(100_000));
  const messages = await Promise.all(
    contents.map((content) => messageOf({ content, memoryLimit: 0 })),
  );
  for (const message of messages) store.save(message);
  await store.close();
  const kept = await Deno.readTextFile(path);
  assertEquals(contents.filter((content) => content === kept).length, 1);
  assertEquals(await namesIn(folder.path), ["file"]);
  for (const message of messages) await message.discard();
});

Deno.test("FileStore leaves what was there when a message fails", async () => {
  await using folder = await TestFolder.create();
  const path = `${folder.path}/file`;
  await Deno.writeTextFile(path, "before");
  const store = new FileStore({ path, sync: false });
  const message = Object.defineProperty(await messageOf(), "body", {
    value: {
      memory: undefined,
      async *chunks() {
        yield await Promise.resolve(new Uint8Array(10));
        throw new Error("Disk full");
      },
    },
  });
  const error = await assertRejects(() => store.save(message), StoreError);
  assertEquals([...error.failures.keys()], [...message.recipients]);
  assertEquals(await Deno.readTextFile(path), "before");
  assertEquals(await namesIn(folder.path), ["file"]);
});

Deno.test("FileStore refuses a folder in place of its file", async () => {
  await using folder = await TestFolder.create();
  for (const append of [false, true]) {
    const store = new FileStore({ path: folder.path, append });
    const message = await messageOf();
    await assertRejects(
      () => store.save(message),
      StoreError,
      "want a file, found a folder",
    );
  }
});

Deno.test("FileStore wants one of folder and path", () => {
  assertThrows(() => new FileStore({}), TypeError);
  assertThrows(() => new FileStore({ folder: "a", path: "b" }), TypeError);
  assertThrows(() => new FileStore({ folder: "a", append: true }), TypeError);
});
