/** The scripts that complete command lines, run by bash, and by zsh and fish if installed. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  type CommandName,
  COMMANDS,
  COMMON,
  optionsOf,
  SHELLS,
} from "../../lib/cli/options.ts";
import { completion } from "../../lib/cli/completion.ts";
import { runCli, TestFolder } from "../support/cli.ts";

const NAMES = Object.keys(COMMANDS) as CommandName[];

async function scriptOf(...args: readonly string[]): Promise<string> {
  let script = "";
  const output = { out: (text: string) => void (script += text), err() {} };
  assertEquals(await completion(args, output), 0);
  return script;
}

async function isInstalled(shell: string): Promise<boolean> {
  try {
    return (await new Deno.Command(shell, { args: ["-c", "true"] }).output())
      .success;
  } catch {
    return false;
  }
}

const INSTALLED = new Map(
  await Promise.all(
    SHELLS.map(async (shell) => [shell, await isInstalled(shell)] as const),
  ),
);

async function run(
  shell: string,
  args: readonly string[],
  cwd: string,
): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(shell, {
    args: [...args],
    cwd,
  }).output();
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stderr)], [0, ""]);
  return decoder.decode(stdout);
}

/** The words that bash offers for a command line whose last word is incomplete. */
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
  const out = await run("bash", ["-c", code, "bash", ...words], folder);
  return out.split("\n").filter((word) => word !== "").sort();
}

Deno.test({
  name: "bash completes commands, options and values",
  ignore: !INSTALLED.get("bash"),
  async fn(t) {
    await using folder = await TestFolder.create();
    await folder.write("mail.pem", "");
    await Deno.mkdir(`${folder.path}/sub`);
    const script = await scriptOf("bash");
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
      [["--cert", ""], ["mail.pem", "sub"]],
      [["--spool", ""], ["sub"]],
      [["--store", "ma"], ["maildir:"]],
      [["--store", "maildir", ":"], ["mail.pem", "sub"]],
      [["--store", "maildir", ":", "su"], ["sub"]],
      [["queue", "re"], ["release", "remove", "retry"]],
      [["queue", "retry", ""], []],
      [["queue", "--"], [
        ...["--config", "--help", "--json", "--spool", "--version"],
      ]],
      [["lookup", "a"], ["a", "aaaa"]],
      [["send", ""], ["mail.pem", "sub"]],
      [["certificate", "create", "--algorithm", "ed"], ["ed25519"]],
      [["completion", ""], ["bash", "fish", "zsh"]],
    ];
    for (const [words, want] of rows) {
      await t.step(words.join(" "), async () => {
        assertEquals(await bashOffers(folder.path, script, ...words), want);
      });
    }
  },
});

Deno.test({
  name: "bash offers every option of every command",
  ignore: !INSTALLED.get("bash"),
  async fn() {
    await using folder = await TestFolder.create();
    const script = await scriptOf("bash");
    for (const name of NAMES) {
      const offered = await bashOffers(folder.path, script, name, "--");
      assertEquals(
        offered.map((word) => word.replace("=no", "")),
        Object.keys({ ...optionsOf(name), ...COMMON }).map((option) =>
          `--${option}`
        )
          .sort(),
      );
    }
  },
});

for (const shell of ["zsh", "fish"] as const) {
  Deno.test({
    name: `${shell} can read the script that is made for it`,
    ignore: !INSTALLED.get(shell),
    async fn() {
      await using folder = await TestFolder.create();
      await folder.write("script", await scriptOf(shell));
      assertEquals(await run(shell, ["-n", "script"], folder.path), "");
    },
  });
}

Deno.test({
  name: "zsh completes commands, options and values",
  ignore: !INSTALLED.get("zsh"),
  async fn() {
    await using folder = await TestFolder.create();
    await folder.write("script", await scriptOf("zsh"));
    // Replaces functions that zsh has only in an interactive shell.
    const offers = async (...words: readonly string[]) => {
      const code = `
compdef() { :; }
compset() { :; }
compadd() { shift 3; print -rl -- "$@"; }
_files() { print -r -- "files $*"; }
_describe() { print -rl -- "\${(@P)2}"; }
source ./script
words=(smtp-server "$@")
CURRENT=$#words
_smtp-server`;
      const out = await run("zsh", ["-c", code, "zsh", ...words], folder.path);
      return out.split("\n").map((line) => line.split(":")[0]!.trim())
        .filter((word) => word !== "").sort();
    };
    assertEquals(await offers("q"), [...NAMES, "help"].sort());
    assertEquals(await offers("--auth", "re"), [
      ...["allowed", "none", "required"],
    ]);
    assertEquals(await offers("--auth=re"), ["allowed", "none", "required"]);
    assertEquals(await offers("--spool", ""), ["files -/"]);
    assertEquals(await offers("lookup", ""), ["a", "aaaa", "mx", "ptr", "txt"]);
    assertEquals(await offers("send", ""), ["files"]);
    for (const name of NAMES) {
      assertEquals(
        (await offers(name, "--")).map((word) => word.replace("=no", "")),
        Object.keys({ ...optionsOf(name), ...COMMON }).map((option) =>
          `--${option}`
        )
          .sort(),
      );
    }
  },
});

Deno.test({
  name: "fish completes commands, options and values",
  ignore: !INSTALLED.get("fish"),
  async fn() {
    await using folder = await TestFolder.create();
    await folder.write("script", await scriptOf("fish"));
    const offers = async (line: string) => {
      const code = `source script; complete -C ${JSON.stringify(line)}`;
      const out = await run("fish", ["--no-config", "-c", code], folder.path);
      return out.split("\n").map((line) => line.split("\t")[0]!)
        .filter((word) => word !== "").sort();
    };
    assertEquals(await offers("smtp-server q"), ["queue"]);
    assertEquals(await offers("smtp-server queue re"), [
      ...["release", "remove", "retry"],
    ]);
    assertEquals(await offers("smtp-server --max-s"), ["--max-size"]);
    assertEquals(await offers("smtp-server --auth re"), ["required"]);
  },
});

Deno.test("Every script has every command, option and word, with quotes that close", async () => {
  for (const shell of SHELLS) {
    const script = await scriptOf(shell, "mail.sh");
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
  assertEquals(stdout, await scriptOf("bash", "mail"));
  const want = "want bash, zsh or fish";
  const rows: readonly (readonly [string[], string])[] = [
    [[], `Cannot run completion : ${want}`],
    [["bsh"], `Cannot run completion bsh: ${want} (did you mean bash?)`],
    [["bash", "a", "b"], `Cannot run completion bash: ${want}`],
    [
      ["bash", "a b"],
      'Cannot complete "a b": want the name of a program, without a folder',
    ],
  ];
  for (const [args, message] of rows) {
    await t.step(args.join(" ") || "(none)", async () => {
      const outcome = await runCli(["completion", ...args]);
      assertEquals(outcome, {
        code: 2,
        stdout: "",
        stderr: `${message}; --help lists the options\n`,
      });
    });
  }
});
