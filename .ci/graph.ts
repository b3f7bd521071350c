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

/** One import or export from a file of the house. */
export interface Arrow {
  /** Path of the file that is imported, below the folder of deno.json. */
  readonly to: string;
  /** Whether types only pass. */
  readonly typeOnly: boolean;
}

/** One file. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly lines: number;
  readonly arrows: readonly Arrow[];
}

const STATEMENT =
  /^(?:import|export)\s+(type\s+)?(?:[^;"']*?\sfrom\s*)?"(\.[^"]+)"/gm;
const RESOLVED = /\b(?:import|import\.meta\.resolve)\(\s*"(\.[^"]+)"/g;

/** The imports that stand in a text. */
function arrowsOf(path: string, text: string): Arrow[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
  const resolve = (specifier: string) =>
    new URL(specifier, `file:///${path}`).pathname.slice(1);
  return [
    ...[...code.matchAll(STATEMENT)].map((match) => ({
      to: resolve(match[2]!),
      typeOnly: match[1] !== undefined,
    })),
    ...[...code.matchAll(RESOLVED)].map((match) => ({
      to: resolve(match[1]!),
      typeOnly: false,
    })),
  ].filter(({ to }) => to.endsWith(".ts"));
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
    const lines = text.split("\n").length - 1;
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
    for (const { to } of arrows) {
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
    for (const { to } of house.get(path)?.arrows ?? []) {
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
export function header(text: string): string {
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
