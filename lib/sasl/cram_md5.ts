/**
 * CRAM-MD5, both sides: the client proves its knowledge of the secret with a
 * keyed digest of the server's challenge. The server must know the plain secret.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2195 | RFC 2195}
 */

import { type ClientMechanism, SaslError } from "./client_mechanism.ts";
import { Credentials, keyedDigestCheck } from "./credentials.ts";
import { hmac, randomBytes } from "./digest.ts";
import { decodeUtf8, encodeUtf8 } from "./encoding.ts";
import {
  challenge,
  malformed,
  prepareNames,
  type ServerEnd,
  type ServerMechanism,
  type ServerStep,
} from "./server_mechanism.ts";

/** Name, one space, digest; the name may contain spaces. */
const RESPONSE = /^([^\0]+) ([0-9a-f]{32})$/;

/** CRAM-MD5 on the server's side. */
export class CramMd5Server implements ServerMechanism {
  readonly name = "CRAM-MD5";
  readonly #challenge: Uint8Array<ArrayBuffer>;

  constructor(
    options: { readonly hostname: string; readonly nonce?: string | undefined },
  ) {
    const { hostname, nonce = randomBytes(16).toHex() } = options;
    this.#challenge = encodeUtf8(`<${nonce}@${hostname}>`);
  }

  /** Sends the challenge; the mechanism has no initial response (RFC 4954 section 4). */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined
      ? challenge(this.#challenge)
      : malformed("CRAM-MD5 takes no initial response");
  }

  /** Reads name and digest. */
  step(response: Uint8Array): ServerStep {
    const [, username = "", answer = ""] =
      RESPONSE.exec(decodeUtf8(response) ?? "") ?? [];
    if (answer === "") {
      return malformed(
        "The CRAM-MD5 response is not a name, a space and 32 hexadecimal digits",
      );
    }
    const names = prepareNames({ username, authorizationId: "" });
    if ("type" in names) return names;
    const keyedDigest = { challenge: this.#challenge, answer };
    const check = keyedDigestCheck(keyedDigest);
    const mechanism = this.name;
    const credentials = new Credentials({
      ...{ mechanism, ...names, keyedDigest, check },
    });
    return { type: "verify", credentials };
  }

  verified(ok: boolean): ServerEnd {
    return { ok };
  }

  cancel(): void {}
}

/** CRAM-MD5 on the client's side. */
export class CramMd5Client implements ClientMechanism {
  readonly name = "CRAM-MD5";
  readonly #username: string;
  readonly #password: string;
  #answered = false;

  constructor(login: { readonly username: string; readonly password: string }) {
    this.#username = login.username;
    this.#password = login.password;
  }

  /** No initial response: the server speaks first. */
  start(): undefined {}

  /** Answers the challenge. */
  step(challenge: Uint8Array): Promise<Uint8Array> {
    if (this.#answered || challenge.length === 0) {
      return Promise.reject(
        new SaslError("Cannot go on with CRAM-MD5: want one challenge"),
      );
    }
    this.#answered = true;
    const key = encodeUtf8(this.#password);
    const answer = hmac("md5", { key, data: challenge }).toHex();
    return Promise.resolve(encodeUtf8(`${this.#username} ${answer}`));
  }

  /**
   * Checks that the server has sent a challenge.
   *
   * @throws {SaslError} If the server accepted without a challenge
   */
  finish(): void {
    if (!this.#answered) {
      throw new SaslError(
        "Cannot trust the server: it ended CRAM-MD5 without a challenge",
      );
    }
  }
}
