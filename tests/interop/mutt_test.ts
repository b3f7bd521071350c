/** mutt opens the Maildir that the store wrote and copies every message out of it. */

import { assertEquals } from "@std/assert";
import {
  assertStored,
  awkwardMessage,
  InteropServer,
  readMaildir,
} from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

/** mutt without questions, which then copies all messages to `target` and leaves. */
function configuration(folder: string, target: string): string {
  return `
set folder="${folder}"
set record="" header_cache="" mbox_type=Maildir
set copy=yes delete=no move=no quit=yes
set confirmappend=no confirmcreate=no mark_old=no wait_key=no
push "<tag-pattern>~A<enter><tag-prefix><copy-message>${target}<enter><exit>"
`;
}

Deno.test("mutt reads the Maildir", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const sent = ["one", "two", "three"].map((name) => awkwardMessage(name));
  for (const message of sent) {
    await run("curl", [
      ...["-sS", `smtp://127.0.0.1:${server.port}/client.example`],
      ...["--mail-from", "sender@example.org"],
      ...["--mail-rcpt", "user@example.com", "-T", "-"],
    ], { input: bytesOf(message) });
  }
  const maildir = `${cwd}/mail/user@example.com`;
  await Deno.writeTextFile(
    `${cwd}/muttrc`,
    configuration(cwd, `${cwd}/copies`),
  );
  // mutt needs a terminal: script provides one.
  await run("script", [
    ...["-qec", `mutt -n -F ${cwd}/muttrc -f ${maildir}`, "/dev/null"],
  ], { env: { TERM: "vt100", HOME: cwd } });
  // mutt adds two header fields.
  const copies = (await readMaildir(`${cwd}/copies`)).map((text) =>
    text.replace(/^(Content-Length|Lines): .*\n/gm, "")
  );
  assertEquals(copies.length, sent.length);
  for (const message of sent) {
    const [subject] = /^Subject: \w+/m.exec(message)!;
    const copy = copies.find((text) => text.includes(`${subject}\n`));
    assertStored(copy, {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTP",
    });
  }
  assertEquals((await readMaildir(maildir)).length, sent.length);
});
