/**
 * The queue's only way to know the time and to wait: handed in, so that five
 * days of retries run in a test within milliseconds.
 *
 * Danger: the time of day may be set, forwards or back, while a timer runs by
 * a clock that is not. Whoever waits for a time of day must look again after
 * each {@linkcode Clock.onJump}.
 */

/** Time and timers. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /**
   * Calls `action` once, `ms` milliseconds from now. The function returned
   * cancels the call; it may be called late and more than once.
   */
  setTimer(ms: number, action: () => void): () => void;
  /**
   * Milliseconds of a clock that is never set, from any beginning.
   *
   * @default {Clock.now}
   */
  monotonic?(): number;
  /**
   * Calls `action` soon after each time that the time of day was set. The
   * function returned ends that; it may be called more than once.
   *
   * @default {never}
   */
  onJump?(action: () => void): () => void;
}

/** Milliseconds between two looks at whether the time of day was set. */
const LOOK_MS = 1000;
/** What two clocks may drift apart between two looks, in ms. */
const DRIFT_MS = 500;

/** The machine's own clock. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  setTimer(ms: number, action: () => void): () => void {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
  monotonic: () => performance.now(),
  onJump(action: () => void): () => void {
    let before = Date.now() - performance.now();
    const timer = setInterval(() => {
      const offset = Date.now() - performance.now();
      if (Math.abs(offset - before) < DRIFT_MS) return;
      before = offset;
      action();
    }, LOOK_MS);
    return () => clearInterval(timer);
  },
};

/** Milliseconds of a clock that is never set, where there is one. */
export function monotonic(clock: Clock): number {
  return clock.monotonic?.() ?? clock.now();
}
