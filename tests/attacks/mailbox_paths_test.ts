/**
 * Path traversal: recipients that become names of files stay inside the store's
 * folder, are different files for different mailboxes, and are no name that
 * some file system takes for something else. How single names are made is in
 * `../store/mailbox_name_test.ts`.
 *
 * The promise of SECURITY.md: "Names of mailboxes and messages never leave
 * their folder".
 */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import type { MessageStore } from "../../lib/message/message.ts";
import { isWindows, testWhere } from "../support/platform.ts";
import { startServer, TestClient } from "../support/server.ts";
import { TestFolder } from "../support/folder.ts";
import { textOf, utf8 } from "../support/bytes.ts";

/** Recipients, each of which is a mailbox of its own. */
const RECIPIENTS = [
  '"../../../../etc/passwd"@d.test',
  '".."@d.test',
  '"."@d.test',
  '""@d.test',
  '"/"@d.test',
  '"/etc/passwd"@d.test',
  '"..\\\\..\\\\x"@d.test',
  '"C:\\\\x"@d.test',
  '"x/y"@d.test',
  "x%2Fy@d.test",
  "%2e%2e%2fx@d.test",
  "%@d.test",
  "%u002e@d.test",
  "_x@d.test",
  "con@d.test",
  "nul.txt@d.test",
  "aux.x@d.test",
  '"com1"@d.test',
  '"lpt1:"@d.test',
  '"a:stream"@d.test',
  '"a "@d.test',
  '"a."@d.test',
  '" a"@d.test',
  "-rf@d.test",
  "~root@d.test",
  "$HOME@d.test",
  "`id`@d.test",
  "*@d.test",
  "x.lock@d.test",
  '"x\\" "@d.test',
  '"a@d.test/"@d.test',
  "tmp@d.test",
  "cur@d.test",
  "new@d.test",
  `${"l".repeat(64)}@${"d".repeat(63)}.${"e".repeat(63)}.test`,
  `${"l".repeat(64)}@${"d".repeat(63)}.${"e".repeat(62)}f.test`,
  `"${"/".repeat(60)}"@${"d".repeat(63)}.${"e".repeat(63)}.test`,
  // The same to the eye, composed and decomposed: two mailboxes.
  "caf\u00e9@d.test",
  "cafe\u0301@d.test",
  "\u212aim@d.test",
  "kim@d.test",
  "\ufb01x@d.test",
  "fix@d.test",
  "\u202ecod.exe@d.test",
  "a\u2044b@d.test",
  "a\uff0fb@d.test",
  "u@[127.0.0.1]",
  "u@[IPv6:::1]",
  "postmaster",
];

/** Names that are the same file on some file system. */
function folded(name: string): string {
  return name.normalize("NFKC").toLowerCase().replace(/[. ]+$/, "");
}

const RESERVED = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;

for (
  const [kind, make] of [
    ["maildir", (folder: string) => new MaildirStore({ folder, sync: false })],
    ["mbox", (folder: string) => new MboxStore({ folder, sync: false })],
  ] as [string, (folder: string) => MessageStore][]
) {
  Deno.test(`No recipient leaves the folder of the ${kind} store, or gets another's mailbox`, async () => {
    await using folder = await TestFolder.create();
    const inside = join(folder.path, "a", "b", "mail");
    await using server = await startServer({ store: make(inside) });
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(["EHLO client.test", "250"]);
    for (const recipient of RECIPIENTS) {
      await client.expect(
        ["MAIL FROM:<a@b.test> SMTPUTF8", "250"],
        [`RCPT TO:<${textOf(utf8(recipient))}>`, "250"],
      );
      assertEquals((await client.data("x")).slice(0, 3), "250", recipient);
    }
    const names: string[] = [];
    for await (const { name, isSymlink } of Deno.readDir(inside)) {
      names.push(name);
      assert(/^[A-Za-z0-9%~@_+=][A-Za-z0-9%~@._+=-]*$/.test(name), name);
      assert(!/[. ]$/.test(name) && !RESERVED.test(name), name);
      assert(name.length <= 255 && !isSymlink, name);
    }
    assertEquals(names.length, RECIPIENTS.length, names.join("\n"));
    assertEquals(new Set(names.map(folded)).size, RECIPIENTS.length);
    // Only the store's own folders are there.
    for (
      const above of [
        folder.path,
        join(folder.path, "a"),
        join(folder.path, "a", "b"),
      ]
    ) {
      const beside: string[] = [];
      for await (const { name } of Deno.readDir(above)) beside.push(name);
      assertEquals(beside.length, 1, beside.join());
    }
  });
}

Deno.test("Two ways to write one mailbox are one mailbox", async () => {
  await using folder = await TestFolder.create();
  const inside = join(folder.path, "mail");
  await using server = await startServer({
    store: new MaildirStore({ folder: inside, sync: false }),
  });
  using client = await TestClient.connect(server);
  await client.envelope('"user"@d.test', "USER@D.test", '"us\\er"@d.TEST');
  assertEquals((await client.data("x")).slice(0, 3), "250");
  const names: string[] = [];
  for await (const { name } of Deno.readDir(inside)) names.push(name);
  assertEquals(names, ["user@d.test"]);
});

testWhere(!isWindows)(
  "No store follows a symbolic link that waits where a mailbox is to be",
  async () => {
    await using folder = await TestFolder.create();
    const inside = join(folder.path, "mail");
    const target = join(folder.path, "target");
    await Deno.mkdir(inside);
    await Deno.writeTextFile(target, "mine");
    await Deno.symlink(target, join(inside, "user@d.test"));
    await using server = await startServer({
      store: new MboxStore({ folder: inside, sync: false }),
      log: () => {},
    });
    using client = await TestClient.connect(server);
    await client.envelope("user@d.test");
    assertEquals((await client.data("x")).slice(0, 3), "451");
    assertEquals(await Deno.readTextFile(target), "mine");
  },
);
