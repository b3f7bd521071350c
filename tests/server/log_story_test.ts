/**
 * The promise of the log: one question, by the two addresses, tells what became
 * of a message, and its ids lead to the session, the reply of the next hop and
 * the bounce.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { LogEvent, LogRecord } from "../../lib/log.ts";
import {
  type Message,
  type MessageStore,
  StoreError,
} from "../../lib/message/message.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { controlSpool } from "../../lib/spool/control.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import { RelayQueue } from "../../lib/queue/queue.ts";
import { addition } from "../support/queue/fixtures.ts";
import { TestFolder } from "../support/folder.ts";
import {
  farCertificate,
  type Pair,
  startPair,
} from "../support/queue/relaying.ts";
import { TestClient } from "../support/server.ts";
import { until } from "../support/wait.ts";

const FROM = "me@near.test";

/** Whatever happened to mail from one address to another: the one filter. */
function became(
  records: readonly LogRecord[],
  to: string,
): readonly LogRecord[] {
  return records.filter(({ fields }) =>
    fields?.["from"] === FROM && [fields["recipient"]].flat().includes(to)
  );
}

/** The story in short: events and results. */
function story(records: readonly LogRecord[], to: string): string[] {
  return became(records, to).map(({ event, fields }) =>
    `${event} ${fields?.["result"] ?? fields?.["reply"]}`
  );
}

/** The one record of an event with these fields. */
function only(
  records: readonly LogRecord[],
  event: LogEvent,
  fields: Record<string, unknown>,
): LogRecord {
  const found = records.filter((record) =>
    record.event === event &&
    Object.entries(fields).every(([name, value]) =>
      record.fields?.[name] === value
    )
  );
  assertEquals(found.length, 1, `${event} ${JSON.stringify(fields)}`);
  return found[0]!;
}

/** A store that has no room for one mailbox. */
class FullStore implements MessageStore {
  readonly kind = "full";
  readonly others = new MemoryStore();

  save(message: Message): Promise<void> {
    const failures = new Map(
      message.recipients.filter(({ address }) => address.localPart === "lost")
        .map((
          one,
        ) => [
          one,
          new Error("No room", { cause: new Error("The disk is full") }),
        ]),
    );
    if (failures.size === 0) return this.others.save(message);
    return Promise.reject(new StoreError("Cannot keep it", failures));
  }
}

/** Sends a message to one recipient in a session of its own; returns the last reply. */
async function send(
  pair: Pick<Pair, "near">,
  to: string,
  headers = "",
): Promise<string> {
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(["EHLO client.test", "250"], [
    `MAIL FROM:<${FROM}>`,
    "250",
  ]);
  const reply = await client.say(`RCPT TO:<${to}>`);
  if (!reply.startsWith("250")) return reply;
  return await client.data(`${headers}Subject: the words inside\r\n\r\nText`);
}

function startStories(later: { isOpen: boolean }, spool?: string) {
  return startPair({
    near: {
      domains: ["near.test"],
      store: new FullStore(),
      handlers: {
        onRcptTo: (_session, { localPart }) => localPart !== "nobody",
      },
    },
    relay: spool === undefined ? {} : { spool },
    far: {
      handlers: {
        onRcptTo(_session, { localPart }) {
          if (localPart === "gone") {
            return new SmtpReply(550, "Gone", { enhanced: "5.1.1" });
          }
          if (localPart !== "later" || later.isOpen) return;
          return new SmtpReply(450, "Greylisted", { enhanced: "4.7.1" });
        },
        onMessage: () =>
          new SmtpReply(250, "Ok: queued as 4Fz9aB", { enhanced: "2.0.0" }),
      },
    },
  });
}

Deno.test("What became of a message: delivered", async () => {
  const to = "you@dest.test";
  await using pair = await startStories({ isOpen: true });
  const { records } = pair;
  await send(pair, to, "Message-ID:\r\n <a1@client.test>\r\n");
  await until(() => became(records, to).length === 3);
  assertEquals(story(records, to), [
    ...["message undefined", "delivery delivered", "removed undefined"],
  ]);
  const [, { session, fields }] = became(records, to) as [LogRecord, LogRecord];
  assertEquals(fields!["host"], "mx.dest.test");
  assertEquals(fields!["address"], "127.0.0.1");
  assertEquals(fields!["tls"], "none");
  assertEquals(fields!["remoteId"], "4Fz9aB");
  assertEquals(fields!["status"], "2.0.0");
  assertEquals(fields!["attempt"], 1);
  assertEquals(Object.keys(fields!["delays"]!), [
    ...["queue", "dns", "connect", "transfer"],
  ]);
  const { id, relay } = fields!;
  const message = only(records, "message", { id });
  assertEquals(message.session, session);
  assertEquals(message.fields!["messageId"], "<a1@client.test>");
  assertEquals(message.fields!["protocol"], "ESMTP");
  assertEquals(message.fields!["queued"], [String(relay)]);
  const connect = records.find(({ event }) => event === "connect")!;
  assertEquals(connect.session, session);
});

Deno.test("What became of a message: deferred, then delivered, over a restart", async () => {
  const to = "later@dest.test";
  const later = { isOpen: false };
  await using folder = await TestFolder.create();
  await using pair = await startStories(later, `${folder.path}/spool`);
  const { records } = pair;
  await send(pair, to);
  await until(() => became(records, to).length >= 2);
  const [, first] = became(records, to) as [LogRecord, LogRecord];
  assertEquals(first.fields!["result"], "deferred");
  assertEquals(first.fields!["reply"], "450 4.7.1 Greylisted");
  const { nextAt } = first.fields!;
  assertEquals(new Date(String(nextAt)).toISOString(), nextAt);
  await pair.near.stop({ graceMs: 0 });
  later.isOpen = true;
  await pair.near.start();
  await until(() => became(records, to).at(-1)!.event === "removed");
  const last = became(records, to).at(-2)!;
  assertEquals(last.fields!["result"], "delivered");
  assert(Number(last.fields!["attempt"]) > 1);
  // The ids are those of before the restart.
  for (const name of ["id", "relay"]) {
    assertEquals(last.fields![name], first.fields![name]);
  }
  assertEquals(last.session, first.session);
});

Deno.test("A message that goes twice into the queue keeps its id, over a restart too", async () => {
  const to = "later@dest.test";
  let isOpen = false;
  await using folder = await TestFolder.create();
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      handlers: {
        async onMessage(_session, message) {
          await pair.near.relays.add(message, { from: FROM });
        },
      },
    },
    relay: { spool: `${folder.path}/spool` },
    far: {
      handlers: {
        onRcptTo: () =>
          isOpen || new SmtpReply(450, "Later", { enhanced: "4.7.1" }),
      },
    },
  });
  const { records } = pair;
  await send(pair, to);
  const of = (result: string) =>
    became(records, to).filter(({ fields }) => fields!["result"] === result)
      .map(({ fields }) => fields!);
  await until(() => new Set(of("deferred").map(({ relay }) => relay)).size > 1);
  await pair.near.stop({ graceMs: 0 });
  isOpen = true;
  await pair.near.start();
  await until(() => of("delivered").length === 2);
  const { id, queued } = records.find(({ event }) => event === "message")!
    .fields!;
  const [...relays] = of("delivered").map(({ relay }) => relay);
  assertEquals(relays.sort(), [...queued as string[]].sort());
  for (const one of [...of("deferred"), ...of("delivered")]) {
    assertEquals(one["id"], id);
  }
});

Deno.test("What became of a message: refused at RCPT", async () => {
  const to = "nobody@near.test";
  await using pair = await startStories({ isOpen: true });
  const { records } = pair;
  const reply = await send(pair, to);
  assertEquals(story(records, to), [`refused ${reply}`]);
  const [{ session, fields }] = became(records, to) as [LogRecord];
  assertEquals(fields!["verb"], "RCPT");
  assertEquals(fields!["helo"], "client.test");
  assert(session !== undefined);
});

Deno.test("What became of a message: bounced", async () => {
  const to = "gone@dest.test";
  await using pair = await startStories({ isOpen: true });
  const { records } = pair;
  await send(pair, to);
  await until(() => records.some(({ fields }) => fields?.["about"]));
  assertEquals(story(records, to), [
    ...["message undefined", "delivery failed", "bounce undefined"],
    "removed undefined",
  ]);
  const [, { level, fields }] = became(records, to) as [LogRecord, LogRecord];
  assertEquals(level, "warn");
  assertEquals(fields!["reply"], "550 5.1.1 Gone");
  const { id, relay } = fields!;
  const bounce = only(records, "bounce", { id, relay, to: FROM });
  assertEquals(bounce.fields!["kind"], "failed");
  const { notice } = bounce.fields!;
  const back = only(records, "delivery", { relay: notice, recipient: FROM });
  assertEquals(back.fields!["about"], relay);
  assertEquals(back.fields!["from"], "");
  assertEquals(back.fields!["result"], "delivered");
});

Deno.test("What became of a message: lost its store", async () => {
  const to = "lost@near.test";
  await using pair = await startStories({ isOpen: true });
  const { records } = pair;
  assertMatch(await send(pair, to), /^451/);
  const [failed, refused, ...more] = became(records, to);
  assertEquals(more, []);
  assertEquals(failed!.event, "stored");
  assertEquals(failed!.level, "error");
  assertEquals(failed!.fields!["result"], "failed");
  assertEquals(failed!.fields!["reason"], "No room");
  assertMatch(failed!.error!, /No room[^]*Caused by: Error: The disk is full/);
  assertEquals(refused!.event, "refused");
  assertEquals(refused!.fields!["id"], failed!.fields!["id"]);
  assert(!JSON.stringify(records).includes("the words inside"));
});

Deno.test("A delivery says with which TLS, and that an open session cost no time", async () => {
  await using pair = await startPair({
    far: { certificate: await farCertificate() },
  });
  const sent = () =>
    pair.records.filter(({ event }) => event === "delivery")
      .map(({ fields }) => fields!);
  for (const [index, to] of ["a@dest.test", "b@dest.test"].entries()) {
    await send(pair, to);
    await until(() => sent().length > index);
  }
  const [first, second] = sent();
  assertEquals(first!["tls"], "TLSv1.3");
  // No authority has signed it.
  assertEquals(first!["verified"], false);
  assertEquals(typeof second!["remoteId"], "string");
  const { connect } = second!["delays"] as Record<string, number>;
  assertEquals(connect, 0);
});

Deno.test("logLevel keeps all lower levels from the log, whatever their source", async () => {
  const seen: LogRecord[] = [];
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      log: (record) => void seen.push(record),
      logLevel: "warn",
    },
    far: { handlers: { onRcptTo: () => false } },
  });
  await send(pair, "you@dest.test");
  await until(() => pair.near.relays.count === 0);
  assert(seen.some(({ event }) => event === "delivery"));
  for (const { level } of seen) assert(level === "warn" || level === "error");
});

Deno.test("The log says what an operator did to a message", async () => {
  await using folder = await TestFolder.create();
  const spool = `${folder.path}/spool`;
  await using pair = await startPair({
    near: { domains: ["near.test"] },
    relay: { spool, idleWaitMs: 3_600_000 },
  });
  await send(pair, "you@dest.test");
  const [relay] = pair.near.relays;
  const by = () =>
    pair.records.filter(({ fields }) => fields?.["by"])
      .map(({ event, fields }) => [event, fields!["relay"], fields!["by"]]);
  for (const [index, action] of (["hold", "remove"] as const).entries()) {
    assertEquals(await controlSpool(spool, { action, id: relay!.id }), "asked");
    await until(() => by().length > index);
  }
  assertEquals(by(), [
    ["held", relay!.id, "operator"],
    ["removed", relay!.id, "operator"],
  ]);
});

Deno.test("A message of a spool without ids is logged under its queue name", async () => {
  const records: LogRecord[] = [];
  const spool = new MemorySpool();
  await spool.open();
  await spool.add(addition("old-1"));
  await using queue = new RelayQueue({
    spool,
    hostname: "mx.near.test",
    log: (record) => void records.push(record),
    deliver: (job) =>
      Promise.resolve({
        recipients: job.recipients.map(() => ({ status: "delivered" })),
        destinationFailed: false,
      }),
  });
  await queue.start();
  await until(() => records.some(({ event }) => event === "removed"));
  const { fields, session } = only(records, "delivery", { relay: "old-1" });
  assertEquals(fields!["id"], "old-1");
  assertEquals(session, undefined);
});
