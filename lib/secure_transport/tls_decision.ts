/**
 * Which TLS a host must have before mail goes to it. Pure: what the DNS and the
 * policies of the domain say goes in, the decision comes out.
 *
 * The strictest wins: a configured "required" or "verified" is never weakened, and
 * "none" is never raised. Where DANE is usable it alone decides, else MTA-STS, else
 * the configuration. What cannot be found out about DANE skips the host: to go on
 * without TLS then would let an attacker switch it off.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7672#section-2.2 | RFC 7672 section 2.2},
 * {@link https://www.rfc-editor.org/rfc/rfc8461#section-5 | RFC 8461 section 5},
 * {@link https://www.rfc-editor.org/rfc/rfc8689#section-4.2.1 | RFC 8689 section 4.2.1}
 */

import type { TlsSecurity } from "../client/next_hop.ts";
import type { TlsaRecord } from "../dns/outcome.ts";
import { usableRecords } from "./tlsa_match.ts";
import type { TlsFailureType, TlsPolicy } from "./tls_result.ts";

/** What is known of a host's TLSA records. */
export type DaneState =
  /** DANE is off, or the answers are not secure, or there are no records. */
  | { readonly status: "none" }
  /** There are secure records at a name. */
  | {
    readonly status: "found";
    /** The name below which they are: the reference name. */
    readonly base: string;
    readonly records: readonly TlsaRecord[];
  }
  /** It is not known whether there are records. */
  | { readonly status: "failed"; readonly reason: string };

/** The policy of the recipients' domain, as far as a decision needs it. */
export interface StsFacts {
  readonly mode: "enforce" | "testing" | "none";
  /** Whether the policy lists the host. */
  readonly listsHost: boolean;
  readonly policy: TlsPolicy;
}

/** What is known before a host is connected to. */
export interface TlsFacts {
  /** The host's name. */
  readonly host: string;
  /** The domain of the recipients. */
  readonly domain: string;
  /** What the configuration asks for. */
  readonly configured: TlsSecurity;
  readonly dane: DaneState;
  /** The MTA-STS policy; unset without one. */
  readonly sts?: StsFacts | undefined;
  /** Whether the host is a configured next hop: the domain is then no name of it. */
  readonly isConfigured?: boolean | undefined;
}

/** Which TLS to use with a host. */
export interface TlsUse {
  readonly action: "use";
  /** What the client does. */
  readonly security: TlsSecurity;
  /** The records of which the certificate must fit one. */
  readonly tlsa?: readonly TlsaRecord[] | undefined;
  /** The name for SNI and for the certificate. */
  readonly name: string;
  /** The names of which a certificate may have any, for TLSA records of usage 2. */
  readonly names: readonly string[];
  /** Whether a certificate that the policy would refuse only counts: the policy is being tested. */
  readonly isTest: boolean;
  /** What is wrong with the host before it is called, if the policy is being tested. */
  readonly fault?: TlsFailureType | undefined;
  /** The policy that applies, for reports. */
  readonly policy: TlsPolicy;
  /** Equal for sessions that may stand in for each other. */
  readonly key: string;
}

/** A host that must not be used. */
export interface TlsSkip {
  readonly action: "skip";
  /** Why, as one sentence without a final period. */
  readonly reason: string;
  readonly type: TlsFailureType;
  readonly policy: TlsPolicy;
}

const STRICTNESS: readonly TlsSecurity[] = [
  ...["none", "opportunistic", "required", "verified"] as const,
];

/** The stricter of two. */
function stricter(one: TlsSecurity, other: TlsSecurity): TlsSecurity {
  return STRICTNESS.indexOf(one) >= STRICTNESS.indexOf(other) ? one : other;
}

/** Decides. */
export function decideTls(facts: TlsFacts): TlsUse | TlsSkip {
  const { host, domain, configured, dane, isConfigured } = facts;
  const names = isConfigured ? [host] : [host, domain];
  const none: TlsPolicy = { type: "no-policy-found", domain, lines: [] };
  const plain: TlsUse = {
    ...{ action: "use", security: configured, name: host },
    ...{ names, isTest: false, policy: none, key: "" },
  };
  if (configured === "none") return plain;
  if (dane.status === "failed") {
    return {
      action: "skip",
      type: "dnssec-invalid",
      reason: `Cannot find out the TLSA records of "${host}": ${dane.reason}`,
      policy: { type: "tlsa", domain: host, lines: [] },
    };
  }
  if (dane.status === "found") {
    const usable = usableRecords(dane.records);
    const policy = danePolicy(dane);
    if (usable.length > 0) {
      const all = [...new Set([dane.base, ...names])];
      // What was accepted for the name of one domain says nothing of another.
      const counted = usable.some(({ usage }) => usage === 2) ? all : [];
      return {
        ...plain,
        security: stricter(configured, "required"),
        tlsa: usable,
        name: dane.base,
        names: all,
        policy,
        key: [...policy.lines, ...counted].join(),
      };
    }
    const required = {
      ...plain,
      security: stricter(configured, "required"),
      policy,
      key: "tlsa",
    };
    return withSts(required, facts);
  }
  return withSts(plain, facts);
}

/**
 * The TLS for a message that needs TLS all its way; `undefined` if the host cannot
 * give it. A name from an answer that anyone may have forged proves nothing, even
 * with a certificate (RFC 8689 section 4.2.1).
 *
 * @param isNamed Whether the host's name is known for sure: from the
 * configuration, a secure answer, or an MTA-STS policy
 */
export function strictTls(
  use: TlsUse,
  isNamed: boolean,
): TlsUse | undefined {
  const strict: TlsUse = use.security === "none" || use.tlsa !== undefined
    ? use
    : { ...use, security: "verified" };
  return satisfiesRequireTls(strict, isNamed) ? strict : undefined;
}

/** Whether a message with REQUIRETLS may go to a host with this TLS. */
export function satisfiesRequireTls(use: TlsUse, isNamed: boolean): boolean {
  return isNamed && (use.tlsa !== undefined || use.security === "verified");
}

/** The decision with what MTA-STS adds to it. */
function withSts(plain: TlsUse, { host, sts }: TlsFacts): TlsUse | TlsSkip {
  if (sts === undefined || sts.mode === "none") return plain;
  const { policy, mode } = sts;
  const fault = sts.listsHost ? undefined : "validation-failure";
  if (mode === "testing") return { ...plain, policy, isTest: true, fault };
  if (fault !== undefined) {
    return {
      action: "skip",
      type: fault,
      reason:
        `The MTA-STS policy of "${policy.domain}" does not list "${host}"`,
      policy,
    };
  }
  const security = stricter(plain.security, "verified");
  return { ...plain, security, policy, key: "sts" };
}

/** The policy of TLSA records, for reports. */
function danePolicy(
  { base, records }: DaneState & { readonly status: "found" },
): TlsPolicy {
  const lines = records.map(({ usage, selector, matching, data }) =>
    `${usage} ${selector} ${matching} ${data}`
  ).sort();
  return { type: "tlsa", domain: base, lines };
}
