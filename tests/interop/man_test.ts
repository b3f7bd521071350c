/** The manual pages that `man` writes, as man(1), groff and mandoc read them. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { CommandName } from "../../lib/cli/option.ts";
import { COMMANDS, optionsOf } from "../../lib/cli/options.ts";
import { man } from "../../lib/cli/man.ts";
import { runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { run } from "../support/process.ts";

const NAMES = [undefined, ...Object.keys(COMMANDS) as CommandName[]];

/** The page of a command, as the program writes it. */
async function pageOf(name: CommandName | undefined): Promise<string> {
  let page = "";
  const args = name === undefined ? [] : [name];
  const output = {
    out: (text: string | Uint8Array) => void (page += text),
    err() {},
  };
  assertEquals(await man(args, "1.2.3", output), 0);
  return page;
}

Deno.test("cli man writes the page that this process makes", async () => {
  const { code, stdout, stderr } = await runCli(["man", "queue"]);
  assertEquals([code, stderr], [0, ""]);
  const own = await pageOf("queue");
  const body = (page: string) => page.slice(page.indexOf(".SH NAME"));
  assertEquals(body(stdout), body(own));
});

Deno.test("man, groff and mandoc read every page without a complaint", async (t) => {
  await using folder = await TestFolder.create();
  for (const name of NAMES) {
    await t.step(name ?? "(program)", async () => {
      const file = await folder.write("page.8", await pageOf(name));
      const options = { env: { MANWIDTH: "80", LC_ALL: "C.UTF-8" } };
      const quiet = async (program: string, ...args: string[]) => {
        const { stdout, stderr } = await run(program, [...args, file], options);
        assertEquals(stderr, "");
        return stdout;
      };
      await quiet("man", "-l", "--warnings", "-E", "UTF-8", "-Z");
      await quiet("groff", "-man", "-ww", "-z");
      // The page has no date: it is the same whenever it is made.
      const { stdout: lint } = await new Deno.Command("mandoc", {
        args: ["-Tlint", file],
      }).output();
      assertEquals(
        new TextDecoder().decode(lint).split("\n")
          .filter((line) => !line.includes("missing date")),
        [""],
      );
      const shown = (await quiet("mandoc", "-Tutf8", "-O", "width=300"))
        .replaceAll(/.[\b]/g, "");
      for (const option of Object.keys(optionsOf(name ?? "serve"))) {
        assertStringIncludes(shown, `--${option}`);
      }
      const { examples, exitCodes } = COMMANDS[name ?? "serve"];
      assertStringIncludes(shown, exitCodes);
      for (const [call] of examples) {
        assertStringIncludes(shown, `smtp-server ${call}`);
      }
    });
  }
});
