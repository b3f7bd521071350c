/**
 * The fuzz targets' interface and their runner. A seed decides one input and the
 * property that must hold for it, so a failure can be repeated from its seed.
 */
import { seeded } from "../support/random.ts";

/** A source of numbers from 0 to below `limit`. */
export type Random = (limit: number) => number;

/** One machine under test. */
export interface FuzzTarget {
  /** Its name on the command line. */
  readonly name: string;
  /** Makes one input, runs it and checks the outcome; throws where a property is broken. */
  readonly check: (random: Random) => void | Promise<void>;
  /** Opens the resources that all inputs share; resolves with the function that closes them. */
  readonly start?: () => Promise<() => Promise<void>>;
  /** How many inputs of the others one of its own costs. Default: 1. */
  readonly cost?: number;
}

/** Options of {@linkcode fuzz}. */
export interface FuzzOptions {
  /** The first seed. */
  readonly seed: number;
  /** How many seeds, one after the other. */
  readonly count: number;
}

/** Runs a target over its seeds; the error of a failure names the seed. */
export async function fuzz(
  target: FuzzTarget,
  options: FuzzOptions,
): Promise<void> {
  const close = await target.start?.();
  const end = options.seed + options.count;
  try {
    for (let seed = options.seed; seed < end; seed++) {
      try {
        const checking = target.check(seeded(seed));
        if (checking !== undefined) await checking;
      } catch (cause) {
        throw new Error(
          `Cannot pass seed ${seed}: repeat it with "deno task fuzz --target ${target.name} --seed ${seed} --count 1"`,
          { cause },
        );
      }
    }
  } finally {
    await close?.();
  }
}

/** One of the items. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return items[random(items.length)]!;
}

/** Whether something happens that does so once in `odds`. */
export function chance(random: Random, odds: number): boolean {
  return random(odds) === 0;
}

/** Bytes that are special to some parser, one character each. */
const SPECIAL = [
  ..."\r\n\0\t .:;,<>@\"\\()[]=+-%&'/_{}~\x1b\x7f\x80\x9b\xa0\xc3\xe2\xff",
  "\r\n",
  "\r\n.\r\n",
  "\n.\n",
  "\r.\r",
  "__proto__",
  "constructor",
  "=?utf-8?q?=0d=0a?=",
  "\x16\x03\x01",
  "9007199254740993",
  "-1",
];

/** A text with up to three faults: cut, doubled, exchanged, or with something put in. */
export function mutate(random: Random, text: string): string {
  let mutant = text;
  for (let left = random(4); left > 0; left--) {
    const at = random(mutant.length + 1);
    const length = 1 + random(chance(random, 3) ? 40 : 2);
    const [before, after] = [mutant.slice(0, at), mutant.slice(at)];
    switch (random(5)) {
      case 0:
        mutant = before + after.slice(length);
        break;
      case 1:
        mutant = before + pick(random, SPECIAL) + after;
        break;
      case 2:
        mutant = before + String.fromCharCode(random(256)) + after.slice(1);
        break;
      case 3:
        mutant = before + after.slice(0, length) + after;
        break;
      case 4:
        mutant = before + pick(random, SPECIAL).repeat(length) + after;
        break;
    }
  }
  return mutant;
}
