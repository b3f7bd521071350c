/**
 * The only access of queue and spool to time and timers. It is a parameter, so
 * that five days of retries run in a test within milliseconds.
 *
 * Danger: the time of day may be set, forwards or back, while a timer runs by
 * a clock that is not. Code that waits for a time of day must look again after
 * each {@linkcode Clock.onJump}.
 */

/** Time and timers. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /**
   * Calls `action` once, `ms` milliseconds from now. The returned function
   * cancels the call; it may be called late and more than once.
   */
  setTimer(ms: number, action: () => void): () => void;
  /**
   * Milliseconds of a clock that is never set; its zero is arbitrary.
   *
   * @default {Clock.now}
   */
  monotonic?(): number;
  /**
   * Calls `action` soon after each change of the time of day. The returned
   * function ends that; it may be called more than once.
   *
   * @default {never}
   */
  onJump?(action: () => void): () => void;
}

/** Milliseconds between two checks whether the time of day was set. */
const CHECK_MS = 1000;
/** Milliseconds that two clocks may drift apart between two checks. */
const DRIFT_MS = 500;

/** The machine's clock. */
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
    }, CHECK_MS);
    return () => clearInterval(timer);
  },
};

/** Milliseconds of the clock that is never set; of {@linkcode Clock.now} if there is no such clock. */
export function monotonic(clock: Clock): number {
  return clock.monotonic?.() ?? clock.now();
}
