/**
 * The stored form of a password for SCRAM: salt, number of rounds and two keys,
 * from which the password cannot be recovered.
 *
 * Never shows its keys on a console or in JSON: anyone with the server key can
 * impersonate the server. Only `toString()` writes them, for the accounts file.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5802#section-3 | RFC 5802 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc5803 | RFC 5803},
 * {@link https://www.rfc-editor.org/rfc/rfc7677 | RFC 7677}
 */

import {
  anyNumber,
  checkOptions,
  required,
  type Rules,
  secret,
  where,
  whole,
} from "../options.ts";
import { decodeBase64Strict, encodeBase64, encodeUtf8 } from "./encoding.ts";
import { redact } from "./redact.ts";
import { digest, equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import { saslPrep } from "./saslprep.ts";

/** Default rounds of a new verifier: OWASP's advice for PBKDF2 with HMAC-SHA-256. */
const DEFAULT_ITERATIONS = 600_000;
/** Fewest rounds of a new verifier; also those of a secret stored plain, which they do not protect at rest (RFC 7677 section 4). */
export const MIN_ITERATIONS = 4096;
/** Most rounds. More make a login take seconds: a mistake or an attack. */
export const MAX_ITERATIONS = 5_000_000;

const SALT_LENGTH = 16;
const FORM =
  /^SCRAM-SHA-256\$([1-9]\d{0,6}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)$/;

/** Options of {@linkcode ScramVerifier.create}. */
export interface ScramVerifierOptions {
  /**
   * Number of rounds of PBKDF2, 4096 to 5,000,000. The server pays for them at
   * each login by PLAIN or LOGIN, the client at each login by SCRAM.
   *
   * @default {600_000}
   */
  readonly iterations?: number | undefined;
  /**
   * The salt, 8 to 32 bytes.
   *
   * @default {16 random bytes}
   */
  readonly salt?: Uint8Array | undefined;
}

const RULES: Rules<ScramVerifierOptions> = {
  iterations: anyNumber,
  salt: secret(where("bytes", (value) => value instanceof Uint8Array)),
};

/**
 * A password hash of another system, for {@linkcode ScramVerifier.fromSaltedPassword}.
 *
 * @example A hash as Django writes it
 * ```ts
 * import { type SaltedPassword, ScramVerifier } from "@smtp/server/auth";
 *
 * const hash =
 *   "pbkdf2_sha256$4096$NaCl$RbTAAeFpCOv3xf1Yjbr65JIOqArtKBlmT9x2hCJozCw=";
 * const [, rounds = "", salt = "", key = ""] = hash.split("$");
 * const kept: SaltedPassword = {
 *   iterations: Number(rounds),
 *   salt: new TextEncoder().encode(salt),
 *   saltedPassword: Uint8Array.fromBase64(key),
 * };
 * const verifier = ScramVerifier.fromSaltedPassword(kept);
 * console.assert(await verifier.verify("pencil"));
 * ```
 */
export interface SaltedPassword {
  /** Number of rounds of PBKDF2, 1 to 5,000,000. Clients may refuse SCRAM with fewer than 4096. */
  readonly iterations: number;
  /** The salt as PBKDF2 got it, 1 to 1024 bytes. Django's is text: its bytes, not decoded from base64. */
  readonly salt: Uint8Array;
  /** The result of PBKDF2 with HMAC-SHA-256, 32 bytes. */
  readonly saltedPassword: Uint8Array;
}

const bytes = (want: string, least: number, most: number) =>
  required(secret(where(
    want,
    (value) =>
      value instanceof Uint8Array && value.length >= least &&
      value.length <= most,
  )));

const SALTED_RULES: Rules<SaltedPassword> = {
  iterations: required(whole(1, MAX_ITERATIONS)),
  salt: bytes("1 to 1024 bytes", 1, 1024),
  saltedPassword: bytes("32 bytes", 32, 32),
};

/**
 * A SCRAM-SHA-256 verifier. Serves SCRAM, PLAIN and LOGIN, but not CRAM-MD5.
 *
 * @example Make a verifier, store it, check a password
 * ```ts
 * import { ScramVerifier } from "@smtp/server/auth";
 *
 * const verifier = await ScramVerifier.create("pencil", { iterations: 4096 });
 * const line = `user:${verifier}`;
 * const kept = ScramVerifier.parse(line.slice("user:".length));
 * console.assert(await kept.verify("pencil"));
 * console.assert(!await kept.verify("pen"));
 * ```
 */
export class ScramVerifier {
  /** Rounds of PBKDF2. */
  readonly iterations: number;
  /** The salt. Callers must not change it. */
  readonly salt: Uint8Array;
  readonly #storedKey: Uint8Array;
  readonly #serverKey: Uint8Array;

  /**
   * Makes a verifier of its parts; see {@linkcode ScramVerifier.create} and
   * `parse`.
   *
   * @param keys The parts
   */
  constructor(keys: {
    /** Rounds of PBKDF2. */
    readonly iterations: number;
    /** The salt. */
    readonly salt: Uint8Array;
    /** StoredKey of RFC 5802, 32 bytes. */
    readonly storedKey: Uint8Array;
    /** ServerKey of RFC 5802, 32 bytes. */
    readonly serverKey: Uint8Array;
  }) {
    this.iterations = keys.iterations;
    this.salt = keys.salt;
    this.#storedKey = keys.storedKey;
    this.#serverKey = keys.serverKey;
    redact(this, () => this.toJSON());
  }

  /**
   * Makes a verifier of a password.
   *
   * @param secret The password
   * @throws {TypeError} If the password is empty or has characters that SASLprep prohibits
   * @throws {RangeError} If the rounds or the length of the salt are out of range
   */
  static async create(
    secret: string,
    options: ScramVerifierOptions = {},
  ): Promise<ScramVerifier> {
    checkOptions("ScramVerifier.create", options, RULES);
    const { iterations = DEFAULT_ITERATIONS, salt = randomBytes(SALT_LENGTH) } =
      options;
    const prepared = saslPrep(secret);
    if (prepared === undefined || prepared === "") {
      throw new TypeError(
        "Cannot make a verifier: the password is empty or has characters that SASLprep prohibits",
      );
    }
    if (
      !Number.isInteger(iterations) || iterations < MIN_ITERATIONS ||
      iterations > MAX_ITERATIONS
    ) {
      throw new RangeError(
        `Cannot make a verifier with "${iterations}" iterations: want ${MIN_ITERATIONS} to ${MAX_ITERATIONS}`,
      );
    }
    if (salt.length < 8 || salt.length > 32) {
      throw new RangeError(
        `Cannot make a verifier with a salt of ${salt.length} bytes: want 8 to 32`,
      );
    }
    const salted = await pbkdf2(prepared, { salt, iterations });
    return new ScramVerifier({ iterations, salt, ...scramKeys(salted) });
  }

  /**
   * Makes a verifier of a PBKDF2 hash with HMAC-SHA-256, as Django and other systems
   * keep it: that is the SaltedPassword of SCRAM (RFC 5802 section 3). So their
   * users log in by SCRAM, PLAIN and LOGIN, and no password must be known.
   *
   * Clients prepare passwords by SASLprep, and so does `verify()`. A password that
   * this changes, as by another spelling of an accented letter, does not fit if the
   * other system did not prepare it.
   *
   * @throws {TypeError} If salt or hash are not bytes of the right length
   * @throws {RangeError} If the number of rounds is out of range
   */
  static fromSaltedPassword(hash: SaltedPassword): ScramVerifier {
    checkOptions("ScramVerifier.fromSaltedPassword", hash, SALTED_RULES);
    const { iterations, saltedPassword } = hash;
    const { storedKey, serverKey } = scramKeys(saltedPassword);
    const salt = Uint8Array.from(hash.salt);
    return new ScramVerifier({ iterations, salt, storedKey, serverKey });
  }

  /**
   * Reads the form that `toString()` writes and PostgreSQL uses.
   *
   * @param text `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, all but the number in base64
   * @throws {SyntaxError} If the text has another form; the error does not repeat the text
   */
  static parse(text: string): ScramVerifier {
    const [, count, saltText = "", stored = "", server = ""] =
      FORM.exec(text) ?? [];
    const iterations = Number(count);
    const salt = decodeBase64Strict(saltText);
    const storedKey = decodeBase64Strict(stored);
    const serverKey = decodeBase64Strict(server);
    if (
      !(iterations <= MAX_ITERATIONS) || salt === undefined ||
      storedKey === undefined || serverKey === undefined
    ) {
      throw new SyntaxError(
        `Cannot parse the verifier: want "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>" with 1 to ${MAX_ITERATIONS} iterations`,
      );
    }
    return new ScramVerifier({ iterations, salt, storedKey, serverKey });
  }

  /**
   * A verifier that no password fits, for unknown users. Checking it costs as
   * much as checking `like`. The decoy of a verifier is always the same, so
   * that unknown users get the same answers after a restart and on all threads.
   *
   * @param like The verifier, or parameters, whose rounds and salt length to copy
   */
  static decoy(
    like: { readonly iterations: number; readonly salt: Uint8Array },
  ): ScramVerifier {
    // The keys of a verifier are secret, so the keys derived from them are, too.
    const seed = like instanceof ScramVerifier
      ? encodeUtf8(like.toString())
      : randomBytes(32);
    const derive = (text: string) =>
      hmac("sha256", { key: seed, data: encodeUtf8(`Decoy ${text}`) });
    const salt = new Uint8Array(like.salt.length);
    for (let at = 0; at < salt.length; at += 32) {
      salt.set(derive(`salt ${at}`).subarray(0, salt.length - at), at);
    }
    return new ScramVerifier({
      iterations: like.iterations,
      salt,
      storedKey: derive("stored key"),
      serverKey: derive("server key"),
    });
  }

  /**
   * Whether the verifier was made of this password. Costs one run of PBKDF2.
   *
   * @param secret The password
   */
  async verify(secret: string): Promise<boolean> {
    const prepared = saslPrep(secret);
    // The cost is always the same: it must reveal nothing about the account.
    const salted = await pbkdf2(prepared ?? "", this);
    const { storedKey } = scramKeys(salted);
    return equalSecrets(storedKey, this.#storedKey) && prepared !== undefined &&
      prepared !== "";
  }

  /**
   * Whether a client's proof is made with the password (RFC 5802 section 3).
   *
   * @param exchange The AuthMessage of the exchange and the ClientProof
   */
  provesKnowledge(
    exchange: { readonly authMessage: Uint8Array; readonly proof: Uint8Array },
  ): boolean {
    const { authMessage, proof } = exchange;
    const signature = hmac("sha256", {
      key: this.#storedKey,
      data: authMessage,
    });
    const clientKey = xor(signature, proof);
    return equalSecrets(digest("sha256", clientKey), this.#storedKey) &&
      proof.length === signature.length;
  }

  /**
   * The ServerSignature, which proves to the client that this server has its
   * verifier (RFC 5802 section 3).
   *
   * @param authMessage The AuthMessage of the exchange
   */
  sign(authMessage: Uint8Array): Uint8Array<ArrayBuffer> {
    return hmac("sha256", { key: this.#serverKey, data: authMessage });
  }

  /** The form for an accounts file. It contains the keys: keep it as secret as that file. */
  toString(): string {
    return `SCRAM-SHA-256$${this.iterations}:${encodeBase64(this.salt)}$` +
      `${encodeBase64(this.#storedKey)}:${encodeBase64(this.#serverKey)}`;
  }

  /** A text without the keys. */
  toJSON(): string {
    return `[ScramVerifier with ${this.iterations} iterations]`;
  }
}

/** The keys of a SaltedPassword (RFC 5802 section 3). */
export interface DerivedKeys {
  /** The key whose possession the client proves, 32 bytes. */
  readonly clientKey: Uint8Array<ArrayBuffer>;
  /** The digest of the client key, 32 bytes. */
  readonly storedKey: Uint8Array<ArrayBuffer>;
  /** The key that the server signs with, 32 bytes. */
  readonly serverKey: Uint8Array<ArrayBuffer>;
}

/**
 * Derives the keys from a SaltedPassword.
 *
 * @param saltedPassword The result of PBKDF2
 */
export function scramKeys(saltedPassword: Uint8Array): DerivedKeys {
  const keyed = (text: string) =>
    hmac("sha256", { key: saltedPassword, data: encodeUtf8(text) });
  const clientKey = keyed("Client Key");
  return {
    clientKey,
    storedKey: digest("sha256", clientKey),
    serverKey: keyed("Server Key"),
  };
}

/**
 * The exclusive or of two byte strings; as long as the first.
 *
 * @param left The first
 * @param right The second; missing bytes count as 0
 */
export function xor(
  left: Uint8Array,
  right: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(left, (byte, at) => byte ^ (right[at] ?? 0));
}
