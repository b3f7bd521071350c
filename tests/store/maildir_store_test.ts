/**
 * `MaildirStore`: tmp, new and cur, unique names, delivery to each recipient.
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { FileStore } from "../../lib/store/file_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { StoreError } from "../../lib/message/message.ts";
import { messageOf, namesIn, onlyFileIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes } from "../support/platform.ts";

const ALL = { partial: false };
const SOME = { partial: true };

Deno.test("MaildirStore keeps one copy for each recipient with LF line ends", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: `${folder.path}/made/here` });
  const message = await messageOf({
    to: ["a@example.com", "B@example.com"],
    trace: "Received: by here\r\n",
    content: "Subject: x\r\n\r\nFrom here\r\nend",
  });
  await store.save(message, ALL);
  for (const mailbox of ["a@example.com", "b@example.com"]) {
    const path = `${folder.path}/made/here/${mailbox}`;
    assertEquals(await namesIn(path), ["cur", "new", "tmp"]);
    assertEquals(await namesIn(`${path}/tmp`), []);
    assertEquals(
      await onlyFileIn(`${path}/new`),
      "Return-Path: <sender@example.org>\nReceived: by here\nSubject: x\n\nFrom here\nend",
    );
  }
});

Deno.test("MaildirStore names a file by time, process, host and true sizes", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({
    folder: folder.path,
    hostname: "mx.example/1:2",
    returnPath: false,
    sync: false,
  });
  await store.save(await messageOf({ content: "a: b\r\n\r\nc\r\n" }), ALL);
  const [name] = await namesIn(`${folder.path}/user@example.com/new`);
  assertMatch(
    name!,
    /^\d{10}\.M\d{1,6}P\d+Q\d+R[0-9a-f]{16}\.mx\.example-1-2,S=8,W=11$/,
  );
});

Deno.test("MaildirStore keeps CRLF when asked and a binary message as it is", async () => {
  await using folder = await TestFolder.create();
  const content = "a: b\r\n\r\n\0\r\n\n";
  const crlf = new MaildirStore({
    folder: `${folder.path}/crlf`,
    newline: "crlf",
    returnPath: false,
    sync: false,
  });
  await crlf.save(await messageOf({ content }), ALL);
  const box = `${folder.path}/crlf/user@example.com/new`;
  assertEquals(await onlyFileIn(box), content);
  assertMatch((await namesIn(box))[0]!, /,S=12$/);
  const lf = new MaildirStore({
    folder: `${folder.path}/lf`,
    returnPath: false,
    sync: false,
  });
  const parameters = { body: "BINARYMIME" } as const;
  await lf.save(await messageOf({ content, parameters }), ALL);
  assertEquals(
    await onlyFileIn(`${folder.path}/lf/user@example.com/new`),
    content,
  );
});

Deno.test("MaildirStore streams a message that is not in memory", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: folder.path, sync: false });
  const line = "0123456789".repeat(7) + "\r\n";
  const content = line.repeat(3000);
  const message = await messageOf({ content, memoryLimit: 0, from: "" });
  try {
    await store.save(message, ALL);
  } finally {
    await message.discard();
  }
  const want = `Return-Path: <>\n${content.replaceAll("\r\n", "\n")}`;
  const box = `${folder.path}/user@example.com/new`;
  assertEquals(await onlyFileIn(box), want);
  const [name] = await namesIn(box);
  assertStringIncludes(name!, `,S=${want.length},W=${want.length + 3001}`);
});

Deno.test("MaildirStore gives two names of one mailbox one copy", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: folder.path, sync: false });
  const to = ["User@example.com", "user@example.com", '"user"@example.com'];
  await store.save(await messageOf({ to }), ALL);
  await onlyFileIn(`${folder.path}/user@example.com/new`);
  assertEquals(await namesIn(folder.path), ["user@example.com"]);
});

Deno.test("MaildirStore keeps mailboxOf inside the folder", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({
    folder: `${folder.path}/mail`,
    mailboxOf: () => "../outside",
    sync: false,
  });
  await store.save(await messageOf(), ALL);
  assertEquals(await namesIn(folder.path), ["mail"]);
  assertEquals(await namesIn(`${folder.path}/mail`), ["%2E.%2Foutside"]);
});

Deno.test("MaildirStore leaves no copy when one recipient's fails", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: folder.path });
  await Deno.writeTextFile(`${folder.path}/b@example.com`, "not a folder");
  const to = ["a@example.com", "b@example.com", "c@example.com"];
  const message = await messageOf({ to });
  const error = await assertRejects(() => store.save(message, ALL), StoreError);
  assertEquals([...error.failures.keys()], [...message.recipients]);
  assertStringIncludes(error.message, "want a folder, found a file");
  for (const part of ["new", "tmp", "cur"]) {
    assertEquals(await namesIn(`${folder.path}/a@example.com/${part}`), []);
    assertEquals(await namesIn(`${folder.path}/c@example.com/${part}`), []);
  }
});

Deno.test("MaildirStore takes copies back when a later one cannot be placed", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: folder.path, sync: false });
  const to = ["a@example.com", "b@example.com"];
  await store.save(await messageOf({ to }), ALL);
  const kept = await namesIn(`${folder.path}/a@example.com/new`);
  const place = `${folder.path}/b@example.com/new`;
  await Deno.remove(place, { recursive: true });
  await Deno.writeTextFile(place, "");
  await assertRejects(
    async () => store.save(await messageOf({ to }), ALL),
    StoreError,
  );
  assertEquals(await namesIn(`${folder.path}/a@example.com/new`), kept);
  assertEquals(await namesIn(`${folder.path}/a@example.com/tmp`), []);
  assertEquals(await namesIn(`${folder.path}/b@example.com/tmp`), []);
});

Deno.test("MaildirStore delivers to the others when partial", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({
    folder: folder.path,
    mailboxOf(address) {
      if (address.localPart === "c") throw new RangeError("No such user");
      return String(address);
    },
  });
  await Deno.writeTextFile(`${folder.path}/b@example.com`, "not a folder");
  const to = ["a@example.com", "b@example.com", "c@example.com"];
  const message = await messageOf({ to });
  const error = await assertRejects(
    () => store.save(message, SOME),
    StoreError,
  );
  const [, b, c] = message.recipients;
  assertEquals([...error.failures.keys()], [b!, c!]);
  assert(error.failures.get(b!) instanceof Deno.errors.NotADirectory);
  assert(error.failures.get(c!) instanceof RangeError);
  await onlyFileIn(`${folder.path}/a@example.com/new`);
});

Deno.test({
  name: "MaildirStore refuses a symbolic link in place of a mailbox",
  ignore: !hasFileModes,
  async fn() {
    await using folder = await TestFolder.create();
    await Deno.mkdir(`${folder.path}/elsewhere`);
    await Deno.mkdir(`${folder.path}/mail`);
    const box = `${folder.path}/mail/user@example.com`;
    await Deno.symlink(`${folder.path}/elsewhere`, box);
    const store = new MaildirStore({ folder: `${folder.path}/mail` });
    const message = await messageOf();
    const error = await assertRejects(
      () => store.save(message, ALL),
      StoreError,
    );
    assertStringIncludes(error.message, "found a symbolic link");
    assertEquals(await namesIn(`${folder.path}/elsewhere`), []);
  },
});

Deno.test("MaildirStore makes a mailbox again that has vanished", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: folder.path, sync: false });
  await store.save(await messageOf(), ALL);
  await Deno.remove(`${folder.path}/user@example.com`, { recursive: true });
  await store.save(await messageOf(), ALL);
  await onlyFileIn(`${folder.path}/user@example.com/new`);
});

Deno.test("MaildirStore removes the partial file when the content fails", async () => {
  await using folder = await TestFolder.create();
  const store = new MaildirStore({ folder: folder.path, sync: false });
  const message = await messageOf({ memoryLimit: 0 });
  await message.discard();
  const broken = Object.defineProperty(message, "body", {
    value: {
      memory: undefined,
      async *chunks() {
        yield await Promise.resolve(new Uint8Array(10));
        throw new Deno.errors.BadResource("Body is gone");
      },
    },
  });
  const error = await assertRejects(
    () => store.save(broken, ALL),
    StoreError,
    "Body is gone",
  );
  assert(error.cause instanceof Deno.errors.BadResource);
  assertEquals(await namesIn(`${folder.path}/user@example.com/tmp`), []);
  assertEquals(await namesIn(`${folder.path}/user@example.com/new`), []);
});

Deno.test("MaildirStore saves many messages at once, each under its own name", async () => {
  await using folder = await TestFolder.create();
  const stores = [1, 2].map(() => new MaildirStore({ folder: folder.path }));
  const messages = await Promise.all(
    Array.from({ length: 50 }, () => messageOf()),
  );
  const saves = messages.map((message, index) =>
    stores[index % 2]!.save(message, ALL)
  );
  await Promise.all(stores.map((store) => store.close()));
  const names = await namesIn(`${folder.path}/user@example.com/new`);
  assertEquals(names.length, 50);
  await Promise.all(saves);
});

Deno.test("Stores write the one Return-Path, whatever the content begins with", async () => {
  const content = "Subject: x\r\nreturn-path: <evil@b.test>\r\n" +
    "Return-Path:\r\n <evil@b.test>\r\nStatus: RO\r\n\r\nReturn-Path: text\r\n";
  const rest = "Subject: x\nStatus: RO\n\nReturn-Path: text\n";
  for (const memoryLimit of [0, 1000]) {
    await using folder = await TestFolder.create();
    const { path } = folder;
    const message = await messageOf({ content, memoryLimit });
    await new MaildirStore({ folder: path }).save(message, ALL);
    await new FileStore({ path: `${path}/one.eml` }).save(message);
    await new MboxStore({ path: `${path}/all.mbox` }).save(message, ALL);
    const [name] = await namesIn(`${path}/user@example.com/new`);
    const stored = await Deno.readTextFile(
      `${path}/user@example.com/new/${name}`,
    );
    const want = `Return-Path: <sender@example.org>\n${rest}`;
    assertEquals(stored, want);
    assertEquals(
      await Deno.readTextFile(`${path}/one.eml`),
      want.replaceAll("\n", "\r\n"),
    );
    assertEquals(
      (await Deno.readTextFile(`${path}/all.mbox`)).split("\n").slice(1).join(
        "\n",
      ),
      `${want.replace("Status: RO\n", "")}\n`,
    );
    await message.discard();
  }
});
