/**
 * The files of .github/, of examples/deploy/ and of the list of parts: what they
 * name exists, actions are pinned, jobs have the least permissions, and all of it
 * is on the project's version of Deno.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { packageFlags } from "../support/interop/server.ts";
import { run } from "../support/process.ts";

const ROOT = new URL("../../", import.meta.url);

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, ROOT));
}

/** The files below a folder, with their texts. */
async function* filesBelow(folder: string): AsyncGenerator<[string, string]> {
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))
  ) {
    const path = `${folder}${name}`;
    if (isDirectory) yield* filesBelow(`${path}/`);
    else yield [path, await read(path)];
  }
}

async function allFiles(): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const folder of [".github/", "examples/deploy/"]) {
    for await (const [path, text] of filesBelow(folder)) files.set(path, text);
  }
  return files;
}

const files = await allFiles();
const workflows = [...files].filter(([path]) => path.includes("/workflows/"));

/** All matches of a pattern in the files, each with its file. */
function* found(pattern: RegExp): Generator<[string, RegExpExecArray]> {
  for (const [path, text] of files) {
    for (const match of text.matchAll(pattern)) yield [path, match];
  }
}

Deno.test("every task that .github names is one of deno.json", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  const named = [...found(/deno task ([\w:]+)/g)];
  assert(named.length > 2);
  for (const [path, [, name]] of named) {
    assert(name! in tasks, `${path}: no task ${name}`);
  }
});

Deno.test("every file of the project that .github and the Dockerfile name exists", async () => {
  const named = [
    ...found(
      /(?<![\w./-])(\.?(?:\.ci|\.github|lib|tests|examples)\/[\w./-]*\w)/g,
    ),
    ...found(/\b(cli\.ts|deno\.json|[A-Z]{4,}\.md)\b/g),
  ];
  assert(named.length > 10);
  for (const [path, [, name]] of named) {
    const isBeside = files.has(path.replace(/[^/]*$/, name!));
    assert(
      isBeside ||
        await Deno.stat(new URL(name!.replace(/^\.\//, ""), ROOT)).then(
          () => true,
          () => false,
        ),
      `${path}: no file ${name}`,
    );
  }
});

Deno.test("every action is pinned by its commit, with its version beside it", () => {
  const uses = [...found(/\buses: (\S+)(.*)$/gm)];
  assert(uses.length > 5);
  for (const [path, [, action, comment]] of uses) {
    if (action!.startsWith("./")) continue;
    assertMatch(action!, /^[\w-]+\/[\w-]+@[0-9a-f]{40}$/, path);
    assertMatch(comment!, /^ # v\d+\.\d+\.\d+$/, path);
  }
});

Deno.test("workflows begin without permissions to write, and each job has a time limit", () => {
  assertEquals(workflows.length, 2);
  for (const [path, text] of workflows) {
    assertMatch(
      text,
      /^permissions: \{\}$|^permissions:\n {2}contents: read$/m,
    );
    const jobs = text.slice(text.indexOf("\njobs:\n") + 7)
      .split(/^ {2}(?=\w+:$)/m).slice(1);
    assert(jobs.length > 1, path);
    for (const job of jobs) {
      const calls = job.includes("uses: ./");
      assert(calls || job.includes("timeout-minutes:"), `${path}: ${job}`);
      // One right to write a job at most.
      assert([...job.matchAll(/: write$/gm)].length <= 1, `${path}: ${job}`);
    }
    assert(!/pull_request_target|secrets\./.test(text), path);
    // What others write into a title or a branch is no part of a script.
    assert(!/run:[^]*?\$\{\{ *github\.(event|head_ref)/.test(text), path);
  }
});

Deno.test("no file names the host of a registry but jsr.io", () => {
  const hosts =
    /\b(?:registry\.npmjs\.org|npmjs\.com|ghcr\.io|gcr\.io|quay\.io|docker\.io|pypi\.org|crates\.io|deb\.debian\.org|proxy\.golang\.org)\b/g;
  assertEquals(
    [...found(hosts)].map(([path, [host]]) => `${path}: ${host}`),
    [],
  );
});

Deno.test("all files are on the project's version of Deno", async () => {
  const [, version] = /^DENO_VERSION=(\S+)$/m.exec(await read(".ci/run"))!;
  const named = [
    ...found(/deno-version: (\S+)/g),
    ...found(/FROM denoland\/deno:[a-z]+-(\S+)/g),
  ];
  assert(named.length > 3);
  for (const [path, [, other]] of named) assertEquals(other, version, path);
});

Deno.test("executables are compiled as the task compile does", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  const included = (text: string) =>
    [...text.matchAll(/--include (\S+)/g)].map(([, path]) => path);
  for (
    const path of [
      ".github/workflows/release.yml",
      "examples/deploy/Dockerfile",
    ]
  ) {
    assertEquals(included(files.get(path)!), included(tasks.compile), path);
  }
});

Deno.test("the list of parts has this package and the runtime, and refers to what it has", async () => {
  const { stdout } = await run(Deno.execPath(), [
    ...["run", "-A", new URL(".ci/sbom.ts", ROOT).pathname, ...packageFlags],
  ], { cwd: ROOT.pathname });
  const list = JSON.parse(stdout);
  assertEquals([list.bomFormat, list.specVersion], ["CycloneDX", "1.6"]);
  assertEquals(list.metadata.component.name, "@smtp/server");
  const refs = [list.metadata.component, ...list.components].map((one) =>
    one["bom-ref"]
  );
  assert(refs.includes(`deno@${Deno.version.deno}`));
  assertEquals(new Set(refs).size, refs.length);
  for (const { ref, dependsOn = [] } of list.dependencies) {
    for (const name of [ref, ...dependsOn]) assert(refs.includes(name), name);
  }
});

Deno.test("what a platform lacks has its line in the guide, and no test asks for the platform itself", async () => {
  const guide = await read("examples/where_it_runs.md");
  const platform = await read("tests/support/platform.ts");
  const names = [...platform.matchAll(/^export const (\w+)/gm)];
  assert(names.length > 5);
  for (const [, name] of names) assert(guide.includes(`\`${name}\``), name);
  for await (const [path, text] of filesBelow("tests/")) {
    if (!path.endsWith("_test.ts") || path.startsWith("tests/house/")) continue;
    assert(
      !/Deno\.build\.os/.test(text),
      `${path}: want a name of platform.ts`,
    );
  }
});
