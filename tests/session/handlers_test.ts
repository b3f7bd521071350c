/** Handlers: the answers of each, and the replies to the client. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { SmtpError, SmtpReply } from "../../lib/protocol/reply.ts";
import { AccountList } from "../../lib/sasl/accounts.ts";
import {
  askedOf,
  DROP,
  sessionHandlersOf,
  SILENT_ALLOW,
  SILENT_DENY,
  type SmtpHandlers,
} from "../../lib/session/handlers.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { openSession, startServer, TestClient } from "../support/server.ts";
import { within } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

type Answer = () => unknown;

const REPLY = new SmtpReply(451, "My words", { enhanced: "4.7.1" });
const ERROR = new SmtpError(550, "My words", { enhanced: "5.7.1" });

/** The handlers that decide: the lines that lead to each, and the standard replies. */
const DECISIONS: [
  name: keyof SmtpHandlers,
  before: readonly string[],
  line: string,
  accepted: string,
  refused: string,
][] = [
  ["onHelo", [], "HELO x", "250 mx.test", String(replies.refusedHelo)],
  [
    "onMailFrom",
    ["HELO x"],
    "MAIL FROM:<a@b>",
    String(replies.senderOk),
    String(replies.refusedSender),
  ],
  [
    "onRcptTo",
    ["HELO x", "MAIL FROM:<a@b>"],
    "RCPT TO:<c@d>",
    String(replies.recipientOk),
    String(replies.refusedRecipient),
  ],
  [
    "onMessageStart",
    ["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"],
    "DATA",
    String(replies.startData),
    String(replies.refusedMessage),
  ],
  [
    "onHeaders",
    ["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"],
    "A: b\r\n\r\nx\r\n.",
    "250 2.0.0 Message accepted as ID2",
    String(replies.refusedHeaders),
  ],
  [
    "onMessage",
    ["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"],
    "x\r\n.",
    "250 2.0.0 Message accepted as ID2",
    String(replies.refusedMessage),
  ],
];

function raise(error: unknown): never {
  throw error;
}

const ANSWERS: [
  name: string,
  answer: Answer,
  want: (accepted: string, refused: string) => string,
  logged?: true,
][] = [
  ["nothing", () => undefined, (accepted) => accepted],
  ["true", () => true, (accepted) => accepted],
  ["false", () => false, (_, refused) => refused],
  ["a reply", () => REPLY, () => "451 4.7.1 My words"],
  ["an SmtpError", () => ERROR, () => "550 5.7.1 My words"],
  ["a thrown reply", () => raise(REPLY), () => "451 4.7.1 My words"],
  ["a thrown SmtpError", () => raise(ERROR), () => "550 5.7.1 My words"],
  [
    "a thrown Error",
    () => raise(new Error("secret")),
    () => String(replies.localError),
    true,
  ],
  [
    "a thrown string",
    () => raise("secret"),
    () => String(replies.localError),
    true,
  ],
  [
    "a number",
    () => 5,
    () => String(replies.localError),
    true,
  ],
];

for (const [handler, before, line, accepted, refused] of DECISIONS) {
  for (const [name, answer, want, logged] of ANSWERS) {
    Deno.test(`${handler}() may answer with ${name}`, async () => {
      const later = () => Promise.resolve().then(answer);
      for (const call of [answer, later]) {
        await using it = openSession({
          handlers: { [handler]: call } as SmtpHandlers,
        });
        await it.client.reply();
        for (const said of before) await it.client.say(said);
        const reply = await it.client.say(line);
        assertEquals(reply, want(accepted, refused));
        const errors = it.records.filter((record) => record.level === "error");
        assertEquals(errors.length, logged ? 1 : 0);
        if (logged) {
          assertEquals(errors[0]!.message, `${handler} failed`);
          assertEquals(errors[0]!.session, it.session.id);
        }
        if (line !== "DATA") {
          assertEquals(await it.client.say("NOOP"), String(replies.ok));
        }
      }
    });
  }

  if (handler === "onHeaders") continue;
  Deno.test(`${handler}() may speak for itself`, async () => {
    for (const [verdict, code] of [[SILENT_ALLOW, 299], [SILENT_DENY, 599]]) {
      await using it = openSession({
        handlers: {
          [handler]: () => {
            it.session.send(`${String(code)} My own words\r\n`);
            return verdict;
          },
        } as SmtpHandlers,
      });
      await it.client.reply();
      for (const said of before) await it.client.say(said);
      assertEquals(await it.client.say(line), `${String(code)} My own words`);
    }
  });
}

const CONNECT: [name: string, answer: Answer, want: string][] = [
  ["nothing", () => undefined, "220 mx.test ESMTP ready\r\n"],
  ["false", () => false, "554 5.7.1 Connection refused by policy\r\n"],
  ["DROP", () => DROP, ""],
  ["a reply", () => REPLY, "451 4.7.1 My words\r\n"],
  ["a thrown SmtpError", () => raise(ERROR), "550 5.7.1 My words\r\n"],
  [
    "a thrown Error",
    () => raise(new Error("x")),
    "451 4.3.0 Local error in processing, try again\r\n",
  ],
];

for (const [name, answer, want] of CONNECT) {
  Deno.test(`onConnect() may answer with ${name}`, async () => {
    for (const call of [answer, () => Promise.resolve().then(answer)]) {
      const ends: string[] = [];
      await using it = openSession({
        handlers: {
          onConnect: call as NonNullable<SmtpHandlers["onConnect"]>,
          onDisconnect: (_session, reason) => void ends.push(reason),
        },
      });
      if (want.startsWith("220")) {
        assertEquals(`${await it.client.reply()}\r\n`, want);
        continue;
      }
      assertEquals(await it.client.rest(), want);
      await within(it.done, "the end");
      assertEquals(ends, ["refused"]);
    }
  });
}

Deno.test("DROP from any handler but onConnect() is a refusal", async () => {
  await using it = openSession({
    handlers: { onMessage: () => DROP as unknown as boolean },
  });
  await it.client.envelope();
  assertEquals(await it.client.data("x"), String(replies.refusedMessage));
});

const LOOK_UPS: [name: string, answer: Answer, want: string][] = [
  ["a line", () => "Joe <joe@b>", "250 2.1.5 Joe <joe@b>"],
  ["lines", () => ["a@b", "c@d"], "250-2.1.5 a@b\n250 2.1.5 c@d"],
  ["a reply", () => REPLY, "451 4.7.1 My words"],
  [
    "a thrown Error",
    () => raise(new Error("x")),
    String(replies.localError),
  ],
  [
    "a list of numbers",
    () => [1],
    String(replies.localError),
  ],
];

for (const [verb, handler] of [["VRFY", "onVerify"], ["EXPN", "onExpand"]]) {
  for (const [name, answer, want] of LOOK_UPS) {
    Deno.test(`${handler}() may answer with ${name}`, async () => {
      const asked: string[] = [];
      await using it = openSession({
        handlers: {
          [handler!]: (_: unknown, text: string) => {
            asked.push(text);
            return Promise.resolve().then(answer);
          },
        } as SmtpHandlers,
      });
      await it.client.reply();
      assertEquals(await it.client.say(`${verb} joe`), want);
      assertEquals(asked, ["joe"]);
    });
  }
}

for (const [verb, handler] of [["VRFY", "onVerify"], ["EXPN", "onExpand"]]) {
  for (
    const [name, answer] of [
      ["lines", () => Array.from({ length: 100_000 }, (_, at) => `line ${at}`)],
      ["text", () => "x".repeat(10_000_000)],
      ["lines of text", () => Array(1000).fill("y\r\n".repeat(1000))],
      ["a reply", () => new SmtpReply(250, Array(5000).fill("z"))],
      ["a refusal", () => {
        throw new SmtpReply(550, Array(5000).fill("z"));
      }],
    ] as const
  ) {
    Deno.test(`${handler}() that answers without end is cut to 100 lines: ${name}`, async () => {
      await using it = openSession({
        handlers: { [handler!]: answer } as SmtpHandlers,
      });
      await it.client.reply();
      const reply = await it.client.say(`${verb} joe`);
      assert(reply.split("\n").length <= 100, `${reply.length}`);
      assert(it.records.some(({ level }) => level === "warn"));
      await it.client.expect(["NOOP", "250"]);
    });
  }
}

Deno.test("onVerify() that knows nothing gets 252", async () => {
  await using it = openSession({ handlers: { onVerify: () => [] } });
  await it.client.reply();
  await it.client.expect(["VRFY joe", "252 2.1.5"]);
});

Deno.test("onCommand() sees each line and may change it", async () => {
  const lines: string[] = [];
  for (const later of [false, true]) {
    lines.length = 0;
    await using it = openSession({
      handlers: {
        onCommand(session, line) {
          lines.push(line);
          let changed: string | undefined;
          if (line === "PING") changed = "NOOP";
          if (line === "HUSH") {
            session.send("299 Hushed\r\n");
            changed = "";
          }
          if (line === "BUSY") throw new SmtpError(450, "Busy");
          if (line === "FAIL") throw new Error("x");
          return later ? Promise.resolve(changed) : changed;
        },
      },
    });
    await it.client.reply();
    await it.client.expect(
      ["HELO x", "250 mx.test"],
      ["PING", "250 2.0.0"],
      ["HUSH", "299 Hushed"],
      ["BUSY", "450 Busy"],
      ["FAIL", "451 4.3.0"],
      ["FOO", "500 5.5.2"],
      ["QUIT", "221"],
    );
    assertEquals(lines, [
      "HELO x",
      "PING",
      "HUSH",
      "BUSY",
      "FAIL",
      "FOO",
      "QUIT",
    ]);
  }
});

Deno.test("onCommand() never sees what AUTH carries", async () => {
  const lines: string[] = [];
  await using server = await startServer({
    accounts: new AccountList({ joe: "other" }),
    handlers: { onCommand: (_session, line) => void lines.push(line) },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.say("HELO x");
  await client.say("AUTH PLAIN AGpvZQBzZWNyZXQ=");
  await client.say("auth  plain  AGpvZQBzZWNyZXQ=");
  assertEquals(lines, ["HELO x", "AUTH PLAIN ***", "auth  plain  ***"]);
});

/** Lines with a secret, and their form in `onCommand`. */
const SECRETS: [said: readonly string[], shown: readonly string[]][] = [
  [["AUTH=PLAIN hunter2"], ["AUTH ***"]],
  [["AUTH hunter2"], ["AUTH ***"]],
  [["AUTH PLAIN=hunter2"], ["AUTH ***"]],
  [["AUTHPLAIN hunter2"], ["AUTH ***"]],
  [["AUTH\tPLAIN\thunter2"], ["AUTH\tPLAIN\t***"]],
  [[" AUTH PLAIN hunter2"], [" AUTH PLAIN ***"]],
  [["AUTH: PLAIN hunter2"], ["AUTH ***"]],
  [["AUTH PLAINhunter2"], ["AUTH ***"]],
  [["AUTH LOGIN"], ["AUTH LOGIN"]],
  [["AUTH FOO", "hunter2!", "NOOP"], ["AUTH ***", "***", "NOOP"]],
  [["AUTH FOO", "help hunter2", "VRFY hunter2"], ["AUTH ***", "***", "***"]],
  [
    ["AUTH FOO", "a", "b", "c", "QUIT"],
    ["AUTH ***", "***", "***", "***", "QUIT"],
  ],
  // A line that is not base64 ends the exchange; the password follows nevertheless.
  [["AUTH LOGIN", "ann!", "hunter2", "RSET"], ["AUTH LOGIN", "***", "RSET"]],
  // 503: the client is logged in.
  [
    ["AUTH PLAIN AGFubgBodW50ZXIy", "AUTH PLAIN", "hunter2", "NOOP", "XFOO"],
    ["AUTH PLAIN ***", "AUTH PLAIN", "***", "NOOP", "XFOO"],
  ],
  [["AUTH PLAIN AGFubgBodW50ZXIy", "XFOO a"], ["AUTH PLAIN ***", "XFOO a"]],
];

for (const [said, shown] of SECRETS) {
  Deno.test(`onCommand() and the log see no secret: ${JSON.stringify(said)}`, async () => {
    const lines: string[] = [];
    const records: unknown[] = [];
    await using server = await startServer({
      accounts: new AccountList({ ann: "hunter2" }),
      allowInsecureAuth: true,
      limits: { maxErrors: 0 },
      log: (record) => records.push(record),
      handlers: { onCommand: (_session, line) => void lines.push(line) },
    });
    using client = await TestClient.connect(server);
    await client.reply();
    await client.say("EHLO x");
    for (const line of said) await client.say(line);
    assertEquals(lines, ["EHLO x", ...shown]);
    assert(!JSON.stringify(records).includes("hunter2"));
  });
}

Deno.test("onReset() and onDisconnect() may throw", async () => {
  const it = openSession({
    handlers: {
      onReset: () => raise(new Error("x")),
      onDisconnect: () => Promise.reject(new Error("y")),
      onStateChange: () => raise(new Error("z")),
    },
  });
  await it.client.envelope();
  await it.client.expect(["RSET", "250"], ["QUIT", "221"]);
  await within(it.done, "the end");
  it.client.close();
  const failed = new Set(
    it.records.filter((record) => record.level === "error")
      .map((record) => record.message),
  );
  assert(failed.has("onReset failed"));
  assert(failed.has("onDisconnect failed"));
  assert(failed.has("onStateChange failed"));
});

Deno.test("SILENT_ALLOW of onMessageStart leaves the final reply to the server", async () => {
  const store = new MemoryStore();
  await using test = openSession({
    store,
    handlers: { onMessageStart: () => SILENT_ALLOW },
  });
  await test.client.envelope();
  await test.client.send("BDAT 3 LAST\r\nx\r\n");
  assertMatch(await test.client.reply(), /^250 2\.0\.0 Message accepted as /);
  assertEquals(store.messages.length, 1);
});

Deno.test("a session in JSON tells where it comes from and how far it is, and not the tag", async () => {
  let text = "";
  await using server = await startServer({
    accounts: new AccountList({ ann: "hunter2" }),
    allowInsecureAuth: true,
    handlers: {
      onMailFrom(session) {
        session.tag = "hunter2";
        text = JSON.stringify(session);
      },
    },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.say("EHLO x");
  await client.say("AUTH PLAIN AGFubgBodW50ZXIy");
  await client.say("MAIL FROM:<a@b.example>");
  const { id, localPort, connectedAt, ...rest } = JSON.parse(text);
  assertMatch(id, /^\w+-\d+$/);
  assertEquals(localPort, server.addresses[0]!.port);
  assert(Math.abs(Date.parse(connectedAt) - Date.now()) < 3_600_000);
  const { remoteAddress, kind, helo, username, messages } = rest;
  assertEquals(
    { remoteAddress, kind, helo, username, messages },
    {
      remoteAddress: "127.0.0.1",
      ...{ kind: "smtp", helo: "x", username: "ann", messages: 0 },
    },
  );
  assert(!text.includes("hunter2"));
});

Deno.test("askedOf() and sessionHandlersOf() tell which handlers a program has", () => {
  class Handlers implements SmtpHandlers {
    onRcptTo() {}
    onRelayDone() {}
  }
  const handlers = new Handlers();
  const asked = Object.entries(askedOf(handlers)).filter(([, is]) => is);
  assertEquals(asked, [["rcpt", true]]);
  assertEquals(sessionHandlersOf(handlers), ["onRcptTo"]);
});

Deno.test("a reply of onHelo takes the place of the name, and extensions follow", async () => {
  await using server = await startServer({
    handlers: { onHelo: (_session, name) => new SmtpReply(250, `Hi ${name}`) },
  });
  using client = await TestClient.connect(server);
  await client.reply();
  assertMatch(
    await client.say("EHLO c.example"),
    /^250-Hi c\.example\n250-PIPELINING\n/,
  );
  assertEquals(await client.say("HELO c.example"), "250 Hi c.example");
});
