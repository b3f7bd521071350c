/** The map with a bounded number of keys. */

import { assert, assertEquals } from "@std/assert";
import { heapInUse } from "../support/memory.ts";
import { BoundedMap } from "../../lib/session/login_guard.ts";
import { seededFraction } from "../support/random.ts";

/** A map with room for two entries, after these were set. */
function after(...keys: string[]): BoundedMap<number> {
  const map = new BoundedMap<number>(2);
  for (const [at, key] of keys.entries()) map.set(key, at);
  return map;
}

Deno.test("BoundedMap forgets what was set longest ago", () => {
  const map = after("a", "b", "c");
  assertEquals(map.size, 2);
  assertEquals(map.has("a"), false);
  assertEquals([map.get("b"), map.get("c")], [1, 2]);
});

Deno.test("BoundedMap takes a key that is set again for new", () => {
  const map = after("a", "b", "a", "c");
  assertEquals([map.get("a"), map.get("b"), map.get("c")], [2, undefined, 3]);
});

Deno.test("BoundedMap does as a list would, whatever is set and deleted", () => {
  const map = new BoundedMap<number>(5);
  let list: [string, number][] = [];
  const random = seededFraction(7);
  for (let at = 0; at < 20_000; at++) {
    const key = String(Math.floor(random() * 12));
    list = list.filter(([it]) => it !== key);
    if (random() < 0.25) map.delete(key);
    else {
      map.set(key, at);
      list = [...list.slice(-4), [key, at]];
    }
    assertEquals(map.size, list.length);
    for (const [it, value] of list) assertEquals(map.get(it), value);
  }
});

Deno.test("BoundedMap of a key that is set again and again does not grow", async () => {
  const map = new BoundedMap<number>(1000);
  const set = (times: number) => {
    for (let time = 0; time < times; time++) map.set(`key ${time % 3}`, time);
  };
  set(10_000);
  const before = await heapInUse();
  set(100_000);
  const grown = await heapInUse() - before;
  assert(grown < 500_000, `${grown} bytes more`);
  assertEquals(map.size, 3);
});
