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
import {
  flag,
  type RawSettings,
  type SettingForm,
} from "./lib/cli/raw_settings.ts";
import { certificate, CERTIFICATE_SETTINGS } from "./lib/cli/certificate.ts";
import { lookup, LOOKUP_SETTINGS } from "./lib/cli/lookup_command.ts";
import { queue, QUEUE_SETTINGS } from "./lib/cli/queue_command.ts";
import { send, SEND_SETTINGS } from "./lib/cli/send_command.ts";
import { SETTINGS, settingsOfConfig } from "./lib/cli/settings.ts";
import { verifier } from "./lib/cli/verifier.ts";
import {
  helpOf,
  hint,
  oneLine,
  RunError,
  UsageError,
} from "./lib/cli/usage.ts";

/** A command: the options it knows, and what it does. */
interface Command {
  readonly settings: Readonly<Record<string, SettingForm>>;
  run(args: readonly string[], raw: RawSettings): Promise<number>;
}

/** The commands by their names. */
const COMMANDS: Readonly<Record<string, Command>> = {
  serve: {
    settings: SETTINGS,
    run([extra], raw) {
      if (extra !== undefined) throw new UsageError(strayWord(extra));
      return serve(raw, processOutput);
    },
  },
  certificate: {
    settings: CERTIFICATE_SETTINGS,
    run: (args, raw) => certificate(args, raw, processOutput),
  },
  queue: {
    settings: QUEUE_SETTINGS,
    run: (args, raw) => queue(args, raw, processOutput),
  },
  lookup: {
    settings: LOOKUP_SETTINGS,
    run: (args, raw) => lookup(args, raw, processOutput),
  },
  send: {
    settings: SEND_SETTINGS,
    run: (args, raw) => send(args, raw, processOutput),
  },
  verifier: {
    settings: {},
    run: (args) => verifier(args, processOutput),
  },
};

/** What is wrong with a word that `serve` has no use for. */
function strayWord(word: string): string {
  return Object.hasOwn(COMMANDS, word) && word !== "serve"
    ? `${word}: want the command before its options`
    : unknownCommand(word);
}

function unknownCommand(word: string): string {
  const names = [...Object.keys(COMMANDS), "help"];
  return `${word || '""'}: unknown command${hint(word, names)}`;
}

/** The text that `help` with these words asks for. */
function help([command]: readonly string[]): string {
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

/** The settings of the configuration file, overruled by those of the command line. */
async function settings(given: RawSettings): Promise<RawSettings> {
  const [file, another] = given.get("config") ?? [];
  if (another !== undefined) {
    throw new UsageError("--config: want it once");
  }
  const result = file !== undefined
    ? settingsOfConfig(await readConfig(file), file)
    : new Map<string, readonly string[]>();
  for (const [name, values] of given) {
    if (!Object.hasOwn(COMMON, name)) result.set(name, values);
  }
  return result;
}

/** Reads a configuration file. */
async function readConfig(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    throw new UsageError(`--config ${file}: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    // The parser's message quotes the file, which is nobody else's to read.
    const at = / \(line \d+ column \d+\)/.exec((error as Error).message);
    throw new UsageError(`--config ${file}: it is not JSON${at?.[0] ?? ""}`);
  }
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
      const isPlain = (arg: string) => !arg.startsWith("-");
      return processOutput.out(help(rest.filter(isPlain))), 0;
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
    return await command.run(words, await settings(given));
  } catch (error) {
    if (error instanceof RunError) {
      return processOutput.err(`error: ${oneLine(error.message)}\n`), 1;
    }
    if (!(error instanceof UsageError)) throw error;
    const message = oneLine(error.message);
    processOutput.err(`${message}; --help lists the options\n`);
    return 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
