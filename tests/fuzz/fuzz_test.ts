/**
 * The fuzz that runs with every test: 5,000 inputs of the cheap targets and 125 of
 * each one on sockets or files. `deno task fuzz --count N` runs more.
 *
 * The promise of SECURITY.md: "No exception ends the process".
 */

import { assertRejects } from "@std/assert";
import { fuzz } from "./fuzz.ts";
import { shares, TARGETS } from "./targets.ts";

for (const [target, count] of shares(TARGETS, 5000)) {
  Deno.test(`Fuzz of the ${target.name} stands ${count} inputs`, async () => {
    await fuzz(target, { seed: 1, count });
  });
}

Deno.test("A failure of the fuzz names the seed that repeats it", async () => {
  const target = {
    name: "server",
    check(random: (limit: number) => number): void {
      if (random(100) === 7) throw new Error("Seven");
    },
  };
  const { message } = await assertRejects(
    () => fuzz(target, { seed: 1, count: 10_000 }),
    Error,
    "Cannot pass seed ",
  );
  const seed = Number(/seed (\d+)/.exec(message)![1]);
  await assertRejects(
    () => fuzz(target, { seed, count: 1 }),
    Error,
    `seed ${seed}`,
  );
});
