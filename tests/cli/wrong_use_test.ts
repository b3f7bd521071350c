/**
 * Wrong use of every command, by arguments, environment and file: exit code 2, and
 * one line on standard error that says what is wrong, where, and what is wanted.
 * No line shows a secret, and nothing is written to the folder.
 */

import { assert, assertEquals } from "@std/assert";
import { type CliRow, runCli, runCliRows } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";

/** Command lines, and the line that each is refused with; … stands for the rest of a list. */
const WORDS: readonly (readonly [args: readonly string[], want: string])[] = [
  [["--listn", "x"], "--listn: unknown option (did you mean --listen?)"],
  [["--listen"], "--listen: want a value"],
  [
    ["--listen="],
    '--listen: Cannot listen on "": want HOST:PORT…',
  ],
  [["--listen", "a", "--listen"], "--listen: want a value"],
  [["--store"], "--store: want a value"],
  [["--store", ""], "--store: want a value"],
  [
    ["--store", "x"],
    "--store x: want maildir:DIR…",
  ],
  [
    ["--hostname", "a", "--hostname", "b"],
    "--hostname: given 2 times, want once",
  ],
  [["--domain"], "--domain: want a value"],
  [["--handlers"], "--handlers: want a value"],
  [["--handlers", ""], "--handlers: want a value"],
  [["--threads", "two"], "--threads two: want a whole number from 0 to 256"],
  [["--threads", "1", "--threads", "2"], "--threads: given 2 times, want once"],
  [
    ["--complete=perhaps"],
    "--complete perhaps: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    ["--bare-newlines", "drop"],
    "--bare-newlines drop: want normalize, reject or keep",
  ],
  [
    ["--store-owner", "root"],
    "--store-owner root: want the number of a user, or any",
  ],
  [["--user"], "--user: want a value"],
  [["--user", "ann"], "--user: number 1 cannot be used, want NAME:SECRET"],
  [["--user", ":x"], "--user: number 1 cannot be used, want NAME:SECRET"],
  [["--users", ""], "--users: want a value"],
  [["--auth", ""], "--auth: want a value"],
  [
    ["--auth", "requird"],
    "--auth requird: want none, allowed or required (did you mean required?)",
  ],
  [
    ["--key", "k.pem"],
    "--key: given 1 times and --cert 0 times, want a key for each certificate",
  ],
  [
    ["--self-signed=2"],
    "--self-signed 2: want yes, true, on, 1, no, false, off or 0",
  ],
  [["--security", "tls"], "--security tls: want none, allowed or required"],
  [
    ["--proxy-protocol", "x"],
    '--proxy-protocol: Cannot parse network "x": want one like "10.0.0.0/8"',
  ],
  [
    ["--xclient", "10.0.0.0/33"],
    '--xclient: Cannot parse network "10.0.0.0/33": want a prefix length of 0 to 32',
  ],
  [
    ["--relay=on", "--relay=off"],
    "--relay: given with yes and with no, want one of them",
  ],
  [
    ["--relay-from", "all"],
    '--relay-from: Cannot parse network "all": want one like "10.0.0.0/8"',
  ],
  [
    ["--smarthost", "mx:25/tls"],
    '--smarthost: Cannot send to "mx:25/tls": want HOST:PORT, perhaps with /smtps, /starttls or /none, as "mail.example.com:587/starttls"',
  ],
  [["--smarthost-user", "ann"], "--smarthost-user: want --smarthost, too"],
  [
    ["--smarthost-mechanisms", "NTLM"],
    "--smarthost-mechanisms: want --smarthost-user, too",
  ],
  [["--spool", ""], "--spool: want a value"],
  [["--spool", "a", "--spool", "b"], "--spool: given 2 times, want once"],
  [
    ["--dns", "ns.example"],
    '--dns: Cannot parse name server "ns.example": want "IP", "IP:PORT" or "[IPv6]:PORT", the port from 1 to 65535',
  ],
  [
    ["--retry", "often"],
    '--retry: Cannot read duration "often": want digits and ms, s, m, h or d, as "30s"',
  ],
  [
    ["--expire", "never"],
    '--expire: Cannot read duration "never": want digits and ms, s, m, h or d, as "30s"',
  ],
  [
    ["--bounce-from", "nobody@"],
    '--bounce-from: Cannot parse the address "nobody@": Domain is empty at offset 7',
  ],
  [["--long-lines", "fold"], "--long-lines fold: want keep or encode"],
  [
    ["--remote-port", "0"],
    "--remote-port 0: want a whole number from 1 to 65535",
  ],
  [
    ["--allow-loopback=x"],
    "--allow-loopback x: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    ["--max-size", "-5"],
    "--max-size -5: want a whole number from 0, perhaps with k, M or G",
  ],
  [
    ["--max-size", "1", "--max-size", "2"],
    "--max-size: given 2 times, want once",
  ],
  [
    ["--max-connections", "0"],
    "--max-connections 0: want a whole number from 1",
  ],
  [["--max-errors", "x"], "--max-errors x: want a whole number from 0"],
  [
    ["--timeout", "1y"],
    "--timeout 1y: want a whole number from 1 to 2073600, perhaps with ms, s, m, h or d",
  ],
  [
    ["--exempt", "x"],
    '--exempt: Cannot parse network "x": want one like "10.0.0.0/8"',
  ],
  [["--early-talkers", "x"], "--early-talkers x: want refuse or allow"],
  [["--log", "xml"], "--log xml: want text…"],
  [["--log", "json", "--log", "text"], "--log: given 2 times, want once"],
  [["--status", ""], "--status: want a value"],
  [["--status", "a", "--status", "b"], "--status: given 2 times, want once"],
  [["--check=x"], "--check x: want yes, true, on, 1, no, false, off or 0"],
  [["--config"], "--config: want a value"],
  [
    ["--config", "/nowhere.json"],
    "--config /nowhere.json: No such file or directory",
  ],
  [["--config", "a", "--config", "b"], "--config: want it once"],
  [["--version=x"], "--version x: want yes, true, on, 1, no, false, off or 0"],
  [["-q"], "-q: unknown option"],
  [["-version"], "-version: unknown option (did you mean --version?)"],
  [
    ["--help=no way"],
    "--help no way: want yes, true, on, 1, no, false, off or 0",
  ],
  [["--no-relay"], "--no-relay: unknown option, want --relay=no"],
  [["--json"], "--json: unknown option"],
  [["srve"], "srve: unknown command (did you mean serve?)"],
  [["quit"], "quit: unknown command"],
  [["stats"], "stats: unknown command (did you mean status?)"],
  [["help", "nothing"], "nothing: unknown command"],
  [["help", "queue", "list"], "list: want help and one command"],
  [["--quiet", "status"], "status: want the command before its options"],
  [["serve", "queue"], "queue: want the command before its options"],
  [["--", "queue"], "queue: want the command before its options"],
  [
    ["status", "now"],
    "Cannot run status now: want no words, perhaps --spool DIR",
  ],
  [["status", "--spool"], "--spool: want a value"],
  [["status", "--jason"], "--jason: unknown option (did you mean --json?)"],
  [
    ["status", "--status", "a", "--status", "b"],
    "--status: given 2 times, want once",
  ],
  [
    ["status", "--json=2"],
    "--json 2: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    ["queue", "show"],
    'Cannot run queue show: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"',
  ],
  [
    ["queue", "retry"],
    'Cannot run queue retry: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"',
  ],
  [
    ["queue", "removal", "all"],
    'Cannot run queue removal all: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all" (did you mean remove?)',
  ],
  [
    ["queue", "list", "x"],
    'Cannot run queue list x: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"',
  ],
  [
    ["queue", "all"],
    'Cannot run queue all: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"',
  ],
  [
    ["queue", "remove", "all", "a1"],
    'Cannot run queue remove all a1: want messages or "all", not both',
  ],
  [
    ["queue", "remove", "a1", "--from", "x"],
    '--from: chooses among all messages, want "all" in place of "a1"',
  ],
  [
    ["queue", "remove", "--from", "x"],
    'Cannot run queue remove: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"',
  ],
  [
    ["queue", "hold", "a1", "--held"],
    '--held: chooses among all messages, want "all" in place of "a1"',
  ],
  [
    ["queue", "list", "--older", "old"],
    "--older old: want a whole number from 1 to 315360000, perhaps with ms, s, m, h or d",
  ],
  [
    ["queue", "list", "--older", "-1d"],
    "--older -1d: want a whole number from 1 to 315360000, perhaps with ms, s, m, h or d",
  ],
  [["queue", "list", "--sort", "name"], "--sort name: want age, next or size"],
  [["queue", "list", "--limit", "0"], "--limit 0: want a whole number from 1"],
  [
    ["queue", "list", "--limit", "all"],
    "--limit all: want a whole number from 1",
  ],
  [["queue", "show", "all", "--limit", "5"], "--limit: is for queue list only"],
  [
    ["queue", "show", "all", "--content"],
    "--content: want queue show and one message, without --json",
  ],
  [
    ["queue", "show", "a1", "--content", "--json"],
    "--content: want queue show and one message, without --json",
  ],
  [
    ["queue", "list", "--content"],
    "--content: want queue show and one message, without --json",
  ],
  [["queue", "list", "--to", ""], "--to: want a value"],
  [["queue", "list", "--domain", ""], "--domain: want a value"],
  [
    ["queue", "list", "--held=some"],
    "--held some: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    ["queue", "list", "--form", "x"],
    "--form: unknown option (did you mean --from?)",
  ],
  [
    ["queue", "retry", "all", "--sort", "age"],
    "--sort: is for queue list only",
  ],
  [["queue", "--spol", "x"], "--spol: unknown option (did you mean --spool?)"],
  [
    ["queue", "list", "--older", "1d", "--older", "2d"],
    "--older: given 2 times, want once",
  ],
  [["send"], "Cannot run send: want one file, or - for standard input"],
  [
    ["send", "a", "b", "--to", "x@y.test"],
    "Cannot run send: want one file, or - for standard input",
  ],
  [
    ["send", "--to", "x", "a.eml"],
    '--to: Cannot parse the address "x": Expected "@" and a domain after the local part at offset 1',
  ],
  [
    ["send", "--to", "", "a.eml"],
    '--to: Cannot send to "": want a domain, too',
  ],
  [["send", "a.eml"], "--to: want at least one"],
  [
    ["send", "--to", "x@y.test", "--from", "x y", "a.eml"],
    '--from: Cannot parse the address "x y": Character not allowed in a local part without quotes at offset 1',
  ],
  [
    ["send", "--to", "x@y.test", "--user", "ann:x", "a.eml"],
    "--user: want --server, too",
  ],
  [
    ["send", "--to", "x@y.test", "--mechanisms", "PLAIN", "a.eml"],
    "--mechanisms: want --user, too",
  ],
  [[
    "send",
    "--to",
    "x@y.test",
    "--server",
    "a:25",
    "--server",
    "b:25",
    "a.eml",
  ], "--server: given 2 times, want once"],
  [
    ["send", "--t", "x@y.test", "a.eml"],
    "--t: unknown option (did you mean --to?)",
  ],
  [
    ["send", "--to", "x@y.test", "--chunking=0x", "a.eml"],
    "--chunking 0x: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    ["lookup"],
    "Cannot run lookup: want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt and a name",
  ],
  [
    ["lookup", "mx"],
    "Cannot run lookup mx: want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt and a name",
  ],
  [
    ["lookup", "cname", "a.test"],
    "Cannot run lookup cname a.test: want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt and a name",
  ],
  [
    ["lookup", "mx", "a.test", "b.test"],
    "Cannot run lookup mx a.test b.test: want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt and a name",
  ],
  [
    ["lookup", "mx", "a.test", "--dns", "x"],
    '--dns: Cannot parse name server "x": want "IP", "IP:PORT" or "[IPv6]:PORT", the port from 1 to 65535',
  ],
  [
    ["certificate"],
    'Cannot run certificate: want "create", or "show" and a file',
  ],
  [
    ["certificate", "make"],
    'Cannot run certificate make: want "create", or "show" and a file',
  ],
  [["certificate", "create"], "Command certificate create: want --name"],
  [
    ["certificate", "create", "--name", "a.test"],
    "Command certificate create: want --cert FILE and --key FILE",
  ],
  [
    [
      "certificate",
      "create",
      "--name",
      "a.test",
      "--cert",
      "a",
      "--key",
      "b",
      "--days",
      "0",
    ],
    "--days 0: want a whole number from 1 to 36500, perhaps with ms, s, m, h or d",
  ],
  [
    [
      "certificate",
      "create",
      "--name",
      "a.test",
      "--cert",
      "a",
      "--key",
      "b",
      "--algorithm",
      "rsa",
    ],
    "--algorithm rsa: want ecdsa-p256, rsa-2048 or ed25519 (did you mean rsa-2048?)",
  ],
  [
    ["certificate", "show"],
    'Cannot run certificate show: want "create", or "show" and a file',
  ],
  [
    ["certificate", "show", "a", "b"],
    'Cannot run certificate show a b: want "create", or "show" and a file',
  ],
  [["verifier"], "Command verifier: want one NAME, without colon or blank"],
  [
    ["verifier", "a b"],
    "Command verifier: want one NAME, without colon or blank",
  ],
  [
    ["verifier", "a", "b"],
    "Command verifier: want one NAME, without colon or blank",
  ],
  [["completion"], "Cannot run completion: want bash, zsh or fish"],
  [
    ["completion", "tcsh"],
    "Cannot run completion tcsh: want bash, zsh or fish",
  ],
  [
    ["completion", "bash", "a b"],
    'Cannot complete "a b": want the name of a program, without a folder',
  ],
  [["man", "bash"], "Cannot run man bash: want a command"],
  [["man", "queue", "list"], "Cannot run man queue list: want a command"],
  [["man", "--mdoc"], "--mdoc: unknown option"],
  [["help", "queue", "list"], "list: want help and one command"],
  [
    ["queue", "hold"],
    'Cannot run queue hold: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all"',
  ],
  [
    ["queue", "release", "all", "all"],
    'Cannot run queue release all all: want messages or "all", not both',
  ],
  [["queue", "list", "--from"], "--from: want a value"],
  [
    ["queue", "list", "--limit", "1", "--limit", "2"],
    "--limit: given 2 times, want once",
  ],
  [
    ["queue", "lst"],
    'Cannot run queue lst: want "list", or "show", "retry", "hold", "release" or "remove" and a message or "all" (did you mean list?)',
  ],
  [["status", "--spool="], "--spool: want a value"],
  [["send", "--to"], "--to: want a value"],
  [
    ["send", "--to", "x@y.test", "--json=2", "a.eml"],
    "--json 2: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    ["man", "queu"],
    "Cannot run man queu: want a command (did you mean queue?)",
  ],
  [
    ["lookup", "mxx", "a.test"],
    "Cannot run lookup mxx a.test: want mx, a, aaaa, ptr, txt, tlsa, spf, dkim, dmarc, mta-sts or tls-rpt and a name (did you mean mx?)",
  ],
  [["--status"], "--status: want a value"],
  [["--user=sesame"], "--user: number 1 cannot be used, want NAME:SECRET"],
  [
    ["--smarthost", "mx:25", "--smarthost-user", "sesame"],
    "--smarthost-user: Cannot use the account: want NAME:SECRET",
  ],
];

/** The same with environment variables. The file c.json has a size that is wrong. */
const VARIABLES: readonly (readonly [
  env: CliRow["env"],
  args: readonly string[],
  want: string,
])[] = [
  [
    { "SMTP_LISTEN": "nowhere" },
    [],
    'SMTP_LISTEN: Cannot listen on "nowhere": want HOST:PORT…',
  ],
  [{ "SMTP_LISTEN": " , " }, [], "SMTP_LISTEN: want a value"],
  [
    { "SMTP_RELAY": "maybe" },
    [],
    "SMTP_RELAY: want yes, true, on, 1, no, false, off or 0",
  ],
  [
    { "SMTP_MAX_SIZE": "10X" },
    [],
    "SMTP_MAX_SIZE 10X: want a whole number from 0, perhaps with k, M or G",
  ],
  [
    { "SMTP_MAX_SIZE": "10" },
    ["--max-size", "x"],
    "--max-size x: want a whole number from 0, perhaps with k, M or G",
  ],
  [
    { "SMTP_MAX_SIZE": "y" },
    ["--config", "c.json"],
    "SMTP_MAX_SIZE y: want a whole number from 0, perhaps with k, M or G",
  ],
  [
    {},
    ["--config", "c.json"],
    "c.json:2: maxSize z: want a whole number from 0, perhaps with k, M or G",
  ],
  [
    { "SMTP_CONFIG": "/nowhere.json" },
    [],
    "SMTP_CONFIG /nowhere.json: No such file or directory",
  ],
  [
    { "SMTP_CONFIG": "c.json" },
    [],
    "c.json:2: maxSize z: want a whole number from 0, perhaps with k, M or G",
  ],
  [{ "SMTP_CONFIG": "c.json" }, ["--config", ""], "--config: want a value"],
  [
    { "SMTP_USER": "sesame" },
    [],
    "SMTP_USER: number 1 cannot be used, want NAME:SECRET",
  ],
  [
    { "SMTP_SMARTHOST_USER": "sesame", "SMTP_RELAY": "1" },
    [],
    "SMTP_SMARTHOST_USER: want --smarthost, too",
  ],
  [
    { "SMTP_STORE": "maildr:x" },
    [],
    "SMTP_STORE maildr:x: want maildir:DIR…",
  ],
  [
    { "SMTP_DOMAIN": "a.test\nb c" },
    [],
    'SMTP_DOMAIN: Cannot use "b c" as a local domain: want a name, as "example.com"',
  ],
  [
    { "SMTP_AUTH": "requird" },
    [],
    "SMTP_AUTH requird: want none, allowed or required (did you mean required?)",
  ],
  [
    { "SMTP_TIMEOUT": "1y" },
    [],
    "SMTP_TIMEOUT 1y: want a whole number from 1 to 2073600, perhaps with ms, s, m, h or d",
  ],
  [
    { "SMTP_HOSTNAME": "two words" },
    ["send", "--to", "x@y.test", "a.eml"],
    'SMTP_HOSTNAME: Cannot use hostname "two words": want a name, as "mx.example.com"',
  ],
  [
    { "SMTP_DNS": "ns.example" },
    ["lookup", "mx", "a.test"],
    'SMTP_DNS: Cannot parse name server "ns.example": want "IP", "IP:PORT" or "[IPv6]:PORT", the port from 1 to 65535',
  ],
  [
    { "SMTP_QUIET": "", "SMTP_LOG": "xml" },
    [],
    "SMTP_LOG xml: want text…",
  ],
  [
    { "SMTP_STATUS": "a", "SMTP_THREADS": "999" },
    [],
    "SMTP_THREADS 999: want a whole number from 0 to 256",
  ],
  [
    { "SMTP_RELAY": "yes", "SMTP_EXPIRE": "never" },
    ["--relay=yes"],
    'SMTP_EXPIRE: Cannot read duration "never": want digits and ms, s, m, h or d, as "30s"',
  ],
  [
    { "SMTP_SPOOL": "x", "SMTP_CONFIG": "c.jsn" },
    ["queue", "list"],
    "SMTP_CONFIG c.jsn: No such file or directory",
  ],
  [
    { "SMTP_LISTEN": "127.0.0.1:0" },
    ["--listen", "a", "--listen"],
    "--listen: want a value",
  ],
  [
    { "SMTP_EXEMPT": "none,10.0.0.0/8" },
    [],
    "SMTP_EXEMPT none: want no other network beside it",
  ],
];

/** The line, with … for what the wanted line leaves open. */
function lineOf(stderr: string, want: string): string {
  const start = want.slice(0, -1);
  return want.endsWith("…") && stderr.startsWith(start)
    ? `${want}${stderr.slice(stderr.lastIndexOf("; --help"))}`
    : stderr;
}

Deno.test("Every wrong use of a command is one line that says what is wanted", async (t) => {
  await using folder = await TestFolder.create();
  await folder.write("c.json", '{\n"maxSize": "z"}');
  const cwd = folder.path;
  const rows = [
    ...WORDS.map(([args, want]) => ({ args, env: {}, want })),
    ...VARIABLES.map(([env, args, want]) => ({ args, env, want })),
  ];
  const outcomes = await runCliRows(rows, { cwd });
  for (const [index, { args, env, want }] of rows.entries()) {
    const title = [...Object.keys(env), ...args].join(" ") || "(none)";
    await t.step(`${index}: ${title}`, () => {
      const { code, stdout, stderr } = outcomes[index]!;
      assertEquals({ code, stdout }, { code: 2, stdout: "" });
      const line = lineOf(stderr, want);
      assertEquals(line, `${want}; --help lists the options\n`);
      assert(!/sesame|\n./.test(stderr));
    });
  }
  assertEquals(await folder.files(), ["c.json"]);
});

Deno.test("A variable is as wrong in a process of its own", async () => {
  await using folder = await TestFolder.create();
  const [env, args, want] = VARIABLES[0]!;
  const outcome = await runCli(args, { cwd: folder.path, env });
  assertEquals([outcome.code, outcome.stdout], [2, ""]);
  const line = lineOf(outcome.stderr, want);
  assertEquals(line, `${want}; --help lists the options\n`);
});
