/**
 * The scripts that complete command lines: bash runs its own here, zsh and fish
 * run theirs in `tests/interop/shells_test.ts`.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type CommandName, COMMON, SHELLS } from "../../lib/cli/option.ts";
import { COMMANDS, optionsOf } from "../../lib/cli/options.ts";
import { completionScript, runCli, runCliRows } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";

const NAMES = Object.keys(COMMANDS) as CommandName[];

/** What bash offers for the words of a command line, the last of them being typed. */
async function bashOffers(
  folder: string,
  script: string,
  ...words: readonly string[]
): Promise<readonly string[]> {
  const code = `${script}
COMP_WORDS=(smtp-server "$@")
COMP_CWORD=$#
_smtp_server
[ \${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = await run("bash", [
    ...["-c", code, "bash", ...words],
  ], { cwd: folder });
  assertEquals(stderr, "");
  return stdout.split("\n").filter((line) => line !== "").sort();
}

Deno.test("bash completes commands, options and values", async (t) => {
  await using folder = await TestFolder.create();
  await folder.write("mail.pem", "");
  await Deno.mkdir(`${folder.path}/sub`);
  // Files that hold one message have its name; others are not offered.
  await Deno.mkdir(`${folder.path}/sp/messages`, { recursive: true });
  for (const name of ["MX1", "MX2-1", "MX3.2.0000ffff"]) {
    await folder.write(`sp/messages/${name}`, "");
  }
  const script = await completionScript("bash");
  const rows: readonly (readonly [string[], string[]])[] = [
    [["q"], ["queue"]],
    [["he"], ["help"]],
    [["help", "qu"], ["queue"]],
    [["--max-s"], ["--max-size"]],
    [["serve", "--allow-"], ["--allow-insecure-auth", "--allow-loopback"]],
    [["--chunk"], ["--chunking=no"]],
    [["--auth", ""], ["allowed", "none", "required"]],
    [["--auth", "=", "re"], ["required"]],
    [["--auth", "="], ["allowed", "none", "required"]],
    [["--quiet", "--log", "j"], ["json"]],
    [["--listen", ""], []],
    [["--cert", ""], ["mail.pem", "sp", "sub"]],
    [["--spool", ""], ["sp", "sub"]],
    [["--store", "ma"], ["maildir:"]],
    [["--store", "maildir", ":"], ["mail.pem", "sp", "sub"]],
    [["--store", "maildir", ":", "su"], ["sub"]],
    [["queue", "re"], ["release", "remove", "retry"]],
    [["queue", "retry", ""], ["all"]],
    [["queue", "list", ""], []],
    [["queue", "--h"], ["--held", "--help"]],
    [["queue", "list", "--sort", ""], ["age", "next", "size"]],
    [["queue", "show", "--spool", "sp", "M"], ["MX1", "MX2-1"]],
    [["queue", "hold", "--spool", "=", "sp", "MX1", "MX2"], ["MX2-1"]],
    [["lookup", "a"], ["a", "aaaa"]],
    [["send", ""], ["mail.pem", "sp", "sub"]],
    [["certificate", "create", "--algorithm", "ed"], ["ed25519"]],
    [["completion", ""], ["bash", "fish", "zsh"]],
  ];
  for (const [words, want] of rows) {
    await t.step(words.join(" "), async () => {
      assertEquals(await bashOffers(folder.path, script, ...words), want);
    });
  }
});

Deno.test("bash offers every option of every command", async () => {
  await using folder = await TestFolder.create();
  const script = await completionScript("bash");
  for (const name of NAMES) {
    const offered = await bashOffers(folder.path, script, name, "--");
    assertEquals(
      offered.map((option) => option.replace("=no", "")),
      Object.keys({ ...optionsOf(name), ...COMMON })
        .map((option) => `--${option}`).sort(),
    );
  }
});

Deno.test("Every script has every command, option and word, with quotes that close", async () => {
  for (const shell of SHELLS) {
    const script = await completionScript(shell, "mail.sh");
    assertStringIncludes(script, `mail.sh completion ${shell}`);
    for (const name of NAMES) {
      assertStringIncludes(script, name);
      for (const word of COMMANDS[name].words ?? []) {
        assertStringIncludes(script, word);
      }
      for (
        const [option, { choices = [] }] of Object.entries(optionsOf(name))
      ) {
        const shown = shell === "fish" ? ` -l ${option} ` : `--${option}`;
        assertStringIncludes(script, shown);
        for (const choice of choices) assertStringIncludes(script, choice);
      }
    }
    for (const line of script.split("\n")) {
      if (line.startsWith("#")) continue;
      const quotes = line.replaceAll("'\\''", "").replaceAll("\\'", "")
        .match(/'/g)?.length ?? 0;
      assert(quotes % 2 === 0, line);
    }
  }
});

Deno.test("cli completion writes a script, and refuses other shells and odd names", async (t) => {
  const { code, stdout, stderr } = await runCli(["completion", "bash", "mail"]);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(stdout, await completionScript("bash", "mail"));
  const want = "want bash, zsh or fish";
  const rows: readonly (readonly [string[], string])[] = [
    [[], `Cannot run completion: ${want}`],
    [["bsh"], `Cannot run completion bsh: ${want} (did you mean bash?)`],
    [["bash", "a", "b"], `Cannot run completion bash: ${want}`],
    [
      ["bash", "a b"],
      'Cannot complete "a b": want the name of a program, without a folder',
    ],
  ];
  const calls = rows.map(([args]) => ["completion", ...args]);
  const outcomes = await runCliRows(calls, { cwd: "." });
  for (const [index, [args, message]] of rows.entries()) {
    await t.step(args.join(" ") || "(none)", () => {
      assertEquals(outcomes[index], {
        code: 2,
        stdout: "",
        stderr: `${message}; --help lists the options\n`,
      });
    });
  }
});
