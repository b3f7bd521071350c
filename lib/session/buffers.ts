/**
 * Read buffers. A session that waits for a command holds a small one; a large
 * one is borrowed for as long as a body comes in, and lent to the next session
 * afterwards. An idle connection costs 10 KiB with a buffer of 2 KiB and 54
 * with one of 64.
 */

/** Enough for a pipelined envelope of some dozen recipients. */
export const COMMAND_BUFFER_SIZE = 4096;

/** Large enough that the cost of a read no longer matters. */
export const BODY_BUFFER_SIZE = 65536;

/** Large buffers that are kept for the next borrower. */
const KEPT = 32;

const spare: Uint8Array<ArrayBuffer>[] = [];

/** Borrows a large buffer. Give it back with {@linkcode returnBodyBuffer}. */
export function borrowBodyBuffer(): Uint8Array<ArrayBuffer> {
  return spare.pop() ?? new Uint8Array(BODY_BUFFER_SIZE);
}

/** Gives a borrowed buffer back. No read into it may be under way. */
export function returnBodyBuffer(buffer: Uint8Array<ArrayBuffer>): void {
  if (spare.length < KEPT) spare.push(buffer);
}
