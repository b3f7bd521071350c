/**
 * `StreamStore`: one stream for all messages or one for each; failure, order
 * and the end.
 */

import { assertEquals, assertRejects } from "@std/assert";
import { type Message, StoreError } from "../../lib/message/message.ts";
import { StreamStore } from "../../lib/store/stream_store.ts";
import { messageOf } from "../support/store_message.ts";

/** A stream that records its chunks and its end. */
function recorder() {
  const decoder = new TextDecoder();
  const seen = { text: "", end: "open" };
  const stream = new WritableStream<Uint8Array>({
    async write(chunk) {
      await Promise.resolve();
      seen.text += decoder.decode(chunk);
      chunk.fill(0);
    },
    close() {
      seen.end = "closed";
    },
    abort(reason) {
      seen.end = `aborted: ${reason.message}`;
    },
  });
  return { seen, stream };
}

async function brokenMessage(): Promise<Message> {
  return Object.defineProperty(await messageOf(), "body", {
    value: {
      memory: undefined,
      async *chunks() {
        yield await Promise.resolve(new TextEncoder().encode("half"));
        throw new Error("Body is gone");
      },
    },
  });
}

Deno.test("StreamStore writes one message after another to one stream", async () => {
  const { seen, stream } = recorder();
  const store = new StreamStore({ stream, fromLine: true, newline: "lf" });
  const rows = ["one", "two", "three"];
  const messages = await Promise.all(
    rows.map((content) => messageOf({ content, memoryLimit: 0, trace: "t\n" })),
  );
  for (const message of messages) store.save(message);
  await store.close();
  await store.close();
  const separator = "From sender@example.org Thu Jan  2 03:04:05 2025\n";
  assertEquals(
    seen.text,
    rows.map((content) => `${separator}t\n${content}\n\n`).join(""),
  );
  assertEquals(seen.end, "closed");
  for (const message of messages) {
    await message.discard();
  }
  await assertRejects(async () => store.save(await messageOf()), StoreError);
});

Deno.test("StreamStore leaves the message untouched by its stream", async () => {
  const { seen, stream } = recorder();
  const store = new StreamStore({ stream });
  const message = await messageOf({ content: "same\r\n" });
  await store.save(message);
  await store.save(message);
  assertEquals(seen.text, "same\r\nsame\r\n");
  await stream.close();
});

Deno.test("StreamStore leaves the stream open with preventClose, and unlocked between messages", async () => {
  const { seen, stream } = recorder();
  const store = new StreamStore({ stream, preventClose: true });
  await store.save(await messageOf({ content: "x" }));
  assertEquals(stream.locked, false);
  await store.close();
  assertEquals(seen, { text: "x", end: "open" });
  await stream.close();
});

Deno.test("StreamStore writes each message to the stream made for it, and closes it", async () => {
  const records = new Map<string, ReturnType<typeof recorder>>();
  const store = new StreamStore({
    stream(message) {
      const record = recorder();
      records.set(message.id, record);
      return Promise.resolve(record.stream);
    },
    returnPath: true,
  });
  await Promise.all([
    store.save(await messageOf({ id: "a", content: "A" })),
    store.save(await messageOf({ id: "b", content: "B", from: "" })),
  ]);
  await store.close();
  assertEquals(records.get("a")!.seen, {
    text: "Return-Path: <sender@example.org>\r\nA",
    end: "closed",
  });
  assertEquals(records.get("b")!.seen, {
    text: "Return-Path: <>\r\nB",
    end: "closed",
  });
});

Deno.test("StreamStore aborts the stream of a message that fails half-way", async () => {
  const own = recorder();
  const each = new StreamStore({ stream: () => own.stream });
  const broken = await brokenMessage();
  await assertRejects(() => each.save(broken), StoreError, "Body is gone");
  assertEquals(own.seen, { text: "half", end: "aborted: Body is gone" });

  const shared = recorder();
  const store = new StreamStore({ stream: shared.stream });
  await store.save(await messageOf({ content: "whole " }));
  await assertRejects(() => store.save(broken), StoreError, "Body is gone");
  const after = await messageOf();
  const error = await assertRejects(() => store.save(after), StoreError);
  assertEquals([...error.failures.keys()], [...after.recipients]);
  assertEquals(shared.seen, {
    text: "whole half",
    end: "aborted: Body is gone",
  });
  await store.close();
});

Deno.test("StreamStore rejects if its stream fails or is locked", async () => {
  const failing = new StreamStore({
    stream: new WritableStream({
      write() {
        throw new RangeError("Stream is full");
      },
    }),
  });
  const message = await messageOf();
  await assertRejects(() => failing.save(message), StoreError, "full");
  await failing.close();

  const { stream } = recorder();
  const writer = stream.getWriter();
  const locked = new StreamStore({ stream, preventClose: true });
  await assertRejects(() => locked.save(message), StoreError);
  writer.releaseLock();
  await locked.save(message);
  await locked.close();

  const factory = new StreamStore({
    stream() {
      throw new RangeError("No stream today");
    },
  });
  await assertRejects(() => factory.save(message), StoreError, "today");
});
