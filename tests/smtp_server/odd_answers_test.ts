/**
 * What programs of smtp-server call back with in place of an error: objects with
 * the members of one, and errors of another realm. A refusal must not become 250.
 */

import { assertEquals } from "@std/assert";
import { runInNewContext } from "node:vm";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import {
  SMTPServer,
  type SMTPServerOptions,
} from "../../lib/smtp_server/mod.ts";
import { within } from "../support/wait.ts";

const OPEN: SMTPServerOptions = {
  authOptional: true,
  disableReverseLookup: true,
  disabledCommands: ["AUTH", "STARTTLS"],
};

async function connect(server: SMTPServer): Promise<ScriptedClient> {
  await within(
    new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)),
    "the listener",
  );
  const { port } = server.server.address() as { port: number };
  return await ScriptedClient.connect({ address: "127.0.0.1", port });
}

async function close(server: SMTPServer): Promise<void> {
  await within(
    new Promise<void>((resolve) => server.close(resolve)),
    "the end of the server",
  );
}

/** Answers as a program gives them, and the replies. */
const ANSWERS: readonly (readonly [answer: unknown, reply: string])[] = [
  [{ message: "Not now", responseCode: 451 }, "451 Not now"],
  [{ message: "Never" }, "550 Never"],
  [{ responseCode: 452 }, "452 Refused"],
  [Object.create(null), "550 Refused"],
  [{ message: { toString: null }, responseCode: "x" }, "550 Refused"],
  ["Only a text", "550 Only a text"],
];

Deno.test("an object with the members of an error refuses as an error does", async () => {
  let answer: unknown;
  const server = new SMTPServer({
    ...OPEN,
    onRcptTo(_address, _session, callback) {
      callback(answer as Error);
    },
  });
  {
    await using client = await connect(server);
    await client.expect(220);
    await client.expect(250, "EHLO c.example");
    await client.expect(250, "MAIL FROM:<a@b.example>");
    for (const [given, reply] of ANSWERS) {
      answer = given;
      await client.send("RCPT TO:<c@d.example>");
      assertEquals(String(await client.read()), reply);
    }
    await client.expect(221, "QUIT");
  }
  await close(server);
});

Deno.test("LMTP: an object and an error of another realm refuse one recipient", async () => {
  const answers: unknown[] = [
    { message: "Full", responseCode: 452 },
    runInNewContext("new Error('Elsewhere')"),
    "Kept",
  ];
  const server = new SMTPServer({
    ...OPEN,
    lmtp: true,
    onData(stream, _session, callback) {
      stream.resume().on("end", () => callback(null, answers as string[]));
    },
  });
  {
    await using client = await connect(server);
    await client.expect(220);
    await client.expect(250, "LHLO c.example");
    await client.expect(250, "MAIL FROM:<a@b.example>");
    for (const name of ["c", "d", "e"]) {
      await client.expect(250, `RCPT TO:<${name}@d.example>`);
    }
    await client.expect(354, "DATA");
    await client.send("Subject: x\r\n\r\ny\r\n.");
    assertEquals(String(await client.read()), "452 Full");
    assertEquals(String(await client.read()), "450 Elsewhere");
    assertEquals(String(await client.read()), "250 Kept");
    await client.expect(221, "QUIT");
  }
  await close(server);
});
