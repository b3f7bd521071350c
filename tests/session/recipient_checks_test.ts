/**
 * The order of the checks of a recipient, what a refused one counts for, and what
 * it costs without options: a session in memory, with a clock that the test moves.
 */

import { assert, assertEquals } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import type { MessageStore } from "../../lib/message/message.ts";
import { Address } from "../../lib/protocol/address.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import type { ServerAsk } from "../../lib/protocol/server/effects.ts";
import { recipientPolicyOf } from "../../lib/server/contexts.ts";
import type { SettledOptions } from "../../lib/server/options.ts";
import { aliasTable } from "../../lib/session/aliases.ts";
import { HandlerCalls } from "../../lib/session/handler_calls.ts";
import { limitsOf } from "../../lib/session/limit_options.ts";
import { AddressLimiter } from "../../lib/session/limits.ts";
import { localDomains } from "../../lib/session/local_domains.ts";
import { RecipientPolicy } from "../../lib/session/recipient_policy.ts";
import { RecipientTables } from "../../lib/session/recipient_tables.ts";
import { isPromise } from "../../lib/session/verdicts.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { MaildirStore } from "../../lib/store/maildir_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { openSession } from "../support/server.ts";

const LOCAL = localDomains(["a.test", "b.test"]);

Deno.test("The checks of a recipient come in their order, and the handler is asked last", async () => {
  const steps: string[] = [];
  const options: SettledOptions = {
    domains: ["a.test", "b.test"],
    aliases: { info: "ann@b.test" },
    localRecipients(address) {
      steps.push(`exists ${address}`);
      return address.localPart !== "gone";
    },
  };
  const recipients = await recipientPolicyOf(options, {
    store: {
      hasRoom(address) {
        steps.push(`room ${address}`);
        return address.localPart !== "full";
      },
    },
    log: () => {},
  });
  await using it = openSession({
    recipients,
    isLocal: LOCAL,
    domains: {
      maxSizeOf(address) {
        steps.push(`size ${address}`);
        return address.localPart === "big" ? 10 : 0;
      },
      routeOf: () => undefined,
    },
    handlers: {
      onRcptTo(_session, address) {
        steps.push(`handler ${address}`);
        return address.localPart !== "no";
      },
    },
  });
  const { client } = it;
  await client.reply();
  await client.expect(["EHLO client.test", "250"], [
    "MAIL FROM:<a@b.test> SIZE=100",
    "250",
  ]);
  const asked = async (address: string) => {
    steps.length = 0;
    const reply = await client.say(`RCPT TO:<${address}>`);
    return [reply.slice(0, 9), ...steps];
  };
  assertEquals(await asked("x@far.test"), ["550 5.7.1"]);
  assertEquals(await asked("big@a.test"), ["552 5.3.4", "size big@a.test"]);
  assertEquals(await asked("info@a.test"), [
    ...["250 2.1.5", "size info@a.test", "exists ann@b.test"],
    ...["room ann@b.test", "size ann@b.test", "handler info@a.test"],
  ]);
  assertEquals(await asked("gone@a.test"), [
    ...["550 5.1.1", "size gone@a.test", "exists gone@a.test"],
  ]);
  assertEquals(await asked("full@a.test"), [
    ...["452 4.2.2", "size full@a.test", "exists full@a.test"],
    "room full@a.test",
  ]);
  assertEquals(await asked("no@a.test"), [
    ...["550 5.1.1", "size no@a.test", "exists no@a.test", "room no@a.test"],
    "handler no@a.test",
  ]);
});

Deno.test("Guesses of mailboxes are slowed down, full mailboxes are not", async () => {
  const waits: number[] = [];
  const limits = limitsOf({ tarpitMs: 5000, maxRefusedRecipients: 0 });
  const recipients = await recipientPolicyOf(
    { localRecipients: ["ann", "x"] },
    {
      store: { hasRoom: (address) => address.localPart !== "x" },
      log: () => {},
    },
  );
  await using it = openSession({
    recipients,
    isLocal: LOCAL,
    limits: { ...limits, exempt: [], maxCommandsWithoutMail: 0 },
    counts: new AddressLimiter(limits, { now: () => 0 }),
    delays: { wait: (ms) => Promise.resolve(void waits.push(ms)) },
  });
  const { client } = it;
  await client.envelope("ann@a.test");
  for (let turn = 0; turn < 30; turn++) {
    await client.expect(["RCPT TO:<x@a.test>", "452 4.2.2"]);
  }
  assertEquals(waits, []);
  for (let turn = 0; turn < 30; turn++) {
    await client.expect(["RCPT TO:<guess@a.test>", "550 5.1.1"]);
  }
  assert(waits.length > 0, "No reply was delayed");
  assertEquals(waits.toSorted((one, other) => one - other), waits);
  assertEquals(waits.at(-1), 5000);
});

Deno.test("A loop is logged once a minute for each name, whoever asks for it", async () => {
  const records: LogRecord[] = [];
  let ms = 0;
  const aliases = aliasTable({
    ...{ one: "two", two: "one", other: "one" },
    ...{ "@a.test": "@b.test", "@b.test": "@a.test" },
  });
  const policy = new RecipientPolicy({
    tables: new RecipientTables({ aliases, local: undefined }, new Map()),
    delimiter: "+",
    isLocal: LOCAL,
    domain: "a.test",
    store: {},
    log: (record) => records.push(record),
    now: () => ms,
  });
  const logged = async (address: string) => {
    records.length = 0;
    const decided = await policy.decide(Address.parse(address), { size: 0 });
    assertEquals(decided instanceof SmtpReply && decided.code, 554, address);
    return records.length;
  };
  assertEquals(await logged("one@a.test"), 1);
  assertEquals(await logged("one@a.test"), 0);
  assertEquals(await logged("one+x@A.test"), 0);
  assertEquals(await logged("two@a.test"), 1);
  assertEquals(await logged("other@a.test"), 1);
  assertEquals(await logged("guess1@a.test"), 1);
  for (let turn = 2; turn < 50; turn++) {
    assertEquals(await logged(`guess${turn}@a.test`), 0);
  }
  ms = 59_999;
  assertEquals(await logged("one@a.test"), 0);
  ms = 60_000;
  assertEquals(await logged("one@a.test"), 1);
});

/** The answers to a question of a session without the options of recipients and senders. */
function answerTo(question: unknown): unknown {
  const calls = new HandlerCalls(
    {
      handlers: { onRcptTo: () => true, onMailFrom: () => {} },
      isLocal: LOCAL,
      log: () => {},
    } as never,
    {
      session: { localAddress: "127.0.0.1" },
      protocol: { state: { envelope: { parameters: {} } } },
      limits: { recipientNotAccepted() {}, tarpit: () => undefined },
      senders: undefined,
    } as never,
  );
  return calls.put(question as ServerAsk);
}

Deno.test("Without options and promises of handlers nothing waits at MAIL and RCPT", async () => {
  for (const address of ["ann@a.test", "ann@far.test"]) {
    for (const ask of ["mail", "rcpt"]) {
      const answer = answerTo({
        ...{ effect: "ask", ask, address: Address.parse(address) },
        parameters: {},
      });
      assertEquals(isPromise(answer), false, `${ask} ${address}`);
    }
  }
  const log = () => {};
  const stores: readonly MessageStore[] = [
    ...[new DiscardStore(), new MemoryStore()],
    new MaildirStore({ folder: "/nowhere" }),
  ];
  for (const store of stores) {
    const options = { domains: { "a.test": { maxSize: 1 } } };
    assertEquals(await recipientPolicyOf(options, { store, log }), undefined);
  }
});
