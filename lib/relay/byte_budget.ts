/**
 * Memory that is asked for before it is used: what all conversions together may
 * hold. It stands alone because the bound is one for the whole process.
 */

/** Bytes that streams read into memory may hold together: 128 MiB. */
const HELD_BYTES = 128 * 1024 * 1024;

/** A number of bytes, given out first come first served. */
export class ByteBudget {
  #free: number;
  readonly #waiting: {
    readonly bytes: number;
    readonly resolve: () => void;
  }[] = [];

  /** @param bytes How many there are */
  constructor(bytes: number) {
    this.#free = bytes;
  }

  /**
   * Takes bytes, waiting for them where they are not free.
   *
   * @param bytes How many, not more than there are
   * @param signal Ends the wait; the promise rejects with its reason
   * @returns Gives them back; idempotent
   */
  async take(bytes: number, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#waiting.length > 0 || bytes > this.#free) {
      await this.#wait(bytes, signal);
    } else {
      this.#free -= bytes;
    }
    let isTaken = true;
    return () => {
      if (!isTaken) return;
      isTaken = false;
      this.#free += bytes;
      this.#serve();
    };
  }

  #wait(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      reject(signal!.reason);
      this.#serve();
    };
    const waiting = {
      bytes,
      resolve: () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
    };
    this.#waiting.push(waiting);
    signal?.addEventListener("abort", onAbort);
    return promise;
  }

  #serve(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || next.bytes > this.#free) return;
      this.#waiting.shift();
      this.#free -= next.bytes;
      next.resolve();
    }
  }
}

/** The budget of this thread. */
export const heldBytes: ByteBudget = new ByteBudget(HELD_BYTES);
