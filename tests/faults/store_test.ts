/**
 * Folders that vanish, turn into something else or lose their permissions while
 * the server runs: clients get a 4xx reply, no acknowledged message is lost, and
 * the server goes on when the folder is there again.
 *
 * The promise of SECURITY.md: "250 means kept".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-6.1 | RFC 5321 section 6.1}
 */

import { assert, assertEquals } from "@std/assert";
import type { ScriptedClient } from "@smtp/server/testing";
import { CliServer, messageTo } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes } from "../support/platform.ts";

const ignore = !hasFileModes;
const STORES = ["maildir:mail", "mbox:mail", "file:mail", "mbox:mail/all.mbox"];
const FAILED = "S: 451 4.3.0 ...";
const DONE = "S: 250 2.0.0 ...";

/** Sends a message in a session of its own; gives the last reply. */
async function send(
  server: CliServer,
  { subject, want, lines = 1 }: {
    readonly subject: string;
    readonly want: string;
    readonly lines?: number;
  },
): Promise<void> {
  await using client: ScriptedClient = await server.connect();
  const content = [
    `Subject: ${subject}`,
    "",
    ...Array(lines).fill("x".repeat(70)),
  ];
  await client.script(
    messageTo(["you@example.com"], { lines: content }).replace(DONE, want),
  );
}

/** The subjects of all messages below the folder. */
async function kept(folder: TestFolder): Promise<string[]> {
  const subjects: string[] = [];
  for (const file of await folder.files()) {
    const text = await folder.read(file);
    for (const [, subject] of text.matchAll(/^Subject: (\S+)/gm)) {
      subjects.push(subject!);
    }
  }
  return subjects.sort();
}

/** Faults of the folder `mail`: how each is caused and how it is mended. */
const FAULTS: Readonly<
  Record<
    string,
    readonly [
      begin: (path: string) => Promise<void>,
      end: (path: string) => Promise<void>,
    ]
  >
> = {
  "is a file": [
    async (path) => {
      await Deno.rename(path, `${path}.away`);
      await Deno.writeTextFile(path, "");
    },
    async (path) => {
      await Deno.remove(path);
      await Deno.rename(`${path}.away`, path);
    },
  ],
  "is a link to nowhere": [
    async (path) => {
      await Deno.rename(path, `${path}.away`);
      await Deno.symlink("/nonexistent/folder", path);
    },
    async (path) => {
      await Deno.remove(path);
      await Deno.rename(`${path}.away`, path);
    },
  ],
};

for (const store of STORES) {
  for (const [fault, [begin, end]] of Object.entries(FAULTS)) {
    Deno.test({
      name:
        `--store ${store} whose folder ${fault}: 451, and 250 when it is back`,
      ignore,
      async fn() {
        await using folder = await TestFolder.create();
        await using server = await CliServer.start([
          "--store",
          store,
          "--log",
          "json",
        ], {
          cwd: folder.path,
        });
        await send(server, { subject: "before", want: DONE });
        await begin(`${folder.path}/mail`);
        await send(server, { subject: "small", want: FAILED });
        await send(server, { subject: "large", want: FAILED, lines: 8000 });
        await end(`${folder.path}/mail`);
        await send(server, { subject: "after", want: DONE });
        assertEquals(await kept(folder), ["after", "before"]);
        const { code, stderr } = await server.end("SIGTERM");
        assertEquals(code, 0);
        const errors = stderr.split("\n").filter((line) =>
          line.includes('"level":"error"')
        );
        assertEquals(errors.length, 2);
        for (const line of errors) {
          assert(/Store \\?"(maildir|mbox|file)\\?" failed/.test(line), line);
        }
      },
    });
  }

  Deno.test({
    name: `--store ${store} makes its folder again when it has been removed`,
    ignore,
    async fn() {
      await using folder = await TestFolder.create();
      await using server = await CliServer.start(["--store", store], {
        cwd: folder.path,
      });
      await send(server, { subject: "before", want: DONE });
      await Deno.remove(`${folder.path}/mail`, { recursive: true });
      await send(server, { subject: "after", want: DONE });
      assertEquals(await kept(folder), ["after"]);
      assertEquals((await server.end("SIGTERM")).code, 0);
    },
  });
}

Deno.test({
  name:
    "a folder for temporary files that is missing: large messages are put off, small ones are kept",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const temporary = `${folder.path}/temporary`;
    await Deno.mkdir(temporary);
    await using server = await CliServer.start(["--store", "maildir:mail"], {
      cwd: folder.path,
      env: { TMPDIR: temporary },
    });
    await send(server, { subject: "before", want: DONE, lines: 8000 });
    await Deno.remove(temporary, { recursive: true });
    await send(server, {
      subject: "large",
      want: "S: 452 4.3.1 ...",
      lines: 8000,
    });
    await send(server, { subject: "small", want: DONE });
    await Deno.mkdir(temporary);
    await send(server, { subject: "after", want: DONE, lines: 8000 });
    assertEquals(await kept(folder), ["after", "before", "small"]);
    assertEquals((await server.end("SIGTERM")).code, 0);
  },
});

Deno.test({
  name:
    "a spool whose folder goes away: mail for others is put off, and goes on when it is back",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/spool`;
    await using server = await CliServer.start([
      ...["--store", "maildir:mail", "--domain", "example.com"],
      ...["--relay-from", "127.0.0.1/32", "--spool", path],
      // No server listens on port 9 (discard): the message waits.
      ...["--smarthost", "127.0.0.1:9", "--retry", "1h"],
    ], { cwd: folder.path });
    const relayed = async (want: string) => {
      await using client = await server.connect();
      await client.script(messageTo(["you@example.org"]).replace(DONE, want));
    };
    await relayed(DONE);
    await Deno.rename(`${path}/messages`, `${path}/away`);
    await relayed("S: 452 4.3.1 ...");
    await send(server, { subject: "local", want: DONE });
    await Deno.rename(`${path}/away`, `${path}/messages`);
    await relayed(DONE);
    assertEquals((await server.end("SIGTERM")).code, 0);
    const waiting = [...Deno.readDirSync(`${path}/messages`)];
    assertEquals(waiting.length, 2);
  },
});
