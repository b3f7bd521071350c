/** A clock that stands still until a test moves it. */

import { setImmediate } from "node:timers";
import type { Clock } from "../../../lib/spool/clock.ts";

interface Timer {
  readonly at: number;
  readonly action: () => void;
}

/** Time under a test's control. */
export class FakeClock implements Clock {
  #now: number;
  #offset = 0;
  readonly #timers = new Set<Timer>();
  readonly #watchers = new Set<() => void>();

  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now + this.#offset;
  }

  monotonic(): number {
    return this.#now;
  }

  onJump(action: () => void): () => void {
    this.#watchers.add(action);
    return () => void this.#watchers.delete(action);
  }

  /** Sets the time of day forwards, or back; no timer notices. */
  async set(ms: number, options: { silently?: boolean } = {}): Promise<void> {
    this.#offset += ms;
    if (!options.silently) {
      for (const action of this.#watchers) action();
    }
    await settle();
  }

  setTimer(ms: number, action: () => void): () => void {
    const timer = { at: this.#now + ms, action };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Moves time on, firing each timer at its time, and lets promises run. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.at <= end && (next === undefined || timer.at < next.at)) {
          next = timer;
        }
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.action();
      await settle();
    }
    this.#now = end;
  }
}

/** Lets every promise run that waits for nothing but others. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) {
    await new Promise<void>((resolve) => void setImmediate(resolve));
  }
}
