/**
 * Aliases as a way to relay: what a client without a login may reach through a
 * catch-all that leads to another server. The local part is the client's choice,
 * and another server may read an address beyond itself in it (RFC 5321 section
 * 3.6.1 and appendix C).
 */

import { assertEquals } from "@std/assert";
import { startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";

for (const threads of [0, 2]) {
  Deno.test(`A catch-all hands no routes on (${threads} threads)`, async () => {
    await using pair = await startPair({
      near: {
        threads,
        domains: ["near.test", "other.test"],
        aliases: { "@near.test": "@far.test", "@other.test": "@near.test" },
        limits: { maxRefusedRecipients: 0, tarpitMs: 0 },
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(["EHLO client.test", "250-"], [
      "MAIL FROM:<a@a.test>",
      "250",
    ]);
    const reply = async (address: string) =>
      (await client.say(`RCPT TO:<${address}>`)).slice(0, 9);
    for (
      const local of [
        ...["a%victim.test", "victim.test!a", '"a@victim.test"'],
        ...['"@far.test:a@victim.test"', '"a\\@victim.test"'],
      ]
    ) {
      assertEquals(await reply(`${local}@near.test`), "550 5.1.1", local);
      assertEquals(await reply(`${local}@other.test`), "550 5.1.1", local);
    }
    assertEquals(await reply("a.b@near.test"), "250 2.1.5");
    assertEquals(await reply('"a b"@other.test'), "250 2.1.5");
  });
}
