/**
 * Fuzz by hand: `deno task fuzz [--count N] [--seed S] [--target NAME]`, where N
 * inputs are shared out among the targets. A failure names the seed with which
 * it can be repeated. Target `tests` runs every test file that asks for
 * `rounds()`, with more of them: one time as usual for each 50,000 of N.
 */

import { parseArgs } from "@std/cli/parse-args";
import { fuzz, type FuzzTarget } from "./fuzz.ts";
import { packageFlags } from "../support/interop/server.ts";
import { shares, TARGETS } from "./targets.ts";

/** Bytes of heap that may be more in use after a run than before it. */
const MOST_GROWTH = 128 * 2 ** 20;

const flags = parseArgs(Deno.args, { string: ["count", "seed", "target"] });
const wanted = flags.target === undefined
  ? TARGETS
  : TARGETS.filter(({ name }) => name === flags.target);
const seed = wholeNumber("seed", flags.seed ?? "1");
const count = wholeNumber("count", flags.count ?? "1000000");
const isTests = flags.target === "tests";
if (wanted.length === 0 && !isTests) {
  const names = [...TARGETS, { name: "tests" }]
    .map(({ name }) => `"${name}"`).join(" or ");
  throw new TypeError(
    `Cannot fuzz target "${flags.target}": want ${names}`,
  );
}
if (wanted.length > 0) {
  for (const [target, share] of shares(wanted, count)) {
    await report(target, share);
  }
}
if (isTests || flags.target === undefined) await runTests();

/** Runs the tests that try things at random with more rounds. */
async function runTests(): Promise<void> {
  const files = await filesWithRounds(new URL("../", import.meta.url));
  const factor = Math.max(1, Math.round(count / 50_000));
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--parallel", ...packageFlags, ...files],
    env: { TEST_ROUNDS: String(factor) },
  }).spawn().status;
  if (!success) throw new Error(`The tests fail with TEST_ROUNDS=${factor}`);
}

/** The paths of the test files below a folder that ask for `rounds()`. */
async function filesWithRounds(folder: URL): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) {
      found.push(...await filesWithRounds(new URL(`${name}/`, folder)));
    } else if (name.endsWith("_test.ts")) {
      const { pathname } = new URL(name, folder);
      const text = await Deno.readTextFile(pathname);
      if (/\brounds\(/.test(text)) found.push(pathname);
    }
  }
  return found;
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
