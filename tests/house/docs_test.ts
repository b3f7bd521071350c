/** The generated documentation matches the tables that it is made from. */

import { assertEquals } from "@std/assert";
import { withChapter } from "../../.ci/docs.ts";

Deno.test("The chapter on the command line in cli.ts is up to date: deno task docs", async () => {
  const source = await Deno.readTextFile(
    new URL("../../cli.ts", import.meta.url),
  );
  assertEquals(source, withChapter(source));
});
