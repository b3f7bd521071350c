/**
 * The arguments of a command taken apart: words, options with values, and
 * flags. Knows the form of each option and nothing of what it means; what it
 * cannot read is wrong usage, never a guess.
 */

import type { Options } from "./options.ts";
import { flagOf } from "./raw_settings.ts";
import { hint, UsageError } from "./usage.ts";

/** Arguments of a command. */
export interface Arguments {
  /** What is not an option, in order. */
  readonly words: readonly string[];
  /** The options that were given, each with its values in order. */
  readonly given: ReadonlyMap<string, readonly string[]>;
}

/** What looks like an option; `-` is standard input, `-1` a number. */
const OPTION = /^-(?:-|\p{L})/u;

/**
 * Takes arguments apart: `--name value`, `--name=value`, `--flag`,
 * `--flag=yes`, and words. All after `--` is words.
 *
 * @throws {UsageError} If an option is unknown, lacks its value, or is a flag
 * with a value that is not yes or no
 */
export function parseArguments(
  args: readonly string[],
  options: Options,
): Arguments {
  const words: string[] = [];
  const given = new Map<string, string[]>();
  for (let at = 0; at < args.length; at++) {
    const argument = args[at]!;
    if (argument === "--") {
      words.push(...args.slice(at + 1));
      break;
    }
    if (!OPTION.test(argument)) {
      words.push(argument);
      continue;
    }
    // What stands behind "=" may be a secret.
    const [option, ...rest] = argument.split("=");
    const name = nameOf(option!, options);
    let value = rest.length === 0 ? undefined : rest.join("=");
    if (options[name]?.form === "flag") {
      value ??= "yes";
    } else if (value === undefined) {
      value = args[at + 1];
      if (value === undefined || OPTION.test(value)) {
        throw new UsageError(`${option}: want a value`);
      }
      at++;
    }
    const values = given.get(name);
    if (values === undefined) given.set(name, [value]);
    else values.push(value);
  }
  for (const [name, values] of given) {
    if (options[name]?.form === "flag") flagOf(`--${name}`, values);
  }
  return { words, given };
}

/** The name of an option as it was written. */
function nameOf(written: string, options: Options): string {
  const short = Object.entries(options).find(([, it]) => it.short === written);
  if (short !== undefined) return short[0];
  const name = written.slice("--".length);
  if (written.startsWith("--") && Object.hasOwn(options, name)) return name;
  const positive = name.slice("no-".length);
  const isOff = name.startsWith("no-") && Object.hasOwn(options, positive) &&
    options[positive]!.form === "flag";
  throw new UsageError(
    `${written}: unknown option${
      isOff
        ? `, want --${positive}=no`
        : hint(written, Object.keys(options).map((known) => `--${known}`))
    }`,
  );
}
