/** zsh and fish complete command lines by the scripts that `completion` writes for them. */

import { assertEquals } from "@std/assert";
import {
  type CommandName,
  COMMON,
  LOOKUP_TYPES,
} from "../../lib/cli/option.ts";
import { COMMANDS, optionsOf } from "../../lib/cli/options.ts";
import { completionScript } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";

const NAMES = Object.keys(COMMANDS) as CommandName[];

/** What a shell writes to standard output; on standard error there must be nothing. */
async function outputOf(
  shell: string,
  args: readonly string[],
  cwd: string,
): Promise<string> {
  const { stdout, stderr } = await run(shell, args, { cwd });
  assertEquals(stderr, "");
  return stdout;
}

/** Files of a spool: two that hold one message, and one that holds two. */
async function messagesIn(folder: TestFolder): Promise<void> {
  await Deno.mkdir(`${folder.path}/sp/messages`, { recursive: true });
  for (const name of ["MX1", "MX2-1", "MX3.2.0000ffff"]) {
    await folder.write(`sp/messages/${name}`, "");
  }
}

/** What is offered of them. */
const WANTED = ["MX1", "MX2-1", "all"];

for (const shell of ["zsh", "fish"] as const) {
  Deno.test(`${shell} can read the script that is made for it`, async () => {
    await using folder = await TestFolder.create();
    await folder.write("script", await completionScript(shell));
    assertEquals(await outputOf(shell, ["-n", "script"], folder.path), "");
  });
}

Deno.test("zsh completes commands, options and values", async () => {
  await using folder = await TestFolder.create();
  await folder.write("script", await completionScript("zsh"));
  // zsh has these functions only at a terminal. They write what they are given.
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
    const args = ["-c", code, "zsh", ...words];
    const output = await outputOf("zsh", args, folder.path);
    return output.split("\n").map((line) => line.split(":")[0]!.trim())
      .filter((word) => word !== "").sort();
  };
  assertEquals(await offers("q"), [...NAMES, "help"].sort());
  assertEquals(await offers("--auth", "re"), ["allowed", "none", "required"]);
  assertEquals(await offers("--auth=re"), ["allowed", "none", "required"]);
  assertEquals(await offers("--spool", ""), ["files -/"]);
  assertEquals(await offers("lookup", ""), [...LOOKUP_TYPES].sort());
  assertEquals(await offers("send", ""), ["files"]);
  await messagesIn(folder);
  assertEquals(await offers("queue", "hold", "--spool", "sp", ""), WANTED);
  for (const name of NAMES) {
    assertEquals(
      (await offers(name, "--")).map((option) => option.replace("=no", "")),
      Object.keys({ ...optionsOf(name), ...COMMON })
        .map((option) => `--${option}`).sort(),
    );
  }
});

Deno.test("fish completes commands, options and values", async () => {
  await using folder = await TestFolder.create();
  await folder.write("script", await completionScript("fish"));
  const offers = async (line: string) => {
    const code = `source script; complete -C ${JSON.stringify(line)}`;
    const args = ["--no-config", "-c", code];
    const output = await outputOf("fish", args, folder.path);
    return output.split("\n").map((offer) => offer.split("\t")[0]!)
      .filter((word) => word !== "").sort();
  };
  assertEquals(await offers("smtp-server q"), ["queue"]);
  assertEquals(await offers("smtp-server queue re"), [
    ...["release", "remove", "retry"],
  ]);
  assertEquals(await offers("smtp-server --max-s"), ["--max-size"]);
  assertEquals(await offers("smtp-server --auth re"), ["required"]);
  await messagesIn(folder);
  const line = "smtp-server queue hold --spool sp M";
  assertEquals(await offers(line), ["MX1", "MX2-1"]);
});
