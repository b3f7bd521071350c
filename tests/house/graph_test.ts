/**
 * The rules that span files: circles of imports, slices, words.
 *
 * CONTRIBUTING.md names the rules.
 */

import { assertEquals } from "@std/assert";
import {
  circles,
  importers,
  isSlice,
  readHouse,
  type SourceFile,
} from "../../.ci/graph.ts";
import { wordHits } from "../../.ci/prose.ts";

/** Files with the imports of each. */
function houseOf(
  table: Readonly<Record<string, readonly string[]>>,
): Map<string, SourceFile> {
  return new Map(
    Object.entries(table).map(([path, list]) => [path, {
      path,
      text: "",
      lines: 50,
      arrows: list,
    }]),
  );
}

Deno.test("a circle of imports is found, and nothing else", () => {
  const house = houseOf({
    "a.ts": ["b.ts"],
    "b.ts": ["c.ts", "d.ts"],
    "c.ts": ["a.ts"],
    "d.ts": ["e.ts"],
    "e.ts": [],
    "f.ts": ["g.ts"],
    "g.ts": ["f.ts", "a.ts"],
  });
  assertEquals(circles(house).sort(), [["a.ts", "b.ts", "c.ts"], [
    "f.ts",
    "g.ts",
  ]]);
});

Deno.test("a small file with one importer is a slice unless its header says why it stands alone", () => {
  const house = houseOf({
    "a.ts": ["small.ts", "shared.ts"],
    "b.ts": ["shared.ts"],
    "small.ts": [],
    "shared.ts": [],
  });
  const known = importers(house);
  const small = house.get("small.ts")!;
  assertEquals(isSlice(small, known), true);
  assertEquals(isSlice({ ...small, lines: 100 }, known), false);
  assertEquals(isSlice(house.get("shared.ts")!, known), false);
  const text = "/** Stands alone: a thread loads it. */\nexport {};";
  assertEquals(isSlice({ ...small, text }, known), false);
});

Deno.test("the files of the house import each other in no circle", () => {
  const house = readHouse();
  assertEquals(circles(house), []);
  const known = importers(house);
  assertEquals([...house.values()].filter((file) => isSlice(file, known)), []);
});

for (
  const [text, want] of [
    ["An octet is read by whoever asks.", ["octet", "whoever"]],
    ["Nobody is told; there is none.", ["Nobody", "is told", "is none"]],
    ['The RFC says "octet", the code `octets`.', []],
    ["The security policy none means no TLS.", []],
    ["A header of the session.", []],
  ] as const
) {
  Deno.test(`words of plain English: ${text}`, () => {
    assertEquals(wordHits(text).map(({ word }) => word), [...want]);
  });
}

Deno.test("Markdown keeps to the words of plain English", async () => {
  const root = new URL("../../", import.meta.url);
  const hits: string[] = [];
  for (
    const folder of ["./", "examples/", "tests/conformance/", "tests/peers/"]
  ) {
    for await (const { name } of Deno.readDir(new URL(folder, root))) {
      if (!name.endsWith(".md")) continue;
      const text = await Deno.readTextFile(new URL(`${folder}${name}`, root));
      for (const { word, advice } of wordHits(text)) {
        hits.push(`${folder}${name}: "${word}": ${advice}`);
      }
    }
  }
  assertEquals(hits, []);
});
