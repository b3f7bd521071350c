/** Content of a delivery: opened once per attempt, and always closed. */

import { assertEquals } from "@std/assert";
import {
  DeliveryContent,
  type OpenContent,
} from "../../lib/delivery/content.ts";

const PIECE = new Uint8Array(65536).fill(65);

/** Content that counts how often it was opened and closed. */
function counted(pieces: number) {
  const counts = { opened: 0, ended: 0 };
  const open = async function* () {
    counts.opened++;
    try {
      for (let piece = 0; piece < pieces; piece++) {
        yield await Promise.resolve(PIECE);
      }
    } finally {
      counts.ended++;
    }
  };
  return { counts, open };
}

Deno.test("DeliveryContent closes content that an attempt did not begin to read", async () => {
  const { counts, open } = counted(100);
  const content = await DeliveryContent.load(open);
  const data = (content.data() as OpenContent)() as AsyncIterable<Uint8Array>;
  await data[Symbol.asyncIterator]().return?.();
  await content.release();
  assertEquals(counts, { opened: 1, ended: 1 });
});

Deno.test("DeliveryContent gives all content, in order, and again to another attempt", async () => {
  const { counts, open } = counted(100);
  const content = await DeliveryContent.load(open);
  for (let round = 1; round <= 2; round++) {
    let size = 0;
    for await (const piece of (content.data() as OpenContent)()) {
      size += piece.length;
    }
    assertEquals(size, 100 * PIECE.length);
    assertEquals(counts, { opened: round, ended: round });
  }
});
