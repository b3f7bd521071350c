/**
 * The queue's only way to know the time and to wait: handed in, so that five
 * days of retries run in a test within milliseconds.
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
}

/** The machine's own clock. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  setTimer(ms: number, action: () => void): () => void {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
};
