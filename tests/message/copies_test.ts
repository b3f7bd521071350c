/**
 * `message.forRecipients()`: a copy has the header edits and the fields on top that
 * the message has, later changes stay with one of them, and the log says into
 * which queue entries any of them went. On sockets, by one thread and by two.
 */

import { assertEquals } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import type { Message } from "../../lib/message/message.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { spoolContent } from "../../lib/spool/control.ts";
import { TestFolder } from "../support/folder.ts";
import { TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";
import { sharesPorts } from "../support/platform.ts";

for (const threads of [0, ...sharesPorts ? [2] : []]) {
  const by = `(${threads} threads)`;

  Deno.test(`Copies of a message are queued with their own fields ${by}`, async () => {
    await using folder = await TestFolder.create();
    const spool = `${folder.path}/spool`;
    const store = new MemoryStore();
    const records: LogRecord[] = [];
    await using server = new SmtpServer({
      ...{ threads, store, listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"] },
      ...{ hostname: "mx.test", log: (record) => records.push(record) },
      domains: { "a.test": {}, "small.test": { maxSize: 20 } },
      relay: { spool },
      handlers: {
        async onMessage(_session, message: Message) {
          message.headers.set("Subject", "changed");
          message.prepend("X-All", "yes");
          const [first] = message.recipients;
          const copy = message.forRecipients([first!]);
          copy.prepend("X-One", "yes");
          message.prepend("X-Rest", "yes");
          await server.relays.add(copy, { held: true });
          await server.relays.add(message.forRecipients([first!]), {
            held: true,
          });
          if (first!.address.localPart === "away") message.store = [];
        },
      },
    });
    await server.start();
    /** Sends a message; gives what its log record says of the queue. */
    const send = async (name: string, lmtp = false) => {
      records.length = 0;
      using client = await TestClient.connect(server, lmtp ? 1 : 0);
      await client.reply();
      await client.expect(
        [`${lmtp ? "LHLO" : "EHLO"} client.test`, "250"],
        ["MAIL FROM:<a@b.test>", "250"],
        [`RCPT TO:<${name}@a.test>`, "250"],
      );
      if (lmtp) await client.expect(["RCPT TO:<b@small.test>", "250"]);
      await client.data("Subject: first\r\n\r\nHello, hello, hello\r\n");
      const record = await until(() =>
        records.find(({ event }) => event === "message")
      );
      return record!.fields!["queued"];
    };
    assertEquals(
      await send("ann"),
      [...server.relays].map(({ id }) => id),
    );
    const texts = [];
    for (const { id } of server.relays) {
      const content = ReadableStream.from(spoolContent(spool, id));
      const text = await new Response(content).text();
      texts.push(text.split("\r\n").filter((line) => /^[XS]/.test(line)));
    }
    assertEquals(texts, [
      ["X-One: yes", "X-All: yes", "Subject: changed"],
      ["X-Rest: yes", "X-All: yes", "Subject: changed"],
    ]);
    const kept = store.messages[0]!.text;
    assertEquals(kept.split("\r\n").filter((line) => /^[XS]/.test(line)), [
      ...["X-Rest: yes", "X-All: yes", "Subject: changed"],
    ]);
    // No store, and two entries of the queue: it is not said to be handled alone.
    assertEquals((await send("away") as string[]).length, 2);
    assertEquals(records.filter(({ event }) => event === "stored"), []);
    assertEquals((await send("ann", true) as string[]).length, 2);
  });
}
