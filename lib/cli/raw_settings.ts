/**
 * Settings as they were written, on the command line or in a configuration
 * file: names and texts, and how a text becomes a value or a complaint.
 */

import { parseDuration } from "../queue/schedule.ts";
import { parseSize } from "./queue_text.ts";
import { hint, UsageError } from "./usage.ts";

/** How a setting is written: `many` may be repeated, `flag` is on by itself and may be given yes or no. */
export type SettingForm = "one" | "many" | "flag";

/** Settings as they were written: name and values. */
export type RawSettings = ReadonlyMap<string, readonly string[]>;

/** The text of a setting that may be given once. */
export function one(raw: RawSettings, name: string): string | undefined {
  const values = raw.get(name);
  if (values === undefined) return undefined;
  if (values.length > 1) {
    throw new UsageError(`--${name}: given ${values.length} times, want once`);
  }
  if (values[0] === "") throw new UsageError(`--${name}: want a value`);
  return values[0];
}

/** What a flag may be given, and what it means. */
const FLAG_WORDS: ReadonlyMap<string, boolean> = new Map([
  ...["yes", "true", "on", "1"].map((word) => [word, true] as const),
  ...["no", "false", "off", "0"].map((word) => [word, false] as const),
]);

/**
 * Whether the values of a flag turn it on.
 *
 * Danger: flags open what is shut by default. A value that is not understood
 * must never count as yes.
 *
 * @param name What the user calls it, for the error
 * @throws {UsageError} If a value is not yes or no, or two contradict
 */
export function flagOf(name: string, values: readonly string[]): boolean {
  const meant = values.map((value) => {
    const isOn = FLAG_WORDS.get(value.toLowerCase());
    if (isOn !== undefined) return isOn;
    throw new UsageError(
      `${name} ${value || '""'}: want yes, true, on, 1, no, false, off or 0`,
    );
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

/** The number of a setting that may be given once. */
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

/** The bytes of a setting that may be given once: `10485760`, `10M` or `10MiB`. */
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

/**
 * The milliseconds of a setting that may be given once: `90s`, `2m`, or a plain
 * number of `unit` ms.
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
    // Told below, with what was wanted.
  }
  if (ms >= 1 && ms <= most) return ms;
  return within(NaN, { name, text, units, least: 1, most: most / unit });
}

/** The value, if it is a whole number in its range. */
function within(
  value: number,
  told: {
    readonly name: string;
    readonly text: string;
    readonly units?: string;
    readonly least: number;
    readonly most?: number;
  },
): number {
  const { name, text, units = "", least, most } = told;
  const isIn = Number.isSafeInteger(value) && value >= least &&
    value <= (most ?? Infinity);
  if (isIn) return value;
  const to = most === undefined ? "" : ` to ${most}`;
  throw new UsageError(
    `--${name} ${text}: want a whole number from ${least}${to}${units}`,
  );
}

/** The text of a setting that is one of a few words. */
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

/** Runs a parser of the library; what it cannot read is wrong usage of the option. */
export function parseOption<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(`--${name}: ${(error as Error).message}`);
  }
}
