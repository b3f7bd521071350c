/**
 * The reception of a message: streams, stores, refusals and temporary files.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { SmtpError, SmtpReply } from "../../lib/protocol/reply.ts";
import {
  type Message,
  type MessageStore,
  StoreError,
} from "../../lib/message/message.ts";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { namesIn } from "../support/store_message.ts";
import { TestFolder } from "../support/folder.ts";
import { openSession, type SessionInit } from "../support/server.ts";
import { within } from "../support/wait.ts";
import { replies } from "../../lib/protocol/replies.ts";

const BODY = "Subject: old\r\nX-A: 1\r\n\r\nHello\r\n";

/** The only message of the store, as text. */
function only(store: MemoryStore): string {
  assertEquals(store.messages.length, 1);
  return store.messages[0]!.text;
}

Deno.test("onMessage() gets all recipients with their parameters", async () => {
  const seen: unknown[] = [];
  await using it = openSession({
    handlers: {
      onMessage(session, message) {
        assertEquals(session.message, message);
        seen.push([
          String(message.from),
          message.parameters,
          message.recipients.map((
            one,
          ) => [String(one.address), one.parameters]),
          message.size,
        ]);
      },
    },
  });
  await it.client.reply();
  await it.client.expect(
    ["EHLO x", "250"],
    ["MAIL FROM:<a@b> SIZE=3 RET=HDRS ENVID=q", "250"],
    ["RCPT TO:<c@d> NOTIFY=NEVER", "250"],
    ["RCPT TO:<e@f> ORCPT=rfc822;g@h", "250"],
  );
  await it.client.data("x");
  assertEquals(it.session.message, undefined);
  assertEquals(it.session.messages, 1);
  // Nothing is left for the next message.
  await it.client.expect(["MAIL FROM:<>", "250"], ["RCPT TO:<i@j>", "250"]);
  await it.client.data("yy");
  assertEquals(seen, [
    [
      "a@b",
      { size: 3, ret: "HDRS", envid: "q" },
      [
        ["c@d", { notify: ["NEVER"] }],
        ["e@f", { orcpt: { type: "rfc822", address: "g@h" } }],
      ],
      // With an empty line before text without a header.
      5,
    ],
    ["", {}, [["i@j", {}]], 6],
  ]);
});

Deno.test("onMessageStart() and onMessage() choose where a message goes", async () => {
  for (const handler of ["onMessageStart", "onMessage"] as const) {
    await using folder = await TestFolder.create();
    const [usual, chosen, second] = [1, 2, 3].map(() => new MemoryStore());
    await using it = openSession({
      store: usual!,
      handlers: {
        [handler](_: unknown, message: Message) {
          if (message.recipients.length === 2) {
            message.store = [chosen!, second!];
          }
          message.filename = `${folder.path}/one.eml`;
        },
      },
    });
    await it.client.envelope("c@d", "e@f");
    await it.client.data("x");
    assertEquals(only(chosen!), "\r\nx\r\n");
    assertEquals(only(second!), "\r\nx\r\n");
    assertEquals(usual!.messages.length, 0);
    const kept = await Deno.readTextFile(`${folder.path}/one.eml`);
    assertEquals(kept, "Return-Path: <a@b.test>\r\n\r\nx\r\n");
  }
});

/** Edits of `onHeaders`, and the kept message. */
const EDITS: [
  name: string,
  handler: NonNullable<NonNullable<SessionInit["handlers"]>["onHeaders"]>,
  content: string,
  want: string,
][] = [
  ["nothing", () => {}, BODY, BODY],
  [
    "an edit",
    (_session, _message, headers) => headers.set("Subject", "new"),
    BODY,
    "Subject: new\r\nX-A: 1\r\n\r\nHello\r\n",
  ],
  [
    "a removal",
    (_session, _message, headers) => void headers.remove("X-A"),
    BODY,
    "Subject: old\r\n\r\nHello\r\n",
  ],
  [
    "an edit without a blank line",
    (_session, _message, headers) => headers.set("Subject", "new"),
    "Subject: old\r\n",
    "Subject: new\r\n\r\n",
  ],
  [
    "an edit where text follows without a blank line",
    (_session, _message, headers) => headers.set("Subject", "new"),
    "Subject: old\r\nhello world\r\n",
    "Subject: new\r\n\r\nhello world\r\n",
  ],
  [
    "an edit of text without a header",
    (_session, _message, headers) => headers.set("Subject", "new"),
    " (forged)\r\nhello world\r\n",
    "Subject: new\r\n\r\n (forged)\r\nhello world\r\n",
  ],
  [
    "nothing to a body without a header",
    () => {},
    "\r\nHello\r\n",
    "\r\nHello\r\n",
  ],
];

for (const [name, handler, content, want] of EDITS) {
  for (const later of [false, true]) {
    Deno.test(`onHeaders() does ${name}${later ? ", later" : ""}`, async () => {
      for (const piece of [1, 7, 1000]) {
        const store = new MemoryStore();
        await using it = openSession({
          store,
          handlers: {
            async onHeaders(...about) {
              if (later) await Promise.resolve();
              return handler(...about);
            },
          },
        });
        await it.client.envelope();
        await it.client.send(`BDAT ${content.length} LAST\r\n`);
        for (let at = 0; at < content.length; at += piece) {
          await it.client.send(content.slice(at, at + piece));
        }
        assertEquals(
          await it.client.reply(),
          "250 2.0.0 Message accepted as ID2",
        );
        assertEquals(only(store), want);
      }
    });
  }
}

Deno.test("onHeaders() that refuses is answered in its own words, at the end", async () => {
  for (const later of [false, true]) {
    for (const wait of [false, true]) {
      const store = new MemoryStore();
      let asked = 0;
      const refusal = new SmtpError(550, "Not that", { enhanced: "5.7.7" });
      await using it = openSession({
        store,
        handlers: {
          onHeaders() {
            asked++;
            if (later) return Promise.reject(refusal);
            throw refusal;
          },
          onMessage: () => {
            throw new Error("Asked about a refused message");
          },
        },
      });
      await it.client.envelope();
      await it.client.expect(["DATA", "354"]);
      await it.client.send(BODY);
      if (wait) await it.client.send("x".repeat(100_000));
      await it.client.send("\r\n.\r\n");
      assertEquals(await it.client.reply(), "550 5.7.7 Not that");
      await it.client.expect(["NOOP", "250"]);
      assertEquals([asked, store.messages.length], [1, 0]);
    }
  }
});

Deno.test("onHeaders() is spared a header that does not end", async () => {
  await using it = openSession({
    handlers: {
      onHeaders: () => {
        throw new Error("Asked");
      },
    },
  });
  await it.client.envelope();
  assertEquals(
    await it.client.data("X: y\r\n".repeat(60_000)),
    "552 5.3.4 Header exceeds 256 KiB",
  );
});

/** Ends of a large message: none may leave a temporary file. */
const ENDS: [name: string, init: SessionInit, want: string][] = [
  ["is accepted", {}, "250 2.0.0"],
  [
    "is refused by onMessage()",
    { handlers: { onMessage: () => false } },
    "554 5.7.1",
  ],
  [
    "is accepted in the words of onMessage()",
    { handlers: { onMessage: () => new SmtpReply(250, "Mine") } },
    "250 Mine",
  ],
  ["is too large", { profile: { maxSize: 100_000 } }, "552 5.3.4"],
  ["goes nowhere", { store: new DiscardStore() }, "250 2.0.0"],
];

for (const [name, init, want] of ENDS) {
  Deno.test(`Reception leaves no temporary file when a message ${name}`, async () => {
    await using folder = await TestFolder.create();
    await using it = openSession({
      body: { memoryLimit: 1000, temporaryFolder: folder.path },
      ...init,
    });
    await it.client.envelope();
    const reply = await it.client.data("x".repeat(200_000));
    assertEquals(reply.slice(0, want.length), want);
    await it.client.expect(["NOOP", "250"]);
    assertEquals(await namesIn(folder.path), []);
  });
}

Deno.test("Reception leaves no temporary file of a transaction that is cut off", async () => {
  for (const end of ["RSET", "HELO y", "QUIT", "close", "421", "junk"]) {
    await using folder = await TestFolder.create();
    await using it = openSession({
      body: { memoryLimit: 1000, temporaryFolder: folder.path },
      profile: { maxErrors: 1 },
    });
    await it.client.envelope();
    await it.client.send(`BDAT 5000\r\n${"x".repeat(5000)}`);
    await it.client.reply();
    assertEquals(await namesIn(folder.path), [], "not even in the middle");
    if (end === "close") it.client.close();
    else if (end === "421") it.session.close(new SmtpReply(421, "Enough"));
    else if (end === "junk") await it.client.send("FOO\r\nFOO\r\n");
    else await it.client.say(end);
    if (end !== "RSET" && end !== "HELO y") await within(it.done, end);
    assertEquals(await namesIn(folder.path), [], end);
  }
});

Deno.test("Reception refuses for the time being when it cannot write", async () => {
  await using it = openSession({
    body: { memoryLimit: 1000, temporaryFolder: "/nowhere/at/all" },
  });
  await it.client.envelope();
  assertEquals(
    await it.client.data("x".repeat(200_000)),
    String(replies.storageFull),
  );
  await it.client.expect(["NOOP", "250"]);
  assertEquals(
    it.records.filter((record) => record.level === "error").length,
    1,
  );
});

function failing(error: (message: Message) => unknown): MessageStore {
  return {
    kind: "failing",
    save: (message) => Promise.reject(error(message)),
  };
}

const FAILURES: [name: string, error: unknown, want: string][] = [
  ["fails", new Error("x"), "451 4.3.0"],
  [
    "is full",
    Object.assign(new Error("x"), { code: "ENOSPC" }),
    "452 4.3.1",
  ],
  [
    "is full, says the cause",
    new Error("x", { cause: new Error("No space left on device") }),
    "452 4.3.1",
  ],
];

for (const [name, error, want] of FAILURES) {
  Deno.test(`Reception never says 250 when a store ${name}`, async () => {
    await using it = openSession({ store: failing(() => error) });
    await it.client.envelope();
    assertEquals((await it.client.data("x")).slice(0, 9), want);
    assertEquals(it.session.messages, 0);
    const failed = it.records.find((record) => record.level === "error");
    assertMatch(failed!.message, /^Store "failing" failed for message ID2/);
  });
}

Deno.test("Reception never says 250 when the second of two stores fails", async () => {
  const first = new MemoryStore();
  await using it = openSession({
    handlers: {
      onMessage: (_session, message) => {
        message.store = [first, failing(() => new Error("x"))];
      },
    },
  });
  await it.client.envelope();
  assertEquals((await it.client.data("x")).slice(0, 9), "451 4.3.0");
});

Deno.test("Reception tells LMTP clients whose copy failed", async () => {
  await using it = openSession({
    profile: { kind: "lmtp" },
    store: failing((message) =>
      new StoreError(
        "x",
        new Map([
          [message.recipients[1]!, new Error("os error 28")],
          [message.recipients[2]!, new Error("x")],
        ]),
      )
    ),
  });
  await it.client.reply();
  await it.client.expect(["LHLO x", "250"], ["MAIL FROM:<a@b>", "250"]);
  for (const name of ["a", "b", "c"]) {
    await it.client.expect([`RCPT TO:<${name}@d>`, "250"]);
  }
  const replies = [
    await it.client.data("x"),
    await it.client.reply(),
    await it.client.reply(),
  ];
  assertEquals(replies.map((reply) => reply.slice(0, 9)), [
    "250 2.0.0",
    "452 4.3.1",
    "451 4.3.0",
  ]);
});

Deno.test("Reception puts a Received field in front", async () => {
  const store = new MemoryStore();
  await using it = openSession({ store, addReceived: true });
  await it.client.envelope();
  await it.client.data("A: b\r\n\r\nx");
  const text = only(store);
  assert(text.endsWith("A: b\r\n\r\nx\r\n"));
  assertMatch(
    text.replaceAll(/\r\n[ \t]+/g, " "),
    /^Received: from client\.test \(\[192\.0\.2\.1\]\) by mx\.test with SMTP id ID2 for <c@d\.test>; .+ [+-]\d{4}\r\nA: b/,
  );
  await it.client.expect(["MAIL FROM:<a@b>", "250"]);
  await it.client.expect(["RCPT TO:<c@d>", "250"], ["RCPT TO:<e@f>", "250"]);
  await it.client.data("x");
  assert(!store.messages[1]!.text.includes(" for <"));
});

Deno.test("Reception logs what it accepts and what it refuses", async () => {
  let refuse = false;
  await using it = openSession({ handlers: { onMessage: () => !refuse } });
  await it.client.envelope();
  await it.client.data("x");
  refuse = true;
  await it.client.expect(["MAIL FROM:<a@b>", "250"], ["RCPT TO:<c@d>", "250"]);
  await it.client.data("x");
  const [stored, accepted, refused] = it.records.filter((record) =>
    record.level === "info"
  );
  assertEquals(stored!.event, "stored");
  assertEquals(stored!.fields!.recipient, "c@d.test");
  assertEquals(accepted!.event, "message");
  const { ms, ...fields } = accepted!.fields!;
  assertEquals(typeof ms, "number");
  assertEquals(fields, {
    id: "ID2",
    address: "192.0.2.1",
    helo: "client.test",
    protocol: "SMTP",
    from: "a@b.test",
    recipient: "c@d.test",
    recipients: 1,
    size: 3,
    stored: { memory: 1 },
  });
  assertEquals(refused!.event, "refused");
  assertEquals(refused!.fields!.recipient, "c@d");
});
