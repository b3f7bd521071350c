/**
 * What became of the TLS of one connection to another server: the values that
 * reports to that server's owner count (RFC 8460). Stands alone: deliveries make
 * them, reports and handlers take them. Types only.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc8460#section-4.3 | RFC 8460 section 4.3}
 */

/** What kind of policy applied: DANE, MTA-STS, or none. */
export type TlsPolicyType = "tlsa" | "sts" | "no-policy-found";

/** The kinds of failure of RFC 8460 section 4.3. */
export type TlsFailureType =
  | "starttls-not-supported"
  | "certificate-host-mismatch"
  | "certificate-expired"
  | "certificate-not-trusted"
  | "validation-failure"
  | "tlsa-invalid"
  | "dnssec-invalid"
  | "dane-required"
  | "sts-policy-fetch-error"
  | "sts-policy-invalid"
  | "sts-webpki-invalid";

/** The policy that applied to a connection. */
export interface TlsPolicy {
  /** The kind. */
  readonly type: TlsPolicyType;
  /** The domain whose policy it is: the recipients' for MTA-STS, the host's TLSA base for DANE. */
  readonly domain: string;
  /** The policy as text: TLSA records as `"3 1 1 abcd"`, lines of an MTA-STS policy; `[]` without one. */
  readonly lines: readonly string[];
  /** The patterns of hosts in an MTA-STS policy. */
  readonly hosts?: readonly string[] | undefined;
  /** The mode of an MTA-STS policy. */
  readonly mode?: "enforce" | "testing" | "none" | undefined;
}

/**
 * What became of the TLS of one connection, or the reason that it had no TLS.
 *
 * @example Count failures by their kind
 * ```ts
 * import type { SmtpHandlers } from "@smtp/server";
 * import type {
 *   TlsFailureType,
 *   TlsPolicy,
 *   TlsPolicyType,
 *   TlsResult,
 * } from "@smtp/server/queue";
 *
 * const counts = new Map<TlsFailureType, number>();
 * const isStrict = ({ type }: TlsPolicy) =>
 *   type !== ("no-policy-found" satisfies TlsPolicyType);
 * const handlers: SmtpHandlers = {
 *   onTlsResult(_relay, { outcome, policy }: TlsResult) {
 *     if (outcome === "success" || !isStrict(policy)) return;
 *     counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
 *   },
 * };
 * console.assert(handlers.onTlsResult !== undefined);
 * ```
 */
export interface TlsResult {
  /** The recipients' domain. */
  readonly destination: string;
  /** The host that was tried; unset if the failure came before. */
  readonly host?: string | undefined;
  /** The IP address that was tried. */
  readonly address?: string | undefined;
  /** The IP address of this side. */
  readonly localAddress?: string | undefined;
  /** The policy that applied. */
  readonly policy: TlsPolicy;
  /** The outcome. */
  readonly outcome: "success" | TlsFailureType;
  /** The failure in words. */
  readonly reason?: string | undefined;
}
