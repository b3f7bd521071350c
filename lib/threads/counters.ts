/**
 * The numbers that all threads of a server see at once: how many sessions each
 * has, and a pulse that shows that it still turns.
 */

/** Numbers in the memory that threads share. */
export class Counters {
  /** Sessions by thread; 0 is the main one. */
  readonly sessions: Int32Array;
  /** Counted up by each thread while it turns. */
  readonly pulses: Int32Array;
  /** All of them, to hand to another thread. */
  readonly shared: Int32Array;

  /**
   * Numbers for a server.
   *
   * @param shared Those of another thread, or how many threads there will be
   */
  constructor(shared: Int32Array | number) {
    this.shared = typeof shared === "number"
      ? new Int32Array(
        new SharedArrayBuffer(2 * shared * Int32Array.BYTES_PER_ELEMENT),
      )
      : shared;
    const threads = this.shared.length / 2;
    this.sessions = this.shared.subarray(0, threads);
    this.pulses = this.shared.subarray(threads);
  }
}
