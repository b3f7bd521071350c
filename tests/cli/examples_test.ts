/** The examples, run as they stand. */

import { assert, assertEquals } from "@std/assert";
import { ScriptedClient } from "@smtp/server/testing";
import { cliArgs, messageTo, TestFolder } from "../support/cli.ts";

/** The path of an example. */
function example(name: string): string {
  return new URL(`../../examples/${name}`, import.meta.url).pathname;
}

/** Runs an example on a free port for as long as `use` takes. */
async function withExample(
  name: string,
  use: (client: ScriptedClient) => Promise<void>,
  folder: TestFolder,
): Promise<void> {
  const args = cliArgs(["0"]);
  args[args.length - 2] = example(name);
  const child = new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
    stdout: "piped",
    cwd: folder.path,
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const lines = child.stdout.pipeThrough(new TextDecoderStream());
  let text = "";
  try {
    for await (const piece of lines.values({ preventCancel: true })) {
      text += piece;
      if (text.includes("\n")) break;
    }
    const port = Number(/port (\d+)/.exec(text)?.[1]);
    const target = { address: "127.0.0.1", port };
    await using client = await ScriptedClient.connect(target);
    await use(client);
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
    await lines.cancel();
    await child.status;
  }
}

Deno.test("examples/minimal.ts keeps a message", async () => {
  await using folder = await TestFolder.create();
  await withExample(
    "minimal.ts",
    (client) => client.script(messageTo(["you@example.com"])),
    folder,
  );
  const files = await folder.files();
  assertEquals(files.length, 1);
  assert(files[0]?.startsWith("mail/you@example.com/new/"), files.join());
});

Deno.test("examples/mailbox_per_user.ts gives each user an mbox, and nobody else", async () => {
  await using folder = await TestFolder.create();
  await withExample("mailbox_per_user.ts", async (client) => {
    await client.script(`
      S: 220
      C: EHLO client.example
      S: 250
      C: MAIL FROM:<me@spam.example>
      S: 550 5.7.1 Sender refused
      C: MAIL FROM:<me@client.example>
      S: 250
      C: RCPT TO:<nobody@example.com>
      S: 550 5.1.1 No such user
      C: RCPT TO:<you@elsewhere.example>
      S: 550 5.7.1 Relaying denied
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
  }, folder);
  assertEquals(await folder.files(), ["mail/alice", "mail/bob"]);
});

Deno.test("examples/test_double.ts passes", async () => {
  const [, , ...rest] = cliArgs([]);
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", ...rest.slice(0, -1), example("test_double.ts")],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stdout));
});
