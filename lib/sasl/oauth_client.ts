/**
 * XOAUTH2 and OAUTHBEARER on the client's side. The error object of a server
 * that refuses the token is answered as the mechanism wants it and kept out of
 * sight: it is the peer's text.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7628#section-3.2.3 | RFC 7628 section 3.2.3}
 */

import type { ClientMechanism } from "./client_mechanism.ts";
import {
  formatOAuthBearer,
  formatXOAuth2,
  isBearerToken,
  type OAuthMessage,
  type OAuthTarget,
} from "./oauth_message.ts";
import { SaslError } from "./sasl_error.ts";
import { encodeUtf8 } from "./utf8.ts";

/** The OAuth mechanisms on the client's side. */
export class OAuthClient implements ClientMechanism {
  /** The mechanism's name. */
  readonly name: "XOAUTH2" | "OAUTHBEARER";
  readonly #message: Uint8Array<ArrayBuffer>;
  #refused = false;

  /**
   * Makes a machine for one exchange.
   *
   * @param name The mechanism
   * @param login Name and token, host and port
   * @throws {TypeError} If the name or the token cannot stand in a message
   */
  constructor(
    name: "XOAUTH2" | "OAUTHBEARER",
    login: OAuthMessage & OAuthTarget,
  ) {
    // deno-lint-ignore no-control-regex
    const unfit = /[\0\x01]/.test(`${login.username}${login.host ?? ""}`);
    if (unfit || !isBearerToken(login.token)) {
      throw new TypeError(
        `Cannot log in with ${name}: the name has control characters or the token is none`,
      );
    }
    this.name = name;
    this.#message = name === "XOAUTH2"
      ? formatXOAuth2(login)
      : formatOAuthBearer(login, login);
  }

  /** The whole message. */
  start(): Uint8Array {
    return this.#message;
  }

  /** Answers the error object, after which the server's refusal comes. */
  step(_challenge: Uint8Array): Promise<Uint8Array> {
    if (this.#refused) {
      return Promise.reject(
        new SaslError(
          `Cannot go on with ${this.name}: the server asks for more`,
        ),
      );
    }
    this.#refused = true;
    return Promise.resolve(encodeUtf8(this.name === "XOAUTH2" ? "" : "\x01"));
  }

  /**
   * Checks that the server has not said no before it said yes.
   *
   * @throws {SaslError} If it has
   */
  finish(): void {
    if (this.#refused) {
      throw new SaslError(
        `Cannot trust the server: it refused the token of ${this.name} and then accepted it`,
      );
    }
  }
}
