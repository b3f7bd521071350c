/**
 * The promise of every store: when `save` resolves, a loss of power loses no part
 * of the message, even if another program has just made the mailbox. A message
 * that a store refuses is not in the mailbox.
 */

import { assertEquals } from "@std/assert";
import { makeFolderAgain, syncFolder } from "../../lib/files/durable.ts";
import { FileStore } from "../../lib/store/file_store.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { type MessageStore, StoreError } from "../../lib/message/message.ts";
import { DiskWatch } from "../support/disk_watch.ts";
import { messageOf } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";

const ALL = { partial: false };
const MAILBOX = "user@example.com";

/** Every kind of store on files, below two folders that do not exist yet. */
const STORES: readonly {
  readonly name: string;
  /** Folder of its mailboxes. */
  readonly folder: string;
  /** Folders that another program may make in advance. */
  readonly folders: readonly string[];
  readonly make: (root: string) => MessageStore;
}[] = [
  {
    name: "Maildir",
    folder: `a/mail/${MAILBOX}/new`,
    folders: [MAILBOX, `${MAILBOX}/tmp`, `${MAILBOX}/new`, `${MAILBOX}/cur`],
    make: (root) => new MaildirStore({ folder: `${root}/a/mail` }),
  },
  {
    name: "one mbox a recipient",
    folder: "a/mail",
    folders: [],
    make: (root) => new MboxStore({ folder: `${root}/a/mail` }),
  },
  {
    name: "one mbox for all",
    folder: "a/mail",
    folders: [],
    make: (root) => new MboxStore({ path: `${root}/a/mail/all.mbox` }),
  },
  {
    name: "one file a message",
    folder: "a/mail",
    folders: [],
    make: (root) => new FileStore({ folder: `${root}/a/mail` }),
  },
  {
    name: "one file for the newest message",
    folder: "a/mail",
    folders: [],
    make: (root) => new FileStore({ path: `${root}/a/mail/newest.eml` }),
  },
  {
    name: "one file appended to",
    folder: "a/mail",
    folders: [],
    make: (root) =>
      new FileStore({ path: `${root}/a/mail/all.txt`, append: true }),
  },
];

async function filesIn(path: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name, isFile } of Deno.readDir(path)) {
      if (isFile) names.push(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return names.sort();
}

async function assertKept(watch: DiskWatch, root: string, folder: string) {
  const names = await filesIn(`${root}/${folder}`);
  assertEquals(names.length > 0, true, "No message was kept");
  for (const name of names) {
    assertEquals(await watch.losses(`${folder}/${name}`), []);
  }
}

for (const { name, folder, folders, make } of STORES) {
  Deno.test(`A message is on the disk when it is kept: ${name}, new mailbox`, async () => {
    await using temporary = await TestFolder.create();
    using watch = new DiskWatch(temporary.path);
    await make(temporary.path).save(await messageOf({}), ALL);
    await assertKept(watch, temporary.path, folder);
  });

  Deno.test(`A message is on the disk when it is kept: ${name}, mailbox in use`, async () => {
    await using temporary = await TestFolder.create();
    using watch = new DiskWatch(temporary.path);
    const store = make(temporary.path);
    await store.save(await messageOf({}), ALL);
    await store.save(await messageOf({}), ALL);
    await assertKept(watch, temporary.path, folder);
  });

  Deno.test(`A message is on the disk when it is kept: ${name}, mailbox that another has just made`, async () => {
    await using temporary = await TestFolder.create();
    using watch = new DiskWatch(temporary.path);
    for (
      const path of [
        "a",
        "a/mail",
        ...folders.map((at) => `a/mail/${at}`),
      ]
    ) {
      await Deno.mkdir(`${temporary.path}/${path}`);
    }
    await make(temporary.path).save(await messageOf({}), ALL);
    await assertKept(watch, temporary.path, folder);
  });

  Deno.test(`A message is on the disk when it is kept: ${name}, mailbox removed and made again by another`, async () => {
    await using temporary = await TestFolder.create();
    using watch = new DiskWatch(temporary.path);
    const store = make(temporary.path);
    await store.save(await messageOf({}), ALL);
    await Deno.remove(`${temporary.path}/a/mail`, { recursive: true });
    await store.save(await messageOf({}), ALL);
    await assertKept(watch, temporary.path, folder);
    for (const path of folders.toReversed()) {
      await Deno.remove(`${temporary.path}/a/mail/${path}`, {
        recursive: true,
      });
    }
    for (const path of folders) {
      await Deno.mkdir(`${temporary.path}/a/mail/${path}`);
    }
    await store.save(await messageOf({}), ALL);
    await assertKept(watch, temporary.path, folder);
  });

  Deno.test(`A message that is refused is not there: ${name}, a disk that cannot sync`, async () => {
    await using temporary = await TestFolder.create();
    using watch = new DiskWatch(temporary.path);
    const store = make(temporary.path);
    // Each sync fails in turn, in a new mailbox and in one with a message.
    for (const isUsed of [false, true]) {
      if (isUsed) await store.save(await messageOf({}), ALL);
      const before = await contents(`${temporary.path}/${folder}`);
      for (let failing = 1;; failing++) {
        let count = 0;
        watch.before = (step) => {
          if (!step.startsWith("sync ") || ++count !== failing) return;
          throw new Error("Input/output error");
        };
        const message = await messageOf({ content: "Subject: no\r\n\r\nno" });
        if (!isUsed) {
          await Deno.remove(`${temporary.path}/a`, { recursive: true }).catch(
            () => {},
          );
        }
        const failure = await store.save(message, ALL).then(
          () => undefined,
          (error) => error,
        );
        watch.before = () => {};
        if (count < failing) break;
        assertEquals(failure instanceof StoreError, true, String(failure));
        assertEquals(await contents(`${temporary.path}/${folder}`), before);
      }
    }
  });
}

Deno.test("An existing mailbox takes mail if its folder cannot be synced", async () => {
  await using temporary = await TestFolder.create();
  using watch = new DiskWatch(temporary.path);
  for (const { name, make, folder } of STORES.slice(0, 3)) {
    await Deno.remove(`${temporary.path}/a`, { recursive: true })
      .catch(() => {});
    await make(temporary.path).save(await messageOf({}), ALL);
    watch.before = (step) => {
      if (step === "sync a" || step === "sync a/mail") {
        throw new Deno.errors.PermissionDenied("Permission denied");
      }
    };
    // Another process, which does not know the folders.
    await makeFolderAgain(`${temporary.path}/a/mail`, { sync: true });
    await make(temporary.path).save(await messageOf({}), ALL);
    watch.before = () => {};
    assertEquals(
      (await filesIn(`${temporary.path}/${folder}`)).length > 0,
      true,
      name,
    );
  }
});

Deno.test("FileStore replaces its one message on a disk without hard links", async () => {
  await using temporary = await TestFolder.create();
  using watch = new DiskWatch(temporary.path);
  watch.before = (step) => {
    if (step.startsWith("link ")) {
      throw new Deno.errors.NotSupported("No links");
    }
  };
  const path = `${temporary.path}/newest.eml`;
  const store = new FileStore({ path, returnPath: false });
  for (const content of ["A: 1\r\n\r\n", "A: 2\r\n\r\n"]) {
    await store.save(await messageOf({ content }));
    assertEquals(await Deno.readTextFile(path), content);
  }
  assertEquals(await filesIn(temporary.path), ["newest.eml"]);
});

async function contents(path: string): Promise<string[]> {
  const texts: string[] = [];
  for (const name of await filesIn(path)) {
    texts.push(await Deno.readTextFile(`${path}/${name}`));
  }
  return texts;
}

Deno.test("Only their user can read what the stores make, with any umask", async () => {
  const old = Deno.umask(0);
  try {
    for (const { make } of STORES) {
      await using temporary = await TestFolder.create();
      await make(temporary.path).save(await messageOf({}), ALL);
      await assertPrivate(`${temporary.path}/a`);
    }
  } finally {
    Deno.umask(old);
  }
});

async function assertPrivate(path: string): Promise<void> {
  const { mode } = await Deno.stat(path);
  assertEquals((mode! & 0o7777).toString(8), "700", path);
  for await (const entry of Deno.readDir(path)) {
    const inner = `${path}/${entry.name}`;
    if (entry.isDirectory) await assertPrivate(inner);
    else {
      const { mode } = await Deno.stat(inner);
      assertEquals((mode! & 0o7777).toString(8), "600", inner);
    }
  }
}

Deno.test("Two stores that make one mailbox at the same time both wait until it is on the disk", async () => {
  await using temporary = await TestFolder.create();
  using watch = new DiskWatch(temporary.path);
  const make = () => new MaildirStore({ folder: `${temporary.path}/mail` });
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  watch.before = async (step) => {
    if (step !== "sync mail") return;
    reached.resolve();
    await held.promise;
  };
  const kept: string[] = [];
  const first = make().save(await messageOf({}), ALL).then(() =>
    kept.push("first")
  );
  await reached.promise;
  const second = make().save(await messageOf({}), ALL).then(() =>
    kept.push("second")
  );
  // The second store has found the mailbox and has done all its own work.
  await until(
    () => watch.steps.some((step) => step.startsWith("sync mail/")),
    { seen: () => watch.steps },
  );
  assertEquals(kept, []);
  held.resolve();
  await Promise.all([first, second]);
  for (const name of await filesIn(`${temporary.path}/mail/${MAILBOX}/new`)) {
    assertEquals(await watch.losses(`mail/${MAILBOX}/new/${name}`), []);
  }
});

Deno.test("A sync of a folder under way does not count for a later call", async () => {
  await using temporary = await TestFolder.create();
  using watch = new DiskWatch(temporary.path);
  const path = `${temporary.path}/mail`;
  await Deno.mkdir(path);
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  watch.before = async (step) => {
    if (step !== "sync mail") return;
    reached.resolve();
    await held.promise;
  };
  const first = syncFolder(path);
  await reached.promise;
  // A file renamed into the folder now may be too late for the first sync.
  const later = [syncFolder(path), syncFolder(path)];
  held.resolve();
  await Promise.all([first, ...later]);
  assertEquals(watch.steps.filter((step) => step === "sync mail").length, 2);
});
