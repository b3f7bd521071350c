/** The values that turn a flag on or off, and those that are refused. */

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { flag, parseArguments } from "../../lib/cli/arguments.ts";
import { parseConfig } from "../../lib/cli/config_file.ts";
import type { CommandName, Options } from "../../lib/cli/option.ts";
import { COMMANDS, optionsOf } from "../../lib/cli/options.ts";
import { relaySettings } from "../../lib/cli/relay_settings.ts";
import { UsageError } from "../../lib/cli/output.ts";
import { CliServer, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";

const SERVER = optionsOf("serve");

const ON = ["yes", "true", "on", "1", "YES", "True"];
const OFF = ["no", "false", "off", "0", "NO", "False", "oFF"];
const NEITHER = ["", "maybe", "2", "-1", "none", "nein", " no", "no ", "null"];
const WANT = "want yes, true, on, 1, no, false, off or 0";

/** Every flag of every command. */
function* flags(): Generator<
  readonly [name: string, options: Options]
> {
  for (const command of Object.keys(COMMANDS)) {
    const options = optionsOf(command as CommandName);
    for (const [name, { form }] of Object.entries(options)) {
      if (form === "flag") yield [name, options];
    }
  }
}

Deno.test("parseArguments() reads yes and no of every flag, and refuses the rest", () => {
  let count = 0;
  for (const [name, forms] of flags()) {
    count++;
    const read = (...args: string[]) =>
      flag(parseArguments(args, forms).given, name);
    assertEquals(read(), false);
    assertEquals(read(`--${name}`), true);
    for (const value of ON) assertEquals(read(`--${name}=${value}`), true);
    for (const value of OFF) assertEquals(read(`--${name}=${value}`), false);
    for (const value of NEITHER) {
      const error = assertThrows(() => read(`--${name}=${value}`), UsageError);
      assertEquals(error.message, `--${name} ${value || '""'}: ${WANT}`);
    }
    // A flag may be given twice, unless the values contradict.
    assertEquals(read(`--${name}`, `--${name}=1`), true);
    assertEquals(read(`--${name}=no`, `--${name}=0`), false);
    assertThrows(
      () => read(`--${name}=no`, `--${name}`),
      UsageError,
      `--${name}: given with yes and with no`,
    );
    assertThrows(
      () => read(`--no-${name}`),
      UsageError,
      `--no-${name}: unknown option, want --${name}=no`,
    );
    // The argument after a flag is not its value.
    assertEquals(parseArguments([`--${name}`, "no"], forms).words, ["no"]);
  }
  assertEquals(count > 5, true);
});

Deno.test("parseConfig() reads yes and no of every flag, and refuses the rest", () => {
  const names = Object.entries(SERVER)
    .filter(([, { form, key }]) => form === "flag" && key !== null).map((
      [name],
    ) => name);
  for (const name of names) {
    const key = name.replace(/-./g, (dash) => dash[1]!.toUpperCase());
    const read = (value: unknown) =>
      flag(
        parseConfig(JSON.stringify({ [key]: value }), {
          file: "smtp.json",
          options: SERVER,
        }).raw,
        name,
      );
    for (const value of [...ON, true, 1]) assertEquals(read(value), true);
    for (const value of [...OFF, false, 0]) assertEquals(read(value), false);
    for (const value of [...NEITHER, 2, null, [], [true], {}]) {
      const error = assertThrows(() => read(value), UsageError);
      assertStringIncludes(error.message, `smtp.json:1: ${key}`);
    }
  }
});

Deno.test("relaySettings() relays nothing with --relay=no", () => {
  for (const value of OFF) {
    const { relay } = relaySettings(new Map([["relay", [value]]]));
    assertEquals([relay?.allow, relay?.spool], ["none", undefined]);
  }
});

Deno.test("cli refuses a flag whose value is not yes or no", async (t) => {
  await using folder = await TestFolder.create();
  const rows = [
    ["--relay=maybe"],
    ["--allow-insecure-auth=nope"],
    ["--self-signed="],
    ["--help=perhaps"],
    ["queue", "list", "--json=2"],
    ["lookup", "mx", "example.com", "--json=x"],
    ["certificate", "create", "--request=x"],
  ];
  for (const args of rows) {
    await t.step(args.join(" "), async () => {
      const { code, stdout, stderr } = await runCli(args, { cwd: folder.path });
      const [name, value] = args.at(-1)!.split("=");
      assertEquals([code, stdout], [2, ""]);
      assertEquals(
        stderr,
        `${name} ${value || '""'}: ${WANT}; --help lists the options\n`,
      );
    });
  }
  assertEquals(await folder.files(), []);
});

Deno.test("cli turns on no flag that is given as no", async () => {
  await using folder = await TestFolder.create();
  await folder.write(
    "smtp.json",
    JSON.stringify({ relay: true, quiet: 1, selfSigned: "no" }),
  );
  await using server = await CliServer.start([
    ...["--listen", "127.0.0.1:0", "--config", "smtp.json"],
    ...["--user", "ann:secret", "--domain", "example.com", "--relay=no"],
    ...["--allow-insecure-auth=no", "--self-signed=off", "--quiet=0"],
  ], { cwd: folder.path });
  assertStringIncludes(server.stdout, "listening on");
  await using client = await server.connect();
  await client.expect(220);
  const { lines } = await client.expect(250, "EHLO client.example");
  assertEquals(lines.filter((line) => /^(AUTH|STARTTLS)/.test(line)), []);
  await client.expect(221, "QUIT");
  const { stdout } = await server.end("SIGTERM");
  assertStringIncludes(stdout, "stop with Ctrl-C");
  // There is neither mail nor a spool.
  assertEquals(await folder.files(), ["smtp.json"]);
});
