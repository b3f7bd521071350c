/**
 * Fuzz by hand: `deno task fuzz [--count N] [--seed S] [--target NAME]`, where N
 * inputs are shared out among the targets. A failure names the seed with which
 * it can be repeated.
 */

import { parseArgs } from "@std/cli/parse-args";
import { fuzz, type FuzzTarget } from "./fuzz.ts";
import { shares, TARGETS } from "./targets.ts";

/** Bytes of heap that may be more in use after a run than before it. */
const MOST_GROWTH = 128 * 2 ** 20;

const flags = parseArgs(Deno.args, { string: ["count", "seed", "target"] });
const wanted = flags.target === undefined
  ? TARGETS
  : TARGETS.filter(({ name }) => name === flags.target);
const seed = wholeNumber("seed", flags.seed ?? "1");
const count = wholeNumber("count", flags.count ?? "1000000");
if (wanted.length === 0) {
  const names = TARGETS.map(({ name }) => `"${name}"`).join(" or ");
  throw new TypeError(
    `Cannot fuzz target "${flags.target}": want ${names}`,
  );
}
for (const [target, share] of shares(wanted, count)) {
  await report(target, share);
}

/** The heap in use, garbage left out where the engine lets us (`--expose-gc`). */
function heapUsed(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return Deno.memoryUsage().heapUsed;
}

async function report(target: FuzzTarget, share: number): Promise<void> {
  const before = heapUsed();
  const start = performance.now();
  await fuzz(target, { seed, count: share });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const growth = heapUsed() - before;
  console.log(
    `${target.name}: ${share} inputs from seed ${seed}, ${seconds} s, ${
      Math.round(growth / 2 ** 20)
    } MiB more in use`,
  );
  if (growth > MOST_GROWTH) {
    throw new Error(`Target "${target.name}" keeps what it is fed`);
  }
}

function wholeNumber(name: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new TypeError(
    `Cannot use --${name} "${text}": want a whole number`,
  );
}
