/**
 * Read buffers. A session that waits for a command holds a small one; a large
 * one is borrowed for as long as a body comes in, and lent to the next session
 * afterwards. An idle connection costs 10 KiB with a buffer of 2 KiB and 54
 * with one of 64. All sessions of a thread share what this file holds; a
 * connection is about one, so the file stands alone.
 */

import {
  ARENA_BUFFER_SIZE,
  arenaBuffers,
  isArenaBuffer,
} from "../protocol/body_scanner.ts";
import type { ReadPhase } from "../protocol/server/effects.ts";

/** Enough for a pipelined envelope of some dozen recipients. */
const COMMAND_BUFFER_SIZE = 4096;

/** The large buffers at hand: those that are scanned fastest come first and always come back. */
const spareLarge: Uint8Array<ArrayBuffer>[] = arenaBuffers();
const spareSmall: Uint8Array<ArrayBuffer>[] = [];

/** Most buffers of a kind that are kept; others are left to the collector. */
const KEPT = 64;

/** The buffers of one session. */
export class SessionBuffers {
  /**
   * A small one, borrowed for the length of the session: making one costs as
   * much as the rest of the session's beginning.
   */
  readonly command: Uint8Array<ArrayBuffer> = spareSmall.pop() ??
    new Uint8Array(COMMAND_BUFFER_SIZE);
  /** The one that is read into. */
  current: Uint8Array<ArrayBuffer> = this.command;
  #body: Uint8Array<ArrayBuffer> | undefined;

  /** Chooses the buffer to read into: a large one while a body comes in. */
  use(phase: ReadPhase): Uint8Array<ArrayBuffer> {
    if (phase === "data" || phase === "bdat") {
      this.#body ??= spareLarge.pop() ?? new Uint8Array(ARENA_BUFFER_SIZE);
      return this.current = this.#body;
    }
    this.#returnBody();
    return this.current = this.command;
  }

  #returnBody(): void {
    const body = this.#body;
    if (body === undefined) return;
    this.#body = undefined;
    if (spareLarge.length < KEPT || isArenaBuffer(body)) spareLarge.push(body);
  }

  /**
   * Gives the buffers back, without what the client said. No read into one of
   * them may be under way.
   */
  giveBack(): void {
    this.#returnBody();
    if (spareSmall.length < KEPT) spareSmall.push(this.command.fill(0));
  }
}
