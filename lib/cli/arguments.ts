/**
 * The arguments of a command taken apart: words, options with values, and
 * flags. Knows the form of each option and nothing of what it means; what it
 * cannot read is wrong usage, never a guess.
 */

import { flagOf, type SettingForm } from "./raw_settings.ts";
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
  forms: Readonly<Record<string, SettingForm>>,
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
    const name = nameOf(option!, forms);
    let value = rest.length === 0 ? undefined : rest.join("=");
    if (forms[name] === "flag") {
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
    if (forms[name] === "flag") flagOf(`--${name}`, values);
  }
  return { words, given };
}

/** The options that have a short form. */
const SHORT: ReadonlyMap<string, string> = new Map([
  ["-h", "help"],
  ["-v", "version"],
]);

/** The name of an option as it was written. */
function nameOf(
  option: string,
  forms: Readonly<Record<string, SettingForm>>,
): string {
  const name = SHORT.get(option) ?? option.slice(2);
  const isForm = option.startsWith("--") || SHORT.has(option);
  if (isForm && Object.hasOwn(forms, name)) return name;
  const positive = name.slice("no-".length);
  const isOff = name.startsWith("no-") && Object.hasOwn(forms, positive) &&
    forms[positive] === "flag";
  throw new UsageError(
    `${option}: unknown option${
      isOff
        ? `, want --${positive}=no`
        : hint(option, Object.keys(forms).map((known) => `--${known}`))
    }`,
  );
}
