/**
 * The settings of `serve` that are limits, and what they become in the server's
 * options. Knows no default: those are the library's.
 */

import { parseCidr } from "../net/cidr.ts";
import type { LimitNumbers, LimitOptions } from "../session/limit_options.ts";
import {
  duration,
  type RawSettings,
  type SettingForm,
  size,
  usable,
  wholeNumber,
} from "./raw_settings.ts";
import { UsageError } from "./usage.ts";

/** The limits that are numbers: their name on the command line, in the options, and the least that makes sense. */
const NUMBERS: readonly (readonly [
  flag: string,
  option: keyof LimitNumbers,
  least: number,
])[] = [
  ["max-recipients", "maxRecipients", 1],
  ["max-connections", "maxConnections", 1],
  ["max-connections-per-ip", "maxConnectionsPerIp", 0],
  ["connections-per-minute", "connectionsPerMinute", 0],
  ["messages-per-minute", "messagesPerMinute", 0],
  ["recipients-per-minute", "recipientsPerMinute", 0],
  ["max-errors", "maxErrors", 0],
];

/** The limits that are sizes. */
const SIZES: readonly (readonly [flag: string, option: keyof LimitNumbers])[] =
  [["max-size", "maxSize"], ["bytes-per-minute", "bytesPerMinute"]];

/** The longest wait that a timer can be trusted with: 24 days, in ms. */
const MAX_WAIT = 24 * 86_400_000;

/** The settings, by their name on the command line. */
export const LIMIT_SETTINGS: Readonly<Record<string, SettingForm>> = {
  ...Object.fromEntries(NUMBERS.map(([flag]) => [flag, "one" as const])),
  ...Object.fromEntries(SIZES.map(([flag]) => [flag, "one" as const])),
  timeout: "one",
  exempt: "many",
};

/**
 * Checks the settings and makes options of them.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function limitSettings(raw: RawSettings): LimitOptions {
  const limits: LimitOptions = { exempt: exemptions(raw) };
  for (const [flag, option, least] of NUMBERS) {
    limits[option] = wholeNumber(raw, flag, { least });
  }
  for (const [flag, option] of SIZES) {
    limits[option] = size(raw, flag, { least: 0 });
  }
  limits.timeoutMs = duration(raw, "timeout", { unit: 1000, most: MAX_WAIT });
  return limits;
}

/** The networks of `--exempt`, checked; none with the word `none`. */
function exemptions(raw: RawSettings): readonly string[] | undefined {
  const networks = raw.get("exempt");
  if (networks === undefined) return undefined;
  if (networks.includes("none")) {
    if (networks.length === 1) return [];
    throw new UsageError("--exempt none: want no other network beside it");
  }
  for (const network of networks) usable("exempt", () => parseCidr(network));
  return networks;
}
