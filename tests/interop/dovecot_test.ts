/**
 * Dovecot reads what the stores wrote: a Maildir, a mailbox file, and a mailbox
 * file that the server goes on appending to while POP3 sessions remove from it.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4155 | RFC 4155}
 */

import { assert, assertEquals } from "@std/assert";
import {
  Dovecot,
  giveToMailUser,
  Pop3Client,
} from "../support/interop/dovecot.ts";
import {
  assertStored,
  awkwardMessage,
  InteropServer,
  readMbox,
} from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

const USER = "user@example.com";

/** Hands one message over. */
async function send(
  options: { port: number; folder: string; subject: string },
): Promise<string> {
  const message = dovecotMessage(options.subject);
  await run("curl", [
    ...["-sS", `smtp://127.0.0.1:${options.port}/client.example`],
    ...["--mail-from", "sender@example.org", "--mail-rcpt", USER, "-T", "-"],
  ], { input: bytesOf(message), cwd: options.folder });
  return message;
}

/** An awkward message in ASCII: doveadm prints its results as UTF-8. */
function dovecotMessage(subject: string): string {
  return awkwardMessage(subject).replaceAll(/[^\0-\x7f]/g, "?");
}

for (const kind of ["maildir", "mbox"]) {
  Deno.test(`doveadm fetches what the ${kind} store wrote`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await InteropServer.start(
      ["--store", `${kind}:mail`],
      { cwd },
    );
    const sent: string[] = [];
    for (const subject of ["one", "two", "three"]) {
      sent.push(await send({ port: server.port, folder: cwd, subject }));
    }
    await giveToMailUser(`${cwd}/mail`);
    await using dovecot = await Dovecot.start({
      folder: cwd,
      location: kind === "maildir"
        ? `maildir:${cwd}/mail/%u`
        : `mbox:${cwd}/home/mail:INBOX=${cwd}/mail/%u`,
    });
    const fetched = await dovecot.fetch(USER);
    assertEquals(await dovecot.complaints(), []);
    assertEquals(fetched.length, sent.length);
    for (const message of sent) {
      const [subject] = /^Subject: .*$/m.exec(message)!;
      const copy = fetched.find((text) => text.includes(`${subject.trim()}\n`));
      assertStored(copy, {
        // Dovecot leaves the quoting of a mailbox file as it is.
        sent: kind === "mbox"
          ? message.replaceAll(/^(>*From )/gm, ">$1")
          : message,
        from: "sender@example.org",
        protocol: "ESMTP",
      });
    }
  });
}

/**
 * Reads and removes the first message, as often as the mailbox can be had,
 * until told to stop; keeps what it took away.
 */
async function removeSome(
  port: number,
  state: { done: boolean; taken: string[] },
): Promise<void> {
  while (!state.done) {
    using client = await Pop3Client.connect(port);
    if (!await client.login(USER)) continue;
    if (await client.count() > 0) {
      state.taken.push(await client.retrieve(1));
      await client.command("DELE 1");
    }
    await client.command("QUIT");
  }
}

Deno.test("POP3 sessions of Dovecot remove from the mailbox that the server appends to", async () => {
  const count = 200;
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  const mailbox = `${cwd}/mail/${USER}`;
  await Deno.mkdir(`${cwd}/mail`);
  await Deno.writeTextFile(mailbox, "");
  await giveToMailUser(`${cwd}/mail`);
  await using server = await InteropServer.start(["--store", "mbox:mail"], {
    cwd,
  });
  await using dovecot = await Dovecot.start({
    folder: cwd,
    location: `mbox:${cwd}/home/mail:INBOX=${cwd}/mail/%u`,
  });
  const state = { done: false, taken: [] as string[] };
  const removing = removeSome(dovecot.port, state);
  try {
    await run("smtp-source", [
      ...["-s", "5", "-m", String(count), "-l", "3000", "-M", "client.example"],
      ...["-f", "sender@example.org", "-t", USER, `127.0.0.1:${server.port}`],
    ]);
  } finally {
    state.done = true;
    await removing;
  }

  assertEquals(await dovecot.complaints(), []);

  // The messages that Dovecot left in the file, without its own header fields.
  const left = (await readMbox(mailbox)).filter((text) =>
    !text.includes("DON'T DELETE THIS MESSAGE")
  );
  const all = [...state.taken, ...left];
  assert(state.taken.length > 0, "No session removed a message");
  assertEquals(all.length, count);
  assertEquals(
    new Set(all.map((text) => /^Message-Id: .*$/mi.exec(text)?.[0])).size,
    count,
  );
  const bodies = all.map((text) => text.slice(text.indexOf("\n\n")));
  assertEquals(new Set(bodies).size, 1);
});
