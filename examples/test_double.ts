/**
 * Tests a program that sends mail against a real server on a free port: one that
 * accepts everything, and ones that refuse.
 *
 * ```sh
 * deno test -A examples/test_double.ts
 * ```
 */

import { SmtpReply } from "@smtp/server";
import { ScriptedClient, startTestServer } from "@smtp/server/testing";
import { assertEquals } from "@std/assert";

/** The program under test: sends the time to an address, in at most two attempts. */
async function sendTime(
  server: { readonly address: string; readonly port: number },
  to: string,
): Promise<boolean> {
  await using client = await ScriptedClient.connect(server);
  await client.expect(220);
  await client.expect(250, "EHLO clock.example");
  await client.expect(250, "MAIL FROM:<clock@clock.example>");
  for (let tries = 1; tries <= 2; tries++) {
    await client.send(`RCPT TO:<${to}>`);
    const reply = await client.read();
    if (reply.isPositive) break;
    if (tries === 2 || !reply.isTemporary) return false;
  }
  await client.expect(354, "DATA");
  await client.send(`Subject: the time\r\n\r\n${new Date().toISOString()}`);
  await client.expect(250, ".");
  return true;
}

Deno.test("sendTime() sends one message to one recipient", async () => {
  await using server = await startTestServer();
  assertEquals(await sendTime(server, "you@example.com"), true);
  const message = await server.nextMessage();
  assertEquals(message.headers.get("Subject"), "the time");
  assertEquals(message.from.toString(), "clock@clock.example");
  assertEquals(server.messages.length, 1);
});

Deno.test("sendTime() tries again when it is told to", async () => {
  let asked = 0;
  await using server = await startTestServer({
    handlers: {
      onRcptTo() {
        if (asked++ > 0) return;
        return new SmtpReply(451, "Not yet", { enhanced: "4.7.1" });
      },
    },
  });
  assertEquals(await sendTime(server, "you@example.com"), true);
  assertEquals([asked, server.messages.length], [2, 1]);
});

Deno.test("sendTime() gives up where there is no such user", async () => {
  await using server = await startTestServer({
    handlers: { onRcptTo: () => false },
  });
  assertEquals(await sendTime(server, "you@example.com"), false);
  assertEquals(server.messages, []);
});
