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
import {
  flag,
  type RawSettings,
  type SettingForm,
} from "./lib/cli/raw_settings.ts";
import { certificate, CERTIFICATE_SETTINGS } from "./lib/cli/certificate.ts";
import { lookup, LOOKUP_SETTINGS } from "./lib/cli/lookup.ts";
import { queue, QUEUE_SETTINGS } from "./lib/cli/queue.ts";
import { send, SEND_SETTINGS } from "./lib/cli/send.ts";
import { SETTINGS } from "./lib/cli/settings.ts";
import { verifier } from "./lib/cli/verifier.ts";
import {
  complaint,
  helpOf,
  hint,
  RunError,
  UsageError,
} from "./lib/cli/usage.ts";

/** A command: the options it knows, and what it does. */
interface Command {
  readonly settings: Readonly<Record<string, SettingForm>>;
  run(args: readonly string[], given: RawSettings): Promise<number>;
}

/** Runs a command that takes its settings once, from the server's file too. */
function withConfig(
  run: (
    args: readonly string[],
    raw: RawSettings,
    output: typeof processOutput,
  ) => Promise<number>,
  /** Settings that mean something else in the server's file. */
  others: readonly string[] = [],
): Command["run"] {
  return async (args, given) => {
    const { raw: all, places } = await placedSettings(given, SETTINGS);
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
const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    settings: { ...SETTINGS, check: "flag" },
    run([extra], given) {
      if (extra !== undefined) throw new UsageError(strayWord(extra));
      const read = () => placedSettings(given, SETTINGS);
      return serve({ read, check: flag(given, "check") }, processOutput);
    },
  },
  certificate: {
    settings: CERTIFICATE_SETTINGS,
    run: withConfig(certificate),
  },
  queue: {
    settings: QUEUE_SETTINGS,
    run: withConfig(queue),
  },
  lookup: {
    settings: LOOKUP_SETTINGS,
    run: withConfig(lookup),
  },
  send: {
    settings: SEND_SETTINGS,
    run: withConfig(send, ["user"]),
  },
  verifier: {
    settings: {},
    run: (args) => verifier(args, processOutput),
  },
};

/** What is wrong with a word that `serve` has no use for. */
function strayWord(word: string): string {
  return Object.hasOwn(COMMANDS, word)
    ? `${word}: want the command before its options`
    : unknownCommand(word);
}

function unknownCommand(word: string): string {
  const names = [...Object.keys(COMMANDS), "help"];
  return `${word.trim() || `"${word}"`}: unknown command${hint(word, names)}`;
}

/** The text that `help` with these words asks for. */
function help([command]: readonly string[]): string {
  if (command === "help") return helpOf();
  if (command !== undefined && !Object.hasOwn(COMMANDS, command)) {
    throw new UsageError(unknownCommand(command));
  }
  return helpOf(command);
}

/** The options of every command. */
const COMMON: Command["settings"] = {
  config: "one",
  help: "flag",
  version: "flag",
};

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
    const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (command === undefined) throw new UsageError(unknownCommand(name));
    const { words, given } = parseArguments(rest, {
      ...command.settings,
      ...COMMON,
    });
    if (flag(given, "help")) {
      return processOutput.out(helpOf(isNamed ? name : undefined)), 0;
    }
    if (flag(given, "version")) {
      return processOutput.out(`@smtp/server ${manifest.version}\n`), 0;
    }
    return await command.run(words, given);
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
