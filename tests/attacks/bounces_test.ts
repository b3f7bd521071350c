/**
 * Bounces as a weapon: a DSN must not return a huge message whole, a recipient
 * that is known to fail is refused in the session and causes no DSN
 * (backscatter), and a DSN never causes another DSN. Open relays are in
 * `../delivery/open_relay_test.ts`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-6.1 | RFC 5321 section 6.1},
 * {@link https://www.rfc-editor.org/rfc/rfc3461#section-4.3 | RFC 3461 section 4.3} (RET)
 */

import { assert, assertEquals } from "@std/assert";
import type { LogRecord } from "../../lib/log.ts";
import { SmtpReply } from "../../lib/protocol/reply.ts";
import { makeDsn } from "../../lib/dsn/report.ts";
import { readNotice } from "../fuzz/notice_reader.ts";
import { type Pair, startPair } from "../support/queue/relaying.ts";
import { startServer, TestClient } from "../support/server.ts";
import { textOf, utf8 } from "../support/bytes.ts";
import { until, within } from "../support/wait.ts";

const NO_SUCH_USER = new SmtpReply(550, "Who?", { enhanced: "5.1.1" });

/** A server for `near.test` whose next hop refuses every recipient. */
function startBouncing(): Promise<Pair> {
  return startPair({
    near: { domains: ["near.test"] },
    far: { handlers: { onRcptTo: () => NO_SUCH_USER } },
  });
}

/** Sends a message that the next hop will refuse. */
async function send(
  pair: Pair,
  message: {
    readonly mail: string;
    readonly rcpt?: string;
    readonly content: string;
  },
): Promise<void> {
  using client = await TestClient.connect(pair.near);
  await client.reply();
  const { mail, rcpt = "<you@dest.test>", content } = message;
  await client.expect(
    ["EHLO client.test", "250"],
    [`MAIL FROM:${mail}`, "250"],
    [`RCPT TO:${rcpt}`, "250"],
  );
  assertEquals((await client.data(content)).slice(0, 3), "250");
}

/** Whether the queue is empty. */
function isDone(pair: Pair): boolean {
  return pair.near.relays.count === 0;
}

function bouncesIn(records: readonly LogRecord[]): number {
  return records.filter(({ event }) => event === "bounce").length;
}

const PARTS =
  "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n";

const BOMBS: readonly [name: string, content: string][] = [
  ["of 3 MB", `${PARTS}${`${"x".repeat(70)}\r\n`.repeat(42_000)}`],
  [
    "of 5,000 parts within parts",
    `${PARTS}${
      "--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n".repeat(25_000)
    }`,
  ],
  ["whose header has 2 MB", `${"X: yyyyyyyyyyyy\r\n".repeat(120_000)}\r\nx`],
  [
    "whose header is one field of 1 MB",
    `X: y\r\n${` ${"z".repeat(70)}\r\n`.repeat(15_000)}\r\nx`,
  ],
];

for (const [name, content] of BOMBS) {
  Deno.test(`A notice about a message ${name} stays small, RET=FULL or not`, async () => {
    await using pair = await startBouncing();
    for (const ret of ["FULL", "HDRS"]) {
      await send(pair, { mail: `<me@near.test> RET=${ret}`, content });
      const notice = await within(pair.nearStore.next(), "the notice");
      assert(notice.bytes.length < 70_000, `${notice.bytes.length} bytes`);
      const { returned, groups } = readNotice(textOf(notice.bytes));
      assert(returned.length <= 65_536);
      assertEquals(groups.length, 2);
    }
  });
}

Deno.test("RET=FULL returns a small message whole, and another's boundary in it ends no part", async () => {
  await using pair = await startBouncing();
  const content = "Subject: x\r\n\r\n--=_abc--\r\ntext";
  await send(pair, { mail: "<me@near.test> RET=FULL", content });
  const notice = await within(pair.nearStore.next(), "the notice");
  const { returned } = readNotice(textOf(notice.bytes));
  assert(returned.endsWith(`${content}\r\n`), returned);
});

Deno.test("A boundary that the sender has guessed ends no part of the notice", () => {
  const guesses = [
    "--=_unique",
    "--=_unique_",
    "--=_unique--",
    "--=_unique__x",
  ];
  const returned = `Subject: x\r\n\r\n${guesses.join("\r\n\r\n")}\r\n`;
  const { bytes } = makeDsn({
    kind: "failed",
    to: "a@b.test",
    from: "MAILER-DAEMON@mx.test",
    now: 0,
    unique: "unique",
    status: { reportingMta: "mx.test", arrivedAt: 0, recipients: [] },
    smtpUtf8: false,
    returned: utf8(returned),
    isWhole: true,
  });
  assertEquals(readNotice(textOf(bytes)).returned, returned);
});

Deno.test("Nobody is sent a notice about a recipient that the session can refuse (backscatter)", async () => {
  const records: LogRecord[] = [];
  const server = await startServer({
    domains: ["near.test"],
    log: (record) => void records.push(record),
    handlers: {
      onRcptTo: (_session, address) =>
        address.localPart === "me" ? undefined : NO_SUCH_USER,
    },
  });
  await using _stop = server;
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<forged@victim.test>", "250"],
    ["RCPT TO:<unknown@near.test>", "550 5.1.1"],
    ["RCPT TO:<you@elsewhere.test>", "550 5.7.1"],
    ["DATA", "554"],
    ["RCPT TO:<me@near.test>", "250"],
  );
  assertEquals((await client.data("x")).slice(0, 3), "250");
  assertEquals(server.relays.count, 0);
  assertEquals(bouncesIn(records), 0);
});

for (
  const [name, refusal] of [
    ["too large", "552"],
    ["with bare line ends", "550"],
    ["refused by a handler", "554"],
  ] as const
) {
  Deno.test(`Nobody is sent a notice about a message ${name}: it is refused`, async () => {
    await using pair = await startPair({
      near: {
        domains: ["near.test"],
        bareNewlines: "reject",
        limits: { maxSize: 1000 },
        handlers: {
          onMessage: (_session, message) => message.size < 500,
        },
      },
    });
    using client = await TestClient.connect(pair.near);
    await client.envelope("you@dest.test");
    const content = refusal === "552"
      ? "x".repeat(2000)
      : refusal === "550"
      ? "x\ny"
      : "x".repeat(600);
    assertEquals((await client.data(content)).slice(0, 3), refusal);
    assertEquals(pair.near.relays.count, 0);
    assertEquals(bouncesIn(pair.records), 0);
  });
}

Deno.test("Nobody is told of a message from the null sender that failed", async () => {
  await using pair = await startBouncing();
  await send(pair, { mail: "<>", content: "Subject: a notice" });
  await until(() => isDone(pair));
  assertEquals(bouncesIn(pair.records), 0);
  assertEquals(pair.nearStore.messages.length, 0);
});

Deno.test("A notice that cannot be delivered is not told of: no two servers go on for ever", async () => {
  await using pair = await startBouncing();
  // The domain of the forged sender has no such user: the DSN fails as well.
  await send(pair, { mail: "<forged@dest.test>", content: "Subject: x" });
  await until(() => isDone(pair));
  assertEquals(bouncesIn(pair.records), 1);
  assertEquals(pair.nearStore.messages.length, 0);
  assertEquals(pair.farStore.messages.length, 0);
});

Deno.test("NOTIFY=NEVER keeps a forged sender from hearing anything", async () => {
  await using pair = await startBouncing();
  await send(pair, {
    mail: "<forged@near.test>",
    rcpt: "<you@dest.test> NOTIFY=NEVER",
    content: "Subject: x",
  });
  await until(() => isDone(pair));
  assertEquals(bouncesIn(pair.records), 0);
});

Deno.test("A thousand failed recipients make one notice, bounded by their number", async () => {
  await using pair = await startBouncing();
  using client = await TestClient.connect(pair.near);
  await client.reply();
  await client.expect(
    ["EHLO client.test", "250"],
    ["MAIL FROM:<me@near.test>", "250"],
  );
  const count = 1000;
  let lines = "";
  for (let at = 0; at < count; at++) lines += `RCPT TO:<u${at}@dest.test>\r\n`;
  await client.send(lines);
  for (let at = 0; at < count; at++) {
    assertEquals((await client.reply()).slice(0, 3), "250");
  }
  await client.data("Subject: x");
  const notice = await within(pair.nearStore.next(), "the notice");
  await until(() => isDone(pair));
  const told = readNotice(textOf(notice.bytes)).groups.length - 1;
  assert(notice.bytes.length < 1000 * (told + 1), `${notice.bytes.length}`);
  assertEquals(bouncesIn(pair.records), pair.nearStore.messages.length);
});
