/** The cost of a message: to accept it, and to record its results. */

import { FileSpool } from "../../lib/spool/file_spool.ts";
import { addition } from "../support/queue/fixtures.ts";

const COUNT = 2000;
const AT_ONCE = 20;
const TEXT = "x".repeat(4094) + "\r\n";

const folder = await Deno.makeTempDir({ prefix: "smtp-spool-" });
const spool = new FileSpool(folder);
await spool.open();
globalThis.addEventListener("unload", () => {
  Deno.removeSync(folder, { recursive: true });
});
let name = 0;

async function many(action: () => Promise<unknown>): Promise<void> {
  let left = COUNT;
  const one = async () => {
    while (left-- > 0) await action();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

// Async functions: the benchmark does not wait for a returned promise.
Deno.bench(
  `FileSpool.add(): ${COUNT} messages of 4 KiB, ${AT_ONCE} at once`,
  { n: 5, warmup: 1 },
  async () => {
    await many(() => spool.add(addition(`m${name++}`, { text: TEXT })));
  },
);

Deno.bench(
  `FileSpool.change(): ${COUNT} results, ${AT_ONCE} at once`,
  { n: 5, warmup: 1 },
  async () => {
    await many(() =>
      spool.change(`m${name++ % COUNT}`, { kind: "retry", at: name })
    );
  },
);
