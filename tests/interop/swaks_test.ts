/**
 * swaks, the Swiss army knife for SMTP: each of its ways to send a message.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1 | RFC 5321 section 4.1.1},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954},
 * {@link https://www.rfc-editor.org/rfc/rfc2033 | RFC 2033}
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  assertStored,
  awkwardMessage,
  bigMessage,
  InteropServer,
  readMaildir,
} from "../support/interop/server.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { startServer } from "../support/server.ts";
import { run } from "../support/process.ts";
import { bytesOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

interface Sending {
  readonly port: number;
  readonly folder: string;
  readonly message: string;
  readonly to?: string;
  readonly flags?: readonly string[];
}

/** Sends one message; gives the dialogue. */
async function swaks(sending: Sending): Promise<string> {
  const { port, folder, message, to = "user@example.com", flags = [] } =
    sending;
  const file = `${folder}/message`;
  // swaks puts a line end of its own before the final dot.
  await Deno.writeFile(file, bytesOf(message.slice(0, -2)));
  const { stdout } = await run("swaks", [
    ...["--server", "127.0.0.1", "--port", String(port)],
    ...["--ehlo", "client.example", "--from", "sender@example.org"],
    ...["--to", to, "--data", `@${file}`, "--suppress-data", ...flags],
  ]);
  return stdout;
}

Deno.test("swaks sends a message", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const message = awkwardMessage("swaks plain");
  await swaks({ port: server.port, folder: cwd, message });
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertEquals(stored.length, 1);
  assertStored(stored[0], {
    sent: message,
    from: "sender@example.org",
    protocol: "ESMTP",
  });
});

Deno.test("swaks sends 5 MB", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const message = bigMessage("swaks big", 5_000_000);
  await swaks({ port: server.port, folder: cwd, message });
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertStored(stored[0], {
    sent: message,
    from: "sender@example.org",
    protocol: "ESMTP",
  });
});

Deno.test("swaks sends to 100 recipients in a pipeline", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], { cwd });
  const message = awkwardMessage("swaks many");
  const names = Array.from({ length: 100 }, (_, i) => `user${i}@example.com`);
  const dialogue = await swaks({
    port: server.port,
    folder: cwd,
    message,
    to: names.join(","),
    flags: ["--pipeline"],
  });
  // All commands go out before the first answer to them comes in.
  assertMatch(
    dialogue,
    /^ -> RCPT TO:<user99@example\.com>\n -> DATA\n<- {2}250 /m,
  );
  for (const name of names) {
    const stored = await readMaildir(`${cwd}/mail/${name}`);
    assertEquals(stored.length, 1, name);
    assertStored(stored[0], {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTP",
    });
  }
});

Deno.test("swaks sends by LMTP and gets one reply a recipient", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([], {
    cwd,
    listeners: ["lmtp"],
  });
  const message = awkwardMessage("swaks lmtp");
  const dialogue = await swaks({
    port: server.port,
    folder: cwd,
    message,
    to: "one@example.com,two@example.com",
    flags: ["--protocol", "LMTP"],
  });
  const [, afterData = ""] = dialogue.split(/^ -> \d+ lines sent$/m);
  assertEquals([...afterData.matchAll(/^<[- ~*]+ +250 /gm)].length, 2);
  for (const name of ["one@example.com", "two@example.com"]) {
    const stored = await readMaildir(`${cwd}/mail/${name}`);
    assertEquals(stored.length, 1, name);
    assertStored(stored[0], {
      sent: message,
      from: "sender@example.org",
      protocol: "LMTP",
    });
  }
});

for (const mechanism of ["PLAIN", "LOGIN", "CRAM-MD5"]) {
  Deno.test(`swaks logs in by ${mechanism} after STARTTLS`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await InteropServer.start(
      ["--self-signed", "--user", "alice:open sesame", "--auth", "required"],
      { cwd, listeners: ["submission"] },
    );
    const message = awkwardMessage(`swaks ${mechanism}`);
    const login = ["--auth", mechanism, "--auth-user", "alice"];
    await swaks({
      port: server.port,
      folder: cwd,
      message,
      flags: ["-tls", ...login, "--auth-password", "open sesame"],
    });
    const stored = await readMaildir(`${cwd}/mail/user@example.com`);
    assertEquals(stored.length, 1);
    assertStored(stored[0], {
      sent: message,
      from: "sender@example.org",
      protocol: "ESMTPSA",
    });
    assertEquals(await loginFails(server.port, mechanism), true);
  });
}

/** Whether a wrong secret is refused with 535. */
async function loginFails(port: number, mechanism: string): Promise<boolean> {
  const { code, stdout } = await run("swaks", [
    ...["--server", "127.0.0.1", "--port", String(port), "-tls"],
    ...["--quit-after", "AUTH", "--auth", mechanism],
    ...["--auth-user", "alice", "--auth-password", "wrong"],
  ], { anyCode: true });
  assertStringIncludes(stdout, " 535 ");
  return code !== 0;
}

Deno.test("swaks sends from the aliases of its user, to those of a domain", async () => {
  await using folder = await TestFolder.create();
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    senderPolicy: "own",
    recipientDelimiter: "+",
    accounts: new AccountList({ "ann@a.example": "secret" }),
    allowInsecureAuth: true,
    domains: {
      "a.example": {
        aliases: { info: "ann", "@a.example": "ann" },
        localRecipients: ["ann"],
      },
      "b.example": {},
    },
    localRecipients: ["bob"],
  });
  const { port } = server.addresses[0]!;
  const send = async (from: string, to: string) => {
    const file = `${folder.path}/message`;
    await Deno.writeTextFile(file, `From: <${from}>\nSubject: x\n\nHello\n`);
    const { stdout } = await run("swaks", [
      ...["--server", "127.0.0.1", "--port", String(port), "--from", from],
      ...["--to", to, "--data", `@${file}`, "--auth", "PLAIN"],
      ...["--auth-user", "ann@a.example", "--auth-password", "secret"],
    ]).catch(({ message }) => ({ stdout: String(message) }));
    return stdout;
  };
  for (const from of ["info@a.example", "ann+shop@a.example"]) {
    await send(from, "info@a.example");
  }
  assertEquals(
    store.messages.map(({ from, recipients }) =>
      `${from} ${recipients.map(({ address }) => address)}`
    ),
    ["info@a.example ann@a.example", "ann+shop@a.example ann@a.example"],
  );
  assertMatch(await send("any@a.example", "ann@a.example"), /553 5\.7\.1/);
  assertMatch(await send("ann@a.example", "info@b.example"), /550 5\.1\.1/);
  assertEquals(store.messages.length, 2);
});
