/** The table of limits: documentation, check and command line agree with it. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  LIMITS,
  limitsOf,
  numberLimits,
} from "../../lib/session/limit_options.ts";

const source = await Deno.readTextFile(
  new URL("../../lib/session/limit_options.ts", import.meta.url),
);

Deno.test("LimitOptions documents the defaults that the table has", () => {
  const documented = source.matchAll(
    /@default \{(.+)\}\n\s+\*\/\n\s+(\w+)\?:/g,
  );
  assertEquals(
    Object.fromEntries(
      documented.map(([, value, name]) => [name, JSON.parse(value!)]),
    ),
    Object.fromEntries(
      Object.entries(LIMITS).map(([name, row]) => [name, row.default]),
    ),
  );
});

Deno.test("limitsOf() gives the default of every limit, and takes the least of it", () => {
  const limits = limitsOf();
  for (const [name, { default: standard, least }] of numberLimits()) {
    assertEquals(limits[name], standard, name);
    assertEquals(limitsOf({ [name]: least })[name], least, name);
    assertThrows(
      () => limitsOf({ [name]: least - 1 }),
      RangeError,
      `Cannot use limits.${name} "${
        least - 1
      }": want a whole number from ${least}`,
    );
  }
  assertEquals(limits.exempt.length, LIMITS.exempt.default.length);
});

Deno.test("Every limit says in a short line what it bounds", () => {
  for (const [name, { help, kind }] of Object.entries(LIMITS)) {
    assert(help !== "" && help.length <= 72 && !help.endsWith("."), name);
    assertEquals(kind === "duration", name.endsWith("Ms"), name);
  }
});
