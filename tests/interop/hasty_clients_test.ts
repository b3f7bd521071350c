/**
 * Clients that are no mail programs: pipes into nc, bash and openssl, which send
 * before the greeting, scripts in Perl with odd addresses, and an AUTH with two
 * blanks.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.3.1 | RFC 5321 section 4.3.1}
 */

import { assertEquals } from "@std/assert";
import {
  assertStored,
  InteropServer,
  readFolder,
  readMaildir,
} from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestFolder } from "../support/folder.ts";

const MESSAGE = "Subject: piped\r\n\r\n.\r\nText\r\n";

/** A whole session, sent at once. */
const SCRIPT = "EHLO client.example\r\nMAIL FROM:<sender@example.org>\r\n" +
  "RCPT TO:<user@example.com>\r\nDATA\r\n" +
  `${MESSAGE.replaceAll("\r\n.", "\r\n..")}.\r\nQUIT\r\n`;
const SERVED = "220 250 250 250 354 250 221";

/** The codes of the replies in a text, each once. */
function codes(text: string): string {
  return [...text.matchAll(/^(\d{3})(?: |\r?$)/gm)].map(([, code]) => code)
    .join(" ");
}

/** Shell commands that pipe a session to a port, by name. */
const PIPES: Readonly<
  Record<string, (port: number) => readonly [string, ...string[]]>
> = {
  "nc": (port) => ["nc", "127.0.0.1", `${port}`],
  "nc -N": (port) => ["nc", "-N", "127.0.0.1", `${port}`],
  "bash": (port) => [
    ...["bash", "-c"] as const,
    `exec 3<>/dev/tcp/127.0.0.1/${port}; cat >&3; cat <&3`,
  ],
};

for (const threads of [0, 2]) {
  Deno.test(`A session that ${Object.keys(PIPES).join(", ")} are told at once is served (${threads} threads)`, async () => {
    await using folder = await TestFolder.create();
    const cwd = folder.path;
    await using server = await InteropServer.start(
      ["--threads", `${threads}`],
      { cwd },
    );
    for (let round = 0; round < 5; round++) {
      for (const [name, command] of Object.entries(PIPES)) {
        const [program, ...args] = command(server.port);
        const { stdout } = await run(program, args, { input: SCRIPT });
        assertEquals(codes(stdout), SERVED, `${name}: ${stdout}`);
      }
    }
    const stored = await readMaildir(`${cwd}/mail/user@example.com`);
    assertEquals(stored.length, 5 * Object.keys(PIPES).length);
    assertStored(stored[0], {
      sent: MESSAGE,
      from: "sender@example.org",
      protocol: "ESMTP",
    });
  });
}

Deno.test("A pipe into openssl s_client is served, with TLS from the first byte and by STARTTLS", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--self-signed"], {
    cwd,
    listeners: ["smtps", "smtp"],
  });
  const [implicit, explicit] = server.ports;
  const client = ["s_client", "-quiet", "-connect"];
  for (let round = 0; round < 3; round++) {
    const first = await run("openssl", [...client, `127.0.0.1:${implicit}`], {
      input: SCRIPT,
    });
    assertEquals(codes(first.stdout), SERVED, first.stdout);
    const second = await run("openssl", [
      ...[...client, `127.0.0.1:${explicit}`, "-starttls", "smtp"],
    ], { input: SCRIPT });
    // The greeting was for s_client itself.
    assertEquals(codes(second.stdout), SERVED.slice(4), second.stdout);
  }
  const stored = await readMaildir(`${cwd}/mail/user@example.com`);
  assertEquals(stored.length, 6);
  for (const copy of stored) {
    assertStored(copy, {
      sent: MESSAGE,
      from: "sender@example.org",
      protocol: "ESMTPS",
    });
  }
});

Deno.test("A pipe whose lines end with LF is told so at once", async () => {
  await using folder = await TestFolder.create();
  await using server = await InteropServer.start(["--store", "discard"], {
    cwd: folder.path,
  });
  const { stdout } = await run("nc", ["-N", "127.0.0.1", `${server.port}`], {
    input: "HELO x\nQUIT\n",
  });
  assertEquals(codes(stdout), "220 500 500", stdout);
});

Deno.test("Net::SMTP sends from and to addresses as scripts have them", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start(["--store", "file:eml"], {
    cwd,
  });
  const long = `list+${"x".repeat(180)}=user@example.org`;
  const rows: [from: string, to: string, kept: string][] = [
    [`<${long}>`, "<user@my_printer.example>", long],
    [" sender@example.org", " user@example.com", "sender@example.org"],
    ["< sender@example.org >", "< user@example.com >", "sender@example.org"],
    ["sender@example.org", "user@example.com", "sender@example.org"],
    ["<bounces@_spf.under_score.example>", '<"a b"@example.com>', ""],
  ];
  const script = new URL("peers/net_smtp_peer.pl", import.meta.url).pathname;
  await run("perl", [script, `${server.port}`], {
    input: rows.map(([from, to]) => `${from}|${to}\n`).join(""),
  });
  const stored = await readFolder(`${cwd}/eml`);
  assertEquals(stored.length, rows.length);
  for (const [, , kept] of rows) {
    const found = stored.some((message) => message.includes(`<${kept}>`));
    if (kept !== "") assertEquals(found, true, kept);
  }
});

Deno.test("A log-in with two blanks behind AUTH, and a message with LF, are taken", async () => {
  await using folder = await TestFolder.create();
  const cwd = folder.path;
  await using server = await InteropServer.start([
    ...["--user", "ann:secret", "--allow-insecure-auth"],
    ...["--store", "file:eml"],
  ], { cwd });
  // As emailjs does it.
  const { stdout } = await run("python3", [
    "-c",
    `
import base64, hmac, socket
conn = socket.create_connection(("127.0.0.1", ${server.port}))
file = conn.makefile("rwb")
def say(text, *ends):
    if text is not None:
        file.write(text.encode()); file.flush()
    while True:
        line = file.readline().decode()
        if line[3:4] != "-":
            print(line, end="")
            return line
say(None)
say("EHLO  [127.0.0.1]\\r\\n")
challenge = base64.b64decode(say("AUTH  CRAM-MD5\\r\\n")[4:])
digest = hmac.new(b"secret", challenge, "md5").hexdigest()
say(base64.b64encode(f"ann {digest}".encode()).decode() + "\\r\\n")
say("MAIL FROM:<ann@example.org>  AUTH=ann\\r\\n")
say("RCPT TO:<user@example.com>\\r\\n")
say("DATA\\r\\n")
say("Subject: LF\\n\\nText\\n" + "\\r\\n.\\r\\n")
say("QUIT\\r\\n")
`,
  ]);
  assertEquals(codes(stdout), "220 250 334 235 250 250 354 250 221", stdout);
  const [stored = ""] = await readFolder(`${cwd}/eml`);
  assertEquals(
    stored.slice(stored.indexOf("Subject:")),
    "Subject: LF\r\n\r\nText\r\n\r\n",
  );
});
