/**
 * What is known of hosts for a while. Pure: the time is handed in. Owns the
 * bounds on time and number; what is remembered is its owner's matter.
 *
 * It stands alone because TLS policy and delivery use it for different facts.
 */

/** Hosts that share a property for a while. */
export class HostMemory {
  readonly #until = new Map<string, number>();
  readonly #lifeMs: number;
  readonly #maxHosts: number;

  /** @param options How long, and how many: 6 hours and 1000 when not given */
  constructor(
    options: {
      /** How long a host is remembered, in milliseconds. */
      lifeMs?: number | undefined;
      /** Hosts remembered at once; the oldest goes first. */
      maxHosts?: number | undefined;
    } = {},
  ) {
    this.#lifeMs = options.lifeMs ?? 21_600_000;
    this.#maxHosts = options.maxHosts ?? 1000;
  }

  /** Hosts remembered, those whose time has passed included. */
  get size(): number {
    return this.#until.size;
  }

  /** Remembers a host from `now` on, in milliseconds. */
  remember(host: string, now: number): void {
    this.#until.delete(host);
    this.#until.set(host, now + this.#lifeMs);
    for (const oldest of this.#until.keys()) {
      if (this.#until.size <= this.#maxHosts) return;
      this.#until.delete(oldest);
    }
  }

  /** Forgets a host. */
  forget(host: string): void {
    this.#until.delete(host);
  }

  /** Whether a host is remembered at `now`, in milliseconds. */
  has(host: string, now: number): boolean {
    const until = this.#until.get(host);
    if (until === undefined) return false;
    if (now < until) return true;
    this.#until.delete(host);
    return false;
  }
}
