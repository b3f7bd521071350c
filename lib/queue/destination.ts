/**
 * The number of parallel deliveries that one destination gets. Pure arithmetic
 * on a value: the window grows while deliveries succeed, shrinks when the
 * destination as a whole fails, closes after repeated failure, and opens slowly
 * again.
 *
 * "Destination failed" means that the delivery learned nothing about the
 * message: no connection, no greeting, a broken session. A rejected recipient
 * counts as a success here, since the destination answered.
 */

/** The constants of the arithmetic. */
export interface WindowLimits {
  /** Parallel deliveries to an unknown destination. */
  readonly initial: number;
  /** Limit of parallel deliveries. */
  readonly max: number;
  /** Failed cohorts (windows full of failures) in a row until the destination counts as dead. */
  readonly failedCohorts: number;
  /** Milliseconds until a dead destination is tried again; doubles while it stays dead. */
  readonly deadMs: number;
  /** Longest pause of a dead destination, in milliseconds. */
  readonly deadMaxMs: number;
}

/** The default limits. */
export const DEFAULT_WINDOW: WindowLimits = {
  initial: 5,
  max: 20,
  failedCohorts: 3,
  deadMs: 60_000,
  deadMaxMs: 30 * 60_000,
};

/** The state of one destination. Immutable: every step makes a new value. */
export interface DestinationWindow {
  /** Parallel deliveries; the fraction is growth in progress. */
  readonly size: number;
  /** Growth is fast below this size, slow above: half the size at the last failure, `max` at first. */
  readonly threshold: number;
  /** Failed cohorts in a row, including fractions. */
  readonly failed: number;
  /** Consecutive times it was found dead. */
  readonly deaths: number;
  /** End of the pause, in milliseconds of a clock that is never set; 0 when alive. */
  readonly deadUntil: number;
}

/** The window of an unknown destination. */
export function openWindow(limits: WindowLimits): DestinationWindow {
  const size = Math.min(limits.initial, limits.max);
  return { size, threshold: limits.max, failed: 0, deaths: 0, deadUntil: 0 };
}

/** Number of deliveries that may be under way at `now`. */
export function windowSlots(window: DestinationWindow, now: number): number {
  return now < window.deadUntil ? 0 : Math.floor(window.size);
}

/** The window after a delivery in which the destination answered. */
export function afterSuccess(
  window: DestinationWindow,
  limits: WindowLimits,
): DestinationWindow {
  const growth = window.size < window.threshold ? 1 : 1 / window.size;
  return {
    size: Math.min(limits.max, window.size + growth),
    threshold: window.threshold,
    failed: 0,
    deaths: 0,
    deadUntil: 0,
  };
}

/**
 * The window after a delivery in which the destination failed as a whole.
 *
 * @param window The window before
 * @param at When it failed, in milliseconds of a clock that is never set
 */
export function afterFailure(
  window: DestinationWindow,
  at: number,
  limits: WindowLimits,
): DestinationWindow {
  // Deliveries that were under way when the destination was found dead fail one
  // after the other. They carry no new information: if they counted, one outage
  // would run through all the pauses at once.
  if (at < window.deadUntil) return window;
  const size = Math.max(1, window.size - 1);
  const threshold = Math.max(1, window.size / 2);
  const failed = window.failed + 1 / Math.floor(window.size);
  if (failed < limits.failedCohorts) {
    return { ...window, size, threshold, failed };
  }
  const pause = limits.deadMs * 2 ** Math.min(window.deaths, 30);
  return {
    size: 1,
    threshold,
    // One delivery goes out after the pause; its failure alone closes the window again.
    failed: limits.failedCohorts - 1,
    deaths: window.deaths + 1,
    deadUntil: at + Math.min(pause, limits.deadMaxMs),
  };
}

/** The window with its pause ended: the next delivery may go at once. */
export function endPause(window: DestinationWindow): DestinationWindow {
  return window.deadUntil === 0 ? window : { ...window, deadUntil: 0 };
}
