/**
 * Prints the figures of the house, each beside what is wanted: files, importers,
 * circles and arrows, closures, names of the entry points, README, words. The
 * exit status is 1 where one of them is not reached. Run as `deno task house`.
 */

import manifest from "../deno.json" with { type: "json" };
import {
  CEILING,
  circles,
  ENTRIES,
  importers,
  isSlice,
  readHouse,
  type SourceFile,
} from "./graph.ts";
import { wordHits } from "./prose.ts";

const ROOT = new URL("../", import.meta.url);
/** The arguments that the other tasks get, an import map as a rule. */
const MAP = Deno.args.filter((argument) => argument.startsWith("--import-map"));

/** One line of the table. */
interface Row {
  readonly what: string;
  readonly found: number | string;
  readonly want: string;
  readonly reached: boolean;
}

/**
 * Runs deno, and returns what it printed. A command without output has failed:
 * its figure would be 0, and look good.
 */
async function deno(command: string, ...args: string[]): Promise<string> {
  // The linter takes no import map, and fails where it reports something.
  const map = command === "lint" ? [] : MAP;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [command, ...map, ...args],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  if (stdout.length > 0) return decoder.decode(stdout);
  throw new Error(`Cannot run deno ${command}: ${decoder.decode(stderr)}`);
}

/** A figure with a limit. */
function row(what: string, found: number, limit: number): Row {
  return { what, found, want: `at most ${limit}`, reached: found <= limit };
}

/** A figure without one. */
function figure(what: string, found: number | string): Row {
  return { what, found, want: "", reached: true };
}

/** Bytes of a text. */
function sizeOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The text without comments, strings and regular expressions: for counting only. */
function bare(text: string): string {
  return text.replace(
    /\/\*[\s\S]*?\*\/|(?<![:"'`\\])\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g,
    (part) => part.startsWith("/") ? "" : '""',
  );
}

/** Where the bracket that opens at `open` closes. */
function closing(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    const char = text[at]!;
    if ("([{".includes(char)) depth++;
    if (")]}".includes(char) && --depth === 0) return at;
  }
  return text.length;
}

/** The parts of a list at its top level. */
function parts(list: string): string[] {
  const found: string[] = [];
  let from = 0;
  for (let at = 0; at < list.length; at++) {
    const char = list[at]!;
    if ("([{".includes(char)) at = closing(list, at);
    else if (char === ",") {
      found.push(list.slice(from, at));
      from = at + 1;
    }
  }
  return [...found, list.slice(from)].map((part) => part.trim());
}

const FUNCTION = /^(?:async\s+)?(?:\([^]*?\)|\w+)(?:\s*:\s*[^=]+?)?\s*=>/;
const METHOD = /^(?:async\s+)?\*?#?\w+\s*\([^]*?\)(?:\s*:\s*[^{]+)?\s*\{/;

/** Functions among the arguments of a constructor, and among the members of an object there. */
function closuresIn(argument: string): number {
  if (FUNCTION.test(argument)) return 1;
  if (!argument.startsWith("{")) return 0;
  let count = 0;
  for (const member of parts(argument.slice(1, -1))) {
    const value = /^[\w$]+\s*:\s*([^]*)$/.exec(member)?.[1];
    if (value === undefined ? METHOD.test(member) : FUNCTION.test(value)) {
      count++;
    }
  }
  return count;
}

/** Functions that are handed to constructors of the house's own classes. */
function countClosures(house: ReadonlyMap<string, SourceFile>): number {
  const files = [...house.values()].filter(({ path }) =>
    !/^lib\/(cli|testing)\//.test(path) && path !== "cli.ts"
  ).map(({ text }) => bare(text));
  const classes = new Set(
    files.flatMap((text) =>
      [...text.matchAll(/^(?:export )?(?:abstract )?class (\w+)/gm)]
        .map((match) => match[1]!)
    ),
  );
  let count = 0;
  for (const text of files) {
    for (const match of text.matchAll(/\bnew (\w+)(?:<[^()]*>)?\(/g)) {
      if (!classes.has(match[1]!)) continue;
      const open = match.index + match[0].length - 1;
      const list = text.slice(open + 1, closing(text, open));
      for (const argument of parts(list)) count += closuresIn(argument);
    }
  }
  return count;
}

/** The names that each entry point exports. */
async function entryNames(): Promise<Map<string, Set<string>>> {
  const found = new Map<string, Set<string>>();
  for (const [entry, file] of Object.entries(manifest.exports)) {
    const text = await deno("doc", "--json", file);
    const { nodes } = JSON.parse(text);
    const names = Object.values(nodes as Record<string, { symbols: Named[] }>)
      .flatMap(({ symbols }) => symbols.map(({ name }) => name));
    found.set(entry, new Set(names));
  }
  return found;
}

interface Named {
  readonly name: string;
}

/** The Markdown files of the package. */
function markdown(): string[] {
  const folders = ["./", "examples/", "tests/conformance/", "tests/peers/"];
  return folders.flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, ROOT))]
      .filter(({ name }) => name.endsWith(".md"))
      .map(({ name }) => `${folder}${name}`)
  );
}

/** The files of tests and examples. */
function* sources(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(new URL(folder, ROOT))) {
    const path = `${folder}${entry.name}`;
    if (entry.isDirectory && entry.name !== "programs") {
      yield* sources(`${path}/`);
    } else if (path.endsWith(".ts")) yield path;
  }
}

function read(path: string): string {
  return Deno.readTextFileSync(new URL(path, ROOT));
}

/** The comments of a source. */
function comments(text: string): string {
  return (text.match(/\/\*[\s\S]*?\*\/|(?<=^|[\s;{}(),])\/\/[^\n]*/g) ?? [])
    .join("\n");
}

/** Words of the list in all comments and all Markdown. */
function countWords(house: ReadonlyMap<string, SourceFile>): number {
  const texts = [
    ...[...house.values()].map(({ text }) => comments(text)),
    ...[...sources("tests/"), ...sources("examples/")]
      .map((path) => comments(read(path))),
    ...markdown().map(read),
  ];
  return texts.reduce((sum, text) => sum + wordHits(text).length, 0);
}

/** Imports of names that the package does not export, in examples of comments and Markdown. */
function falseImports(
  house: ReadonlyMap<string, SourceFile>,
  entries: ReadonlyMap<string, ReadonlySet<string>>,
): string[] {
  const texts = [
    ...[...house.values()].map(({ text }) => comments(text)),
    ...markdown().map(read),
  ];
  const found: string[] = [];
  for (const text of texts) {
    const clean = text.replace(/^\s*\* ?/gm, "");
    for (
      const match of clean.matchAll(
        /import\s+(?:type\s+)?\{([^}]*)\}\s+from\s+"@smtp\/server(\/\w+)?"/g,
      )
    ) {
      const known = entries.get(`.${match[2] ?? ""}`);
      for (const part of match[1]!.split(",")) {
        const name = part.trim().replace(/^type\s+/, "").split(/\s+as\s+/)[0]!;
        if (name !== "" && !known?.has(name)) found.push(name);
      }
    }
  }
  return found;
}

/** Examples of the package that are not checked. */
function uncheckedExamples(house: ReadonlyMap<string, SourceFile>): number {
  let count = 0;
  for (const { text } of house.values()) {
    for (const match of text.matchAll(/```ts ignore\n([\s\S]*?)```/g)) {
      if (match[1]!.includes("@smtp/server")) count++;
    }
  }
  return count;
}

/** What `import` of an entry point loads: modules, and bytes when minified. */
interface Load {
  readonly modules: number;
  readonly size: number;
}

async function loaded(file: string): Promise<Load> {
  const info = JSON.parse(await deno("info", "--json", file));
  const seen = new Set<string>();
  const known = new Map<string, Module>(
    (info.modules as Module[]).map((item) => [item.specifier, item]),
  );
  function visit(specifier: string): void {
    if (seen.has(specifier) || !known.has(specifier)) return;
    seen.add(specifier);
    for (const { code } of known.get(specifier)!.dependencies ?? []) {
      if (code !== undefined) visit(code.specifier);
    }
  }
  for (const root of info.roots as string[]) visit(root);
  const modules = [...seen].filter((name) => name.startsWith("file:")).length;
  const text = await deno("bundle", "--minify", "--platform=deno", file);
  return { modules, size: sizeOf(text) };
}

interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly { code?: { specifier: string } }[];
}

/** Files beside one where something is done that its header claims for itself. */
function outside(
  house: ReadonlyMap<string, SourceFile>,
  claim: {
    readonly rooms: RegExp;
    readonly owner: string;
    readonly what: RegExp;
  },
): number {
  return [...house.values()].filter(({ path, text }) =>
    claim.rooms.test(path) && path !== claim.owner &&
    claim.what.test(bare(text))
  ).length;
}

/** Sizes of files, and what imports them. */
function fileRows(house: ReadonlyMap<string, SourceFile>): Row[] {
  const lib = [...house.values()].filter(({ path }) => path.startsWith("lib/"));
  const known = importers(house);
  const single = lib.filter(({ path }) =>
    !ENTRIES.has(path) && known.get(path)?.size === 1
  );
  const slices = lib.filter((file) => isSlice(file, known));
  const lines = lib.map((file) => file.lines);
  return [
    // It was 260 before aliases, quotas, limits of users, LMTP to another server,
    // unix sockets, the writers of the log, `status` and the class of smtp-server.
    // It was 290 before mail trust, the security of connections to others, what
    // reports on it, and forwarding.
    row("files in lib", lib.length, 360),
    figure("lines in lib", lines.reduce((sum, count) => sum + count, 0)),
    // It was 48 before these. Each is a command of `cli.ts`, a mechanism of the
    // registry, or a part that a file of 600 lines has no room for.
    row("files with exactly one importer", single.length, 85),
    row("of these, slices", slices.length, 0),
    row("longest file, lines", Math.max(...lines), CEILING),
  ];
}

/** How many names the entry points have. */
function nameRows(entries: ReadonlyMap<string, ReadonlySet<string>>): Row[] {
  const all = new Set([...entries.values()].flatMap((names) => [...names]));
  return [
    ...[...entries].map(([entry, { size }]) =>
      entry === "."
        ? row(`names in "."`, size, 75)
        : figure(`names in "${entry}"`, size)
    ),
    // It was 250 before SPF, DKIM, DMARC, ARC, MTA-STS, DANE, TLS-RPT and forwarding.
    row("names in all entry points", all.size, 315),
  ];
}

/** What leads up or back, and what stands outside of the file that owns it. */
async function ownerRows(
  house: ReadonlyMap<string, SourceFile>,
): Promise<Row[]> {
  return [
    row("closures handed to constructors", countClosures(house), 34),
    row("circles of files", circles(house).length, 0),
    row("arrows that run up", await arrowsUp(), 0),
    row(
      "files with reply texts of the server beside replies.ts",
      outside(house, {
        rooms: /^lib\/(protocol\/(?!client)|session\/|server\/)/,
        owner: "lib/protocol/replies.ts",
        what: /new SmtpReply\(/,
      }),
      3,
    ),
    row(
      "files that change the state of the server's machine beside its owner",
      outside(house, {
        rooms: /^lib\/protocol\/server\//,
        owner: "lib/protocol/server/state.ts",
        what: /\.#?(?:phase|reading) = /,
      }),
      0,
    ),
  ];
}

/** Faults of examples, the size of README, and words. */
function textRows(
  house: ReadonlyMap<string, SourceFile>,
  entries: ReadonlyMap<string, ReadonlySet<string>>,
): Row[] {
  const missing = falseImports(house, entries);
  return [
    row("imports in examples that do not exist", missing.length, 0),
    row("examples that are not checked", uncheckedExamples(house), 0),
    row("README, bytes", sizeOf(read("README.md")), 5999),
    row("words of the list in comments and Markdown", countWords(house), 0),
  ];
}

/** What a program loads with the server, and with the client alone. */
async function loadRows(): Promise<Row[]> {
  const whole = await loaded(manifest.exports["."]);
  const part = await loaded(manifest.exports["./client"]);
  const text = ({ modules, size }: Load) =>
    `${modules}, ${size} bytes minified`;
  return [
    figure(`modules of "."`, text(whole)),
    {
      what: `modules of "./client"`,
      found: text(part),
      want: "less than half",
      reached: part.modules * 2 < whole.modules && part.size * 2 <= whole.size,
    },
  ];
}

/** Imports that the linter reports. */
async function arrowsUp(): Promise<number> {
  const text = await deno("lint", "--json", "lib/", "mod.ts", "cli.ts");
  const { diagnostics } = JSON.parse(text) as {
    diagnostics: { code: string }[];
  };
  return diagnostics.filter(({ code }) => code === "house/imports").length;
}

const house = readHouse();
const entries = await entryNames();
const rows = [
  ...fileRows(house),
  ...nameRows(entries),
  ...await ownerRows(house),
  ...textRows(house, entries),
  ...await loadRows(),
];
const width = Math.max(...rows.map(({ what }) => what.length));
for (const { what, found, want, reached } of rows) {
  const mark = want === "" ? " " : reached ? "+" : "-";
  console.log(
    `${mark} ${what.padEnd(width)}  ${String(found).padStart(6)}  ${want}`,
  );
}
if (rows.some(({ reached }) => !reached)) Deno.exitCode = 1;
