/**
 * Messages that are held until a time: which clients may ask, what is refused, and
 * that local and other recipients get them afterwards, also after a restart and
 * with threads (RFC 4865).
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { AccountList, SmtpServer, type SmtpServerOptions } from "../../mod.ts";
import { SmtpClient } from "../../lib/client/mod.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestFolder } from "../support/folder.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const ACCOUNTS = new AccountList({ ann: "secret" });
const USERS = { from: [], allow: "authenticated" } as const;
const NEAR: SmtpServerOptions = {
  ...{ domains: ["near.test"], accounts: ACCOUNTS, allowInsecureAuth: true },
};
const MAIL = "From: ann@near.test\r\nSubject: later\r\n\r\nText\r\n";
const TEN_DAYS = 864_000;

/** A session that has logged in. */
async function login(server: SmtpServer): Promise<TestClient> {
  const client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    [`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"],
  );
  return client;
}

/** What a server offers, by keyword. */
async function offers(client: TestClient, word: string): Promise<string> {
  const reply = await client.say("EHLO client.test");
  return reply.split("\n").find((line) => line.includes(word)) ?? "";
}

Deno.test("FUTURERELEASE is offered to clients that have logged in, and to no others", async () => {
  const spool = new MemorySpool();
  await using pair = await startPair({
    near: NEAR,
    relay: { ...USERS, spool },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  assertEquals(await offers(client, "FUTURERELEASE"), "");
  await client.expect(
    [
      "MAIL FROM:<ann@near.test> HOLDFOR=60",
      "555 5.5.4 Parameter HOLDFOR is not recognized here",
    ],
    [`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"],
  );
  const offer = await offers(client, "FUTURERELEASE");
  assertMatch(offer, /^250-FUTURERELEASE 2592000 20\d\d-\d\d-\d\dT[\d:]{8}Z$/);
  const latest = Date.parse(offer.split(" ")[2]!);
  assert(Math.abs(latest - Date.now() - 2_592_000_000) < 600_000);
});

Deno.test("FUTURERELEASE is not offered without a spool, or where it is switched off", async () => {
  for (
    const options of [
      { ...NEAR, relay: USERS },
      {
        ...NEAR,
        relay: { ...USERS, spool: new MemorySpool() },
        disabledExtensions: ["FUTURERELEASE"] as const,
      },
    ]
  ) {
    const server = await startServer(options);
    using client = await login(server);
    assertEquals(await offers(client, "FUTURERELEASE"), "");
    await client.expect(["MAIL FROM:<ann@near.test> HOLDFOR=60", "555 5.5.4"]);
    await server.stop({ graceMs: 0 });
  }
});

Deno.test("times that cannot be kept are refused", async () => {
  const spool = new MemorySpool();
  await using pair = await startPair({
    near: NEAR,
    relay: { ...USERS, spool },
  });
  using client = await login(pair.near);
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const from = "MAIL FROM:<ann@near.test>";
  await client.expect(
    [`${from} HOLDFOR=60 HOLDUNTIL=${soon}`, "501 5.5.4 HOLDFOR and HOLDUNTIL"],
    [`${from} HOLDFOR=0`, "501 5.5.4 The time of release is not in the future"],
    [`${from} HOLDUNTIL=2001-01-01T00:00:00Z`, "501 5.5.4 The time of release"],
    [`${from} HOLDUNTIL=2001-01-01`, "501 5.5.4 Malformed parameter HOLDUNTIL"],
    [`${from} HOLDFOR=2592001`, "501 5.5.4 Held for 2592000 seconds at most"],
    [`${from} HOLDFOR=60 BY=60;R`, "501 5.5.4 The message would be released"],
    [`${from} HOLDUNTIL=${soon}`, "250"],
  );
});

for (const threads of [0, 2]) {
  Deno.test(`a held message waits for all its recipients (${threads} threads)`, async () => {
    await using folder = await TestFolder.create();
    const path = `${folder.path}/spool`;
    await using pair = await startPair({
      near: { ...NEAR, threads, listen: "127.0.0.1:0/submission" },
      relay: { ...USERS, spool: path },
    });
    await using client = await SmtpClient.connect({
      host: "127.0.0.1",
      port: pair.near.addresses[0]!.port,
      security: "none",
      allowInsecureAuth: true,
      login: { username: "ann", password: "secret" },
    });
    const { accepted } = await client.send({
      from: "ann@near.test",
      to: ["bob@near.test", "you@dest.test"],
      data: MAIL,
      parameters: { holdFor: TEN_DAYS },
    });
    assert(accepted);
    assertEquals(pair.nearStore.messages.length, 0);
    const record = pair.records.find(({ event }) => event === "message");
    assertEquals(record?.fields?.["asked"], `HOLDFOR=${TEN_DAYS}`);
    const [local, away] = [...pair.near.relays];
    assertEquals(
      [...pair.near.relays].flatMap(({ recipients }) =>
        recipients.map(({ address }) => address)
      ),
      ["bob@near.test", "you@dest.test"],
    );
    const { nextTryAt } = local!.recipients[0]!;
    const wait = nextTryAt!.getTime() - Date.now();
    assert(Math.abs(wait - TEN_DAYS * 1000) < 600_000, `${wait}`);
    await local!.retry();
    await away!.retry();
    const here = await within(pair.nearStore.next(), "the local message");
    assertEquals(here.recipients.map(({ address }) => `${address}`), [
      "bob@near.test",
    ]);
    assert(here.text.endsWith("\r\n\r\nText\r\n"));
    const there = await within(pair.farStore.next(), "the message");
    assert(there.text.endsWith("\r\n\r\nText\r\n"));
    assertEquals(there.text.match(/^Received:/gm)?.length, 2);
  });
}

Deno.test("a held message survives a restart, and is held until its time", async () => {
  await using folder = await TestFolder.create();
  const store = new MemoryStore();
  const options: SmtpServerOptions = {
    ...{ ...NEAR, store, listen: "127.0.0.1:0" },
    relay: { ...USERS, spool: `${folder.path}/spool` },
    log: () => {},
  };
  const first = new SmtpServer(options);
  await first.start();
  {
    using client = await login(first);
    const until = new Date(Date.now() + 2000).toISOString();
    await client.expect(
      [`MAIL FROM:<ann@near.test> HOLDUNTIL=${until}`, "250"],
      ["RCPT TO:<bob@near.test>", "250"],
    );
    assertMatch(await client.data(MAIL.trimEnd()), /^250/);
  }
  await first.stop({ graceMs: 0 });
  assertEquals(store.messages.length, 0);
  const second = new SmtpServer(options);
  await second.start();
  assertEquals(second.relays.count, 1);
  const { from } = await within(store.next(), "the message");
  assertEquals(String(from), "ann@near.test");
  await until(() => second.relays.count === 0);
  await second.stop({ graceMs: 0 });
});
