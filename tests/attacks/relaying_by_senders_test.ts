/**
 * Addresses that forwarding has made from senders are no way through this server:
 * spellings, routes, senders that became local, sizes, limits and handlers.
 */

import { assertEquals, assertMatch } from "@std/assert";
import {
  AccountList,
  type HandlerVerdict,
  type Redirect,
  redirect,
  SILENT_ALLOW,
  type SmtpServerOptions,
} from "../../mod.ts";
import { Forwarding } from "../../lib/server/forwarding.ts";
import { testDns } from "../../lib/testing/mod.ts";
import { DkimPrivateKey, Srs, verifyArc } from "../../lib/trust/mod.ts";
import { textOf, utf8 } from "../support/bytes.ts";
import { keyTable } from "../support/dkim_table.ts";
import { type Pair, startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";

const SRS = { domain: "near.test", secrets: ["a secret of these tests"] };
const DAY = 86_400_000;
const srs = new Srs(SRS);
const EVE = srs.forward("eve@else.test")!;
const MAIL = "From: Eve <eve@else.test>\r\nSubject: hello\r\n\r\nText";
const key = await DkimPrivateKey.generate("ed25519");
const ARC = { domain: "near.test", selector: "a", key };

function start(near: SmtpServerOptions = {}, arc?: typeof ARC): Promise<Pair> {
  return startPair({
    near: {
      domains: ["near.test"],
      aliases: { "ann@near.test": "you@dest.test" },
      localRecipients: ["bob@near.test"],
      accounts: new AccountList({ ann: "secret" }),
      allowInsecureAuth: true,
      dns: testDns((name, type) => {
        if (type === "MX" && name.endsWith(".test.")) {
          return Promise.resolve([{ preference: 1, exchange: "mx.all.test." }]);
        }
        if (type === "A" && name === "mx.all.test.") {
          return Promise.resolve(["127.0.0.1"]);
        }
        return Promise.reject(new Deno.errors.NotFound(`No ${type}`));
      }),
      ...(arc && { verify: { exempt: [] } }),
      ...near,
    },
    relay: { from: [], allow: "authenticated", forwarding: { srs: SRS, arc } },
  });
}

async function begin(
  { near }: Pair,
  from = "",
  parameters = "",
): Promise<TestClient> {
  const client = await TestClient.connect(near);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  await client.expect([`MAIL FROM:<${from}>${parameters}`, "250"]);
  return client;
}

for (const threads of [0, 2]) {
  Deno.test(`Only what this server has made leads on, whatever its spelling (${threads} threads)`, async () => {
    await using pair = await start({
      threads,
      recipientDelimiter: "=",
      aliases: { "ann@near.test": "you@dest.test", "@near.test": "@far.test" },
      limits: { maxRefusedRecipients: 0, tarpitMs: 0 },
    });
    using client = await begin(pair);
    const local = EVE.slice(0, EVE.indexOf("@"));
    const other = EVE.replace("eve@", "bob@");
    const table = [
      [EVE, "250 2.1.5"],
      [`"${local}"@NEAR.test`, "250 2.1.5"],
      [`@x.test,@y.test:${EVE}`, "250 2.1.5"],
      [`${local}@near.test.`, "501 5.1.3"],
      [`${local}%dest.test@near.test`, "550 5.1.1"],
      [`${local}@dest.test`, "550 5.7.1"],
      [`${local}@[192.0.2.1]`, "550 5.7.1"],
      [other, "550 5.1.1"],
      [other.toLowerCase(), "550 5.1.1"],
      [`"SRS0=\\x"@near.test`, "550 5.1.1"],
      [`srs1=${"x".repeat(59)}@near.test`, "550 5.1.1"],
    ];
    for (const [to, want] of table) {
      const reply = await client.say(`RCPT TO:<${to}>`);
      assertEquals(reply.slice(0, 9), want, to);
    }
    assertMatch(await client.data(MAIL), /^250 /);
    const { from, recipients } = await within(pair.farStore.next(), "mail");
    assertEquals([from.toString(), recipients.length], ["", 1]);
    assertEquals(recipients[0]!.address.toString(), "eve@else.test");
  });

  Deno.test(`A sender that is a route stays, and leads nowhere (${threads} threads)`, async () => {
    await using pair = await start({ threads });
    for (const local of ["a%b.test", "b.test!a", '"a@b.test"']) {
      const from = `${local}@else.test`;
      using client = await begin(pair, from);
      await client.expect(["RCPT TO:<ann@near.test>", "250"]);
      assertMatch(await client.data(MAIL), /^250 /);
      const got = await within(pair.farStore.next(), "mail");
      assertEquals(got.from.toString(), from);
      using bounce = await begin(pair);
      const reply = await bounce.say(`RCPT TO:<${srs.forward(from)}>`);
      assertEquals(reply, "550 5.1.1 No such user", from);
    }
    const said = pair.records.map(({ message }) => message).join("\n");
    assertMatch(said, /is a route that cannot be rewritten/);
  });

  Deno.test(`A sender in a domain that became local is a recipient like others (${threads} threads)`, async () => {
    await using pair = await start({
      threads,
      domains: ["near.test", "b.test"],
      localRecipients: ["bob@b.test"],
      aliases: { "team@b.test": ["bob@b.test", "you@dest.test"] },
    });
    using client = await begin(pair);
    const to = (local: string) => `RCPT TO:<${srs.forward(`${local}@b.test`)}>`;
    await client.expect([to("nobody"), "550 5.1.1"], [to("bob"), "250"]);
    assertMatch(await client.data(MAIL), /^250 /);
    const { recipients: [bob] } = await within(pair.nearStore.next(), "mail");
    assertEquals(String(bob!.address), "bob@b.test");
    await client.expect(["MAIL FROM:<>", "250"], [to("team"), "250"]);
    assertMatch(await client.data(MAIL), /^250 /);
    await within(pair.nearStore.next(), "mail for bob");
    const { recipients: [you] } = await within(pair.farStore.next(), "mail");
    assertEquals(String(you!.address), "you@dest.test");
  });
}

Deno.test("Forged addresses end a session as unknown users do", async () => {
  await using pair = await start({
    limits: { maxRefusedRecipients: 3, tarpitMs: 0 },
  });
  using client = await begin(pair);
  const to = EVE.replace("eve@", "bob@");
  for (let at = 0; at < 3; at++) {
    assertMatch(await client.say(`RCPT TO:<${to}>`), /^550 5\.1\.1 /);
  }
  assertMatch(await client.say(`RCPT TO:<${to}>`), /^421 /);
});

Deno.test("The domain of the addresses has its limit of sizes", async () => {
  await using pair = await start({
    domains: { "near.test": { maxSize: 500 } },
  });
  using client = await begin(pair, "", " SIZE=501");
  assertMatch(await client.say(`RCPT TO:<${EVE}>`), /^552 /);
  using small = await begin(pair);
  await small.expect([`RCPT TO:<${EVE}>`, "250"]);
  assertMatch(await small.data(`${MAIL}${"x".repeat(600)}`), /^552 /);
});

Deno.test("A handler decides on such a recipient", async () => {
  const seen: string[] = [];
  let verdict: HandlerVerdict | Redirect;
  await using pair = await start({
    handlers: {
      onRcptTo(session, address) {
        seen.push(address.toString());
        if (verdict === SILENT_ALLOW) session.send("250 by hand\r\n");
        return verdict;
      },
    },
  });
  for (
    const [given, want, to] of [
      [false, /^550 /, undefined],
      [SILENT_ALLOW, /^250 by hand/, "eve@else.test"],
      [redirect("you@dest.test"), /^250 /, "you@dest.test"],
    ] as const
  ) {
    verdict = given;
    using client = await begin(pair);
    assertMatch(await client.say(`RCPT TO:<${EVE}>`), want);
    if (to === undefined) continue;
    assertMatch(await client.data(MAIL), /^250 /);
    const { recipients } = await within(pair.farStore.next(), "mail");
    assertEquals(recipients.map(({ address }) => address.toString()), [to]);
  }
  assertEquals(seen, [EVE, EVE, EVE]);
});

Deno.test("Users cannot write to such an address, and LMTP takes bounces", async () => {
  await using pair = await start();
  using user = await TestClient.connect(pair.near);
  await user.reply();
  await user.expect(
    ["EHLO client.test", "250"],
    [`AUTH PLAIN ${btoa("\0ann\0secret")}`, "235"],
    ["MAIL FROM:<ann@near.test>", "250"],
  );
  assertMatch(await user.say(`RCPT TO:<${EVE}>`), /^550 5\.7\.1 Only bounces/);

  await using inner = await start({ listen: { port: 0, kind: "lmtp" } });
  using host = await TestClient.connect(inner.near);
  await host.reply();
  await host.expect(["LHLO host.test", "250"], ["MAIL FROM:<>", "250"]);
  await host.expect([`RCPT TO:<${EVE}>`, "250"], [
    "RCPT TO:<bob@near.test>",
    "250",
  ]);
  assertMatch(await host.data(MAIL), /^250 /);
  assertMatch(await host.reply(), /^250 /);
  const { recipients } = await within(inner.farStore.next(), "mail");
  assertEquals(recipients.map(({ address }) => String(address)), [
    "eve@else.test",
  ]);
});

Deno.test("A DSN finds the sender of mail that waited for longer than its address is valid", async () => {
  const options = { ...SRS, validDays: 1 };
  const forwarding = new Forwarding({ srs: options }, {
    isOurs: () => false,
    log: () => {},
  });
  await forwarding.load();
  const then = Date.now() - 4 * DAY;
  const sender = new Srs(options).forward("eve@else.test", then)!;
  assertEquals(forwarding.returnPath(sender, then), "eve@else.test");
  assertEquals(forwarding.returnPath("eve@else.test", then), "eve@else.test");
});

Deno.test("The seal of mail with a sender beyond ASCII fits", async () => {
  await using pair = await start({}, ARC);
  const from = "j\u00f6rg@else.test";
  using client = await begin(
    pair,
    textOf(utf8(from)),
    " SMTPUTF8 BODY=8BITMIME",
  );
  await client.expect(["RCPT TO:<ann@near.test>", "250"]);
  assertMatch(await client.data(MAIL), /^250 /);
  const got = await within(pair.farStore.next(), "mail");
  assertMatch(got.from.toString(), /=else\.test=j\u00f6rg@near\.test$/);
  const text = new TextDecoder().decode(got.bytes);
  const dns = keyTable({ "a._domainkey.near.test": key });
  const { result, reason } = await verifyArc(utf8(text), { dns });
  assertEquals(result, "pass", reason);
});
