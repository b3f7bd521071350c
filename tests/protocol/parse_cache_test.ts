/**
 * The cache of command lines parses a repeated line once, and never changes a
 * result.
 */

import { assertEquals } from "@std/assert";
import { parseCommand, type Verb } from "../../lib/protocol/command.ts";
import { RecentLines } from "../../lib/protocol/parse_cache.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** Looks for the first line and caches it if it is missing, as the server does. */
function see(recent: RecentLines, text: string): string {
  const input = encode(text);
  const known = recent.find(input, 0, input.length);
  if (known !== undefined) return "known";
  const line = text.slice(0, Math.max(0, text.indexOf("\r\n")));
  const { verb, argument } = parseCommand(line);
  recent.keep(input, 0, { verb: verb as Verb, argument });
  return "new";
}

Deno.test("RecentLines finds a line again, wherever it lies", () => {
  const recent = new RecentLines();
  assertEquals(see(recent, "MAIL FROM:<a@b.example>\r\nDATA"), "new");
  const later = encode("NOOP\r\nMAIL FROM:<a@b.example>\r\nRSET\r\n");
  assertEquals(recent.find(later, 6, later.length), {
    verb: "MAIL",
    argument: "FROM:<a@b.example>",
  });
  assertEquals(recent.length, 25);
});

const UNKNOWN:
  readonly (readonly [name: string, first: string, then: string])[] = [
    ["another case", "NOOP\r\n", "noop\r\n"],
    ["a bare line feed", "NOOP\r\n", "NOOP\n"],
    ["a carriage return more", "NOOP\r\n", "NOOP\r\r\n"],
    ["the beginning of it", "RSET\r\n", "RSET\r"],
    ["more of it", "RSET\r\n", "RSET \r\n"],
    ["AUTH", "AUTH PLAIN AGEAYg==\r\n", "AUTH PLAIN AGEAYg==\r\n"],
    [
      "a long one",
      `NOOP ${"x".repeat(128)}\r\n`,
      `NOOP ${"x".repeat(128)}\r\n`,
    ],
  ];

for (const [name, first, then] of UNKNOWN) {
  Deno.test(`RecentLines does not take ${name} for a line it knows`, () => {
    const recent = new RecentLines();
    see(recent, first);
    assertEquals(see(recent, then), "new");
  });
}

Deno.test("RecentLines does not keep the input", () => {
  const recent = new RecentLines();
  const input = encode("DATA\r\n");
  recent.find(input, 0, input.length);
  recent.keep(input, 0, { verb: "DATA", argument: "" });
  input.fill(0);
  assertEquals(see(recent, "DATA\r\n"), "known");
});

Deno.test("RecentLines is right about every line of thousands", () => {
  const recent = new RecentLines();
  for (let round = 0; round < 2; round++) {
    for (let number = 0; number < 5000; number++) {
      const text = `RCPT TO:<user${number}@b.example>\r\n`;
      const input = encode(text);
      const known = recent.find(input, 0, input.length);
      const argument = text.slice(5, -2);
      if (known !== undefined) assertEquals(known.argument, argument);
      else recent.keep(input, 0, { verb: "RCPT", argument });
    }
  }
});
