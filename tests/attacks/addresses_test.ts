/**
 * Addresses that two parsers read in two ways: the server must store the address
 * that it checked, and relay the address that it was given (nodemailer < 7.0.7 sent
 * to the wrong domain for quoted local parts; CVE-2026-23829 Mailpit let a CR
 * through). That no way of writing opens a relay is in
 * `../delivery/open_relay_test.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2 | RFC 5321 section 4.1.2}
 */

import { assert, assertEquals } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startPair } from "../support/queue/relaying.ts";
import { startServer, TestClient } from "../support/server.ts";
import { textOf, utf8 } from "../support/bytes.ts";
import { within } from "../support/wait.ts";

type Verdict = "taken" | "refused" | "not local";

/** A path as sent, its fate at a server for `near.test`, and the stored address. */
const PATHS: readonly [path: string, want: Verdict, stored?: string][] = [
  // Quoted local parts: an @ in them begins no domain.
  ['<"v@evil.test"@near.test>', "taken", '"v@evil.test"@near.test'],
  ['<"v@near.test"@evil.test>', "not local"],
  ['<"v\\"@evil.test"@near.test>', "taken", '"v\\"@evil.test"@near.test'],
  ['<"v"@near.test"@evil.test>', "refused"],
  ['<"v@near.test>', "refused"],
  ['<"v> x"@near.test>', "taken", '"v> x"@near.test'],
  ['<"v\\>@near.test>', "refused"],
  ['<v"x"@near.test>', "refused"],
  ['<"v".x@near.test>', "refused"],
  ['<"@evil.test:v"@near.test>', "taken", '"@evil.test:v"@near.test'],
  // Comments and white space belong into header fields.
  ["<v(x)@near.test>", "refused"],
  ["<v@near.test(x)>", "refused"],
  ["<v@(x)near.test>", "refused"],
  ["<v @near.test>", "refused"],
  ["<v@ near.test>", "refused"],
  ["< v@near.test>", "taken", "v@near.test"],
  ["<v@near.test\t >", "taken", "v@near.test"],
  ["v@near.test", "taken", "v@near.test"],
  ['"v@evil.test"@near.test', "taken", '"v@evil.test"@near.test'],
  ["v@near.test,w@evil.test", "refused"],
  ["v@near.test w@evil.test", "refused"],
  ["v@near.test>", "refused"],
  ["v@near.test <w@evil.test>", "refused"],
  // Several addresses, or an address with a name.
  ["<v@near.test,w@evil.test>", "refused"],
  ["<v@near.test;w@evil.test>", "refused"],
  ["<v@near.test><w@evil.test>", "refused"],
  ["<v@evil.test> <v@near.test>", "refused"],
  ["x <v@near.test>", "refused"],
  ["<<v@near.test>>", "refused"],
  ["<v@near.test", "refused"],
  ["<v@evil.test@near.test>", "refused"],
  // Source routes are dropped: the last domain counts (RFC 5321 appendix C).
  ["<@evil.test:v@near.test>", "taken", "v@near.test"],
  ["<@near.test:v@evil.test>", "not local"],
  ["<@a.test,@b.test:v@near.test>", "taken", "v@near.test"],
  ["<@near.test:@evil.test:v@near.test>", "refused"],
  ["<@near.test:>", "refused"],
  ["<@near.test>", "refused"],
  ["<near.test:v@near.test>", "refused"],
  // Encoded words mean nothing in an address (the route of PortSwigger's "splitting the atom").
  [
    "<=?utf-8?q?=40evil.test=3e=20?=@near.test>",
    "taken",
    "=?utf-8?q?=40evil.test=3e=20?=@near.test",
  ],
  ["<v@=?utf-8?q?evil.test?=>", "refused"],
  ["<v@near.test=3e@evil.test>", "refused"],
  ["<v=40evil.test@near.test>", "taken", "v=40evil.test@near.test"],
  ["<v%evil.test@near.test>", "taken", "v%evil.test@near.test"],
  ["<v@xn--x@near.test>", "refused"],
  // Domains: labels, dots, literals.
  ["<v@near.test.>", "refused"],
  ["<v@.near.test>", "refused"],
  ["<v@near..test>", "refused"],
  ["<v@-near.test>", "refused"],
  ["<v@near_test>", "not local"],
  ["<v@near.test\\@evil.test>", "refused"],
  [`<v@${"l".repeat(63)}.test>`, "not local"],
  [`<v@${"l".repeat(64)}.test>`, "refused"],
  [`<v@${"l.".repeat(126)}ll>`, "refused"],
  [`<${"v".repeat(64)}@near.test>`, "taken", `${"v".repeat(64)}@near.test`],
  [`<${"v".repeat(244)}@near.test>`, "taken", `${"v".repeat(244)}@near.test`],
  [`<${"v".repeat(245)}@near.test>`, "refused"],
  ["<v@[127.0.0.2]>", "not local"],
  ["<v@[127.1]>", "refused"],
  ["<v@[0177.0.0.1]>", "refused"],
  ["<v@[0x7f.0.0.1]>", "refused"],
  ["<v@[2130706433]>", "refused"],
  ["<v@[near.test]>", "refused"],
  ["<v@[127.0.0.1]near.test>", "refused"],
  ["<v@[IPv6:::1%eth0]>", "refused"],
  ["<v@2130706433>", "not local"],
  // Dots, control characters, other white space.
  ["<v..w@near.test>", "refused"],
  ["<.v@near.test>", "refused"],
  ["<v.@near.test>", "refused"],
  ["<v\t@near.test>", "refused"],
  ["<v\x7f@near.test>", "refused"],
  ['<"v\t"@near.test>', "refused"],
  ['<"v\\\t"@near.test>', "refused"],
  // Look-alikes: they are other letters, and other domains.
  ["<v@ne\u0430r.test>", "not local"],
  ["<v@\uff4eear.test>", "not local"],
  ["<v@near\u3002test>", "refused"],
  ["<v@near\uff0etest>", "refused"],
  ["<v@near.te\u017ft>", "not local"],
  ["<v@near.test\u200b>", "refused"],
  ["<v\uff20near.test>", "refused"],
  ["<\uff1cv@near.test\uff1e>", "refused"],
  ["<v\u0085@near.test>", "refused"],
  ["<v\u009b2J@near.test>", "refused"],
  ["<v\ufffd@near.test>", "refused"],
];

Deno.test("SmtpServer reads an address in one way, and keeps what it was given", async () => {
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    domains: ["near.test"],
    limits: { maxErrors: 0 },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  for (const [path, want, stored] of PATHS) {
    store.clear();
    const line = (text: string) => textOf(utf8(text));
    await client.expect(["MAIL FROM:<a@b.test> SMTPUTF8", "250"]);
    const reply = await client.say(line(`RCPT TO:${path}`));
    const verdicts: Readonly<Record<string, Verdict>> = {
      "250": "taken",
      "550": "not local",
      "500": "refused",
      "501": "refused",
    };
    const name = `${JSON.stringify(path)}: ${reply}`;
    assertEquals(verdicts[reply.slice(0, 3)], want, name);
    if (want === "taken") {
      await client.data("x");
      const [recipient] = store.messages[0]!.recipients;
      assertEquals(`${recipient!.address}`, stored, name);
      assertEquals(recipient!.address.domain, "near.test", name);
      // What was stored is read again as the same.
      assertEquals(`${Address.parse(stored!)}`, stored, name);
    } else await client.expect(["RSET", "250"]);
  }
});

Deno.test("SmtpServer lets no CR, LF or NUL through in an address (CVE-2026-23829)", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store, limits: { maxErrors: 0 } });
  for (const byte of ["\r", "\n", "\0", "\x0b", "\x0c", "\x1b", "\x85"]) {
    for (
      const address of [
        `v${byte}@b.test`,
        `v@b${byte}.test`,
        `"v${byte}"@b.test`,
        `"v\\${byte}"@b.test`,
        `v@b.test${byte}`,
        `v@b.test>${byte}X: y`,
      ]
    ) {
      using client = await TestClient.connect(server);
      await client.reply();
      await client.expect(["EHLO client.test", "250"]);
      const name = JSON.stringify(address);
      // A bare LF is answered at once, and the rest of the line is refused.
      const replies = byte === "\n" ? 2 : 1;
      const refused = async (line: string) => {
        await client.send(`${line}\r\n`);
        for (let left = replies; left > 0; left--) {
          const reply = await client.reply();
          assert(/^5/.test(reply), `${name}: ${reply}`);
        }
      };
      await refused(`MAIL FROM:<${address}>`);
      await client.expect(["MAIL FROM:<a@b.test> SMTPUTF8", "250"]);
      await refused(`RCPT TO:<${address}>`);
      await client.expect(["DATA", "5"]);
    }
  }
  assertEquals(store.messages.length, 0);
});

Deno.test("SmtpServer passes an address on as it was written (nodemailer < 7.0.7)", async () => {
  await using pair = await startPair();
  const recipients = [
    '"v@evil.test"@dest.test',
    '"a\\"@evil.test"@dest.test',
    '"b> RCPT TO:<x"@dest.test',
    "c%evil.test@dest.test",
    "=?utf-8?q?d=40evil.test?=@dest.test",
    "D.Mixed@DEST.test",
  ];
  using client = await TestClient.connect(pair.near);
  await client.envelope(...recipients);
  assertEquals((await client.data("Subject: x")).slice(0, 3), "250");
  const message = await within(pair.farStore.next(), "the message");
  assertEquals(
    message.recipients.map(({ address }) => `${address}`).sort(),
    recipients.sort(),
  );
});
