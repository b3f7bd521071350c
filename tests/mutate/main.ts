/**
 * Breaks the code in one place after the other; the tests must notice each:
 *
 *     deno task mutate [--only TEXT] [--jobs N]
 *
 * `--only`, repeatable, takes the mutations whose name contains the text. Works
 * on copies of the checkout in a temporary folder, never on the checkout. The
 * exit code is 1 if a mutation survives or cannot be tried.
 */

import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { applyTo, type Mutation, MUTATIONS } from "./mutations.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Folders of the checkout that no test reads. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  ...[".git", "node_modules", "coverage", "tools"],
]);
/** Time limit of the tests of one mutation, in ms. A test that runs into it has noticed the mutation. */
const TIME_LIMIT_MS = 180_000;

/** The outcome of a mutation: `broken` if no test ran to its end. */
type Result = "killed" | "late" | "survived" | "broken";

/** Where the @std packages are, for the tests in a copy. */
const packageFlags = import.meta.resolve("@std/assert").startsWith("jsr:")
  ? []
  : ["--import-map=.ci/std_from_npm.json"];

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (LEFT_OUT.has(name)) continue;
    if (isDirectory) await copyFolder(join(from, name), join(to, name));
    else if (isFile) await Deno.copyFile(join(from, name), join(to, name));
  }
}

/** Runs test files in a copy; gives what they printed. */
async function runTests(
  tree: string,
  tests: readonly string[],
): Promise<{ readonly code: number; readonly text: string; late: boolean }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "-A", "--no-check", "--fail-fast", ...packageFlags],
      ...tests,
    ],
    cwd: tree,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, TIME_LIMIT_MS);
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const decoder = new TextDecoder();
  return { code, late, text: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** Tries one mutation in a copy, and mends the copy. */
async function tryOne(
  tree: string,
  mutation: Mutation,
): Promise<{ readonly result: Result; readonly text: string }> {
  const path = join(tree, mutation.file);
  const source = await Deno.readTextFile(path);
  await Deno.writeTextFile(path, applyTo(source, mutation));
  try {
    const { code, late, text } = await runTests(tree, mutation.tests);
    if (late) return { result: "late", text };
    if (code === 0) return { result: "survived", text };
    // A test file that does not load proves nothing.
    const isKilled = /\.\.\. .*FAILED/.test(text);
    return { result: isKilled ? "killed" : "broken", text };
  } finally {
    await Deno.writeTextFile(path, source);
  }
}

/** Fails unless the tests pass on the unchanged code: else every mutation would look noticed. */
async function requireGreen(
  tree: string,
  mutations: readonly Mutation[],
): Promise<void> {
  const tests = [...new Set(mutations.flatMap(({ tests }) => tests))].sort();
  for (const test of tests) {
    const { code, text } = await runTests(tree, [test]);
    if (code === 0) continue;
    throw new Error(`Cannot judge by "${test}": it fails as it is\n${text}`);
  }
}

async function main(): Promise<number> {
  const { only, jobs = "2" } = parseArgs(Deno.args, {
    string: ["only", "jobs"],
    collect: ["only"],
  });
  const chosen = MUTATIONS.filter(({ name }) =>
    only.length === 0 || only.some((text) => name.includes(text))
  );
  const root = await Deno.makeTempDir({ prefix: "smtp-mutate-" });
  const tally: Record<Result, string[]> = {
    killed: [],
    late: [],
    survived: [],
    broken: [],
  };
  try {
    const first = join(root, "0");
    await copyFolder(ROOT, first);
    await requireGreen(first, chosen);
    const rest = chosen.values();
    const work = async (_: unknown, lane: number) => {
      const tree = join(root, String(lane));
      if (lane > 0) await copyFolder(ROOT, tree);
      for (const mutation of rest) {
        const { result, text } = await tryOne(tree, mutation);
        tally[result].push(mutation.name);
        console.log(`${result.padEnd(8)} ${mutation.name} (${mutation.file})`);
        if (result === "broken") console.log(text.slice(-2000));
      }
    };
    const lanes = Math.max(1, Math.min(Number(jobs), chosen.length));
    await Promise.all(Array.from({ length: lanes }, work));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
  const killed = tally.killed.length + tally.late.length;
  console.log(`\n${killed} of ${chosen.length} mutations killed`);
  for (const name of tally.survived) console.log(`survived: ${name}`);
  return killed === chosen.length && killed > 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main());
