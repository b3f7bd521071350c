/**
 * The known name that is suggested for a mistyped one.
 *
 * The promise of SECURITY.md: "No option is misunderstood in silence".
 */

import { assertEquals } from "@std/assert";
import { nearest } from "../lib/spelling.ts";

const OPTIONS = ["listen", "domain", "max-size", "max-recipients", "relay"];
const HANDLERS = ["onConnect", "onRcptTo", "onMailFrom", "onMessage"];

Deno.test("nearest() finds the name that a slip of the pen was meant to be", () => {
  const rows: readonly (readonly [string, readonly string[], string])[] = [
    ["lisen", OPTIONS, "listen"],
    ["listten", OPTIONS, "listen"],
    ["lsiten", OPTIONS, "listen"],
    ["Listen", OPTIONS, "listen"],
    ["maxSize", OPTIONS, "max-size"],
    ["max_size", OPTIONS, "max-size"],
    ["maxsize", ["maxRecipients", "maxSize"], "maxSize"],
    ["max-recipient", OPTIONS, "max-recipients"],
    ["dom", OPTIONS, "domain"],
    ["onRcpt", HANDLERS, "onRcptTo"],
    ["onMail", HANDLERS, "onMailFrom"],
    ["onmessage", HANDLERS, "onMessage"],
    ["serv", ["serve", "send"], "serve"],
  ];
  for (const [name, known, want] of rows) {
    assertEquals(nearest(name, known), want, name);
  }
});

Deno.test("nearest() finds nothing where nothing is near", () => {
  for (const name of ["", "-", "x", "colour", "max", "re", "a".repeat(9999)]) {
    assertEquals(nearest(name, OPTIONS), undefined, name);
  }
  assertEquals(nearest("relay", []), undefined);
  assertEquals(nearest("ab", ["cd", "a"]), undefined);
});
