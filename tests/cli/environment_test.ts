/** Settings by environment variables: names, lists, order, permissions, secrets. */

import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  unknownVariables,
  variableOf,
  variableSettings,
} from "../../lib/cli/environment.ts";
import { keyOf, optionsOf, sharedOptions } from "../../lib/cli/options.ts";
import { UsageError } from "../../lib/cli/output.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";

const SERVER = optionsOf("serve");

Deno.test("Every option of a configuration file has a variable of its own", () => {
  const seen = new Set<string>();
  for (const [name, option] of Object.entries(SERVER)) {
    const variable = variableOf(name, option);
    assertEquals(variable !== undefined, keyOf(name, option) !== undefined);
    if (variable === undefined) continue;
    assert(/^SMTP_[A-Z_]+$/.test(variable) && !seen.has(variable), variable);
    seen.add(variable);
  }
});

Deno.test("Every value of a repeatable option can be written in a variable", () => {
  const rows: readonly (readonly [string, string, readonly string[]])[] = [
    ["SMTP_LISTEN", ":25,:587/submission", [":25", ":587/submission"]],
    ["SMTP_LISTEN", " :25  [::1]:25 ", [":25", "[::1]:25"]],
    ["SMTP_EXEMPT", "10.0.0.0/8, 127.0.0.1", ["10.0.0.0/8", "127.0.0.1"]],
    ["SMTP_DOMAIN", "a.test\r\nb.test\n\n", ["a.test", "b.test"]],
    // A secret and a path may have blanks and commas.
    ["SMTP_USER", "ann:a b, c", ["ann:a b, c"]],
    ["SMTP_USER", "ann:a b\neve: x ", ["ann:a b", "eve: x "]],
    ["SMTP_CERT", "my certs/a.pem\nb,c.pem", ["my certs/a.pem", "b,c.pem"]],
    // A line end makes lines of any list.
    ["SMTP_DOMAIN", "a b\n", ["a b"]],
    // An option that is given once takes all of the text.
    ["SMTP_RETRY", "30s 5m*3, 1h", ["30s 5m*3, 1h"]],
    ["SMTP_RELAY", "no", ["no"]],
  ];
  for (const [variable, text, want] of rows) {
    const { raw, places } = variableSettings(
      new Map([[variable, text]]),
      SERVER,
    );
    const [[name, values] = [], ...others] = [...raw];
    assertEquals(values, want, text);
    assertEquals(others, []);
    assertEquals(places.get(name!), variable);
  }
});

Deno.test("A variable that no option has is named with the nearest, and its value is not", () => {
  const variables = new Map([
    ["SMTP_LISEN", "sesame"],
    ["SMTP_PASSWORD", "sesame"],
    ["SMTP_CONFIG", "x"],
    ["SMTP_MAX_SIZE", "1"],
    ["SMTP_CHECK", "1"],
  ]);
  assertEquals(unknownVariables(variables, SERVER), [
    "SMTP_CHECK: no setting has this name, it has no effect",
    "SMTP_LISEN: no setting has this name, it has no effect (did you mean SMTP_LISTEN?)",
    "SMTP_PASSWORD: no setting has this name, it has no effect",
  ]);
});

Deno.test("The error of a variable shows no value", () => {
  for (const [name, value] of [["RELAY", "ses\u001bame"], ["DOMAIN", " , "]]) {
    const variables = new Map([[`SMTP_${name}`, value!]]);
    const { message } = assertThrows(
      () => variableSettings(variables, SERVER),
      UsageError,
    );
    const want = name === "DOMAIN"
      ? "want a value"
      : "want yes, true, on, 1, no, false, off or 0";
    assertEquals(message, `SMTP_${name}: ${want}`);
  }
});

Deno.test("The domains and accounts of the server are no options of queue and send", () => {
  const shared = (name: "queue" | "send" | "lookup" | "status") =>
    Object.keys(sharedOptions(name)).sort();
  assertEquals(shared("queue"), ["spool"]);
  assertEquals(shared("send"), [
    ...["chunking", "dns", "hostname", "remote-port", "trust-ad"],
  ]);
  assertEquals(shared("lookup"), ["dns", "trust-ad"]);
  assertEquals(shared("status"), ["spool", "status"]);
});

Deno.test("cli serves by variables; arguments go before them, and they before the file", async () => {
  await using folder = await TestFolder.create();
  await folder.write(
    "smtp.json",
    JSON.stringify({
      ...{ hostname: "file.test", maxSize: 3000, store: "discard" },
      ...{ user: ["eve:file"] },
    }),
  );
  await using server = await CliServer.start([
    ...["--hostname", "argument.test", "--listen", "127.0.0.1:0"],
  ], {
    cwd: folder.path,
    env: {
      SMTP_CONFIG: "smtp.json",
      SMTP_HOSTNAME: "variable.test",
      SMTP_MAX_SIZE: "2k",
      SMTP_USER: "ann:ses ame\nbob:x",
      SMTP_ALLOW_INSECURE_AUTH: "yes",
      SMTP_QUIET: "",
      SMTP_LISEN: "sesame",
    },
  });
  await using client = await server.connect();
  const greeting = await client.expect(220);
  assertStringIncludes(greeting.lines[0]!, "argument.test");
  const { lines } = await client.expect(250, "EHLO client.example");
  assert(lines.includes("SIZE 2048"), lines.join());
  await client.expect(535, `AUTH PLAIN ${btoa("\0eve\0file")}`);
  await client.expect(235, `AUTH PLAIN ${btoa("\0ann\0ses ame")}`);
  await client.expect(221, "QUIT");
  const { stdout, stderr } = await server.end("SIGTERM");
  assertStringIncludes(stdout, "stop with Ctrl-C");
  assertStringIncludes(stderr, "SMTP_LISEN: no setting has this name");
  assert(!/ses ?ame/.test(stdout + stderr));
  assertEquals(await folder.files(), ["smtp.json"]);
});

Deno.test("cli --check judges variables and reports those without effect", async () => {
  await using folder = await TestFolder.create();
  const { code, stdout, stderr } = await runCli(["serve", "--check"], {
    cwd: folder.path,
    env: { SMTP_SMARTHOST: "mx.test:25", SMTP_DOMAINS: "a.test" },
  });
  assertEquals([code, stdout], [0, "the settings can be used\n"]);
  assertEquals(stderr.split("\n"), [
    "warning: SMTP_DOMAINS: no setting has this name, it has no effect (did you mean SMTP_DOMAIN?)",
    "warning: SMTP_SMARTHOST: nothing is taken for other domains without --relay or --relay-from",
    "",
  ]);
});

Deno.test("cli reads the variables that it may read, and asks for no permission", async () => {
  await using folder = await TestFolder.create();
  const env = { SMTP_LOG: "yaml", SMTP_THREADS: "no" };
  const files = ["--allow-read", "--allow-sys", "--allow-import"];
  const check = (permissions: readonly string[]) =>
    runCli(["serve", "--check", "--store", "discard"], {
      ...{ cwd: folder.path, env, permissions: [...files, ...permissions] },
    });
  const some = await check(["--allow-env=SMTP_THREADS,NO_COLOR"]);
  assertEquals(some.code, 2);
  assertStringIncludes(some.stderr, "SMTP_THREADS no: want a whole number");
  const none = await check([]);
  assertEquals([none.code, none.stderr], [0, ""]);
});

Deno.test("cli queue acts on the spool of a variable, and chooses by arguments only", async () => {
  await using folder = await TestFolder.create();
  const env = {
    SMTP_SPOOL: `${folder.path}/waiting`,
    SMTP_DOMAIN: "nowhere.test",
    SMTP_CONFIG: "smtp.json",
  };
  await folder.write("smtp.json", JSON.stringify({ domain: "nowhere.test" }));
  {
    await using server = await CliServer.start([
      ...["--listen", "127.0.0.1:0", "--relay-from", "127.0.0.0/8"],
      ...["--smarthost", "127.0.0.1:9/none", "--quiet"],
    ], { cwd: folder.path, env });
    await using client = await server.connect();
    await client.script(messageTo(["bob@dest.test"]));
  }
  const run = (...args: string[]) =>
    runCli(["queue", ...args], { cwd: folder.path, env });
  assertStringIncludes((await run()).stdout, "1 message,");
  assertEquals(
    (await run("hold", "all", "--domain", "nowhere.test")).stdout,
    "hold all: no message fits\n",
  );
  // The domains of the server are no filter: all means all.
  assertEquals((await run("remove", "all")).stdout, "remove all: done\n");
  assertEquals((await run()).stdout, "The queue is empty\n");
});
