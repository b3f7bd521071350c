/** Log records of the command line, as JSON and as text. */

import { assert, assertEquals } from "@std/assert";
import { LogWriter } from "../../lib/cli/serve.ts";
import { cliArgs, CliServer, messageTo } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { DEADLINE_MS } from "../support/wait.ts";
import { isLinux } from "../support/platform.ts";

const EVENTS: readonly unknown[] = [
  ...["listening", "connect", "auth", "message", "refused", "relay", "bounce"],
  ...["disconnect", "error"],
];
const LEVELS: readonly unknown[] = ["debug", "info", "warn", "error"];

Deno.test("cli --log json writes one object per line with time, level and event", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--log", "json", "--domain", "example.com", "--store", "file:inbox"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
  await using foreign = await server.connect();
  await foreign.script(`
    S: 220
    C: HELO client.example
    C: MAIL FROM:<>
    C: RCPT TO:<you@elsewhere.example>
    C: AUTH PLAIN AGFsaWNlAHNlc2FtZQ==
    C: QUIT
    S: 250
    S: 250
    S: 550
    S: 503
    S: 221
    S: <closed>
  `);
  const { stderr } = await server.end("SIGTERM");
  assert(stderr.endsWith("\n"));
  const records = stderr.trimEnd().split("\n").map((line) => {
    const record = JSON.parse(line) as Record<string, unknown>;
    assert(EVENTS.includes(record["event"]), line);
    assert(LEVELS.includes(record["level"]), line);
    const { time } = record;
    assert(typeof time === "string");
    assertEquals(new Date(time).toISOString(), time);
    return record;
  });
  const events = records.map(({ event }) => event);
  for (
    const event of ["listening", "connect", "message", "refused", "disconnect"]
  ) {
    assert(events.includes(event), `no record of ${event}: ${events}`);
  }
  const message = records.find(({ event }) => event === "message")!;
  assertEquals(message["from"], "me@client.example");
  assertEquals(message["to"], "you@example.com");
  assert(!stderr.includes("AGFsaWNl"), stderr);
});

Deno.test("cli writes a line of text for each message", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start(["--store", "discard"], {
    cwd: folder.path,
    env: { NO_COLOR: "" },
  });
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
  const { stderr } = await server.end("SIGTERM");
  assert(
    /^\d\d:\d\d:\d\d info Accepted message id=\S+ from=me@client\.example to=you@example\.com size=\d+\n$/
      .test(stderr),
    stderr,
  );
});

/** Output of the command line on a terminal when it serves and a handler fails. */
async function onTerminal(env: Record<string, string>): Promise<string> {
  await using folder = await TestFolder.create();
  await folder.write(
    "handlers.ts",
    `export default {
      onConnect() {
        setTimeout(() => Deno.kill(Deno.pid, "SIGTERM"));
        throw new Error("Cannot answer");
      },
    };`,
  );
  const args = cliArgs([
    ...["--listen", "127.0.0.1:0", "--handlers", "./handlers.ts"],
  ]);
  const quoted = [Deno.execPath(), ...args].map((word) => `'${word}'`).join(
    " ",
  );
  const child = new Deno.Command("script", {
    args: ["-qefc", quoted, "/dev/null"],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    cwd: folder.path,
    env,
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
  let text = "";
  let port: string | undefined;
  for await (
    const piece of child.stdout.pipeThrough(new TextDecoderStream())
  ) {
    text += piece;
    const match = /listening on \S+:(\d+) /.exec(text);
    if (port !== undefined || match === null) continue;
    port = match[1]!;
    using conn = await Deno.connect({ port: Number(port) });
    await conn.read(new Uint8Array(512));
  }
  clearTimeout(timer);
  await child.status;
  return text;
}

const hasScript = isLinux &&
  [...(Deno.env.get("PATH") ?? "").split(":")].some((folder) => {
    try {
      return Deno.statSync(`${folder}/script`).isFile;
    } catch {
      return false;
    }
  });

Deno.test({
  name: "cli colours records on a terminal, unless NO_COLOR is set",
  ignore: !hasScript,
  async fn() {
    const plain = await onTerminal({ NO_COLOR: "1" });
    assert(/error onConnect failed: Error: Cannot answer/.test(plain), plain);
    assert(!plain.includes("\x1b["), JSON.stringify(plain));
    const coloured = await onTerminal({ NO_COLOR: "", TERM: "xterm" });
    const red = coloured.indexOf("\x1b[31m");
    assert(
      /^.{5}\d\d:\d\d:\d\d error onConnect failed/.test(coloured.slice(red)),
    );
  },
});

Deno.test("LogWriter lets no peer's text become a line or a command to the terminal", () => {
  let text = "";
  const writer = new LogWriter({
    form: "text",
    quiet: false,
    colours: false,
    write: (lines) => void (text += lines),
  });
  writer.log({
    level: "info",
    event: "refused",
    message: "a\r\n12:00:00 error b",
    fields: { name: "\x1b[2J\u009bx" },
  });
  writer.flush();
  assertEquals(text.slice(9), 'info a 12:00:00 error b name=" [2J x"\n');
});

Deno.test("LogWriter writes nothing below its lowest level", () => {
  const rows = [
    { form: "text", quiet: false, want: 3 },
    { form: "json", quiet: false, want: 4 },
    { form: "text", quiet: true, want: 2 },
    { form: "json", quiet: true, want: 2 },
  ] as const;
  for (const { form, quiet, want } of rows) {
    let text = "";
    const write = (lines: string) => void (text += lines);
    const writer = new LogWriter({ form, quiet, colours: false, write });
    for (const level of ["debug", "info", "warn", "error"] as const) {
      writer.log({ level, event: "error", message: level });
    }
    writer.flush();
    assertEquals(text.split("\n").length - 1, want, `${form} ${quiet}`);
  }
});

Deno.test("LogWriter quotes values that could be read as further fields", () => {
  const rows: readonly (readonly [string | number, string])[] = [
    ["bob", "bob"],
    [7, "7"],
    ["", '""'],
    [
      "bob mechanism=PLAIN address=203.0.113.66 x=",
      '"bob mechanism=PLAIN address=203.0.113.66 x="',
    ],
    ["a=b", '"a=b"'],
    ['a"b', '"a\\"b"'],
    ["a\\", '"a\\\\"'],
    ["a\tb", '"a b"'],
    ["a\u00a0b", '"a\u00a0b"'],
    ["a\u2028address=x", '"a address=x"'],
  ];
  for (const [value, want] of rows) {
    let text = "";
    const writer = new LogWriter({
      form: "text",
      quiet: false,
      colours: false,
      write: (lines) => void (text += lines),
    });
    writer.log({
      level: "info",
      event: "auth",
      message: "m",
      fields: { user: value },
    });
    writer.flush();
    assertEquals(text.slice(9), `info m user=${want}\n`);
  }
});
