/**
 * The header block before the message is accepted: the limit of `onHeaders`, and
 * silent verdicts.
 */

import { assertEquals } from "@std/assert";
import { SILENT_ALLOW, SILENT_DENY } from "../../lib/session/handlers.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { openSession } from "../support/server.ts";
import { replies } from "../../lib/protocol/replies.ts";

const LIMIT = 262_144;

/** A header block of so many bytes, including its blank line. */
function header(bytes: number): string {
  const line = `X: ${"y".repeat(75)}\r\n`;
  const left = bytes - 2;
  const lines = line.repeat(Math.floor(left / line.length) - 1);
  return `${lines}X: ${"y".repeat(left - lines.length - 5)}\r\n\r\n`;
}

for (const piece of [LIMIT * 2, 65_536, 1460, 100]) {
  Deno.test(`onHeaders() gets a header of 256 KiB and no more, in pieces of ${piece}`, async () => {
    for (const size of [LIMIT, LIMIT + 1]) {
      const store = new MemoryStore();
      let asked = 0;
      await using it = openSession({
        store,
        handlers: { onHeaders: () => void asked++ },
      });
      await it.client.envelope();
      const content = `${header(size)}Hello\r\n`;
      assertEquals(content.length, size + 7);
      await it.client.send(`BDAT ${content.length} LAST\r\n`);
      for (let at = 0; at < content.length; at += piece) {
        await it.client.send(content.slice(at, at + piece));
      }
      const reply = await it.client.reply();
      if (size > LIMIT) {
        assertEquals(reply, "552 5.3.4 Header exceeds 256 KiB");
        assertEquals([asked, store.messages.length], [0, 0]);
      } else {
        assertEquals(reply, "250 2.0.0 Message accepted as ID2");
        assertEquals(asked, 1);
        assertEquals(store.messages[0]!.text, content);
      }
    }
  });
}

Deno.test("onHeaders() that denies in silence is not followed by a reply", async () => {
  for (const wait of [false, true]) {
    for (const start of ["DATA\r\n", "BDAT 10 LAST\r\n", "BDAT 10\r\n"]) {
      const store = new MemoryStore();
      await using it = openSession({
        store,
        handlers: {
          onHeaders(session) {
            session.send("550 Not that\r\n");
            return wait ? Promise.resolve(SILENT_DENY) : SILENT_DENY;
          },
        },
      });
      await it.client.envelope();
      await it.client.send(start);
      if (start.startsWith("DATA")) await it.client.reply();
      await it.client.send("A: b\r\n\r\nx\r");
      await it.client.send(start.startsWith("DATA") ? "\n.\r\n" : "");
      assertEquals(await it.client.reply(), "550 Not that");
      assertEquals(await it.client.say("NOOP"), String(replies.ok));
      assertEquals(store.messages.length, 0);
    }
  }
});

Deno.test("onMessageStart() that is silent is not followed by a reply to BDAT", async () => {
  for (const verdict of [SILENT_ALLOW, SILENT_DENY] as const) {
    await using it = openSession({
      handlers: {
        onMessageStart(session) {
          session.send("250 Mine\r\n");
          return verdict;
        },
      },
    });
    await it.client.envelope();
    assertEquals(await it.client.say("BDAT 3\r\nx"), "250 Mine");
    const last = await it.client.say("BDAT 3 LAST\r\ny");
    assertEquals(
      last.slice(0, 9),
      verdict === SILENT_ALLOW ? "250 2.0.0" : "503 5.5.1",
    );
    assertEquals(await it.client.say("NOOP"), String(replies.ok));
  }
});
