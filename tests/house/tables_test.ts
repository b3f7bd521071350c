/**
 * The tables of the house are whole: a member that one of them forgets does not
 * compile. Each row takes a file of lib/ as it stands, changes it as somebody
 * would who forgets one place, and wants the compiler to name the fault.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { TestFolder } from "../support/cli.ts";
import { packageFlags } from "../support/interop/server.ts";
import { run } from "../support/process.ts";

const ROOT = new URL("../../", import.meta.url);

/** One way to forget something. */
interface Row {
  /** What is forgotten. */
  readonly name: string;
  /** The file of lib/ that holds the table. */
  readonly file: string;
  /** A text that stands there once. */
  readonly replace: string;
  /** What stands there in its place. */
  readonly by: string;
  /** What the compiler must say: its code and a part of the message. */
  readonly want: readonly [code: string, text: string];
}

/**
 * The tables. A new one gets a row here: `replace` a line of the list of members
 * by itself and a new member, or a line of the table by nothing. All rows are
 * compiled at once: no two may `replace` the same text.
 */
const ROWS: readonly Row[] = [
  {
    name: "a rule for an option (STOP_RULES)",
    file: "server/options.ts",
    replace:
      "const STOP_RULES: Rules<StopOptions> = { graceMs: milliseconds };",
    by: "const STOP_RULES: Rules<StopOptions> = {};",
    want: ["TS2741", "Property 'graceMs' is missing"],
  },
  {
    name: "the option that a rule is for (SERVE_RULES)",
    file: "server/options.ts",
    replace: "const SERVE_RULES: Rules<ServeOptions> = { kind: KIND_RULE };",
    by: "const SERVE_RULES: Rules<ServeOptions> = " +
      "{ kind: KIND_RULE, unheardOf: KIND_RULE };",
    want: ["TS2353", "'unheardOf' does not exist in type"],
  },
];

/** Copies lib/ and what it needs into a folder. */
async function copyLib(folder: TestFolder): Promise<void> {
  await copy(new URL("lib/", ROOT), `${folder.path}/lib`);
  for (const name of ["deno.json", "mod.ts"]) {
    await Deno.copyFile(new URL(name, ROOT), `${folder.path}/${name}`);
  }
}

async function copy(from: URL, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copy(new URL(`${name}/`, from), `${to}/${name}`);
    else await Deno.copyFile(new URL(name, from), `${to}/${name}`);
  }
}

// One run of the compiler for all rows: it takes seconds.
Deno.test("the compiler misses what a table forgets", async (t) => {
  await using folder = await TestFolder.create();
  await copyLib(folder);
  for (const { file, replace, by } of ROWS) {
    const source = await folder.read(`lib/${file}`);
    assertEquals(source.split(replace).length, 2, `${file} lacks "${replace}"`);
    await folder.write(`lib/${file}`, source.replace(replace, by));
  }
  const files = new Set(ROWS.map(({ file }) => `lib/${file}`));
  const { code, stderr } = await run(Deno.execPath(), [
    ...["check", ...packageFlags, ...files],
  ], { cwd: folder.path, anyCode: true, env: { NO_COLOR: "1" } });
  assertNotEquals(code, 0, "It compiles");
  // One paragraph for each fault: the code and the message, the line, the place.
  const faults = stderr.split(/\n(?=TS\d+ )/);
  for (const { name, file, want: [code, text] } of ROWS) {
    await t.step(name, () => {
      const found = faults.some((fault) =>
        fault.includes(`${code} [ERROR]`) && fault.includes(text) &&
        fault.includes(`/lib/${file}:`)
      );
      assert(found, `No ${code} with "${text}" in ${file}: ${stderr}`);
    });
  }
});
