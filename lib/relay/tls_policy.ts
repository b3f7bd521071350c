/**
 * How much TLS a destination gets, and which hosts are known to fail at it.
 * Pure: the time is handed in. Owns the meaning of the four policies; the
 * handshake is elsewhere.
 *
 * Never lets a failed handshake weaken `required` or `verified`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7435 | RFC 7435},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207}
 */

import {
  checkOptions,
  number,
  oneOf,
  type Rule,
  type Rules,
  whole,
} from "../options.ts";
import { HostMemory } from "./host_memory.ts";

/**
 * How much TLS: `none` never asks for it; `opportunistic` takes it where it is
 * offered, without a look at the certificate, and goes on in the clear where
 * the handshake fails; `required` sends nothing without TLS; `verified` also
 * wants a certificate that is trusted and made out to the host.
 */
export type TlsSecurity = "none" | "opportunistic" | "required" | "verified";

/** What a {@linkcode TlsSecurity} must be, inside other options. */
export const TLS_SECURITY_RULE: Rule = oneOf(
  "none",
  "opportunistic",
  "required",
  "verified",
);

/** What to do after EHLO. */
export type TlsStep = "use" | "skip" | "refuse";

/** Whether to say STARTTLS to a server that offers it, or does not. */
export function tlsStep(security: TlsSecurity, offered: boolean): TlsStep {
  if (security === "none") return "skip";
  if (offered) return "use";
  return security === "opportunistic" ? "skip" : "refuse";
}

/**
 * Whether a session may go on with a certificate.
 *
 * @param security The policy
 * @param facts What the check of the certificate found, and what the program said to it, if it was asked
 */
export function acceptsCertificate(
  security: TlsSecurity,
  facts: {
    /** Why the certificate is not to be trusted; `undefined` if it is. */
    error: string | undefined;
    /** The program's decision; it outweighs the policy. */
    verdict: boolean | undefined;
  },
): boolean {
  return facts.verdict ?? (security !== "verified" || !facts.error);
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
 *
 * @example Remember a host for an hour
 * ```ts
 * import { BrokenTlsMemory } from "@smtp/server";
 *
 * const memory = new BrokenTlsMemory({ lifeMs: 3_600_000 });
 * memory.remember("mx.example", 0);
 * console.assert(memory.apply("opportunistic", { host: "mx.example", now: 1 }) === "none");
 * console.assert(memory.apply("required", { host: "mx.example", now: 1 }) === "required");
 * ```
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
