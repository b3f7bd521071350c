/**
 * The cache of addresses parses a repeated address once, and never changes a
 * result.
 */

import { assert, assertEquals } from "@std/assert";
import { Address } from "../../lib/protocol/address.ts";
import { RecentAddresses } from "../../lib/protocol/parse_cache.ts";

Deno.test("RecentAddresses remembers the last 512 arguments, and no long one", () => {
  const recent = new RecentAddresses();
  const address = Address.parse("a@example.com");
  for (let number = 0; number < 600; number++) {
    recent.keep(`FROM:<a${number}@example.com>`, address);
  }
  assertEquals(recent.find("FROM:<a87@example.com>"), undefined);
  assert(recent.find("FROM:<a88@example.com>") === address);
  assert(recent.find("FROM:<a599@example.com>") === address);
  const long = `FROM:<${"a".repeat(60)}@${"b.".repeat(40)}example>`;
  recent.keep(long, address);
  assertEquals(recent.find(long), undefined);
});

Deno.test("RecentAddresses takes any argument for a name, `__proto__` too", () => {
  const recent = new RecentAddresses();
  assertEquals(recent.find("__proto__"), undefined);
  recent.keep("__proto__", Address.NULL);
  assert(recent.find("__proto__") === Address.NULL);
});
