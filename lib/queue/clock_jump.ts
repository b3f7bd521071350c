/**
 * What becomes of waiting messages when the machine's clock is set back: their
 * times were written down by a clock that was ahead, and would let them wait
 * for as long as it was wrong. Data in, data out; asks no clock itself.
 */

import type { RelayTask } from "./relay_task.ts";
import { RetrySchedule } from "./schedule.ts";

/** A clock that goes back by no more than this is being corrected, not set; in ms. */
const CORRECTION_MS = 60_000;
/** The schedule's delays are varied by a tenth. */
const JITTER = 1.1;

/** Whether a clock that was at `before` and is at `now` has been set back. */
export function isSetBack(before: number, now: number): boolean {
  return before - now > CORRECTION_MS;
}

/**
 * Brings tries that lie further ahead than they can have been put off back
 * within reach. Says whether there were any.
 *
 * @param task The message
 * @param now In milliseconds since 1970
 * @param usual The schedule of messages that have none of their own
 */
export function bringNear(
  task: RelayTask,
  now: number,
  usual: RetrySchedule,
): boolean {
  const { options } = task.entry.envelope;
  const schedule = options.schedule === undefined
    ? usual
    : RetrySchedule.parse(options.schedule);
  const longest = Math.max(...schedule.delays) * JITTER + CORRECTION_MS;
  const latest = now + Math.max(longest, options.idleWaitMs ?? 0);
  let found = false;
  for (const recipient of task.entry.progress.recipients) {
    if (recipient.status !== "pending" || recipient.nextTryAt <= latest) {
      continue;
    }
    recipient.nextTryAt = now;
    found = true;
  }
  return found;
}
