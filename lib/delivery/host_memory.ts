/**
 * What deliveries remember of hosts for a while: those that closed or refused,
 * those whose TLS handshake fails, and the addresses that never answer. Pure:
 * the time is handed in. Each memory has a bound on time and on number.
 */

import type { TlsSecurity } from "../client/next_hop.ts";
import { checkOptions, number, type Rules, whole } from "../options.ts";

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

/** Milliseconds for which an address is left in peace that was silent once; doubles each time. */
const PAUSE_MS = 60_000;
/** The longest pause, in milliseconds. */
const MAX_PAUSE_MS = 600_000;
/** Addresses remembered; the oldest go first. */
const MAX_ADDRESSES = 10_000;
/** An answer that comes sooner than this, refusal included, costs nobody anything; in ms. */
const SILENCE_MS = 1000;

/** What is known of one address. */
interface Silence {
  readonly until: number;
  readonly times: number;
}

/** Remembers silent addresses. */
export class SilentHosts {
  readonly #known = new Map<string, Silence>();

  /** Whether an address is to be left in peace at `now`, in milliseconds. */
  has(place: string, now: number): boolean {
    const known = this.#known.get(place);
    return known !== undefined && now < known.until;
  }

  /**
   * Notes that a call came to nothing.
   *
   * @param place Address and port
   * @param call When it began and ended, in milliseconds
   */
  note(
    place: string,
    call: { readonly began: number; readonly ended: number },
  ): void {
    const { began, ended } = call;
    if (ended - began < SILENCE_MS) return;
    const known = this.#known.get(place);
    // Calls that went out together and end one after the other are one silence.
    if (known !== undefined && began < known.until) return;
    const times = (known?.times ?? 0) + 1;
    const pause = Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** (times - 1));
    this.#known.delete(place);
    this.#known.set(place, { until: ended + pause, times });
    if (this.#known.size > MAX_ADDRESSES) {
      this.#known.delete(this.#known.keys().next().value!);
    }
  }

  /** Forgets an address: it has spoken. */
  forget(place: string): void {
    this.#known.delete(place);
  }
}

/** Options of {@linkcode BrokenTlsMemory}. */
export interface BrokenTlsMemoryOptions {
  /**
   * How long a host is remembered, in milliseconds.
   *
   * @default {21_600_000} 6 hours
   */
  readonly lifeMs?: number | undefined;
  /**
   * Hosts remembered at once; the oldest goes first.
   *
   * @default {1000}
   */
  readonly maxHosts?: number | undefined;
}

const RULES: Rules<BrokenTlsMemoryOptions> = {
  lifeMs: number(),
  maxHosts: whole(),
};

/**
 * The hosts whose TLS handshake failed lately, so that opportunistic
 * deliveries to them do without it from the start.
 */
export class BrokenTlsMemory {
  readonly #hosts: HostMemory;

  /**
   * Makes a memory that knows of no host.
   *
   * @param options How long, and how many
   */
  constructor(options: BrokenTlsMemoryOptions = {}) {
    checkOptions("BrokenTlsMemory", options, RULES);
    this.#hosts = new HostMemory(options);
  }

  /** Hosts remembered, those whose time has passed included. */
  get size(): number {
    return this.#hosts.size;
  }

  /** Notes that the handshake with a host failed at `now`, in milliseconds. */
  remember(host: string, now: number): void {
    this.#hosts.remember(host, now);
  }

  /** Forgets a host: it wants TLS, so its TLS is to be tried again. */
  forget(host: string): void {
    this.#hosts.forget(host);
  }

  /** The policy to use for a host now: `none` instead of `opportunistic` where TLS is known to fail. */
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
    return this.#hosts.has(place.host, place.now) ? "none" : security;
  }
}
