/**
 * PLAIN, both sides: name and password in one message, readable by all who can
 * read the connection.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc4616 | RFC 4616}
 */

import type { ClientMechanism } from "./client_mechanism.ts";
import { Credentials } from "./credentials.ts";
import { SaslError } from "./sasl_error.ts";
import type { ScramVerifier } from "./scram_verifier.ts";
import { passwordCheck } from "./secret_check.ts";
import type {
  ServerEnd,
  ServerMechanism,
  ServerStep,
} from "./server_mechanism.ts";
import { challenge, malformed, prepareNames } from "./server_steps.ts";
import { decodeUtf8, encodeUtf8 } from "./utf8.ts";

/** PLAIN on the server's side. */
export class PlainServer implements ServerMechanism {
  /** The mechanism's name. */
  readonly name = "PLAIN";
  readonly #decoy: ScramVerifier | undefined;

  /**
   * Makes a machine for one exchange.
   *
   * @param options What unknown users are compared with
   */
  constructor(options: { readonly decoy?: ScramVerifier | undefined }) {
    this.#decoy = options.decoy;
  }

  /** Takes the message, or asks for it with an empty challenge. */
  start(initial: Uint8Array | undefined): ServerStep {
    return initial === undefined ? challenge("") : this.step(initial);
  }

  /** Takes `[authzid] NUL authcid NUL passwd`. */
  step(response: Uint8Array): ServerStep {
    const parts = decodeUtf8(response)?.split("\0") ?? [];
    const [authorizationId = "", username = "", password = ""] = parts;
    if (parts.length !== 3 || password === "") {
      return malformed(
        "The PLAIN message is not three parts of UTF-8 with NUL between",
      );
    }
    const names = prepareNames({ username, authorizationId });
    if ("type" in names) return names;
    const check = passwordCheck({ password, decoy: this.#decoy });
    const credentials = new Credentials({
      mechanism: this.name,
      ...names,
      password,
      check,
    });
    return { type: "verify", credentials };
  }

  /** The judgement is the end. */
  verified(ok: boolean): ServerEnd {
    return { ok };
  }

  /** Nobody waits. */
  cancel(): void {}
}

/** PLAIN on the client's side. */
export class PlainClient implements ClientMechanism {
  /** The mechanism's name. */
  readonly name = "PLAIN";
  readonly #message: Uint8Array<ArrayBuffer>;

  /**
   * Makes a machine for one exchange.
   *
   * @param login Names and password
   * @throws {TypeError} If one of them has a NUL in it
   */
  constructor(
    login: {
      readonly username: string;
      readonly password: string;
      readonly authorizationId: string;
    },
  ) {
    const parts = [login.authorizationId, login.username, login.password];
    if (parts.some((part) => part.includes("\0"))) {
      throw new TypeError(
        "Cannot log in with PLAIN: a name or the password has a NUL in it",
      );
    }
    this.#message = encodeUtf8(parts.join("\0"));
  }

  /** The whole message. */
  start(): Uint8Array {
    return this.#message;
  }

  /** Rejects: there is nothing left to ask. */
  step(_challenge: Uint8Array): Promise<Uint8Array> {
    return Promise.reject(
      new SaslError("Cannot go on with PLAIN: the server asks for more"),
    );
  }

  /** Nothing is left to check. */
  finish(): void {}
}
