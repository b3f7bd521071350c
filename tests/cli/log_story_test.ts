/**
 * The log of `serve` as text: the one `grep` of the guide finds what became of
 * mail from one address to another, whatever became of it.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { CliServer } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { isLinux } from "../support/platform.ts";
import { run } from "../support/process.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const FROM = "srs0=x=list@client.example";

const GUIDE = Deno.readTextFileSync(
  new URL("../../examples/log.md", import.meta.url),
);

/** The pattern of the guide's `grep`, for two addresses. */
function patternFor(from: string, to: string): string {
  const [, pattern = ""] = /^grep -E '(.*)' server\.log$/m.exec(GUIDE) ?? [];
  const escaped = (text: string) => text.replaceAll(".", "\\.");
  return pattern.replace("ann@example\\.com", escaped(from))
    .replace("bob@example\\.org", escaped(to));
}

/** What the guide's `grep` finds in the log: event and result of each line. */
async function became(log: string, to: string): Promise<string[]> {
  await using folder = await TestFolder.create();
  await folder.write("server.log", log);
  const { stdout } = await run("grep", [
    ...["-E", patternFor(FROM, to), `${folder.path}/server.log`],
  ]);
  return stdout.trimEnd().split("\n").map((line) => {
    const [, , event] = line.split(" ");
    const [, result = ""] = / result=(\w+)/.exec(line) ?? [];
    return `${event} ${result}`.trimEnd();
  });
}

/** Sends a message; returns the last reply. */
async function send(server: CliServer, ...to: string[]): Promise<string> {
  using client = await connect(server);
  await client.expect([`MAIL FROM:<${FROM}>`, "250"]);
  for (const one of to) {
    const reply = await client.say(`RCPT TO:<${one}>`);
    if (!reply.startsWith("250")) return reply.slice(0, 3);
  }
  return (await client.data("Subject: x\r\n\r\nText")).slice(0, 3);
}

/** A client that has said EHLO. */
async function connect(server: CliServer): Promise<TestClient> {
  const [port] = server.ports;
  const client = await TestClient.connect({
    addresses: [{ address: "127.0.0.1", port: port! }],
  });
  await client.reply();
  await client.expect(["EHLO client.example", "250"]);
  return client;
}

Deno.test({
  name: "One grep of the log tells what became of a message, in six stories",
  ignore: !isLinux,
  async fn() {
    await using folder = await TestFolder.create();
    let isOpen = false;
    await using far = await startServer({
      handlers: {
        onRcptTo(_session, { localPart }) {
          if (localPart === "gone") {
            return new SmtpReply(550, "Gone", { enhanced: "5.1.1" });
          }
          if (localPart !== "later" || isOpen) return;
          return new SmtpReply(450, "Greylisted", { enhanced: "4.7.1" });
        },
      },
    });
    await folder.write("mailboxes", "you\nlost\n");
    // A file stands where the mailbox would be.
    await Deno.mkdir(`${folder.path}/mail`);
    await folder.write("mail/lost@near.test", "");
    const smarthost = `127.0.0.1:${far.addresses[0]!.port}/none`;
    await using server = await CliServer.start([
      ...["--domain", "near.test", "--store", "maildir:mail"],
      ...["--local-recipients", "mailboxes", "--relay-from", "127.0.0.0/8"],
      ...["--smarthost", smarthost, "--retry", "1s"],
    ], { cwd: folder.path });
    assertEquals(await send(server, "later@dest.test"), "250");
    assertEquals(await send(server, "you@near.test", "x@dest.test"), "250");
    assertEquals(await send(server, "nobody@near.test"), "550");
    assertEquals(await send(server, "gone@dest.test"), "250");
    assertEquals(await send(server, "lost@near.test"), "451");
    await server.logged(/ delivery .*result=deferred/);
    isOpen = true;
    await server.logged(/ delivery .*<later@dest\.test>.*result=delivered/);
    await server.logged(/ bounce .*<gone@dest\.test>/);
    await server.logged(/ delivery .*<x@dest\.test>/);
    const { stderr } = await server.end("SIGTERM");
    const stories: Readonly<Record<string, readonly string[]>> = {
      "you@near.test": ["stored stored", "message"],
      "x@dest.test": ["message", "delivery delivered"],
      "later@dest.test": [
        ...["message", "delivery deferred", "delivery delivered"],
      ],
      "nobody@near.test": ["refused"],
      "gone@dest.test": ["message", "delivery failed", "bounce"],
      "lost@near.test": ["stored failed", "refused"],
    };
    for (const [to, story] of Object.entries(stories)) {
      assertEquals(
        (await became(stderr, to)).filter((one, index, all) =>
          one !== all[index - 1]
        ),
        story,
        `${to}\n${stderr}`,
      );
    }
    // The id of a line leads to the rest, the notice of a bounce to its delivery.
    const [, notice] = / bounce .* notice=(\S+)/.exec(stderr)!;
    assertMatch(
      stderr,
      new RegExp(` delivery id=\\S+ relay=${notice} from=<> .* about=`),
    );
  },
});

Deno.test({
  name: "No text of a client looks like a line about others to that grep",
  ignore: !isLinux,
  async fn() {
    await using server = await CliServer.start(["--domain", "near.test"]);
    const to = "bob@example.org";
    using client = await connect(server);
    for (
      const line of [
        `EHLO a from=<${FROM}> recipient=<${to}>`,
        `MAIL FROM:<${FROM}> recipient=<${to}>`,
        `MAIL FROM:x from=<${FROM}> recipient=<${to}> y`,
        `X from=<${FROM}> recipient=<${to}>`,
      ]
    ) await client.say(line);
    await client.expect(["EHLO client.example", "250"], [
      `MAIL FROM:<${FROM}>`,
      "250",
    ]);
    await client.say(`RCPT TO:<x>,<${to}>`);
    await until(() => server.stderr.includes(`RCPT TO:<x>,<${to}>`));
    client.close();
    const { stderr } = await server.end("SIGTERM");
    const { stdout } = await run("sh", [
      "-c",
      `grep -E '${patternFor(FROM, to)}' || true`,
    ], { input: stderr });
    assertEquals(stdout, "");
  },
});
