/**
 * The times of HOLDFOR, HOLDUNTIL and BY: RFC 4865 section 4, RFC 3339 section
 * 5.6.
 */

import { assertEquals } from "@std/assert";
import {
  formatReleaseTime,
  parseReleaseTime,
  refuseTiming,
  releaseTime,
} from "../../lib/protocol/timing.ts";

const NOW = Date.UTC(2027, 0, 1, 12);

for (
  const [text, want] of [
    ["2027-01-01T12:00:00Z", NOW],
    ["2027-01-01t12:00:00z", NOW],
    ["2027-01-01T12:00:00.5Z", NOW + 500],
    ["2027-01-01T13:30:00+01:30", NOW],
    ["2027-01-01T11:59:60Z", NOW],
    ["2028-02-29T00:00:00Z", Date.UTC(2028, 1, 29)],
    ["2027-02-29T00:00:00Z", undefined],
    ["2027-00-10T00:00:00Z", undefined],
    ["2027-01-01 12:00:00Z", undefined],
    ["2027-01-01T12:00:00", undefined],
    ["2027-01-01T12:00:00+24:00", undefined],
    ["2027-01-01T12:00:61Z", undefined],
  ] as const
) {
  Deno.test(`parseReleaseTime() of ${text}`, () => {
    assertEquals(parseReleaseTime(text), want);
  });
}

Deno.test("releaseTime() counts HOLDFOR from the arrival, and HOLDUNTIL stands alone", () => {
  assertEquals(releaseTime({ holdFor: 90 }, NOW), NOW + 90_000);
  const holdUntil = formatReleaseTime(NOW + 60_000);
  assertEquals(releaseTime({ holdUntil }, NOW), NOW + 60_000);
  assertEquals(releaseTime({}, NOW), undefined);
});

for (
  const [name, parameters, want] of [
    ["nothing", {}, undefined],
    ["a minute", { holdFor: 60 }, undefined],
    ["30 days", { holdFor: 2_592_000 }, undefined],
    [
      "30 days and a second",
      { holdFor: 2_592_001 },
      "501 5.5.4 Held for 2592000 seconds at most, until 2027-01-31T12:00:00Z",
    ],
    ["0", { holdFor: 0 }, "501 5.5.4 The time of release is not in the future"],
    [
      "the past",
      { holdUntil: "2027-01-01T11:59:59Z" },
      "501 5.5.4 The time of release is not in the future",
    ],
    [
      "both",
      { holdFor: 60, holdUntil: "2027-01-02T00:00:00Z" },
      "501 5.5.4 HOLDFOR and HOLDUNTIL given together",
    ],
    [
      "longer than BY",
      { holdFor: 60, by: { seconds: 60, mode: "return" } },
      "501 5.5.4 The message would be released after the time of BY",
    ],
    [
      "less than BY",
      { holdFor: 60, by: { seconds: 61, mode: "return" } },
      undefined,
    ],
  ] as const
) {
  Deno.test(`refuseTiming() of ${name}`, () => {
    assertEquals(refuseTiming(parameters, NOW)?.wire.trimEnd(), want);
  });
}
