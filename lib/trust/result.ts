/**
 * What the checks of a message say: values that cross threads, go into the log and
 * become one Authentication-Results field. Stands alone: every check makes one of
 * them, and none knows another check. Loads nothing. *
 * {@link https://www.rfc-editor.org/rfc/rfc8601#section-2.7 | RFC 8601 section 2.7}
 */

/** The result words of RFC 8601 section 2.7. */
export type AuthResult =
  | "pass"
  | "fail"
  | "softfail"
  | "neutral"
  | "none"
  | "policy"
  | "temperror"
  | "permerror";

/** Whether a domain allows the client to send in its name (RFC 7208). */
export interface SpfResult {
  /** The result. */
  readonly result: AuthResult;
  /** Whose domain was checked: that of MAIL FROM, or the name in HELO. */
  readonly identity: "mailfrom" | "helo";
  /** The domain that was checked; `""` for no domain. */
  readonly domain: string;
  /** The term of the record that decided, as `"ip4:192.0.2.0/24"`. */
  readonly mechanism?: string | undefined;
  /** The domain's own words about a "fail". Not trusted: it is the sender's text. */
  readonly explanation?: string | undefined;
  /** Why there is no definite result, as one sentence without a final period. */
  readonly reason?: string | undefined;
  /** The number of terms that asked the DNS, of 10. */
  readonly lookups: number;
}

/** What one DKIM-Signature field is worth (RFC 6376). */
export interface DkimResult {
  /** The result. */
  readonly result: AuthResult;
  /** The signing domain, `d=`, in lower case as A-labels; `""` if it cannot be read. */
  readonly domain: string;
  /** The selector, `s=`; `""` if it cannot be read. */
  readonly selector: string;
  /** The identity, `i=`; `@` and the domain if the field has none. */
  readonly identity: string;
  /** The algorithm, `a=`, as `"rsa-sha256"`; `""` if it cannot be read. */
  readonly algorithm: string;
  /** Bits of the key, if it was found. */
  readonly keyBits?: number | undefined;
  /** Whether the domain says that it only tests DKIM (`t=y`). */
  readonly testing: boolean;
  /** Why it is no pass, as one sentence without a final period. */
  readonly reason?: string | undefined;
  /** Bytes of the body that an `l=` leaves unsigned. */
  readonly unsigned?: number | undefined;
  /** The first 8 characters of `b=`: which of several signatures this is about. */
  readonly signature: string;
}

/** What the author's domain asks for, and whether the message meets it (RFC 9989). */
export interface DmarcResult {
  /** The result: "none" if the domain has no policy. */
  readonly result: AuthResult;
  /** The domain of the author: the one in From. */
  readonly author?: string | undefined;
  /** The organizational domain of the author's domain. */
  readonly organization?: string | undefined;
  /** What the domain asks for, with `t=` taken into account. */
  readonly policy?: "none" | "quarantine" | "reject" | undefined;
  /** The domain at which the record was found. */
  readonly recordAt?: string | undefined;
  /** The checks that vouch for the author's domain. */
  readonly alignedBy?: readonly ("spf" | "dkim")[] | undefined;
  /** Why there is no definite result, as one sentence without a final period. */
  readonly reason?: string | undefined;
}

/** What the chain of forwarders is worth (RFC 8617): information, and no verdict. */
export interface ArcResult {
  /** "pass", "fail", or "none" without a chain; "temperror" if a key could not be had. */
  readonly result: AuthResult;
  /** The number of the newest set; 0 without a chain. */
  readonly instance: number;
  /** The domains that sealed the sets, oldest first. */
  readonly sealedBy: readonly string[];
  /** Why it is no pass, as one sentence without a final period. */
  readonly reason?: string | undefined;
}

/** Whether the client's address has a name that leads back to it (RFC 8601 section 2.7.3). */
export interface CheckedReverse {
  /** "pass" if a name leads back, "fail" if none does, "permerror" without a name. */
  readonly result: AuthResult;
  /** A name that leads back. */
  readonly name?: string | undefined;
}

/** The results of all checks of one message. */
export interface AuthenticationValues {
  /** SPF of MAIL FROM; of the name in HELO for a null sender. */
  readonly spf: SpfResult;
  /** SPF of the name in HELO. */
  readonly helo: SpfResult;
  /** One result for each DKIM-Signature field, from the top. */
  readonly dkim: readonly DkimResult[];
  /** The policy of the author's domain. */
  readonly dmarc: DmarcResult;
  /** The chain of forwarders. */
  readonly arc: ArcResult;
  /** The name of the client's address, if it was asked. */
  readonly reverse?: CheckedReverse | undefined;
}

/**
 * What a message proved about its origin. As text it is the value of the
 * Authentication-Results field.
 *
 * @example Move what fails the author's policy
 * ```ts
 * import { MaildirStore, type SmtpHandlers } from "@smtp/server";
 *
 * const suspects = new MaildirStore({ folder: "./suspects" });
 * const handlers: SmtpHandlers = {
 *   onMessage(_session, message) {
 *     if (message.authentication?.dmarc.result === "fail") {
 *       message.store = suspects;
 *     }
 *   },
 * };
 * console.assert(handlers.onMessage !== undefined);
 * ```
 */
export class MessageAuthentication implements AuthenticationValues {
  /** SPF of MAIL FROM; of the name in HELO for a null sender. */
  readonly spf: SpfResult;
  /** SPF of the name in HELO. */
  readonly helo: SpfResult;
  /** One result for each DKIM-Signature field, from the top. */
  readonly dkim: readonly DkimResult[];
  /** The policy of the author's domain. */
  readonly dmarc: DmarcResult;
  /** The chain of forwarders. */
  readonly arc: ArcResult;
  /** The name of the client's address, if it was asked. */
  readonly reverse: CheckedReverse | undefined;
  readonly #text: string;

  /**
   * Made by the server.
   *
   * @param values The results
   * @param text The value of the Authentication-Results field
   */
  constructor(values: AuthenticationValues, text: string) {
    this.spf = values.spf;
    this.helo = values.helo;
    this.dkim = values.dkim;
    this.dmarc = values.dmarc;
    this.arc = values.arc;
    this.reverse = values.reverse;
    this.#text = text;
  }

  /** The value of the Authentication-Results field, folded. */
  toString(): string {
    return this.#text;
  }
}

/** One thing to know about a record. */
export interface TrustFinding {
  /** `"wrong"`: it does not do what it was published for. */
  readonly level: "wrong" | "advice";
  /** What, as one sentence without a final period. */
  readonly text: string;
}
