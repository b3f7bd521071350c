/**
 * The limits of each user, over real sockets: what a stolen password can send.
 *
 * The promise of SECURITY.md: "A stolen password sends little".
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { StoreError } from "../../lib/message/message.ts";
import { redirect } from "../../lib/protocol/redirect.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import type { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes, isWindows, sharesPorts } from "../support/platform.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const ACCOUNTS = new AccountList({ ann: "secret", bob: "other" });

function start(options: SmtpServerOptions): Promise<SmtpServer> {
  return startServer({
    accounts: ACCOUNTS,
    allowInsecureAuth: true,
    ...options,
  });
}

/** A client that has logged in. */
async function loggedIn(
  server: SmtpServer,
  [name, secret]: readonly [string, string] = ["ann", "secret"],
): Promise<TestClient> {
  const client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    [`AUTH PLAIN ${btoa(`\0${name}\0${secret}`)}`, "235"],
  );
  return client;
}

const BOB = ["bob", "other"] as const;
const MAIL = "MAIL FROM:<a@b.test>";
const RCPT = "RCPT TO:<c@d.test>";

/** Sends a message of one recipient. */
async function sendOne(client: TestClient, mail = MAIL): Promise<void> {
  await client.expect([mail, "250"], [RCPT, "250"]);
  assertMatch(await client.data("Subject: x\r\n\r\nHello"), /^250/);
}

Deno.test("A user gets 450 4.7.28 past messagesPerMinute, on any connection; others and clients without login do not", async () => {
  await using server = await start({
    limits: { perUser: { messagesPerMinute: 2 } },
  });
  using first = await loggedIn(server);
  await sendOne(first);
  await sendOne(first);
  using second = await loggedIn(server);
  assertEquals(
    await second.say(MAIL),
    "450 4.7.28 Too many messages from this user, at most 2 a minute",
  );
  using bob = await loggedIn(server, BOB);
  await sendOne(bob);
  using nobody = await TestClient.connect(server);
  await nobody.reply();
  await nobody.expect(["EHLO client.test", "250"]);
  for (let turn = 0; turn < 3; turn++) await sendOne(nobody);
});

Deno.test("A user gets 450 4.7.28 past recipientsPerDay, and goes on with the others of the message", async () => {
  await using server = await start({
    limits: { perUser: { recipientsPerDay: 2 } },
  });
  using client = await loggedIn(server);
  await client.expect([MAIL, "250"], [RCPT, "250"], [RCPT, "250"], [
    RCPT,
    "450 4.7.28 Too many recipients from this user, at most 2 a day",
  ]);
  assertMatch(await client.data("Subject: x\r\n\r\nHello"), /^250/);
});

Deno.test("An unknown recipient is given back, and one that becomes many counts once", async () => {
  const list = Array.from({ length: 1000 }, (_, at) => `list${at}@far.test`);
  await using server = await start({
    domains: ["d.test"],
    localRecipients: ["c", "e"],
    aliases: { all: list, many: "gone" },
    limits: { perUser: { recipientsPerDay: 3 } },
    handlers: {
      onRcptTo: (_session, { localPart }) =>
        localPart === "e" ? redirect(list[0]!, ...list.slice(1)) : undefined,
    },
  });
  using client = await loggedIn(server);
  await client.expect([MAIL, "250"]);
  for (const name of ["x", "y", "z", "many"]) {
    await client.expect([`RCPT TO:<${name}@d.test>`, "550 5.1.1"]);
  }
  await client.expect(["RCPT TO:<c@far.test>", "550 5.7.1"]);
  await client.expect(
    ["RCPT TO:<e@d.test>", "250"],
    ["RCPT TO:<all@d.test>", "250"],
    [RCPT, "250"],
    [RCPT, "450 4.7.28"],
  );
});

Deno.test("bytesPerDay counts the declared size at MAIL, and the real one at the end", async () => {
  await using server = await start({
    limits: { perUser: { bytesPerDay: 1000 } },
  });
  const words = "450 4.7.28 Too many bytes from this user, at most 1000 a day";
  using client = await loggedIn(server);
  await client.expect([`${MAIL} SIZE=1001`, words]);
  // The client lies about the size.
  await client.expect([`${MAIL} SIZE=10`, "250"], [RCPT, "250"]);
  assertEquals(await client.data("x".repeat(1200)), words);
  await client.expect([`${MAIL} SIZE=900`, "250"], [RCPT, "250"]);
  assertMatch(await client.data("Subject: x\r\n\r\nHello"), /^250/);
  // It was 21 bytes, and the rest is free again.
  await client.expect([`${MAIL} SIZE=900`, "250"], ["RSET", "250"]);
  await client.expect([`${MAIL} SIZE=982`, words]);
});

Deno.test("A day counts what is accepted: neither refused mail nor refused recipients", async () => {
  let fails = true;
  await using server = await start({
    limits: { perUser: { messagesPerDay: 2, recipientsPerDay: 3 } },
    handlers: {
      onMailFrom: (_session, address) => address.localPart !== "refused",
      onRcptTo: (_session, address) => address.localPart !== "refused",
      onMessage: () => !fails,
    },
  });
  using client = await loggedIn(server);
  await client.expect(["MAIL FROM:<refused@b.test>", "550"]);
  for (let turn = 0; turn < 3; turn++) {
    await client.expect([MAIL, "250"], [RCPT, "250"], ["RSET", "250"]);
    await client.expect([MAIL, "250"], [RCPT, "250"]);
    assertMatch(await client.data("Subject: x\r\n\r\nHello"), /^554/);
  }
  fails = false;
  for (let turn = 0; turn < 2; turn++) {
    await client.expect(
      [MAIL, "250"],
      ["RCPT TO:<refused@d.test>", "550"],
      ["RCPT TO:<refused@d.test>", "550"],
      [RCPT, "250"],
    );
    assertMatch(await client.data("Subject: x\r\n\r\nHello"), /^250/);
  }
  await client.expect([MAIL, "450 4.7.28"]);
});

Deno.test("A session that ends within a message gives back what that has reserved", async () => {
  await using server = await start({
    limits: { perUser: { messagesPerDay: 1 } },
  });
  {
    using client = await loggedIn(server);
    await client.expect([MAIL, "250"], [RCPT, "250"]);
    using second = await loggedIn(server);
    await second.expect([MAIL, "450"]);
  }
  await until(() => server.sessions.length === 0);
  using client = await loggedIn(server);
  await sendOne(client);
  await client.expect([MAIL, "450"]);
});

Deno.test("The refusals of a minute are one warning and one call of onLimit in a minute, and changes nothing", async () => {
  const records: LogRecord[] = [];
  const told: string[] = [];
  await using server = await start({
    limits: { perUser: { messagesPerMinute: 1 }, exempt: ["127.0.0.1"] },
    log: (record) => records.push(record),
    logLevel: "warn",
    handlers: {
      async onLimit({ username }, limit) {
        told.push(`${username} ${limit}`);
        await Promise.resolve();
        throw new Error("Never mind");
      },
    },
  });
  using client = await loggedIn(server);
  await sendOne(client);
  for (let turn = 0; turn < 3; turn++) await client.expect([MAIL, "450"]);
  using again = await loggedIn(server);
  await again.expect([MAIL, "450"]);
  assertEquals(told, ["ann perUser.messagesPerMinute"]);
  const [warned, failed, ...more] = records;
  assertEquals(more, []);
  assertEquals(warned?.event, "warning");
  assertEquals(warned?.fields, {
    address: "127.0.0.1",
    user: "ann",
    limit: "perUser.messagesPerMinute",
  });
  assertEquals(failed?.message, "onLimit failed");
});

Deno.test("onLimit gets to know of the limits of an address, once for each in a session", async () => {
  const told: string[] = [];
  await using server = await start({
    limits: { messagesPerMinute: 1, exempt: [] },
    handlers: { onLimit: (_session, limit) => void told.push(limit) },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  await sendOne(client);
  await client.expect([MAIL, "450 4.7.1"], [MAIL, "450 4.7.1"]);
  assertEquals(told, ["messagesPerMinute"]);
});

Deno.test("A reload changes the limits for the counts in force", async () => {
  await using server = await start({
    limits: { perUser: { messagesPerDay: 1 } },
  });
  using client = await loggedIn(server);
  await sendOne(client);
  await client.expect([MAIL, "450"]);
  await server.reload({ limits: { perUser: { messagesPerDay: 2 } } });
  await sendOne(client);
  await client.expect([
    MAIL,
    "450 4.7.28 Too many messages from this user, at most 2",
  ]);
  await server.reload({ limits: { perUser: { messagesPerDay: 0 } } });
  await sendOne(client);
});

Deno.test("All spellings of a name that a handler takes for one user are counted together", async () => {
  await using server = await start({
    accounts: undefined,
    limits: { perUser: { messagesPerMinute: 1 } },
    handlers: { onAuthenticate: () => true },
  });
  using client = await loggedIn(server, ["Ann@XN--Bcher-KVA.example", "x"]);
  await sendOne(client);
  using other = await loggedIn(server, ["ann@xn--bcher-kva.example", "x"]);
  await other.expect([MAIL, "450"]);
});

Deno.test("The counts of a day survive a restart with a spool folder; the file has no names and is the owner's", async () => {
  await using folder = await TestFolder.create();
  const spool = `${folder.path}/spool`;
  const options: SmtpServerOptions = {
    relay: { spool },
    limits: { perUser: { messagesPerDay: 2 } },
  };
  for (let run = 0; run < 2; run++) {
    await using server = await start(options);
    using client = await loggedIn(server);
    await sendOne(client);
    await client.expect(["QUIT", "221"]);
    await server.stop();
  }
  const path = `${spool}/users`;
  assert(!(await Deno.readTextFile(path)).includes("ann"));
  if (hasFileModes) {
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
  }
  await using server = await start(options);
  using client = await loggedIn(server);
  await client.expect([MAIL, "450"]);
  using bob = await loggedIn(server, BOB);
  await sendOne(bob);
});

Deno.test("The counts are written while the server runs", async () => {
  await using folder = await TestFolder.create();
  const spool = `${folder.path}/spool`;
  await using server = await start({ relay: { spool } });
  using client = await loggedIn(server);
  await sendOne(client);
  await until(async () => {
    const text = await Deno.readTextFile(`${spool}/users`).catch(() => "");
    return /^[\da-f]{32} 0:1:1:21$/m.test(text);
  });
});

Deno.test("A damaged or foreign file of counts is reported, and the server starts", async () => {
  const whole = async (spool: string) => {
    await using server = await start({ relay: { spool } });
    using client = await loggedIn(server);
    await sendOne(client);
    await server.stop();
    return await Deno.readTextFile(`${spool}/users`);
  };
  await using folder = await TestFolder.create();
  const text = await whole(`${folder.path}/first`);
  const damages: readonly [
    name: string,
    damage: (path: string) => Promise<void>,
  ][] = [
    ["empty", (path) => Deno.writeTextFile(path, "")],
    ["cut", (path) => Deno.writeTextFile(path, text.slice(0, -4))],
    ["binary", (path) => Deno.writeFile(path, new Uint8Array([255, 0, 1]))],
    ["foreign", (path) => Deno.writeTextFile(path, "ann:secret\n")],
    [
      "newer",
      (path) => Deno.writeTextFile(path, text.replace("counts 1", "counts 2")),
    ],
    ["folder", (path) => Deno.mkdir(path)],
    ...isWindows ? [] : [
      ["link", (path: string) => Deno.symlink("/etc/passwd", path)] as [
        string,
        (path: string) => Promise<void>,
      ],
    ],
  ];
  for (const [name, damage] of damages) {
    const spool = `${folder.path}/${name}`;
    await whole(spool);
    await Deno.remove(`${spool}/users`);
    await damage(`${spool}/users`);
    const records: LogRecord[] = [];
    await using server = await start({
      relay: { spool },
      log: (record) => records.push(record),
      logLevel: "warn",
    });
    assertEquals(records.map(({ message }) => message), [
      `Cannot take over the counts of users in "${spool}/users": they begin anew`,
    ], name);
    using client = await loggedIn(server);
    await sendOne(client);
    await server.stop();
    // A folder cannot be replaced; everything else is.
    const warnings = records.filter(({ event }) => event !== "auth");
    if (name === "folder") assertEquals(warnings.length, 2);
    else assertMatch(await Deno.readTextFile(`${spool}/users`), /end 1\n$/);
  }
});

Deno.test({
  name:
    "Two threads count in one place, and a restart with threads keeps the counts",
  ignore: !sharesPorts,
  async fn() {
    await using folder = await TestFolder.create();
    const told: string[] = [];
    const options: SmtpServerOptions = {
      threads: 2,
      relay: { spool: `${folder.path}/spool` },
      limits: { perUser: { messagesPerDay: 6 } },
      handlers: {
        onLimit: ({ username }, limit) =>
          void told.push(`${username} ${limit}`),
      },
    };
    {
      await using server = await start(options);
      const clients = await Promise.all(
        Array.from({ length: 8 }, () => loggedIn(server)),
      );
      for (const client of clients.slice(0, 5)) await sendOne(client);
      for (const client of clients) client.close();
      await server.stop();
    }
    await using server = await start(options);
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => loggedIn(server)),
    );
    await sendOne(clients[0]!);
    for (const client of clients) await client.expect([MAIL, "450 4.7.28"]);
    await until(() => told.length > 0);
    assertEquals(told, ["ann perUser.messagesPerDay"]);
    for (const client of clients) client.close();
  },
});

Deno.test("A message that LMTP refuses for each recipient does not count for the day", async () => {
  let isFull = true;
  await using server = await start({
    listen: { port: 0, kind: "lmtp" },
    limits: { perUser: { messagesPerDay: 1 } },
    store: {
      kind: "full",
      save({ recipients }) {
        if (!isFull) return Promise.resolve();
        const failures = recipients.map((one) => [one, "Full"] as const);
        throw new StoreError("Full", new Map(failures));
      },
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["LHLO client.test", "250"],
    [`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"],
    [MAIL, "250"],
    [RCPT, "250"],
  );
  assertMatch(await client.data("Subject: x\r\n\r\nHello"), /^451/);
  isFull = false;
  await sendOne(client);
  await client.expect([MAIL, "450 4.7.28"]);
});
