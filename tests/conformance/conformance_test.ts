/** What RESULTS.md says of this server on the wire, by `deno task conformance`. */

import { assert, assertEquals } from "@std/assert";
import { ours } from "../peers/peers.ts";
import { lookAt, rows } from "./look.ts";

Deno.test("this server answers each row of the conformance table as wanted", async () => {
  const findings = await lookAt(ours, { timed: false });
  const missed = rows.flatMap(({ name, target }, at) => {
    const it = findings[at];
    if (it === undefined || it.good) return [];
    return [`${name}: wanted ${target}, saw ${it.seen}`];
  });
  assertEquals(missed, []);
});

Deno.test("RESULTS.md shows each row of the conformance table", async () => {
  const results = await Deno.readTextFile(
    new URL("RESULTS.md", import.meta.url),
  );
  for (const { name } of rows) {
    assert(results.includes(`| ${name} `), `RESULTS.md has no row "${name}"`);
  }
});
