/**
 * strace on the real program: the writes, syncs and renames that it has asked for
 * by the time the client reads 250, and the modes of its files. The disk's part is
 * in `durability_test.ts` of the stores and of the spool.
 *
 * The promise of SECURITY.md: "250 means kept".
 */

import { assert, assertEquals } from "@std/assert";
import { ScriptedClient } from "@smtp/server/testing";
import { messageTo } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { InteropServer } from "../support/interop/server.ts";
import { ScriptedHop } from "../support/client/scripted_hop.ts";
import { namesIn } from "../support/store_message.ts";
import {
  type Call,
  modesBelow,
  readCalls,
  removalsOf,
  saying,
  straceCommand,
  survey,
  syncsOf,
  writesTo,
} from "../support/system_calls.ts";
import { DEADLINE_MS, until } from "../support/wait.ts";

const ACCEPTED = "250 2.0.0 Message accepted";
/** More than a message may have in memory. */
const LARGE = Array.from({ length: 8000 }, () => "x".repeat(70));

/** Runs the server under strace, and gives its calls once it has ended. */
async function trace(
  args: readonly string[],
  options: {
    readonly cwd: string;
    readonly use: (server: InteropServer) => Promise<void>;
  },
): Promise<Call[]> {
  const { cwd, use } = options;
  await Deno.mkdir(`${cwd}/tmp`);
  await Deno.mkdir(`${cwd}/data`);
  {
    await using server = await InteropServer.start(args, {
      cwd: `${cwd}/data`,
      under: straceCommand(`${cwd}/calls`),
      env: { TMPDIR: `${cwd}/tmp` },
    });
    await use(server);
    assertEquals(await server.stop(), 0);
  }
  return readCalls(await Deno.readTextFile(`${cwd}/calls`));
}

async function send(
  server: InteropServer,
  lines?: readonly string[],
): Promise<void> {
  const client = await ScriptedClient.connect(
    { address: "127.0.0.1", port: server.port },
    { timeoutMs: DEADLINE_MS },
  );
  try {
    await client.script(
      messageTo(["you@example.com"], lines === undefined ? {} : { lines }),
    );
  } finally {
    client.close();
  }
}

const STORES: readonly {
  readonly store: string;
  /** The mailbox's files, of all that are below the working folder. */
  readonly isMail: RegExp;
  /** Whether each message has a file of its own. */
  readonly each: boolean;
}[] = [
  {
    store: "maildir:a/mail",
    isMail: /^a\/mail\/you@example\.com\/new\//,
    each: true,
  },
  { store: "mbox:a/mail", isMail: /^a\/mail\/you@example\.com$/, each: false },
  { store: "mbox:a/all.mbox", isMail: /^a\/all\.mbox$/, each: false },
  { store: "file:a/mail", isMail: /^a\/mail\/[^/]+\.eml$/, each: true },
];

for (const { store, isMail, each } of STORES) {
  for (const threads of [0, 2]) {
    Deno.test(`A message is synced, named and its folders synced before the client reads 250: ${store}, new mailbox and old, ${threads} threads`, async () => {
      await using folder = await TestFolder.create();
      const cwd = await Deno.realPath(folder.path);
      const calls = await trace(
        ["--store", store, "--threads", String(threads)],
        {
          cwd,
          async use(server) {
            await send(server);
            await send(server);
            await send(server, LARGE);
          },
        },
      );
      const replies = saying(calls, ACCEPTED);
      assertEquals(replies.length, 3);
      for (const [index, reply] of replies.entries()) {
        const { files, losses } = survey(calls, `${cwd}/data`, reply);
        const mail = files.filter((path) => isMail.test(path));
        assertEquals(mail.length, each ? index + 1 : 1);
        const writes = mail.flatMap((path) =>
          writesTo(calls, `${cwd}/data/${path}`)
        ).filter(({ to }) => to < reply.from);
        if (!each) assert(writes.length > index, "Nothing was written");
        assertEquals(losses, []);
      }
      for (const [path, mode] of modesBelow(calls, cwd)) {
        // The content of a lock is for other programs.
        const want = path.endsWith(".lock") ? ["0644"] : ["0600", "0700"];
        assert(want.includes(mode), `${path} was made with mode ${mode}`);
      }
      const temporary = [...modesBelow(calls, `${cwd}/tmp`)];
      assertEquals(temporary.map(([, mode]) => mode), ["0600"]);
    });
  }
}

for (const size of ["small", "large"] as const) {
  Deno.test(`The spool syncs a ${size} message before 250, its progress when a try fails, and that it is gone before its record goes`, async () => {
    await using folder = await TestFolder.create();
    const cwd = await Deno.realPath(folder.path);
    const delivered = Promise.withResolvers<void>();
    let tries = 0;
    let isContent = false;
    await using hop = new ScriptedHop((line) => {
      if (isContent) {
        if (line !== ".") return undefined;
        isContent = false;
        delivered.resolve();
        return "250 kept";
      }
      if (line.startsWith("EHLO")) return "250 hop";
      if (line.startsWith("RCPT")) {
        return ++tries === 1 ? "450 4.2.0 not now" : "250 good";
      }
      if (line === "DATA") {
        isContent = true;
        return "354 go on";
      }
      return line === "QUIT" ? "221 bye" : "250 good";
    });
    const calls = await trace([
      ...["--relay-from", "127.0.0.0/8", "--domain", "near.test"],
      ...["--smarthost", `127.0.0.1:${hop.port}/none`, "--chunking=no"],
      ...["--spool", "a/b/spool", "--retry", "10ms", "--store", "discard"],
    ], {
      cwd,
      async use(server) {
        await send(server, size === "large" ? LARGE : undefined);
        await delivered.promise;
        await until(async () =>
          (await namesIn(`${cwd}/data/a/b/spool/messages`)).length === 0
        );
      },
    });
    const data = `${cwd}/data`;
    const spool = `${data}/a/b/spool`;

    // Accept: the record and every folder above it.
    const [reply] = saying(calls, ACCEPTED);
    const { files, losses } = survey(calls, data, reply!);
    const records = files.filter((path) =>
      path.startsWith("a/b/spool/messages/")
    );
    assertEquals(records.length, 1);
    // The journal's entry of a new message may be lost: its record has it.
    // The reserve only holds room on the disk.
    const idle = /^(content .*\/journal|(content|name) .*\/reserve)$/;
    assertEquals(losses.filter((loss) => !idle.test(loss)), []);

    // Change: the result of the failed attempt is synced when the next one begins.
    const journal = writesTo(calls, `${spool}/journal`);
    const syncs = syncsOf(calls, `${spool}/journal`);
    const syncAfter = (write: Call) =>
      syncs.find(({ from }) => from > write.to)!;
    const change = journal.find(({ args }) => args.includes("4.2.0"))!;
    const [, secondTry] = saying(calls, "MAIL FROM:<me@client.example>");
    assert(syncAfter(change).to < secondTry!.from, "The next try came first");

    // Remove: the journal records it before the file is removed.
    const gone = journal.findLast(({ to }) => to > secondTry!.to)!;
    const [removal] = removalsOf(calls, data, records[0]!);
    assert(removal !== undefined, "The record stayed");
    assert(syncAfter(gone).to < removal.from, "The record went first");

    for (const [path, mode] of modesBelow(calls, data)) {
      assert(["0600", "0700"].includes(mode), `${path} has mode ${mode}`);
    }
  });
}
