/**
 * The command line of the server.
 *
 * ```sh
 * deno run -A cli.ts --listen 127.0.0.1:2525 --store maildir:./mail
 * ```
 *
 * @module
 */

import manifest from "./deno.json" with { type: "json" };
import { processOutput, serve } from "./lib/cli/serve.ts";
import { parseArguments } from "./lib/cli/arguments.ts";
import { atItsPlace, placedSettings } from "./lib/cli/config_file.ts";
import { flag, type RawSettings } from "./lib/cli/raw_settings.ts";
import { type CommandName, COMMON, optionsOf } from "./lib/cli/options.ts";
import { helpOf } from "./lib/cli/help.ts";
import { certificate } from "./lib/cli/certificate.ts";
import { lookup } from "./lib/cli/lookup.ts";
import { queue } from "./lib/cli/queue.ts";
import { send } from "./lib/cli/send.ts";
import { verifier } from "./lib/cli/verifier.ts";
import { complaint, hint, RunError, UsageError } from "./lib/cli/usage.ts";

/** Carries out a command with the words and options that it was given. */
type Run = (args: readonly string[], given: RawSettings) => Promise<number>;

/** The options of the server, for the file that \`--config\` names. */
const SERVER = optionsOf("serve");

/** Runs a command that takes its settings once, from the server's file too. */
function withConfig(
  run: (
    args: readonly string[],
    raw: RawSettings,
    output: typeof processOutput,
  ) => Promise<number>,
  /** Settings that mean something else in the server's file. */
  others: readonly string[] = [],
): Run {
  return async (args, given) => {
    const { raw: all, places } = await placedSettings(given, SERVER);
    const raw = new Map(
      [...all].filter(([name]) => given.has(name) || !others.includes(name)),
    );
    try {
      return await run(args, raw, processOutput);
    } catch (error) {
      throw atItsPlace(error, places);
    }
  };
}

/** The commands by their names. */
const RUNS: Readonly<Record<CommandName, Run>> = {
  serve([extra], given) {
    if (extra !== undefined) throw new UsageError(strayWord(extra));
    const read = () => placedSettings(given, SERVER);
    return serve({ read, check: flag(given, "check") }, processOutput);
  },
  certificate: withConfig(certificate),
  queue: withConfig(queue),
  lookup: withConfig(lookup),
  send: withConfig(send, ["user"]),
  verifier: (args) => verifier(args, processOutput),
};

/** Whether a word is the name of a command. */
function isCommand(word: string): word is CommandName {
  return Object.hasOwn(RUNS, word);
}

/** What is wrong with a word that `serve` has no use for. */
function strayWord(word: string): string {
  return isCommand(word)
    ? `${word}: want the command before its options`
    : unknownCommand(word);
}

function unknownCommand(word: string): string {
  const names = [...Object.keys(RUNS), "help"];
  return `${word.trim() || `"${word}"`}: unknown command${hint(word, names)}`;
}

/** The text that `help` with these words asks for. */
function help([command]: readonly string[]): string {
  if (command === "help") return helpOf();
  if (command !== undefined && !isCommand(command)) {
    throw new UsageError(unknownCommand(command));
  }
  return helpOf(command);
}

/**
 * Runs the command line; resolves with the exit code.
 *
 * @example Ask for the version
 * ```ts
 * import { main } from "@smtp/server/cli";
 *
 * console.assert(await main(["--version"]) === 0);
 * ```
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const isNamed = args[0] !== undefined && !args[0].startsWith("-");
    const name = isNamed ? args[0]! : "serve";
    const rest = isNamed ? args.slice(1) : args;
    if (name === "help") {
      const { words } = parseArguments(rest, COMMON);
      return processOutput.out(help(words)), 0;
    }
    if (!isCommand(name)) throw new UsageError(unknownCommand(name));
    const { words, given } = parseArguments(rest, {
      ...optionsOf(name),
      ...COMMON,
    });
    if (flag(given, "help")) {
      return processOutput.out(helpOf(isNamed ? name : undefined)), 0;
    }
    if (flag(given, "version")) {
      return processOutput.out(`@smtp/server ${manifest.version}\n`), 0;
    }
    return await RUNS[name](words, given);
  } catch (error) {
    if (error instanceof RunError) {
      return processOutput.err(`error: ${complaint(error)}\n`), 1;
    }
    if (!(error instanceof UsageError)) throw error;
    processOutput.err(`${complaint(error)}; --help lists the options\n`);
    return 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
