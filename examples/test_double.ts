/**
 * Tests a program that sends mail against a real server on a free port: one that
 * accepts everything, and one that knows a single user.
 *
 * ```sh
 * deno test -A examples/test_double.ts
 * ```
 */

import { SmtpClient } from "@smtp/server/client";
import { startTestServer } from "@smtp/server/testing";
import { assertEquals } from "@std/assert";

/** The program under test: sends a greeting, and returns whether it was accepted. */
async function greet(port: number, to: string): Promise<boolean> {
  await using client = await SmtpClient.connect({ host: "127.0.0.1", port });
  const data = "Subject: hello\r\n\r\nIt works.\r\n";
  const sent = await client.send({ from: "me@example.com", to: [to], data });
  return sent.recipients[0]!.accepted;
}

Deno.test("greet() sends one message to one recipient", async () => {
  await using server = await startTestServer();
  assertEquals(await greet(server.port, "you@example.com"), true);
  const { headers } = await server.nextMessage();
  assertEquals(headers.text("Subject"), "hello");
});

Deno.test("greet() reports that there is no such user", async () => {
  await using server = await startTestServer({ localRecipients: ["you"] });
  assertEquals(await greet(server.port, "them@example.com"), false);
  assertEquals(server.messages, []);
});
