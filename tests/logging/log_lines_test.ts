/** Log records as lines: text, JSON, Postfix's form, and the logger for programs. */

import {
  assertEquals,
  assertFalse,
  assertMatch,
  assertThrows,
} from "@std/assert";
import type { LogEvent, LogRecord } from "../../lib/log.ts";
import { type LogForm, logLines, type LogLinesOptions } from "../../mod.ts";
import { PostfixLines } from "../../lib/logging/postfix.ts";
import { formatJson, formatText } from "../../lib/logging/text.ts";

const TIME = Date.UTC(2026, 10, 30, 11, 11, 57, 89);

const DELIVERY: LogRecord = {
  level: "info",
  event: "delivery",
  message: "Delivered to mx.far.example",
  fields: {
    ...{ host: "mx.far.example", id: "A-1", result: "relayed", relay: "A-1" },
    ...{ reply: '250 "Ok"', recipient: "x@far.example", verified: true },
    delays: { transfer: 80, queue: 12, connect: 40, dns: 3 },
  },
};

/** The text of a record behind its time. */
function text(record: LogRecord): string {
  return formatText(record, TIME).replace(/^\S+ /, "");
}

Deno.test("A line of text has its ids first, the others in their order, and the sentence last", () => {
  assertEquals(
    text(DELIVERY),
    "info delivery id=A-1 relay=A-1 recipient=<x@far.example> " +
      'host=mx.far.example result=relayed reply="250 \\"Ok\\"" verified=true ' +
      'delays=12/3/40/80 msg="Delivered to mx.far.example"',
  );
  assertEquals(
    text({
      ...{ level: "info", event: "message", message: "Taken", session: "S-1" },
      fields: {
        ...{ id: "A-1", from: "", stored: { maildir: 2, mbox: 1 } },
        ...{ queued: ["B-1", "B-2"], tls: "" },
      },
    }),
    "info message session=S-1 id=A-1 from=<> stored=maildir:2,mbox:1 " +
      'queued=B-1,B-2 tls="" msg="Taken"',
  );
});

Deno.test("A sentence, a field and an error stay in the line, whatever they quote", () => {
  const ends = "a\r\nb\u2028c\u0085d\x1b[2J";
  const shown = text({
    ...{ level: "warn", event: "warning", message: ends, error: ends },
    fields: { reply: ends, recipient: ends },
  });
  // deno-lint-ignore no-control-regex
  assertFalse(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(shown), shown);
  assertEquals(shown.match(/b\\u2028c\\u0085d\\u001b\[2J/g)?.length, 4);
});

Deno.test("The time of a line is local, with the offset from UTC", () => {
  const [time = ""] = formatText(DELIVERY, TIME).split(" ");
  assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:57[+-]\d\d:\d\d$/);
  assertEquals(Date.parse(time), TIME - 89);
});

Deno.test("An error is part of the line, and lines of its own for a terminal", () => {
  const record: LogRecord = {
    ...{ level: "error", event: "error", message: "x failed" },
    error: "Error: x\n    at y",
  };
  assertEquals(
    text(record),
    'error error msg="x failed" error="Error: x\\n    at y"',
  );
  const shown = formatText(record, TIME, { colours: true, terminal: true });
  assertEquals(shown.startsWith("\x1b[31m") && shown.endsWith("\x1b[0m"), true);
  assertEquals(shown.split("\n").length, 3);
});

Deno.test("A field takes no name of the record's own in JSON", () => {
  const record: LogRecord = {
    ...{ level: "info", event: "auth", message: "m", session: "S-1" } as const,
    fields: {
      ...{ time: "t", level: "l", event: "e", message: "f", session: "s" },
      ...{ error: "x", user: "ann", ok: true, delays: { queue: 1 } },
      ["__proto__"]: "p",
    },
  };
  assertEquals(JSON.parse(formatJson(record, TIME)), {
    ...{ time: "2026-11-30T11:11:57.089Z", level: "info", event: "auth" },
    ...{ message: "m", session: "S-1", _time: "t", _level: "l", _event: "e" },
    ...{ _message: "f", _session: "s", _error: "x", user: "ann", ok: true },
    ...{ delays: { queue: 1 }, ___proto__: "p" },
  });
});

Deno.test("Every form takes events and fields that it does not know", () => {
  const lines = new PostfixLines({ hostname: "mx", process: 7 });
  const events = [
    ...["listening", "connect", "auth", "refused", "message", "stored"],
    ...["delivery", "relay", "bounce", "notice", "removed", "held", "released"],
    ...["reload", "stopping", "warning", "error", "disconnect", "limit"],
    "dialogue",
  ] as LogEvent[];
  const odd = [undefined, "S-1"];
  for (const event of events) {
    for (const session of odd) {
      for (const fields of [undefined, {}, { x: 1, delays: "12" }]) {
        const record = { level: "warn", event, message: "m", session, fields };
        const known = record as LogRecord;
        JSON.parse(formatJson(known, TIME));
        assertMatch(text(known), new RegExp(`^warn ${event} .*msg="m"$`));
        const said = lines.lines(known, TIME);
        assertMatch(
          said,
          /^(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8} mx postfix\/\w+\[\d+\]: .*\n)*$/,
        );
      }
    }
  }
});

Deno.test("All lines of a message have one queue id, by whatever id a record names it", () => {
  const lines = new PostfixLines({ hostname: "mx", process: 7 });
  const record = (event: LogEvent, fields: LogRecord["fields"]): LogRecord => ({
    ...{ level: "info", event, message: "m" },
    ...(fields && { fields }),
  });
  const said = [
    record("message", {
      ...{ id: "MIHX-2", from: "a@b.example", size: 1, recipients: 2 },
      queued: ["MIHX-2-2"],
    }),
    record("held", { relay: "MIHX-2-2", by: "operator" }),
    record("delivery", { relay: "MIHX-2-2", recipient: "c", result: "failed" }),
    record("removed", { relay: "MIHX-2-2", by: "queue" }),
  ].map((one) => lines.lines(one, TIME)).join("");
  const ids = [...said.matchAll(/\]: (\w+): /g)].map(([, id]) => id);
  assertEquals(new Set(ids), new Set(["MIHXx2"]));
  assertEquals(ids.length, 6);
  assertMatch(said, /status=bounced/);
});

Deno.test("A message in several parts has one end, and one that no store keeps is sent", () => {
  const lines = new PostfixLines({ hostname: "mx", process: 7 });
  const say = (event: LogEvent, fields: NonNullable<LogRecord["fields"]>) =>
    lines.lines({ ...{ level: "info", event, message: "m", fields } }, TIME)
      .replace(/^.*?\]: /gm, "");
  const id = "MIHX-3";
  for (const result of ["discarded", "handled"]) {
    say("stored", { id, recipient: "c@d.example", result });
  }
  const said = say("message", {
    ...{ id, from: "a@b.example", size: 1, recipients: 4 },
    queued: ["MIHX-3", "MIHX-3-2"],
  });
  assertMatch(said, /status=sent \(discarded\)\n.*status=sent \(left to the/);
  assertEquals(said.includes("removed"), false);
  const removed = (relay: string) => say("removed", { id, relay, by: "queue" });
  assertEquals(removed("MIHX-3-2"), "");
  assertEquals(removed("MIHX-3"), "MIHXx3: removed\n");
  assertMatch(
    say("stored", { id, recipient: "c@d.example", result: "failed" }),
    /status=deferred/,
  );
});

Deno.test("A limit, a login that is given up and an end are lines of Postfix's words", () => {
  const lines = new PostfixLines({ hostname: "mx", process: 7 });
  const say = (event: LogEvent, fields: NonNullable<LogRecord["fields"]>) =>
    lines.lines({
      ...{ level: "info", event, message: "m", session: "S-1", fields },
    }, TIME).replace(/^.*?\]: /gm, "");
  assertEquals(
    say("connect", { address: "192.0.2.1", port: 1 }),
    "connect from unknown[192.0.2.1]\n",
  );
  assertEquals(
    say("refused", {
      limit: "messagesPerMinute",
      reply: "450 4.7.1 Too many messages from 192.0.2.1, at most 60 a minute",
    }),
    "warning: Message delivery request rate limit exceeded: 60 from unknown[192.0.2.1] for service smtp\n",
  );
  assertEquals(
    say("auth", {
      mechanism: "LOGIN",
      result: "refused",
      reason: "The exchange was given up",
    }),
    "warning: unknown[192.0.2.1]: SASL LOGIN authentication aborted\n",
  );
  assertEquals(
    say("auth", {
      mechanism: "PLAIN",
      result: "refused",
      user: "ann",
      reason: "x",
    }),
    "warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: x, sasl_username=ann\n",
  );
  assertEquals(
    say("disconnect", { reason: "disconnected" }),
    "lost connection after AUTH from unknown[192.0.2.1]\n" +
      "disconnect from unknown[192.0.2.1] auth=0/1\n",
  );
});

Deno.test("logLines() writes whole lines of the wanted level, and checks its options", async () => {
  const { promise, resolve } = Promise.withResolvers<string>();
  const log = logLines("json", { level: "warn", write: resolve });
  log(DELIVERY);
  log({ level: "warn", event: "warning", message: "one" });
  log({ level: "error", event: "error", message: "two" });
  const lines = (await promise).trimEnd().split("\n");
  assertEquals(lines.map((line) => JSON.parse(line).message), ["one", "two"]);
  for (
    const [form, options] of [
      ["xml", {}],
      ["text", { level: "loud" }],
      ["text", { write: "file" }],
      ["text", { colors: true }],
    ] as unknown as [LogForm, LogLinesOptions][]
  ) {
    assertThrows(() => logLines(form, options), TypeError, "logLines");
  }
});
