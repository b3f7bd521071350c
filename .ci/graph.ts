/**
 * The files of the house and what imports what, read from the disk: for the
 * lint rules that look further than one file, and for the figures of the house.
 */

import manifest from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);
/** The entry points of the package, as paths below the folder of deno.json. */
export const ENTRIES: ReadonlySet<string> = new Set(
  Object.values(manifest.exports).map((path) => path.slice(2)),
);

/** One file; paths are below the folder of deno.json. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Its lines, without the tables that a task writes. */
  readonly lines: number;
  /** The files that it imports or exports from, be it types only. */
  readonly arrows: readonly string[];
}

/** What `deno task docs` writes: a table to look things up in. */
const WRITTEN = /<!-- options -->.*?<!-- end of options -->/s;

const STATEMENT = /^(?:import|export)\s+(?:[^;"']*?\sfrom\s*)?"(\.[^"]+)"/gm;
const RESOLVED = /\b(?:import|import\.meta\.resolve)\(\s*"(\.[^"]+)"/g;

/** The paths that a text imports. */
function arrowsOf(path: string, text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
  return [...code.matchAll(STATEMENT), ...code.matchAll(RESOLVED)]
    .map(([, to]) => new URL(to!, `file:///${path}`).pathname.slice(1))
    .filter((to) => to.endsWith(".ts"));
}

/** The TypeScript files below a folder, sorted. */
function* walk(folder: string): Generator<string> {
  const entries = [...Deno.readDirSync(new URL(folder, ROOT))];
  for (const entry of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = `${folder}${entry.name}`;
    if (entry.isDirectory) yield* walk(`${path}/`);
    else if (path.endsWith(".ts")) yield path;
  }
}

/** The published files by their path: `lib/`, `mod.ts` and `cli.ts`. */
export function readHouse(): Map<string, SourceFile> {
  const house = new Map<string, SourceFile>();
  for (const path of [...walk("lib/"), "mod.ts", "cli.ts"]) {
    const text = Deno.readTextFileSync(new URL(path, ROOT));
    const lines = text.replace(WRITTEN, "").split("\n").length - 1;
    house.set(path, { path, text, lines, arrows: arrowsOf(path, text) });
  }
  return house;
}

/** The files that import each file. */
export function importers(
  house: ReadonlyMap<string, SourceFile>,
): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { path, arrows } of house.values()) {
    for (const to of arrows) {
      const set = found.get(to) ?? new Set();
      found.set(to, set.add(path));
    }
  }
  return found;
}

/** The groups of files that import each other in a circle, types included: Tarjan's algorithm. */
export function circles(
  house: ReadonlyMap<string, SourceFile>,
): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  function visit(path: string): void {
    index.set(path, index.size);
    low.set(path, index.get(path)!);
    stack.push(path);
    for (const to of house.get(path)?.arrows ?? []) {
      if (!house.has(to)) continue;
      if (!index.has(to)) visit(to);
      if (index.has(to) && stack.includes(to)) {
        low.set(path, Math.min(low.get(path)!, low.get(to)!));
      }
    }
    if (low.get(path) !== index.get(path)) return;
    const group = stack.splice(stack.indexOf(path));
    if (group.length > 1) found.push(group.sort());
  }
  for (const path of house.keys()) {
    if (!index.has(path)) visit(path);
  }
  return found;
}

/** The comment that opens a file. */
function header(text: string): string {
  return /^\s*\/\*\*[\s\S]*?\*\//.exec(text)?.[0] ?? "";
}

/** Lines below which a file with one importer says why it stands alone. */
export const FLOOR = 100;
/** Lines above which a file is more than one concept. */
export const CEILING = 600;

/** Whether a file is too small for itself: one importer, few lines, and no reason in its header. */
export function isSlice(
  file: SourceFile,
  imports: ReadonlyMap<string, ReadonlySet<string>>,
): boolean {
  return file.lines < FLOOR && !ENTRIES.has(file.path) &&
    imports.get(file.path)?.size === 1 &&
    !/\balone\b/.test(header(file.text));
}
