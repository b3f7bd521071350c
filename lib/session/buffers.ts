/**
 * Read buffers. A session that waits for a command holds a small one; a large
 * one is borrowed for as long as a body comes in, and lent to the next session
 * afterwards. An idle connection costs 10 KiB with a buffer of 2 KiB and 54
 * with one of 64.
 */

import {
  ARENA_BUFFER_SIZE,
  arenaBuffers,
  isArenaBuffer,
} from "../protocol/simd_scanner.ts";

/** Enough for a pipelined envelope of some dozen recipients. */
const COMMAND_BUFFER_SIZE = 4096;

/** The large buffers at hand: those that are scanned fastest come first and always come back. */
const spareLarge: Uint8Array<ArrayBuffer>[] = arenaBuffers();
const spareSmall: Uint8Array<ArrayBuffer>[] = [];

/** Most buffers of a kind that are kept; others are left to the collector. */
const KEPT = 64;

/** Borrows a large buffer. Give it back with {@linkcode returnBodyBuffer}. */
export function borrowBodyBuffer(): Uint8Array<ArrayBuffer> {
  return spareLarge.pop() ?? new Uint8Array(ARENA_BUFFER_SIZE);
}

/** Gives a borrowed buffer back. No read into it may be under way. */
export function returnBodyBuffer(buffer: Uint8Array<ArrayBuffer>): void {
  if (spareLarge.length < KEPT || isArenaBuffer(buffer)) {
    spareLarge.push(buffer);
  }
}

/**
 * Borrows a small buffer, for the length of a session: making one costs as much
 * as the rest of the session's beginning. Give it back with
 * {@linkcode returnCommandBuffer}.
 */
export function borrowCommandBuffer(): Uint8Array<ArrayBuffer> {
  return spareSmall.pop() ?? new Uint8Array(COMMAND_BUFFER_SIZE);
}

/**
 * Gives a borrowed buffer back, without what the last client said. No read into
 * it may be under way.
 */
export function returnCommandBuffer(buffer: Uint8Array<ArrayBuffer>): void {
  if (spareSmall.length < KEPT) spareSmall.push(buffer.fill(0));
}
