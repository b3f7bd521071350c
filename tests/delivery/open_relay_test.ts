/**
 * The classic tests for open relays: nineteen ways to write a foreign address so
 * that a careless server relays the message. The server refuses each, or takes it
 * for a strange local part and keeps the mail.
 */

import { assert, assertEquals } from "@std/assert";
import { startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";

/** The way, the reverse-path, the forward-path, and the result. */
const ROWS: readonly (readonly [
  name: string,
  from: string,
  to: string,
  want: "550 5.7.1" | "local" | "syntax",
])[] = [
  ["plain", "<a@b.test>", "<you@dest.test>", "550 5.7.1"],
  ["sender without domain", "<a>", "<you@dest.test>", "syntax"],
  ["null sender", "<>", "<you@dest.test>", "550 5.7.1"],
  ["own-domain sender", "<a@near.test>", "<you@dest.test>", "550 5.7.1"],
  ["own-literal sender", "<a@[127.0.0.1]>", "<you@dest.test>", "550 5.7.1"],
  ["percent hack", "<a@b.test>", "<you%dest.test@near.test>", "local"],
  [
    "percent hack, literal",
    "<a@b.test>",
    "<you%dest.test@[127.0.0.1]>",
    "local",
  ],
  ["quoted address", "<a@b.test>", `<"you@dest.test">`, "syntax"],
  ["quoted percent", "<a@b.test>", `<"you%dest.test">`, "syntax"],
  ["two at signs", "<a@b.test>", "<you@dest.test@near.test>", "syntax"],
  ["quoted at sign", "<a@b.test>", `<"you@dest.test"@near.test>`, "local"],
  [
    "two at signs, literal",
    "<a@b.test>",
    "<you@dest.test@[127.0.0.1]>",
    "syntax",
  ],
  ["source route", "<a@b.test>", "<@near.test:you@dest.test>", "550 5.7.1"],
  [
    "source route, literal",
    "<a@b.test>",
    "<@[127.0.0.1]:you@dest.test>",
    "syntax",
  ],
  ["bang path", "<a@b.test>", "<dest.test!you>", "syntax"],
  ["bang path, own domain", "<a@b.test>", "<dest.test!you@near.test>", "local"],
  [
    "bang path, literal",
    "<a@b.test>",
    "<dest.test!you@[127.0.0.1]>",
    "local",
  ],
  ["literal", "<a@b.test>", "<you@[192.0.2.1]>", "550 5.7.1"],
  [
    "own domain in front",
    "<a@b.test>",
    "<you@near.test.dest.test>",
    "550 5.7.1",
  ],
];

const POLICIES = {
  "relaying off": { from: [] },
  "relaying for others": { from: ["10.0.0.0/8"], allow: "authenticated" },
} as const;

for (const [policy, relay] of Object.entries(POLICIES)) {
  Deno.test(`SmtpServer is no open relay, ${policy}`, async (t) => {
    assertEquals(ROWS.length, 19);
    for (const [name, from, to, want] of ROWS) {
      await t.step(name, async () => {
        await using pair = await startPair({
          relay,
          near: { domains: ["near.test"] },
        });
        using client = await TestClient.connect(pair.near);
        await client.reply();
        await client.expect(["EHLO client.test", "250"]);
        const mail = await client.say(`MAIL FROM:${from}`);
        const rcpt = mail.startsWith("2")
          ? await client.say(`RCPT TO:${to}`)
          : mail;
        if (want === "syntax") assert(/^5[05]\d/.test(rcpt), rcpt);
        else if (want === "local") assert(rcpt.startsWith("250"), rcpt);
        else assertEquals(rcpt.slice(0, want.length), want);
        if (want === "local") {
          await client.data("Subject: Trick\r\n\r\nText");
          assertEquals(pair.nearStore.messages.length, 1);
        }
        assertEquals(pair.near.relays.count, 0);
        assertEquals(pair.farStore.messages.length, 0);
      });
    }
  });
}

Deno.test("SmtpServer takes a source route for what it leads to, and drops it", async () => {
  await using pair = await startPair({ near: { domains: ["near.test"] } });
  using client = await TestClient.connect(pair.near);
  await client.envelope("@near.test:you@dest.test");
  await client.data("Subject: Hello\r\n\r\nText");
  const message = await pair.farStore.next();
  assertEquals(`${message.recipients[0]!.address}`, "you@dest.test");
});
