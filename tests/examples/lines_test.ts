/**
 * The programs that embedders write first stay short: lines of code, without
 * comments and empty lines. None is longer than it was before the options that it
 * uses existed, and half of them have at most two thirds of those lines.
 */

import { assert, assertEquals } from "@std/assert";
import { examplePath } from "../support/example.ts";

/** The lines that each program took before. */
const BEFORE: Readonly<Record<string, number>> = {
  mailbox_per_user: 40,
  sqlite_store: 33,
  hashed_passwords: 21,
  webhook: 31,
  plus_address_router: 32,
  submission: 49,
  greylisting: 42,
  forwarder: 22,
  certificate_reload: 21,
  tenants: 46,
  limits_per_user: 23,
  metrics: 30,
  sending: 14,
  dev_inbox: 45,
  test_double: 31,
};

/** A line without code. */
const EMPTY = /^\s*(\/\/|\/?\*|$)/;

Deno.test("the first programs of embedders are short", () => {
  const lengths = new Map<string, number>();
  for (const name of Object.keys(BEFORE)) {
    const lines = linesOf(name);
    if (lines !== undefined) lengths.set(name, lines);
  }
  const longer = [...lengths].filter(([name, lines]) => lines > BEFORE[name]!);
  assertEquals(longer, []);
  const short = [...lengths].filter(([name, lines]) =>
    3 * lines <= 2 * BEFORE[name]!
  );
  const text = `${short.length} of ${lengths.size} have at most two thirds`;
  assert(2 * short.length >= lengths.size, text);
});

/** The lines of code of a program; `undefined` if there is none of that name. */
function linesOf(name: string): number | undefined {
  try {
    const text = Deno.readTextFileSync(examplePath(`${name}.ts`));
    return text.split("\n").filter((line) => !EMPTY.test(line)).length;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
