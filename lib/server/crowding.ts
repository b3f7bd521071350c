/**
 * How many sessions there may be when the process has run out of file
 * descriptors: fewer than there are, so that those who stay have some for their
 * messages, and the next clients can be told 421. Arithmetic only; ends nobody.
 */

/** How long after the last shortage nobody more is let in, in ms. */
const CROWDED_MS = 60_000;
/** Descriptors that are to be free: at least so many, else one for so many sessions. */
const LEAST_FREE = 16;
const SESSIONS_FOR_ONE = 8;

/** The room that a shortage of descriptors leaves. */
export class Crowding {
  #room = Infinity;
  #until = -Infinity;

  /** The most sessions at once, for now. `now` in ms, by any clock that only goes on. */
  room(now: number): number {
    return now < this.#until ? this.#room : Infinity;
  }

  /** Notes a shortage while there are so many sessions; gives the room that there is from here on. */
  shrink(sessions: number, now: number): number {
    const free = Math.max(LEAST_FREE, Math.ceil(sessions / SESSIONS_FOR_ONE));
    this.#room = Math.max(1, Math.min(this.room(now), sessions - free));
    this.#until = now + CROWDED_MS;
    return this.#room;
  }
}

/** Whether an error says that no file descriptor is free, in the process or in the machine. */
export function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && /\bos error 2[34]\b/.test(error.message);
}
