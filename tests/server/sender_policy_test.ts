/**
 * `senderPolicy: "own"`: users with a login send as themselves only, and accounts
 * that are disabled do not log in.
 *
 * The promise of SECURITY.md: "A stolen password sends little".
 * {@link https://www.rfc-editor.org/rfc/rfc6409#section-6.1 | RFC 6409 section 6.1}
 */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { AccountList, type Accounts } from "../../lib/sasl/accounts.ts";
import { ScramVerifier } from "../../lib/sasl/scram_verifier.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { AliasTable } from "../../lib/session/aliases.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { TestFolder } from "../support/folder.ts";
import { sharesPorts } from "../support/platform.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const ANN = "ann@own.example";
const ACCOUNTS = new AccountList({
  [ANN]: {
    secret: "secret",
    addresses: ["Sales@bücher.example", "@shop.example"],
  },
  bob: "secret",
});
const NOT_OWN = "553 5.7.1 Sender is not an address of this user";
const NOT_AUTHOR =
  "550 5.7.1 From or Sender in the header is not an address of this user";

function start(options: SmtpServerOptions = {}): Promise<SmtpServer> {
  return startServer({
    accounts: ACCOUNTS,
    allowInsecureAuth: true,
    senderPolicy: "own",
    ...options,
  });
}

async function loggedIn(server: SmtpServer, name = ANN): Promise<TestClient> {
  const client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    [`AUTH PLAIN ${btoa(`\0${name}\0secret`)}`, "235"],
  );
  return client;
}

/** The final reply to a message with that header. */
async function send(
  client: TestClient,
  { from = ANN, header }: { readonly from?: string; readonly header: string },
): Promise<string> {
  await client.expect([`MAIL FROM:<${from}>`, "250"], [
    "RCPT TO:<c@d.test>",
    "250",
  ]);
  return await client.data(`${header}\r\n\r\nHello`);
}

for (const threads of [0, ...sharesPorts ? [2] : []]) {
  Deno.test(`A user sends from the addresses of the account only (${threads} threads)`, async () => {
    await using server = await start({ threads });
    using client = await loggedIn(server);
    for (
      const own of [
        ANN,
        "ANN@Own.Example",
        "sales@xn--bcher-kva.example",
        "any@shop.example",
        '"ann"@own.example',
      ]
    ) {
      await client.expect([`MAIL FROM:<${own}>`, "250"], ["RSET", "250"]);
    }
    for (
      const other of [
        "bob@own.example",
        "ann@sub.own.example",
        "ann+x@own.example",
        "sales@own.example",
        "x@sub.shop.example",
      ]
    ) {
      await client.expect([`MAIL FROM:<${other}>`, NOT_OWN]);
    }
    assertMatch(await send(client, { header: `From: ${ANN}` }), /^250/);
    assertEquals(
      await send(client, { header: "From: boss@corp.example" }),
      NOT_AUTHOR,
    );
    using bob = await loggedIn(server, "bob");
    await bob.expect(["MAIL FROM:<bob@own.example>", NOT_OWN]);
  });
}

Deno.test("The header is refused when in doubt, and nothing of it is stored", async () => {
  const store = new MemoryStore();
  await using server = await start({ store, limits: { maxErrors: 0 } });
  using client = await loggedIn(server);
  const hostile = [
    "Subject: no author",
    `From: ${ANN}\r\nFrom: boss@corp.example`,
    `From: boss@corp.example\r\nSender: bob@own.example`,
    `From: Friends: ${ANN};`,
    `From: boss@corp.example\r\n <${ANN}>`,
    `Subject: x\r\nno field\r\nFrom: ${ANN}`,
    `From: ${ANN}, boss@corp.example`,
  ];
  for (const header of hostile) {
    assertEquals(await send(client, { header }), NOT_AUTHOR, header);
  }
  const large = `X-Large: ${"x".repeat(900)}\r\n`.repeat(300) + `From: ${ANN}`;
  assertMatch(await send(client, { header: large }), /^552 5.3.4/);
  assertEquals(store.messages.length, 0);
  // A message of two authors names its sender; a DSN has the null sender.
  const two = `From: ${ANN}, boss@corp.example\r\nSender: <${ANN}>`;
  assertMatch(await send(client, { header: two }), /^250/);
  assertMatch(await send(client, { from: "", header: `From: ${ANN}` }), /^250/);
  assertEquals(
    await send(client, { from: "", header: "From: a@b.test" }),
    NOT_AUTHOR,
  );
  assertEquals(store.messages.length, 2);
});

Deno.test("BDAT, an empty content and a store that discards get the same answer", async () => {
  await using server = await start({ store: new DiscardStore() });
  using client = await loggedIn(server);
  await client.expect([`MAIL FROM:<${ANN}>`, "250"], [
    "RCPT TO:<c@d.test>",
    "250",
  ]);
  const text = "From: boss@corp.example\r\n\r\nHello\r\n";
  await client.send(`BDAT ${text.length} LAST\r\n${text}`);
  assertEquals(await client.reply(), NOT_AUTHOR);
  await client.expect([`MAIL FROM:<${ANN}>`, "250"], [
    "RCPT TO:<c@d.test>",
    "250",
  ]);
  await client.expect(["BDAT 0 LAST", NOT_AUTHOR]);
  await client.expect([`MAIL FROM:<${ANN}>`, "250"], [
    "RCPT TO:<c@d.test>",
    "250",
  ]);
  assertEquals(await client.data(""), NOT_AUTHOR);
  assertMatch(await send(client, { header: `From: ${ANN}` }), /^250/);
});

Deno.test("Clients without a login are not affected, and a reload sets the policy", async () => {
  await using server = await start();
  using nobody = await TestClient.connect(server);
  await nobody.reply();
  await nobody.expect(["EHLO client.test", "250"]);
  assertMatch(
    await send(nobody, { from: "x@y.test", header: "Subject: x" }),
    /^250/,
  );
  await server.reload({ senderPolicy: "any" });
  using client = await loggedIn(server);
  assertMatch(
    await send(client, { from: "x@y.test", header: "Subject: x" }),
    /^250/,
  );
});

Deno.test("Accounts that cannot tell the addresses are 451, and a handler comes after the policy", async () => {
  const asked: string[] = [];
  let broken = false;
  const accounts: Accounts = {
    find: () => "secret",
    addresses: async () => {
      await Promise.resolve();
      if (broken) throw new Error("The database is gone");
      return ["ann@own.example"];
    },
  };
  await using server = await start({
    accounts,
    handlers: {
      onMailFrom: (_session, address) => void asked.push(String(address)),
    },
  });
  using client = await loggedIn(server, "ann");
  await client.expect(["MAIL FROM:<bob@own.example>", NOT_OWN], [
    `MAIL FROM:<${ANN}>`,
    "250",
  ], ["RSET", "250"]);
  assertEquals(asked, [ANN]);
  broken = true;
  await client.expect([`MAIL FROM:<${ANN}>`, "451 4.3.0"]);
});

for (const threads of [0, ...sharesPorts ? [2] : []]) {
  const by = `(${threads} threads)`;

  Deno.test(`Aliases that lead to an account, and extensions, are its addresses ${by}`, async () => {
    await using folder = await TestFolder.create();
    const path = await folder.write("aliases", "late: nowhere\n");
    await using server = await start({
      threads,
      domains: {
        "own.example": { aliases: await AliasTable.load(path) },
        "two.example": {
          aliases: {
            "mine": ANN,
            "@two.example": ANN,
            "boss@own.example": "ann@two.example",
          },
        },
      },
      recipientDelimiter: "-",
      localRecipients: ({ localPart }) =>
        ["ann", '"ann"', "bob", "team", "team-x"].includes(localPart),
      aliases: {
        "sales@own.example": ["first", "bob@own.example"],
        first: "ann",
        postmaster: "ann@own.example",
        "away@elsewhere.example": ANN,
        loop: ["ann@own.example", "pool"],
        pool: "loop",
      },
      accounts: new AccountList({
        [ANN]: { secret: "secret", addresses: ["team@own.example"] },
        "ann-marie@own.example": "secret",
      }),
      limits: {
        ...{ maxErrors: 0, maxCommandsWithoutMail: 0 },
        perUser: { messagesPerMinute: 0 },
      },
    });
    using client = await loggedIn(server);
    const may = async (address: string) => {
      const reply = await client.say(`MAIL FROM:<${address}>`);
      if (reply.startsWith("250")) await client.expect(["RSET", "250"]);
      else assertEquals(reply, NOT_OWN);
      return reply.startsWith("250");
    };
    for (
      const own of [
        ...["sales@own.example", "SALES-x@own.example", "first@own.example"],
        ...["ann-shop@own.example", '"ann-shop"@Own.Example'],
        ...["postmaster@own.example", "postmaster@two.example"],
        ...["mine@two.example", "team@own.example", "team-y@own.example"],
      ]
    ) assertEquals(await may(own), true, own);
    for (
      const other of [
        // A catch-all leads there, an account, and a bare name in another domain.
        ...["any@two.example", "ann-marie@own.example", "first@two.example"],
        // The letters of another account, and a mailbox of its own.
        ...["Ann-Marie@own.example", "-ann@own.example"],
        // The alias of another domain's table, and of a domain that is not local.
        ...["boss@own.example", "away@elsewhere.example"],
        // What is never delivered, what leads elsewhere.
        ...["loop@own.example", "late@own.example", "ann-x@elsewhere.example"],
        "team-x@own.example",
      ]
    ) assertEquals(await may(other), false, other);
    const author = async (from: string) => {
      await client.expect([`MAIL FROM:<${ANN}>`, "250"], [
        "RCPT TO:<bob@own.example>",
        "250",
      ]);
      const reply = await client.data(`From: ${from}\r\n\r\nHello`);
      return reply.slice(0, 9);
    };
    assertEquals(await author("ann-news@own.example"), "250 2.0.0");
    assertEquals(await author("sales@own.example"), "250 2.0.0");
    assertEquals(await author("any@two.example"), "550 5.7.1");
    await folder.write("aliases", "late: ann\n");
    await until(() => may("late@own.example"));
    await server.reload({ recipientDelimiter: undefined, aliases: undefined });
    using next = await loggedIn(server);
    await next.expect(
      ["MAIL FROM:<sales@own.example>", NOT_OWN],
      ["MAIL FROM:<ann-shop@own.example>", NOT_OWN],
      ["MAIL FROM:<mine@two.example>", "250"],
    );
  });
}

Deno.test("Senders that cannot be looked up are refused for now", async () => {
  let isDown = false;
  await using server = await start({
    domains: ["own.example"],
    recipientDelimiter: "+",
    localRecipients() {
      if (isDown) throw new Error("database down");
      return true;
    },
    log: () => {},
  });
  using client = await loggedIn(server);
  await client.expect(
    [`MAIL FROM:<${ANN}>`, "250"],
    ["RCPT TO:<bob@own.example>", "250"],
  );
  isDown = true;
  const reply = await client.data("From: ann+x@own.example\r\n\r\nHello");
  assertMatch(reply, /^451 4\.3\.0/);
  await client.expect(["MAIL FROM:<bob+x@own.example>", "451 4.3.0"]);
});

Deno.test("A disabled account fails as with a wrong password by every mechanism, and the log says why", async () => {
  const verifier = await ScramVerifier.create("secret", { iterations: 4096 });
  const lists = [
    new AccountList({ ann: { secret: "secret", disabled: true }, bob: "x" }),
    new AccountList(["ann:!", "bob:x"]),
    new AccountList([`ann:!${verifier}`, "bob:x"]),
    new AccountList({ ann: { secret: verifier, disabled: true } }),
  ];
  for (const accounts of lists) {
    const records: LogRecord[] = [];
    await using server = await start({
      accounts,
      log: (record) => records.push(record),
    });
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(
      ["EHLO client.test", "250"],
      [`AUTH PLAIN ${btoa("\0ann\0secret")}`, "535 5.7.8"],
      [`AUTH PLAIN ${btoa("\0ann\0!")}`, "535 5.7.8"],
    );
    const why = records.filter(({ event }) => event === "auth")
      .map(({ message }) => message);
    assertEquals(why.length, 2);
    for (const message of why) {
      assertMatch(message, /: the account is disabled$/);
    }
  }
  // The salt is that of the account: a client sees no difference.
  const shut = lists[3]!.find("ann") as ScramVerifier;
  assertEquals(shut.salt, verifier.salt);
  assertEquals(await shut.verify("secret"), false);
});

Deno.test("AccountList refuses addresses that are none, and a lock of another program", () => {
  for (
    const address of [
      "",
      "ann",
      "a b@c.test",
      "@",
      "ann@",
      "a@b@",
      "a,b@c.test",
      "x@c.test\n",
    ]
  ) {
    assertThrows(
      () => new AccountList({ ann: { secret: "x", addresses: [address] } }),
      SyntaxError,
      'Cannot add the account "ann": Cannot use the address',
    );
  }
  for (
    const address of [
      "@c.test",
      '"a b"@c.test',
      "ü@bücher.example",
      "x@[192.0.2.1]",
    ]
  ) {
    new AccountList({ ann: { secret: "x", addresses: [address] } });
  }
});
