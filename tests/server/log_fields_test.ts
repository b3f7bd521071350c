/**
 * The tables of `examples/log.md` and of LogRecord against the records of real
 * servers: every event comes, with the fields, the types and the levels that the
 * tables say, whatever the number of threads.
 */

import { assert, assertEquals } from "@std/assert";
import type { LogEvent, LogRecord, LogValue } from "../../lib/log.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import { startPair } from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const GUIDE = Deno.readTextFileSync(
  new URL("../../examples/log.md", import.meta.url),
);
const SOURCE = Deno.readTextFileSync(
  new URL("../../lib/log.ts", import.meta.url),
);

/** The rows of the table of a chapter, by their first cell. */
function table(chapter: string): Map<string, readonly string[]> {
  const text = GUIDE.split(`\n## ${chapter}\n`)[1]!.split("\n## ")[0]!;
  const rows = [...text.matchAll(/^\| `(\w+)` +\|(.*)\|$/gm)];
  return new Map(rows.map(([, name, rest]) => [
    name!,
    rest!.split("|").map((cell) => cell.trim()),
  ]));
}

const EVENTS = table("Events");
const FIELDS = table("Fields");

/** The types of the table. */
const TYPES: Readonly<Record<string, (value: LogValue) => boolean>> = {
  "text": (value) => typeof value === "string",
  "number": (value) => typeof value === "number",
  "true or false": (value) => typeof value === "boolean",
  "list of texts": (value) =>
    Array.isArray(value) && value.every((one) => typeof one === "string"),
  "numbers by name": (value) =>
    typeof value === "object" && !Array.isArray(value) &&
    Object.values(value).every((one) => typeof one === "number"),
};

function fits(type: string, value: LogValue): boolean {
  return type.split(/ or (?=list)/).some((one) => TYPES[one]!(value));
}

Deno.test("The doc comment of LogRecord has the events and fields of the guide", () => {
  const rows = new Map<string, string>();
  for (
    const [, names, fields] of SOURCE.matchAll(/^ \* \| (`.*?) \| (.*) \|$/gm)
  ) {
    const bare = fields!.replaceAll(/\s*\([^)]*\)/g, "");
    for (const [, name] of names!.matchAll(/`(\w+)`/g)) rows.set(name!, bare);
  }
  const told = [...EVENTS].map(([name, cells]) => [name, cells[1]!] as const);
  assertEquals(Object.fromEntries(rows), Object.fromEntries(told));
  const used = new Set(told.flatMap(([, fields]) => fields.split(", ")));
  assertEquals([...used].sort(), [...FIELDS.keys()].sort());
});

const SECRET = "hush-hush";
const WORDS = "only the two of us know";

/** Runs a server through all that it logs. */
async function runAll(threads: number): Promise<readonly LogRecord[]> {
  const records: LogRecord[] = [];
  await using pair = await startPair({
    near: {
      threads,
      domains: ["near.test"],
      accounts: new AccountList({ ann: SECRET }),
      allowInsecureAuth: true,
      trace: ["127.0.0.0/8"],
      log: (record) => void records.push(record),
      handlers: {
        onHelo(_session, name) {
          if (name === "fault.test") throw new Error("A fault");
        },
        onRcptTo: (_session, { localPart }) => localPart !== "nobody",
      },
    },
    // A host without DSN: the success is reported here.
    far: {
      disabledExtensions: ["DSN"],
      handlers: {
        onRcptTo: (_session, { localPart }) => localPart !== "gone",
      },
    },
  });
  const { near } = pair;
  const has = (event: LogEvent) =>
    until(() => records.some((record) => record.event === event));
  {
    using client = await TestClient.connect(near);
    await client.reply();
    await client.say("HELO fault.test");
    await client.expect(["EHLO client.test", "250"]);
    await client.say(`AUTH PLAIN ${btoa(`\0ann\0not ${SECRET}`)}`);
    await client.say(`AUTH PLAIN ${btoa(`\0ann\0${SECRET}`)}`);
    await client.expect(["MAIL FROM:<me@near.test>", "250"]);
    await client.expect(["RCPT TO:<nobody@near.test>", "550"]);
    await client.expect(["RCPT TO:<you@near.test>", "250"]);
    await client.expect(["RCPT TO:<gone@dest.test>", "250"]);
    await client.expect(["RCPT TO:<you@dest.test> NOTIFY=SUCCESS", "250"]);
    const content = `Message-ID: <m@client.test>\r\n\r\n${WORDS}`;
    assertEquals((await client.data(content)).slice(0, 3), "250");
    await has("bounce");
    await has("notice");
    await client.expect(["MAIL FROM:<me@near.test>", "250"]);
    await client.expect(["RCPT TO:<you@nowhere.test>", "250"]);
    await client.expect(["QUIT", "221"]).catch(() => {});
  }
  await has("disconnect");
  await near.reload({ domains: ["near.test", "other.test"] });
  await near.stop({ graceMs: 0 });
  return records;
}

/** A relay that is held, released and removed by the program. */
async function runActions(): Promise<readonly LogRecord[]> {
  const records: LogRecord[] = [];
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      log: (record) => void records.push(record),
    },
    relay: { idleWaitMs: 3_600_000 },
  });
  using client = await TestClient.connect(pair.near);
  await client.envelope("you@dest.test");
  await client.data(WORDS);
  for (const relay of pair.near.relays) {
    await relay.hold();
    await relay.release();
    await relay.remove();
  }
  assertEquals(
    records.filter(({ fields }) => fields?.["by"] === "program")
      .map(({ event }) => event),
    ["held", "released", "removed"],
  );
  return records;
}

for (const threads of [0, 2]) {
  Deno.test(`Every event comes with the fields of the guide, with ${threads} threads`, async () => {
    const records = [...await runAll(threads), ...await runActions()];
    const seen = new Set(records.map(({ event }) => event as string));
    assertEquals([...seen].sort(), [...EVENTS.keys()].sort());
    for (const { event, level, fields = {} } of records) {
      const [levels, names] = EVENTS.get(event)!;
      const allowed = names!.split(", ");
      assert(levels!.split(", ").includes(level), `${event} ${level}`);
      for (const [name, value] of Object.entries(fields)) {
        assert(allowed.includes(name), `${event} has "${name}"`);
        const [type] = FIELDS.get(name)!;
        assert(fits(type!, value), `${event}: ${name} is no ${type}`);
        // The null reverse-path is empty; a reason that is not known is left out.
        assert(name !== "reason" || value !== "", `${event}: no reason`);
      }
    }
    const message = records.find(({ event }) => event === "message")!;
    // Without TLS, and of a client whose mail is not checked.
    const absent = ["tls", "asked", "spf", "dkim", "dmarc", "arc"];
    assertEquals(
      Object.keys(message.fields!),
      EVENTS.get("message")![1]!.split(", ")
        .filter((name) => !absent.includes(name)),
    );
    const text = JSON.stringify(records);
    for (const hidden of [SECRET, btoa(SECRET), WORDS]) {
      assert(!text.includes(hidden), hidden);
    }
  });
}
