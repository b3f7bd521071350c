/**
 * The promise of the documentation: of every option a newcomer reads what holds
 * without it, and of every number its unit.
 */

import { assertEquals } from "@std/assert";
import { packageFlags } from "../support/interop/server.ts";
import { run } from "../support/process.ts";

const ROOT = new URL("../../", import.meta.url);

/** The parts of `deno doc --json` that are read here. */
interface Documented {
  readonly nodes: Readonly<
    Record<string, { readonly symbols: readonly DocSymbol[] }>
  >;
}
interface DocSymbol {
  readonly name: string;
  readonly declarations: readonly {
    readonly kind: string;
    readonly def?: { readonly properties?: readonly Property[] };
  }[];
}
interface Property {
  readonly name: string;
  readonly optional?: boolean;
  readonly tsType?: unknown;
  readonly jsDoc?: {
    readonly doc?: string;
    readonly tags?: readonly { readonly kind: string }[];
  };
}

/** An option of an exported interface. */
interface Option {
  readonly name: string;
  readonly text: string;
  readonly hasDefault: boolean;
  readonly isNumber: boolean;
}

/** All optional properties of the exported interfaces whose names end in `Options`. */
async function allOptions(): Promise<Option[]> {
  const { exports } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const { stdout } = await run(Deno.execPath(), [
    ...["doc", "--json", ...packageFlags, ...Object.values<string>(exports)],
  ], { cwd: ROOT.pathname });
  const documented: Documented = JSON.parse(stdout);
  const options = new Map<string, Option>();
  const symbols = Object.values(documented.nodes).flatMap((one) => one.symbols);
  for (const { name, declarations } of symbols) {
    if (!name.endsWith("Options")) continue;
    for (const { kind, def } of declarations) {
      if (kind !== "interface") continue;
      for (const property of def?.properties ?? []) {
        if (property.optional !== true) continue;
        const option = readOption(name, property);
        options.set(option.name, option);
      }
    }
  }
  return [...options.values()];
}

function readOption(of: string, property: Property): Option {
  const { doc = "", tags = [] } = property.jsDoc ?? {};
  return {
    name: `${of}.${property.name}`,
    text: doc.replaceAll(/\s+/g, " "),
    hasDefault: tags.some(({ kind }) => kind === "default") ||
      /\bDefault\b/.test(doc),
    isNumber: JSON.stringify(property.tsType)
      .includes('"kind":"keyword","value":"number"'),
  };
}

/** Units, and words that say what is counted. */
const UNIT =
  /\b(?:ms|milliseconds?|seconds|bytes|(?:number|share|times) of|most \w+|ports?|permissions|user|group)\b/i;

Deno.test("every option says what holds without it", async () => {
  const options = await allOptions();
  const missing = options.filter(({ hasDefault }) => !hasDefault);
  assertEquals(missing.map(({ name, text }) => `${name}: ${text}`), []);
});

Deno.test("every option that is a number says its unit", async () => {
  const options = await allOptions();
  const missing = options.filter(({ name, text, isNumber }) =>
    isNumber && !/(?:Ms|Bytes)$/.test(name) && !UNIT.test(text)
  );
  assertEquals(missing.map(({ name, text }) => `${name}: ${text}`), []);
});
