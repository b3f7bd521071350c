/**
 * The MTA-STS policy of a domain as it is published now: for people and programs
 * that look at it. Stands alone: deliveries go by what was kept.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-3 | RFC 8461 section 3}
 */

import { DnsClient } from "../dns/client.ts";
import { normalizeName } from "../dns/name.ts";
import type { DnsQuerier } from "../dns/outcome.ts";
import {
  abortSignal,
  checkOptions,
  flag,
  having,
  milliseconds,
  port,
  type Rules,
} from "../options.ts";
import type { Certificate } from "../tls/certificate.ts";
import { TRUSTED_RULE } from "../tls/context.ts";
import { stsId, type StsPolicy } from "./sts_policy.ts";
import { fetchStsPolicy, type StsOutcome } from "./sts_store.ts";

export type { StsOutcome, StsPolicy };

/** Options of {@linkcode loadStsPolicy}. */
export interface StsPolicyOptions {
  /**
   * Asks the DNS.
   *
   * @default {new DnsClient()}
   */
  readonly dns?: DnsQuerier | undefined;
  /** The authorities that may sign the web server's certificate. Default: the platform's. */
  readonly trusted?: readonly Certificate[] | undefined;
  /**
   * The port of the web server. Only tests need another one than 443.
   *
   * @default {443}
   */
  readonly port?: number | undefined;
  /**
   * Whether the web server may be on this machine.
   *
   * @default {false}
   */
  readonly allowLoopback?: boolean | undefined;
  /**
   * Milliseconds for the request to the web server.
   *
   * @default {20000}
   */
  readonly timeoutMs?: number | undefined;
  /**
   * Ends the wait; the promise then rejects with the signal's reason. Default:
   * only the time limits end it.
   */
  readonly signal?: AbortSignal | undefined;
}

const RULES: Rules<StsPolicyOptions> = {
  dns: having("a DnsClient", "query"),
  trusted: TRUSTED_RULE,
  port,
  allowLoopback: flag,
  timeoutMs: milliseconds,
  signal: abortSignal,
};

/**
 * Finds the record of a domain at `_mta-sts`, and fetches the policy that it
 * announces. Keeps nothing. A policy of mode `"none"` is found, too.
 *
 * @param domain The domain, U-labels or A-labels
 * @throws {TypeError} If an option is unknown or of the wrong kind
 * @throws The signal's reason if `signal` fires
 *
 * @example A domain without a policy
 * ```ts
 * import {
 *   loadStsPolicy,
 *   type StsOutcome,
 *   type StsPolicy,
 *   type StsPolicyOptions,
 * } from "@smtp/server/queue";
 * import { DnsClient } from "@smtp/server/dns";
 * import { testDns } from "@smtp/server/testing";
 *
 * const nothing = () => Promise.reject(new Deno.errors.NotFound("None"));
 * const options: StsPolicyOptions = { dns: new DnsClient(testDns(nothing)) };
 * const line = ({ mode, hosts }: StsPolicy) => `${mode}: ${hosts.join(" ")}`;
 * const outcome: StsOutcome = await loadStsPolicy("example.com", options);
 * if (outcome.status === "found") console.log(line(outcome.policy));
 * console.assert(outcome.status === "none");
 * ```
 */
export async function loadStsPolicy(
  domain: string,
  options: StsPolicyOptions = {},
): Promise<StsOutcome> {
  checkOptions("loadStsPolicy", options, RULES);
  const { dns = new DnsClient(), signal, ...rest } = options;
  signal?.throwIfAborted();
  const name = normalizeName(domain);
  if (name === undefined || name.length + "_mta-sts.".length > 253) {
    return { status: "none" };
  }
  const answer = await dns.query("TXT", `_mta-sts.${name}`, { signal });
  if (answer.status === "failed") {
    const { reason } = answer;
    return { status: "failed", type: "sts-policy-fetch-error", reason };
  }
  const id = answer.status === "found" ? stsId(answer.records) : undefined;
  if (id === undefined) return { status: "none" };
  const policy = await fetchStsPolicy(name, id, { dns, signal, ...rest });
  signal?.throwIfAborted();
  return "status" in policy ? policy : { status: "found", policy };
}
