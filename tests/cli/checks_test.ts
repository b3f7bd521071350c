/** The checks before serving, and `serve --check`. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { checkPlace, withoutEffect } from "../../lib/cli/checks.ts";
import { parseArguments } from "../../lib/cli/arguments.ts";
import { optionsOf } from "../../lib/cli/options.ts";
import { serveSettings } from "../../lib/cli/settings.ts";
import { RunError } from "../../lib/cli/output.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { CliServer, messageTo, runCli } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { hasFileModes } from "../support/platform.ts";

const ignore = !hasFileModes;

Deno.test({
  name:
    "cli refuses a store or spool that cannot be written to, and leaves nothing",
  ignore,
  async fn(t) {
    await using folder = await TestFolder.create();
    await folder.write("file", "mine");
    await Deno.mkdir(`${folder.path}/folder.mbox`);
    const rows = [
      ["--store", "maildir:/proc/nope"],
      ["--store", "maildir:/proc/nope/deeper"],
      ["--store", "mbox:/proc/nope"],
      ["--store", "mbox:/proc/nope/all.mbox"],
      ["--store", "mbox:folder.mbox"],
      ["--store", "file:/proc/nope"],
      ["--store", "maildir:file"],
      ["--store", "mbox:file/below"],
      ["--relay-from", "127.0.0.1", "--spool", "/proc/nope"],
      ["--relay-from", "127.0.0.1", "--spool", "file"],
    ];
    for (const args of rows) {
      const [option, value] = args.slice(-2);
      for (const mode of [[], ["--check"]]) {
        await t.step([...args, ...mode].join(" "), async () => {
          const { code, stdout, stderr } = await runCli(
            ["serve", "--listen", "127.0.0.1:0", ...args, ...mode],
            { cwd: folder.path },
          );
          assertEquals([code, stdout], [1, ""]);
          assertMatch(
            stderr,
            new RegExp(
              `^error: ${option} ${value}: cannot write to it: [^\n]+\n$`,
            ),
          );
        });
      }
    }
    assertEquals(await folder.files(), ["file"]);
    assertEquals(await folder.read("file"), "mine");
  },
});

Deno.test("checkPlace() changes no file and removes the folders that it makes", async () => {
  await using folder = await TestFolder.create();
  const at = (path: string) => `${folder.path}/${path}`;
  await folder.write("all.mbox", "From me\n");
  await checkPlace("x", { path: at("a/b/c"), isFile: false });
  await checkPlace("x", { path: at("d/all.mbox"), isFile: true });
  await checkPlace("x", { path: at("all.mbox"), isFile: true });
  await checkPlace("x", { path: folder.path, isFile: false });
  assertEquals(await folder.read("all.mbox"), "From me\n");
  const names = await Array.fromAsync(Deno.readDir(folder.path));
  assertEquals(names.map(({ name }) => name), ["all.mbox"]);
  const error = await assertRejects(
    () => checkPlace("--store x", { path: at("all.mbox/y"), isFile: false }),
    RunError,
  );
  assert(error.message.startsWith("--store x: cannot write to it: "));
});

Deno.test("withoutEffect() names the settings that do nothing", async () => {
  const accounts = new AccountList({ ann: "secret" });
  const certificate = await Certificate.selfSigned({ names: ["localhost"] });
  const judge = { onAuthenticate: () => true };
  const nothing = "nothing is taken for other domains without --relay or " +
    "--relay-from";
  const tls = "no client can log in without TLS: want --cert or " +
    "--self-signed, or --allow-insecure-auth";
  const rows: readonly {
    readonly args: readonly string[];
    readonly handlers?: unknown;
    readonly want: readonly string[];
  }[] = [
    { args: [], want: [] },
    {
      args: ["--smarthost", "mx.test:25", "--retry", "5m"],
      want: [`--smarthost: ${nothing}`, `--retry: ${nothing}`],
    },
    // The queue of an earlier run is sent without --relay.
    { args: ["--spool", "q"], want: [] },
    {
      args: ["--relay=no", "--smarthost", "mx.test:25"],
      want: [`--smarthost: ${nothing}`],
    },
    { args: ["--relay-from", "::1", "--smarthost", "mx.test:25"], want: [] },
    { args: ["--smarthost", "mx.test:25"], handlers: {}, want: [] },
    {
      args: ["--relay"],
      want: [
        "--relay: no client can log in without --user or --users, and " +
        "--relay-from is not given: nothing is relayed",
      ],
    },
    { args: ["--relay", "--relay-from", "::1"], want: [] },
    { args: ["--relay"], handlers: judge, want: [] },
    { args: ["--relay"], handlers: () => judge, want: [] },
    {
      args: ["--relay", "--user", "ann:x", "--self-signed", "--auth", "none"],
      want: [
        "--relay: no client can log in with --auth none, and --relay-from is " +
        "not given: nothing is relayed",
        "--user: no client can log in with --auth none",
      ],
    },
    { args: ["--relay", "--user", "ann:x", "--self-signed"], want: [] },
    { args: ["--user", "ann:x"], want: [`--user: ${tls}`] },
    { args: ["--users", "file"], want: [`--users: ${tls}`] },
    { args: ["--user", "ann:x", "--allow-insecure-auth"], want: [] },
    {
      args: ["--user", "ann:x", "--self-signed", "--security", "none"],
      want: [
        `--user: ${tls}`,
        "--self-signed: TLS is not offered with --security none",
      ],
    },
    {
      args: [
        ...["--user", "ann:x", "--self-signed", "--security", "none"],
        ...["--listen", "127.0.0.1:0/smtps"],
      ],
      want: [],
    },
    {
      args: ["--allow-insecure-auth"],
      want: [
        "--allow-insecure-auth: no client can log in without --user or --users",
      ],
    },
    {
      args: ["--sender-policy", "own", "--user-messages-per-day", "9"],
      want: [
        "--sender-policy: no client can log in without --user or --users",
        "--user-messages-per-day: no client can log in without --user or --users",
      ],
    },
    { args: ["--sender-policy", "any"], want: [] },
    {
      args: ["--verify-exempt", "10.0.0.0/8", "--trusted-sealer", "a.test"],
      want: [
        "--verify-exempt: no mail is checked without --verify",
        "--trusted-sealer: no mail is checked without --verify",
      ],
    },
    {
      args: ["--verify", "report", "--verify-exempt", "none"],
      want: [],
    },
    {
      args: ["--sender-policy", "own", "--user-messages-per-day", "9"],
      handlers: judge,
      want: [],
    },
  ];
  for (const { args, handlers, want } of rows) {
    const { given } = parseArguments(args, optionsOf("serve"));
    const word = (name: string) => given.get(name)?.[0] as "none" | undefined;
    const options = {
      ...serveSettings(given).options,
      accounts: given.has("user") || given.has("users") ? accounts : undefined,
      certificate: given.has("self-signed") ? certificate : undefined,
      authentication: word("auth"),
      security: word("security"),
      allowInsecureAuth: given.has("allow-insecure-auth"),
    };
    const found = withoutEffect(given, { options, handlers });
    assertEquals(found, [...want], args.join(" "));
  }
});

Deno.test("cli names settings without effect, by file and line if they come from a file", async () => {
  await using folder = await TestFolder.create();
  await folder.write(
    "smtp.json",
    '{\n"listen": "127.0.0.1:0",\n"smarthost": "mx.test:25"\n}',
  );
  await using server = await CliServer.start(
    ["--config", "smtp.json", "--quiet", "--user", "ann:secret"],
    { cwd: folder.path },
  );
  const { code, stderr } = await server.end("SIGTERM");
  assertEquals(code, 0);
  assertMatch(
    stderr,
    / warn warning msg="smtp\.json:3: smarthost: nothing is taken/,
  );
  assertMatch(
    stderr,
    / warn warning msg="--user: no client can log in without TLS/,
  );
});

Deno.test("cli serve --check checks everything and listens nowhere", async (t) => {
  await using folder = await TestFolder.create();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const listen = `127.0.0.1:${taken.addr.port}`;
  const check = (...args: string[]) =>
    runCli(["serve", "--check", ...args], { cwd: folder.path });
  await folder.write("bad.ts", "export default {\n");
  await folder.write("users", "ann:secret\nsesame\n");
  await folder.write("senders", "# staff\nann: ann@\n");
  await folder.write("strangers", "bob: bob@example.com\n");
  await t.step("what can be used", async () => {
    assertEquals(
      await check("--listen", listen, "--relay-from", "::1", "--self-signed"),
      { code: 0, stdout: "the settings can be used\n", stderr: "" },
    );
  });
  await t.step("what has no effect", async () => {
    const { code, stdout, stderr } = await check("--relay", "--quiet");
    assertEquals([code, stdout], [0, "the settings can be used\n"]);
    assertMatch(stderr, /^warning: --relay: no client can log in [^\n]+\n$/);
  });
  const rows: readonly (readonly [number, RegExp, ...string[]])[] = [
    [2, /^--max-size x: /, "--max-size", "x"],
    [2, /^--handlers .*bad\.ts:\d+:\d+/, "--handlers", "bad.ts"],
    [1, /^error: --users users: .* line 2 /, "--users", "users"],
    [2, /^--senders: want --user or --users/, "--senders", "senders"],
    [
      1,
      /^error: --senders senders: .* line 2 .* address "ann@"/,
      ...["--user", "ann:secret", "--senders", "senders"],
    ],
    [
      1,
      /^error: --senders strangers: .* "bob": there is no such account/,
      ...["--user", "ann:secret", "--senders", "strangers"],
    ],
    [
      1,
      /^error: --cert: Cannot load the certificate "no\.pem"/,
      ...["--cert", "no.pem"],
    ],
    [
      1,
      /^error: --listen :0\/smtps: no certificate .* want --cert/,
      ...["--listen", ":0/smtps"],
    ],
    [
      1,
      /^error: --listen :0\/submission: no client can log in, want --user/,
      ...["--listen", ":0/submission"],
    ],
    [1, /^error: --auth required: no client can log in/, "--auth", "required"],
    [
      2,
      /^--listen 127\.0\.0\.1:2525: given twice/,
      ...["--listen", "127.0.0.1:2525", "--listen", "127.0.0.1:2525/lmtp"],
    ],
    // The check also calls a function that makes handlers.
    [
      2,
      /^--handlers throws\.ts: .+: Error: no database \(.+throws\.ts:2:\d+\)/,
      ...["--handlers", "throws.ts"],
    ],
    [2, /^--handlers near\.ts: .+ mean "onRcptTo"/, "--handlers", "near.ts"],
    [
      2,
      /^--handlers class\.ts: .+ want a default export with handlers/,
      ...["--handlers", "class.ts"],
    ],
  ];
  await folder.write(
    "throws.ts",
    'export default () => {\n  throw new Error("no database");\n};\n',
  );
  await folder.write("near.ts", "export default () => ({ onRcpt() {} });");
  await folder.write("class.ts", "export default class { onRcptTo() {} }");
  for (const [want, pattern, ...args] of rows) {
    await t.step(args.join(" "), async () => {
      const { code, stdout, stderr } = await check(...args);
      assertEquals([code, stdout], [want, ""]);
      assertMatch(stderr, pattern);
      assertEquals(stderr.trimEnd().split("\n").length, 1);
    });
  }
  const own = [
    "bad.ts",
    "class.ts",
    "near.ts",
    "senders",
    "strangers",
    "throws.ts",
    "users",
  ];
  assertEquals(await folder.files(), own);
});

Deno.test("cli serve --check runs beside a server with the same store and spool", async () => {
  await using folder = await TestFolder.create();
  const args = ["--relay-from", "10.0.0.0/8", "--domain", "example.com"];
  await using server = await CliServer.start(args, { cwd: folder.path });
  const checked = await runCli(["serve", "--check", ...args], {
    cwd: folder.path,
  });
  assertEquals([checked.code, checked.stderr], [0, ""]);
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
});
