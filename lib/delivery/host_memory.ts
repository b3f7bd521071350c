/**
 * The memories that deliveries have of hosts: those whose TLS handshake fails,
 * those that fail at BDAT, and the addresses that do not answer. Each memory is
 * bounded in time and in number. Pure: callers pass the time in.
 */

import type { TlsSecurity } from "../client/next_hop.ts";

/** A set of hosts, each of which is forgotten after a time. */
export class HostMemory {
  /** When each host is forgotten. */
  readonly #until = new Map<string, number>();
  readonly #lifeMs: number;
  readonly #maxHosts: number;

  constructor(
    options: {
      /** How long a host is remembered, in milliseconds; 6 hours by default. */
      lifeMs?: number | undefined;
      /** Hosts at a time, 1000 by default; the oldest is forgotten first. */
      maxHosts?: number | undefined;
    } = {},
  ) {
    this.#lifeMs = options.lifeMs ?? 21_600_000;
    this.#maxHosts = options.maxHosts ?? 1000;
  }

  /** Number of hosts, expired ones included. */
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

/** Milliseconds for which an address is paused after its first silence; doubles each time. */
const PAUSE_MS = 60_000;
/** The longest pause, in milliseconds. */
const MAX_PAUSE_MS = 600_000;
/** Addresses remembered; the oldest is forgotten first. */
const MAX_ADDRESSES = 10_000;
/** A connection that fails sooner than this, in milliseconds, is no silence: it delays no other delivery. */
const SILENCE_MS = 1000;

/** The pause of one address. */
interface Silence {
  /** When the pause ends, in milliseconds. */
  readonly until: number;
  /** Silences in a row. */
  readonly times: number;
}

/** The addresses that did not answer; each is paused for a while. */
export class SilentHosts {
  readonly #known = new Map<string, Silence>();

  /** Whether an address is paused at `now`, in milliseconds. */
  has(place: string, now: number): boolean {
    const known = this.#known.get(place);
    return known !== undefined && now < known.until;
  }

  /**
   * Records a connection that brought no answer.
   *
   * @param place Address and port
   * @param call When the attempt began and ended, in milliseconds
   */
  remember(
    place: string,
    call: { readonly began: number; readonly ended: number },
  ): void {
    const { began, ended } = call;
    if (ended - began < SILENCE_MS) return;
    const known = this.#known.get(place);
    // Attempts that ran at the same time count as one silence.
    if (known !== undefined && began < known.until) return;
    const times = (known?.times ?? 0) + 1;
    const pause = Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** (times - 1));
    this.#known.delete(place);
    this.#known.set(place, { until: ended + pause, times });
    if (this.#known.size > MAX_ADDRESSES) {
      this.#known.delete(this.#known.keys().next().value!);
    }
  }

  /** Forgets an address that has answered. */
  forget(place: string): void {
    this.#known.delete(place);
  }
}

/**
 * The hosts whose TLS handshake failed recently. Opportunistic deliveries to
 * them begin without TLS.
 */
export class BrokenTlsMemory extends HostMemory {
  /** The policy for a host now: `none` instead of `opportunistic` if its TLS is known to fail. */
  apply(
    security: TlsSecurity,
    place: {
      /** The host. */
      host: string;
      /** The time in milliseconds. */
      now: number;
    },
  ): TlsSecurity {
    if (security !== "opportunistic") return security;
    return this.has(place.host, place.now) ? "none" : security;
  }
}
