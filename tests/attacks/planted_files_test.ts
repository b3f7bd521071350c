/**
 * Another user of the machine may make files in the folders of mail or queue:
 * symbolic links, hard links, mailboxes and folders of their own, before the
 * first message or after it. The server writes nothing through them, and puts no
 * mail into a mailbox of another user.
 *
 * The promise of SECURITY.md: "Another user's files are not used".
 */

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { FileStore } from "../../lib/store/file_store.ts";
import {
  MaildirStore,
  type MaildirStoreOptions,
} from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { type MessageStore, StoreError } from "../../lib/message/message.ts";
import { DiskWatch } from "../support/disk_watch.ts";
import { addition } from "../support/queue/fixtures.ts";
import { hasFileModes, testWhere } from "../support/platform.ts";
import { messageOf, namesIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";

/** Owners and links are not to be had everywhere. */
const test = testWhere(hasFileModes);

const ALL = { partial: false };
const MAILBOX = "user@example.com";
/** A user id that is neither this process's nor root's. */
const STRANGER = 987_654;

// Links.

for (const part of ["", "tmp", "new"]) {
  for (const when of ["before", "after"]) {
    test(`No mail goes through a symbolic link that stands for a Maildir's folder "${part}", put there ${when} the first message`, async () => {
      await using folder = await TestFolder.create();
      const mail = join(folder.path, "mail");
      const elsewhere = join(folder.path, "elsewhere");
      const store = new MaildirStore({ folder: mail });
      await store.save(await messageOf(), ALL);
      for (const name of ["tmp", "new", "cur"]) {
        await Deno.mkdir(join(elsewhere, name), { recursive: true });
      }
      await Deno.rename(join(mail, MAILBOX, part), join(folder.path, "away"));
      await Deno.symlink(
        join(elsewhere, part),
        join(mail, MAILBOX, part).replace(/\/$/, ""),
      );
      const next = when === "after"
        ? store
        : new MaildirStore({ folder: mail });
      await assertRejects(
        async () => next.save(await messageOf(), ALL),
        StoreError,
      );
      for (const name of ["tmp", "new", "cur"]) {
        assertEquals(await namesIn(join(elsewhere, name)), []);
      }
      // With the link gone the store goes on.
      await Deno.remove(join(mail, MAILBOX, part).replace(/\/$/, ""));
      await store.save(await messageOf(), ALL);
    });
  }
}

/** The stores that append, and the file they append to. */
const APPENDING: readonly [string, string, (mail: string) => MessageStore][] = [
  ["mbox of a recipient", MAILBOX, (folder) => new MboxStore({ folder })],
  ["mbox for all", "all", (at) => new MboxStore({ path: join(at, "all") })],
  [
    "file",
    "all",
    (at) => new FileStore({ path: join(at, "all"), append: true }),
  ],
  [
    "file without a lock",
    "all",
    (at) => new FileStore({ path: join(at, "all"), append: true, locks: [] }),
  ],
];

for (const [name, file, make] of APPENDING) {
  test(`No mail goes through a link that takes the place of a mailbox after the first message: ${name}`, async () => {
    await using folder = await TestFolder.create();
    const mail = join(folder.path, "mail");
    const target = join(folder.path, "target");
    await Deno.writeTextFile(target, "mine");
    const store = make(mail);
    await store.save(await messageOf(), ALL);
    for (const link of [Deno.symlink, Deno.link]) {
      await Deno.remove(join(mail, file));
      await link(target, join(mail, file));
      await assertRejects(
        async () => store.save(await messageOf(), ALL),
        StoreError,
      );
      assertEquals(await Deno.readTextFile(target), "mine");
    }
    // Through a dangling link no file is made.
    await Deno.remove(join(mail, file));
    await Deno.symlink(join(folder.path, "nothing"), join(mail, file));
    await assertRejects(
      async () => store.save(await messageOf(), ALL),
      StoreError,
    );
    assertEquals(await namesIn(folder.path), ["mail", "target"]);
  });

  test(`Another user's mailbox gets no mail, unless that user is named: ${name}`, async () => {
    await using folder = await TestFolder.create();
    using watch = new DiskWatch(folder.path);
    const mail = join(folder.path, "mail");
    await Deno.mkdir(mail);
    await Deno.writeTextFile(join(mail, file), "");
    watch.owners.set(`mail/${file}`, STRANGER);
    const error = await assertRejects(
      async () => make(mail).save(await messageOf(), ALL),
      StoreError,
    );
    assertStringIncludes(error.message, `it belongs to user ${STRANGER}`);
    assertEquals(await Deno.readTextFile(join(mail, file)), "");
    for (const owners of [[STRANGER], "any"] as const) {
      const named = file === MAILBOX
        ? new MboxStore({ folder: mail, owners })
        : new MboxStore({ path: join(mail, file), owners });
      await named.save(await messageOf(), ALL);
    }
  });
}

for (const part of ["", "/tmp", "/new", "/cur"]) {
  test(`Another user's Maildir gets no mail, unless that user is named: ${part || "all of it"}`, async () => {
    await using folder = await TestFolder.create();
    using watch = new DiskWatch(folder.path);
    const make = (options: Partial<MaildirStoreOptions> = {}) =>
      new MaildirStore({ folder: folder.path, ...options });
    await make().save(await messageOf(), ALL);
    watch.owners.set(MAILBOX + part, STRANGER);
    const error = await assertRejects(
      async () => make().save(await messageOf(), ALL),
      StoreError,
    );
    assertStringIncludes(error.message, `it belongs to user ${STRANGER}`);
    assertEquals((await namesIn(join(folder.path, MAILBOX, "new"))).length, 1);
    await make({ owners: [STRANGER] }).save(await messageOf(), ALL);
    await make({ owners: "any" }).save(await messageOf(), ALL);
  });
}

test("A Maildir that becomes another user's after the first message gets no more mail", async () => {
  await using folder = await TestFolder.create();
  using watch = new DiskWatch(folder.path);
  const store = new MaildirStore({ folder: folder.path });
  await store.save(await messageOf(), ALL);
  watch.owners.set(`${MAILBOX}/new`, STRANGER);
  await assertRejects(
    async () => store.save(await messageOf(), ALL),
    StoreError,
  );
});

// The spool.

/** The entries of a spool folder. */
const FOLDERS = ["messages", "incoming", "control", "damaged"];
const FILES = ["lock", "journal", "reserve"];

for (const name of [...FOLDERS, ...FILES]) {
  for (const isDangling of [false, true]) {
    test(`No spool is opened with a symbolic link${isDangling ? " that leads nowhere" : ""} for "${name}"`, async () => {
      await using folder = await TestFolder.create();
      const spool = join(folder.path, "spool");
      const target = join(folder.path, "target");
      await Deno.mkdir(spool, { mode: 0o700 });
      if (!isDangling) {
        if (FOLDERS.includes(name)) await Deno.mkdir(target);
        else await Deno.writeTextFile(target, "mine");
      }
      await Deno.symlink(target, join(spool, name));
      const error = await assertRejects(() => new FileSpool(spool).open());
      assertStringIncludes(reason(error), "found a symbolic link");
      if (isDangling) assertEquals(await namesIn(folder.path), ["spool"]);
      else if (FILES.includes(name)) {
        assertEquals(await Deno.readTextFile(target), "mine");
      } else assertEquals(await namesIn(target), []);
    });
  }
}

for (const name of ["", ...FOLDERS, ...FILES]) {
  for (const mode of [0o777, 0o1777, 0o722, 0o720]) {
    test(`No spool is opened in which others may write: "${name}" with mode ${mode.toString(8)}`, async () => {
      await using folder = await TestFolder.create();
      const spool = join(folder.path, "spool");
      await using first = new FileSpool(spool);
      await first.open();
      await first.add(addition("a"));
      await first.close();
      await Deno.chmod(join(spool, name), mode);
      const error = await assertRejects(() => new FileSpool(spool).open());
      assertStringIncludes(reason(error), "is writable by others");
      await Deno.chmod(join(spool, name), FILES.includes(name) ? 0o600 : 0o700);
      await using again = new FileSpool(spool);
      await again.open();
      assertEquals([...again.entries.keys()], ["a"]);
    });
  }

  if (name === "") continue;
  test(`No spool is opened in which "${name}" is another user's`, async () => {
    await using folder = await TestFolder.create();
    using watch = new DiskWatch(folder.path);
    await using first = new FileSpool(folder.path);
    await first.open();
    await first.add(addition("a"));
    await first.close();
    watch.owners.set(name, STRANGER);
    const error = await assertRejects(() => new FileSpool(folder.path).open());
    assertStringIncludes(reason(error), `it belongs to user ${STRANGER}`);
  });
}

test("No spool is opened on a file with a second name", async () => {
  await using folder = await TestFolder.create();
  const spool = join(folder.path, "spool");
  await Deno.mkdir(spool, { mode: 0o700 });
  await Deno.writeTextFile(join(folder.path, "target"), "mine");
  await Deno.link(join(folder.path, "target"), join(spool, "journal"));
  const error = await assertRejects(() => new FileSpool(spool).open());
  assertStringIncludes(reason(error), "it has 2 names");
  assertEquals(await Deno.readTextFile(join(folder.path, "target")), "mine");
});

function reason(error: unknown): string {
  return String(((error as Error).cause as Error).message);
}
