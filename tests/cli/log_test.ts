/** Log records of the command line, as JSON and as text. */

import { assert, assertEquals } from "@std/assert";
import { LogWriter } from "../../lib/logging/log_lines.ts";
import { cliArgs, CliServer, messageTo } from "../support/cli.ts";
import { TestFolder } from "../support/folder.ts";
import { DEADLINE_MS } from "../support/wait.ts";
import { isLinux } from "../support/platform.ts";

const EVENTS: readonly unknown[] = [
  ...["listening", "connect", "auth", "refused", "message", "stored"],
  ...["delivery", "bounce", "notice", "removed", "held", "released"],
  ...["reload", "stopping", "warning", "error", "dialogue", "disconnect"],
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
  assertEquals(message["recipients"], 1);
  const stored = records.find(({ event }) => event === "stored")!;
  assertEquals(stored["recipient"], "you@example.com");
  assertEquals(stored["id"], message["id"]);
  assert(!stderr.includes("AGFsaWNl"), stderr);
});

Deno.test("cli writes lines of text for each message", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start(["--store", "discard"], {
    cwd: folder.path,
    env: { NO_COLOR: "" },
  });
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
  const { stderr } = await server.end("SIGTERM");
  assert(
    /^\S+ info stored session=\S+ id=(\S+) .*\n\S+ info message session=\S+ id=\1 .*from=<me@client\.example> .*size=\d+.* msg="Accepted message"\n\S+ info stopping .*\n$/
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
    assert(
      /error error session=\S+ msg="onConnect failed"\s+Error: Cannot answer/
        .test(plain),
      plain,
    );
    assert(!plain.includes("\x1b["), JSON.stringify(plain));
    const coloured = await onTerminal({ NO_COLOR: "", TERM: "xterm" });
    const red = coloured.indexOf("\x1b[31m");
    assert(
      /^.{5}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d error error session=\S+ msg="onConnect failed"/
        .test(coloured.slice(red)),
    );
  },
});

Deno.test("LogWriter lets no peer's text become a line or a command to the terminal", () => {
  let text = "";
  const writer = new LogWriter({
    form: "text",
    level: "debug",
    write: (lines) => void (text += lines),
  });
  writer.log({
    level: "info",
    event: "refused",
    message: "a\r\n12:00:00 error b",
    fields: { name: "\x1b[2J\u009bx" },
  });
  writer.flush();
  assertEquals(
    text.slice(26),
    'info refused name="\\u001b[2J\\u009bx" msg="a\\r\\n12:00:00 error b"\n',
  );
});

Deno.test("LogWriter writes nothing below its lowest level", () => {
  const rows = [
    { form: "text", level: "debug", want: 5 },
    { form: "json", level: "info", want: 4 },
    { form: "postfix", level: "warn", want: 3 },
    { form: "text", level: "error", want: 2 },
  ] as const;
  for (const { form, level: least, want } of rows) {
    let text = "";
    const write = (lines: string) => void (text += lines);
    const writer = new LogWriter({ form, level: least, write });
    for (const level of ["debug", "info", "warn", "error"] as const) {
      writer.log({ level, event: "error", message: level });
    }
    // A trace was asked for: it comes at every level.
    writer.log({
      level: "debug",
      event: "dialogue",
      message: "The client sends",
      fields: { side: "client", line: "QUIT" },
    });
    writer.flush();
    assertEquals(text.split("\n").length - 1, want, `${form} ${least}`);
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
    ["a\tb", '"a\\tb"'],
    ["a\u00a0b", '"a\u00a0b"'],
    ["a\u2028address=x", '"a\\u2028address=x"'],
  ];
  for (const [value, want] of rows) {
    let text = "";
    const writer = new LogWriter({
      form: "text",
      level: "debug",
      write: (lines) => void (text += lines),
    });
    writer.log({
      level: "info",
      event: "auth",
      message: "m",
      fields: { user: value },
    });
    writer.flush();
    assertEquals(text.slice(26), `info auth user=${want} msg="m"\n`);
  }
});

Deno.test("cli --log postfix, --log-level and --trace write lines of a mail log with the dialogue", async () => {
  await using folder = await TestFolder.create();
  await using server = await CliServer.start([
    ...["--log", "postfix", "--log-level", "info", "--store", "discard"],
    ...["--hostname", "mx.example.com", "--trace", "127.0.0.0/8"],
  ], { cwd: folder.path });
  await using client = await server.connect();
  await client.script(messageTo(["you@example.com"]));
  const { stderr } = await server.end("SIGTERM");
  const lines = stderr.trimEnd().split("\n").map((line) => {
    const [, text] =
      /^\w{3} [ \d]\d [\d:]{8} mx\.example\.com postfix\/(\w+)\[\d+\]: /.exec(
        line,
      ) ?? [];
    assert(text !== undefined, line);
    return line.slice(line.indexOf("]: ") + 3);
  });
  assert(lines.includes("> unknown[127.0.0.1]: 221 2.0.0 Bye"), stderr);
  assert(lines.some((line) => line.startsWith("< unknown[127.0.0.1]: MAIL")));
  assert(lines.some((line) => /^\w+: from=<me@client.example>/.test(line)));
  // Records of connections are of a lower level.
  assert(!stderr.includes("connect from"), stderr);
});
