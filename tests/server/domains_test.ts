/**
 * Settings of a domain: its store and size by the recipient's domain, its
 * smarthost and login by the domain of the login. On sockets, on
 * one thread and on two, with real files.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { MessageStore } from "../../lib/message/message.ts";
import { SmtpError } from "../../lib/protocol/reply.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MboxStore } from "../../lib/store/mbox_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { TestFolder } from "../support/folder.ts";
import { TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

async function start(options: SmtpServerOptions): Promise<SmtpServer> {
  const server = new SmtpServer({
    listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
    hostname: "mx.test",
    log: () => {},
    ...options,
  });
  await server.start();
  return server;
}

/** Sends a message; gives the replies to RCPT and to the content. */
async function send(
  server: SmtpServer,
  recipients: readonly string[],
  { lmtp = false, declared = "", content = "Subject: x\r\n\r\nx" } = {},
): Promise<string[]> {
  using client = await TestClient.connect(server, lmtp ? 1 : 0);
  await client.reply();
  await client.expect([`${lmtp ? "LHLO" : "EHLO"} client.test`, "250"], [
    `MAIL FROM:<a@sender.test>${declared}`,
    "250",
  ]);
  const replies: string[] = [];
  for (const recipient of recipients) {
    replies.push(await client.say(`RCPT TO:<${recipient}>`));
  }
  const accepted = replies.filter((reply) => reply.startsWith("250")).length;
  if (accepted > 0) {
    await client.expect(["DATA", "354"]);
    await client.send(`${content}\r\n.\r\n`);
    for (let at = 0; at < (lmtp ? accepted : 1); at++) {
      replies.push(await client.reply());
    }
  }
  return replies.map((reply) => reply.split(" ").slice(0, 2).join(" "));
}

/** The addresses for which a store has mail. */
function got(store: MemoryStore): string[] {
  return store.messages.flatMap(({ recipients }) =>
    recipients.map(({ address }) => String(address))
  ).sort();
}

const OK = ["250 2.1.5", "250 2.0.0"];

for (const threads of [0, 2]) {
  const name = `${threads} threads`;

  Deno.test(`A message for several domains is in the store of each (${name})`, async () => {
    await using folder = await TestFolder.create();
    const one = new MemoryStore();
    const others = new MemoryStore();
    await using server = await start({
      threads,
      store: others,
      domains: {
        "a.test": { store: one },
        "A2.test": { store: one },
        "b.test": { store: new MaildirStore({ folder: `${folder.path}/b` }) },
        "bücher.test": {
          store: new MboxStore({ folder: `${folder.path}/c`, locks: [] }),
        },
        "d.test": {},
      },
    });
    const recipients = [
      ...["x@a.test", "x@a2.test", "x@b.test", "y@B.test"],
      ...["x@xn--bcher-kva.test", "x@d.test"],
    ];
    const replies = await send(server, [...recipients, "x@e.test"]);
    assertEquals(replies, [...Array(6).fill(OK[0]), "550 5.7.1", OK[1]]);
    assertEquals(got(one), ["x@a.test", "x@a2.test"]);
    assertEquals(one.messages.length, 1);
    assertEquals(got(others), ["x@d.test"]);
    const files = (await folder.files()).map((path) =>
      path.replace(/\/new\/.*/, "/new")
    );
    assertEquals(files, [
      "b/x@b.test/new",
      "b/y@b.test/new",
      "c/x@xn--bcher-kva.test",
    ]);
  });

  Deno.test(`Mail for no domain by name is not lost where only domains have stores (${name})`, async () => {
    const first = new MemoryStore();
    const others = new MemoryStore();
    await using server = await start({
      threads,
      domains: { "a.test": { store: first }, "b.test": { store: others } },
    });
    const to = ["postmaster", "x@[127.0.0.1]", "x@b.test"];
    await send(server, to);
    assertEquals(got(first), ["postmaster", "x@[127.0.0.1]"]);
    assertEquals(got(others), ["x@b.test"]);
  });

  Deno.test(`What a program's functions find is not passed on (${name})`, async () => {
    const row: Record<string, unknown> = { id: 1n };
    row["self"] = row;
    const found = row as unknown as boolean & readonly string[];
    const store: MessageStore = {
      kind: "database",
      save: () => Promise.resolve(found),
      hasRoom: () => undefined as unknown as boolean,
    };
    await using server = await start({
      ...{ threads, store, localRecipients: () => found },
      domains: { "a.test": { store: { ...store } }, "b.test": {} },
    });
    const to = ["x@a.test", "x@b.test"];
    assertEquals(await send(server, to), [OK[0], OK[0], OK[1]]);
    await server.reload({ domains: ["a.test", "b.test"] });
    assertEquals(await send(server, to), [OK[0], OK[0], OK[1]]);
  });

  Deno.test(`The size of a domain holds for its recipients (${name})`, async () => {
    const store = new MemoryStore();
    await using server = await start({
      threads,
      store,
      domains: {
        "a.test": { maxSize: 1000 },
        "b.test": { maxSize: 5000 },
        "c.test": {},
      },
    });
    const all = ["x@a.test", "x@b.test", "x@c.test"];
    const content = `Subject: x\r\n\r\n${"x".repeat(2000)}`;
    assertEquals(
      await send(server, all, { declared: " SIZE=2000", content }),
      ["552 5.3.4", "250 2.1.5", "250 2.1.5", "250 2.0.0"],
    );
    assertEquals(got(store), ["x@b.test", "x@c.test"]);
    // Not declared: the smallest limit holds for all.
    assertEquals(
      await send(server, all, { content }),
      [...Array(3).fill("250 2.1.5"), "552 5.3.4"],
    );
    assertEquals(store.messages.length, 1);
    assertEquals(await send(server, all), [...Array(3).fill(OK[0]), OK[1]]);
    // LMTP has a reply for each.
    assertEquals(
      await send(server, all, { content, lmtp: true }),
      [...Array(3).fill("250 2.1.5"), "552 5.3.4", "250 2.0.0", "250 2.0.0"],
    );
    assertEquals(got(store).filter((one) => one === "x@a.test").length, 1);
    assertEquals(
      await send(server, ["x@a.test"], { content, lmtp: true }),
      ["250 2.1.5", "552 5.3.4"],
    );
    assertEquals(
      await send(server, ["x@c.test"], { content: "x".repeat(9000) }),
      OK,
    );
  });

  Deno.test(`A store that fails refuses the message, in LMTP for its domain (${name})`, async () => {
    const full: MessageStore = {
      kind: "full",
      save: () =>
        Promise.reject(
          new SmtpError(452, "Mailbox full", { enhanced: "4.2.2" }),
        ),
    };
    const memory = new MemoryStore();
    await using server = await start({
      threads,
      // In memory it is asked last, whatever the order.
      domains: { "a.test": { store: memory }, "b.test": { store: full } },
    });
    const all = ["x@a.test", "x@b.test"];
    assertEquals(await send(server, all), [OK[0], OK[0], "452 4.2.2"]);
    assertEquals(got(memory), []);
    assertEquals(
      await send(server, all, { lmtp: true }),
      [OK[0], OK[0], OK[1], "452 4.2.2"],
    );
    assertEquals(got(memory), ["x@a.test"]);
  });

  Deno.test(`A reload changes domains and their stores; all are closed at the end (${name})`, async () => {
    const closed: string[] = [];
    class Closing extends MemoryStore {
      readonly #name: string;
      constructor(name: string) {
        super();
        this.#name = name;
      }
      override close(): Promise<void> {
        closed.push(this.#name);
        return Promise.resolve();
      }
    }
    const [own, one, two] = ["own", "one", "two"].map((it) => new Closing(it));
    {
      await using server = await start({
        threads,
        store: own!,
        domains: ["a.test"],
      });
      assertEquals(await send(server, ["x@a.test"]), OK);
      await server.reload({ domains: { "a.test": { store: one! } } });
      assertEquals(await send(server, ["y@a.test"]), OK);
      await server.reload({
        domains: { "a.test": { store: two! }, "b.test": {} },
      });
      assertEquals(await send(server, ["z@a.test"]), OK);
      assertEquals(await send(server, ["z@b.test"]), OK);
      await server.reload({ domains: ["c.test"] });
      assertEquals(await send(server, ["z@c.test"]), OK);
      assertEquals(await send(server, ["z@a.test"]), ["550 5.7.1"]);
    }
    assertEquals(got(own!), ["x@a.test", "z@b.test", "z@c.test"]);
    assertEquals([got(one!), got(two!)], [["y@a.test"], ["z@a.test"]]);
    assertEquals(closed.sort(), ["one", "own", "two"]);
  });

  Deno.test(`Mail of a user goes by the smarthost of their domain, over a restart (${name})`, async () => {
    const hops = await Promise.all(["own", "a", "b"].map(async (hop) => {
      const store = new MemoryStore();
      const users: (string | undefined)[] = [];
      const server = await start({
        store,
        accounts: new AccountList({ [hop]: "secret" }),
        allowInsecureAuth: true,
        handlers: {
          onMessage: ({ username }) => void users.push(username),
        },
      });
      const { port } = server.addresses[0]!;
      return { server, store, users, hop: { host: "127.0.0.1", port } };
    }));
    const [own, a, b] = hops;
    await using folder = await TestFolder.create();
    const login = (username: string) => ({ username, password: "secret" });
    const options: SmtpServerOptions = {
      threads,
      allowInsecureAuth: true,
      accounts: new AccountList({
        ...{ "ann@a.test": "pw", "Bob@B.Test": "pw", "cy@c.test": "pw" },
        dee: "pw",
      }),
      store: new MemoryStore(),
      domains: {
        "a.test": {
          relay: {
            smarthosts: ["127.0.0.1:1", `127.0.0.1:${a!.hop.port}`],
            login: login("a"),
          },
        },
        // The login of the server is not for this host.
        "b.test": { relay: { smarthosts: [b!.hop] } },
        "c.test": {},
      },
      relay: {
        allow: "authenticated",
        spool: `${folder.path}/spool`,
        smarthosts: [own!.hop],
        login: login("own"),
        allowInsecureAuth: true,
        security: "none",
      },
    };
    try {
      {
        // Nothing is sent before the restart.
        await using server = await start({
          ...options,
          relay: { ...options.relay, idleWaitMs: 1e9 },
        });
        for (const user of ["ann@a.test", "Bob@B.Test", "cy@c.test", "dee"]) {
          using client = await TestClient.connect(server);
          await client.reply();
          await client.expect(
            ["EHLO client.test", "250"],
            [`AUTH PLAIN ${btoa(`\0${user}\0pw`)}`, "235"],
            ["MAIL FROM:<anyone@a.test>", "250"],
            [`RCPT TO:<${user.replace("@", ".")}@far.test>`, "250"],
          );
          assertEquals(
            (await client.data("Subject: x\r\n\r\nx")).slice(0, 3),
            "250",
          );
        }
        assertEquals(server.relays.count, 4);
      }
      await using server = await start({ ...options, domains: ["x.test"] });
      await Promise.all([...server.relays].map((relay) => relay.retry()));
      await until(() => server.relays.count === 0);
      assertEquals(
        hops.map(({ store }) => got(store)),
        [
          ["cy.c.test@far.test", "dee@far.test"],
          ["ann.a.test@far.test"],
          ["Bob.B.Test@far.test"],
        ],
      );
      assertEquals(
        hops.map(({ users }) => users),
        [["own", "own"], ["a"], [undefined]],
      );
    } finally {
      for (const { server } of hops) await server.stop({ graceMs: 0 });
    }
  });
}

Deno.test("A DSN to a local sender goes into the store of their domain", async () => {
  await using far = await start({
    handlers: { onRcptTo: () => false },
    store: new MemoryStore(),
  });
  const store = new MemoryStore();
  const others = new MemoryStore();
  const { port } = far.addresses[0]!;
  await using server = await start({
    store: others,
    domains: { "sender.test": { store }, "a.test": {} },
    relay: {
      from: ["127.0.0.0/8"],
      smarthosts: [{ host: "127.0.0.1", port }],
    },
  });
  assertEquals(await send(server, ["x@far.test", "x@a.test"]), [
    OK[0],
    OK[0],
    OK[1],
  ]);
  await until(() => server.relays.count === 0 && store.messages.length > 0);
  assertEquals([got(store), got(others)], [["a@sender.test"], ["x@a.test"]]);
  assert(store.messages[0]!.from.isNull);
});

Deno.test("The size of a domain ends content in chunks, and in a session that goes on", async () => {
  const store = new MemoryStore();
  await using server = await start({
    store,
    domains: { "a.test": { maxSize: 100 } },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  for (const [size, want] of [[90, "250"], [200, "552 5.3.4"], [90, "250"]]) {
    await client.expect(["MAIL FROM:<a@b.test>", "250"], [
      "RCPT TO:<x@a.test>",
      "250",
    ]);
    await client.send(`BDAT ${size} LAST\r\n${"x".repeat(Number(size))}`);
    assertEquals((await client.reply()).slice(0, String(want).length), want);
  }
  assertEquals(store.messages.length, 2);
});

Deno.test("Options of domains are checked", () => {
  for (
    const [domains, words] of [
      [
        { "a.test": { maxSise: 1 } },
        'did you mean "domains["a.test"].maxSize"',
      ],
      [{ "a.test": { store: {} } }, "want a store"],
      [{ "a.test": { maxSize: -1 } }, "want a whole number from 0"],
      [{ "a.test": { relay: { spool: "x" } } }, "no such option"],
      [{ "a.test": "x" }, "Cannot use domains"],
      [{ "*.test": {} }, "as a local domain"],
      [{ "a.test": {}, "A.TEST": {} }, "both are one domain"],
      [new Map(), "want an array of domains"],
      ["a.test", "want an array of domains"],
    ] as const
  ) {
    const error = assertThrows(() =>
      new SmtpServer({ domains } as unknown as SmtpServerOptions)
    );
    assert(String(error).includes(words), String(error));
  }
  const secret = "very secret";
  const error = assertThrows(() =>
    new SmtpServer({
      domains: { "a.test": { relay: { login: { password: secret } } } },
    } as unknown as SmtpServerOptions)
  );
  assert(!String(error).includes(secret), String(error));
});
