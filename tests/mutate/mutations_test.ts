/** Each row of the table of mutations fits the code. `main.ts` carries the rows out. */

import { assertEquals, assertNotEquals } from "@std/assert";
import { applyTo, MUTATIONS } from "./mutations.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("Every mutation finds its place in the code, once, and its tests", async () => {
  const faults: string[] = [];
  for (const mutation of MUTATIONS) {
    const source = await Deno.readTextFile(new URL(mutation.file, ROOT));
    try {
      assertNotEquals(applyTo(source, mutation), source);
    } catch (error) {
      faults.push(`${mutation.name}: ${(error as Error).message}`);
    }
    for (const test of mutation.tests) {
      const { isFile } = await Deno.stat(new URL(test, ROOT));
      if (!isFile) faults.push(`${mutation.name}: no file "${test}"`);
    }
  }
  assertEquals(faults, []);
});

Deno.test("Every mutation has a name of its own and tests that may notice it", () => {
  assertEquals(
    new Set(MUTATIONS.map(({ name }) => name)).size,
    MUTATIONS.length,
  );
  assertEquals(MUTATIONS.filter(({ tests }) => tests.length === 0), []);
});
