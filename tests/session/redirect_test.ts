/**
 * The envelope as handlers see it, and recipients that a handler sends elsewhere:
 * on the main thread and in workers, by SMTP and LMTP, to the store and to the
 * queue. RFC 3461 section 4.2 (ORCPT), RFC 2033 section 4.2 (replies of LMTP).
 */

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { redirect } from "../../lib/protocol/redirect.ts";
import { SmtpError } from "../../lib/protocol/reply.ts";
import { type Message, StoreError } from "../../lib/message/message.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import type { SmtpHandlers } from "../../lib/session/handlers.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import handlers from "../support/threads/redirect_handlers.ts";
import { startPair } from "../support/queue/relaying.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const MODULE = new URL(
  "../support/threads/redirect_handlers.ts",
  import.meta.url,
);

const MODES: Readonly<Record<string, SmtpServerOptions>> = {
  "one thread": { handlers },
  "two threads, handlers here": { threads: 2, handlers },
  "two threads, module": { threads: 2, handlers: MODULE },
};

/** A next hop that remembers the parameters of RCPT. */
function remembering(): { seen: string[]; handlers: SmtpHandlers } {
  const seen: string[] = [];
  return {
    seen,
    handlers: {
      onRcptTo: (_session, address, { orcpt, notify }) => {
        seen.push(`${address} ${orcpt?.type};${orcpt?.address} ${notify}`);
      },
    },
  };
}

for (const [mode, options] of Object.entries(MODES)) {
  Deno.test(`The envelope grows with the transaction (${mode})`, async () => {
    await using pair = await startPair({
      near: { ...options, domains: ["near.test"], addReceived: false },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["EHLO client.test", "250-"],
      ["MAIL FROM:<a@a.test> SIZE=100", "250 mail none"],
      ["RCPT TO:<envelope@near.test>", "250 rcpt <a@a.test> 100 []"],
      [
        "RCPT TO:<envelope@near.test>",
        "250 rcpt <a@a.test> 100 [envelope@near.test]",
      ],
      ["RCPT TO:<bad@near.test>", "451 4.3.0"],
      ["RCPT TO:<away@near.test>", "250 2.1.5"],
      [
        "RCPT TO:<envelope@near.test>",
        "250 rcpt <a@a.test> 100 [envelope@near.test envelope@near.test bob@dest.test<away@near.test]",
      ],
      ["RSET", "250 2.0.0"],
    );
    assertEquals(await client.reply(), "250 reset none");
    await client.expect(
      ["MAIL FROM:<>", "250 mail none"],
      ["RCPT TO:<team@near.test>", "250 2.1.5"],
    );
    assertEquals(
      await client.data("Subject: x\r\n"),
      "250 message true <> undefined [ann@near.test<team@near.test bob@dest.test<team@near.test]",
    );
  });

  Deno.test(`A redirect goes to the store and the queue (${mode})`, async () => {
    const hop = remembering();
    await using pair = await startPair({
      near: { ...options, domains: ["near.test"] },
      // No client may relay: the program may.
      relay: { from: [] },
      far: { handlers: hop.handlers },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["EHLO client.test", "250-"],
      ["MAIL FROM:<a@a.test>", "250"],
      ["RCPT TO:<bob@dest.test>", "550 5.7.1"],
      ["RCPT TO:<team@near.test> NOTIFY=FAILURE", "250 2.1.5"],
    );
    await client.data("Subject: x\r\n");
    const there = await until(() => pair.farStore.messages[0]);
    assertEquals(there!.recipients.map(({ address }) => `${address}`), [
      "bob@dest.test",
    ]);
    assertEquals(hop.seen, ["bob@dest.test rfc822;team@near.test FAILURE"]);
    const [here] = pair.nearStore.messages;
    assertEquals(here!.recipients.map(({ address }) => `${address}`), [
      "ann@near.test",
    ]);
    assertStringIncludes(here!.text, "for <team@near.test>");
  });
}

Deno.test("ORCPT of the client is kept, and one target is sent to once", async () => {
  const hop = remembering();
  await using pair = await startPair({
    near: { handlers, domains: ["near.test"] },
    far: { handlers: hop.handlers },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250-"],
    ["MAIL FROM:<a@a.test> SMTPUTF8", "250"],
    ["RCPT TO:<away@near.test> ORCPT=rfc822;first+2Bx@old.test", "250"],
    ["RCPT TO:<team@near.test>", "250"],
    ["RCPT TO:<bob@dest.test>", "250"],
    ["RCPT TO:<wide@near.test>", "250"],
  );
  await client.data("Subject: x\r\n");
  const there = await until(() => pair.farStore.messages[0]);
  assertEquals(there!.recipients.map(({ address }) => `${address}`), [
    "bob@dest.test",
    "grüße@dest.test",
  ]);
  assertEquals(hop.seen, [
    "bob@dest.test rfc822;first+x@old.test undefined",
    "grüße@dest.test rfc822;wide@near.test undefined",
  ]);
});

Deno.test("maxRecipients counts what the client said", async () => {
  await using pair = await startPair({
    near: { handlers, domains: ["near.test"], limits: { maxRecipients: 2 } },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250-"],
    ["MAIL FROM:<a@a.test>", "250"],
    ["RCPT TO:<team@near.test>", "250"],
    ["RCPT TO:<ann@near.test>", "250"],
    ["RCPT TO:<eve@near.test>", "452 4.5.3"],
  );
});

Deno.test("A redirect that cannot be used refuses its own recipient only", async () => {
  await using pair = await startPair({
    near: { handlers, domains: ["near.test"] },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250-"],
    ["MAIL FROM:<a@a.test>", "250"],
    ["RCPT TO:<ann@near.test>", "250"],
    ["RCPT TO:<empty@near.test>", "451 4.3.0"],
    ["RCPT TO:<bad@near.test>", "451 4.3.0"],
    ["RCPT TO:<many@near.test>", "451 4.3.0"],
    ["RCPT TO:<wide@near.test>", "250"],
  );
  assertStringIncludes(
    new TextDecoder().decode(
      bytesOf(await client.data("Subject: x\r\n")),
    ),
    "[ann@near.test grüße@dest.test<wide@near.test]",
  );
});

/** Keeps mail for everyone but `full`. */
class PickyStore extends MemoryStore {
  override async save(message: Message): Promise<void> {
    const why = new SmtpError(452, "Full", { enhanced: "4.2.2" });
    const full = message.recipients.filter(({ address }) =>
      address.localPart === "full"
    );
    await super.save(message);
    if (full.length === 0) return;
    const failures = new Map(full.map((one) => [one, why]));
    throw new StoreError("Not for all", failures);
  }
}

Deno.test("LMTP replies once for each RCPT, with the worst of its targets", async () => {
  for (const options of Object.values(MODES)) {
    await using pair = await startPair({
      near: {
        ...options,
        listen: "127.0.0.1:0/lmtp",
        domains: ["near.test"],
        store: new PickyStore(),
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["LHLO client.test", "250-"],
      ["MAIL FROM:<a@a.test>", "250"],
      ["RCPT TO:<team@near.test>", "250"],
      ["RCPT TO:<half@near.test>", "250"],
      ["RCPT TO:<full@near.test>", "250"],
      ["RCPT TO:<ann@near.test>", "250"],
    );
    assertStringIncludes(await client.data("Subject: x\r\n"), "250 2.0.0");
    assertEquals(await client.reply(), "452 4.2.2 Full");
    assertEquals(await client.reply(), "452 4.2.2 Full");
    assertStringIncludes(await client.reply(), "250 2.0.0");
    await client.expect(["NOOP", "250 2.0.0 OK"]);
  }
});

Deno.test("redirect() takes addresses and texts, and says what is wrong", () => {
  const address = Address.parse("ann@near.test");
  assertEquals(redirect(address, "bob@near.test").addresses.map(String), [
    "ann@near.test",
    "bob@near.test",
  ]);
  assertThrows(() => redirect("a b@near.test"), SyntaxError, "offset 1");
  assertThrows(() => redirect(Address.NULL), TypeError, "empty address");
  const many = Array.from({ length: 1000 }, () => address);
  assertThrows(() => redirect(address, ...many), RangeError, "at most 1000");
  assertThrows(() => redirect(5 as unknown as string), TypeError, "string");
});
