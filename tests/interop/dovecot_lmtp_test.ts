/**
 * Mail goes into Dovecot by LMTP, by TCP and through a unix socket; and Dovecot
 * counts with the `maildirsize` that `MaildirStore` writes.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { Address } from "../../lib/protocol/address.ts";
import { Dovecot, giveToMailUser } from "../support/interop/dovecot.ts";
import { InteropServer } from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestFolder } from "../support/folder.ts";
import { messageOf } from "../support/store_message.ts";

const USERS = ["ann@example.com", "full@example.com", "bob@example.com"];
const NAMES = USERS.join(",");

/** Sends a message with swaks; gives the replies to its content, or the refusal before. */
async function swaks(
  port: number,
  options: { to: string; protocol?: "LMTP"; body?: string },
): Promise<string[]> {
  const { to, protocol, body = "It works." } = options;
  const { stdout } = await run("swaks", [
    ...["--server", `127.0.0.1:${port}`, "--from", "s@example.org"],
    ...["--to", to, "--helo", "client.example", "--hide-informational"],
    ...["--data", `Subject: swaks\\n\\n${body}\\n`],
    ...(protocol === undefined ? [] : ["--protocol", protocol]),
  ], { anyCode: true });
  const lines = stdout.split("\n");
  const end = lines.findIndex((line) => / -> \.$/.test(line));
  const replies = end < 0 ? /^<\*\* +(.*)$/ : /^<(?:\*\*|-) +(.*)$/;
  return lines.slice(Math.max(0, end)).map((line) => replies.exec(line)?.[1])
    .filter((line) => line !== undefined && !line.startsWith("221"))
    .map((line) => line!.slice(0, 9));
}

for (const place of ["unix", "tcp"] as const) {
  Deno.test(`Dovecot keeps what the server hands over (${place})`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await Deno.mkdir(`${cwd}/mail`);
    await giveToMailUser(`${cwd}/mail`);
    await using dovecot = await Dovecot.start({
      folder: cwd,
      location: `maildir:${cwd}/mail/%u`,
      quota: true,
      users: {
        "ann@example.com": "",
        "full@example.com": "*:bytes=10",
        "bob@example.com": "",
      },
    });
    const store = place === "unix"
      ? `lmtp:unix:${dovecot.lmtpPath}`
      : `lmtp:127.0.0.1:${dovecot.lmtpPort}`;
    await using server = await InteropServer.start(["--store", store], {
      cwd,
      listeners: ["smtp", "lmtp"],
    });
    const [smtp, lmtp] = server.ports as [number, number];

    // LMTP in front: each recipient has their own reply.
    assertEquals(await swaks(lmtp, { to: NAMES, protocol: "LMTP" }), [
      ...["250 2.0.0", "552 5.2.2", "250 2.0.0"],
    ]);
    // SMTP in front: one reply; a repetition is no second copy.
    for (let turn = 0; turn < 2; turn++) {
      assertEquals(await swaks(smtp, { to: NAMES }), ["451 4.3.0"]);
    }
    assertEquals(await swaks(smtp, { to: "full@example.com" }), ["552 5.2.2"]);
    assertEquals(await swaks(smtp, { to: "who@example.com" }), ["550 5.1.1"]);
    const another = { to: "ann@example.com", body: "Another." };
    assertEquals(await swaks(smtp, another), ["250 2.0.0"]);
    assertEquals((await dovecot.fetch("ann@example.com")).length, 3);
    assertEquals((await dovecot.fetch("bob@example.com")).length, 2);
    assertEquals(await dovecot.fetch("full@example.com"), []);
    const [text] = await dovecot.fetch("ann@example.com");
    assertMatch(text!, /^Return-Path: <s@example\.org>$/m);
    assertMatch(
      text!,
      /^Received: from client\.example [^]+by mx\.test with LMTP/m,
    );
    assertMatch(text!, /\n\nIt works\.\n/);
  });
}

Deno.test("Dovecot and the server count a mailbox by the same file", async () => {
  const user = "ann@example.com";
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  const mail = `${cwd}/mail`;
  const store = new MaildirStore({
    folder: mail,
    quota: { bytes: 100_000, messages: 50 },
    owners: "any",
  });
  const content = `Subject: x\r\n\r\n${"0123456789\r\n".repeat(100)}`;
  const send = async () =>
    await store.save(await messageOf({ to: [user], content }), {
      partial: false,
    });
  for (let count = 0; count < 10; count++) await send();
  const boxes = `${mail}/${user}`;
  for (const name of [".Trash", ".Sent"]) {
    for (const part of ["cur", "new", "tmp"]) {
      await Deno.mkdir(`${boxes}/${name}/${part}`, { recursive: true });
    }
    await Deno.writeTextFile(`${boxes}/${name}/cur/1.a:2,S`, "a: b\n\nc\n");
  }
  await Deno.remove(`${boxes}/maildirsize`);
  await send();
  await giveToMailUser(mail);
  await using dovecot = await Dovecot.start({
    folder: cwd,
    location: `maildir:${mail}/%u`,
    quota: true,
  });
  const sizeFile = `${user}/maildirsize`;
  const seen = await dovecot.quota(user);
  assertEquals(seen.messages, 12, "In the inbox and in Sent, not in Trash");
  assertEquals(seen.limit, "98", "KiB of the quota in the file");
  assertEquals(await dovecot.quota(user, { recalculate: true }), seen);
  // What Dovecot has counted by itself is what the store counts with.
  assertEquals(
    (await folder.read(`mail/${sizeFile}`)).split("\n")[0],
    "100000S,50C",
  );
  for (let count = 0; count < 38; count++) await send();
  const address = Address.parse(user);
  assertEquals(await store.hasRoom!(address, 0), false);
  await giveToMailUser(mail);
  assertEquals((await dovecot.quota(user)).messages, 50);
  await dovecot.expunge(user);
  assertEquals((await dovecot.quota(user)).messages, 1);
  assertEquals(await store.hasRoom!(address, 0), true);
  await send();
  assert((await folder.read(`mail/${sizeFile}`)).endsWith(" 1\n"));
  assertEquals(await dovecot.complaints(), []);
});

Deno.test("serve --quota fills a Maildir and no more", async () => {
  const to = "ann@example.com";
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(
    ["--store", "maildir:mail", "--quota", "1k", "--threads", "2"],
    { cwd },
  );
  const replies: string[] = [];
  for (let count = 0; count < 6 && replies.at(-1) !== "452 4.2.2"; count++) {
    replies.push(...await swaks(server.port, { to }));
  }
  assertEquals(replies.at(-1), "452 4.2.2");
  const stored = (await folder.files()).filter((path) =>
    path.includes("/new/")
  );
  assertEquals(stored.length, replies.length - 1);
  const large = { to, body: "x".repeat(2000) };
  assertEquals(await swaks(server.port, large), ["552 5.2.2"]);
  await giveToMailUser(`${cwd}/mail`);
  await using dovecot = await Dovecot.start({
    folder: cwd,
    location: `maildir:${cwd}/mail/%u`,
    quota: true,
  });
  assertEquals((await dovecot.quota(to)).messages, stored.length);
});
