/**
 * Domains and mailboxes that are local (RFC 5321 section 4.5.1 for postmaster).
 */

import { assertEquals } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { localDomains } from "../../lib/session/local_domains.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer, TestClient } from "../support/server.ts";

/** The option `domains`, an address, and whether it is local. */
const ROWS: [domains: string[], address: string, local: boolean][] = [
  [["bücher.example"], "a@xn--bcher-kva.example", true],
  [["bücher.example"], "a@XN--BCHER-KVA.Example", true],
  [["bücher.example"], "a@BÜCHER.example", true],
  [["xn--bcher-kva.example"], "a@bücher.example", true],
  [["XN--Bcher-Kva.EXAMPLE"], "a@Bücher.Example", true],
  [["Bücher.Example."], "a@bu\u0308cher.example", true],
  [["example.com."], "a@EXAMPLE.com", true],
  [["[IPv6:2001:DB8::1]"], "a@[IPv6:2001:db8:0:0::1]", true],
  [["bücher.example"], "a@bucher.example", false],
  [["bücher.example"], "a@b.bücher.example", false],
  [["xn--bcher-kva.example"], "a@xn--bcher.example", false],
  [[], "a@[127.0.0.1]", true],
  [[], "a@[IPv6:::ffff:127.0.0.1]", true],
  [[], "a@[127.0.0.2]", false],
  [[], "a@127.0.0.1", false],
];

for (const [domains, text, local] of ROWS) {
  Deno.test(`local domains ${JSON.stringify(domains)}: ${text} is ${local ? "" : "not "}local`, () => {
    const isLocal = localDomains(domains);
    assertEquals(isLocal(Address.parse(text), "127.0.0.1"), local);
  });
}

Deno.test("an address literal is local only at the address that the client connected to", () => {
  const isLocal = localDomains([]);
  const address = Address.parse("a@[192.0.2.1]");
  assertEquals(isLocal(address), false);
  assertEquals(isLocal(address, "192.0.2.2"), false);
  assertEquals(isLocal(address, "unknown"), false);
  assertEquals(isLocal(address, "::ffff:192.0.2.1"), true);
});

Deno.test("a server takes both spellings of its domain, and its own address literal", async () => {
  const store = new MemoryStore();
  await using server = await startServer({
    domains: ["bücher.example"],
    store,
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO x", "250"],
    ["MAIL FROM:<a@b.test> SMTPUTF8", "250"],
    ["RCPT TO:<a@XN--bcher-kva.example>", "250"],
    ["RCPT TO:<a@b\xc3\xbccher.example>", "250"],
    ["RCPT TO:<postmaster@[127.0.0.1]>", "250"],
    ["RCPT TO:<a@[127.0.0.9]>", "550 5.7.1"],
    ["RCPT TO:<a@bucher.example>", "550 5.7.1"],
  );
  assertEquals((await client.data("Subject: x\r\n\r\nx")).slice(0, 3), "250");
  assertEquals(store.messages[0]!.recipients.length, 3);
});
