/** Aliases and local recipients of the command line: their files, their faults, and a real client. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CliServer, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { until } from "../support/wait.ts";
import { isWindows } from "../support/platform.ts";

const ignore = isWindows;

const ARGS = [
  ...["--listen", "127.0.0.1:0", "--domain", "near.test"],
  ...["--aliases", "aliases", "--local-recipients", "users"],
  ...["--recipient-delimiter", "+"],
];

/** The reply codes to RCPT of each address. */
async function codesOf(
  server: CliServer,
  ...recipients: string[]
): Promise<number[]> {
  await using client = await server.connect();
  await client.expect(220);
  await client.expect(250, "EHLO client.example");
  await client.expect(250, "MAIL FROM:<>");
  const codes: number[] = [];
  for (const recipient of recipients) {
    await client.send(`RCPT TO:<${recipient}>`);
    codes.push((await client.read()).code);
  }
  await client.expect(221, "QUIT");
  return codes;
}

Deno.test({
  name: "cli suggests a test mail to a recipient that it takes",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    const rows: readonly (readonly [users: string, to: string])[] = [
      ["# all\nann@far.test\n'$x'\nBob.B # the first here\neve\n", "Bob.B"],
      ["eve\nyou@near.test\n", "you"],
      ["@near.test\n", "you"],
      // No one is known: nothing better can be said.
      ["ann@far.test\n", "you"],
    ];
    for (const [users, to] of rows) {
      await folder.write("users", users);
      await using server = await CliServer.start([
        ...["--listen", "127.0.0.1:0", "--domain", "near.test"],
        ...["--local-recipients", "users", "--store", "discard"],
      ], { cwd: folder.path });
      const { stdout } = await server.end("SIGTERM");
      assertStringIncludes(stdout, `--mail-rcpt ${to}@near.test `);
    }
  },
});

Deno.test({
  name: "cli delivers to aliases and refuses unknown users",
  ignore,
  async fn() {
    await using folder = await TestFolder.create();
    await folder.write("aliases", "info: ann\nsales: gone\n");
    await folder.write("users", "# all\nann\nbob@near.test\n");
    await using server = await CliServer.start(ARGS, { cwd: folder.path });
    await server.logged(/Alias \\"sales\\" leads to \\"gone@near.test\\"/);
    assertEquals(
      await codesOf(
        server,
        ...["ann+shop@near.test", "info@near.test", "bob@near.test"],
        ...["sales@near.test", "eve@near.test", "postmaster@near.test"],
      ),
      [250, 250, 250, 550, 550, 250],
    );
    const mail = new Deno.Command("curl", {
      args: [
        ...["--silent", "--show-error", "--crlf"],
        ...["--url", `smtp://127.0.0.1:${server.ports[0]}`],
        ...["--mail-from", "me@far.test", "--mail-rcpt", "info+x@near.test"],
        ...["--upload-file", "users"],
      ],
      cwd: folder.path,
    });
    assertEquals((await mail.output()).code, 0);
    const files = await folder.files("mail");
    assertEquals(
      files.filter((path) => path.includes("ann@near.test/new/")).length,
      1,
    );
    await folder.write("users", "ann\neve\n");
    server.signal("SIGHUP");
    await server.logged(/Reread/);
    assertEquals(
      await codesOf(server, "eve@near.test", "bob@near.test"),
      [250, 550],
    );
    await folder.write("aliases", "broken line\n");
    server.signal("SIGHUP");
    await server.logged(/Cannot reread: --aliases: .*line 1 of \\"aliases\\"/);
    assertEquals(await codesOf(server, "info@near.test"), [250]);
    // The file is read again by itself, too.
    await folder.write("aliases", "fresh: ann\n");
    await until(async () =>
      (await codesOf(server, "fresh@near.test"))[0] === 250
    );
  },
});

Deno.test({
  name: "cli --check finds the faults of the files",
  ignore,
  async fn(t) {
    await using folder = await TestFolder.create();
    await folder.write("aliases", "info: ann\none: two\ntwo: one\n");
    await folder.write("users", "ann\n");
    await folder.write(
      "smtp.json",
      JSON.stringify({
        ...{ aliases: "aliases", localRecipients: "users" },
        ...{ recipientDelimiter: "+", domain: "near.test" },
      }),
    );
    const check = (...args: string[]) =>
      runCli(["serve", "--check", ...args], { cwd: folder.path });
    const good = await check("--config", "smtp.json");
    assertEquals([good.code, good.stdout], [0, "the settings can be used\n"]);
    assertStringIncludes(
      good.stderr,
      'aliases: Alias "one" leads back to itself\n',
    );
    await folder.write("bad", "a: b\na b: c\n");
    await folder.write("badusers", "ann\nx@-\n");
    const rows:
      readonly (readonly [args: string[], code: number, want: RegExp])[] = [
        [
          ["--aliases", "bad"],
          1,
          /^error: --aliases: .*line 2 of "bad".*"a b"/,
        ],
        [["--aliases", "none"], 1, /^error: --aliases none: /],
        [["--aliases", ""], 2, /^--aliases: want a value/],
        [["--local-recipients", "badusers"], 1, /line 2 of "badusers"/],
        [
          ["--recipient-delimiter", "++"],
          2,
          /--recipient-delimiter \+\+: want/,
        ],
      ];
    for (const [args, code, want] of rows) {
      await t.step(args.join(" "), async () => {
        const outcome = await check(...args);
        assertMatch(outcome.stderr, want);
        assertEquals(outcome.code, code);
      });
    }
  },
});
