/**
 * Retry schedules and durations, as given in options (RFC 5321 section
 * 4.5.4.1).
 */

import { assertEquals, assertThrows } from "@std/assert";
import { parseDuration, RetrySchedule } from "../../lib/queue/schedule.ts";

const DURATIONS = [
  ["0s", 0],
  ["1ms", 1],
  ["30s", 30_000],
  ["5m", 300_000],
  ["2h", 7_200_000],
  ["5d", 432_000_000],
] as const;

Deno.test("parseDuration() reads digits and a unit", () => {
  for (const [text, want] of DURATIONS) assertEquals(parseDuration(text), want);
});

Deno.test("parseDuration() refuses everything else", () => {
  for (
    const text of ["", "5", "m", "-5m", "5 m", "5M", "1.5h", "5mm", "5m\n"]
  ) {
    assertThrows(
      () => parseDuration(text),
      SyntaxError,
      "Cannot read duration",
    );
  }
});

const SCHEDULES = [
  ["30s", [30]],
  ["30s 5m*3 1h*2 4h", [30, 300, 300, 300, 3600, 3600, 14400]],
  ["  1m\t2m ", [60, 120]],
] as const;

Deno.test("RetrySchedule.parse() reads steps and counts", () => {
  for (const [text, want] of SCHEDULES) {
    const { delays } = RetrySchedule.parse(text);
    assertEquals(delays.map((ms) => ms / 1000), [...want]);
  }
});

Deno.test("RetrySchedule.toString() is what parse() reads", () => {
  for (const text of ["30s 5m*3 1h*12 4h", "1d", "1500ms", "90s 36h"]) {
    assertEquals(String(RetrySchedule.parse(text)), text);
  }
  const usual = "30s 2m 5m 15m 30m 1h 2h 4h";
  assertEquals(String(RetrySchedule.DEFAULT), usual);
});

Deno.test("RetrySchedule.parse() refuses what makes no sense", () => {
  for (const text of ["", "5", "5m*0", "5m*", "5m *3", "*3", "x"]) {
    assertThrows(() => RetrySchedule.parse(text), SyntaxError);
  }
  for (const text of ["0s", "31d", "1s*1001", "1s*600 2s*600"]) {
    assertThrows(() => RetrySchedule.parse(text), RangeError);
  }
  assertThrows(() => new RetrySchedule([]), RangeError);
  assertThrows(() => new RetrySchedule([NaN]), RangeError);
});

Deno.test("RetrySchedule.delayAfter() repeats the last delay, with 10 % jitter", () => {
  const schedule = RetrySchedule.parse("10s 100s");
  const rows = [
    [1, 0, 9],
    [1, 0.5, 10],
    [1, 0.999999, 11],
    [2, 0.5, 100],
    [3, 0, 90],
    [1000, 0.5, 100],
    [0, 0.5, 10],
  ] as const;
  for (const [failures, random, want] of rows) {
    const delay = schedule.delayAfter(failures, () => random);
    assertEquals(Math.round(delay / 1000), want);
  }
});
