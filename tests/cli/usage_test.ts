/** Wrong usage: exit code 2, one line on standard error, nothing on standard output. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type CliOutcome, runCli, TestFolder } from "../support/cli.ts";

/** Runs rows a few at a time, each in a folder that must stay empty but for what it was given. */
async function runRows(
  t: Deno.TestContext,
  rows: readonly { readonly args: readonly string[]; readonly want: string }[],
  folder: TestFolder,
): Promise<void> {
  const outcomes: CliOutcome[] = [];
  for (let at = 0; at < rows.length; at += 4) {
    const some = rows.slice(at, at + 4);
    outcomes.push(
      ...await Promise.all(
        some.map(({ args }) => runCli(args, { cwd: folder.path })),
      ),
    );
  }
  for (const [index, { args, want }] of rows.entries()) {
    await t.step(args.join(" ") || "(none)", () => {
      const { code, stdout, stderr } = outcomes[index]!;
      assertEquals(stderr, `${want}; --help lists the options\n`);
      assertEquals({ code, stdout }, { code: 2, stdout: "" });
    });
  }
}

Deno.test("cli refuses options that it cannot use", async (t) => {
  await using folder = await TestFolder.create();
  const listen = 'want HOST:PORT or HOST:PORT/KIND, as "127.0.0.1:2525" or ' +
    '"[::1]:2525/lmtp"';
  const stores =
    "want maildir:DIR, mbox:DIR, mbox:FILE.mbox, file:DIR or discard";
  await runRows(t, [
    { args: ["--no-such-option"], want: "--no-such-option: unknown option" },
    {
      args: ["--no-quiet"],
      want: "--no-quiet: unknown option, want --quiet=no",
    },
    { args: ["-x"], want: "-x: unknown option" },
    // What is behind the sign may be a secret.
    {
      args: ["--no-such-option=sesame"],
      want: "--no-such-option: unknown option",
    },
    { args: ["fetch"], want: "fetch: unknown command" },
    { args: ["serve", "more"], want: "more: unknown command" },
    {
      args: ["--listen", "2525"],
      want: `--listen: Cannot listen on "2525": ${listen}`,
    },
    {
      args: ["--listen", "127.0.0.1:65536"],
      want: `--listen: Cannot listen on "127.0.0.1:65536": ${listen}`,
    },
    {
      args: ["--listen", "127.0.0.1:0/imap"],
      want: '--listen: Cannot listen on "127.0.0.1:0/imap": unknown kind ' +
        '"imap", want one of smtp, smtps, submission, submissions, lmtp',
    },
    {
      args: ["--hostname"],
      want: "--hostname: want a value",
    },
    {
      args: ["--hostname", "two words"],
      want: 'Cannot use hostname "two words": want a name, as "mx.example.com"',
    },
    { args: ["--store", "redis:x"], want: `--store redis:x: ${stores}` },
    { args: ["--store", "maildir:"], want: `--store maildir:: ${stores}` },
    { args: ["--store", "discard:x"], want: `--store discard:x: ${stores}` },
    {
      args: ["--store", "file:a", "--store", "file:b"],
      want: "--store: given 2 times, want once",
    },
    {
      args: ["--domain", "you@example.com"],
      want: '--domain: Cannot use "you@example.com" as a local domain: ' +
        'want a name, as "example.com"',
    },
    {
      args: ["--proxy-protocol", "10.0.0.1/8"],
      want: '--proxy-protocol: Cannot parse network "10.0.0.1/8": want ' +
        '"10.0.0.0/8"',
    },
    {
      args: ["--xclient", "localhost"],
      want: '--xclient: Cannot parse network "localhost": want one like ' +
        '"10.0.0.0/8"',
    },
    {
      args: ["--max-size", "10M"],
      want: "--max-size 10M: want a whole number from 0",
    },
    {
      args: ["--max-recipients", "0"],
      want: "--max-recipients 0: want a whole number from 1",
    },
    {
      args: ["--max-connections", "1.5"],
      want: "--max-connections 1.5: want a whole number from 1",
    },
    {
      args: ["--timeout=-1"],
      want: "--timeout -1: want a whole number from 1",
    },
    {
      args: ["--timeout", "9007199254740991"],
      want: 'Cannot use timeoutMs "9007199254740991000": want a whole number ' +
        "from 1",
    },
    {
      args: ["--max-connections-per-ip", "many"],
      want: "--max-connections-per-ip many: want a whole number from 0",
    },
    {
      args: ["--exempt", "10.0.0.1/8"],
      want: '--exempt: Cannot parse network "10.0.0.1/8": want "10.0.0.0/8"',
    },
    {
      args: ["--exempt", "none", "--exempt", "10.0.0.0/8"],
      want: "--exempt none: want no other network beside it",
    },
    { args: ["--log", "yaml\nx"], want: "--log yaml x: want text or json" },
  ], folder);
  assertEquals(await folder.files(), []);
});

Deno.test("cli refuses configuration files that it cannot use", async (t) => {
  await using folder = await TestFolder.create();
  const files: Record<string, [text: string, want: string]> = {
    "list.json": ["[]", "want a JSON object"],
    "null.json": ["null", "want a JSON object"],
    "key.json": ['{"colour": 1}', 'unknown setting "colour"'],
    "kebab.json": ['{"max-size": 1}', 'unknown setting "max-size"'],
    "proto.json": ['{"__proto__": 1}', 'unknown setting "__proto__"'],
    "config.json": ['{"config": "x"}', 'unknown setting "config"'],
    "one.json": [
      '{"store": ["a"]}',
      'setting "store" wants a string or a number',
    ],
    "null_value.json": [
      '{"hostname": null}',
      'setting "hostname" wants a string or a number',
    ],
    "truth.json": [
      '{"maxSize": true}',
      'setting "maxSize" wants a string or a number',
    ],
    "many.json": [
      '{"listen": false}',
      'setting "listen" wants a string, or an array of at least one',
    ],
    "none.json": [
      '{"domain": []}',
      'setting "domain" wants a string, or an array of at least one',
    ],
    "numbers.json": [
      '{"domain": [1]}',
      'setting "domain" wants a string, or an array of at least one',
    ],
    "flag.json": ['{"quiet": null}', 'setting "quiet" wants true or false'],
    "flag_list.json": [
      '{"quiet": [true]}',
      'setting "quiet" wants true or false',
    ],
    "text.json": ["alice:sesame", "it is not JSON"],
  };
  for (const [name, [text]] of Object.entries(files)) {
    await folder.write(name, text);
  }
  await runRows(
    t,
    Object.entries(files).map(([name, [, want]]) => ({
      args: ["--config", name],
      want: `--config ${name}: ${want}`,
    })),
    folder,
  );
  await runRows(t, [
    {
      args: ["--config", "list.json", "--config", "null.json"],
      want: "--config: want it once",
    },
  ], folder);
  // A value that no form forbids is checked as on the command line.
  await folder.write("value.json", '{"maxSize": -1}');
  const value = await runCli(["--config", "value.json"], { cwd: folder.path });
  assertEquals([value.code, value.stdout], [2, ""]);
  assertStringIncludes(value.stderr, "--max-size -1: want a whole number");
});

Deno.test("cli refuses a configuration file that cannot be read", async () => {
  const { code, stdout, stderr } = await runCli(["--config", "no/such.json"]);
  assertEquals([code, stdout], [2, ""]);
  assert(/^--config no\/such\.json: .+\n$/.test(stderr), stderr);
});

Deno.test("cli refuses handlers that it cannot load", async (t) => {
  await using folder = await TestFolder.create();
  await folder.write("none.ts", "export const handlers = {};");
  await folder.write("number.ts", "export default 5;");
  await folder.write("throws.ts", 'throw new Error("Cannot\\nbegin");');
  const wants = {
    "missing.ts": /^--handlers missing\.ts: cannot load it: .+\n$/,
    "throws.ts": /^--handlers throws\.ts: cannot load it: Error: Cannot.*\n$/,
    "none.ts": /^--handlers none\.ts: want a default export with handlers.+\n$/,
    "number.ts":
      /^--handlers number\.ts: want a default export with handlers.+\n$/,
  };
  for (const [name, want] of Object.entries(wants)) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await runCli(["--handlers", name], {
        cwd: folder.path,
      });
      assertEquals([code, stdout], [2, ""]);
      assert(want.test(stderr), stderr);
    });
  }
});

Deno.test("cli --help lists every option, --version tells name and version", async () => {
  const help = await runCli(["--help"]);
  assertEquals([help.code, help.stderr], [0, ""]);
  for (const line of help.stdout.split("\n")) assert(line.length <= 80, line);
  const { SETTINGS } = await import("../../lib/cli/settings.ts");
  for (const name of [...Object.keys(SETTINGS), "config", "version", "help"]) {
    assertStringIncludes(help.stdout, `  --${name}`);
  }
  const version = await runCli(["--version"]);
  assertEquals([version.code, version.stderr], [0, ""]);
  assert(/^@smtp\/server \d+\.\d+\.\d+\S*\n$/.test(version.stdout));
});
