/** deno.json and the map of the npm substitutes name the same packages. */

import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url);

interface ImportMap {
  readonly imports: Readonly<Record<string, string>>;
}

async function readJson(path: string): Promise<ImportMap> {
  return JSON.parse(await Deno.readTextFile(new URL(path, ROOT)));
}

/** The texts of the TypeScript files below a folder. */
async function* sources(folder: URL): AsyncGenerator<string> {
  try {
    for await (const entry of Deno.readDir(folder)) {
      if (entry.isDirectory) {
        yield* sources(new URL(`${entry.name}/`, folder));
      } else if (entry.name.endsWith(".ts")) {
        yield await Deno.readTextFile(new URL(entry.name, folder));
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

Deno.test("every @std module in use has a substitute on npm", async () => {
  const { imports } = await readJson(".ci/std_from_npm.json");
  const used = new Set<string>();
  const texts = [await Deno.readTextFile(new URL("cli.ts", ROOT))];
  for (const folder of ["tests/", "examples/"]) {
    for await (const text of sources(new URL(folder, ROOT))) texts.push(text);
  }
  for (const text of texts) {
    const found = text.matchAll(/^(?:import|\}).* from "(@std\/[^"]+)";$/gm);
    for (const [, specifier] of found) used.add(specifier!);
  }
  assert(used.has("@std/assert"));
  assertEquals([...used].filter((specifier) => !(specifier in imports)), []);
});

Deno.test("the substitutes stand for packages of deno.json and for its own exports", async () => {
  const { imports } = await readJson(".ci/std_from_npm.json");
  const manifest = await readJson("deno.json") as ImportMap & {
    readonly name: string;
    readonly exports: Readonly<Record<string, string>>;
  };
  for (const specifier of Object.keys(imports)) {
    const [scope, name] = specifier.split("/");
    const known = `${scope}/${name}` === manifest.name ||
      `${scope}/${name}` in manifest.imports;
    assert(known, `"${specifier}" stands for nothing in deno.json`);
  }
  for (const [entry, file] of Object.entries(manifest.exports)) {
    assertEquals(imports[manifest.name + entry.slice(1)], `.${file}`, entry);
  }
});

Deno.test("all of the project runs on one version of Deno", async () => {
  const script = await Deno.readTextFile(new URL(".ci/run", ROOT));
  const [, version] = /^DENO_VERSION=(\S+)$/m.exec(script) ?? [];
  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  const named = [...readme.matchAll(/npx -y deno@([\w.]*\d)/g)];
  assert(named.length > 0, "README.md names no npx command");
  for (const [, other] of named) assertEquals(other, version);
});
