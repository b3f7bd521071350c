/**
 * A transport as the stream below TLS: order of reads and writes; the end.
 */

import { assertEquals, assertRejects } from "@std/assert";
import { TransportStream } from "../../lib/net/tls_stream.ts";
import { upgradeClient, upgradeServer } from "../../lib/net/tls_upgrade.ts";
import type { Transport } from "../../lib/net/transport.ts";
import { Certificate } from "../../lib/tls/certificate.ts";
import { connPair, connTransport } from "../support/tls.ts";

const LIMIT = { handshakeTimeoutMs: 60_000 };
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A transport whose reads and writes the test completes. */
class ManualTransport implements Transport {
  readonly remote = { address: "memory", port: 0 };
  readonly local = { address: "memory", port: 0 };
  readonly tls = undefined;
  readonly reads: PromiseWithResolvers<number | null>[] = [];
  readonly writes: (PromiseWithResolvers<void> & { text: string })[] = [];
  closed = false;
  #buffer: Uint8Array = new Uint8Array(0);

  read(buffer: Uint8Array): Promise<number | null> {
    this.#buffer = buffer;
    this.reads.push(Promise.withResolvers());
    return this.reads.at(-1)!.promise;
  }

  /** Completes the read under way with `text`. */
  async give(text: string): Promise<void> {
    const { written } = encoder.encodeInto(text, this.#buffer);
    this.reads.at(-1)!.resolve(written);
    await turn();
  }

  write(bytes: Uint8Array): Promise<void> {
    this.writes.push({
      ...Promise.withResolvers(),
      text: decoder.decode(bytes),
    });
    return this.writes.at(-1)!.promise;
  }

  close(): void {
    this.closed = true;
  }
}

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

function open(): {
  inner: ManualTransport;
  stream: TransportStream;
  events: string[];
} {
  const inner = new ManualTransport();
  const events: string[] = [];
  const stream = new TransportStream(inner, () => events.push("onEnd"));
  stream.on("data", (data: Uint8Array) => events.push(decoder.decode(data)));
  stream.on("end", () => events.push("end"));
  stream.on("error", (error) => events.push(error.message));
  return { inner, stream, events };
}

Deno.test("TransportStream gives bytes while it flows, and none while it is paused", async () => {
  const { inner, stream, events } = open();
  stream.resume();
  await inner.give("one");
  stream.pause();
  await inner.give("two");
  assertEquals(events, ["one"]);
  assertEquals(inner.reads.length, 2);
  stream.resume();
  assertEquals(events, ["one"]);
  await turn();
  assertEquals(events, ["one", "two"]);
  await inner.give("three");
  inner.reads.at(-1)!.resolve(null);
  await turn();
  assertEquals(events, ["one", "two", "three", "end", "onEnd"]);
  assertEquals(inner.reads.length, 4);
  stream.destroy();
});

Deno.test("TransportStream.hold() stops reading until release()", async () => {
  const { inner, stream, events } = open();
  stream.resume();
  stream.hold();
  await inner.give("under way");
  assertEquals(events, ["under way"]);
  assertEquals(inner.reads.length, 1);
  stream.release();
  assertEquals(inner.reads.length, 2);
  stream.destroy();
});

Deno.test("TransportStream.write() keeps the order, one write below at a time", async () => {
  const { inner, stream } = open();
  const taken: string[] = [];
  const write = (text: string) =>
    stream.write(encoder.encode(text), () => taken.push(text));
  assertEquals([write("a"), write("b"), write("c")], [true, false, false]);
  assertEquals(inner.writes.map(({ text }) => text), ["a"]);
  let drained = false;
  stream.drained()!.then(() => drained = true);
  for (const at of [0, 1]) {
    inner.writes[at]!.resolve();
    await turn();
  }
  assertEquals(taken, ["a", "b"]);
  assertEquals(drained, false);
  const drain = new Promise((resolve) => stream.once("drain", resolve));
  inner.writes[2]!.resolve();
  await drain;
  await turn();
  assertEquals(taken, ["a", "b", "c"]);
  assertEquals(drained, true);
  assertEquals(stream.drained(), undefined);
  stream.destroy();
});

Deno.test("TransportStream.relax() has a chunk told late, but always told", async () => {
  const { inner, stream } = open();
  const taken: string[] = [];
  let written = 0;
  const write = async (text: string) => {
    stream.write(encoder.encode(text), () => taken.push(text));
    inner.writes[written++]!.resolve();
    await turn();
  };
  stream.relax(true);
  stream.resume();
  await write("first");
  await inner.give("command");
  assertEquals(taken, []);
  stream.moreToWrite(false);
  assertEquals(taken, ["first"]);
  await write("second");
  await inner.give("part of a body");
  assertEquals(taken, ["first"]);
  await inner.give("more of it");
  assertEquals(taken, ["first", "second"]);
  stream.moreToWrite(true);
  await write("others wait for this");
  assertEquals(taken.length, 3);
  await write("last");
  stream.relax(false);
  assertEquals(taken.at(-1), "last");
  await write("at once");
  assertEquals(taken.at(-1), "at once");
  stream.destroy();
});

Deno.test("TransportStream.end() waits for what was written", async () => {
  const { inner, stream, events } = open();
  stream.write(encoder.encode("bye"));
  stream.end(() => events.push("finished"));
  await turn();
  assertEquals(events, []);
  inner.writes[0]!.resolve();
  await turn();
  assertEquals(events, ["finished"]);
  stream.destroy();
});

Deno.test("TransportStream closes what is below when reading, writing or a listener fails", async () => {
  const failures: [string, (ends: ReturnType<typeof open>) => void][] = [
    ["read", ({ inner }) => inner.reads[0]!.reject(new Error("read"))],
    ["write", ({ inner, stream }) => {
      stream.write(new Uint8Array(1));
      inner.writes[0]!.reject(new Error("write"));
    }],
    ["listener", ({ inner, stream }) => {
      stream.on("data", () => {
        throw new Error("listener");
      });
      void inner.give("");
    }],
  ];
  for (const [name, fail] of failures) {
    const ends = open();
    ends.stream.resume();
    fail(ends);
    await turn();
    assertEquals(ends.events.filter((event) => event !== ""), [name]);
    assertEquals(ends.inner.closed, true);
  }
});

/** A transport on a connection that the test can block: it then accepts no bytes. */
class StallingTransport implements Transport {
  readonly #inner: Transport;
  #stall: PromiseWithResolvers<void> | undefined;
  /** Resolves when a write is blocked. */
  readonly stalled: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(inner: Transport) {
    this.#inner = inner;
  }

  get remote(): Transport["remote"] {
    return this.#inner.remote;
  }

  get local(): Transport["local"] {
    return this.#inner.local;
  }

  get tls(): undefined {
    return undefined;
  }

  read(buffer: Uint8Array): Promise<number | null> {
    return this.#inner.read(buffer);
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#stall !== undefined) {
      this.stalled.resolve();
      await this.#stall.promise;
    }
    await this.#inner.write(bytes);
  }

  stall(): void {
    this.#stall = Promise.withResolvers();
  }

  goOn(): void {
    this.#stall!.resolve();
    this.#stall = undefined;
  }

  close(): void {
    this.#inner.close();
  }
}

/** A connection with TLS whose server's end the test can block. */
async function stallingPair(): Promise<{
  below: StallingTransport;
  server: Transport;
  client: Transport;
}> {
  const ends = await connPair();
  const below = new StallingTransport(connTransport(ends.server));
  const [server, { transport: client }] = await Promise.all([
    upgradeServer(below, {
      certificates: await Certificate.selfSigned({ names: ["mx.test"] }),
      ...LIMIT,
    }),
    upgradeClient(connTransport(ends.client), {
      serverName: "mx.test",
      ...LIMIT,
    }),
  ]);
  return { below, server, client };
}

/** Reads to the end. */
async function readAll(transport: Transport): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  for (;;) {
    const count = await transport.read(buffer);
    if (count === null) return text;
    text += decoder.decode(buffer.subarray(0, count));
  }
}

Deno.test("Replies over TLS are written ahead, but not without bound", async () => {
  const { below, server, client } = await stallingPair();
  below.stall();
  const replies = Array.from(
    { length: 100 },
    (_, index) => `250 ${index} ${"x".repeat(990)}\r\n`,
  );
  let written = 0;
  const writing = (async () => {
    const buffer = new Uint8Array(2000);
    for (const reply of replies) {
      // One buffer for all writes: changing it must not affect an earlier write.
      const { written: size } = encoder.encodeInto(reply, buffer);
      await server.write(buffer.subarray(0, size));
      written++;
    }
  })();
  await below.stalled.promise;
  for (let at = 0; at < 20; at++) await turn();
  assertEquals(written, 16);
  below.goOn();
  const reading = readAll(client);
  await writing;
  server.close();
  assertEquals(await reading, replies.join(""));
  client.close();
});

Deno.test("Replies arrive that no command came between", async () => {
  const { server, client } = await stallingPair();
  const buffer = new Uint8Array(100);
  // At once, and long after the previous write was sent.
  for (const pause of [false, true, true]) {
    for (const reply of ["250 1\r\n", "250 2\r\n", "421 3\r\n"]) {
      await server.write(encoder.encode(reply));
      if (pause) await turn();
    }
    let text = "";
    while (!text.includes("421 3\r\n")) {
      const count = await client.read(buffer);
      text += decoder.decode(buffer.subarray(0, count!));
    }
    assertEquals(text, "250 1\r\n250 2\r\n421 3\r\n");
  }
  server.close();
  client.close();
});

Deno.test("A reply that was written ahead arrives before the connection is closed", async () => {
  const { below, server, client } = await stallingPair();
  below.stall();
  await server.write(encoder.encode("221 2.0.0 Bye\r\n"));
  await below.stalled.promise;
  server.close();
  below.goOn();
  assertEquals(await readAll(client), "221 2.0.0 Bye\r\n");
  client.close();
});

Deno.test("A failed write ahead shows at the next read and write", async () => {
  const { below, server, client } = await stallingPair();
  const reading = server.read(new Uint8Array(10));
  below.close();
  await server.write(encoder.encode("250 OK\r\n"));
  // An end or a failure: either ends the session.
  assertEquals(await reading.catch(() => null), null);
  await assertRejects(() => server.write(encoder.encode("250 OK\r\n")));
  server.close();
  assertEquals(await client.read(new Uint8Array(10)).catch(() => null), null);
  client.close();
});
