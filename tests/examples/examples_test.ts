/** The examples, unchanged, each in its own process and folder. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { SmtpClient } from "@smtp/server/client";
import { startTestServer } from "@smtp/server/testing";
import { connect } from "node:net";
import { DatabaseSync } from "node:sqlite";
import { messageTo } from "../support/cli.ts";
import { startWireServer } from "../support/dns.ts";
import { Example } from "../support/example.ts";
import { DEADLINE_MS } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

/** Waits for a first answer, then sends everything at once; returns all answers. */
function converse(
  target: { port: number; localAddress?: string },
  lines: readonly string[],
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: "127.0.0.1", ...target });
  let text = "";
  socket.setTimeout(
    DEADLINE_MS,
    () => socket.destroy(new Error(`Late: ${text}`)),
  );
  socket.once("data", () => socket.write(lines.join("")));
  socket.on("data", (bytes) => text += bytes.toString());
  socket.on("close", () => resolve(text));
  socket.on("error", reject);
  return promise;
}

Deno.test("examples/minimal.ts keeps a message", async () => {
  await using example = await Example.start("minimal.ts");
  await using client = await example.connect();
  await client.script(messageTo(["you@example.com"]));
  const files = await example.folder.files();
  assertEquals(files.length, 1);
  assert(files[0]?.startsWith("mail/you@example.com/new/"), files.join());
});

Deno.test("examples/mailbox_per_user.ts gives an mbox to users only", async () => {
  await using example = await Example.start("mailbox_per_user.ts");
  await using client = await example.connect();
  await client.script(`
    S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<me@spam.example>
    S: ${replies.refusedSender}
    C: MAIL FROM:<me@client.example>
    S: 250
    C: RCPT TO:<nobody@example.com>
    S: ${replies.noSuchUser}
    C: RCPT TO:<you@elsewhere.example>
    S: 550 5.7.1 ...
    C: RCPT TO:<Info@example.com>
    S: 250
    C: RCPT TO:<bob+lists@example.com>
    S: 250
    C: DATA
    S: 354
    C: From: me@client.example
    C:
    C: No subject.
    C: .
    S: 554 5.6.0 A subject, please
    C: MAIL FROM:<me@client.example>
    S: 250
    C: RCPT TO:<Info@example.com>
    S: 250
    C: RCPT TO:<bob+lists@example.com>
    S: 250
    C: DATA
    S: 354
    C: Subject: hello
    C:
    C: It works.
    C: .
    S: 250
  `);
  assertEquals(await example.folder.files(), ["mail/alice", "mail/bob"]);
});

Deno.test("examples/pop3_server.ts serves by POP3 the mail that came by SMTP", async () => {
  await using example = await Example.start("pop3_server.ts", ["0", "0"], {
    ports: 2,
  });
  await using client = await example.connect();
  await client.script(messageTo(["Ann@example.com"]));
  await using other = await example.connect();
  await other.script(`
    S: 220
    C: HELO client.example
    S: 250
    C: MAIL FROM:<me@client.example>
    S: 250
    C: RCPT TO:<bob@example.com>
    S: 550
  `);
  const port = example.ports[1]!;
  const login = "USER ann@example.com\r\nPASS a secret of Ann\r\n";
  const first = await converse({ port }, [
    `${login}STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nSTAT\r\nQUIT\r\n`,
  ]);
  assert(
    /^\+OK.*\r\n\+OK\r\n\+OK 1 messages\r\n\+OK 1 \d+\r\n/.test(first),
    first,
  );
  assertStringIncludes(first, "\r\nSubject: ");
  assertStringIncludes(first, "\r\n.\r\n+OK\r\n+OK 0 0\r\n+OK Bye\r\n");
  assertEquals(await example.folder.files(), []);
  const second = await converse({ port }, [
    "USER ann@example.com\r\nPASS guess\r\nSTAT\r\nQUIT\r\n",
  ]);
  assertStringIncludes(second, "-ERR No such login\r\n-ERR Log in first\r\n");
});

Deno.test("examples/sqlite_store.ts keeps a message in its tables", async () => {
  await using example = await Example.start("sqlite_store.ts");
  await using client = await example.connect();
  await client.script(messageTo(["you@example.com", "me@example.com"]));
  const path = `${example.folder.path}/mail.sqlite`;
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const message = database.prepare("SELECT * FROM message").get()!;
    const content = new TextDecoder().decode(message.content as Uint8Array);
    assertStringIncludes(content, `Subject: ${message.subject}\r\n`);
    const recipients = database.prepare("SELECT address FROM recipient").all();
    assertEquals(
      recipients.map(({ address }) => address),
      ["you@example.com", "me@example.com"],
    );
  } finally {
    database.close();
  }
});

Deno.test("examples/spam_check.ts rejects a client on a blocklist", async () => {
  await using dns = await startWireServer((name) =>
    name === "1.0.0.127.dnsbl.example"
      ? { address: [127, 0, 0, 2] }
      : { rcode: 3 }
  );
  await using example = await Example.start("spam_check.ts", [
    ...["0", dns.nameServer],
  ]);
  await using client = await example.connect();
  await client.expect(554);
});

Deno.test("examples/spam_check.ts takes small messages only from a client without a name", async () => {
  await using dns = await startWireServer(() => ({ rcode: 3 }));
  await using example = await Example.start("spam_check.ts", [
    ...["0", dns.nameServer],
  ]);
  // Every machine has a name for 127.0.0.1, and no machine one for 127.0.0.2.
  const from = { port: example.ports[0]!, localAddress: "127.0.0.2" };
  const text = await converse(from, [
    "HELO client.example\r\nMAIL FROM:<me@client.example>\r\n",
    "RCPT TO:<you@example.com>\r\nDATA\r\n",
    `${"x".repeat(78)}\r\n`.repeat(2000) + ".\r\nQUIT\r\n",
  ]);
  assertStringIncludes(text, "554 5.7.25 Too much for a host");
});

Deno.test("examples/smarthost.ts relays through the smarthost", async () => {
  await using provider = await startTestServer();
  await using example = await Example.start("smarthost.ts", [
    ...["0", provider.address, `${provider.port}`],
  ]);
  await using client = await example.connect();
  await client.script(messageTo(["you@elsewhere.example"]));
  const message = await provider.nextMessage({ timeoutMs: DEADLINE_MS });
  assertEquals(message.recipients.map(({ address }) => `${address}`), [
    "you@elsewhere.example",
  ]);
  await example.said("delivered");
});

Deno.test("examples/submission.ts takes mail of users who have logged in", async () => {
  await using example = await Example.start("submission.ts");
  const target = { host: "127.0.0.1", port: example.ports[0]! };
  await using client = await SmtpClient.connect({
    ...target,
    onCertificate: () => true,
    login: { username: "ann@example.com", password: "a secret of Ann" },
  });
  const send = (from: string) =>
    client.send({
      from,
      to: ["bob@example.com"],
      data: "Subject: x\r\n\r\nx\r\n",
    });
  const codes: (number | undefined)[] = [];
  for (const name of ["ann", "info", "bob"]) {
    const { recipients } = await send(`${name}@example.com`);
    codes.push(recipients[0]?.reply?.code);
  }
  assertEquals(codes, [250, 250, 553]);
  assertEquals((await example.folder.files()).length, 2);
});

Deno.test("examples/submission.ts takes no mail without TLS or without login", async () => {
  await using example = await Example.start("submission.ts");
  await using client = await example.connect();
  await client.script(`
    S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<ann@example.com>
    S: 530
  `);
});

Deno.test("examples/threads.ts calls its handler module on each thread", async () => {
  await using example = await Example.start("threads.ts", ["0", "2"]);
  await using client = await example.connect();
  await client.script(`
    S: 220
    C: HELO client.example
    S: 250
    C: MAIL FROM:<me@client.example>
    S: 250
    C: RCPT TO:<nobody@example.com>
    S: 550
    C: RCPT TO:<you@example.com>
    S: 250
    C: DATA
    S: 354
    C: Subject: The inheritance of a prince
    C:
    C: It was won in the lottery.
    C: .
    S: 554 5.7.1 Refused, the 1 here
  `);
  const clients = Array.from({ length: 20 }, async () => {
    await using one = await example.connect();
    await one.script(messageTo(["you@example.com"]));
  });
  await Promise.all(clients);
  assertEquals((await example.folder.files()).length, 20);
});
