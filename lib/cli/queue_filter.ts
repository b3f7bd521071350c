/**
 * Which messages of the queue a command means: by recipient, sender, domain, age
 * and hold. Patterns are plain globs, never regular expressions: `*` is any text,
 * `?` any character, every other sign is itself. Matching never takes
 * longer than text times pattern. Pure: the time is an argument.
 */

import type { SpoolEntry } from "../queue/mod.ts";
import { Address } from "../../mod.ts";
import { duration, flag, type RawSettings } from "./arguments.ts";
import { UsageError } from "./output.ts";

/** The options that choose messages. */
export const FILTERS = ["to", "from", "domain", "older", "held"] as const;

/** Longest age that can be asked for, in ms: ten years. */
const MOST_AGE = 3_650 * 86_400_000;

/** A choice of messages. */
export interface QueueFilter {
  /** The options that are given, as written: `--to`. */
  readonly given: readonly string[];
  /** Whether held messages are chosen by name. */
  readonly isHeld: boolean;
  /** Whether a message is chosen at this time, in ms since 1970. */
  matches(entry: SpoolEntry, now: number): boolean;
}

/**
 * The choice that the settings describe; without one, all messages.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function queueFilter(raw: RawSettings): QueueFilter {
  const to = patterns(raw, "to");
  const from = patterns(raw, "from", { mayBeEmpty: true });
  const domains = patterns(raw, "domain")?.map(asciiPattern);
  const older = duration(raw, "older", { unit: 1000, most: MOST_AGE });
  const held = raw.has("held") ? flag(raw, "held") : undefined;
  return {
    given: FILTERS.filter((name) => raw.has(name)).map((name) => `--${name}`),
    isHeld: held === true,
    matches({ envelope, progress }, now) {
      if (held !== undefined && progress.held !== held) return false;
      if (older !== undefined && now - envelope.acceptedAt <= older) {
        return false;
      }
      if (from !== undefined && !fitsAny(envelope.from, from)) return false;
      if (to === undefined && domains === undefined) return true;
      return envelope.recipients.some(({ address }, index) =>
        progress.recipients[index]?.status === "pending" &&
        (to === undefined || fitsAny(address, to)) &&
        (domains === undefined || fitsAny(domainOf(address), domains))
      );
    },
  };
}

/** The patterns of a setting, in lower case. */
function patterns(
  raw: RawSettings,
  name: string,
  { mayBeEmpty = false }: { readonly mayBeEmpty?: boolean } = {},
): readonly string[] | undefined {
  return raw.get(name)?.map((text) => {
    if (mayBeEmpty && (text === "" || text === "<>")) return "";
    if (text === "") throw new UsageError(`--${name}: want a value`);
    return text.replace(/^<(.+)>$/, "$1").toLowerCase();
  });
}

/** The domain of an address, with A-labels and in lower case. */
export function domainOf(address: string): string {
  try {
    return Address.parse(address).asciiDomain;
  } catch {
    return address.slice(address.lastIndexOf("@") + 1).toLowerCase();
  }
}

/** The pattern of a domain, with A-labels where it is a name. */
function asciiPattern(pattern: string): string {
  return /[*?]/.test(pattern) ? pattern : domainOf(`x@${pattern}`);
}

function fitsAny(text: string, patterns: readonly string[]): boolean {
  const lower = text.toLowerCase();
  return patterns.some((pattern) => fits(lower, pattern));
}

/** Whether a text fits a glob. Looks back to the last `*` only. */
export function fits(text: string, pattern: string): boolean {
  let at = 0;
  let sign = 0;
  let star = -1;
  let resume = 0;
  while (at < text.length) {
    const wanted = pattern[sign];
    if (wanted === "*") {
      star = sign++;
      resume = at;
    } else if (wanted === "?" || wanted === text[at]) {
      at++;
      sign++;
    } else if (star >= 0) {
      sign = star + 1;
      at = ++resume;
    } else return false;
  }
  while (pattern[sign] === "*") sign++;
  return sign === pattern.length;
}
