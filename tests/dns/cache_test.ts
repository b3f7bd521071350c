/** The cache of DNS outcomes: times of expiry, limit, order of eviction. */

import { assertEquals } from "@std/assert";
import { ExpiringCache } from "../../lib/dns/client.ts";

Deno.test("ExpiringCache forgets an entry when its time is up", () => {
  const cache = new ExpiringCache<string>(2);
  cache.set("a", { value: "A", until: 100 });
  assertEquals(cache.get("a", 99), "A");
  assertEquals(cache.get("a", 100), undefined);
  assertEquals(cache.size, 0);
});

Deno.test("ExpiringCache throws out what was not asked for the longest", () => {
  const cache = new ExpiringCache<string>(2);
  cache.set("a", { value: "A", until: 100 });
  cache.set("b", { value: "B", until: 100 });
  cache.get("a", 0);
  cache.set("c", { value: "C", until: 100 });
  assertEquals(cache.size, 2);
  assertEquals(
    ["a", "b", "c"].map((key) => cache.get(key, 0)),
    ["A", undefined, "C"],
  );
});

Deno.test("ExpiringCache replaces an entry without throwing out another", () => {
  const cache = new ExpiringCache<string>(2);
  cache.set("a", { value: "A", until: 100 });
  cache.set("b", { value: "B", until: 100 });
  cache.set("b", { value: "C", until: 100 });
  assertEquals([cache.get("a", 0), cache.get("b", 0)], ["A", "C"]);
});

Deno.test("ExpiringCache of capacity 0 remembers nothing", () => {
  const cache = new ExpiringCache<string>(0);
  cache.set("a", { value: "A", until: 100 });
  assertEquals(cache.get("a", 0), undefined);
});
