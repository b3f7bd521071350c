/**
 * The programs that embedders write first, as they stand in `examples/`, each in a
 * process of its own: every one keeps the promise of its first comment.
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import type { MechanismName } from "@smtp/server/auth";
import { SmtpClient } from "@smtp/server/client";
import { startTestServer } from "@smtp/server/testing";
import { DatabaseSync } from "node:sqlite";
import { messageTo, runCli } from "../support/cli.ts";
import { startWireServer } from "../support/dns.ts";
import { Example } from "../support/example.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";
import { DEADLINE_MS, until, within } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";
import { DkimPrivateKey } from "@smtp/server/trust";

Deno.test("examples/mailbox_per_user.ts has names, extensions and a quota", async () => {
  await using example = await Example.start("mailbox_per_user.ts", [
    ...["0", "3000"],
  ]);
  await using client = await example.connect();
  await client.script(
    messageTo(["Info@example.com", "bob+lists@example.com"], {
      lines: ["Subject: large", "", "x".repeat(900), "x".repeat(900)],
    }),
  );
  const folders = (await example.folder.files())
    .filter((name) => name.includes("/new/"))
    .map((name) => name.split("/new/")[0]);
  assertEquals(folders.sort(), [
    ...["mail/alice@example.com", "mail/bob@example.com"],
  ]);
  await using other = await example.connect();
  await other.script(`
    S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<me@client.example> SIZE=2000
    S: 250
    C: RCPT TO:<nobody@example.com>
    S: ${replies.noSuchUser}
    C: RCPT TO:<you@elsewhere.example>
    S: 550 5.7.1 ...
    C: RCPT TO:<alice@example.com>
    S: ${replies.mailboxFull}
    C: RSET
    S: 250
    C: MAIL FROM:<me@client.example> SIZE=100
    S: 250
    C: RCPT TO:<alice@example.com>
    S: 250
  `);
});

Deno.test("examples/sqlite_store.ts keeps a message, and has it after a crash", async () => {
  const first = await Example.start("sqlite_store.ts");
  await using before = await first.connect();
  await before.script(messageTo(["you@example.com", "all@example.com"]));
  await using example = await restart(first, "sqlite_store.ts");
  await using client = await example.connect();
  await client.script(messageTo(["me@example.com", "all@example.com"]));
  const database = new DatabaseSync(`${example.folder.path}/mail.sqlite`);
  try {
    const messages = database.prepare("SELECT content FROM message").all();
    assertEquals(messages.length, 2);
    for (const { content } of messages) {
      const text = new TextDecoder().decode(content as Uint8Array);
      assertStringIncludes(text, "\r\nSubject: hello\r\n");
    }
    // As in its first comment.
    const rows = database.prepare(
      "SELECT value ->> 'address' AS address, envelope ->> 'from' AS sender " +
        "FROM message, json_each(envelope, '$.recipients')",
    ).all();
    assertEquals(
      rows.map(({ address, sender }) => `${sender} ${address}`).sort(),
      ["all", "all", "me", "you"]
        .map((name) => `me@client.example ${name}@example.com`),
    );
  } finally {
    database.close();
  }
});

Deno.test("examples/hashed_passwords.ts knows users by hashes of two kinds", async () => {
  await using example = await Example.start("hashed_passwords.ts");
  const logIn = async (
    username: string,
    password: string,
    mechanism?: MechanismName,
  ) => {
    try {
      await using _client = await SmtpClient.connect({
        ...{ host: "127.0.0.1", port: example.ports[0]! },
        onCertificate: () => true,
        login: { username, password, mechanisms: mechanism && [mechanism] },
      });
      return true;
    } catch {
      return false;
    }
  };
  for (
    const mechanism of [
      "SCRAM-SHA-256-PLUS",
      "SCRAM-SHA-256",
      "PLAIN",
      "LOGIN",
    ] as const
  ) {
    const ann = await logIn("ann@example.com", "a secret of Ann", mechanism);
    const bob = await logIn("bob@example.com", "a secret of Bob", mechanism);
    assertEquals([ann, bob], [true, true], mechanism);
  }
  assertEquals(await logIn("ann@example.com", "a secret of Bob"), false);
  assertEquals(await logIn("bob@example.com", "a secret of Ann"), false);
  assertEquals(await logIn("constructor", "a secret of Ann"), false);
  assertEquals(await logIn("*", "*"), false);
  const swaks = await run("swaks", [
    ...["--server", `127.0.0.1:${example.ports[0]}`, "--tls"],
    ...["--auth", "PLAIN", "--auth-user", "ann@example.com"],
    ...["--auth-password", "a secret of Ann", "--to", "you@example.com"],
  ]);
  assertStringIncludes(swaks.stdout, "235 2.7.0");
});

for (const status of [503, 429, 302]) {
  Deno.test(`examples/webhook.ts posts a message again after ${status}`, async () => {
    await using hook = startHook([status, 200]);
    await using example = await Example.start("webhook.ts", ["0", hook.url]);
    await using client = await example.connect();
    await client.script(messageTo(["you@example.com", "me@example.net"]));
    const ids = new Set<string>();
    for (const { envelope, message } of await hook.wait(2)) {
      const { id, from, to } = JSON.parse(envelope);
      ids.add(id);
      assertEquals(from, "me@client.example");
      assertEquals(
        to.map((one: { address: string }) => one.address),
        ["you@example.com", "me@example.net"],
      );
      assertStringIncludes(message, "\r\nSubject: hello\r\n");
    }
    assertEquals(ids.size, 1);
    await until(async () => (await spooled(example.folder)).length === 0);
  });
}

Deno.test("examples/webhook.ts holds what the URL refuses until an operator retries it", async () => {
  await using hook = startHook([400, 200, 200]);
  const args = ["0", hook.url];
  const first = await Example.start("webhook.ts", args);
  await using refused = await first.connect();
  await refused.script(messageTo(["refused@example.com"]));
  await until(() => first.process.stderr.includes(" held "));
  await using example = await restart(first, "webhook.ts", args);
  await using client = await example.connect();
  await client.script(messageTo(["next@example.com"]));
  await hook.wait(2);
  const { path } = example.folder;
  await runCli(["queue", "retry", "all", "--held"], { cwd: path });
  const posts = await hook.wait(3);
  const sent = posts.map(({ envelope }) => JSON.parse(envelope).to[0].address);
  assertEquals(sent, [
    ...["refused@example.com", "next@example.com", "refused@example.com"],
  ]);
  await until(async () => (await spooled(example.folder)).length === 0);
});

Deno.test("examples/webhook.ts posts after a crash what it accepted before", async () => {
  // Nothing listens at the port of a server that has ended.
  const gone = startHook([]);
  await gone[Symbol.asyncDispose]();
  const first = await Example.start("webhook.ts", ["0", gone.url]);
  await using client = await first.connect();
  await client.script(messageTo(["you@example.com"]));
  await using hook = startHook([200]);
  await using _example = await restart(first, "webhook.ts", ["0", hook.url]);
  const [post] = await hook.wait(1);
  assertStringIncludes(post!.envelope, "you@example.com");
});

Deno.test("examples/plus_address_router.ts sends mail where its tag says", async () => {
  await using example = await Example.start("plus_address_router.ts");
  await using client = await example.connect();
  const to = ["orders+17", "orders+18", "ticket+4", "Ticket+5", "postmaster"];
  await client.script(messageTo(to.map((name) => `${name}@example.com`)));
  await example.said("order 17: ");
  await example.said("order 18: ");
  const folders = new Set(
    (await example.folder.files()).map((name) => name.split("/new/")[0]),
  );
  assertEquals([...folders].sort(), [
    ...["mail/ann", "mail/bob", "mail/orders", "mail/postmaster"],
  ]);
  await using other = await example.connect();
  await other.script(`
    S: 220
    C: HELO client.example
    S: 250
    C: MAIL FROM:<me@client.example>
    S: 250
    C: RCPT TO:<orders@example.com>
    S: ${replies.noSuchUser}
    C: RCPT TO:<ticket+x@example.com>
    S: ${replies.noSuchUser}
    C: RCPT TO:<ann@example.com>
    S: ${replies.noSuchUser}
  `);
});

Deno.test("examples/submission.ts takes and relays mail of users who have logged in", async () => {
  await using example = await Example.start("submission.ts");
  await using client = await SmtpClient.connect({
    ...{ host: "127.0.0.1", port: example.ports[0]! },
    onCertificate: () => true,
    login: { username: "ann@example.com", password: "a secret of Ann" },
  });
  const send = async (from: string, to = "bob@example.com") => {
    const data = `From: ${from}\r\nSubject: x\r\n\r\nx\r\n`;
    const { recipients } = await client.send({ from, to: [to], data });
    return recipients[0]?.reply?.code;
  };
  assertEquals(await send("ann@example.com"), 250);
  assertEquals(await send("info@example.com"), 250);
  assertEquals(await send("bob@example.com"), 553);
  assertEquals((await example.folder.files("mail")).length, 2);
  // No host of this machine gets it, and Ann hears of that.
  assertEquals(await send("ann@example.com", "you@[127.0.0.2]"), 250);
  await until(async () =>
    (await example.folder.files("mail"))
      .some((name) => name.startsWith("mail/ann@example.com/new/"))
  );
});

Deno.test("examples/submission.ts holds each user to a rate", async () => {
  await using example = await Example.start("submission.ts");
  await using client = await SmtpClient.connect({
    ...{ host: "127.0.0.1", port: example.ports[0]! },
    onCertificate: () => true,
    login: { username: "bob@example.com", password: "a secret of Bob" },
  });
  const from = "bob@example.com";
  const data = `From: ${from}\r\n\r\nx\r\n`;
  let sent = 0;
  let code: number | undefined;
  // More than the bursts of any limit of 30 a minute.
  for (; sent < 200 && code !== 450; sent++) {
    const { recipients } = await client.send({ from, to: [from], data });
    code = recipients[0]?.reply?.code;
  }
  assertEquals(code, 450);
  assert(sent > 30, `${sent}`);
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

/** A transaction up to RCPT, in a session of its own; returns the code of the last reply. */
async function firstRefusal(
  example: Example,
  { from = "me@client.example", to = "you@example.com" } = {},
): Promise<number> {
  await using client = await example.connect();
  await client.expect(220);
  await client.expect(250, "EHLO client.example");
  await client.expect(250, `MAIL FROM:<${from}>`);
  await client.send(`RCPT TO:<${to}>`);
  return (await client.read()).code;
}

Deno.test("examples/greylisting.ts lets a client pass that comes again later", async () => {
  await using dns = await startWireServer(() => ({ rcode: 3 }));
  // A delay of no time: the first attempt is refused nevertheless.
  await using example = await Example.start("greylisting.ts", [
    ...["0", "0", dns.nameServer],
  ]);
  assertEquals(await firstRefusal(example), 451);
  assertEquals(await firstRefusal(example), 250);
  assertEquals(await firstRefusal(example, { from: "" }), 451);
  assertEquals(await firstRefusal(example, { to: "me@example.com" }), 451);
  assertEquals(await firstRefusal(example, { from: "ME@client.example" }), 250);
  assertEquals(dns.asked.includes("1.0.0.127.dnsbl.example"), true);
});

Deno.test("examples/greylisting.ts refuses until the delay is over", async () => {
  await using dns = await startWireServer(() => ({ rcode: 3 }));
  await using example = await Example.start("greylisting.ts", [
    ...["0", "300", dns.nameServer],
  ]);
  assertEquals(await firstRefusal(example), 451);
  assertEquals(await firstRefusal(example), 451);
});

Deno.test("examples/greylisting.ts refuses a client on the blocklist", async () => {
  await using dns = await startWireServer((name) =>
    name === "1.0.0.127.dnsbl.example"
      ? { address: [127, 0, 0, 2] }
      : { rcode: 3 }
  );
  await using example = await Example.start("greylisting.ts", [
    ...["0", "0", dns.nameServer],
  ]);
  await using client = await example.connect();
  await client.expect(554);
});

Deno.test("examples/forwarder.ts forwards mail, bounces too, and relays nothing else", async () => {
  await using elsewhere = await startTestServer();
  const folder = await TestFolder.create();
  const key = await DkimPrivateKey.generate("ed25519");
  await folder.write("arc.pem", key.toPem());
  await using example = await Example.start("forwarder.ts", [
    ...["0", "arc.pem", elsewhere.address, `${elsewhere.port}`],
  ], { folder, env: { SRS_SECRET: "a secret of this test" } });
  await using client = await example.connect();
  await client.script(messageTo(["Ann@example.com"]));
  const message = await elsewhere.nextMessage({ timeoutMs: DEADLINE_MS });
  assertMatch(`${message.from}`, /^SRS0=.*=client\.example=me@example\.com$/);
  assertEquals(message.recipients.map(({ address }) => `${address}`).sort(), [
    ...["ann@example.net", "ann@example.org"],
  ]);
  await using other = await example.connect();
  await other.script(`
    S: 220
    C: HELO client.example
    S: 250
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<nobody@example.com>
    S: ${replies.noSuchUser}
    C: RCPT TO:<ann@example.net>
    S: 550 5.7.1 ...
    C: RCPT TO:<postmaster>
    S: 250
    C: DATA
    S: 354
    C: Subject: Not delivered
    C:
    C: .
    S: 250
  `);
  const bounce = await elsewhere.nextMessage({ timeoutMs: DEADLINE_MS });
  assertEquals(bounce.from.isNull, true);
  assertEquals(`${bounce.recipients[0]!.address}`, "ann@example.net");
  await using returned = await example.connect();
  await returned.script(`
    S: 220
    C: HELO client.example
    S: 250
    C: MAIL FROM:<>
    S: 250
    C: RCPT TO:<${message.from}>
    S: 250
    C: DATA
    S: 354
    C: Subject: Not delivered
    C:
    C: .
    S: 250
  `);
  const back = await elsewhere.nextMessage({ timeoutMs: DEADLINE_MS });
  assertEquals(`${back.recipients[0]!.address}`, "me@client.example");
});

/** Kills a program, and starts it again in the same folder. */
async function restart(
  { process, folder }: Example,
  name: string,
  args: readonly string[] = ["0"],
): Promise<Example> {
  Deno.kill(process.pid, "SIGKILL");
  await process.stop();
  return await Example.start(name, args, { folder });
}

/** The messages in a program's spool. */
function spooled(folder: TestFolder): Promise<string[]> {
  return folder.files("spool/messages");
}

/** One request that a {@linkcode Hook} got. */
interface Post {
  readonly envelope: string;
  readonly message: string;
}

/** An HTTP server that replies with one status after the other, then with 500. */
interface Hook extends AsyncDisposable {
  readonly url: string;
  /** Waits until it has got so many requests. */
  wait(count: number): Promise<readonly Post[]>;
}

function startHook(statuses: readonly number[]): Hook {
  const posts: Post[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      if (request.method !== "POST") return new Response("No mail");
      const form = await request.formData();
      posts.push({
        envelope: form.get("envelope") as string,
        message: await (form.get("message") as File).text(),
      });
      const status = statuses[posts.length - 1] ?? 500;
      return new Response(`${status}`, { status, headers: { location: "/" } });
    },
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}/mail`,
    async wait(count) {
      await until(() => posts.length >= count);
      return posts;
    },
    [Symbol.asyncDispose]: () => within(server.shutdown(), "the end of a hook"),
  };
}
