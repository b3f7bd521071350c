/**
 * Messages that are expensive to convert for a server without 8BITMIME: other
 * sessions must be served meanwhile, and the converted message must not be held in
 * memory.
 *
 * The promise of SECURITY.md: "No client has more than its share".
 *
 * {@link https://www.rfc-editor.org/rfc/rfc6152#section-3 | RFC 6152 section 3}
 */

import { assert, assertEquals } from "@std/assert";
import process from "node:process";
import { setImmediate } from "node:timers";
import { convertContent } from "../../lib/client/body_conversion.ts";
import { ByteBudget } from "../../lib/client/message.ts";
import { MessageHeaders } from "../../lib/protocol/headers.ts";
import { connectClient, FakeNetwork } from "../support/client/fake_server.ts";

const MEGABYTE = 1 << 20;

/** Text repeated up to a size, a piece at a time. */
function repeated(unit: string, size: number): () => AsyncIterable<Uint8Array> {
  const piece = new TextEncoder().encode(
    unit.repeat(Math.ceil(65536 / unit.length)),
  );
  return async function* () {
    for (let at = 0; at < size; at += piece.length) {
      yield await Promise.resolve(piece);
    }
  };
}

/** Contents one after the other. */
function chain(
  ...all: (string | (() => AsyncIterable<Uint8Array>))[]
): () => AsyncIterable<Uint8Array> {
  return async function* () {
    for (const one of all) {
      if (typeof one !== "string") yield* one();
      else yield Uint8Array.from(one, (char) => char.charCodeAt(0));
    }
  };
}

function nested(levels: number, body: string): string {
  let head = "";
  for (let level = 0; level < levels; level++) {
    head +=
      `Content-Type: multipart/mixed; boundary=b${level}\r\n\r\n--b${level}\r\n`;
  }
  return `${head}${body}`;
}

const ATTACKS: readonly (readonly [
  name: string,
  open: () => AsyncIterable<Uint8Array>,
])[] = [
  [
    "fields of three bytes",
    chain(repeated("a:\r\n", 10 * MEGABYTE), "\r\n\xe9\r\n"),
  ],
  [
    "parts in parts in parts",
    chain(
      nested(30, "\r\n"),
      repeated("a line of text\r\n", 4 * MEGABYTE),
      "\xe9\r\n",
    ),
  ],
  [
    "parts without number",
    chain(
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
      repeated("--b\r\n\r\n\xc3\xa9\r\n", 4 * MEGABYTE),
    ),
  ],
  [
    "a boundary that almost matches",
    chain(
      `Content-Type: multipart/mixed; boundary=${"b".repeat(70)}\r\n\r\n`,
      repeated(`--${"b".repeat(69)}c\r\n`, 10 * MEGABYTE),
      "\xe9\r\n",
    ),
  ],
  [
    "a header line without end",
    chain("Subject: \xe9", repeated("x", 10 * MEGABYTE), "\r\n\r\n\xe9\r\n"),
  ],
  [
    "messages in messages",
    chain(
      "Content-Type: message/rfc822\r\n\r\n".repeat(1000),
      repeated("x\xc3\xa9\r\n", 4 * MEGABYTE),
    ),
  ],
  [
    "a body that is one line",
    chain("A: b\r\n\r\n", repeated("\xc3\xa9", 10 * MEGABYTE)),
  ],
];

/** Milliseconds of processor time of this process, without other load on the machine. */
function computedMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Counts turns of the event loop, and takes the longest, until it is stopped. */
function countTurns(): { stop: () => { turns: number; longestMs: number } } {
  let turns = 0;
  let longestMs = 0;
  let last = computedMs();
  let isStopped = false;
  const turn = () => {
    if (isStopped) return;
    turns++;
    longestMs = Math.max(longestMs, computedMs() - last);
    last = computedMs();
    setImmediate(turn);
  };
  setImmediate(turn);
  return {
    stop: () => {
      isStopped = true;
      longestMs = Math.max(longestMs, computedMs() - last);
      return { turns, longestMs };
    },
  };
}

for (const [name, open] of ATTACKS) {
  Deno.test(`a conversion leaves the event loop to others: ${name}`, async () => {
    const { stop } = countTurns();
    const converted = await convertContent(open, {
      to7Bit: true,
      shortLines: false,
      touchesSigned: false,
    });
    let largest = 0;
    for await (const piece of converted()) {
      largest = Math.max(largest, piece.length);
    }
    const { longestMs } = stop();
    // Far more than a turn takes, and far less than all at once.
    assert(longestMs < 1000, `${longestMs} ms without a turn`);
    assert(largest < MEGABYTE, `a piece of ${largest} bytes`);
  });
}

Deno.test("conversions at the same time share one part of each turn", async () => {
  const { stop } = countTurns();
  const one = ATTACKS[0]![1];
  await Promise.all(Array.from({ length: 3 }, () =>
    convertContent(one, {
      to7Bit: true,
      shortLines: false,
      touchesSigned: false,
    })));
  const { turns } = stop();
  assert(turns > 25, `${turns} turns`);
});

Deno.test("a client converts content that can be opened again without holding it", async () => {
  const network = new FakeNetwork({ "h": {} });
  const client = await connectClient({
    host: "h",
    address: "h",
    connect: network.connect,
    security: "none",
  });
  let opened = 0;
  const source = chain(
    "Subject: x\r\n\r\n",
    repeated("x\xc3\xa9\r\n", 300_000),
  );
  const { accepted } = await client.send({
    from: "a@b.example",
    to: ["c@d.example"],
    data: () => {
      opened++;
      return source();
    },
  });
  assert(accepted);
  assert(opened > 1);
  assert(network.messages[0]!.content.includes("x=C3=83=C2=A9\r\n"));
  await client.quit();
});

Deno.test("memory for conversions is given out first come first served, and comes back", async () => {
  const budget = new ByteBudget(10);
  const order: string[] = [];
  const first = await budget.take(8);
  const second = budget.take(8).then((release) => {
    order.push("second");
    return release;
  });
  const third = budget.take(1).then((release) => {
    order.push("third");
    return release;
  });
  const controller = new AbortController();
  const gone = budget.take(1, controller.signal);
  controller.abort(new Error("Enough"));
  await gone.then(() => assert(false), () => {});
  await Promise.resolve();
  assertEquals(order, []);
  first();
  first();
  (await second)();
  (await third)();
  assertEquals(order, ["second", "third"]);
  (await budget.take(10))();
});

Deno.test("a header block of 65,000 fields is read and changed as any other", () => {
  const block = new TextEncoder().encode("a:\r\n".repeat(65_000) + "\r\n");
  const headers = MessageHeaders.parse(block);
  assertEquals(headers.count, 65_000);
  headers.set("X-Mark", "yes");
  assertEquals(headers.encode().length, block.length - 2 + 13);
});
