/**
 * STARTTLS injection: neither side may take bytes that came in the clear for
 * bytes that came under TLS (CVE-2011-0411 Postfix, CVE-2024-34083 aiosmtpd,
 * and the classes of https://nostarttls.secvuln.info/). How commands injected
 * in the packet of STARTTLS are dropped is in `../session/starttls_test.ts`,
 * the same at every cut in `../fuzz/`; here is what else was found in others.
 *
 * The promise of SECURITY.md: "Nothing from before TLS is believed in it".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc3207#section-4.2 | RFC 3207 section 4.2}
 */

import { assertEquals, assertRejects } from "@std/assert";
import { SmtpClientError } from "../../lib/client/error.ts";
import { ClientProtocol } from "../../lib/protocol/client/protocol.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { connectClient, FakeNetwork } from "../support/client/fake_server.ts";
import { Driver } from "../support/dialogue.ts";
import { startServer, TestClient } from "../support/server.ts";
import { certificate, dial, plainResponse, secure } from "../support/tls.ts";
import { waysToCut } from "../support/random.ts";
import { bytesOf } from "../support/bytes.ts";
import { replies } from "../../lib/protocol/replies.ts";

// The receiving side.

Deno.test("ServerProtocol drops what follows STARTTLS in its packet, wherever that is cut (CVE-2024-34083)", () => {
  const injected =
    "EHLO evil.test\r\nMAIL FROM:<evil@b.test>\r\nRCPT TO:<v@b.test>\r\nSTARTTLS\r\nDATA\r\nx\r\n.\r\nQU";
  for (let length = 0; length <= injected.length; length++) {
    const driver = new Driver({ startTls: "allowed" });
    driver.feed("EHLO x\r\n").take();
    driver.feed(`STARTTLS\r\n${injected.slice(0, length)}`);
    assertEquals(driver.take(), [String(replies.startTls)]);
    // The first line under TLS is read from its first byte, and the session begins with EHLO again.
    driver.feed("MAIL FROM:<a@b.test>\r\nIT\r\n");
    assertEquals(driver.take().map((line) => line.slice(0, 9)), [
      "503 5.5.1",
      "500 5.5.2",
    ]);
    const { machine } = driver;
    assertEquals([machine.state.helo, machine.state.extended], [
      undefined,
      false,
    ]);
    assertEquals(machine.state.envelope, undefined);
  }
});

Deno.test("ServerProtocol forgets the beginning of a line that came before STARTTLS ended", () => {
  const driver = new Driver({ startTls: "allowed" });
  driver.feed("EHLO x\r\nSTARTTLS\r").feed("\nEHLO ev").take();
  driver.feed("il.test\r\n");
  assertEquals(driver.take(), [String(replies.unknownCommand)]);
});

const NOT_STARTTLS: readonly [line: string, want: string][] = [
  ["STARTTLSFOO", "500"],
  ["STARTTLS x", "501"],
  ["STARTTLS\0", "500"],
  ["STARTTLS \0", "500"],
  ["\u017fTARTTLS", "500"],
  ["S\u00a0TARTTLS", "500"],
];

Deno.test("Only STARTTLS is STARTTLS", () => {
  for (const [line, want] of NOT_STARTTLS) {
    const driver = new Driver({ startTls: "allowed" });
    driver.feed("EHLO x\r\n").take();
    driver.feed(new TextEncoder().encode(`${line}\r\n`));
    assertEquals(driver.take()[0]!.slice(0, 3), want, line);
    assertEquals(driver.events.includes("startTls"), false, line);
  }
});

Deno.test("SmtpServer keeps no log-in and no envelope over STARTTLS", async () => {
  await using server = await startServer({
    certificate,
    accounts: new AccountList({ ann: "secret" }),
    allowInsecureAuth: true,
    authentication: "required",
  });
  const transport = await dial(server);
  const plain = new TestClient(transport);
  await plain.reply();
  await plain.expect(
    ["EHLO client.test", "250"],
    [`AUTH PLAIN ${plainResponse("ann", "secret")}`, "235"],
  );
  await plain.send("STARTTLS\r\nEHLO x\r\nMAIL FROM:<evil@b.test>\r\n");
  assertEquals((await plain.reply()).slice(0, 3), "220");
  using secured = await secure(transport);
  await secured.client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@b.test>", "530"],
  );
});

Deno.test("SmtpServer that requires TLS runs nothing in the clear but what leads there", async () => {
  await using server = await startServer({ certificate, security: "required" });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["MAIL FROM:<a@b.test>", "530"],
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@b.test>", "530"],
    ["AUTH PLAIN AAAA", "530"],
    ["RCPT TO:<c@d.test>", "530"],
    ["DATA", "530"],
    ["VRFY ann", "530"],
    ["RSET", "530"],
    ["NOOP", "250"],
  );
});

// The sending side.

/** A client that has said STARTTLS and read this, cut so; its last effect. */
function answered(pieces: readonly Uint8Array[]): string {
  const client = new ClientProtocol({ hostname: "me.test" });
  client.open();
  const hear = (bytes: Uint8Array) => {
    while (client.next().kind === "write");
    client.receive(bytes);
  };
  hear(bytesOf("220 x\r\n"));
  hear(bytesOf("250-x\r\n250 STARTTLS\r\n"));
  assertEquals(client.next().kind, "done");
  client.startTls();
  while (client.next().kind === "write");
  for (const piece of pieces) client.receive(piece);
  return client.next().kind;
}

const INJECTED_REPLIES = [
  "250-evil\r\n250 AUTH PLAIN\r\n",
  "2",
  "\r\n",
  "\n",
  "235 2.7.0 In\r\n",
  "220 Again\r\n",
  "\x16\x03\x01\x02",
  "\0",
];

Deno.test("ClientProtocol begins no TLS when replies were injected behind the 220", () => {
  for (const injected of INJECTED_REPLIES) {
    const bytes = bytesOf(`220 2.0.0 Go\r\n${injected}`);
    for (const [, pieces] of waysToCut(bytes)) {
      assertEquals(answered(pieces), "failed", JSON.stringify(injected));
    }
  }
  for (const [, pieces] of waysToCut(bytesOf("220-a\r\n220 Go\r\n"))) {
    assertEquals(answered(pieces), "startTls");
  }
});

Deno.test("ClientProtocol forgets under TLS what was offered in the clear", () => {
  const client = new ClientProtocol({ hostname: "me.test" });
  client.open();
  const hear = (text: string) => {
    while (client.next().kind === "write");
    client.receive(bytesOf(text));
  };
  hear("220 x\r\n");
  hear("250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
  client.next();
  client.startTls();
  hear("220 Go\r\n");
  assertEquals(client.next().kind, "startTls");
  assertEquals(client.capabilities.has("AUTH"), false);
});

Deno.test("ClientProtocol takes no reply that comes before its command", () => {
  const client = new ClientProtocol({ hostname: "me.test" });
  client.open();
  client.next();
  client.receive(bytesOf("220 x\r\n250-x\r\n250 AUTH PLAIN\r\n"));
  assertEquals(client.next().kind, "failed");
  assertEquals(client.capabilities.has("AUTH"), false);
});

for (
  const [name, faults] of [
    ["greets with PREAUTH and offers no STARTTLS", { greeting: "220 PREAUTH" }],
    ["refuses STARTTLS", { STARTTLS: "454 4.7.0 Not now" }],
    ["injects behind the 220", { STARTTLS: "220 Go\r\n250 AUTH PLAIN" }],
  ] as const
) {
  Deno.test(`SmtpClient says no password in the clear to a server that ${name}`, async () => {
    const network = new FakeNetwork({
      "mx.test": {
        capabilities: name.startsWith("greets")
          ? ["AUTH PLAIN"]
          : ["AUTH PLAIN", "STARTTLS"],
        faults: { ...faults },
      },
    });
    await assertRejects(
      () =>
        connectClient({
          host: "mx.test",
          hostname: "me.test",
          connect: network.connect,
          security: "required",
          login: { username: "ann", password: "secret" },
        }),
      SmtpClientError,
    );
    const lines = network.servers.flatMap((server) => server.lines);
    assertEquals(lines.filter((line) => /AUTH|MAIL/.test(line)), []);
    assertEquals(network.open, 0);
  });
}
