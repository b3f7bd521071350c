/**
 * Mail from outside that leaves again: its sender is rewritten so that bounces
 * find their way back, and it is sealed with what this server has found.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8617 | RFC 8617}
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { AccountList, SmtpServer } from "../../mod.ts";
import type { DnsResolver } from "../../lib/dns/seams.ts";
import type { ForwardingOptions } from "../../lib/queue/mod.ts";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import { testDns } from "../../lib/testing/mod.ts";
import {
  DkimPrivateKey,
  sealArc,
  Srs,
  verifyArc,
} from "../../lib/trust/mod.ts";
import { bytesOf } from "../support/bytes.ts";
import { keyTable } from "../support/dkim_table.ts";
import { TestFolder } from "../support/folder.ts";
import {
  type Pair,
  type PairOptions,
  startPair,
} from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { startZoneServer } from "../support/zone_server.ts";
import { within } from "../support/wait.ts";

const SECRET = "a secret of these tests";
const SRS = { domain: "near.test", secrets: [SECRET] };
const key = await DkimPrivateKey.generate("ed25519");
const other = await DkimPrivateKey.generate("ed25519");
const ARC = { domain: "near.test", selector: "a", key };
const KEYS = keyTable({
  "a._domainkey.near.test": key,
  "o._domainkey.list.test": other,
});
const ACCOUNTS = new AccountList({ ann: "secret" });
const MAIL = "From: Eve <eve@else.test>\r\nSubject: hello\r\n\r\nText";
const SRS_OF_EVE = /^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=else\.test=eve@near\.test$/;

/** A DNS in which mail for `dest.test` and `else.test` goes to the next hop. */
const resolve: DnsResolver = async (name, type) => {
  if (type === "MX" && /^(dest|else)\.test\.$/.test(name)) {
    return [{ preference: 10, exchange: "mx.dest.test." }];
  }
  if (type === "A" && name === "mx.dest.test.") return ["127.0.0.1"];
  const keys = await KEYS.query("TXT", name.replace(/\.$/, ""));
  if (type === "TXT" && keys.status === "found") {
    return keys.records.map((text) => [text]);
  }
  if (type === "TXT" && name === "else.test.") {
    return [["v=spf1 ip4:127.0.0.1 -all"]];
  }
  throw new Deno.errors.NotFound(`No ${type} of ${name}`);
};

function startForwarder(
  forwarding: ForwardingOptions,
  { near, relay, far }: PairOptions = {},
): Promise<Pair> {
  return startPair({
    near: {
      ...{ domains: ["near.test"], accounts: ACCOUNTS },
      allowInsecureAuth: true,
      aliases: { "ann@near.test": "you@dest.test" },
      ...(forwarding.arc && { verify: { exempt: [] } }),
      dns: testDns(resolve),
      ...near,
    },
    relay: { from: [], allow: "authenticated", forwarding, ...relay },
    ...(far && { far }),
  });
}

interface Sending {
  readonly from?: string;
  readonly to?: string;
  readonly login?: boolean;
  readonly parameters?: string;
  readonly data?: string;
}

/** Sends to the first server; resolves with the reply to RCPT, and after 250 to the content. */
async function send(
  { near }: Pair,
  { from = "eve@else.test", to = "ann@near.test", ...rest }: Sending = {},
): Promise<string> {
  const { login = false, parameters = "", data = MAIL } = rest;
  using client = await TestClient.connect(near);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  if (login) {
    await client.expect([`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"]);
  }
  await client.expect([`MAIL FROM:<${from}>${parameters}`, "250"]);
  const reply = await client.say(`RCPT TO:<${to}>`);
  return reply.startsWith("250") ? await client.data(data) : reply;
}

/** What the next hop has got. */
interface Arrived {
  readonly from: string;
  readonly recipients: readonly string[];
  readonly text: string;
  readonly bytes: Uint8Array;
}

async function arrived({ farStore }: Pair): Promise<Arrived> {
  const { from, recipients, text, bytes } = await within(
    farStore.next(),
    "the message",
  );
  return {
    ...{ text, bytes, from: from.toString() },
    recipients: recipients.map(({ address }) => address.toString()),
  };
}

for (const threads of [0, 2]) {
  Deno.test(`a forwarded sender is rewritten, and bounces find it again (${threads} threads)`, async () => {
    await using pair = await startForwarder({ srs: SRS }, {
      near: { threads },
    });
    assertMatch(await send(pair), /^250 /);
    const got = await arrived(pair);
    assertMatch(got.from, SRS_OF_EVE);
    assertEquals(got.recipients, ["you@dest.test"]);
    assert(got.text.endsWith(`${MAIL}\r\n`), "the content is as it was");
    // Hosts on the way may change the case.
    for (const to of [got.from, got.from.toLowerCase()]) {
      assertMatch(await send(pair, { from: "", to }), /^250 /);
      const bounce = await arrived(pair);
      assertEquals(bounce.from, "");
      assertEquals(bounce.recipients, ["eve@else.test"]);
    }
    assertEquals(
      await send(pair, { from: "bob@else.test", to: got.from }),
      "550 5.7.1 Only bounces may go to this address",
    );
  });

  Deno.test(`what is no bounce of ours goes nowhere (${threads} threads)`, async () => {
    await using pair = await startForwarder({ srs: SRS }, {
      near: { threads },
    });
    const of = (secret: string, days: number) =>
      new Srs({ ...SRS, secrets: [secret] })
        .forward("eve@else.test", Date.now() - days * 86_400_000)!;
    const table = [
      [of("a secret of someone else", 0), "550 5.1.1 No such user"],
      ["SRS0=x@near.test", "550 5.1.1 No such user"],
      ["SRS1=x=y=z@near.test", "550 5.1.1 No such user"],
      [of(SECRET, 23), "550 5.1.1 This address for bounces has expired"],
      [
        of(SECRET, 0).replace("near.test", "dest.test"),
        "550 5.7.1 Relaying denied",
      ],
    ] as const;
    for (const [to, want] of table) {
      assertEquals(await send(pair, { from: "", to }), want, to);
    }
    assertMatch(await send(pair, { from: "", to: of(SECRET, 20) }), /^250 /);
    assertEquals((await arrived(pair)).recipients, ["eve@else.test"]);
  });
}

Deno.test("replies to rewritten senders are taken where the option says so", async () => {
  await using pair = await startForwarder({ srs: { ...SRS, replies: true } });
  const to = new Srs(SRS).forward("eve@else.test")!;
  assertMatch(await send(pair, { from: "bob@dest.test", to }), /^250 /);
  const got = await arrived(pair);
  assertEquals(got.recipients, ["eve@else.test"]);
  assertMatch(got.from, /=dest\.test=bob@near\.test$/);
});

Deno.test("mail that is not forwarded keeps its sender", async () => {
  const handlers: SmtpHandlers = {
    async onMessage(_session, message) {
      if (message.recipients[0]!.address.localPart !== "list") return;
      const recipients = ["you@dest.test"];
      const options = { recipients, from: "owner@else.test" };
      await pair.near.relays.add(message, options);
      message.store = [];
    },
  };
  await using pair = await startForwarder({ srs: SRS, arc: ARC }, {
    near: { handlers },
  });
  const table: readonly (readonly [Sending, string])[] = [
    // The null sender, and senders of our own.
    [{ from: "" }, ""],
    [{ from: "bob@near.test" }, "bob@near.test"],
    // Users.
    [{ login: true }, "eve@else.test"],
    [{ login: true, to: "you@dest.test" }, "eve@else.test"],
    // A sender that the program has chosen.
    [{ to: "list@near.test" }, "owner@else.test"],
    // No room for the new address.
    [{ from: `${"e".repeat(60)}@else.test` }, `${"e".repeat(60)}@else.test`],
  ];
  for (const [sending, want] of table) {
    assertMatch(await send(pair, sending), /^250 /);
    assertEquals((await arrived(pair)).from, want);
  }
  await pair.near.relays.add({
    ...{ from: "eve@else.test", to: "you@dest.test", data: MAIL },
  });
  const own = await arrived(pair);
  assertEquals(own.from, "eve@else.test");
  assert(!own.text.includes("ARC-Seal"));
  const told = pair.records.filter(({ level }) => level === "warn")
    .map(({ message }) => message);
  assertStringIncludes(told.join("\n"), "too long to be rewritten");
});

Deno.test("mail for a host behind this one is not forwarded", async () => {
  const host = (pair: Pair) => `127.0.0.1:${pair.far.addresses[0]!.port}`;
  const handlers: SmtpHandlers = {
    async onMessage(_session, message) {
      await pair.near.relays.add(message, { smarthost: host(pair) });
      message.store = [];
    },
  };
  await using pair = await startForwarder({ srs: SRS, arc: ARC }, {
    near: { handlers },
  });
  assertMatch(await send(pair, { to: "bob@near.test" }), /^250 /);
  const got = await arrived(pair);
  assertEquals(got.from, "eve@else.test");
  assert(!got.text.includes("ARC-Seal"));
});

Deno.test("the server's own DSN goes to the sender before it was rewritten", async () => {
  await using pair = await startForwarder({ srs: SRS }, {
    far: {
      handlers: { onRcptTo: (_session, { localPart }) => localPart !== "you" },
    },
  });
  assertMatch(await send(pair), /^250 /);
  const dsn = await arrived(pair);
  assertEquals([dsn.from, dsn.recipients], ["", ["eve@else.test"]]);
  assertMatch(dsn.text, /^To: <?eve@else\.test>?\r$/m);
});

for (const threads of [0, 2]) {
  Deno.test(`forwarded mail is sealed with the results of this server (${threads} threads)`, async () => {
    await using zone = await startZoneServer({
      "MX dest.test": ["10 mx.dest.test"],
      "A mx.dest.test": ["127.0.0.1"],
      "TXT else.test": ["v=spf1 ip4:127.0.0.1 -all"],
    });
    const dns = { nameServers: [zone.nameServer] };
    const near = { threads, dns };
    await using pair = await startForwarder({ arc: ARC }, { near });
    assertMatch(await send(pair), /^250 /);
    const got = await arrived(pair);
    assertEquals(got.from, "eve@else.test");
    const { result, sealedBy, reason } = await verifyArc(got.bytes, {
      dns: KEYS,
    });
    assertEquals([result, sealedBy], ["pass", ["near.test"]], reason);
    const set = got.text.replaceAll(/\r\n[ \t]+/g, " ");
    assertMatch(
      set,
      /^ARC-Authentication-Results: i=1; mx\.near\.test;.*spf=pass.*smtp\.mailfrom="?eve@else\.test/m,
    );
    // Above it is the field of the next hop alone.
    assertEquals(set.split(/^ARC-Seal:/m)[0]!.split("\r\n").length, 2);
  });
}

/** A message that another forwarder has sealed. */
async function sealed(cv: "none" | "fail" = "none"): Promise<string> {
  const message = bytesOf(`${MAIL}\r\n`);
  const set = await sealArc(message, {
    ...{ domain: "list.test", selector: "o", key: other },
  }, {
    arc: { result: "none" },
    authservId: "list.test",
  });
  const text = `${set}${MAIL}`;
  return cv === "fail"
    ? text.replace("Subject: hello", "Subject: jello")
    : text;
}

Deno.test("a chain of seals goes on, and one that is broken says so", async () => {
  await using pair = await startForwarder({ arc: ARC, srs: SRS });
  assertMatch(await send(pair, { data: await sealed() }), /^250 /);
  const got = await arrived(pair);
  assertMatch(got.from, SRS_OF_EVE);
  const chain = await verifyArc(got.bytes, { dns: KEYS });
  assertEquals([chain.result, chain.sealedBy], ["pass", [
    "list.test",
    "near.test",
  ]]);

  assertMatch(await send(pair, { data: await sealed("fail") }), /^250 /);
  const broken = await arrived(pair);
  assertEquals((await verifyArc(broken.bytes, { dns: KEYS })).result, "fail");
  assertMatch(broken.text, /^ARC-Seal:[^]*?cv=fail; d=near\.test; i=2;/m);
});

Deno.test("a chain that was not checked gets no seal", async () => {
  await using pair = await startForwarder({ arc: ARC }, {
    near: { verify: { exempt: [], arc: false } },
  });
  assertMatch(await send(pair, { data: await sealed() }), /^250 /);
  const got = await arrived(pair);
  assertEquals(got.text.split("ARC-Seal:").length, 2);
  assertEquals((await verifyArc(got.bytes, { dns: KEYS })).result, "pass");

  // Nor does mail of networks that are not checked.
  await using exempt = await startForwarder({ arc: ARC }, {
    near: { verify: true },
  });
  assertMatch(await send(exempt), /^250 /);
  assert(!(await arrived(exempt)).text.includes("ARC-Seal"));
});

Deno.test("content that is converted for a host is sealed again, after a restart too", async () => {
  await using folder = await TestFolder.create();
  const relay = { spool: `${folder.path}/spool` };
  const eightBit = (await sealed()).replace("Text", "Gr\xfc\xdfe").replace(
    "\r\n\r\n",
    "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n" +
      "Content-Transfer-Encoding: 8bit\r\n\r\n",
  );
  const data = eightBit.slice(eightBit.indexOf("From:"));
  const far = {
    disabledExtensions: ["8BITMIME", "BINARYMIME", "SMTPUTF8"] as const,
  };
  {
    const schedule = "1h";
    await using pair = await startForwarder({ arc: ARC }, {
      relay: { ...relay, idleWaitMs: 3_600_000, schedule },
    });
    const parameters = " BODY=8BITMIME";
    assertMatch(await send(pair, { data, parameters }), /^250 /);
  }
  await using pair = await startForwarder({ arc: ARC }, { relay, far });
  const [waiting] = [...pair.near.relays];
  await waiting!.retry();
  const got = await arrived(pair);
  assertStringIncludes(got.text, "Gr=FC=DFe");
  assertEquals(got.text.split("ARC-Seal:").length, 2);
  const { result, sealedBy, reason } = await verifyArc(got.bytes, {
    dns: KEYS,
  });
  assertEquals([result, sealedBy], ["pass", ["near.test"]], reason);
  assertMatch(
    got.text.replaceAll(/\r\n[ \t]+/g, " "),
    /^ARC-Authentication-Results: i=1; mx\.near\.test;.*spf=pass/m,
  );
});

Deno.test("forwarding that cannot work is an error in one line", async () => {
  const make = (forwarding: unknown, more = {}) => () =>
    new SmtpServer({
      ...{ domains: ["near.test"], verify: true, ...more },
      relay: { forwarding: forwarding as ForwardingOptions },
    });
  const table: readonly (readonly [() => unknown, string])[] = [
    [make({ srs: SRS }, { domains: undefined }), "want domains, too"],
    [make({ arc: ARC }, { verify: false }), "want verify, too"],
    [make({ srs: { domain: "near.test" } }), "relay.forwarding.srs"],
    [make({ srs: { ...SRS, secrets: [] } }), "relay.forwarding.srs.secrets"],
    [make({ srs: { ...SRS, secrets: ["short"] } }), "at least 16"],
    [make({ srs: { ...SRS, domain: "a b" } }), "relay.forwarding.srs.domain"],
    [make({ srs: { ...SRS, validDays: 0 } }), "relay.forwarding.srs.validDays"],
    [make({ seal: ARC }), "relay.forwarding"],
    [make({ arc: { domain: "near.test" } }), "relay.forwarding.arc"],
  ];
  for (const [construct, want] of table) {
    const { message } = assertThrows(construct, Error);
    assertStringIncludes(message, want);
    assert(!message.includes("short"), "no secret is shown");
  }
  const server = new SmtpServer({
    ...{ listen: "127.0.0.1:0", domains: ["near.test"], verify: true },
    log: () => {},
    relay: { forwarding: { arc: { ...ARC, key: "no key" } } },
  });
  await assertRejects(() => server.start(), SyntaxError);
});
