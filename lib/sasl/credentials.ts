/**
 * What a client showed of itself in an AUTH exchange, as `onAuthenticate` gets
 * it. Knows no accounts and decides nothing: it answers whether a secret fits.
 *
 * No text, JSON or console output of it ever holds a password or token.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422 | RFC 4422},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import type { MechanismName } from "./mechanism_name.ts";
import { redact } from "./encoding.ts";
import type { KnownSecret, SecretCheck } from "./secret_check.ts";

/** What {@linkcode Credentials} are made of. */
export interface CredentialsInit {
  /** The mechanism in use. */
  readonly mechanism: MechanismName;
  /** Who the client says it is. */
  readonly username: string;
  /** Whom it wants to act for. */
  readonly authorizationId?: string | undefined;
  /** The password, where the mechanism sends it. */
  readonly password?: string | undefined;
  /** The bearer token, where the mechanism sends one. */
  readonly token?: string | undefined;
  /** The client's TLS certificate in DER. */
  readonly certificate?: Uint8Array | undefined;
  /** Answers {@linkcode Credentials.verify}. */
  readonly check: SecretCheck;
}

/**
 * The credentials of one AUTH exchange.
 *
 * @example Answer for one user, whatever the mechanism
 * ```ts
 * import type { Credentials } from "@smtp/server";
 *
 * const secrets = new Map([["ann", "correct horse"]]);
 *
 * function onAuthenticate(_session: unknown, credentials: Credentials) {
 *   // `undefined` for an unknown user goes in as well: it costs the same time.
 *   return credentials.verify(secrets.get(credentials.username));
 * }
 * console.assert(onAuthenticate.length === 2);
 * ```
 */
export class Credentials {
  /** The mechanism in use. */
  readonly mechanism: MechanismName;
  /**
   * Who the client says it is, prepared by SASLprep. With XOAUTH2 and
   * OAUTHBEARER the name beside the token (which the token must bear out), with
   * EXTERNAL the name asked for; `""` where there is none.
   */
  readonly username: string;
  /**
   * Whom the client wants to act for, `""` for itself. Unless it is the user
   * name, the exchange fails although the secret is right, as long as the
   * handler does not set {@linkcode Credentials.identity} to it.
   */
  readonly authorizationId: string;
  /** The client's TLS certificate in DER, if it presented one. */
  readonly certificate: Uint8Array | undefined;
  /**
   * Who the session belongs to once the exchange has succeeded: the user name,
   * unless the handler sets something else (the name in a token or
   * certificate, or the authorization identity).
   */
  identity: string;
  readonly #password: string | undefined;
  readonly #token: string | undefined;
  readonly #check: SecretCheck;

  /**
   * Makes credentials.
   *
   * @param init What they are made of
   */
  constructor(init: CredentialsInit) {
    this.mechanism = init.mechanism;
    this.username = init.username;
    this.authorizationId = init.authorizationId ?? "";
    this.certificate = init.certificate;
    this.identity = init.username;
    this.#password = init.password;
    this.#token = init.token;
    this.#check = init.check;
    redact(this, () => this.toString());
  }

  /** The password as the client sent it; PLAIN and LOGIN only. */
  get password(): string | undefined {
    return this.#password;
  }

  /** The bearer token; XOAUTH2 and OAUTHBEARER only. */
  get token(): string | undefined {
    return this.#token;
  }

  /**
   * Whether the client showed that it knows `secret`, in constant time.
   *
   * - PLAIN, LOGIN: a plain secret or a verifier.
   * - SCRAM: a plain secret or a verifier. The promise settles when the
   *   client's proof has arrived, so a handler must await it, not a reply.
   * - CRAM-MD5: a plain secret; a verifier gives `false`, because the digest is
   *   keyed with the secret itself.
   * - XOAUTH2, OAUTHBEARER: the very token; handlers that look into tokens use
   *   {@linkcode Credentials.token} instead.
   * - EXTERNAL: always `false`; there is only
   *   {@linkcode Credentials.certificate} to judge by.
   *
   * @param secret What is known of the user; `undefined` for an unknown user
   * gives `false` after the same work
   */
  verify(secret: KnownSecret): Promise<boolean> {
    return this.#check(secret);
  }

  /** A text without secrets. */
  toString(): string {
    return `[Credentials ${this.mechanism} ${JSON.stringify(this.username)}]`;
  }

  /** The fields that are no secret. */
  toJSON(): Readonly<Record<string, string>> {
    const { mechanism, username, authorizationId } = this;
    return { mechanism, username, authorizationId };
  }
}
