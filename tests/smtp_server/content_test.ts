/**
 * The adapter for programs of smtp-server: the stream of `onData`. Its memory,
 * its ends and faults, sizes, and the answers in LMTP.
 */

import { Buffer } from "node:buffer";
import { assert, assertEquals } from "@std/assert";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ScriptedClient } from "../../lib/testing/mod.ts";
import type { SMTPServerOptions } from "../../lib/smtp_server/mod.ts";
import { heapInUse } from "../support/memory.ts";
import { failure, OPEN, run } from "../support/smtp_server.ts";

type OnData = NonNullable<SMTPServerOptions["onData"]>;

/** Sends one message for each function; the replies. */
async function replies(
  options: SMTPServerOptions,
  answers: readonly OnData[],
): Promise<string[]> {
  let next = 0;
  await using running = await run({
    ...{ ...OPEN, ...options },
    onData(stream, session, callback) {
      return answers[next++]!(stream, session, callback);
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  const all: string[] = [];
  for (const _ of answers) {
    await client.expect(250, "MAIL FROM:<a@b.example>");
    await client.expect(250, "RCPT TO:<c@d.example>");
    await client.expect(354, "DATA");
    await client.send("Subject: x\r\n\r\ny\r\n.");
    all.push(String(await client.read()));
  }
  await client.expect(221, "QUIT");
  return all;
}

Deno.test("a stream is read by events, pipes, iteration, pipeline, or not at all", async () => {
  const done = (text: string) => `250 ${text}`;
  const got = await replies({}, [
    (stream, _session, callback) => {
      stream.on("data", () => {});
      stream.on("end", () => callback(null, "events"));
    },
    async (stream, _session, callback) => {
      for await (const chunk of stream) assert(Buffer.isBuffer(chunk));
      callback(null, "iteration");
    },
    async (stream, _session, callback) => {
      for await (const _ of stream) break;
      callback(null, "a part");
    },
    async (stream, _session, callback) => {
      const parts: Buffer[] = [];
      await pipeline(stream, async function (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) parts.push(chunk);
      });
      callback(null, `pipeline ${Buffer.concat(parts).length}`);
    },
    (stream, _session, callback) => {
      stream.setEncoding("utf8");
      stream.on("data", (text) => assertEquals(typeof text, "string"));
      stream.on("end", () => callback(null, "text"));
    },
    (stream, _session, callback) => {
      stream.on("readable", () => {
        while (stream.read() !== null);
      });
      stream.on("end", () => callback(null, "readable"));
    },
    (_stream, _session, callback) => callback(null, "unread"),
    (stream, _session, callback) => {
      stream.destroy();
      callback(null, "destroyed");
    },
  ]);
  assertEquals(
    got,
    [
      ...["events", "iteration", "a part", "pipeline 17", "text", "readable"],
      ...["unread", "destroyed"],
    ].map(done),
  );
});

Deno.test("faults of the program and of the stream are a refusal, and the session goes on", async () => {
  const got = await replies({}, [
    (stream) => void stream.destroy(new Error("The disk is gone")),
    (stream, _session, callback) => {
      stream.on("error", (error) => callback(error));
      stream.destroy(new Error("Seen by the program"));
    },
    () => {
      throw new Error("At once");
    },
    // deno-lint-ignore require-await -- a program may return a promise
    async () => {
      throw new Error("Later");
    },
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback(failure(554, "Two\r\nlines")));
    },
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback(failure(250, "Not accepted")));
    },
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback("a text" as unknown as Error));
    },
  ]);
  assertEquals(got.map((reply) => reply.slice(0, 3)), [
    ...["451", "450", "451", "451", "554", "450", "450"],
  ]);
  assertEquals(got[0], "451 The message cannot be read");
  assertEquals(got[1], "450 Seen by the program");
  assertEquals(got[6], "450 a text");
});

Deno.test("the texts of callbacks make no reply of their own", async () => {
  const got = await replies({}, [
    (stream, _session, callback) => {
      stream.resume();
      callback(null, "Kept\r\n250 as\x00 many");
    },
    (stream, _session, callback) => {
      stream.resume();
      callback(failure(550, "Grüße\r\n221 Bye"));
    },
    (stream, _session, callback) => {
      stream.resume();
      callback(failure(550, ""));
    },
    (stream, _session, callback) => {
      stream.resume();
      callback(failure(550, "x".repeat(5000)));
    },
  ]);
  const codes = got.map((reply) =>
    new Set(reply.split("\n").map((line) => line.slice(0, 3)))
  );
  assertEquals(codes.map((all) => [...all].join()), [
    ...["250", "550", "550", "550"],
  ]);
});

Deno.test("60 MB go through the stream, and are at no time in memory", async () => {
  const size = 60_000_000;
  let least = Infinity;
  let most = 0;
  let total = 0;
  await using running = await run({
    ...{ ...OPEN, size: size * 2 },
    async onData(stream, _session, callback) {
      const before = await heapInUse();
      for await (const chunk of stream as Readable) {
        total += chunk.length;
        if (total % 20_000_000 > chunk.length) continue;
        const now = await heapInUse() - before;
        least = Math.min(least, now);
        most = Math.max(most, now);
      }
      callback(null, `${stream.byteLength} ${stream.sizeExceeded}`);
    },
  });
  await using client = await ScriptedClient.connect(running.place, {
    timeoutMs: 60_000,
  });
  await client.expect(220);
  await client.expect(250, "EHLO c.example");
  await client.expect(250, "MAIL FROM:<a@b.example>");
  await client.expect(250, "RCPT TO:<c@d.example>");
  await client.expect(354, "DATA");
  await client.sendRaw("Subject: x\r\n\r\n");
  const line = new TextEncoder().encode(`${"x".repeat(998)}\r\n`.repeat(1000));
  for (let sent = 0; sent < size; sent += line.length) {
    await client.sendRaw(line);
  }
  await client.sendRaw(".\r\n");
  assertEquals(String(await client.read()), `250 ${size + 14} false`);
  assertEquals(total, size + 14);
  assert(least < Infinity);
  assert(most < 10_000_000, `${most} bytes in use beside the content`);
});

Deno.test("rejectOversized and size: 552, and onData is not called", async () => {
  let calls = 0;
  await using running = await run({
    ...{ ...OPEN, size: 100, rejectOversized: true },
    onData(stream, _session, callback) {
      calls++;
      stream.resume().on("end", () => callback());
    },
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.script(`
    S: 220
    C: EHLO c.example
    S: 250
    C: MAIL FROM:<a@b.example>
    S: 250
    C: RCPT TO:<c@d.example>
    S: 250
    C: DATA
    S: 354
  `);
  await client.send(`${"x".repeat(200)}\r\n.`);
  assertEquals((await client.read()).code, 552);
  assertEquals(calls, 0);
});

Deno.test("LMTP: errors for all, for some, and too few answers", async () => {
  const answers: readonly OnData[] = [
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback(failure(452, "Later")));
    },
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback(new Error("Not now")));
    },
    (stream, _session, callback) => {
      stream.resume().on(
        "end",
        () => callback(null, ["Kept", failure(550, "No"), true]),
      );
    },
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback(null, [new Error("Full")]));
    },
    (stream, _session, callback) => {
      stream.resume().on("end", () => callback());
    },
  ];
  let next = 0;
  await using running = await run({
    ...{ ...OPEN, lmtp: true },
    onData: (stream, session, callback) =>
      answers[next++]!(stream, session, callback),
  });
  await using client = await ScriptedClient.connect(running.place);
  await client.expect(220);
  await client.expect(250, "LHLO c.example");
  const got: string[][] = [];
  for (const _ of answers) {
    await client.expect(250, "MAIL FROM:<a@b.example>");
    for (const name of ["one", "two", "three"]) {
      await client.expect(250, `RCPT TO:<${name}@d.example>`);
    }
    await client.expect(354, "DATA");
    await client.send("Subject: x\r\n\r\ny\r\n.");
    const all: string[] = [];
    for (let i = 0; i < 3; i++) all.push(String(await client.read()));
    got.push(all);
  }
  const accepted = "250 OK: message accepted";
  assertEquals(got, [
    ["452 Later", "452 Later", "452 Later"],
    ["450 Not now", "450 Not now", "450 Not now"],
    ["250 Kept", "550 No", accepted],
    ["450 Full", accepted, accepted],
    [accepted, accepted, accepted],
  ]);
});
