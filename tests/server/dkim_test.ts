/**
 * A server with keys for DKIM: whose mail it signs, and whose never.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5.1 | RFC 6376 sections 5.1} and
 * {@link https://www.rfc-editor.org/rfc/rfc6376#section-5.3 | 5.3}
 */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AccountList, redirect, SmtpServer } from "../../mod.ts";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import { type DkimKey, DkimPrivateKey } from "../../lib/trust/mod.ts";
import { keyTable, resultsOf } from "../support/dkim_table.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestFolder } from "../support/folder.ts";
import { TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

const rsa = await DkimPrivateKey.generate("rsa");
const ed25519 = await DkimPrivateKey.generate("ed25519");
const below = await DkimPrivateKey.generate("ed25519");
const DKIM: readonly DkimKey[] = [
  { domain: "near.test", selector: "r", key: rsa.toPem() },
  { domain: "near.test", selector: "e", key: ed25519 },
  { domain: "sub.near.test", selector: "b", key: below },
];
const DNS = keyTable({
  "r._domainkey.near.test": rsa,
  "e._domainkey.near.test": ed25519,
  "b._domainkey.sub.near.test": below,
});
const BOTH = ["pass rsa-sha256 r", "pass ed25519-sha256 e"];
const ACCOUNTS = new AccountList({ ann: "secret" });
const MAIL = "From: Ann <ann@near.test>\r\nSubject: hello\r\n\r\nText\r\n";
/** Mail of users is relayed, that of the network is not. */
const USERS = { from: [], allow: "authenticated" } as const;

interface Sending {
  readonly login?: boolean;
  readonly to?: string;
  readonly from?: string;
  readonly data?: string;
  readonly parameters?: string;
}

async function send(
  server: SmtpServer,
  { login = false, data = MAIL, ...rest }: Sending = {},
): Promise<string> {
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  if (login) {
    await client.expect([`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"]);
  }
  const { to = "you@dest.test", parameters = "" } = rest;
  const { from = "ann@near.test" } = rest;
  await client.expect(
    [`MAIL FROM:<${from}>${parameters}`, "250"],
    [`RCPT TO:<${to}>`, "250"],
  );
  return await client.data(data.replace(/\r\n$/, ""));
}

const near = {
  ...{ domains: ["near.test"], accounts: ACCOUNTS, allowInsecureAuth: true },
  dkim: DKIM,
};

for (const threads of [0, 2]) {
  Deno.test(`mail of users is signed once by each key (${threads} threads)`, async () => {
    await using pair = await startPair({
      near: { ...near, threads },
      relay: USERS,
    });
    assertStringIncludes(await send(pair.near, { login: true }), "250 2.0.0");
    const got = await within(pair.farStore.next(), "the message");
    assertEquals(await resultsOf(got.bytes, DNS), BOTH);
    assert(got.text.endsWith("\r\n\r\nText\r\n"));
  });

  Deno.test(`mail of others is not signed, whatever takes it further (${threads} threads)`, async () => {
    const handlers: SmtpHandlers = {
      onRcptTo: (_session, address) =>
        address.localPart === "moved" ? redirect("you@dest.test") : undefined,
      async onMessage(_session, message) {
        if (message.recipients[0]!.address.localPart !== "list") return;
        const { near } = pair;
        await near.relays.add(message, { recipients: ["you@dest.test"] });
        message.store = [];
      },
    };
    await using pair = await startPair({
      near: {
        ...{ ...near, threads, handlers },
        aliases: { "old@near.test": "you@dest.test" },
      },
      relay: USERS,
    });
    for (const name of ["old", "moved", "list"]) {
      await send(pair.near, { to: `${name}@near.test` });
      const got = await within(pair.farStore.next(), "the message");
      assertEquals(await resultsOf(got.bytes, DNS), [], name);
      await send(pair.near, { to: `${name}@near.test`, login: true });
      const own = await within(pair.farStore.next(), "the message");
      assertEquals(await resultsOf(own.bytes, DNS), BOTH, name);
    }
  });
}

Deno.test("mail of the networks in relay.from is signed", async () => {
  await using pair = await startPair({ near });
  await send(pair.near);
  const got = await within(pair.farStore.next(), "the message");
  assertEquals(await resultsOf(got.bytes, DNS), BOTH);
});

Deno.test("what the program adds is signed, and what stays here is not", async () => {
  await using pair = await startPair({ near, relay: USERS });
  await pair.near.relays.add({
    ...{ from: "ann@near.test", to: "you@dest.test" },
    data: MAIL.replaceAll("\r\n", "\n"),
  });
  const got = await within(pair.farStore.next(), "the message");
  assertEquals(await resultsOf(got.bytes, DNS), BOTH);
  await send(pair.near, { login: true, to: "bob@near.test" });
  const [here] = pair.nearStore.messages;
  assertEquals(await resultsOf(here!.bytes, DNS), []);
});

Deno.test("DSNs are signed when they leave, and not in a mailbox here", async () => {
  await using pair = await startPair({
    near: { ...near, domains: ["other.test"] },
    relay: { ...USERS, hostname: "mx.near.test" },
    far: {
      handlers: { onRcptTo: (_session, { localPart }) => localPart !== "no" },
    },
  });
  const failing = { login: true, to: "no@dest.test" };
  await send(pair.near, { ...failing, from: "ann@dest.test" });
  const dsn = await within(pair.farStore.next(), "the DSN");
  assertStringIncludes(dsn.text, "multipart/report");
  assertEquals(await resultsOf(dsn.bytes, DNS), BOTH);
  await send(pair.near, { ...failing, from: "ann@other.test" });
  const here = await within(pair.nearStore.next(), "the DSN");
  assertStringIncludes(here.text, "multipart/report");
  assertEquals(await resultsOf(here.bytes, DNS), []);
});

Deno.test("the key whose domain is nearest to the author's signs", async () => {
  await using pair = await startPair({ near, relay: USERS });
  const table = [
    ["ann@sub.near.test", ["pass ed25519-sha256 b"]],
    ["ann@a.sub.near.test", ["pass ed25519-sha256 b"]],
    ["ann@a.near.test", BOTH],
    ["ann@notnear.test", []],
  ] as const;
  for (const [author, want] of table) {
    const data = MAIL.replace("ann@near.test", author);
    await send(pair.near, { login: true, data });
    const got = await within(pair.farStore.next(), "the message");
    assertEquals(await resultsOf(got.bytes, DNS), [...want], author);
  }
});

Deno.test("mail of a domain without a key goes out unsigned, and the log says so once", async () => {
  await using pair = await startPair({ near, relay: USERS });
  const datas = [
    ...["ann@else.test", "bob@else.test"].map((author) =>
      MAIL.replace("ann@near.test", author)
    ),
    "Subject: no author\r\n\r\nText\r\n",
    `From: eve@else.test\r\n${MAIL}`,
  ];
  for (const data of datas) {
    await send(pair.near, { login: true, data });
    const got = await within(pair.farStore.next(), "the message");
    assertEquals(await resultsOf(got.bytes, DNS), []);
  }
  const told = pair.records.filter(({ message }) =>
    message.includes("not signed")
  );
  assertEquals(told.map(({ message }) => message), [
    "Mail of authors in else.test is not signed: no key of dkim is for it",
    "Mail is not signed: The message has no From",
    "Mail is not signed: The message has From more than once",
  ]);
});

Deno.test("content that is converted for a host is signed again", async () => {
  const eightBit = MAIL.replace("Text", "Gr\xfc\xdfe").replace(
    "\r\n\r\n",
    "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n" +
      "Content-Transfer-Encoding: 8bit\r\n\r\n",
  );
  await using pair = await startPair({
    near,
    relay: USERS,
    far: { disabledExtensions: ["8BITMIME", "BINARYMIME", "SMTPUTF8"] },
  });
  for (
    const text of [eightBit, `${eightBit}${"\xfc".repeat(80)}\r\n`.repeat(1)]
  ) {
    await send(pair.near, {
      ...{ login: true, parameters: " BODY=8BITMIME", data: text },
    });
    const got = await within(pair.farStore.next(), "the message");
    assertStringIncludes(got.text, "Gr=FC=DFe");
    assertEquals(await resultsOf(got.bytes, DNS), BOTH);
    assertEquals(got.text.split("DKIM-Signature:").length, 3);
  }
  const isForeign = ({ message }: { readonly message: string }) =>
    message.includes("of others");
  assertEquals(pair.records.filter(isForeign), []);
  // A signature of another signer stays, and does not hold any more.
  await send(pair.near, {
    ...{ login: true, parameters: " BODY=8BITMIME" },
    data: `DKIM-Signature: v=1; d=else.test\r\n${eightBit}`,
  });
  const got = await within(pair.farStore.next(), "the message");
  assertEquals((await resultsOf(got.bytes, DNS)).slice(0, 2), BOTH);
  assertStringIncludes(got.text, "d=else.test");
  assertEquals(pair.records.filter(isForeign).map(({ message }) => message), [
    "Converted for dest.test: a signature of others no longer holds",
  ]);
});

Deno.test("a large message is signed again in pieces", async () => {
  await using pair = await startPair({
    near,
    relay: USERS,
    far: { disabledExtensions: ["8BITMIME", "BINARYMIME", "SMTPUTF8"] },
  });
  const data = `${MAIL}${"Gr\xfc\xdfe, and so on\r\n".repeat(40_000)}`;
  await send(pair.near, { login: true, parameters: " BODY=8BITMIME", data });
  const got = await within(pair.farStore.next(), "the message");
  assert(got.bytes.length > 600_000);
  assertEquals(await resultsOf(got.bytes, DNS), BOTH);
});

Deno.test("a signature survives a restart, and is known as the server's own", async () => {
  await using folder = await TestFolder.create();
  const spool = `${folder.path}/spool`;
  const far = { disabledExtensions: ["8BITMIME", "SMTPUTF8"] as const };
  {
    await using pair = await startPair({ near, relay: { ...USERS, spool } });
    await pair.near.relays.add({
      ...{ from: "ann@near.test", to: "you@dest.test" },
      ...{ data: `${MAIL}\xfc\r\n`, parameters: { body: "8BITMIME" } },
    }, { held: true });
  }
  await using pair = await startPair({ near, relay: { ...USERS, spool }, far });
  const [relay] = [...pair.near.relays];
  await relay!.release();
  const got = await within(pair.farStore.next(), "the message");
  assertEquals(await resultsOf(got.bytes, DNS), BOTH);
  assertEquals(got.text.split("DKIM-Signature:").length, 3);
});

Deno.test("a reload brings other keys, or takes them away", async () => {
  await using pair = await startPair({ near, relay: USERS });
  const deliver = async () => {
    await send(pair.near, { login: true });
    const got = await within(pair.farStore.next(), "the message");
    return await resultsOf(got.bytes, DNS);
  };
  await pair.near.reload({ dkim: DKIM[1]! });
  assertEquals(await deliver(), ["pass ed25519-sha256 e"]);
  const bad = { ...DKIM[0]!, key: "no key" };
  await assertRejects(() => pair.near.reload({ dkim: bad }), SyntaxError);
  assertEquals(await deliver(), ["pass ed25519-sha256 e"]);
  await pair.near.reload({ dkim: [] });
  assertEquals(await deliver(), []);
});

Deno.test("options that cannot be used are found at the construction, keys at the start", async () => {
  const key = DKIM[1]!;
  const table: readonly unknown[] = [
    ...["x", 7, [7], { ...key, selector: "" }, { ...key, domain: "a b" }],
    ...[{ ...key, key: 7 }, { ...key, kei: 1 }, { ...key, authors: "x" }],
    { ...key, expireAfterMs: -1 },
  ];
  for (const dkim of table) {
    assertThrows(
      () => new SmtpServer({ dkim: dkim as DkimKey }),
      Error,
      "dkim",
    );
  }
  const server = new SmtpServer({
    ...{ listen: [], log: () => {} },
    dkim: { ...key, key: rsa.toPem().slice(0, 500) },
  });
  const error = await assertRejects(() => server.start(), SyntaxError);
  assertStringIncludes(error.message, "Cannot read the DKIM key");
  assert(!server.active);
});
