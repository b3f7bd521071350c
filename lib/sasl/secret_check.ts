/**
 * Whether a secret that the server keeps is the one that the client showed, for
 * the mechanisms that need no further word from the client.
 *
 * The danger is the clock: a check that is quicker for a user who does not
 * exist names those who do. So `undefined` (no such user) goes the whole way,
 * and a secret stored plain pays the rounds that a verifier would have cost.
 */

import { equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import { saslPrep } from "./saslprep.ts";
import { MIN_ITERATIONS, ScramVerifier } from "./scram_verifier.ts";
import { encodeUtf8 } from "./encoding.ts";

/** What a server may know of a user: the plain secret, a verifier of it, or that there is no such user. */
export type KnownSecret = string | ScramVerifier | undefined;

/**
 * Answers whether the client showed the secret. Takes the same time for a wrong
 * secret and for `undefined`; does not reject for anything a peer sent.
 */
export type SecretCheck = (secret: KnownSecret) => Promise<boolean>;

const DUMMY_SALT = randomBytes(16);

/** What {@linkcode passwordCheck} needs. */
export interface PasswordCheckOptions {
  /** The password as the client sent it. */
  readonly password: string;
  /** What an unknown user is compared with. */
  readonly decoy: ScramVerifier | undefined;
}

/**
 * The check of a password that the client sent as it is (PLAIN, LOGIN).
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
 * The check of a bearer token: against the very token, in constant time. A
 * verifier never fits, because nobody derives one from a token.
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

/** Challenge and answer of CRAM-MD5. */
export interface KeyedDigestOptions {
  /** What the server sent, angle brackets with it. */
  readonly challenge: Uint8Array;
  /** What the client made of it, 32 hexadecimal digits in lower case. */
  readonly answer: string;
}

/**
 * The check of a CRAM-MD5 answer. A verifier never fits: the digest is keyed
 * with the plain secret, which a verifier does not give back.
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
