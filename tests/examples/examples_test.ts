/** The examples, unchanged, each in its own process and folder. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { startTestServer } from "@smtp/server/testing";
import { connect } from "node:net";
import { messageTo } from "../support/cli.ts";
import { startWireServer } from "../support/dns.ts";
import { Example } from "../support/example.ts";
import { DEADLINE_MS } from "../support/wait.ts";

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
    ...["0", `${provider.address}:${provider.port}`],
  ]);
  await using client = await example.connect();
  await client.script(messageTo(["you@elsewhere.example"]));
  const message = await provider.nextMessage({ timeoutMs: DEADLINE_MS });
  assertEquals(message.recipients.map(({ address }) => `${address}`), [
    "you@elsewhere.example",
  ]);
  await example.said("delivered");
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
