/**
 * The command line of the server.
 *
 * ```sh
 * deno run -A cli.ts --listen 127.0.0.1:2525 --store maildir:./mail
 * ```
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import manifest from "./deno.json" with { type: "json" };
import { processOutput, serve } from "./lib/cli/serve.ts";
import { SETTINGS, settingsOfConfig } from "./lib/cli/settings.ts";
import { HELP, oneLine, UsageError } from "./lib/cli/usage.ts";

/** Option names of one form. */
function names(form: string): string[] {
  return Object.keys(SETTINGS).filter((name) => SETTINGS[name] === form);
}

/** The settings of the configuration file, overruled by those of the command line. */
async function settings(
  args: Readonly<Record<string, unknown>>,
): Promise<Map<string, readonly string[]>> {
  const files = args["config"];
  const [file, another] = Array.isArray(files) ? files as string[] : [];
  if (another !== undefined) {
    throw new UsageError("--config: want it once");
  }
  const result = file !== undefined
    ? settingsOfConfig(await readConfig(file), file)
    : new Map<string, readonly string[]>();
  for (const name of Object.keys(SETTINGS)) {
    const value = args[name];
    if (value === true) result.set(name, ["true"]);
    else if (Array.isArray(value) && value.length > 0) result.set(name, value);
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
    const parsed = parseArgs([...args], {
      string: [...names("one"), ...names("many"), "config"],
      boolean: [...names("flag"), "help", "version"],
      collect: [...names("one"), ...names("many"), "config"],
      unknown(argument: string, key?: string) {
        if (key !== undefined) {
          // What stands behind "=" may be a secret.
          const [name] = argument.split("=");
          throw new UsageError(`${name}: unknown option`);
        }
        return true;
      },
    });
    if (parsed["help"]) return processOutput.out(HELP), 0;
    if (parsed["version"]) {
      return processOutput.out(`@smtp/server ${manifest.version}\n`), 0;
    }
    const [command = "serve", ...rest] = parsed._.map(String);
    if (command !== "serve" || rest.length > 0) {
      throw new UsageError(`${rest[0] ?? command}: unknown command`);
    }
    return await serve(await settings(parsed), processOutput);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const message = oneLine(error.message);
    processOutput.err(`${message}; --help lists the options\n`);
    return 2;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
