/**
 * Aliases and mailboxes of a domain: they hold for that domain alone, before the
 * server's. On sockets, by one thread and by two.
 */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import type { Message, MessageStore } from "../../lib/message/message.ts";
import { redirect } from "../../lib/protocol/redirect.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { AliasTable } from "../../lib/session/aliases.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { TestFolder } from "../support/folder.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";
import { sharesPorts } from "../support/platform.ts";

const THREADS = [0, ...sharesPorts ? [2] : []];
const OK = "250 2.1.5";
const UNKNOWN = "550 5.1.1";

/** The replies to RCPT for each address, in transactions of their own. */
async function replyTo(server: SmtpServer, address: string): Promise<string> {
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"], [
    "MAIL FROM:<a@a.test>",
    "250",
  ]);
  return (await client.say(`RCPT TO:<${address}>`)).slice(0, 9);
}

/** The addresses that a message to one address goes to. */
async function mailTo(
  server: SmtpServer,
  { address, store }: { readonly address: string; readonly store: MemoryStore },
): Promise<string> {
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@a.test>", "250"],
    [`RCPT TO:<${address}>`, "250"],
  );
  await client.data("Subject: x\r\n");
  const { recipients } = store.messages.at(-1)!;
  return recipients.map((one) => `${one.address}`).join();
}

for (const threads of THREADS) {
  const by = `(${threads} threads)`;

  Deno.test(`A domain's aliases and mailboxes come before the server's ${by}`, async () => {
    await using folder = await TestFolder.create();
    const names = await folder.write("names", "ann\nbob@b.test\n@a.test\n");
    const store = new MemoryStore();
    const asked: string[] = [];
    const records: LogRecord[] = [];
    const options: SmtpServerOptions = {
      ...{ threads, store, log: (record) => records.push(record) },
      recipientDelimiter: "+",
      localRecipients: ["ann"],
      aliases: {
        ...{ info: "ann", "sales@a.test": "server", root: "ann" },
        ...{ "@c.test": "ann", "@a.test": "eve" },
      },
      domains: {
        "a.test": {
          aliases: {
            ...{ info: "eve", "sales@a.test": "ann", "x@b.test": "ann" },
            "@a.test": "rest",
          },
          localRecipients: new Set(["ann", "eve", "rest", "kim@a.test"]),
        },
        "B.test": {
          aliases: AliasTable.parse("info: ann, ann@a.test\n"),
          localRecipients: { path: names },
        },
        "c.test": {},
        "d.test": {
          localRecipients({ localPart }) {
            asked.push(localPart);
            if (localPart === "down") throw new Error("database down");
            return localPart === "dan";
          },
        },
        "e.test": { localRecipients: "any" },
      },
    };
    await using server = await startServer(options);
    const mail = (address: string) => mailTo(server, { address, store });
    assertEquals(await mail("info@a.test"), "eve@a.test");
    assertEquals(await mail("info+x@A.TEST"), "eve@A.TEST");
    assertEquals(await mail("sales@a.test"), "ann@a.test");
    assertEquals(await mail("info@b.test"), "ann@b.test,ann@a.test");
    assertEquals(await mail("info@c.test"), "ann@c.test");
    // The server's name goes before the domain's catch-all, mailboxes as well.
    assertEquals(await mail("root@a.test"), "ann@a.test");
    assertEquals(await mail("kim@a.test"), "kim@a.test");
    assertEquals(await mail("other@a.test"), "rest@a.test");
    assertEquals(await mail("other@c.test"), "ann@c.test");
    const replies: Record<string, string> = {
      "eve@b.test": UNKNOWN,
      "bob@b.test": OK,
      // A name of another domain in the file says nothing here.
      "kim@b.test": UNKNOWN,
      "x@b.test": UNKNOWN,
      "dan@d.test": OK,
      "dan+x@d.test": OK,
      "ann@d.test": UNKNOWN,
      "down@d.test": "451 4.3.0",
      "anyone@e.test": OK,
      "ann@f.test": "550 5.7.1",
    };
    for (const [address, reply] of Object.entries(replies)) {
      assertEquals(await replyTo(server, address), reply, address);
    }
    assertEquals(asked, ["dan", "dan+x", "dan", "ann", "down"]);
    const warned = records.some(({ message }) =>
      message ===
        'Alias "x@b.test" has no effect: it stands among those of "a.test"'
    );
    assertEquals(warned, true);
    await server.reload({
      domains: {
        "a.test": { aliases: { info: "kim" }, localRecipients: () => true },
        "d.test": {},
      },
    });
    assertEquals(await mail("info@a.test"), "kim@a.test");
    assertEquals(await replyTo(server, "any@a.test"), OK);
    assertEquals(await replyTo(server, "dan@d.test"), UNKNOWN);
    assertEquals(await replyTo(server, "anyone@e.test"), "550 5.7.1");
    await assertRejects(
      () =>
        server.reload({
          domains: { "a.test": { localRecipients: { path: "/nowhere" } } },
        }),
      Deno.errors.NotFound,
    );
    assertEquals(await mail("info@a.test"), "kim@a.test");
  });

  Deno.test(`Files of a domain are read again, with one warning ${by}`, async () => {
    await using folder = await TestFolder.create();
    const path = await folder.write("aliases", "info: ann\n");
    const names = await folder.write("names", "ann\n");
    const records: LogRecord[] = [];
    await using server = await startServer({
      threads,
      log: (record) => records.push(record),
      domains: {
        "a.test": {
          aliases: await AliasTable.load(path),
          localRecipients: { path: names },
        },
        "b.test": { localRecipients: [], aliases: { gone: "away" } },
      },
    });
    const about = (text: string) =>
      records.filter(({ message }) => message.includes(text)).length;
    assertEquals(await replyTo(server, "new@a.test"), UNKNOWN);
    await folder.write("aliases", "new: ann\nlost: away\n");
    // Enough of them for every thread to look.
    const accepted = async (address: string) => {
      const replies = await Promise.all(
        Array.from({ length: 8 }, () => replyTo(server, address)),
      );
      return replies.every((reply) => reply === OK);
    };
    await until(() => accepted("new@a.test"));
    await until(() => about('Alias "lost" leads to') > 0);
    await folder.write("names", "ann\nbob\nnot a name\n");
    await until(async () => {
      await accepted("new@a.test");
      return about("Cannot reread") > 0;
    });
    await folder.write("names", "ann\nbob\n");
    await until(() => accepted("bob@a.test"));
    await until(() => about('Alias "lost" leads to') > 1);
    assertEquals(about('Alias "lost" leads to'), 2);
    assertEquals(about("Cannot reread"), 1);
    // Only the tables of the files that changed are looked through again.
    assertEquals(about('Alias "gone" leads to'), 1);
  });

  Deno.test(`A full mailbox in a domain's store is refused at RCPT ${by}`, async () => {
    class SmallStore extends MemoryStore {
      hasRoom({ localPart }: { readonly localPart: string }): boolean {
        return localPart !== "full";
      }
    }
    await using server = await startServer({
      threads,
      domains: { "a.test": { store: new SmallStore() }, "b.test": {} },
    });
    assertEquals(await replyTo(server, "full@a.test"), "452 4.2.2");
    assertEquals(await replyTo(server, "full@b.test"), OK);
  });

  Deno.test(`A session keeps the stores of its domains over a reload ${by}`, async () => {
    const shared = new MemoryStore();
    const later = new MemoryStore();
    await using server = await startServer({
      threads,
      domains: { "a.test": { store: shared }, "b.test": { store: shared } },
    });
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(
      ["EHLO client.test", "250"],
      ["MAIL FROM:<a@a.test>", "250"],
      ["RCPT TO:<bob@b.test>", "250"],
    );
    await server.reload({
      domains: { "a.test": { store: later }, "b.test": { store: shared } },
    });
    await client.data("Subject: x\r\n");
    assertEquals(later.messages.length, 0);
    assertEquals(shared.messages.length, 1);
  });

  Deno.test(`A reload takes lists of mailboxes that can be read once ${by}`, async () => {
    await using server = await startServer({ threads, domains: ["a.test"] });
    for (const localRecipients of [new Set(["ann"]), ["ann"].values()]) {
      await server.reload({ domains: { "a.test": { localRecipients } } });
      assertEquals(await replyTo(server, "ann@a.test"), OK);
      assertEquals(await replyTo(server, "bob@a.test"), UNKNOWN);
    }
  });

  Deno.test(`Of two reloads at once the later is in force ${by}`, async () => {
    await using folder = await TestFolder.create();
    const many = Array.from({ length: 20_000 }, (_, at) => `user${at}\n`);
    const slow = await folder.write("slow", many.join(""));
    const quick = await folder.write("quick", "ann\n");
    await using server = await startServer({ threads, domains: ["a.test"] });
    for (let round = 0; round < 3; round++) {
      const reloads = [
        server.reload({ localRecipients: { path: slow } }),
        server.reload({ localRecipients: { path: "/nowhere" } }),
        server.reload({ localRecipients: { path: quick } }),
      ];
      const ends = await Promise.allSettled(reloads);
      assertEquals(ends.map(({ status }) => status), [
        ...["fulfilled", "rejected", "fulfilled"],
      ]);
      assertEquals(await replyTo(server, "ann@a.test"), OK);
      assertEquals(await replyTo(server, "user1@a.test"), UNKNOWN);
    }
  });
}

Deno.test("A recipient that becomes one in a smaller domain is refused at RCPT", async () => {
  await using server = await startServer({
    domains: {
      "a.test": { aliases: { info: "ann@b.test" } },
      "b.test": { maxSize: 1000 },
    },
    handlers: {
      onRcptTo: (_session, { localPart }) =>
        localPart === "moved" ? redirect("ann@b.test") : undefined,
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@a.test> SIZE=2000", "250"],
    ["RCPT TO:<ann@a.test>", "250"],
    ["RCPT TO:<info@a.test>", "552 5.3.4"],
    ["RCPT TO:<moved@a.test>", "552 5.3.4"],
    ["RCPT TO:<ann@b.test>", "552 5.3.4"],
  );
});

Deno.test("The size of the domain that the client named holds behind an alias", async () => {
  const store: MessageStore = {
    kind: "test",
    save: (_message: Message) => Promise.resolve(),
  };
  await using server = await startServer({
    store,
    domains: {
      "a.test": { maxSize: 100, aliases: { info: "ann@b.test" } },
      "b.test": {},
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@a.test>", "250"],
    ["RCPT TO:<info@a.test>", "250"],
  );
  const reply = await client.data(`Subject: ${"x".repeat(200)}\r\n`);
  assertEquals(reply.slice(0, 9), "552 5.3.4");
});

Deno.test("Aliases and mailboxes of domains are checked when the server is made", () => {
  const refused = (domain: unknown, text: string) =>
    assertThrows(
      () => new SmtpServer({ domains: { "a.test": domain } } as never),
      Error,
      text,
    );
  refused(
    { aliases: { "a b": "ann" } },
    'Cannot use domains["a.test"].aliases: Cannot use the name "a b"',
  );
  refused({ aliases: "info: ann" }, 'domains["a.test"].aliases');
  refused({ localRecipients: "all" }, 'domains["a.test"].localRecipients');
  refused({ localRecipients: [1] }, 'domains["a.test"].localRecipients');
  refused({ localRecipients: ["@"] }, 'domains["a.test"].localRecipients');
});

for (const threads of [0, ...sharesPorts ? [1] : []]) {
  Deno.test(`No handler is asked about a recipient after the end of the session (${threads} threads)`, async () => {
    const slow = Promise.withResolvers<boolean>();
    const calls: string[] = [];
    await using server = await startServer({
      ...{ threads, domains: ["a.test"], log: () => {} },
      limits: { handlerTimeoutMs: 100 },
      localRecipients: ({ localPart }) =>
        localPart === "slow" ? slow.promise : true,
      handlers: {
        onRcptTo: (_session, address) => void calls.push(`${address}`),
        onDisconnect: () => void calls.push("end"),
      },
    });
    assertEquals(await replyTo(server, "slow@a.test"), "421 4.3.0");
    await until(() => calls.includes("end"));
    slow.resolve(true);
    // Its answer comes behind that of the first.
    assertEquals(await replyTo(server, "ann@a.test"), OK);
    assertEquals(calls.slice(0, 2), ["end", "ann@a.test"]);
  });
}
