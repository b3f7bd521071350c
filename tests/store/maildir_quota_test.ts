/**
 * The quota of `MaildirStore`: the file `maildirsize` of Maildir++, when it is
 * made again, and what a full mailbox answers.
 *
 * {@link https://www.courier-mta.org/imap/README.maildirquota.html | Maildir++}
 */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { StoreError } from "../../lib/message/message.ts";
import { Address } from "../../lib/protocol/address.ts";
import { SmtpError } from "../../lib/protocol/reply.ts";
import type { QuotaOption } from "../../lib/store/maildir_quota.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { TestClient } from "../support/server.ts";
import { TestFolder } from "../support/folder.ts";
import { isWindows } from "../support/platform.ts";
import { messageOf, namesIn } from "../support/store_message.ts";

const ALL = { partial: false };
const SOME = { partial: true };
const BOX = "user@example.com";
const USER = Address.parse(BOX);
/** Bytes of a message of {@linkcode send}. */
const SIZE = 100;
const CONTENT = `a: b\n\n${"x".repeat(SIZE - 6)}`.replaceAll("\n", "\r\n");

function makeStore(folder: TestFolder, quota: QuotaOption): MaildirStore {
  return new MaildirStore({
    ...{ folder: folder.path, quota, sync: false, returnPath: false },
  });
}

/** Stores a message of 100 bytes. */
async function send(
  store: MaildirStore,
  options: { to?: readonly string[]; content?: string; partial?: boolean } = {},
): Promise<void> {
  const { to = [BOX], content = CONTENT, partial = false } = options;
  await store.save(await messageOf({ to, content }), { partial });
}

/** The reply to each recipient without a copy, by address. */
async function refused(
  sending: Promise<void>,
): Promise<Record<string, string>> {
  const error = await assertRejects(() => sending, StoreError);
  return Object.fromEntries(
    [...error.failures].map(([{ address }, reason]) => [
      String(address),
      reason instanceof SmtpError
        ? `${reason.reply.code} ${reason.reply.enhanced}`
        : "other",
    ]),
  );
}

function sizeFile(folder: TestFolder): Promise<string> {
  return folder.read(`${BOX}/maildirsize`);
}

Deno.test("A Maildir with a quota has the sum of its messages, one line for each", async () => {
  await using folder = await TestFolder.create();
  const store = makeStore(folder, { bytes: 1000, messages: 50 });
  for (let count = 0; count < 3; count++) await send(store);
  assertEquals(
    await sizeFile(folder),
    "1000S,50C\n0 0\n100 1\n100 1\n100 1\n",
  );
  assertEquals((await namesIn(`${folder.path}/${BOX}/new`)).length, 3);
});

Deno.test("A Maildir without a quota has no such file, and the store no hasRoom", async () => {
  await using folder = await TestFolder.create();
  for (const quota of [0, { bytes: 0 }, () => undefined, () => 0]) {
    await send(makeStore(folder, quota));
  }
  const store = new MaildirStore({ folder: folder.path, sync: false });
  assertEquals(store.hasRoom, undefined);
  await send(store);
  assertEquals(await namesIn(`${folder.path}/${BOX}`), ["cur", "new", "tmp"]);
});

Deno.test("A full mailbox is 452 4.2.2, too large a message 552 5.2.2, and nothing is left behind", async () => {
  await using folder = await TestFolder.create();
  const rows: [QuotaOption, number, string][] = [
    [350, 3, "452 4.2.2"],
    [{ messages: 2 }, 2, "452 4.2.2"],
    [{ bytes: 1000, messages: 1 }, 1, "452 4.2.2"],
    [99, 0, "552 5.2.2"],
    [() => Promise.resolve({ bytes: 199 }), 1, "452 4.2.2"],
  ];
  for (const [at, [quota, fits, want]] of rows.entries()) {
    const box = `box${at}@example.com`;
    const store = makeStore(folder, quota);
    for (let count = 0; count < fits; count++) await send(store, { to: [box] });
    const before = fits === 0
      ? undefined
      : await folder.read(`${box}/maildirsize`);
    assertEquals(await refused(send(store, { to: [box] })), { [box]: want });
    assertEquals(await namesIn(`${folder.path}/${box}/tmp`), []);
    const stored = await namesIn(`${folder.path}/${box}/new`);
    assertEquals(stored.length, fits);
    if (before !== undefined) {
      const after = await folder.read(`${box}/maildirsize`);
      assertEquals(after.split("\n")[0], before.split("\n")[0]);
      assertEquals(after.split("\n")[1], `${100 * fits} ${fits}`);
    }
  }
});

Deno.test("A full mailbox keeps no other recipient's copy but in LMTP", async () => {
  await using folder = await TestFolder.create();
  const store = makeStore(folder, ({ localPart }) => {
    if (localPart === "full") return { messages: 1 };
    return localPart === "small" ? 10 : 1000;
  });
  const to = ["full@example.com", "free@example.com"];
  await send(store, { to });
  const mixed = [...to, "small@example.com"];
  assertEquals(await refused(send(store, { to })), {
    "full@example.com": "452 4.2.2",
    "free@example.com": "452 4.2.2",
  });
  const small = ["small@example.com", "free@example.com"];
  // The other recipient may get the message yet.
  assertEquals(await refused(send(store, { to: small })), {
    "small@example.com": "552 5.2.2",
    "free@example.com": "other",
  });
  assertEquals(
    await folder.read("free@example.com/maildirsize"),
    "1000S\n0 0\n100 1\n",
  );
  assertEquals(await refused(send(store, { to: mixed, ...SOME })), {
    "full@example.com": "452 4.2.2",
    "small@example.com": "552 5.2.2",
  });
  assertEquals(
    await folder.read("free@example.com/maildirsize"),
    "1000S\n0 0\n100 1\n100 1\n",
  );
  assertEquals(
    (await namesIn(`${folder.path}/free@example.com/new`)).length,
    2,
  );
});

Deno.test("Messages that arrive together never go over the quota", async () => {
  await using folder = await TestFolder.create();
  const store = makeStore(folder, { bytes: 1050 });
  const all = await Promise.allSettled(
    Array.from({ length: 40 }, () => send(store)),
  );
  const kept = all.filter(({ status }) => status === "fulfilled").length;
  assertEquals(kept, 10);
  assertEquals((await namesIn(`${folder.path}/${BOX}/new`)).length, 10);
  assertEquals(await store.hasRoom!(USER, 51), false);
  assertEquals(await store.hasRoom!(USER, 50), true);
});

Deno.test("A copy that is taken back is taken out of the sum", async () => {
  await using folder = await TestFolder.create();
  const to = ["a@example.com", "b@example.com"];
  let isBroken = false;
  const store = makeStore(folder, async ({ localPart }) => {
    // The quota is asked when the copies are written, before they get their names.
    if (isBroken && localPart === "b") {
      await Deno.remove(`${folder.path}/b@example.com/new`, {
        recursive: true,
      });
    }
    return 150;
  });
  await send(store, { to: [to[1]!] });
  await Deno.remove(`${folder.path}/b@example.com/maildirsize`);
  for await (
    const { name } of Deno.readDir(`${folder.path}/b@example.com/new`)
  ) {
    await Deno.remove(`${folder.path}/b@example.com/new/${name}`);
  }
  isBroken = true;
  await assertRejects(() => send(store, { to }), StoreError);
  assertEquals(
    await folder.read("a@example.com/maildirsize"),
    "150S\n0 0\n100 1\n-100 -1\n",
  );
  assertEquals(await namesIn(`${folder.path}/a@example.com/new`), []);
  isBroken = false;
  await send(store, { to });
  assertEquals((await namesIn(`${folder.path}/a@example.com/new`)).length, 1);
});

Deno.test("Programs that deliver to one mailbox at the same time count together", async () => {
  await using folder = await TestFolder.create();
  const quota = { bytes: 1_000_000 };
  const stores = [1, 2, 3].map(() => makeStore(folder, quota));
  await send(stores[0]!);
  await Promise.all(
    Array.from({ length: 90 }, (_, at) => send(stores[at % 3]!)),
  );
  const lines = (await sizeFile(folder)).trimEnd().split("\n").slice(1);
  const sum = lines.reduce((all, line) => all + Number(line.split(" ")[0]), 0);
  assertEquals(sum, 91 * SIZE);
});

Deno.test("The sum is taken from the folders where the file is missing, broken, long or of another quota", async () => {
  await using folder = await TestFolder.create();
  const store = makeStore(folder, { bytes: 100_000, messages: 900 });
  await send(store);
  const root = `${folder.path}/${BOX}`;
  for (const name of [".Sent/new", ".Sent/cur", ".Trash/cur", "other/new"]) {
    await Deno.mkdir(`${root}/${name}`, { recursive: true });
  }
  await folder.write(`${BOX}/cur/1.a,S=1000:2,S`, "short");
  await folder.write(`${BOX}/cur/2.a,W=9:2,S`, "seven b");
  await folder.write(`${BOX}/cur/3.a,S=5000:2,ST`, "deleted");
  await folder.write(`${BOX}/.Sent/cur/4.a,S=200,W=210:2,`, "");
  await folder.write(`${BOX}/.Sent/new/.hidden`, "hidden");
  await folder.write(`${BOX}/.Trash/cur/5.a,S=7000:2,S`, "");
  await folder.write(`${BOX}/other/new/6.a,S=7000`, "");
  await folder.write(`${BOX}/.file`, "");
  const want = `100000S,900C\n${100 + 1000 + 7 + 200} 4\n`;
  const damaged = [
    ...[undefined, "", "nonsense", "100000S,900C", "100000S,900C\n"],
    ...["100000S,900C\n1 2", "100000S,900C\n1 x\n", "100000S,900C\n-1 0\n"],
    ...["5S,900C\n1 1\n", "100000S\n1 1\n", "100000S,900C\n1 1\n\0\0"],
    `100000S,900C\n${"1 1\n".repeat(1300)}`,
  ];
  for (const text of damaged) {
    if (text === undefined) await Deno.remove(`${root}/maildirsize`);
    else await folder.write(`${BOX}/maildirsize`, text);
    assert(await store.hasRoom!(USER, 0), text);
    assertEquals(await sizeFile(folder), want, text);
  }
  // Padding and order are free.
  const kept = "900C,100000S\n   10     1\n 7 1 \n";
  await folder.write(`${BOX}/maildirsize`, kept);
  assert(await store.hasRoom!(USER, 10));
  assertEquals(await sizeFile(folder), kept);
});

Deno.test("A file that says full is believed for 15 minutes if it has one line", async () => {
  await using folder = await TestFolder.create();
  const store = makeStore(folder, 1000);
  await send(store);
  const path = `${folder.path}/${BOX}/maildirsize`;
  const lie = "1000S\n1000 1\n";
  await Deno.writeTextFile(path, lie);
  assertEquals(await store.hasRoom!(USER, 0), false);
  assertEquals(await sizeFile(folder), lie);
  await Deno.writeTextFile(path, "1000S\n900 1\n100 1\n");
  assertEquals(await store.hasRoom!(USER, 0), true);
  assertEquals(await sizeFile(folder), "1000S\n100 1\n");
  await Deno.writeTextFile(path, lie);
  const old = new Date(Date.now() - 15 * 60_000);
  await Deno.utime(path, old, old);
  assertEquals(await store.hasRoom!(USER, 900), true);
  assertEquals(await store.hasRoom!(USER, 901), false);
});

Deno.test("hasRoom tells of mailboxes that do not exist yet, and makes none", async () => {
  await using folder = await TestFolder.create();
  const store = makeStore(folder, { bytes: 1000, messages: 1 });
  assertEquals(await store.hasRoom!(USER, 1000), true);
  assertEquals(await store.hasRoom!(USER, 1001), false);
  assertEquals(await namesIn(folder.path), []);
});

Deno.test("A quota that cannot be found refuses nobody at RCPT, and the copy with a fault of our own", async () => {
  await using folder = await TestFolder.create();
  for (
    const quota of [
      () => Promise.reject(new Error("No database")),
      () => -1,
      () => ({ bytes: 1.5 }),
    ]
  ) {
    const store = makeStore(folder, quota);
    assertEquals(await store.hasRoom!(USER, 1), true);
    assertEquals(await refused(send(store)), { [BOX]: "other" });
  }
  assertEquals(await namesIn(`${folder.path}/${BOX}/new`), []);
});

Deno.test({
  name: "A link in place of maildirsize is not written through",
  ignore: isWindows,
  async fn() {
    await using folder = await TestFolder.create();
    const store = makeStore(folder, 1000);
    await send(store);
    const path = `${folder.path}/${BOX}/maildirsize`;
    const victim = await folder.write("victim", "1000S\n0 0\n");
    for (const link of [Deno.symlink, Deno.link]) {
      await Deno.remove(path);
      await link(victim, path);
      assertEquals(await refused(send(store)), { [BOX]: "other" });
      assertEquals(await Deno.readTextFile(victim), "1000S\n0 0\n");
    }
  },
});

Deno.test("The option quota is checked", async () => {
  await using folder = await TestFolder.create();
  for (const quota of [-1, 1.5, "1G", null, [], { bytes: -1 }, { size: 1 }]) {
    const error = assertThrows(
      () => makeStore(folder, quota as unknown as QuotaOption),
      Error,
    );
    assert(/^Cannot use quota/.test(error.message), error.message);
  }
});

Deno.test("folderOf and fileOf name what the stores write", async () => {
  await using folder = await TestFolder.create();
  const maildirs = makeStore(folder, 1000);
  await send(maildirs, { to: ["User@Example.com"] });
  const at = maildirs.folderOf(Address.parse("User@Example.com"));
  assertEquals((await namesIn(`${at}/new`)).length, 1);
  const files = new MboxStore({
    folder: `${folder.path}/mbox`,
    mailboxOf: ({ localPart }) => `../${localPart}`,
  });
  await files.save(await messageOf(), ALL);
  assert((await Deno.stat(files.fileOf(USER))).isFile);
  assertEquals(
    files.fileOf(USER),
    `${folder.path}/mbox/%2E.%2Fuser`,
  );
  const one = new MboxStore({ path: `${folder.path}/all.mbox` });
  assertEquals(one.fileOf(USER), `${folder.path}/all.mbox`);
});

for (const threads of [0, 2]) {
  for (const isFunction of [false, true]) {
    const name = `${threads} threads, ${isFunction ? "a function" : "data"}`;
    Deno.test(`A server refuses mail for a full mailbox (${name})`, async () => {
      await using folder = await TestFolder.create();
      const full = { messages: 1 };
      // A function stays on the main thread, and so does its store.
      const quota = isFunction
        ? ({ localPart }: Address) => localPart === "user" ? full : undefined
        : full;
      await using server = new SmtpServer({
        listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
        store: makeStore(folder, quota),
        log: () => {},
        threads,
      });
      await server.start();
      /** The reply of the recipient, as the last of RCPT and of the content. */
      async function replyOf(listener: number): Promise<string> {
        using client = await TestClient.connect(server, listener);
        await client.reply();
        await client.expect(
          [listener === 0 ? "EHLO x" : "LHLO x", "250"],
          ["MAIL FROM:<sender@example.org>", "250"],
        );
        const reply = await client.say(`RCPT TO:<${BOX}>`);
        if (!reply.startsWith("250")) return reply.slice(0, 9);
        await client.expect(["DATA", "354"]);
        return (await client.say("a: b\r\n\r\nc\r\n.")).slice(0, 9);
      }
      assertEquals(await replyOf(0), "250 2.0.0");
      assertEquals(await replyOf(0), "452 4.2.2");
      assertEquals(await replyOf(1), "452 4.2.2");
      assertEquals((await namesIn(`${folder.path}/${BOX}/new`)).length, 1);
      assertEquals(await namesIn(`${folder.path}/${BOX}/tmp`), []);
    });
  }
}
