/** Relaying from end to end: one server accepts mail, another one receives it. */

import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { testDns } from "../../lib/testing/mod.ts";
import { Address } from "../../lib/protocol/address.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import type { DeliveryState } from "../../lib/queue/job.ts";
import { MemorySpool } from "../../lib/spool/memory_spool.ts";
import type { Relay } from "../../lib/queue/relay.ts";
import { SpoolError } from "../../lib/spool/spool.ts";
import { parseAccounts } from "../../lib/sasl/accounts.ts";
import { SmtpServer } from "../../lib/server/server.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { farCertificate, startPair } from "../support/queue/relaying.ts";
import { startServer, TestClient } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

const HELLO = "Subject: Hello\r\n\r\nText";

/** Sends a message through the near server. Returns the last reply. */
async function sendBy(
  server: SmtpServer,
  ...recipients: string[]
): Promise<string> {
  using client = await TestClient.connect(server);
  await client.envelope(...recipients);
  return await client.data(HELLO);
}

Deno.test("SmtpServer relays what a handler adds, and reports each step", async () => {
  const states: DeliveryState[] = [];
  const { promise: done, resolve } = Promise.withResolvers<Relay>();
  await using pair = await startPair({
    relay: { from: [] },
    near: {
      handlers: {
        async onMessage(_session, message) {
          const relay = await pair.near.relays.add(message, {
            recipients: [{
              address: Address.parse("you@dest.test"),
              parameters: {},
            }],
            tag: { copy: true },
          });
          assertEquals(relay.tag, { copy: true });
          assertEquals(pair.near.relays.get(relay.id), relay);
        },
        onRelayStateChange: (_relay, state) => void states.push(state),
        onRelayDone: resolve,
      },
    },
  });
  assertStringIncludes(await sendBy(pair.near, "me@near.test"), "250");
  const message = await within(pair.farStore.next(), "the message");
  assertEquals(message.from.toString(), "a@b.test");
  assertEquals(message.recipients.map(({ address }) => `${address}`), [
    "you@dest.test",
  ]);
  const relay = await within(done, "onRelayDone");
  assertEquals(relay.recipients[0]!.status, "passed-on");
  assertEquals(states, [
    "resolving-mx",
    "resolving-a",
    "connecting",
    "connected",
    "hello",
    "mail-from",
    "rcpt-to",
    "data",
    "sending-headers",
    "sending-body",
    "done",
  ]);
  assertEquals(pair.near.relays.count, 0);
  assertEquals(pair.nearStore.messages.length, 1);
});

Deno.test("SmtpServer keeps a message for its own recipients and relays it to the others", async () => {
  await using pair = await startPair({ near: { domains: ["near.test"] } });
  const reply = await sendBy(
    pair.near,
    "me@near.test",
    "you@dest.test",
    "us@NEAR.test",
  );
  assertStringIncludes(reply, "250 2.0.0");
  const there = await within(pair.farStore.next(), "the message");
  assertEquals(there.recipients.map(({ address }) => `${address}`), [
    "you@dest.test",
  ]);
  const [here] = pair.nearStore.messages;
  assertEquals(here!.recipients.map(({ address }) => `${address}`), [
    "me@near.test",
    "us@NEAR.test",
  ]);
  assertStringIncludes(there.text, "by mx.near.test");
  assertStringIncludes(there.text, "\r\n\r\nText\r\n");
});

Deno.test("SmtpServer without domains relays everything but the bare postmaster", async () => {
  await using pair = await startPair();
  await sendBy(pair.near, "you@dest.test", "Postmaster");
  const there = await within(pair.farStore.next(), "the message");
  assertEquals(there.recipients.length, 1);
  assertEquals(
    pair.nearStore.messages[0]!.recipients.map(({ address }) => `${address}`),
    ["Postmaster"],
  );
});

Deno.test("SmtpServer relays for the clients that the policy names", async (t) => {
  const accounts = parseAccounts("ann:secret");
  const login = `AUTH PLAIN ${btoa("\0ann\0secret")}`;
  const rows: readonly {
    name: string;
    relay: NonNullable<Parameters<typeof startPair>[0]>["relay"];
    login: boolean;
    want: string;
  }[] = [
    { name: "no client", relay: {}, login: true, want: "550 5.7.1" },
    {
      name: "network",
      relay: { from: ["127.0.0.1"] },
      login: false,
      want: "2",
    },
    {
      name: "another network",
      relay: { from: ["10.0.0.0/8"] },
      login: false,
      want: "550 5.7.1",
    },
    {
      name: "users, one who has logged in",
      relay: { allow: "authenticated" },
      login: true,
      want: "2",
    },
    {
      name: "users, one who has not",
      relay: { allow: "authenticated" },
      login: false,
      want: "550 5.7.1",
    },
    {
      name: "users, anybody in another network",
      relay: { allow: "authenticated", from: ["10.0.0.0/8"] },
      login: false,
      want: "550 5.7.1",
    },
  ];
  for (const row of rows) {
    await t.step(row.name, async () => {
      await using pair = await startPair({
        relay: { from: [], ...row.relay },
        near: { domains: ["near.test"], accounts, allowInsecureAuth: true },
      });
      using client = await TestClient.connect(pair.near);
      await client.reply();
      await client.expect(["EHLO client.test", "250"]);
      if (row.login) await client.expect([login, "235"]);
      await client.expect(
        ["MAIL FROM:<a@b.test>", "250"],
        ["RCPT TO:<you@dest.test>", row.want],
        ["RCPT TO:<me@near.test>", "250"],
      );
    });
  }
});

Deno.test("SmtpServer asks onRcptTo about foreign recipients that may be relayed to, too", async () => {
  const asked: string[] = [];
  await using pair = await startPair({
    near: {
      handlers: {
        onRcptTo(_session, address) {
          asked.push(address.toString());
          return address.localPart !== "no";
        },
      },
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.envelope("you@dest.test");
  await client.expect(["RCPT TO:<no@dest.test>", "550"]);
  assertEquals(asked, ["you@dest.test", "no@dest.test"]);
});

Deno.test("SmtpServer answers for the part that fails", async (t) => {
  await t.step("the store: nothing is queued", async () => {
    const failing = {
      kind: "failing",
      save: () => Promise.reject(new Error("Broken")),
    };
    await using pair = await startPair({
      near: { domains: ["near.test"], store: failing },
    });
    const reply = await sendBy(pair.near, "me@near.test", "you@dest.test");
    assertStringIncludes(reply, "451 4.3.0");
    assertEquals(pair.near.relays.count, 0);
    assertEquals(pair.farStore.messages.length, 0);
  });
  await t.step("the spool: the client is to come back", async () => {
    await using pair = await startPair({
      relay: { spool: new MemorySpool({ capacity: 1 }) },
    });
    assertStringIncludes(await sendBy(pair.near, "you@dest.test"), "452 4.3.1");
    assert(pair.records.some(({ level }) => level === "error"));
  });
  await t.step("LMTP: each recipient has a reply of its own", async () => {
    await using pair = await startPair({
      relay: { spool: new MemorySpool({ capacity: 1 }) },
      near: { listen: "127.0.0.1:0/lmtp", domains: ["near.test"] },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["LHLO client.test", "250"],
      ["MAIL FROM:<a@b.test>", "250"],
      ["RCPT TO:<me@near.test>", "250"],
      ["RCPT TO:<you@dest.test>", "250"],
    );
    assertStringIncludes(await client.data(HELLO), "250");
    assertStringIncludes(await client.reply(), "452 4.3.1");
  });
});

Deno.test("SmtpServer passes delivery status parameters on", async () => {
  const seen: string[] = [];
  await using pair = await startPair({
    far: {
      handlers: {
        onCommand: (_session, line) => void seen.push(line),
      },
    },
  });
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<a@b.test> RET=HDRS ENVID=e1", "250"],
    ["RCPT TO:<you@dest.test> NOTIFY=FAILURE ORCPT=rfc822;x@y.test", "250"],
  );
  await client.data(HELLO);
  await within(pair.farStore.next(), "the message");
  const mail = seen.find((line) => line.startsWith("MAIL"));
  const rcpt = seen.find((line) => line.startsWith("RCPT"));
  assertStringIncludes(mail!, "RET=HDRS");
  assertStringIncludes(mail!, "ENVID=e1");
  assertStringIncludes(rcpt!, "NOTIFY=FAILURE");
  assertStringIncludes(rcpt!, "ORCPT=rfc822;x@y.test");
});

for (const sender of ["me@near.test", "me@[127.0.0.1]"]) {
  Deno.test(`SmtpServer saves a DSN to ${sender}, a local address, in its own store`, async () => {
    await using pair = await startPair({
      near: { domains: ["near.test"] },
      far: {
        handlers: {
          onRcptTo: () => new SmtpReply(550, "Who?", { enhanced: "5.1.1" }),
        },
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["HELO client.test", "250"],
      [`MAIL FROM:<${sender}>`, "250"],
      ["RCPT TO:<you@dest.test>", "250"],
    );
    await client.data(HELLO);
    const notice = await within(pair.nearStore.next(), "the notice");
    assert(notice.from.isNull);
    assertEquals(notice.recipients.map(({ address }) => `${address}`), [
      sender,
    ]);
    const text = notice.text;
    assertStringIncludes(text, "Final-Recipient: rfc822; you@dest.test");
    assertStringIncludes(text, "550 5.1.1 Who?");
  });
}

Deno.test("SmtpServer sends a DSN on to where an alias leads, also from a domain without a store", async () => {
  await using pair = await startPair({
    near: {
      domains: ["near.test"],
      store: new DiscardStore(),
      aliases: {
        "info@near.test": ["me@dest.test"],
        "round@near.test": ["ann@near.test"],
        "@near.test": ["round@near.test"],
      },
    },
    far: { handlers: { onRcptTo: (_session, to) => to.localPart === "me" } },
  });
  for (const sender of ["round@near.test", "info@near.test"]) {
    using client = await TestClient.connect(pair.near);
    await client.reply();
    await client.expect(
      ["HELO client.test", "250"],
      [`MAIL FROM:<${sender}>`, "250"],
      ["RCPT TO:<you@dest.test>", "250"],
    );
    await client.data(HELLO);
  }
  const notice = await within(pair.farStore.next(), "the notice");
  assert(notice.from.isNull);
  assertStringIncludes(notice.text, "Final-Recipient: rfc822; you@dest.test");
  // An alias of a mailbox that no store has ends as before, and does not go round.
  await until(() => pair.near.relays.count === 0);
  assertEquals(pair.farStore.messages.length, 1);
});

Deno.test("SmtpServer tries again after a temporary refusal", async () => {
  let tries = 0;
  await using pair = await startPair({
    far: {
      handlers: {
        onMailFrom: () => ++tries > 2 ? undefined : new SmtpReply(450, "Later"),
      },
    },
  });
  await sendBy(pair.near, "you@dest.test");
  await within(pair.farStore.next(), "the message");
  assertEquals(tries, 3);
});

Deno.test("SmtpServer lets onRelayError hold what has failed, and retry() go on with it", async () => {
  let isWrong = true;
  const { promise: held, resolve } = Promise.withResolvers<Relay>();
  await using pair = await startPair({
    near: {
      handlers: {
        onRelayError(relay, failed) {
          assertEquals(failed.map(({ address }) => address), ["you@dest.test"]);
          resolve(relay);
          return "hold";
        },
      },
    },
    far: { handlers: { onRcptTo: () => !isWrong } },
  });
  await sendBy(pair.near, "you@dest.test");
  const relay = await within(held, "onRelayError");
  isWrong = false;
  await until(() => relay.held);
  await relay.retry();
  await within(pair.farStore.next(), "the message");
});

Deno.test("SmtpServer tells a module of handlers of its relays, too", async () => {
  const seen: string[] = [];
  Object.assign(globalThis, { seenByModule: seen });
  const module = new URL(
    "data:text/javascript," + encodeURIComponent(`
      const { seenByModule } = globalThis;
      export default {
        onRelayStateChange: (_relay, state) => void seenByModule.push(state),
        onRelayDone: () => void seenByModule.push("onRelayDone"),
        onRelayError: (_relay, failed) =>
          void seenByModule.push(\`\${failed.length} failed\`),
      };
    `),
  );
  try {
    await using pair = await startPair({
      near: { handlers: module },
      far: {
        handlers: { onRcptTo: (_session, { localPart }) => localPart !== "no" },
      },
    });
    await sendBy(pair.near, "you@dest.test");
    await until(() => seen.includes("onRelayDone"));
    assert(seen.includes("sending-body"));
    await sendBy(pair.near, "no@dest.test");
    await until(() => seen.includes("1 failed"));
  } finally {
    Object.assign(globalThis, { seenByModule: undefined });
  }
});

Deno.test("SmtpServer asks onRelayCertificate, which overrides the policy", async (t) => {
  const certificate = await farCertificate();
  const rows = [
    { security: "verified", answer: true, want: true },
    { security: "verified", answer: undefined, want: false },
    { security: "opportunistic", answer: undefined, want: true },
    { security: "required", answer: false, want: false },
    { security: "required", answer: "throw", want: false },
  ] as const;
  for (const { security, answer, want } of rows) {
    await t.step(`${security}, ${answer}`, async () => {
      const asked: string[] = [];
      const { promise: tried, resolve } = Promise.withResolvers<void>();
      await using pair = await startPair({
        relay: { security, schedule: "1h" },
        far: { certificate },
        near: {
          handlers: {
            onRelayCertificate(relay, peer) {
              asked.push(`${relay.from} ${peer.host}`);
              assertEquals(peer.certificate.names, ["mx.dest.test"]);
              assert(peer.error !== undefined);
              if (answer === "throw") throw new Error("Broken");
              return answer;
            },
            onRelayStateChange(_relay, state) {
              if (state === "idle-waiting" || state === "done") resolve();
            },
          },
        },
      });
      await sendBy(pair.near, "you@dest.test");
      await within(tried, "the try");
      assertEquals(asked, ["a@b.test mx.dest.test"]);
      assertEquals(pair.farStore.messages.length, want ? 1 : 0);
    });
  }
});

Deno.test("SmtpServer without a spool warns once, and keeps the queue over a stop", async () => {
  await using pair = await startPair({ relay: { idleWaitMs: 3_600_000 } });
  const warnings = pair.records.filter(({ message }) =>
    message.includes("no spool is set")
  );
  assertEquals(warnings.length, 1);
  await sendBy(pair.near, "you@dest.test");
  assertEquals(pair.near.relays.count, 1);
  await pair.near.stop();
  assertEquals(pair.near.relays.count, 0);
  await pair.near.start();
  const [relay] = pair.near.relays;
  await relay!.retry();
  await within(pair.farStore.next(), "the message");
});

Deno.test("SmtpServer with a folder for a spool resumes after a restart, and locks the folder", async () => {
  const spool = await Deno.makeTempDir({ prefix: "smtp-spool-" });
  try {
    const relay = { spool, idleWaitMs: 3_600_000 };
    await using first = await startPair({ relay });
    await sendBy(first.near, "you@dest.test");
    const error = await assertRejects(() => startPair({ relay }), SpoolError);
    assertStringIncludes(error.message, "another process has it");
    await first.near.stop();
    await using second = await startPair({ relay });
    assertEquals(second.near.relays.count, 1);
    for (const one of second.near.relays) await one.retry();
    const message = await within(second.farStore.next(), "the message");
    assertStringIncludes(message.text, "Subject: Hello");
  } finally {
    await Deno.remove(spool, { recursive: true });
  }
});

Deno.test("SmtpServer.relays.add() takes nothing while the server is not active", async () => {
  const server = await startServer();
  let message;
  await using pair = await startPair({
    near: { handlers: { onMessage: (_session, it) => void (message = it) } },
  });
  await sendBy(pair.near, "you@dest.test");
  await server.stop();
  await assertRejects(
    () => server.relays.add(message!),
    SpoolError,
    "the queue is not running",
  );
});

Deno.test("SmtpServer finds what is wrong with relaying before it starts", () => {
  const rows = [
    [{ from: ["10.0.0.1/8"] }, SyntaxError],
    [{ schedule: "never" }, SyntaxError],
    [{ maxConcurrent: 0 }, RangeError],
    [{ maxPerDestination: 0.5 }, RangeError],
    [{ expireAfterMs: 0 }, RangeError],
  ] as const;
  for (const [relay, want] of rows) {
    let thrown: unknown;
    try {
      new SmtpServer({ relay });
    } catch (error) {
      thrown = error;
    }
    assert(thrown instanceof want, JSON.stringify(relay));
  }
});

Deno.test("SmtpServer.queryDns() asks with the server's options", async () => {
  await using pair = await startPair();
  const found = await pair.near.queryDns("MX", "dest.test", {
    timeoutMs: 60_000,
  });
  assertEquals(found, {
    status: "found",
    records: [{ preference: 10, exchange: "mx.dest.test" }],
  });
});

Deno.test("SmtpServer uses smarthosts in order, with one session for all domains", async () => {
  const sessions = new Set<string>();
  await using pair = await startPair({
    far: { handlers: { onHelo: (session) => void sessions.add(session.id) } },
  });
  const { port } = pair.far.addresses[0]!;
  await using near = await startServer({
    dns: testDns(() => Promise.reject(new Deno.errors.NotFound("None"))),
    relay: {
      from: ["127.0.0.0/8"],
      // Nothing listens on port 1.
      smarthosts: [{ host: "127.0.0.1", port: 1 }, { host: "127.0.0.1", port }],
    },
  });
  await sendBy(near, "a@one.test", "b@two.test");
  const message = await within(pair.farStore.next(), "the message");
  assertEquals(message.recipients.length, 2);
  assertEquals(sessions.size, 1);
});
