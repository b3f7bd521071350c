/**
 * SMTP smuggling, the receiving side: only CRLF is a line end, so only CRLF.CRLF
 * ends the data, however the bytes are cut into packets (CVE-2023-51764 Postfix,
 * CVE-2023-51765 Sendmail, CVE-2023-51766 Exim, CVE-2024-27305 aiosmtpd). What
 * is smuggled in is one message too many, so the tests count messages.
 *
 * The sending side is in `smuggling_out_test.ts`.
 *
 * The promise of SECURITY.md: "Only CRLF ends a command, only CRLF.CRLF ends a
 * message".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-2.3.8 | RFC 5321 section 2.3.8},
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4 | RFC 5321 section 4.1.1.4}
 */

import { assertEquals } from "@std/assert";
import type { BareNewlinePolicy } from "../../lib/protocol/data_decoder.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { Driver } from "../support/dialogue.ts";
import { single } from "../support/random.ts";
import { startServer, TestClient } from "../support/server.ts";
import { bytesOf, textOf } from "../support/bytes.ts";

/** Strings that some server has taken for a line end. */
const ENDS = [
  ...["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r", "\n\n", "\r\r", "\r\n\n"],
  ...["\0\r\n", "\r\0\n", "\r\n\0", "\x85", "\xe2\x80\xa8", "\v", "\f"],
];

/** What might stand for the dot. */
const DOTS = [".", "..", ". ", ".\0", " .", "\0.", "\x2e\r"];

const SMUGGLED =
  "MAIL FROM:<evil@b.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nSubject: smuggled\r\n";

interface Attack {
  readonly name: string;
  readonly content: string;
}

/** Every end of data that is not CRLF.CRLF. */
const ATTACKS: readonly Attack[] = ENDS.flatMap((before) =>
  DOTS.flatMap((dot) =>
    ENDS.map((after) => ({
      name: JSON.stringify(before + dot + after),
      content: `Subject: x\r\n\r\ntext${before}${dot}${after}${SMUGGLED}`,
    }))
  )
).filter(({ content }) => !content.includes("\r\n.\r\n"));

const ENVELOPE = "EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n";

/** The senders of the messages that a client's bytes come to. */
function senders(
  pieces: readonly Uint8Array[],
  bareNewlines: BareNewlinePolicy,
): { readonly asked: string[]; readonly replies: string[] } {
  const asked: string[] = [];
  const driver = new Driver({ bareNewlines, maxSize: 0 }, (ask, machine) => {
    if (ask.ask === "message") asked.push(`${machine.state.envelope!.from}`);
    return undefined;
  }).feedAll(pieces);
  const replies = driver.take().map((line) => line.slice(0, 3));
  return { asked, replies: replies.slice(replies.lastIndexOf("354") + 1) };
}

for (const bareNewlines of ["reject", "normalize", "keep"] as const) {
  Deno.test(`No bare CR, LF or NUL ends the data, "${bareNewlines}", at once and byte by byte (CVE-2023-51764, -51765, -51766)`, () => {
    for (const { name, content } of ATTACKS) {
      const stream = bytesOf(`${ENVELOPE}DATA\r\n${content}\r\n.\r\n`);
      for (const pieces of [[stream.slice()], single(stream)]) {
        const { asked, replies } = senders(pieces, bareNewlines);
        const isBare = /\r(?!\n)|(?<!\r)\n/.test(content);
        const taken = !isBare || bareNewlines !== "reject";
        assertEquals(asked, taken ? ["a@b.test"] : [], name);
        assertEquals(replies, [taken ? "250" : "550"], name);
      }
    }
  });
}

Deno.test("No end of data hangs on where a packet ends (CVE-2024-27305, and the dots of two packets)", () => {
  for (const { name, content } of ATTACKS) {
    const stream = bytesOf(`${ENVELOPE}DATA\r\n${content}\r\n.\r\n`);
    const from = ENVELOPE.length + "DATA\r\nSubject: x\r\n\r\ntext".length;
    const to = stream.length - SMUGGLED.length;
    const want = senders([stream.slice()], "reject");
    for (let at = from; at < to; at++) {
      const pieces = [stream.slice(0, at), stream.slice(at)];
      assertEquals(senders(pieces, "reject"), want, `${name} at ${at}`);
    }
  }
});

Deno.test("A first line of dots ends nothing, alone in its packet or not", () => {
  for (const line of ["..", "...", "..\r\n.", ".\r"]) {
    const parts = [`${ENVELOPE}DATA\r\n`, line, ".\r\n", "x\r\n.\r\n"];
    const { asked } = senders(parts.map(bytesOf), "keep");
    assertEquals(asked, ["a@b.test"], line);
  }
});

Deno.test("SmtpServer keeps one message of every smuggling attempt, and stays in step", async () => {
  const store = new MemoryStore();
  await using server = await startServer({
    store,
    bareNewlines: "keep",
    addReceived: false,
  });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  for (const { name, content } of ATTACKS.filter((_, at) => at % 7 === 0)) {
    store.clear();
    await client.expect(
      ["MAIL FROM:<a@b.test>", "250"],
      ["RCPT TO:<c@d.test>", "250"],
    );
    assertEquals((await client.data(content)).slice(0, 3), "250", name);
    await client.expect(["NOOP", "250"]);
    assertEquals(
      [...store.messages].map(({ from }) => `${from}`),
      ["a@b.test"],
      name,
    );
  }
});

/** A bare CR or LF, in text of one character a byte. */
const BARE = /\r(?!\n)|(?<!\r)\n/;

Deno.test("SmtpServer makes one message without bare CR or LF of every attempt, by DATA and by BDAT", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store, addReceived: false });
  using client = await TestClient.connect(server);
  await client.reply();
  await client.expect(["EHLO client.test", "250"]);
  for (const { name, content } of ATTACKS.filter((_, at) => at % 5 === 0)) {
    for (const way of ["DATA", "BDAT"]) {
      store.clear();
      await client.expect(
        ["MAIL FROM:<a@b.test>", "250"],
        ["RCPT TO:<c@d.test>", "250"],
      );
      const reply = way === "DATA"
        ? await client.data(content)
        : await sendChunks(client, bytesOf(`${content}\r`));
      assertEquals(reply.slice(0, 3), "250", name);
      await client.expect(["NOOP", "250"]);
      const kept = [...store.messages];
      assertEquals(kept.map(({ from }) => `${from}`), ["a@b.test"], name);
      const text = textOf(kept[0]!.bytes);
      assertEquals(BARE.exec(text), null, `${way} ${name}`);
      assertEquals(text.includes("Subject: smuggled"), true, name);
    }
  }
});

/** Sends content in chunks of 7 bytes; the reply to the last. */
async function sendChunks(
  client: TestClient,
  content: Uint8Array,
): Promise<string> {
  for (let at = 0; at < content.length; at += 7) {
    await client.send(`BDAT ${Math.min(7, content.length - at)}\r\n`);
    await client.send(textOf(content.subarray(at, at + 7)));
    await client.reply();
  }
  await client.send("BDAT 0 LAST\r\n");
  return await client.reply();
}

Deno.test("A bare LF ends a line of content, a bare CR becomes a blank, in one packet and in many", () => {
  for (
    const [sent, kept] of [
      ["a\nb\n\r\n", "a\r\nb\r\n\r\n"],
      ["a\n.\r\nb\r\n", "a\r\n.\r\nb\r\n"],
      ["a\n.\nb\r\n", "a\r\n.\r\nb\r\n"],
      ["a\n..\nb\r\n", "a\r\n.\r\nb\r\n"],
      ["a\n.b\r\n", "a\r\n.b\r\n"],
      ["X: y\rBcc: z\r\r\n\r\n", "X: y Bcc: z \r\n\r\n"],
    ] as const
  ) {
    const stream = bytesOf(`${ENVELOPE}DATA\r\n${sent}.\r\n`);
    for (const pieces of [[stream.slice()], single(stream)]) {
      const driver = new Driver({ bareNewlines: "normalize" });
      driver.feedAll(pieces);
      const body = driver.events.filter((event) => event.startsWith("body"));
      assertEquals(body, [`body ${JSON.stringify(kept)}`]);
    }
  }
});

Deno.test("SmtpServer refuses content with a bare line end after its true end where told to, by DATA and by BDAT", async () => {
  const store = new MemoryStore();
  await using server = await startServer({ store, bareNewlines: "reject" });
  using client = await TestClient.connect(server);
  await client.envelope();
  const reply = await client.data(`x\n.\r\n${SMUGGLED}`);
  assertEquals(reply.slice(0, 9), "550 5.6.0");
  for (const content of ["Subject: x\n\nx\n.\n", "a\rb\r\n", "a\r"]) {
    await client.expect(
      ["MAIL FROM:<a@b.test>", "250"],
      ["RCPT TO:<c@d.test>", "250"],
    );
    await client.send(`BDAT ${content.length} LAST\r\n${content}`);
    assertEquals((await client.reply()).slice(0, 9), "550 5.6.0");
  }
  await client.expect(["RCPT TO:<c@d.test>", "503"], ["NOOP", "250"]);
  assertEquals([...store.messages].length, 0);
});
