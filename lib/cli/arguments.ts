/**
 * Splits the arguments of a command into words and settings, and turns the text
 * of a setting into a value. A setting is the name of an option and its texts as
 * written, on the command line or in a configuration file. Knows the form of each
 * option, not its meaning. A text that cannot be read is wrong usage, never a
 * guess.
 */

import { parseDuration } from "../queue/mod.ts";
import { hint, UsageError } from "./output.ts";
import type { Options } from "./option.ts";

/** Settings as written: name and values. */
export type RawSettings = ReadonlyMap<string, readonly string[]>;

/** Arguments of a command. */
export interface Arguments {
  /** The arguments that are not options, in order. */
  readonly words: readonly string[];
  /** The given options, each with its values in order. */
  readonly given: ReadonlyMap<string, readonly string[]>;
}

/** An argument that looks like an option; `-` is standard input, `-1` a number. */
const OPTION = /^-(?:-|\p{L})/u;

/**
 * Parses arguments: `--name value`, `--name=value`, `--flag`, `--flag=yes`, and
 * words. All arguments after `--` are words.
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
    // The text after "=" may be a secret.
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

/** The name of an option, from its long or short form. */
function nameOf(written: string, options: Options): string {
  const short = Object.entries(options).find(([, { short }]) =>
    short === written
  );
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

/** The text of a setting that may be given only once. */
export function one(raw: RawSettings, name: string): string | undefined {
  const values = raw.get(name);
  if (values === undefined) return undefined;
  if (values.length > 1) {
    throw new UsageError(`--${name}: given ${values.length} times, want once`);
  }
  if (values[0] === "") throw new UsageError(`--${name}: want a value`);
  return values[0];
}

/** The values of a flag, and their meaning. */
const FLAG_WORDS: ReadonlyMap<string, boolean> = new Map([
  ...["yes", "true", "on", "1"].map((word) => [word, true] as const),
  ...["no", "false", "off", "0"].map((word) => [word, false] as const),
]);

/** What the value of a flag has to be, in errors. */
export const WANT_FLAG = "want yes, true, on, 1, no, false, off or 0";

/** Whether a text is yes or no. */
export function isFlagWord(text: string): boolean {
  return FLAG_WORDS.has(text.toLowerCase());
}

/**
 * Whether the values of a flag turn it on.
 *
 * Danger: flags open what is shut by default. A value that is not understood
 * must never count as yes.
 *
 * @param name Name of the flag in the error
 * @throws {UsageError} If a value is not yes or no, or two contradict
 */
export function flagOf(name: string, values: readonly string[]): boolean {
  const meant = values.map((value) => {
    const isOn = FLAG_WORDS.get(value.toLowerCase());
    if (isOn !== undefined) return isOn;
    throw new UsageError(`${name} ${value || '""'}: ${WANT_FLAG}`);
  });
  if (new Set(meant).size > 1) {
    throw new UsageError(
      `${name}: given with yes and with no, want one of them`,
    );
  }
  return meant[0] ?? false;
}

/** Whether a flag is on. */
export function flag(raw: RawSettings, name: string): boolean {
  return flagOf(`--${name}`, raw.get(name) ?? []);
}

/** The number of a setting that may be given only once. */
export function wholeNumber(
  raw: RawSettings,
  name: string,
  range: { readonly least: number; readonly most?: number },
): number | undefined {
  const text = one(raw, name);
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  return within(value, { name, text, ...range });
}

/** The size, in bytes, of a setting that may be given only once: `10485760`, `10M` or `10MiB`. */
export function size(
  raw: RawSettings,
  name: string,
  range: { readonly least: number },
): number | undefined {
  const text = one(raw, name);
  if (text === undefined) return undefined;
  const units = ", perhaps with k, M or G";
  return within(parseSize(text), { name, text, units, ...range });
}

const SIZE = /^(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(i?b?)$/i;

/**
 * A size in bytes: `4096`, `10k`, `10M`, `1.5GiB`. k, M, G and T are powers of
 * 1024, with or without `i` and `iB`; `kB`, `MB`, `GB` and `TB` are powers of
 * 1000. `NaN` if the text is not a size. The result may have a fraction.
 */
export function parseSize(text: string): number {
  const match = SIZE.exec(text);
  if (match === null) return NaN;
  const [, digits, unit, rest] = match;
  const power = " kmgt".indexOf(unit!.toLowerCase() || " ");
  if (power === 0 && /i/i.test(rest!)) return NaN;
  const base = /^b$/i.test(rest!) ? 1000 : 1024;
  return Number(digits) * base ** power;
}

/**
 * The time, in ms, of a setting that may be given only once: `90s`, `2m`, or a
 * plain number of `unit` ms.
 */
export function duration(
  raw: RawSettings,
  name: string,
  range: { readonly unit: number; readonly most: number },
): number | undefined {
  const text = one(raw, name);
  if (text === undefined) return undefined;
  const { unit, most } = range;
  const units = ", perhaps with ms, s, m, h or d";
  let ms = NaN;
  try {
    ms = /^\d+$/.test(text) ? Number(text) * unit : parseDuration(text);
  } catch {
    // Reported below, with the wanted form.
  }
  if (ms >= 1 && ms <= most) return ms;
  return within(NaN, { name, text, units, least: 1, most: most / unit });
}

/** The value, if it is a whole number in its range; else throws. */
function within(
  value: number,
  facts: {
    readonly name: string;
    readonly text: string;
    readonly units?: string;
    readonly least: number;
    readonly most?: number;
  },
): number {
  const { name, text, units = "", least, most } = facts;
  const isIn = Number.isSafeInteger(value) && value >= least &&
    value <= (most ?? Infinity);
  if (isIn) return value;
  const to = most === undefined ? "" : ` to ${most}`;
  throw new UsageError(
    `--${name} ${text}: want a whole number from ${least}${to}${units}`,
  );
}

/** The value of a setting that takes one of a few words. */
export function word<T extends string>(
  raw: RawSettings,
  name: string,
  words: readonly T[],
): T | undefined {
  const text = one(raw, name);
  if (text === undefined || words.includes(text as T)) return text as T;
  const list = `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  throw new UsageError(
    `--${name} ${text}: want ${list}${hint(text, words)}`,
  );
}

/** Runs a parser of the library; its error becomes wrong usage of the option. */
export function parseOption<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(`--${name}: ${(error as Error).message}`);
  }
}
