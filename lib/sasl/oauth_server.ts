/**
 * XOAUTH2 and OAUTHBEARER on the server's side. A token that is refused is
 * answered with a JSON object first, and the client answers that once more
 * before the exchange fails.
 *
 * Reads nothing out of tokens: whose they are and how long they last is for the
 * handler to find out.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc7628#section-3.2 | RFC 7628 section 3.2}
 */

import { Credentials } from "./credentials.ts";
import { parseOAuthBearer, parseXOAuth2 } from "./oauth_message.ts";
import { saslPrep } from "./saslprep.ts";
import { tokenCheck } from "./secret_check.ts";
import type {
  ServerEnd,
  ServerMechanism,
  ServerMechanismOptions,
  ServerStep,
} from "./server_mechanism.ts";
import { challenge, malformed } from "./server_steps.ts";
import { encodeUtf8 } from "./utf8.ts";

/** The OAuth mechanisms on the server's side. */
export class OAuthServer implements ServerMechanism {
  /** The mechanism's name. */
  readonly name: "XOAUTH2" | "OAUTHBEARER";
  readonly #options: ServerMechanismOptions;

  /**
   * Makes a machine for one exchange.
   *
   * @param name The mechanism
   * @param options Scope and OpenID configuration for refused clients
   */
  constructor(
    name: "XOAUTH2" | "OAUTHBEARER",
    options: ServerMechanismOptions,
  ) {
    this.name = name;
    this.#options = options;
  }

  /** Takes the message, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Takes name and token. */
  step(response: Uint8Array): ServerStep {
    const message = this.name === "XOAUTH2"
      ? parseXOAuth2(response)
      : parseOAuthBearer(response);
    const username = message === undefined
      ? undefined
      : saslPrep(message.username);
    if (message === undefined || username === undefined) {
      return malformed(`The ${this.name} message does not fit the grammar`);
    }
    const { token } = message;
    if (token === "") {
      return {
        type: "failure",
        failure: "refused",
        reason: "The client asks for the server's terms with an empty token",
        challenge: this.#terms(),
      };
    }
    const credentials = new Credentials({
      mechanism: this.name,
      username,
      token,
      check: tokenCheck(token),
    });
    return { type: "verify", credentials };
  }

  /** What a client needs to know to get a better token. */
  #terms(): Uint8Array {
    const { oauthScope: scope, openIdConfiguration } = this.#options;
    const bearer = this.name === "OAUTHBEARER";
    return encodeUtf8(JSON.stringify({
      status: bearer ? "invalid_token" : "401",
      ...(bearer ? {} : { schemes: "bearer" }),
      ...(scope === undefined ? {} : { scope }),
      ...(!bearer || openIdConfiguration === undefined
        ? {}
        : { "openid-configuration": openIdConfiguration }),
    }));
  }

  /** Ends, after the terms where the token was refused. */
  verified(ok: boolean): ServerEnd {
    return ok ? { ok } : { ok, challenge: this.#terms() };
  }

  /** Nobody waits. */
  cancel(): void {}
}
