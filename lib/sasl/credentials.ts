/**
 * The credentials that a client presents in an AUTH exchange, as
 * `onAuthenticate` gets them, and the checks that compare them with a stored
 * secret. Knows no accounts and decides nothing: it answers whether a secret
 * fits.
 *
 * No text, JSON or console output of it ever holds a password or token.
 *
 * The danger is the clock: a check that is quicker for a user that does not
 * exist names those that do. So `undefined` (no such user) goes the whole way,
 * and a secret stored plain pays the rounds that a verifier would have cost.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4422 | RFC 4422},
 * {@link https://www.rfc-editor.org/rfc/rfc4954 | RFC 4954}
 */

import type { MechanismName } from "./mechanism_name.ts";
import { encodeUtf8 } from "./encoding.ts";
import { redact } from "./redact.ts";
import { equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import { saslPrep } from "./saslprep.ts";
import { MIN_ITERATIONS, ScramVerifier } from "./scram_verifier.ts";

/**
 * The stored secret of a user: plain, or a verifier; `undefined` for an unknown user.
 *
 * @example Accounts that another program keeps
 * ```ts
 * import {
 *   type Accounts,
 *   type KnownSecret,
 *   ScramVerifier,
 *   type ScramVerifierOptions,
 * } from "@smtp/server/auth";
 *
 * const strength: ScramVerifierOptions = { iterations: 4096 };
 * const verifier = await ScramVerifier.create("secret", strength);
 * const rows = new Map<string, KnownSecret>([["ann", verifier]]);
 * const accounts: Accounts = { find: (username) => rows.get(username) };
 * console.assert(await accounts.find("ann") === verifier);
 * ```
 */
export type KnownSecret = string | ScramVerifier | undefined;

/**
 * Answers whether the client knows the secret. Takes the same time for a wrong
 * secret and for `undefined`. Does not reject, whatever a peer sent.
 */
type SecretCheck = (secret: KnownSecret) => Promise<boolean>;

/**
 * The credentials of one AUTH exchange.
 *
 * @example Answer for one user, whatever the mechanism
 * ```ts
 * import type { Credentials } from "@smtp/server/auth";
 *
 * const secrets = new Map([["ann", "correct horse"]]);
 *
 * function onAuthenticate(_session: unknown, credentials: Credentials) {
 *   // Pass `undefined` for an unknown user, too: it costs the same time.
 *   return credentials.verify(secrets.get(credentials.username));
 * }
 * console.assert(onAuthenticate.length === 2);
 * ```
 */
export class Credentials {
  /** The mechanism in use. */
  readonly mechanism: MechanismName;
  /**
   * The user name that the client claims, prepared by SASLprep. With XOAUTH2
   * and OAUTHBEARER the name that accompanies the token, which the handler must
   * check against the token. With EXTERNAL the name asked for. `""` if the
   * client gave no name.
   */
  readonly username: string;
  /**
   * The user that the client wants to act for, `""` for itself. If it is not
   * the user name, the exchange fails even with the right secret, unless the
   * handler sets {@linkcode Credentials.identity} to it.
   */
  readonly authorizationId: string;
  /** The client's TLS certificate in DER, if it presented one. */
  readonly certificate: Uint8Array | undefined;
  /**
   * The user of the session once the exchange has succeeded: the user name,
   * unless the handler sets another one (the name in a token or certificate, or
   * the authorization identity).
   */
  identity: string;
  readonly #password: string | undefined;
  readonly #token: string | undefined;
  readonly #keyedDigest: KeyedDigestOptions | undefined;
  readonly #check: SecretCheck;

  /**
   * Makes credentials.
   *
   * @param init The parts
   */
  constructor(init: {
    /** The mechanism in use. */
    readonly mechanism: MechanismName;
    /** The user name that the client claims. */
    readonly username: string;
    /** The user that the client wants to act for. */
    readonly authorizationId?: string | undefined;
    /** The password, if the mechanism sends it. */
    readonly password?: string | undefined;
    /** The bearer token, if the mechanism sends one. */
    readonly token?: string | undefined;
    /** Challenge and answer of CRAM-MD5. */
    readonly keyedDigest?: KeyedDigestOptions | undefined;
    /** The client's TLS certificate in DER. */
    readonly certificate?: Uint8Array | undefined;
    /**
     * Answers {@linkcode Credentials.verify}: whether the client knows the secret.
     * Takes the same time for a wrong secret and for `undefined`. Does not
     * reject, whatever a peer sent.
     */
    readonly check: (secret: KnownSecret) => Promise<boolean>;
  }) {
    this.mechanism = init.mechanism;
    this.username = init.username;
    this.authorizationId = init.authorizationId ?? "";
    this.certificate = init.certificate;
    this.identity = init.username;
    this.#password = init.password;
    this.#token = init.token;
    this.#keyedDigest = init.keyedDigest;
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
   * CRAM-MD5 only: the server's challenge with its angle brackets, and the client's
   * digest of it, 32 hexadecimal digits in lower case.
   */
  get keyedDigest():
    | { readonly challenge: Uint8Array; readonly answer: string }
    | undefined {
    return this.#keyedDigest;
  }

  /**
   * Whether the client showed that it knows `secret`, in constant time.
   *
   * - PLAIN, LOGIN: a plain secret or a verifier.
   * - SCRAM: a plain secret or a verifier. The promise settles when the
   *   client's proof has arrived, so a handler must await it, not a reply.
   * - CRAM-MD5: a plain secret; a verifier gives `false`, because the digest is
   *   keyed with the secret itself.
   * - XOAUTH2, OAUTHBEARER: the token itself; handlers that validate tokens use
   *   {@linkcode Credentials.token} instead.
   * - EXTERNAL: always `false`; handlers judge
   *   {@linkcode Credentials.certificate} instead.
   *
   * @param secret The stored secret of the user; `undefined` for an unknown
   * user gives `false` after the same work
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

const DUMMY_SALT = randomBytes(16);

/** Options of {@linkcode passwordCheck}. */
export interface PasswordCheckOptions {
  /** The password as the client sent it. */
  readonly password: string;
  /** The verifier that an unknown user is compared with. */
  readonly decoy: ScramVerifier | undefined;
}

/**
 * The check of a password that the client sent in the clear (PLAIN, LOGIN).
 *
 * @param options Password and decoy
 */
export function passwordCheck(options: PasswordCheckOptions): SecretCheck {
  const { password, decoy } = options;
  const given = saslPrep(password);
  const iterations = decoy?.iterations ?? MIN_ITERATIONS;
  return async (secret) => {
    if (secret instanceof ScramVerifier) return await secret.verify(password);
    await pbkdf2(given ?? "", { salt: DUMMY_SALT, iterations });
    return sameSecret(secret, given);
  };
}

/**
 * The check of a bearer token: compares the token itself, in constant time. A
 * verifier never fits, because none is derived from a token.
 *
 * @param token The token
 */
export function tokenCheck(token: string): SecretCheck {
  return (secret) =>
    Promise.resolve(
      typeof secret === "string" && secret !== "" &&
        equalSecrets(secret, token),
    );
}

/**
 * Challenge and answer of CRAM-MD5.
 *
 * @example A program that compares them itself
 * ```ts
 * import type { Credentials, KeyedDigestOptions } from "@smtp/server/auth";
 *
 * function digestOf({ keyedDigest }: Credentials): string | undefined {
 *   const sent: KeyedDigestOptions | undefined = keyedDigest;
 *   return sent?.answer;
 * }
 * console.assert(typeof digestOf === "function");
 * ```
 */
export interface KeyedDigestOptions {
  /** The server's challenge, angle brackets included. */
  readonly challenge: Uint8Array;
  /** The client's digest of it, 32 hexadecimal digits in lower case. */
  readonly answer: string;
}

/**
 * The check of a CRAM-MD5 answer. A verifier never fits: the digest is keyed
 * with the plain secret, which cannot be recovered from a verifier.
 *
 * @param options Challenge and answer
 */
export function keyedDigestCheck(options: KeyedDigestOptions): SecretCheck {
  const { challenge, answer } = options;
  return (secret) => {
    const known = typeof secret === "string" ? secret : "";
    const want = hmac("md5", { key: encodeUtf8(known), data: challenge });
    const same = equalSecrets(want.toHex(), answer);
    return Promise.resolve(same && known !== "");
  };
}

/** Whether a stored plain secret equals a prepared password. */
function sameSecret(secret: KnownSecret, given: string | undefined): boolean {
  const known = typeof secret === "string" ? saslPrep(secret) : undefined;
  const same = equalSecrets(known ?? "", given ?? "");
  return same && known !== undefined && known !== "" && given !== undefined;
}
