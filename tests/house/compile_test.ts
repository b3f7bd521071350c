/** The compiled program contains the modules that it loads at run time. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { packageFlags } from "../support/interop/server.ts";
import { run } from "../support/process.ts";
import { TestFolder } from "../support/folder.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("deno compile embeds the command line and what the task includes", async () => {
  await using folder = await TestFolder.create();
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  );
  const included = [...tasks.compile.matchAll(/--include (\S+)/g)]
    .map(([, path]) => path as string);
  const output = `${folder.path}/smtp-server`;
  // No runtime is downloaded: any executable shows what is embedded.
  const { stdout, stderr } = await run(Deno.execPath(), [
    ...["compile", "-A", ...packageFlags],
    ...included.flatMap((path) => ["--include", path]),
    ...["--output", output, "cli.ts"],
  ], {
    cwd: ROOT.pathname,
    env: { DENORT_BIN: Deno.execPath(), NO_COLOR: "1" },
  });
  const [, listing = ""] = `${stdout}${stderr}`.split("Embedded Files");
  for (const name of ["cli.ts", "deno.json"]) {
    assertStringIncludes(listing, name);
  }
  // The worker is named by the task only. A star stands for a folder that is complete.
  assertMatch(listing, /── (server\/\*|worker\.ts) /);
  assertEquals((await Deno.stat(output)).isFile, true);
});
