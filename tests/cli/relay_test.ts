/** Relaying from the command line: the queue beside a server, lookup and send. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { FileSpool } from "../../lib/spool/file_spool.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasSignals, testWhere } from "../support/platform.ts";
import { addition } from "../support/queue/fixtures.ts";
import { startServer } from "../support/server.ts";
import { within } from "../support/wait.ts";

/** A spool with messages of these names, in its own folder. */
async function spoolWith(
  folder: TestFolder,
  ...ids: string[]
): Promise<string> {
  const path = `${folder.path}/spool`;
  await using spool = new FileSpool(path);
  await spool.open();
  for (const id of ids) await spool.add(addition(id));
  return path;
}

testWhere(hasSignals)(
  "cli relays for a network, and the queue can be changed while it runs",
  async () => {
    await using folder = await TestFolder.create();
    const store = new MemoryStore();
    let isOpen = false;
    await using far = await startServer({
      store,
      handlers: {
        onMailFrom: () =>
          isOpen
            ? undefined
            : new SmtpReply(450, "Later", { enhanced: "4.7.1" }),
      },
    });
    const spool = `${folder.path}/spool`;
    await using server = await CliServer.start([
      ...["--relay-from", "127.0.0.0/8", "--retry", "1h", "--spool", spool],
      ...["--smarthost", `127.0.0.1:${far.addresses[0]!.port}/none`],
      ...["--log", "json"],
    ], { cwd: folder.path });
    {
      await using client = await server.connect();
      await client.script(messageTo(["you@dest.test"]));
    }
    await server.logged(/"event":"delivery".*"result":"deferred"/);
    const queue = async (...args: string[]) =>
      await runCli(["queue", ...args, "--spool", spool]);
    const list = await queue("list", "--json");
    const { id, recipients } = JSON.parse(list.stdout);
    assertEquals(recipients[0].address, "you@dest.test");
    assertEquals(recipients[0].answer, "450 4.7.1 Later");
    assertStringIncludes((await queue()).stdout, `${id} <me@client.example>\n`);
    assertStringIncludes((await queue("show", id)).stdout, "450 4.7.1 Later");
    isOpen = true;
    const retry = await queue("retry", id);
    assertEquals(retry.stdout, `retry ${id}: asked of the running server\n`);
    const message = await within(store.next(), "the message");
    assertStringIncludes(message.text, "It works.");
    assertEquals((await server.end("SIGTERM")).code, 0);
    assertEquals((await queue("list")).stdout, "The queue is empty\n");
    // No message was for a mailbox of this server.
    assertEquals(
      (await folder.files()).filter((file) => /mail\//.test(file)),
      [],
    );
  },
);

Deno.test("cli queue holds, releases and removes without a server", async () => {
  await using folder = await TestFolder.create();
  const spool = await spoolWith(folder, "a1", "a2");
  const queue = async (...args: string[]) =>
    await runCli(["queue", ...args, "--spool", spool]);
  assertEquals((await queue("hold", "a1")).stdout, "hold a1: done\n");
  assertStringIncludes((await queue("show", "a1")).stdout, "a1 (held)\n");
  assertEquals((await queue("release", "all")).stdout, "release all: done\n");
  assertEquals((await queue("show", "a1")).stdout.includes("held"), false);
  const removed = await queue("remove", "a1", "--json");
  assertEquals(JSON.parse(removed.stdout), {
    action: "remove",
    id: "a1",
    outcome: "done",
  });
  assertStringIncludes((await queue()).stdout, "1 message, ");
  const gone = await queue("show", "a1");
  assertEquals([gone.code, gone.stdout], [1, ""]);
  assertStringIncludes(gone.stderr, 'There is no message "a1" in spool');
  assertEquals((await queue("remove", "all")).code, 0);
  assertEquals(
    (await queue("retry", "all")).stdout,
    "retry all: the queue is empty\n",
  );
});

Deno.test("cli queue, lookup and send refuse what they cannot use", async (t) => {
  await using folder = await TestFolder.create();
  const rows:
    readonly (readonly [args: string[], code: number, want: string])[] = [
      [["queue", "drop", "a1"], 2, 'want "list", or "show"'],
      [["queue", "hold"], 2, 'want "list", or "show"'],
      [["queue", "list", "a1"], 2, 'want "list", or "show"'],
      [["queue"], 1, 'There is no spool "./spool"'],
      [
        ["lookup", "soa", "a.test"],
        2,
        "want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt",
      ],
      [
        ["lookup", "mx"],
        2,
        "want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt",
      ],
      [["lookup", "mx", "a.test", "--dns", "ns"], 2, "--dns: "],
      [["lookup", "mx", "a b"], 1, "no MX record (not a name)"],
      [["send", "--to", "a@b.test"], 2, "want one file"],
      [["send", "x.eml"], 2, "--to: want at least one"],
      [["send", "--to", "postmaster", "-"], 2, "--to: "],
      [["send", "--to", "a@b.test", "--user", "a:b", "-"], 2, "want --server"],
      [["send", "--to", "a@b.test", "x.eml"], 1, 'Cannot read "x.eml"'],
      [
        [
          "send",
          "--server",
          "b:1",
          "--user",
          "sesame",
          "--to",
          "a@b.test",
          "-",
        ],
        2,
        "want NAME:SECRET",
      ],
    ];
  const outcomes = await Promise.all(
    rows.map(([args]) => runCli(args, { cwd: folder.path })),
  );
  for (const [index, [args, code, want]] of rows.entries()) {
    await t.step(args.join(" "), () => {
      const { stdout, stderr, code: got } = outcomes[index]!;
      assertEquals([got, stdout], [code, ""]);
      assertStringIncludes(stderr, want);
      assertEquals(stderr.includes("sesame"), false);
    });
  }
});

Deno.test("cli send shows by its exit code the fate of the message", async (t) => {
  await using folder = await TestFolder.create();
  const file = await folder.write("m.eml", "Subject: Hello\n\nText\n");
  const store = new MemoryStore();
  await using far = await startServer({
    store,
    handlers: {
      onRcptTo(_session, { localPart }) {
        if (localPart === "later") return new SmtpReply(450, "Later");
        return localPart !== "no";
      },
    },
  });
  const { port } = far.addresses[0]!;
  const send = async (...to: string[]) =>
    await runCli([
      ...["send", "--server", `127.0.0.1:${port}`, "--from", "me@near.test"],
      ...to.flatMap((name) => ["--to", `${name}@dest.test`]),
      file,
    ]);
  const rows = [
    [["you"], 0, /^you@dest\.test: delivered: 250 .*\n$/],
    [["you", "later"], 75, /\nlater@dest\.test: deferred: 450 Later/],
    [["later", "no"], 69, /\nno@dest\.test: refused: 550 /],
  ] as const;
  await t.step("--json", async () => {
    const { code, stdout } = await runCli([
      ...["send", "--server", `127.0.0.1:${port}`, "--from", "me@near.test"],
      ...["--to", "you@dest.test", "--to", "no@dest.test", "--json", file],
    ]);
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(code, 69);
    assertEquals(lines.map(({ recipient, status }) => [recipient, status]), [
      ["you@dest.test", "delivered"],
      ["no@dest.test", "refused"],
    ]);
    assertStringIncludes(lines[1].reply, "550 ");
  });
  for (const [to, code, want] of rows) {
    await t.step(to.join(", "), async () => {
      const outcome = await send(...to);
      assertEquals([outcome.code, outcome.stderr], [code, ""]);
      assert(want.test(outcome.stdout), outcome.stdout);
    });
  }
  assertEquals(store.messages.length, 3);
  assertEquals(store.messages[1]!.text.endsWith("\r\n\r\nText\r\n"), true);
});

Deno.test("cli send without --from sends as the account or this user, and says so", async (t) => {
  await using folder = await TestFolder.create();
  const file = await folder.write("m.eml", "Subject: Hello\n\nText\n");
  const seen: string[] = [];
  await using far = await startServer({
    store: new MemoryStore(),
    allowInsecureAuth: true,
    handlers: {
      onAuthenticate: () => true,
      onMailFrom(_session, address) {
        seen.push(String(address));
      },
    },
  });
  const { port } = far.addresses[0]!;
  const login = (name: string) => ["--user", `${name}:secret`];
  const host = ["--hostname", "here.example"];
  const rows: readonly {
    readonly args: readonly string[];
    readonly from: RegExp;
    readonly isTold: boolean;
  }[] = [
    { args: host, from: /^<?\S+@here\.example>?$/, isTold: true },
    {
      args: login("ann@near.test"),
      from: /^<?ann@near\.test>?$/,
      isTold: true,
    },
    {
      args: [...login("ann"), ...host],
      from: /^<?ann@here\.example>?$/,
      isTold: true,
    },
    {
      args: [...login("ann smith"), ...host],
      from: /^<?(?!ann)\S+@here\.example>?$/,
      isTold: true,
    },
    {
      args: [...login("ann"), "--from", "bob@near.test"],
      from: /^<?bob@near\.test>?$/,
      isTold: false,
    },
    {
      args: [...login("ann@near.test"), "--from", ""],
      from: /^(<>)?$/,
      isTold: false,
    },
    { args: ["--from="], from: /^(<>)?$/, isTold: false },
    { args: ["--from", "<>"], from: /^(<>)?$/, isTold: false },
  ];
  for (const { args, from, isTold } of rows) {
    await t.step(args.join(" "), async () => {
      const { code, stderr } = await runCli([
        ...["send", "--server", `127.0.0.1:${port}/none`],
        ...["--to", "you@dest.test", ...args, file],
      ]);
      assertEquals(code, 0, stderr);
      const sender = seen.pop()!;
      assert(from.test(sender), sender);
      const note = `note: --from is not given, sending as ${sender}\n`;
      assertEquals(stderr, isTold ? note : "");
    });
  }
});

Deno.test("cli serve does not start on a spool that another server uses", async () => {
  await using folder = await TestFolder.create();
  const spool = await spoolWith(folder);
  await using owner = new FileSpool(spool);
  await owner.open();
  const { code, stderr } = await runCli([
    ...["--listen", "127.0.0.1:0", "--relay", "--spool", spool],
  ]);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "another process has it");
});
