/** `MemoryStore`: its messages, their order, and its bounds. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DiscardStore } from "../../lib/store/discard_store.ts";
import { MemoryStore } from "../../lib/store/memory_store.ts";
import { StoreError } from "../../lib/message/message.ts";
import { messageOf } from "../support/store_message.ts";

Deno.test("DiscardStore takes everything", async () => {
  const store = new DiscardStore();
  assertEquals(store.kind, "discard");
  assertEquals(await store.save(), undefined);
});

Deno.test("MemoryStore keeps envelope and content after the message is gone", async () => {
  for (const memoryLimit of [0, 1000]) {
    const store = new MemoryStore();
    const message = await messageOf({
      trace: "Received: x\r\n",
      content: "Subject: é\r\n\r\nhi",
      to: ["a@example.com", "b@example.com"],
      memoryLimit,
    });
    await store.save(message);
    await message.discard();
    const [kept] = store.messages;
    assertEquals(kept!.id, message.id);
    assertEquals(String(kept!.from), "sender@example.org");
    assertEquals(
      kept!.recipients.map((recipient) => String(recipient.address)),
      ["a@example.com", "b@example.com"],
    );
    assertEquals(kept!.text, "Received: x\r\nSubject: é\r\n\r\nhi");
    assertEquals(kept!.bytes, new TextEncoder().encode(kept!.text));
  }
});

Deno.test("MemoryStore.next() returns each message once, in order, and waits for later ones", async () => {
  const store = new MemoryStore();
  await store.save(await messageOf({ content: "1" }));
  await store.save(await messageOf({ content: "2" }));
  const texts = [(await store.next()).text, (await store.next()).text];
  const third = store.next();
  const fourth = store.next();
  await store.save(await messageOf({ content: "3" }));
  await store.save(await messageOf({ content: "4" }));
  texts.push((await third).text, (await fourth).text);
  assertEquals(texts, ["1", "2", "3", "4"]);
  assertEquals(store.messages.length, 4);
});

Deno.test("MemoryStore.next() ends with its signal and with the store", async () => {
  const store = new MemoryStore();
  const controller = new AbortController();
  const { signal } = controller;
  const waiting = store.next({ signal });
  controller.abort(new RangeError("Enough"));
  await assertRejects(() => waiting, RangeError, "Enough");
  await assertRejects(() => store.next({ signal }), RangeError, "Enough");
  const last = store.next();
  const [ended] = await Promise.allSettled([last, store.close()]);
  assertEquals(ended.status, "rejected");
  await assertRejects(() => last, Deno.errors.Interrupted);
  await store.save(await messageOf({ content: "later" }));
  assertEquals((await store.next()).text, "later");
});

Deno.test("MemoryStore drops the oldest messages beyond its bounds", async () => {
  const texts = (store: MemoryStore) => store.messages.map(({ text }) => text);
  const few = new MemoryStore({ maxMessages: 2 });
  const small = new MemoryStore({ maxBytes: 5 });
  for (const content of ["aa", "bb", "cc"]) {
    await few.save(await messageOf({ content }));
    await small.save(await messageOf({ content }));
  }
  assertEquals(texts(few), ["bb", "cc"]);
  assertEquals(texts(small), ["bb", "cc"]);
  assertEquals((await few.next()).text, "bb");
  const large = await messageOf({ content: "dddddd" });
  const error = await assertRejects(() => small.save(large), StoreError);
  assertEquals(error.failures.size, 1);
  assertEquals(texts(small), ["bb", "cc"]);
  assertThrows(() => new MemoryStore({ maxMessages: 0 }), RangeError);
  assertThrows(() => new MemoryStore({ maxBytes: NaN }), RangeError);
});

Deno.test("MemoryStore.clear() drops messages, but no pending call of next()", async () => {
  const store = new MemoryStore();
  await store.save(await messageOf({ content: "old" }));
  store.clear();
  assertEquals(store.messages, []);
  const next = store.next();
  store.clear();
  await store.save(await messageOf({ content: "new" }));
  assertEquals((await next).text, "new");
});
