/**
 * Log injection: no text of a peer becomes a line of the log, a command to the
 * terminal that shows it, or a text that reads from right to left
 * (Haraka GHSA-4gxg-q43p-hfr2). And no secret gets into the log or to
 * `onCommand`; by every mechanism that is in `../session/authentication_test.ts`.
 *
 * The promise of SECURITY.md: "Secrets are compared in constant time". They
 * appear in no log record.
 */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { type LogForm, LogWriter } from "../../lib/logging/log_lines.ts";
import { consoleLogger, type LogRecord } from "../../lib/log.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { startPair } from "../support/queue/relaying.ts";
import { startServer, TestClient } from "../support/server.ts";
import { plainResponse } from "../support/tls.ts";
import { textOf, utf8 } from "../support/bytes.ts";
import { until, within } from "../support/wait.ts";

/** Characters that a terminal or a reader takes for something other than text. */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

const EVIL = [
  "a\r\n00:00:00 info Logged in user=root",
  'a\n{"level":"info"}',
  "\x1b[2J\x1b]0;title\x07\x1b[31m",
  "\u009b2J\u009d0;title\u009c",
  "\0\b\b\b\x7f",
  "\u202egnp.exe\u2066x\u2069",
  "a\u2028b\u2029c\u0085d",
];

/** A log as the command line writes it. */
function writer(form: LogForm): {
  readonly log: (record: LogRecord) => void;
  readonly text: () => string;
  /** Writes the records that came late. */
  readonly [Symbol.dispose]: () => void;
} {
  let text = "";
  const inner = new LogWriter({
    form,
    level: "debug",
    write: (lines) => void (text += lines),
  });
  return {
    log: (record) => inner.log(record),
    text() {
      inner.flush();
      return text;
    },
    [Symbol.dispose]: () => inner.flush(),
  };
}

for (const form of ["text", "json", "postfix"] as const) {
  Deno.test(`A ${form} log has one line for each record, whatever stands in it`, () => {
    for (const evil of EVIL) {
      const { log, text } = writer(form);
      log({
        level: "error",
        event: "error",
        message: evil,
        session: evil,
        fields: { evil },
      });
      log({ level: "info", event: "listening", message: "next" });
      const lines = text().split("\n");
      assertEquals(lines.length, 3, JSON.stringify(lines));
      assertFalse(UNPRINTABLE.test(text()), JSON.stringify(lines));
      if (form !== "json") continue;
      // In JSON the text is still there, whole.
      assertEquals(JSON.parse(lines[0]!).evil, evil);
    }
  });

  Deno.test(`A ${form} log has one line for an error with its stack, and obeys nothing in it`, () => {
    for (const evil of EVIL) {
      const { log, text } = writer(form);
      const error = new Error(`Cannot use "${evil}"`).stack!;
      log({ level: "error", event: "error", message: "x failed", error });
      log({ level: "info", event: "listening", message: "next" });
      assertFalse(UNPRINTABLE.test(text()), JSON.stringify(text()));
      const lines = text().trimEnd().split("\n");
      assertEquals(lines.length, 2, text());
      assert(lines[0]!.includes("x failed") && lines[1]!.includes("next"));
    }
  });
}

Deno.test("The default log obeys no peer, either", async () => {
  const { write } = Deno.stderr;
  let written = "";
  Deno.stderr.write = (bytes) => {
    written += new TextDecoder().decode(bytes);
    return Promise.resolve(bytes.length);
  };
  try {
    for (const evil of EVIL) {
      consoleLogger({ level: "warn", event: "error", message: evil });
      consoleLogger({
        level: "error",
        event: "error",
        message: "x failed",
        error: `Error: ${evil}`,
      });
    }
    await until(() =>
      written.split(/^(?:warn|error): /m).length > 2 * EVIL.length
    );
  } finally {
    Deno.stderr.write = write;
  }
  const said = written.split(/^(?:warn|error): /m).slice(1)
    .map((text) => text.trimEnd());
  assertEquals(said.length, 2 * EVIL.length);
  for (const text of said) {
    assertFalse(UNPRINTABLE.test(text), JSON.stringify(text));
    for (const line of text.split("\n").slice(1)) {
      assert(line.startsWith("    "), line);
    }
  }
});

Deno.test("SmtpServer's log of a hostile session is plain lines", async () => {
  using written = writer("text");
  const { log, text } = written;
  let records = 0;
  await using server = await startServer({
    domains: ["near.test"],
    limits: { maxErrors: 0 },
    accounts: new AccountList({ ann: "secret" }),
    allowInsecureAuth: true,
    log(record) {
      records++;
      log({
        ...record,
        level: record.level === "debug" ? "info" : record.level,
      });
    },
    handlers: {
      onHelo(_session, name) {
        if (name.startsWith("throw")) throw new Error(`Cannot take ${name}`);
      },
      onVerify(_session, asked) {
        throw new Error(`Cannot find ${asked}`);
      },
    },
  });
  for (const evil of EVIL) {
    const said = textOf(utf8(evil.replaceAll(/[\r\n]/g, "")));
    using client = await TestClient.connect(server);
    await client.reply();
    for (
      const line of [
        "EHLO x",
        `EHLO throw${said.replaceAll(" ", "")}`,
        "EHLO y",
        `VRFY ${said}`,
        `AUTH PLAIN ${btoa(textOf(utf8(`\0${evil}\0x`)))}`,
        "MAIL FROM:<a@b.test> SMTPUTF8",
        `RCPT TO:<"${said}"@far.test>`,
        `RCPT TO:<x${said}@far.test>`,
        `RCPT TO:<a${textOf(utf8("\u202e"))}b@far.test>`,
        `${said}`,
      ]
    ) await client.say(line);
  }
  assert(records > 20, `${records} records`);
  const lines = text().trimEnd().split("\n");
  for (const line of lines) {
    assertFalse(UNPRINTABLE.test(line), JSON.stringify(line));
    assert(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \w+ /.test(line),
      line,
    );
  }
});

Deno.test("SmtpServer's log of what another server said is plain lines", async () => {
  for (const evil of EVIL) {
    using written = writer("text");
    const { log, text } = written;
    await using pair = await startPair({
      near: { domains: ["near.test"], log },
      far: {
        greeting: "hello",
        handlers: {
          onRcptTo: () => new SmtpReply(550, evil, { enhanced: "5.1.1" }),
        },
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.envelope("you@dest.test");
    await client.data("Subject: x");
    await until(() => pair.near.relays.count === 0);
    const lines = text().trimEnd().split("\n");
    assert(lines.some((line) => line.includes("550")), lines.join("\n"));
    for (const line of lines) {
      assertFalse(UNPRINTABLE.test(line), JSON.stringify(line));
      assert(
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \w+ /.test(line),
        line,
      );
    }
  }
});

Deno.test("No way to write AUTH shows its secret to onCommand() or the log", async () => {
  const secret = plainResponse("ann", "hush-hush");
  const lines: string[] = [];
  const records: LogRecord[] = [];
  await using server = await startServer({
    accounts: new AccountList({ ann: "hush-hush" }),
    allowInsecureAuth: true,
    limits: { maxErrors: 0 },
    log: (record) => void records.push(record),
    handlers: { onCommand: (_session, line) => void lines.push(line) },
  });
  for (
    const line of [
      `AUTH PLAIN ${secret}`,
      `auth plain ${secret}`,
      `AUTH  PLAIN  ${secret}`,
      `AUTH PLAIN ${secret} ${secret}`,
      ` AUTH PLAIN ${secret}`,
      `AUTH\tPLAIN\t${secret}`,
      `AUTH PLAIN\t${secret}`,
      `AUTH PLAIN \0${secret}`,
      `AUTH ${"X".repeat(30)} ${secret}`,
      `AUTH PLAIN ${secret}\x0b${secret}`,
    ]
  ) {
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(["EHLO client.test", "250"]);
    const reply = await client.say(line);
    assertFalse(reply.includes(secret.slice(0, 10)), reply);
  }
  for (const answers of [[secret], ["*"], [secret.slice(1)], ["", secret]]) {
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(["EHLO client.test", "250"], ["AUTH PLAIN", "334"]);
    await client.say(answers[0]!);
  }
  // Sent along with an AUTH that is refused, they are commands; a whole command is shown again.
  {
    using client = await TestClient.connect(server);
    await client.reply();
    await client.expect(["EHLO client.test", "250"], [
      `AUTH NTLM\r\n${btoa("ann")}\r\n${secret}\r\nXAPPLE12`,
      "504",
    ]);
    for (let left = 3; left > 0; left--) {
      assertEquals((await client.reply()).slice(0, 3), "500");
    }
    await client.expect(["NOOP", "250"]);
  }
  assertEquals(lines.at(-1), "NOOP");
  const said = JSON.stringify([lines, records]);
  for (const hidden of [secret, secret.slice(0, 12), "hush-hush"]) {
    assertFalse(said.includes(hidden), said);
  }
  assertEquals(lines.filter((line) => line.includes("***")).length, 14);
});

Deno.test("The log-in at a smarthost is in no log, no notice and no relay, refused or not", async () => {
  const password = "hush-hush-42";
  const shown = [password, btoa(password), plainResponse("ann", password)];
  for (const known of [password, "another"]) {
    await using far = await startServer({
      accounts: new AccountList({ ann: known }),
      allowInsecureAuth: true,
      authentication: "required",
      handlers: {
        onRcptTo: () => new SmtpReply(550, "Who?", { enhanced: "5.1.1" }),
      },
    });
    await using pair = await startPair({
      near: { domains: ["near.test"] },
      relay: {
        smarthosts: [{ host: "127.0.0.1", port: far.addresses[0]!.port }],
        login: { username: "ann", password },
        security: "none",
        allowInsecureAuth: true,
        schedule: "20ms",
        expireAfterMs: 100,
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.envelope("you@dest.test");
    await client.expect(["RSET", "250"], ["MAIL FROM:<me@near.test>", "250"], [
      "RCPT TO:<you@dest.test>",
      "250",
    ]);
    await client.data("Subject: x");
    const seen: string[] = [];
    for (const relay of pair.near.relays) seen.push(Deno.inspect(relay));
    const notice = await within(pair.nearStore.next(), "the notice");
    const said = JSON.stringify([pair.records, seen]) + notice.text;
    assert(said.includes(known === password ? "Who?" : "535"), said);
    for (const hidden of shown) assertFalse(said.includes(hidden), said);
  }
});
