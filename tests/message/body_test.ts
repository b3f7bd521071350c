/**
 * The content of a message: in memory up to a limit, then in a file that is
 * removed in the end.
 */

import { assertEquals, assertRejects } from "@std/assert";
import { MessageBody } from "../../lib/message/body.ts";

const MEMORY_LIMIT = 1000;

/** A body of `size` bytes that differ, written in chunks of `piece`. */
async function bodyOf(
  size: number,
  { piece = 700, folder }: { piece?: number; folder?: string } = {},
): Promise<{ body: MessageBody; bytes: Uint8Array }> {
  const body = new MessageBody({
    memoryLimit: MEMORY_LIMIT,
    temporaryFolder: folder,
  });
  const bytes = Uint8Array.from({ length: size }, (_, at) => at % 251);
  for (let at = 0; at < size; at += piece) {
    await body.write(bytes.subarray(at, at + piece));
  }
  return { body, bytes };
}

async function read(body: MessageBody): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.chunks()) chunks.push(chunk);
  return Uint8Array.from(chunks.flatMap((chunk) => [...chunk]));
}

for (const size of [0, 1, MEMORY_LIMIT, MEMORY_LIMIT + 1, 200_000]) {
  Deno.test(`MessageBody gives ${size} bytes unchanged, any number of times`, async () => {
    const { body, bytes } = await bodyOf(size);
    assertEquals(body.size, size);
    assertEquals(body.memory !== undefined, size <= MEMORY_LIMIT);
    assertEquals(await read(body), bytes);
    assertEquals(await read(body), bytes);
    await body.discard();
    assertEquals(body.size, 0);
  });
}

Deno.test("MessageBody.chunks() serves several readers at once", async () => {
  const { body, bytes } = await bodyOf(300_000);
  const all = await Promise.all([read(body), read(body), read(body)]);
  for (const one of all) assertEquals(one, bytes);
  await body.discard();
});

Deno.test("MessageBody.chunks() reads all of a file into one buffer", async () => {
  const { body, bytes } = await bodyOf(200_001);
  const buffer = new Uint8Array(5000);
  let at = 0;
  for await (const chunk of body.chunks(buffer)) {
    assertEquals(chunk.buffer, buffer.buffer);
    assertEquals(chunk, bytes.slice(at, at + chunk.length));
    at += chunk.length;
  }
  assertEquals(at, bytes.length);
  await body.discard();
});

Deno.test("MessageBody leaves no name behind, not even while it is filled", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { body } = await bodyOf(50_000, { folder });
    assertEquals(await Array.fromAsync(Deno.readDir(folder)), []);
    await body.discard();
    await body.discard();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("MessageBody.chunks() rejects when the message is discarded, and never ends early", async () => {
  const { body } = await bodyOf(200_000);
  const reader = body.chunks();
  await reader.next();
  await body.discard();
  await assertRejects(() => reader.next(), Deno.errors.BadResource);
});

Deno.test("A body that is over is not taken for an empty one", async () => {
  for (const size of [10, 200_000]) {
    const { body } = await bodyOf(size);
    await body.discard();
    assertEquals(body.memory, undefined);
    await assertRejects(() => body.chunks().next(), Deno.errors.BadResource);
  }
});
