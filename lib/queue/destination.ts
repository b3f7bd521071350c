/**
 * How many deliveries one destination gets at a time. Pure arithmetic on a
 * value: grows while deliveries succeed, shrinks when the destination as a
 * whole fails, closes after repeated failure, opens again slowly.
 *
 * "Destination failed" means that nothing could be learned of the message: no
 * connection, no greeting, a session that broke. A refused recipient is a
 * success here, since the destination answered.
 */

/** The constants of the arithmetic. */
export interface WindowLimits {
  /** Deliveries at a time to a destination nothing is known of. */
  readonly initial: number;
  /** The most deliveries at a time. */
  readonly max: number;
  /** Failed cohorts, windows full of failures in a row, until the destination counts as dead. */
  readonly failedCohorts: number;
  /** Milliseconds until a dead destination is tried again; doubles while it stays dead. */
  readonly deadMs: number;
  /** The longest pause of a dead destination, in milliseconds. */
  readonly deadMaxMs: number;
}

/** The limits that hold where none are given. */
export const DEFAULT_WINDOW: WindowLimits = {
  initial: 5,
  max: 20,
  failedCohorts: 3,
  deadMs: 60_000,
  deadMaxMs: 30 * 60_000,
};

/** What is known of one destination. A value: every step makes a new one. */
export interface DestinationWindow {
  /** Deliveries at a time; the fraction is growth under way. */
  readonly size: number;
  /** Below this size growth is fast: the size at which nothing failed yet. */
  readonly threshold: number;
  /** Failed cohorts in a row, in fractions. */
  readonly failed: number;
  /** Times in a row that it was found dead. */
  readonly deaths: number;
  /** Until when it counts as dead, in milliseconds since 1970; 0 when alive. */
  readonly deadUntil: number;
}

/** The window of a destination that nothing is known of. */
export function openWindow(limits: WindowLimits): DestinationWindow {
  const size = Math.min(limits.initial, limits.max);
  return { size, threshold: limits.max, failed: 0, deaths: 0, deadUntil: 0 };
}

/** How many deliveries may be under way at `now`. */
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
 * @param at When it failed, in milliseconds since 1970
 */
export function afterFailure(
  window: DestinationWindow,
  at: number,
  limits: WindowLimits,
): DestinationWindow {
  // Deliveries that were under way when the destination was found dead fail
  // one after the other. They are no news: were they counted, one outage would
  // run through all the pauses at once.
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
    // One delivery goes out after the pause; its failure alone closes again.
    failed: limits.failedCohorts - 1,
    deaths: window.deaths + 1,
    deadUntil: at + Math.min(pause, limits.deadMaxMs),
  };
}

/** The window with its pause ended: the next delivery may go at once. */
export function endPause(window: DestinationWindow): DestinationWindow {
  return window.deadUntil === 0 ? window : { ...window, deadUntil: 0 };
}
