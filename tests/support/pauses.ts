/** Waits of a scripted server, all of which end with it. */
export class Pauses {
  readonly #ends = new Set<() => void>();

  /** Waits `ms` milliseconds; rejects when the server ends before. */
  readonly wait = (ms: number): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const end = () => {
      clearTimeout(timer);
      reject(new Deno.errors.Interrupted("The server ends"));
    };
    const timer = setTimeout(() => {
      this.#ends.delete(end);
      resolve();
    }, ms);
    this.#ends.add(end);
    return promise;
  };

  /** Ends all that are under way. */
  end(): void {
    for (const end of this.#ends) end();
  }
}
