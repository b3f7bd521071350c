/** Wrong usage: exit code 2, one line on standard error, nothing on standard output. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { parseSize } from "../../lib/cli/arguments.ts";
import { limitSettings } from "../../lib/cli/settings.ts";
import { helpOf } from "../../lib/cli/help.ts";
import { type CommandName, COMMON } from "../../lib/cli/option.ts";
import { COMMANDS, optionsOf } from "../../lib/cli/options.ts";
import { cliArgs, runCli, runCliRows } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes } from "../support/platform.ts";

/** Runs rows in a folder, and the first of them in a process of its own, too. */
async function runRows(
  t: Deno.TestContext,
  rows: readonly { readonly args: readonly string[]; readonly want: string }[],
  folder: TestFolder,
): Promise<void> {
  const cwd = folder.path;
  const outcomes = await runCliRows(rows.map(({ args }) => args), { cwd });
  assertEquals(await runCli(rows[0]!.args, { cwd }), outcomes[0]);
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
  const time =
    "want a whole number from 1 to 2073600, perhaps with ms, s, m, " +
    "h or d";
  const stores =
    "want maildir:DIR, mbox:DIR, mbox:FILE.mbox, file:DIR, lmtp:HOST:PORT, " +
    "lmtp:unix:PATH or discard";
  const lmtp = "want lmtp:HOST:PORT, as lmtp:127.0.0.1:24, or lmtp:unix:PATH";
  await runRows(t, [
    { args: ["--no-such-option"], want: "--no-such-option: unknown option" },
    {
      args: ["--no-quiet"],
      want: "--no-quiet: unknown option, want --quiet=no",
    },
    { args: ["-x"], want: "-x: unknown option" },
    // The text after the sign may be a secret.
    {
      args: ["--no-such-option=sesame"],
      want: "--no-such-option: unknown option",
    },
    {
      args: ["--lisen", "127.0.0.1:0"],
      want: "--lisen: unknown option (did you mean --listen?)",
    },
    {
      args: ["-listen", "127.0.0.1:0"],
      want: "-listen: unknown option (did you mean --listen?)",
    },
    {
      args: ["--maxSize=1"],
      want: "--maxSize: unknown option (did you mean --max-size?)",
    },
    {
      args: ["queue", "list", "--jsn"],
      want: "--jsn: unknown option (did you mean --json?)",
    },
    { args: ["fetch"], want: "fetch: unknown command" },
    { args: [""], want: '"": unknown command' },
    { args: ["serv"], want: "serv: unknown command (did you mean serve?)" },
    {
      args: ["help", "queu"],
      want: "queu: unknown command (did you mean queue?)",
    },
    {
      args: ["--quiet", "queue"],
      want: "queue: want the command before its options",
    },
    {
      args: ["queue", "lsit"],
      want: 'Cannot run queue lsit: want "list", or "show", "retry", "hold", ' +
        '"release" or "remove" and a message or "all" (did you mean list?)',
    },
    {
      args: ["lookup", "mxx", "example.com"],
      want:
        "Cannot run lookup mxx example.com: want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt " +
        "and a name (did you mean mx?)",
    },
    {
      args: ["certificate", "creat"],
      want: 'Cannot run certificate creat: want "create", or "show" and a ' +
        "file (did you mean create?)",
    },
    { args: ["serve", "more"], want: "more: unknown command" },
    {
      args: ["--listen", "2525"],
      want: `--listen: Cannot listen on "2525": ${listen}`,
    },
    {
      args: ["--listen", "127.0.0.1:65536"],
      want:
        '--listen: Cannot listen on "127.0.0.1:65536": want a port from 0 ' +
        "to 65535",
    },
    {
      args: ["--listen", "127.0.0.1:-1"],
      want: '--listen: Cannot listen on "127.0.0.1:-1": want a port from 0 ' +
        "to 65535",
    },
    {
      args: ["--listen", "127.0.0.1:0/smpt"],
      want: '--listen: Cannot listen on "127.0.0.1:0/smpt": unknown kind ' +
        '"smpt", want one of smtp, smtps, submission, submissions, lmtp ' +
        "(did you mean smtp?)",
    },
    {
      args: ["--relay", "--smarthost", "mx.example:99999"],
      want:
        '--smarthost: Cannot send to "mx.example:99999": want a port from ' +
        "1 to 65535",
    },
    ...["lmtp:localhost", "lmtp::24", "lmtp:unix:", "lmtp:[::1]", "lmtp:h:0"]
      .map((store) => ({
        args: ["--store", store],
        want: `--store: Cannot use "${store}": ${lmtp}`,
      })),
    { args: ["--store", "lmtp:"], want: `--store lmtp:: ${stores}` },
    {
      args: ["--store", "mbox:mail", "--quota", "1G"],
      want: "--quota: want it with --store maildir:DIR, not with mbox:mail",
    },
    {
      args: ["--quota", "1X"],
      want: "--quota 1X: want a whole number from 1, perhaps with k, M or G",
    },
    {
      args: ["--dns", "127.0.0.1:0"],
      want: '--dns: Cannot parse name server "127.0.0.1:0": want "IP", ' +
        '"IP:PORT" or "[IPv6]:PORT", the port from 1 to 65535',
    },
    {
      args: ["--remote-port", "99999"],
      want: "--remote-port 99999: want a whole number from 1 to 65535",
    },
    { args: ["--retry", ""], want: "--retry: want a value" },
    { args: ["--retry="], want: "--retry: want a value" },
    {
      args: ["--threads", "-1"],
      want: "--threads -1: want a whole number from 0 to 256",
    },
    { args: ["--users", "--quiet"], want: "--users: want a value" },
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
      want:
        '--hostname: Cannot use hostname "two words": want a name, as "mx.example.com"',
    },
    { args: ["--store", "redis:x"], want: `--store redis:x: ${stores}` },
    {
      args: ["--store", "mailder:x"],
      want: `--store mailder:x: ${stores} (did you mean maildir?)`,
    },
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
      args: ["--max-size", "10X"],
      want:
        "--max-size 10X: want a whole number from 0, perhaps with k, M or G",
    },
    {
      args: ["--bytes-per-minute", "0.3"],
      want:
        "--bytes-per-minute 0.3: want a whole number from 0, perhaps with " +
        "k, M or G",
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
      want: `--timeout -1: ${time}`,
    },
    { args: ["--timeout", "0s"], want: `--timeout 0s: ${time}` },
    { args: ["--timeout", "25d"], want: `--timeout 25d: ${time}` },
    { args: ["--timeout", "5 parsecs"], want: `--timeout 5 parsecs: ${time}` },
    {
      args: ["--timeout", "9007199254740991"],
      want: `--timeout 9007199254740991: ${time}`,
    },
    {
      args: ["--max-connections-per-ip", "many"],
      want: "--max-connections-per-ip many: want a whole number from 0",
    },
    {
      args: ["--early-talkers", "alow"],
      want: "--early-talkers alow: want refuse or allow (did you mean allow?)",
    },
    {
      args: ["--exempt", "10.0.0.1/8"],
      want: '--exempt: Cannot parse network "10.0.0.1/8": want "10.0.0.0/8"',
    },
    {
      args: ["--exempt", "none", "--exempt", "10.0.0.0/8"],
      want: "--exempt none: want no other network beside it",
    },
    {
      args: ["--user", "ann:a", "--user", "ann:b"],
      want:
        '--user: number 2 has the name of number 1, "ann", want each name ' +
        "once",
    },
    // A name with a soft hyphen is the same name; a secret alone is never shown.
    {
      args: ["--user", "bob:a", "--user", "bo\u00adb:b"],
      want:
        '--user: number 2 has the name of number 1, "bob", want each name ' +
        "once",
    },
    {
      args: ["--user", "ann:a", "--user", "sesame"],
      want: "--user: number 2 cannot be used, want NAME:SECRET",
    },
    {
      args: ["--user", "#ann:a"],
      want: "--user: number 1 cannot be used, want NAME:SECRET",
    },
    {
      args: ["--auth", "alowed"],
      want:
        "--auth alowed: want none, allowed or required (did you mean allowed?)",
    },
    {
      args: ["--log", "yaml\nx"],
      want: "--log yaml x: want text, json or postfix",
    },
    ...["a..b", "*.example", "a.example,b.example", "ann@a.example", ""].map(
      (domain) => ({
        args: ["--domain", domain],
        want: `--domain: Cannot use "${domain}" as a local domain: want a ` +
          'name, as "example.com"',
      }),
    ),
    {
      args: ["--listen", "local host:25"],
      want: '--listen: Cannot listen on "local host:25": want HOST:PORT or ' +
        'HOST:PORT/KIND, as "127.0.0.1:2525" or "[::1]:2525/lmtp"',
    },
    ...["256.1.1.1:25", "a..b:25"].map((at) => ({
      args: ["--listen", at],
      want: `--listen: Cannot listen on "${at}": want an IP address or a ` +
        "name of this machine",
    })),
    {
      args: ["--listen", "a\x1bb:25"],
      want: '--listen: Cannot listen on "a b:25": want an IP address or a ' +
        "name of this machine",
    },
    { args: ["--cert", ""], want: "--cert: want a value" },
    { args: ["--config", ""], want: "--config: want a value" },
    {
      args: ["--threads", "257"],
      want: "--threads 257: want a whole number from 0 to 256",
    },
    { args: [" "], want: '" ": unknown command' },
    { args: ["help", "--quiet"], want: "--quiet: unknown option" },
    {
      args: ["send", "--to", "a@b.test", "--hostname", "a b", "x.eml"],
      want: '--hostname: Cannot use hostname "a b": want a name, as ' +
        '"mx.example.com"',
    },
    {
      args: [
        ...["certificate", "create", "--name", "a.test"],
        ...["--cert", "a.pem", "--key", "./a.pem"],
      ],
      want: "--key ./a.pem: want another file than that of --cert",
    },
    {
      args: ["lookup", "mx", ""],
      want:
        "Cannot run lookup mx : want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt and a name",
    },
    {
      args: ["verifier", ""],
      want: "Command verifier: want one NAME, without colon or blank",
    },
  ], folder);
  assertEquals(await folder.files(), []);
});

Deno.test("cli refuses configuration files that it cannot use, by file, line and key", async (t) => {
  await using folder = await TestFolder.create();
  const shape = "want a JSON object";
  const text = "want a string or a number";
  const many = "want a string, or an array of at least one";
  const truth = "want true or false";
  const rows: Record<string, readonly [text: string, want: string]> = {
    "list.json": ["[]", `--config list.json: ${shape}`],
    "null.json": ["null", `--config null.json: ${shape}`],
    "key.json": [
      '{\n  "quiet": true,\n  "colour": 1\n}',
      'key.json:3: unknown setting "colour"',
    ],
    "near.json": [
      '{"lisen": ":0"}',
      'near.json:1: unknown setting "lisen" (did you mean listen?)',
    ],
    "kebab.json": [
      '{"max-size": 1}',
      'kebab.json:1: unknown setting "max-size" (did you mean maxSize?)',
    ],
    "proto.json": [
      '{"__proto__": 1}',
      'proto.json:1: unknown setting "__proto__"',
    ],
    "config.json": [
      '{"config": "x"}',
      'config.json:1: unknown setting "config"',
    ],
    "check.json": [
      '{"check": true}',
      'check.json:1: unknown setting "check"',
    ],
    "one.json": ['{"store": ["a"]}', `one.json:1: store: ${text}`],
    "null_value.json": [
      '{"hostname": null}',
      `null_value.json:1: hostname: ${text}`,
    ],
    "truth.json": ['{"maxSize": true}', `truth.json:1: maxSize: ${text}`],
    "many.json": ['{"listen": false}', `many.json:1: listen: ${many}`],
    "none.json": ['{"domain": []}', `none.json:1: domain: ${many}`],
    "numbers.json": ['{"domain": [1]}', `numbers.json:1: domain: ${many}`],
    "flag.json": ['{"quiet": null}', `flag.json:1: quiet: ${truth}`],
    "flag_list.json": [
      '{"quiet": [true]}',
      `flag_list.json:1: quiet: ${truth}`,
    ],
    "flag_word.json": [
      '{\n"relay": "maybe"}',
      "flag_word.json:2: relay maybe: want yes, true, on, 1, no, false, off or 0",
    ],
    "twice.json": [
      '{"relay": false,\n"relay": true}',
      "twice.json:2: relay: given twice",
    ],
    // A file that is not JSON may contain secrets: the error quotes no part of it.
    "text.json": [
      "alice:sesame",
      "text.json:1: it is not JSON, want a value",
    ],
    "comma.json": [
      '{\n  "quiet": true,\n}\n',
      "comma.json:3: it is not JSON, want a name in double quotes",
    ],
    "no_comma.json": [
      '{\n  "quiet": true\n  "store": "discard"\n}\n',
      'no_comma.json:3: it is not JSON, want "," or "}"',
    ],
    "comment.json": [
      '{\n  // secret\n  "quiet": true\n}\n',
      "comment.json:2: it is not JSON, want a name in double quotes",
    ],
    "open.json": [
      '{\n  "domain": ["a.example",\n',
      "open.json:3: it is not JSON, want a value",
    ],
    "colon.json": ['{"quiet" true}', 'colon.json:1: it is not JSON, want ":"'],
    "rest.json": [
      '{}\n{"quiet": true}',
      "rest.json:2: it is not JSON, want the end of the file",
    ],
    "empty.json": ["", "empty.json:1: it is not JSON, want a value"],
    "escape.json": [
      '{"store": "a\\x41"}',
      "escape.json:1: it is not JSON, want a text without unknown escapes",
    ],
    "quote.json": [
      '{"store": "a\n"}',
      "quote.json:1: it is not JSON, want the end of the text",
    ],
    "deep.json": [
      `{"store": ${"[".repeat(200)}`,
      "deep.json:1: it is not JSON, want fewer levels",
    ],
    // Values that only the option itself can check.
    "size.json": [
      '{\n\n"maxSize": -1}',
      "size.json:3: maxSize -1: want a whole number from 0, perhaps with k, M " +
      "or G",
    ],
    "listen.json": [
      '{"quiet": true,\n"listen": ["127.0.0.1:0", "127.0.0.1:99999"]}',
      'listen.json:2: listen: Cannot listen on "127.0.0.1:99999": want a port ' +
      "from 0 to 65535",
    ],
    "hostname.json": [
      '{\n"hostname": "two words"}',
      'hostname.json:2: hostname: Cannot use hostname "two words": want a ' +
      'name, as "mx.example.com"',
    ],
    "user.json": [
      '{\n"user": ["ann:a", "bob:b", "ann:c"]}',
      'user.json:2: user: number 3 has the name of number 1, "ann", want each ' +
      "name once",
    ],
    "handlers.json": [
      '{\n"handlers": "./none.ts"}',
      "handlers.json:2: handlers ./none.ts: want a default export with " +
      "handlers, as { onRcptTo() {} }",
    ],
  };
  await folder.write("none.ts", "export const handlers = {};");
  for (const [name, [text]] of Object.entries(rows)) {
    await folder.write(name, text);
  }
  await runRows(
    t,
    Object.entries(rows).map(([name, [, want]]) => ({
      args: ["--config", name],
      want,
    })),
    folder,
  );
  await runRows(t, [
    {
      args: ["--config", "list.json", "--config", "null.json"],
      want: "--config: want it once",
    },
    // The error names the option if it overrides the file.
    {
      args: ["--config", "size.json", "--max-size", "x"],
      want: "--max-size x: want a whole number from 0, perhaps with k, M or G",
    },
    {
      args: ["queue", "--config", "size.json", "lsit"],
      want: 'Cannot run queue lsit: want "list", or "show", "retry", "hold", ' +
        '"release" or "remove" and a message or "all" (did you mean list?)',
    },
  ], folder);
});

Deno.test("cli refuses a configuration file that cannot be read", async () => {
  const { code, stdout, stderr } = await runCli(["--config", "no/such.json"]);
  assertEquals([code, stdout], [2, ""]);
  assert(/^--config no\/such\.json: .+\n$/.test(stderr), stderr);
});

Deno.test("cli refuses handlers that it cannot load, by file and line", async (t) => {
  await using folder = await TestFolder.create();
  await folder.write("none.ts", "export const handlers = {};");
  await folder.write("number.ts", "export default 5;");
  await folder.write("throws.ts", '\nthrow new Error("Cannot\\nbegin");');
  await folder.write("syntax.ts", "export default {\n  onRcptTo( {\n");
  await folder.write("syntax.js", "const x = 1;\nexport default ];\n");
  await folder.write("deep.ts", 'import "./syntax.ts";\nexport default {};');
  await folder.write("gone.ts", '\nimport "./missing.ts";\nexport default {};');
  const at = (name: string, line: number) =>
    `.+ \\(/\\S+/${name.replace(".", "\\.")}:${line}:\\d+\\)`;
  const load = "cannot load it: ";
  const wants: Record<string, string> = {
    // The error has no place in this program.
    "missing.ts": `${load}TypeError: Module not found "[^"]+"\\.`,
    "throws.ts": `${load}Error: Cannot${at("throws.ts", 2).slice(2)}`,
    "syntax.ts": `${load}SyntaxError: ${at("syntax.ts", 2)}`,
    "syntax.js": `${load}SyntaxError: ${at("syntax.js", 2)}`,
    "deep.ts": `${load}SyntaxError: ${at("syntax.ts", 2)}`,
    "gone.ts": `${load}TypeError: Module not found${at("gone.ts", 2)}`,
    "none.ts": "want a default export with handlers.+",
    "number.ts": "want a default export with handlers.+",
  };
  // Each in a process of its own: a module that failed once is not loaded again.
  for (const [name, want] of Object.entries(wants)) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await runCli(["--handlers", name], {
        cwd: folder.path,
      });
      assertEquals([code, stdout], [2, ""]);
      assertMatch(
        stderr,
        new RegExp(`^--handlers ${name}: ${want}; --help lists the options\n$`),
      );
    });
  }
});

Deno.test("cli --help lists every option, --version tells name and version", async () => {
  const help = await runCli(["--help"]);
  assertEquals([help.code, help.stderr], [0, ""]);
  for (const name of Object.keys({ ...optionsOf("serve"), ...COMMON })) {
    assertStringIncludes(help.stdout, `  --${name}`);
  }
  const calls = [["-h"], ["help"], ["--quiet", "-h"], ["-v"]];
  const outcomes = await runCliRows(calls, { cwd: "." });
  assertEquals(outcomes.slice(0, 3), [help, help, help]);
  const version = await runCli(["--version"]);
  assertEquals([version.code, version.stderr], [0, ""]);
  assert(/^@smtp\/server \d+\.\d+\.\d+\S*\n$/.test(version.stdout));
  assertEquals(outcomes[3], version);
});

Deno.test("cli --help of a command lists its arguments and options", async (t) => {
  const names = Object.keys(COMMANDS) as CommandName[];
  const calls = names.map((name) => [
    ...[["help", name], [name, "--help"], [name, "list", "-h"]],
  ]);
  const outcomes = await runCliRows(calls.flat(), { cwd: "." });
  for (const name of names) {
    await t.step(name, () => {
      const text = helpOf(name);
      assertStringIncludes(
        text,
        `cli.ts ${name === "serve" ? "[serve]" : name}`,
      );
      for (const option of Object.keys({ ...optionsOf(name), ...COMMON })) {
        assertStringIncludes(text, `  --${option}`);
      }
      const want = { code: 0, stdout: text, stderr: "" };
      const at = 3 * names.indexOf(name);
      assertEquals(outcomes.slice(at, at + 3), [want, want, want]);
      assertStringIncludes(helpOf(), name);
    });
  }
  for (const name of [undefined, ...names]) {
    for (const line of helpOf(name).split("\n")) {
      assert(line.length <= 80, line);
    }
  }
});

Deno.test("parseSize() reads sizes with and without units", () => {
  const rows: readonly (readonly [string, number])[] = [
    ["0", 0],
    ["4096", 4096],
    ["10k", 10_240],
    ["10K", 10_240],
    ["10KiB", 10_240],
    ["10 kb", 10_000],
    ["10M", 10_485_760],
    ["10MiB", 10_485_760],
    ["10MB", 10_000_000],
    ["1.5G", 1_610_612_736],
    ["1T", 2 ** 40],
    ["7b", 7],
    ...["", "M", "-1", "1e3", "0x10", "1,5k", "10MM", "10iB", "1.k", "Infinity"]
      .map((text) => [text, NaN] as const),
  ];
  for (const [text, want] of rows) assertEquals(parseSize(text), want, text);
});

Deno.test("limitSettings() reads sizes and times with units", () => {
  const limits = limitSettings(
    new Map([
      ["max-size", ["10M"]],
      ["bytes-per-minute", ["1GiB"]],
      ["timeout", ["2m"]],
    ]),
  );
  assertEquals(
    [limits.maxSize, limits.bytesPerMinute, limits.timeoutMs],
    [10_485_760, 2 ** 30, 120_000],
  );
  const timeout = (text: string) =>
    limitSettings(new Map([["timeout", [text]]])).timeoutMs;
  assertEquals(timeout("5"), 5000);
  assertEquals(timeout("5s"), 5000);
  assertEquals(timeout("250ms"), 250);
  assertEquals(timeout("1h30m"), 5_400_000);
});

Deno.test({
  name: "cli reads no file without end, and tells which it is",
  ignore: !hasFileModes,
  async fn(t) {
    const rows:
      readonly (readonly [want: string, code: number, ...string[]])[] = [
        ["error: --users /dev/zero: ", 1, "--users", "/dev/zero"],
        ["--config /dev/zero: ", 2, "--config", "/dev/zero"],
        [
          "error: --cert: Cannot load the certificate",
          1,
          "--cert",
          "/dev/zero",
        ],
        ["error: Cannot load", 1, "certificate", "show", "/dev/zero"],
      ];
    const calls = rows.map(([, , ...args]) => args);
    const outcomes = await runCliRows(calls, { cwd: "." });
    for (const [index, [want, code, ...args]] of rows.entries()) {
      await t.step(args.join(" "), () => {
        const outcome = outcomes[index]!;
        assertEquals([outcome.code, outcome.stdout], [code, ""]);
        assert(outcome.stderr.startsWith(want), outcome.stderr);
        assertMatch(outcome.stderr, /^[^\n]+ larger than 16 MiB[^\n]*\n$/);
      });
    }
  },
});

Deno.test("cli certificate create leaves no key without its certificate", async () => {
  await using folder = await TestFolder.create();
  const { code, stderr } = await runCli([
    ...["certificate", "create", "--name", "a.test"],
    ...["--cert", "no/a.pem", "--key", "a.key"],
  ], { cwd: folder.path });
  assertEquals(code, 1);
  assertMatch(stderr, /^error: --cert no\/a\.pem: cannot write it: [^\n(]+\n$/);
  assertEquals(await folder.files(), []);
});

Deno.test("cli reports a fault of a secret for a verifier in one line", async () => {
  const run = async (stdin: Uint8Array<ArrayBuffer>) => {
    const child = new Deno.Command(Deno.execPath(), {
      args: cliArgs(["verifier", "ann"]),
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
    await new Blob([stdin]).stream().pipeTo(child.stdin).catch(() => {});
    const { code, stdout, stderr } = await child.output();
    assertEquals([code, stdout.length], [1, 0]);
    return new TextDecoder().decode(stderr);
  };
  const line = (want: string) => new RegExp(`^error: ${want}[^\\n]*\\n$`);
  assertMatch(
    await run(new Uint8Array([0xff, 0x61, 10])),
    line("Cannot read the secret: "),
  );
  assertMatch(
    await run(new TextEncoder().encode("a\u0007b\n")),
    line("Cannot make a verifier: "),
  );
  assertMatch(
    await run(new Uint8Array(5000).fill(0x61)),
    line("Cannot use the secret: want at most 1024 bytes"),
  );
});
