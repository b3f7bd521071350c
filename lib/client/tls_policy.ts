/**
 * How much TLS a destination gets. Owns the meaning of the four policies; the
 * handshake is elsewhere. Pure.
 *
 * Never lets a failed handshake weaken `required` or `verified`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7435 | RFC 7435},
 * {@link https://www.rfc-editor.org/rfc/rfc3207 | RFC 3207}
 */

import type { TlsSecurity } from "./next_hop.ts";

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
