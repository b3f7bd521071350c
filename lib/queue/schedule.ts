/**
 * When a deferred delivery is tried again: a list of delays, its text form and
 * its jitter. Pure: takes a random number, returns a delay.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5321#section-4.5.4.1 | RFC 5321 section 4.5.4.1}
 */

import { type Rule, where } from "../options.ts";

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const DURATION = /^(?:\d{1,9}(?:ms|[smhdw]))+$/;
const PART = /(\d+)(ms|[smhdw])/g;
const STEP = /^([^*]+)(?:\*(\d{1,4}))?$/;
/** Limit of steps: people read schedules, and more steps are a mistake. */
const MAX_STEPS = 1000;
/** Longest delay, in ms; timers stay reliable up to it. */
const MAX_DELAY = 30 * 86_400_000;
/** Share of a delay by which it varies, up and down. */
export const JITTER = 0.1;

/**
 * Parses a duration: digits and one of `ms`, `s`, `m`, `h`, `d`, `w`, repeated
 * as needed.
 *
 * @param text As `"5d"`, `"90s"` or `"1h30m"`
 * @returns Milliseconds
 * @throws {SyntaxError} If the text is not a duration
 *
 * @example Five days
 * ```ts
 * import { parseDuration } from "@smtp/server/queue";
 *
 * console.assert(parseDuration("5d") === 5 * 24 * 60 * 60 * 1000);
 * ```
 */
export function parseDuration(text: string): number {
  if (!DURATION.test(text)) {
    throw new SyntaxError(
      `Cannot read duration "${text}": want digits and ms, s, m, h or d, as "30s"`,
    );
  }
  let ms = 0;
  for (const [, digits, unit] of text.matchAll(PART)) {
    ms += Number(digits) * UNITS[unit!]!;
  }
  return ms;
}

/**
 * The delays between the tries of one delivery. The last delay repeats until
 * the message expires. Immutable.
 *
 * @example Three quick tries, then hourly
 * ```ts
 * import { RetrySchedule } from "@smtp/server/queue";
 *
 * const schedule = RetrySchedule.parse("5m*3 1h");
 * const middle = () => 0.5;
 * console.assert(schedule.delayAfter(1, middle) === 5 * 60_000);
 * console.assert(schedule.delayAfter(9, middle) === 60 * 60_000);
 * ```
 */
export class RetrySchedule {
  /** 30 seconds, 2, 5, 15 and 30 minutes, 1 and 2 hours, then every 4 hours. */
  static readonly DEFAULT: RetrySchedule = RetrySchedule.parse(
    "30s 2m 5m 15m 30m 1h 2h 4h",
  );

  /** The delays in milliseconds, in order. */
  readonly delays: readonly number[];

  /**
   * Makes a schedule of delays.
   *
   * @param delays Delays in milliseconds, each from 1 to 30 days; at least one
   * @throws {RangeError} If the list is empty, too long, or a delay is out of range
   */
  constructor(delays: readonly number[]) {
    if (!Array.isArray(delays)) {
      throw new TypeError(
        'Cannot make a schedule: want an array of milliseconds, or RetrySchedule.parse("30s 5m")',
      );
    }
    if (delays.length === 0 || delays.length > MAX_STEPS) {
      throw new RangeError(
        `Cannot make a schedule of ${delays.length} delays: want 1 to ${MAX_STEPS}`,
      );
    }
    for (const delay of delays) {
      if (!(delay >= 1 && delay <= MAX_DELAY)) {
        throw new RangeError(
          `Cannot make a schedule with a delay of ${delay} ms: want 1 ms to 30 days`,
        );
      }
    }
    this.delays = [...delays];
  }

  /**
   * Parses the text form: delays separated by blanks, each with an optional `*`
   * and the number of times it is used.
   *
   * @param text As `"30s 5m*3 1h*12 4h"`
   * @throws {SyntaxError} If the text does not fit
   * @throws {RangeError} If there are too many steps, or one is out of range
   */
  static parse(text: string): RetrySchedule {
    if (typeof text !== "string") {
      throw new TypeError('Cannot read a schedule: want a string, as "30s 5m"');
    }
    const delays: number[] = [];
    for (const step of text.trim().split(/\s+/)) {
      const match = STEP.exec(step);
      const times = Number(match?.[2] ?? 1);
      if (match === null || times === 0) {
        throw new SyntaxError(
          `Cannot read schedule step "${step}": want a delay and perhaps a count, as "5m*3"`,
        );
      }
      if (delays.length + times > MAX_STEPS) {
        throw new RangeError(
          `Cannot make a schedule of more than ${MAX_STEPS} delays`,
        );
      }
      const delay = parseDuration(match[1]!);
      for (let count = 0; count < times; count++) delays.push(delay);
    }
    return new RetrySchedule(delays);
  }

  /**
   * The delay after a failed try, varied by up to 10 % so that deliveries that
   * failed together are not tried again together.
   *
   * @param failures Failed tries so far, 1 after the first
   * @param random Returns a number from 0 up to but not including 1
   * @returns Whole milliseconds, at least 1
   */
  delayAfter(failures: number, random: () => number): number {
    const last = this.delays.length - 1;
    const delay = this.delays[Math.max(0, Math.min(failures - 1, last))]!;
    const factor = 1 - JITTER + 2 * JITTER * random();
    return Math.max(1, Math.round(delay * factor));
  }

  /** The text form; {@linkcode RetrySchedule.parse} reads it. */
  toString(): string {
    const steps: string[] = [];
    for (let at = 0; at < this.delays.length;) {
      const delay = this.delays[at]!;
      let times = 1;
      while (this.delays[at + times] === delay) times++;
      steps.push(times === 1 ? duration(delay) : `${duration(delay)}*${times}`);
      at += times;
    }
    return steps.join(" ");
  }
}

/** The rule for a schedule or its text, which {@linkcode RetrySchedule.parse} checks. */
export const SCHEDULE_RULE: Rule = where(
  'delays, as "30s 5m*3 1h*12 4h", or a RetrySchedule',
  (value) => typeof value === "string" || value instanceof RetrySchedule,
);

/** Formats milliseconds in the largest unit that divides them. */
function duration(ms: number): string {
  for (const unit of ["d", "h", "m", "s"]) {
    const size = UNITS[unit]!;
    if (ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}
