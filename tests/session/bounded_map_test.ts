import { assertEquals } from "@std/assert";
import { BoundedMap } from "../../lib/session/bounded_map.ts";
import { seeded } from "../support/sasl_dialogue.ts";

/** A map of two entries, after these were set. */
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
  const random = seeded(7);
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
