/**
 * Endless input: a line, a header, a reply or a list of commands without end
 * costs a bounded amount of memory and ends in a refusal
 * (CVE-2026-38728 smtp-server, GHSA-w878-pj84-3j5v and GHSA-r553-m4fv-5v97
 * Mailpit). The measure of memory is whether the machine goes on asking for more.
 *
 * The promise of SECURITY.md: "Every buffer has a limit".
 */

import { assert, assertEquals } from "@std/assert";
import { ClientProtocol } from "../../lib/protocol/client/protocol.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Driver } from "../support/dialogue.ts";
import { until } from "../support/wait.ts";
import { startServer, TestClient } from "../support/server.ts";
import { bytesOf } from "../support/bytes.ts";
import { replies } from "../../lib/protocol/replies.ts";

/** Bytes of one line that are enough for the server to give up. */
const ENOUGH = 70_000;

const FLOODS = ["x", "\r", "\n", "\0", "\xff", " ", "NOOP ", "AUTH PLAIN A"];

Deno.test("SmtpServer hangs up on a line without an end (CVE-2026-38728)", async () => {
  await using server = await startServer();
  for (const flood of FLOODS) {
    using client = await TestClient.connect(server);
    await client.reply();
    await client.send(flood.repeat(Math.ceil(ENOUGH / flood.length)));
    const said = await client.rest();
    assert(
      /^(?:500 5\.5\.2|421)/.test(said),
      `${JSON.stringify(flood)} ${said}`,
    );
  }
  assertEquals(server.sessions.length, 0);
});

Deno.test("ServerProtocol holds no more of a line, however it comes", () => {
  for (const flood of FLOODS) {
    for (const piece of [1, 7, 1000]) {
      const driver = new Driver();
      let fed = 0;
      while (driver.closed === undefined && fed < 2 * ENOUGH) {
        driver.feed(bytesOf(flood.repeat(piece)));
        fed += flood.length * piece;
      }
      assertEquals(driver.closed, "errors", JSON.stringify(flood));
      assert(fed <= ENOUGH + flood.length * piece, `${fed} bytes`);
    }
  }
});

Deno.test("ServerProtocol ends an AUTH exchange whose line has no end", () => {
  const driver = new Driver(
    { authentication: "allowed" },
    (ask, machine) => {
      if (ask.ask !== "auth") return undefined;
      machine.challenge("");
      return "handled";
    },
  );
  driver.feed("EHLO x\r\nAUTH PLAIN\r\n");
  let fed = 0;
  for (; driver.closed === undefined && fed < 2 * ENOUGH; fed += 1000) {
    driver.feed("A".repeat(1000));
  }
  assertEquals(driver.closed, "errors");
});

Deno.test("SmtpServer hands no endless header to onHeaders()", async () => {
  const store = new MemoryStore();
  let headers = 0;
  await using server = await startServer({
    store,
    handlers: { onHeaders: () => void headers++ },
  });
  for (
    const header of [
      "X: y\r\n".repeat(60_000),
      `X: ${"y".repeat(300_000)}\r\n`,
      `X: y\r\n${" z\r\n".repeat(90_000)}`,
    ]
  ) {
    using client = await TestClient.connect(server);
    await client.envelope();
    const reply = await client.data(`${header}\r\ntext`);
    assertEquals(reply, "552 5.3.4 Header exceeds 256 KiB");
    await client.expect(["NOOP", "250"]);
  }
  assertEquals([headers, store.messages.length], [0, 0]);
});

Deno.test("SmtpServer takes 10,000 fields of one name and finds each", async () => {
  const counts: number[] = [];
  await using server = await startServer({
    handlers: {
      onHeaders: (_session, _message, headers) =>
        void counts.push(headers.getAll("X").length, headers.count),
    },
  });
  using client = await TestClient.connect(server);
  await client.envelope();
  const reply = await client.data("X: y\r\n".repeat(10_000));
  assertEquals(reply.slice(0, 3), "250");
  assertEquals(counts, [10_000, 10_000]);
});

Deno.test("SmtpServer refuses a body without an end by its size, and reads on to the true end", async () => {
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    limits: { maxSize: 10_000 },
  });
  using client = await TestClient.connect(server);
  await client.envelope();
  await client.expect(["DATA", "354"]);
  for (let left = 20; left > 0; left--) {
    await client.send(`${"x".repeat(65_534)}\r\n`);
  }
  await client.send("\r\n.\r\n");
  assertEquals((await client.reply()).slice(0, 9), "552 5.3.4");
  await client.expect(["NOOP", "250"]);
  assertEquals(store.messages.length, 0);
});

Deno.test("SmtpServer hangs up on one who only makes errors", async () => {
  await using server = await startServer();
  using client = await TestClient.connect(server);
  await client.reply();
  await client.send("JUNK\r\n".repeat(2000));
  const replies = (await client.rest()).split("\r\n");
  assertEquals(replies.length, 12);
  assertEquals(replies[10]!.slice(0, 3), "421");
});

const ENDLESS_REPLIES = [
  "250-x\r\n",
  "2",
  `250-${"x".repeat(1000)}\r\n`,
  "250 x",
  "250-\n",
];

Deno.test("ClientProtocol gives up on a reply without an end", () => {
  for (const flood of ENDLESS_REPLIES) {
    const client = new ClientProtocol({ hostname: "me.test" });
    client.open();
    client.next();
    client.receive(bytesOf("220 x\r\n"));
    let fed = 0;
    for (;;) {
      const { kind } = client.next();
      if (kind === "failed") break;
      if (kind === "write") continue;
      client.receive(bytesOf(flood));
      fed += flood.length;
      assert(fed < 200_000, `${JSON.stringify(flood)}: ${fed} bytes`);
    }
  }
});

/** Reasons to refuse content, whose rest is then read and dropped. */
const REFUSED: readonly (readonly [name: string, before: string])[] = [
  ["past the limit", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"],
  [
    "in a chunk past the limit",
    "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 999999999999999\r\n",
  ],
  ["in a chunk before MAIL", "BDAT 999999999999999\r\n"],
  [
    "in a chunk behind a message",
    "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nBDAT 999999999999999\r\n",
  ],
  [
    "in a chunk before RCPT",
    "MAIL FROM:<a@b>\r\nBDAT 999999999999999 LAST\r\n",
  ],
];

for (const [name, before] of REFUSED) {
  Deno.test(`ServerProtocol hangs up on content without an end, ${name}`, () => {
    for (
      const [maxSize, most] of [[1000, 4_400_000], [
        5_000_000,
        10_200_000,
      ]] as const
    ) {
      const driver = new Driver({ maxSize });
      driver.feed(`EHLO x\r\n${before}`);
      const piece = bytesOf(`${"x".repeat(998)}\r\n`.repeat(100));
      let fed = 0;
      while (driver.closed === undefined && fed < 2 * most) {
        driver.feed(piece);
        fed += piece.length;
      }
      assertEquals(driver.closed, "errors");
      assert(fed > maxSize && fed <= most, `${fed} bytes`);
      assertEquals(
        driver.take().at(-1),
        String(replies.endlessContent),
      );
    }
  });
}

Deno.test("ServerProtocol hangs up on refused chunks that come one after the other", () => {
  const driver = new Driver();
  driver.feed("EHLO x\r\n");
  const chunk = bytesOf(`BDAT 100000\r\n${"x".repeat(100_000)}`);
  let chunks = 0;
  while (driver.closed === undefined && chunks < 100) {
    driver.feed(chunk);
    chunks++;
  }
  assertEquals([driver.closed, chunks], ["errors", 42]);
});

Deno.test("A refused chunk does not count against the message behind it", () => {
  const driver = new Driver({ maxSize: 5_000_000 });
  driver.feed("EHLO x\r\nBDAT 1\r\nx").take();
  driver.feed("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n").take();
  // A quarter of it is stuffed dots: on the wire it is more than a message may
  // have, and the message is not.
  const piece = "..\r\n".repeat(1000);
  for (let count = 0; count < 1600; count++) driver.feed(piece);
  driver.feed(".\r\n");
  assertEquals(driver.take().at(-1)!.slice(0, 3), "250");
});

for (const before of [["DATA"], ["BDAT 999999999"]]) {
  Deno.test(`SmtpServer hangs up on an address that is far past its bytes a minute, in ${before}`, async () => {
    await using server = await startServer({
      limits: { bytesPerMinute: 1_000_000, exempt: [] },
    });
    using client = await TestClient.connect(server);
    await client.envelope();
    await client.send(`${before}\r\n`);
    if (before[0] === "DATA") await client.reply();
    const piece = `${"x".repeat(998)}\r\n`.repeat(100);
    let sent = 0;
    const rest = client.rest();
    try {
      // More than the buffers of both ends hold.
      for (; sent < 1000; sent++) await client.send(piece);
    } catch {
      // The server has closed.
    }
    const said = await rest;
    // The reply may be lost where the server closes while bytes are on their way.
    assert(said === "" || said.startsWith("421 4.7.0 Too many bytes"), said);
    assert(sent < 1000, "It took all of it");
    await until(() => server.sessions.length === 0);
  });
}
