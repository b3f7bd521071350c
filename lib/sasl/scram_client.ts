/**
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS on the client's side.
 *
 * Never ends well without the server's signature: a server that cannot give it
 * does not know the secret, and is somebody else.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc5802 | RFC 5802},
 * {@link https://www.rfc-editor.org/rfc/rfc7677 | RFC 7677}
 */

import { decodeUtf8, encodeBase64, encodeUtf8 } from "./encoding.ts";
import { type ClientMechanism, SaslError } from "./client_mechanism.ts";
import { equalSecrets, hmac, pbkdf2, randomBytes } from "./digest.ts";
import { escapeName, formatGs2Header } from "./gs2.ts";
import { saslPrep } from "./saslprep.ts";
import { parseServerFinal, parseServerFirst } from "./scram_messages.ts";
import {
  MAX_ITERATIONS,
  MIN_ITERATIONS,
  scramKeys,
  xor,
} from "./scram_verifier.ts";

/** What the client's side of SCRAM needs. */
export interface ScramLogin {
  /** The user name. */
  readonly username: string;
  /** The password. */
  readonly password: string;
  /** Whom to act for, `""` for oneself. */
  readonly authorizationId: string;
  /** The channel binding of kind tls-server-end-point, where there is one. */
  readonly channelBinding?: Uint8Array | undefined;
  /** The client's nonce, for tests. */
  readonly nonce?: string | undefined;
}

/** SCRAM on the client's side. */
export class ScramClient implements ClientMechanism {
  readonly name: "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS";
  readonly #password: string;
  readonly #header: string;
  readonly #bare: string;
  readonly #nonce: string;
  readonly #bindingData: Uint8Array | undefined;
  #state: "first" | "final" | "signed" = "first";
  #signature: Uint8Array | undefined;

  /**
   * @throws {TypeError} If a name or the password is empty or prohibited, or
   * channel binding is wanted without its data
   */
  constructor(
    name: "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS",
    login: ScramLogin,
  ) {
    const binds = name === "SCRAM-SHA-256-PLUS";
    if (binds && login.channelBinding === undefined) {
      throw new TypeError(
        `Cannot log in with ${name}: the channel binding is missing`,
      );
    }
    const username = saslPrep(login.username);
    const password = saslPrep(login.password);
    if (!username || !password) {
      throw new TypeError(
        `Cannot log in with ${name}: the name or the password is empty or has characters that SASLprep prohibits`,
      );
    }
    this.name = name;
    this.#password = password;
    this.#nonce = login.nonce ?? encodeBase64(randomBytes(24));
    this.#bindingData = binds ? login.channelBinding : undefined;
    // "y" tells the server that this side could bind: if the server offered
    // it and the offer was cut out on the way, the server notices.
    const possible = login.channelBinding === undefined ? "n" : "y";
    this.#header = formatGs2Header({
      flag: binds ? "p" : possible,
      bindingType: "tls-server-end-point",
      authorizationId: login.authorizationId,
    });
    this.#bare = `n=${escapeName(username)},r=${this.#nonce}`;
  }

  /** The client's first message. */
  start(): Uint8Array {
    return encodeUtf8(this.#header + this.#bare);
  }

  /** Answers salt and rounds with the proof, and checks the server's signature. */
  async step(challenge: Uint8Array): Promise<Uint8Array> {
    if (this.#state === "first") return await this.#prove(challenge);
    this.#checkSignature(challenge);
    return new Uint8Array(0);
  }

  async #prove(challenge: Uint8Array): Promise<Uint8Array> {
    const first = parseServerFirst(challenge);
    if (
      first === undefined || !first.nonce.startsWith(this.#nonce) ||
      first.nonce.length === this.#nonce.length
    ) {
      throw new SaslError(
        `Cannot go on with ${this.name}: the server's first message is wrong`,
      );
    }
    // Few rounds would hand a false server a proof that is cheap to guess
    // from; too many would keep this side busy for it.
    if (
      first.iterations < MIN_ITERATIONS || first.iterations > MAX_ITERATIONS
    ) {
      throw new SaslError(
        `Cannot go on with ${this.name}: the server asks for ${first.iterations} iterations, want ${MIN_ITERATIONS} to ${MAX_ITERATIONS}`,
      );
    }
    this.#state = "final";
    const keys = scramKeys(await pbkdf2(this.#password, first));
    const withoutProof = `c=${this.#binding()},r=${first.nonce}`;
    const serverFirst = decodeUtf8(challenge) ?? "";
    const data = encodeUtf8(`${this.#bare},${serverFirst},${withoutProof}`);
    const signature = hmac("sha256", { key: keys.storedKey, data });
    this.#signature = hmac("sha256", { key: keys.serverKey, data });
    const proof = encodeBase64(xor(keys.clientKey, signature));
    return encodeUtf8(`${withoutProof},p=${proof}`);
  }

  /** The GS2 header and what binds to the channel, in base64. */
  #binding(): string {
    const header = encodeUtf8(this.#header);
    return encodeBase64(
      Uint8Array.from([...header, ...this.#bindingData ?? []]),
    );
  }

  #checkSignature(message: Uint8Array): void {
    const signature = parseServerFinal(message);
    if (
      this.#state !== "final" || this.#signature === undefined ||
      signature === undefined || !equalSecrets(signature, this.#signature)
    ) {
      throw new SaslError(
        `Cannot trust the server: its ${this.name} signature is wrong or missing`,
      );
    }
    this.#state = "signed";
  }

  /**
   * Checks that the server has shown its signature.
   *
   * @param final The server's final message, where it came with the success
   * @throws {SaslError} If it has not
   */
  finish(final?: Uint8Array): void {
    if (final !== undefined) this.#checkSignature(final);
    if (this.#state !== "signed") {
      throw new SaslError(
        `Cannot trust the server: it accepted without a ${this.name} signature`,
      );
    }
  }
}
