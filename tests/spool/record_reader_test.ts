/**
 * Recently written content is read from memory: which content is kept, and for
 * how long.
 */

import { assertEquals } from "@std/assert";
import { FreshContent } from "../../lib/spool/record_reader.ts";

const KIB = 1024;

Deno.test("FreshContent remembers small content until it is dropped", () => {
  const fresh = new FreshContent();
  fresh.keep("a", new Uint8Array(3));
  fresh.keep("b", new Uint8Array(65 * KIB));
  fresh.keep("c", undefined);
  assertEquals(fresh.get("a")?.length, 3);
  assertEquals(fresh.get("b"), undefined);
  fresh.drop("a");
  fresh.drop("a");
  assertEquals(fresh.get("a"), undefined);
});

Deno.test("FreshContent forgets the oldest beyond 8 MiB", () => {
  const fresh = new FreshContent();
  for (let number = 0; number < 200; number++) {
    fresh.keep(`m${number}`, new Uint8Array(64 * KIB));
  }
  const kept = Array.from({ length: 200 }, (_, number) => `m${number}`)
    .filter((id) => fresh.get(id) !== undefined);
  assertEquals(kept.length, 128);
  assertEquals(kept[0], "m72");
});
