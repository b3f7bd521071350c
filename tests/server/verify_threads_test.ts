/**
 * The checks of mail from outside where connections are served by threads, and
 * handlers run here or in them: the results, the field and SPF are as without.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { SmtpServer } from "../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../lib/server/options.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { sharesPorts } from "../support/platform.ts";
import { TestClient } from "../support/server.ts";
import { startZoneServer } from "../support/zone_server.ts";
import { handlers } from "../support/threads/verify_handlers.ts";

const MODULE = new URL(
  "../support/threads/verify_handlers.ts",
  import.meta.url,
);

const MODES: Readonly<
  Record<string, Pick<SmtpServerOptions, "threads" | "handlers">>
> = {
  "one thread": { handlers },
  "one thread, module": { handlers: MODULE },
  ...(sharesPorts && {
    "two threads, handlers here": { threads: 2, handlers },
    "two threads, module": { threads: 2, handlers: MODULE },
  }),
};

const ZONE = {
  "TXT good.test": ["v=spf1 ip4:127.0.0.1 -all"],
  "TXT _dmarc.good.test": ["v=DMARC1; p=reject"],
  "TXT bad.test": ["v=spf1 -all"],
  "TXT _dmarc.bad.test": ["v=DMARC1; p=reject"],
};

for (const [name, mode] of Object.entries(MODES)) {
  Deno.test(`Results reach handlers and the stored message (${name})`, async () => {
    await using zone = await startZoneServer(ZONE);
    const store = new MemoryStore();
    await using server = new SmtpServer({
      listen: "127.0.0.1:0",
      hostname: "mx.test",
      store,
      log: () => {},
      dns: { nameServers: [zone.nameServer] },
      verify: { exempt: [], dmarc: "enforce" },
      ...mode,
    });
    await server.start();
    const send = async (domain: string) => {
      using client = await TestClient.connect(server);
      await client.reply();
      await client.expect(
        ["EHLO client.test", "250"],
        [`MAIL FROM:<eve@${domain}>`, "250"],
        ["RCPT TO:<ann@home.test>", "250"],
        ["DATA", "354"],
      );
      return await client.say(
        "Authentication-Results: mx.test; dkim=pass header.d=forged.test\r\n" +
          `From: <eve@${domain}>\r\n\r\nHello\r\n.`,
      );
    };
    assertMatch(await send("bad.test"), /^550 5\.7\.1 .*"bad\.test"/);
    assertMatch(await send("good.test"), /^250 /);
    assertEquals(store.messages.length, 1);
    const { text } = store.messages[0]!;
    assertMatch(text, /^Authentication-Results: mx\.test;/);
    assertMatch(text, /dmarc=pass/);
    assertMatch(text, /\r\nX-Seen: pass pass pass pass true\r\n/);
    assertEquals(text.match(/Authentication-Results:/g)!.length, 1);
    assertEquals(text.includes("forged.test"), false);
  });
}
