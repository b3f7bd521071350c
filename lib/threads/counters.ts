/**
 * The numbers that all threads of a server see at once: how many sessions each
 * has, a pulse that shows that it still turns, and the counts per address.
 */

import { addressMemory } from "../session/address_table.ts";
import type { SharedCounts } from "../session/limits.ts";
import { SessionCount } from "../session/session_count.ts";

/** Numbers in the memory that threads share. */
export class Counters {
  /** Sessions by thread; 0 is the main one. */
  readonly sessions: Int32Array;
  /** Counted up by each thread while it turns. */
  readonly pulses: Int32Array;
  /** The counts per address. */
  readonly memory: SharedArrayBuffer = addressMemory();

  /** @param threads How many threads there will be, the main one among them */
  constructor(threads: number) {
    const shared = new SharedArrayBuffer(8 * threads);
    this.sessions = new Int32Array(shared, 0, threads);
    this.pulses = new Int32Array(shared, 4 * threads);
  }

  /** What the main thread counts in. */
  get counts(): SharedCounts {
    return { count: new SessionCount(this.sessions), memory: this.memory };
  }
}
