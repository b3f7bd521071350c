/**
 * The one way to wait in tests. A wait ends when the awaited event has happened.
 * The deadline only matters to a test that fails: it is far longer than a busy
 * machine needs, and its error says what was awaited.
 */

/** How long anything may take before a test fails, in ms. */
export const DEADLINE_MS = 180_000;

/** Waits for `promise`, at most `DEADLINE_MS`. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`Waited ${DEADLINE_MS} ms for ${what}`)),
    DEADLINE_MS,
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** How {@linkcode until} waits. */
export interface UntilOptions {
  /** What is awaited, in words; the text of the function if not given. */
  readonly what?: string;
  /** What to show of the state where the wait fails. */
  readonly seen?: () => unknown;
}

/**
 * Waits until `look` returns a truthy value, and returns that value.
 *
 * @throws {Error} If it does not within {@linkcode DEADLINE_MS}; the text says what was awaited and what was seen last
 */
export async function until<T>(
  look: () => T | Promise<T>,
  options: UntilOptions = {},
): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  let last: T | undefined;
  for (let pause = 0; performance.now() < deadline; pause = 1) {
    await new Promise<void>((resolve) => setTimeout(resolve, pause));
    last = await look();
    if (last) return last;
  }
  const seen = Deno.inspect(options.seen === undefined ? last : options.seen());
  throw new Error(
    `Waited ${DEADLINE_MS} ms for ${options.what ?? look}, saw ${seen} last`,
  );
}

/** Waits of a scripted server, which all end with the server. */
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
