/**
 * The window of a destination: grows with success, shrinks and pauses with
 * failure.
 */

import { assertEquals } from "@std/assert";
import {
  afterFailure,
  afterSuccess,
  DEFAULT_WINDOW,
  type DestinationWindow,
  endPause,
  openWindow,
  windowSlots,
} from "../../lib/queue/destination.ts";

const limits = DEFAULT_WINDOW;

/** Applies `+` for a success and `-` for a failure, all at time 0. */
function after(steps: string, window = openWindow(limits)): DestinationWindow {
  for (const step of steps) {
    window = step === "+"
      ? afterSuccess(window, limits)
      : afterFailure(window, 0, limits);
  }
  return window;
}

const ROWS = [
  { steps: "", slots: 5, dead: false },
  { steps: "+", slots: 6, dead: false },
  { steps: "+".repeat(15), slots: 20, dead: false },
  { steps: "+".repeat(100), slots: 20, dead: false },
  { steps: "-", slots: 4, dead: false },
  { steps: "--", slots: 3, dead: false },
  { steps: "-----", slots: 1, dead: false },
  { steps: "------", slots: 0, dead: true },
  { steps: "-----+---", slots: 1, dead: false },
  { steps: "------+", slots: 2, dead: false },
  // After a failure growth is slow: one full window of successes for each slot.
  { steps: "----++++", slots: 3, dead: false },
];

for (const { steps, slots, dead } of ROWS) {
  Deno.test(`window after "${steps}" has ${slots} slots`, () => {
    const window = after(steps);
    assertEquals(windowSlots(window, 0), slots);
    assertEquals(window.deadUntil > 0, dead);
  });
}

Deno.test("afterFailure() doubles the pause of a destination that stays dead", () => {
  let window = after("------");
  let now = 0;
  const pauses: number[] = [];
  for (let round = 0; round < 8; round++) {
    pauses.push((window.deadUntil - now) / 60_000);
    now = window.deadUntil;
    assertEquals(windowSlots(window, now), 1);
    window = afterFailure(window, now, limits);
  }
  assertEquals(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
});

Deno.test("afterFailure() counts one outage once", () => {
  const dead = after("------");
  assertEquals(afterFailure(dead, 10, limits), dead);
});

Deno.test("endPause() lets one delivery go", () => {
  assertEquals(windowSlots(endPause(after("------")), 0), 1);
  const open = openWindow(limits);
  assertEquals(endPause(open), open);
});
