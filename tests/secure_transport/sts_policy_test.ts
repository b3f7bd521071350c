/** Records, policies and patterns of MTA-STS: the good ones and the bad ones. */

import { assertEquals } from "@std/assert";
import {
  matchesHost,
  parseStsPolicy,
  stsId,
} from "../../lib/secure_transport/sts_policy.ts";
import cases from "./data/mta-sts.json" with { type: "json" };

for (const { text, ok, id } of cases.records) {
  Deno.test(`MTA-STS record ${JSON.stringify(text)}`, () => {
    assertEquals(stsId([text]), ok ? id : undefined);
    assertEquals(stsId(["other", text]), ok ? id : undefined);
    if (ok) assertEquals(stsId([text, "v=STSv1; id=b"]), undefined);
  });
}

for (const { text, ok, mode, mx, maxAge } of cases.policies) {
  Deno.test(`MTA-STS policy ${JSON.stringify(text).slice(0, 60)}`, () => {
    const read = parseStsPolicy(text, "a");
    if (!ok) return assertEquals("fault" in read, true);
    if ("fault" in read) throw new Error(read.fault);
    assertEquals(
      [read.mode, read.hosts, read.maxAgeMs],
      [mode, mx, maxAge! * 1000] as never,
    );
  });
}

for (const { pattern, host, ok } of cases.matches) {
  Deno.test(`MTA-STS pattern ${pattern} and ${host}`, () => {
    assertEquals(matchesHost(pattern, host.toLowerCase()), ok);
  });
}

Deno.test("Blanks in a policy and a record cost no more than their length", () => {
  const blanks = " ".repeat(64_000);
  assertEquals(
    "fault" in parseStsPolicy(`version: ${blanks}\rx\nmode: ${blanks}x`, "a"),
    true,
  );
  assertEquals(stsId([`v=STSv1; id=a${blanks}x`]), undefined);
  const host = `mx: ${"\u00fc.".repeat(30_000)}`;
  assertEquals("fault" in parseStsPolicy(`version: STSv1\n${host}`, "a"), true);
});
