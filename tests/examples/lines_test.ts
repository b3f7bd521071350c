/**
 * The programs that embedders write first stay short: lines of code, without
 * comments and empty lines. None is longer than it was before the options that it
 * uses existed, and half of those that do the same have at most two thirds of those
 * lines.
 */

import { assert, assertEquals } from "@std/assert";

const EXAMPLES = new URL("../../examples/", import.meta.url);

/** The lines that each program took before. */
const BEFORE: Readonly<Record<string, number>> = {
  "mailbox_per_user.ts": 40,
  "sqlite_store.ts": 33,
  "hashed_passwords.ts": 21,
  "webhook.ts": 31,
  "plus_address_router.ts": 32,
  "submission.ts": 49,
  "greylisting.ts": 42,
  "forwarder.ts": 22,
  "certificate_reload.ts": 21,
  "tenants.ts": 46,
  "limits_per_user.ts": 23,
  "metrics.ts": 30,
  "sending.ts": 14,
  "dev_inbox.ts": 45,
  "test_double.ts": 31,
};

/** Those that do more than they did: forwarding rewrites and seals, submission signs. */
const DO_MORE: readonly string[] = ["forwarder.ts", "submission.ts"];

/** A line without code. */
const EMPTY = /^\s*(\/\/|\/?\*|$)/;

Deno.test("the first programs of embedders are short", () => {
  const lengths = new Map(
    Object.keys(BEFORE).map((name) => [name, linesOf(name)]),
  );
  const longer = [...lengths].filter(([name, lines]) => lines > BEFORE[name]!);
  assertEquals(longer, []);
  const same = [...lengths].filter(([name]) => !DO_MORE.includes(name));
  const short = same.filter(([name, lines]) => 3 * lines <= 2 * BEFORE[name]!);
  const text = `${short.length} of ${same.length} have at most two thirds`;
  assert(2 * short.length >= same.length, text);
});

Deno.test("the list of examples says how long each is", () => {
  const list = Deno.readTextFileSync(new URL("README.md", EXAMPLES));
  const rows = [...list.matchAll(/^\| \[\w+\]\((\w+\.ts)\) +\| (\d+) +\|/gm)];
  assert(rows.length >= Object.keys(BEFORE).length, `${rows.length} rows`);
  for (const [, name, lines] of rows) {
    assertEquals([name, Number(lines)], [name, linesOf(name!)]);
  }
});

/** The lines of code of a program. */
function linesOf(name: string): number {
  const text = Deno.readTextFileSync(new URL(name, EXAMPLES));
  return text.split("\n").filter((line) => !EMPTY.test(line)).length;
}
