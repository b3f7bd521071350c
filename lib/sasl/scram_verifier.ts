/**
 * What a server keeps of a password for SCRAM: salt, number of rounds and two
 * keys, from which the password cannot be read back.
 *
 * Never shows its keys to a console or in JSON: who has the server key can play
 * the server. `toString()` alone writes them out, for the accounts file.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5802#section-3 | RFC 5802 section 3},
 * {@link https://www.rfc-editor.org/rfc/rfc5803 | RFC 5803},
 * {@link https://www.rfc-editor.org/rfc/rfc7677 | RFC 7677}
 */

import {
  anyNumber,
  checkOptions,
  type Rules,
  secret,
  where,
} from "../options.ts";
import { decodeBase64Strict, encodeBase64, encodeUtf8 } from "./encoding.ts";
import { redact } from "./redact.ts";
import { digest, equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import { saslPrep } from "./saslprep.ts";

/** Rounds of a verifier made here: what OWASP advises for PBKDF2 with HMAC-SHA-256. */
export const DEFAULT_ITERATIONS = 600_000;
/** Rounds for a secret that is stored plain, where they protect nothing at rest (RFC 7677 section 4). */
export const MIN_ITERATIONS = 4096;
/** Beyond this a login takes seconds: a verifier that asks for more is a mistake or an attack. */
export const MAX_ITERATIONS = 5_000_000;

const SALT_LENGTH = 16;
const FORM =
  /^SCRAM-SHA-256\$([1-9]\d{0,6}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)$/;

/** Options of {@linkcode ScramVerifier.create}. */
export interface ScramVerifierOptions {
  /**
   * Rounds of PBKDF2, 4096 to 5,000,000. Every login by PLAIN or LOGIN, and
   * every SCRAM client, pays for them.
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
  salt: secret(where("octets", (value) => value instanceof Uint8Array)),
};

/** What a {@linkcode ScramVerifier} is made of. */
export interface ScramKeys {
  /** Rounds of PBKDF2. */
  readonly iterations: number;
  /** The salt. */
  readonly salt: Uint8Array;
  /** StoredKey of RFC 5802, 32 bytes. */
  readonly storedKey: Uint8Array;
  /** ServerKey of RFC 5802, 32 bytes. */
  readonly serverKey: Uint8Array;
}

/**
 * A SCRAM-SHA-256 verifier. Serves SCRAM, PLAIN and LOGIN; CRAM-MD5 cannot be
 * done with it.
 *
 * @example Make one, keep it, check a password with it
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
  /** The salt. Not to be changed. */
  readonly salt: Uint8Array;
  readonly #storedKey: Uint8Array;
  readonly #serverKey: Uint8Array;

  /**
   * Makes a verifier of its parts.
   *
   * @param keys What it is made of; {@linkcode ScramVerifier.create} and `parse` give it
   */
  constructor(keys: ScramKeys) {
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
        `Cannot make a verifier with a salt of ${salt.length} octets: want 8 to 32`,
      );
    }
    const salted = await pbkdf2(prepared, { salt, iterations });
    return new ScramVerifier({ iterations, salt, ...scramKeys(salted) });
  }

  /**
   * Reads the form that `toString()` writes, which PostgreSQL uses too.
   *
   * @param text `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, all but the number in base64
   * @throws {SyntaxError} If the text has another form; the text is not repeated in it
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
   * A verifier that no password fits, for users that do not exist: checking it
   * costs as much as checking `like`. Of a verifier it is always the same, so
   * that what unknown users are told stays the same over a restart and on all
   * threads.
   *
   * @param like Whose rounds and salt length to copy
   */
  static decoy(
    like: { readonly iterations: number; readonly salt: Uint8Array },
  ): ScramVerifier {
    // The keys of a verifier are secret: what is derived of them is, too.
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
   * Whether the verifier was made of this password. Costs one PBKDF2.
   *
   * @param secret The password
   */
  async verify(secret: string): Promise<boolean> {
    const prepared = saslPrep(secret);
    // The cost stays the same: it must not tell anything of the account.
    const salted = await pbkdf2(prepared ?? "", this);
    const { storedKey } = scramKeys(salted);
    return equalSecrets(storedKey, this.#storedKey) && prepared !== undefined &&
      prepared !== "";
  }

  /**
   * Whether a client's proof shows that it knows the password
   * (RFC 5802 section 3).
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
   * The ServerSignature, by which the client knows that this server has its
   * verifier (RFC 5802 section 3).
   *
   * @param authMessage The AuthMessage of the exchange
   */
  sign(authMessage: Uint8Array): Uint8Array<ArrayBuffer> {
    return hmac("sha256", { key: this.#serverKey, data: authMessage });
  }

  /** The form for an accounts file. It holds keys: to be kept as secret as that file. */
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
  /** What the client proves to have, 32 bytes. */
  readonly clientKey: Uint8Array<ArrayBuffer>;
  /** Its digest, 32 bytes. */
  readonly storedKey: Uint8Array<ArrayBuffer>;
  /** What the server signs with, 32 bytes. */
  readonly serverKey: Uint8Array<ArrayBuffer>;
}

/**
 * The keys that come of a SaltedPassword.
 *
 * @param saltedPassword What PBKDF2 gave
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
 * Two byte strings, one laid over the other; as long as the first.
 *
 * @param left The one
 * @param right The other; missing bytes count as 0
 */
export function xor(
  left: Uint8Array,
  right: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(left, (byte, at) => byte ^ (right[at] ?? 0));
}
